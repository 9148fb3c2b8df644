//! What listings print as JSON: field names are stable, more may be added. Times are RFC 3339, amounts in the smallest unit.

use crate::render::listing::time;
use crate::render::status::state_name;
use hyphae_api::v1::{
    Event, NodeStatus, NodesReply, ReplicaStatus, Resources, RolloutStatus, StatusReply, WorkloadStatus,
};
use serde::Serialize;
use std::collections::BTreeMap;

/// `hyphae status --format json`.
#[derive(Debug, Serialize)]
pub(crate) struct StatusView<'a> {
    revision: u64,
    /// The plan that is being carried out.
    rollout: Option<RolloutView<'a>>,
    workloads: Vec<WorkloadView<'a>>,
}

#[derive(Debug, Serialize)]
struct RolloutView<'a> {
    revision: u64,
    waves: u32,
    released: u32,
    waiting_for: &'a [String],
}

impl<'a> RolloutView<'a> {
    fn of(rollout: &'a RolloutStatus) -> Self {
        Self {
            revision: rollout.revision,
            waves: rollout.waves,
            released: rollout.released,
            waiting_for: &rollout.waiting_for,
        }
    }
}

impl<'a> StatusView<'a> {
    /// Of a server's answer.
    pub(crate) fn of(reply: &'a StatusReply) -> Self {
        Self {
            revision: reply.revision,
            rollout: reply.rollout.as_ref().map(RolloutView::of),
            workloads: reply.workloads.iter().map(WorkloadView::of).collect(),
        }
    }
}

#[derive(Debug, Serialize)]
struct WorkloadView<'a> {
    name: &'a str,
    kind: &'a str,
    wanted: u32,
    running: u32,
    completed: u32,
    unplaced: u32,
    generation: u64,
    image: &'a str,
    replicas: Vec<ReplicaView<'a>>,
}

impl<'a> WorkloadView<'a> {
    fn of(workload: &'a WorkloadStatus) -> Self {
        Self {
            name: &workload.name,
            kind: &workload.kind,
            wanted: workload.wanted,
            running: workload.running,
            completed: workload.completed,
            unplaced: workload.unplaced,
            generation: workload.generation,
            image: &workload.image,
            replicas: workload.replicas.iter().map(ReplicaView::of).collect(),
        }
    }
}

#[derive(Debug, Serialize)]
struct ReplicaView<'a> {
    index: u32,
    node: &'a str,
    state: &'static str,
    since: String,
    generation: u64,
    address: &'a str,
    reason: &'a str,
    restarts: u32,
    exit_code: Option<i32>,
    oom_killed: bool,
    last_lines: &'a [String],
}

impl<'a> ReplicaView<'a> {
    fn of(replica: &'a ReplicaStatus) -> Self {
        Self {
            index: replica.index,
            node: &replica.node,
            state: state_name(replica.state()),
            since: time(replica.changed_unix_millis),
            generation: replica.generation,
            address: &replica.address,
            reason: &replica.reason,
            restarts: replica.restarts,
            exit_code: replica.exit_code,
            oom_killed: replica.oom_killed,
            last_lines: &replica.last_lines,
        }
    }
}

/// `hyphae nodes --format json`.
#[derive(Debug, Serialize)]
pub(crate) struct NodesView<'a> {
    revision: u64,
    nodes: Vec<NodeView<'a>>,
}

impl<'a> NodesView<'a> {
    /// Of a server's answer.
    pub(crate) fn of(reply: &'a NodesReply) -> Self {
        Self { revision: reply.revision, nodes: reply.nodes.iter().map(NodeView::of).collect() }
    }
}

#[derive(Debug, Serialize)]
struct NodeView<'a> {
    name: &'a str,
    pool: &'a str,
    connected: bool,
    schedulable: bool,
    labels: BTreeMap<&'a str, &'a str>,
    capacity: ResourcesView<'a>,
    used: ResourcesView<'a>,
    prefix: &'a str,
    heard: String,
}

impl<'a> NodeView<'a> {
    fn of(node: &'a NodeStatus) -> Self {
        Self {
            name: &node.name,
            pool: &node.pool,
            connected: node.connected,
            schedulable: node.schedulable,
            labels: node.labels.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect(),
            capacity: ResourcesView::of(node.capacity.as_ref()),
            used: ResourcesView::of(node.used.as_ref()),
            prefix: &node.prefix,
            heard: time(node.heard_unix_millis),
        }
    }
}

#[derive(Debug, Default, Serialize)]
struct ResourcesView<'a> {
    cpu_millis: u64,
    memory_bytes: u64,
    disk_bytes: u64,
    replicas: u64,
    extras: BTreeMap<&'a str, u64>,
}

impl<'a> ResourcesView<'a> {
    fn of(resources: Option<&'a Resources>) -> Self {
        let Some(resources) = resources else { return Self::default() };
        Self {
            cpu_millis: resources.cpu_millis,
            memory_bytes: resources.memory_bytes,
            disk_bytes: resources.disk_bytes,
            replicas: resources.replicas,
            extras: resources.extras.iter().map(|(name, amount)| (name.as_str(), *amount)).collect(),
        }
    }
}

/// One line of `hyphae events --format json`.
#[derive(Debug, Serialize)]
pub(crate) struct EventView<'a> {
    time: String,
    kind: &'a str,
    workload: &'a str,
    node: &'a str,
    text: &'a str,
}

impl<'a> EventView<'a> {
    /// Of an event.
    pub(crate) fn of(event: &'a Event) -> Self {
        Self {
            time: time(event.unix_millis),
            kind: &event.kind,
            workload: &event.workload,
            node: &event.node,
            text: &event.text,
        }
    }
}
