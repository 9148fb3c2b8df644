//! The replicated state: a plain value, changed only by commands, the same on every server.
//!
//! Nothing here reads a clock or draws a random number; what needs one carries it in the command. What agents observe
//! (is a replica running?) is *not* here: it is told again by every agent that connects, see `observed`.

mod address;
pub mod commands;
mod encoding;
mod invariants;
mod share;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;

pub use address::{INDEX_MAX, node_prefix, replica_address};
pub use commands::{Command, Outcome, Refusal};
pub use encoding::{DecodeError, decode, encode};
pub use share::{replicas_by_node, share, share_of};

/// How many replicas (addresses) a node takes when nothing else is said.
pub const NODE_REPLICAS_DEFAULT: u64 = 250;

/// Everything a cluster has agreed on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Goes up by one with each command that changes anything a plan depends on; a plan is made at one. `replicas` is such a thing, so a wave that
    /// is released and a job that ends raise it too: a plan made before them is refused, for its steps start from replicas that are no longer so.
    /// Every change of a node's share comes with a higher revision.
    pub revision: u64,
    /// Random ULA /48 drawn at first start; every node's /80 is cut from it.
    pub prefix: Option<Ipv6Addr>,
    /// The specs as text, by key ("workload/storefront/web", "team/storefront", "constraint/…", "objective").
    pub objects: BTreeMap<String, StoredSource>,
    /// The Cedar policy files in force. Empty: no policy set is loaded and everything is allowed.
    pub policies: Vec<StoredSource>,
    /// Workloads by full name.
    pub workloads: BTreeMap<String, WorkloadRecord>,
    /// Nodes by name.
    pub nodes: BTreeMap<String, NodeRecord>,
    /// The replicas that shall run now: what agents carry out.
    pub replicas: BTreeMap<ReplicaId, ReplicaRecord>,
    /// The plan that is being carried out, until its last wave is seen to have succeeded.
    pub rollout: Option<Rollout>,
    /// Workloads that the last release removed and that still have replicas to stop; their records go with the last replica.
    pub retiring: BTreeSet<String>,
    /// Where the replicas in the workloads' `finished` ran.
    pub finished_on: BTreeMap<ReplicaId, String>,
    /// The next service id to give. Ids are never reused.
    pub next_service_id: u16,
    /// The next node id to give. Ids are never reused.
    pub next_node_id: u32,
}

/// A text as its author wrote it, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredSource {
    /// The file's name as it was applied.
    pub file: String,
    /// Line of the text's first line in that file, from 1.
    pub line: usize,
    /// KDL or Cedar.
    pub text: String,
}

/// What the cluster knows of a workload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkloadRecord {
    /// In the addresses of its replicas. Never reused.
    pub service_id: u16,
    /// "service", "job" or "daemon".
    pub kind: String,
    /// Replicas wanted.
    pub wanted: u32,
    /// Of those, how many the last plan could not place.
    pub unplaced: u32,
    /// The current generation of the template.
    pub generation: u64,
    /// What a replica runs, by generation; older ones are kept while a replica still runs them.
    pub templates: BTreeMap<u64, Template>,
    /// A job's replicas of the current generation that have ended for good: index to exit code.
    pub finished: BTreeMap<u32, i32>,
}

/// What one replica runs: everything that makes a running replica outdated when it changes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Template {
    /// Image reference as written.
    pub image: String,
    /// Entrypoint, if replaced.
    pub command: Vec<String>,
    /// Arguments, if replaced.
    pub args: Vec<String>,
    /// Environment in order.
    pub env: Vec<(String, String)>,
    /// Reserved, millicores, bytes, bytes, and named extras.
    pub cpu_millis: u64,
    /// Bytes.
    pub memory_bytes: u64,
    /// Bytes.
    pub disk_bytes: u64,
    /// Named extras.
    pub extras: BTreeMap<String, u64>,
    /// At most this much cpu; 0: no limit.
    pub limit_cpu_millis: u64,
    /// At most this much memory; 0: no limit.
    pub limit_memory_bytes: u64,
    /// Ports.
    pub ports: Vec<TemplatePort>,
    /// Between SIGTERM and SIGKILL.
    pub stop_grace_millis: u64,
    /// Of a job.
    pub retries: u32,
    /// Labels of the workload.
    pub labels: BTreeMap<String, String>,
}

/// A port of a template.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TemplatePort {
    /// Its name.
    pub name: String,
    /// The container's port.
    pub number: u16,
    /// The node's port, if claimed.
    pub host: Option<u16>,
    /// "tcp" or "udp".
    pub protocol: String,
}

/// A machine with an agent (or one of an offline inventory).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRecord {
    /// Never reused; part of its prefix.
    pub id: u32,
    /// Its pool, or "".
    pub pool: String,
    /// Its labels, without the implied "node" and "pool".
    pub labels: BTreeMap<String, String>,
    /// Workloads keep off unless they tolerate each of these.
    pub taints: Vec<String>,
    /// What it has.
    pub capacity: Capacity,
    /// Millionths per hour.
    pub price_micros: u64,
    /// Its IPv6 /80: the address with zeroes behind.
    pub prefix: Ipv6Addr,
    /// False: cordoned; keeps what it has and gets nothing new.
    pub schedulable: bool,
    /// Devices by kind, of an offline inventory's nodes: no agent tells of any yet, and nothing of this is written to disk.
    #[serde(skip)]
    pub devices: BTreeMap<String, u32>,
}

/// Amounts of resources.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capacity {
    /// Millicores.
    pub cpu_millis: u64,
    /// Bytes.
    pub memory_bytes: u64,
    /// Bytes.
    pub disk_bytes: u64,
    /// Addresses.
    pub replicas: u64,
    /// Named extras.
    pub extras: BTreeMap<String, u64>,
}

/// Which replica.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ReplicaId {
    /// Full name of the workload.
    pub workload: String,
    /// Unique among the workload's replicas; the lowest free ones are given.
    pub index: u32,
}

/// Where a replica shall run and what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaRecord {
    /// The node.
    pub node: String,
    /// Which of the workload's templates.
    pub generation: u64,
}

/// A plan in the course of being carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollout {
    /// The revision that committed it; names it.
    pub revision: u64,
    /// All its waves.
    pub waves: Vec<Vec<Step>>,
    /// How many of them have been released to the agents (their steps are in `replicas`).
    pub released: usize,
}

/// One change to `State::replicas`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// Run a new replica.
    Start { replica: ReplicaId, node: String, generation: u64 },
    /// Stop a replica.
    Stop { replica: ReplicaId },
    /// Replace a replica where it is.
    Update { replica: ReplicaId, generation: u64 },
}

/// What applying a plan writes, in one command: the result of `planner::verify`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// The state must still be at this revision.
    pub expected_revision: u64,
    /// Specs to put, by key.
    pub objects_put: BTreeMap<String, StoredSource>,
    /// Keys of specs to remove.
    pub objects_removed: Vec<String>,
    /// The new policy set, if it changes.
    pub policies: Option<Vec<StoredSource>>,
    /// Every workload after the plan, with wanted, unplaced, generation and the template of that generation; `service_id` is 0 for a new one and
    /// given when the command is applied, `templates` of older generations and `finished` are carried over by it.
    pub workloads: BTreeMap<String, WorkloadRecord>,
    /// What to do, in order.
    pub waves: Vec<Vec<Step>>,
}
