//! What is wanted beside what is observed, as people ask for it. Pure.

use crate::observed::{Observed, Seen};
use crate::rollout;
use crate::state::{Capacity, ReplicaId, ReplicaRecord, State, WorkloadRecord, replica_address};
use hyphae_api::v1::{
    NodeStatus, NodesReply, ReplicaState, ReplicaStatus, Resources, RolloutStatus, StatusReply, WorkloadStatus,
};

/// How much of what a rollout waits for is told.
const WAITING_MAX: usize = 10;

/// The status of these workloads, or of all.
pub(super) fn status(state: &State, observed: &Observed, wanted: &[String], now_ms: u64) -> StatusReply {
    let workloads = state
        .workloads
        .iter()
        .filter(|(name, _)| wanted.is_empty() || wanted.contains(name))
        .map(|(name, workload)| workload_status(state, observed, name, workload, now_ms))
        .collect();
    let rollout = state.rollout.as_ref().map(|rollout| RolloutStatus {
        revision: rollout.revision,
        waves: rollout.waves.len() as u32,
        released: rollout.released as u32,
        waiting_for: rollout::waiting(state, observed, now_ms)
            .into_iter()
            .take(WAITING_MAX)
            .map(|waiting| format!("{}: {}", waiting.replica, waiting.reason))
            .collect(),
    });
    StatusReply { revision: state.revision, workloads, rollout }
}

fn workload_status(
    state: &State,
    observed: &Observed,
    name: &str,
    workload: &WorkloadRecord,
    now_ms: u64,
) -> WorkloadStatus {
    let mut replicas: Vec<ReplicaStatus> = state
        .replicas_of(name)
        .map(|(id, record)| wanted_replica(state, observed, workload, id, record, now_ms))
        .collect();
    replicas.extend(unwanted_replicas(state, observed, name, now_ms));
    replicas.extend(workload.finished.iter().map(|(index, exit_code)| {
        let id = ReplicaId { workload: name.to_owned(), index: *index };
        ReplicaStatus {
            index: *index,
            node: state.finished_on.get(&id).cloned().unwrap_or_default(),
            workload: id.workload,
            generation: workload.generation,
            state: (if *exit_code == 0 { ReplicaState::Completed } else { ReplicaState::Failed }).into(),
            exit_code: Some(*exit_code),
            ..ReplicaStatus::default()
        }
    }));
    replicas.sort_by_key(|replica| replica.index);
    let running = replicas.iter().filter(|replica| replica.state() == ReplicaState::Running).count();
    let completed = workload.finished.values().filter(|exit_code| **exit_code == 0).count();
    let template = workload.templates.get(&workload.generation);
    WorkloadStatus {
        name: name.to_owned(),
        kind: workload.kind.clone(),
        wanted: workload.wanted,
        running: running as u32,
        generation: workload.generation,
        image: template.map(|template| template.image.clone()).unwrap_or_default(),
        replicas,
        unplaced: workload.unplaced,
        completed: completed as u32,
    }
}

/// One that shall run: as its node's agent sees it, if it is heard.
fn wanted_replica(
    state: &State,
    observed: &Observed,
    workload: &WorkloadRecord,
    id: &ReplicaId,
    record: &ReplicaRecord,
    now_ms: u64,
) -> ReplicaStatus {
    let node = state.nodes.get(&record.node);
    let address = node.and_then(|node| replica_address(node.prefix, workload.service_id, id.index));
    let bare = |replica_state: ReplicaState, reason: String| ReplicaStatus {
        workload: id.workload.clone(),
        index: id.index,
        node: record.node.clone(),
        generation: record.generation,
        state: replica_state.into(),
        address: address.map(|address| address.to_string()).unwrap_or_default(),
        reason,
        ..ReplicaStatus::default()
    };
    if !observed.is_connected(&record.node, now_ms) {
        return bare(ReplicaState::Unknown, format!("node {} is not connected", record.node));
    }
    match observed.replica(&record.node, id) {
        Some(seen) => {
            let mut status = seen.status.clone();
            if status.address.is_empty() {
                status.address = address.map(|address| address.to_string()).unwrap_or_default();
            }
            status
        }
        None if observed.node(&record.node).is_some_and(|node| node.has_reported()) => {
            bare(ReplicaState::Pending, String::new())
        }
        None => bare(ReplicaState::Unknown, format!("node {} has not told yet what it runs", record.node)),
    }
}

/// Those that are still there and shall not be: on their way out.
fn unwanted_replicas(state: &State, observed: &Observed, name: &str, now_ms: u64) -> Vec<ReplicaStatus> {
    let unwanted = |node: &str, id: &ReplicaId| state.replicas.get(id).is_none_or(|record| record.node != node);
    let ended_job = |seen: &Seen| matches!(seen.status.state(), ReplicaState::Completed | ReplicaState::Failed);
    observed
        .replicas_of(name)
        .filter(|(node, id, seen)| observed.is_connected(node, now_ms) && unwanted(node, id) && !ended_job(seen))
        .map(|(_, _, seen)| seen.status.clone())
        .collect()
}

/// All nodes with what they have and what is reserved on them.
pub(super) fn nodes(state: &State, observed: &Observed, now_ms: u64) -> NodesReply {
    let mut used: std::collections::BTreeMap<&str, Resources> = std::collections::BTreeMap::new();
    for (id, record) in &state.replicas {
        let workload = state.workloads.get(&id.workload);
        let Some(template) = workload.and_then(|workload| workload.templates.get(&record.generation)) else { continue };
        let used = used.entry(&record.node).or_default();
        used.cpu_millis = used.cpu_millis.saturating_add(template.cpu_millis);
        used.memory_bytes = used.memory_bytes.saturating_add(template.memory_bytes);
        used.disk_bytes = used.disk_bytes.saturating_add(template.disk_bytes);
        used.replicas += 1;
        for (name, amount) in &template.extras {
            let sum = used.extras.entry(name.clone()).or_default();
            *sum = sum.saturating_add(*amount);
        }
    }
    let nodes = state.nodes.iter().map(|(name, node)| NodeStatus {
        name: name.clone(),
        pool: node.pool.clone(),
        connected: observed.is_connected(name, now_ms),
        schedulable: node.schedulable,
        labels: node.labels.clone().into_iter().collect(),
        capacity: Some(resources(&node.capacity)),
        used: Some(used.remove(name.as_str()).unwrap_or_default()),
        prefix: format!("{}/80", node.prefix),
        heard_unix_millis: observed.node(name).map_or(0, |node| node.heard_unix_millis),
    });
    NodesReply { revision: state.revision, nodes: nodes.collect() }
}

fn resources(capacity: &Capacity) -> Resources {
    Resources {
        cpu_millis: capacity.cpu_millis,
        memory_bytes: capacity.memory_bytes,
        disk_bytes: capacity.disk_bytes,
        replicas: capacity.replicas,
        extras: capacity.extras.clone().into_iter().collect(),
    }
}
