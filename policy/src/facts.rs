//! The facts a question to a gate is made of, and the shape of the answer. Data only.

use std::collections::BTreeMap;

/// Who asks: becomes `User::"name"`, a member of each `Team::"…"`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UserFacts {
    /// The user's name.
    pub name: String,
    /// Teams the user belongs to; "admins" for the local administrator.
    pub teams: Vec<String>,
}

/// A workload: becomes `Service::"team/name"`, `Job::…` or `Daemon::…`, a member of `Team::"team"`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct WorkloadFacts {
    /// Which entity type.
    pub kind: WorkloadKind,
    /// The team's name.
    pub team: String,
    /// The bare name.
    pub name: String,
    /// Its labels: a Cedar tag each.
    pub labels: BTreeMap<String, String>,
}

/// Kinds of workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WorkloadKind {
    Service,
    Job,
    Daemon,
}

/// A node, or a class of nodes alike in everything a policy can see: becomes `Node::"name"`, a member of `Pool::"pool"`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NodeFacts {
    /// The entity's id: one node's name stands for all of its class.
    pub name: String,
    /// Its pool, if any.
    pub pool: Option<String>,
    /// Its labels: a Cedar tag each.
    pub labels: BTreeMap<String, String>,
}

/// What is asked about when deploying: becomes the `context` of `create`, `update`, `scale` and `delete`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DeployFacts {
    /// Registry host of the image, "docker.io" when the reference names none.
    pub image_registry: String,
    /// Repository within the registry.
    pub image_name: String,
    /// Tag, if any.
    pub image_tag: Option<String>,
    /// The reference names a digest.
    pub image_pinned: bool,
    /// Replicas wanted (for a daemon: nodes it is eligible for).
    pub replicas: i64,
    /// Millicores reserved for each replica.
    pub cpu_millis: i64,
    /// Bytes reserved for each replica.
    pub memory_bytes: i64,
    /// Container ports.
    pub ports: Vec<u16>,
    /// Node ports claimed.
    pub host_ports: Vec<u16>,
    /// Names of the secrets used.
    pub secrets: Vec<String>,
    /// Privileges asked for (none exist yet; the schema has the attribute).
    pub privileges: Vec<String>,
    /// The priority.
    pub priority: i64,
}

/// What is done to a workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DeployAction {
    Create,
    Update,
    Scale,
    Delete,
}

/// What an operator does.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum OperateAction {
    /// See status, plans, nodes and events. Resource: the cluster.
    Read,
    /// Read a workload's logs.
    Logs(WorkloadFacts),
    /// Run a command in a replica.
    Exec(WorkloadFacts),
    /// Stop what runs on a node.
    Drain(NodeFacts),
    /// Keep new replicas off a node.
    Cordon(NodeFacts),
    /// Carry out a plan; context: running replicas it stops or moves, and the change of price per hour in millionths.
    Apply {
        /// Running replicas stopped or moved.
        disrupted: i64,
        /// New price less old, millionths per hour.
        cost_change_micros: i64,
    },
    /// Replace the policy set. Resource: the cluster.
    ChangePolicy,
}

/// A policy that had a part in a decision.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PolicyRef {
    /// `@id("…")`, or the file's name and the policy's number in it.
    pub id: String,
    /// The file it is written in.
    pub file: String,
    /// Line of its first token, from 1.
    pub line: usize,
    /// `@message("…")`: what its author wants people to read.
    pub message: Option<String>,
}

/// A gate's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Whether it may happen.
    pub allowed: bool,
    /// Allowed: the permits that allow it. Denied: the forbids that forbid it and the policies that failed; empty when simply
    /// nothing permits it. Sorted by (file, line).
    pub policies: Vec<PolicyRef>,
    /// Policies whose evaluation failed (Cedar skips them), with the error: a forbid that fails must not go unseen, so any error denies.
    pub errors: Vec<String>,
}
