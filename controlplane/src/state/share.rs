//! A node's share of the state: what its agent shall run, in full.

use super::{NodeRecord, ReplicaId, ReplicaRecord, State, Template, WorkloadRecord, replica_address};
use hyphae_api::v1;
use std::collections::BTreeMap;

/// What a node shall run at the state's revision. A node that the state does not know has nothing to run.
pub fn share(state: &State, node: &str) -> v1::Share {
    let here = state.replicas.iter().filter(|(_, replica)| replica.node == node).map(|(id, _)| id);
    share_of(state, node, here)
}

/// The same, where it is known already which replicas are the node's.
pub fn share_of<'a>(state: &State, node: &str, replicas: impl IntoIterator<Item = &'a ReplicaId>) -> v1::Share {
    let whole = |id: &ReplicaId| {
        let replica = state.replicas.get(id)?;
        whole_replica(state.nodes.get(node)?, id, replica, state.workloads.get(&id.workload)?)
    };
    v1::Share { revision: state.revision, replicas: replicas.into_iter().filter_map(whole).collect() }
}

/// The replicas of every node: to make many shares of one state.
pub fn replicas_by_node(state: &State) -> BTreeMap<String, Vec<ReplicaId>> {
    let mut nodes: BTreeMap<String, Vec<ReplicaId>> = BTreeMap::new();
    for (id, replica) in &state.replicas {
        match nodes.get_mut(&replica.node) {
            Some(ids) => ids.push(id.clone()),
            None => drop(nodes.insert(replica.node.clone(), vec![id.clone()])),
        }
    }
    nodes
}

/// `None` only where an invariant of the state is broken.
fn whole_replica(
    node: &NodeRecord,
    id: &ReplicaId,
    replica: &ReplicaRecord,
    workload: &WorkloadRecord,
) -> Option<v1::Replica> {
    let template = workload.templates.get(&replica.generation)?;
    Some(v1::Replica {
        workload: id.workload.clone(),
        index: id.index,
        generation: replica.generation,
        kind: workload.kind.clone(),
        image: template.image.clone(),
        command: template.command.clone(),
        args: template.args.clone(),
        env: template.env.iter().cloned().map(|(name, value)| v1::EnvVar { name, value }).collect(),
        reserved: Some(reserved(template)),
        limit_cpu_millis: template.limit_cpu_millis,
        limit_memory_bytes: template.limit_memory_bytes,
        ports: template.ports.iter().map(port).collect(),
        address: replica_address(node.prefix, workload.service_id, id.index)?.to_string(),
        stop_grace_millis: template.stop_grace_millis,
        retries: template.retries,
        labels: template.labels.clone().into_iter().collect(),
    })
}

fn reserved(template: &Template) -> v1::Resources {
    v1::Resources {
        cpu_millis: template.cpu_millis,
        memory_bytes: template.memory_bytes,
        disk_bytes: template.disk_bytes,
        replicas: 1,
        extras: template.extras.clone().into_iter().collect(),
    }
}

fn port(port: &super::TemplatePort) -> v1::Port {
    v1::Port {
        name: port.name.clone(),
        number: u32::from(port.number),
        host: port.host.map_or(0, u32::from),
        protocol: port.protocol.clone(),
    }
}
