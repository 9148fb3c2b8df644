//! What is to be placed, where it may go, and what must hold: the solver's only input.
//!
//! Everything is an index and an integer. `x[w,n]`, the number of replicas of workload `w` on node `n`, is the
//! unknown; each [`Constraint`] below states its meaning in terms of `x`. Names are carried only so that a
//! message can use them.

use serde::{Deserialize, Serialize};

/// Position of a resource in [`Problem::resources`], and of its amount in every demand and capacity vector.
pub type ResourceIdx = usize;
/// Position of a node in [`Problem::nodes`].
pub type NodeIdx = usize;
/// Position of a workload in [`Problem::workloads`].
pub type WorkloadIdx = usize;
/// Position of a topology in [`Problem::topologies`].
pub type TopologyIdx = usize;
/// Position of a constraint in [`Problem::constraints`]; what conflicts and violations name.
pub type ConstraintIdx = usize;

/// A placement problem. Build it, then call [`Problem::validate`] (every solver entry point does so too).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// The kinds of resource. The unit is the caller's (millicores, bytes, pieces); amounts are whole numbers.
    pub resources: Vec<Resource>,
    /// The ways to divide the nodes into domains: zone, rack, the node itself.
    pub topologies: Vec<Topology>,
    /// The machines.
    pub nodes: Vec<Node>,
    /// What is to be placed.
    pub workloads: Vec<Workload>,
    /// What must hold (or costs, when soft), beyond capacity and eligibility.
    pub constraints: Vec<Constraint>,
    /// The running replicas: at most one entry for each pair, counts > 0.
    pub current: Vec<Placed>,
    /// What each entry of `current` holds in all, per resource; empty: count × demand. They differ while a workload's demand changes, and
    /// only what is held too much *now* (capacity, quotas) is excused.
    #[serde(default)]
    pub held: Vec<Vec<u64>>,
    /// What to prefer among the placements that hold.
    pub objective: Objective,
}

/// A kind of resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resource {
    /// For messages: "cpu", "memory", "port 8080/tcp".
    pub name: String,
    /// Model units are `amount / scale`, so that numbers in the program stay near 1 (1000 for millicores,
    /// 2^30 for bytes). Affects conditioning only, never the answer. At least 1.
    pub scale: u64,
    /// Counts towards [`Shape::Spread`]'s peaks (cpu and memory do; ports and addresses do not).
    pub shapes: bool,
}

/// A way to divide nodes into domains.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Topology {
    /// The label, or "node".
    pub key: String,
    /// The names of the domains; a node refers to them by position.
    pub domains: Vec<String>,
}

/// A machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Unique; ties are broken by it.
    pub name: String,
    /// What it has, per resource, already less what is reserved for the system.
    pub capacity: Vec<u64>,
    /// Price in millionths of a currency unit per hour, paid while it holds at least one replica.
    pub price_micros: u64,
    /// Its domain in each topology; `None` when it lacks that label (it is then in no domain, and takes no
    /// replica of a workload that has a hard constraint over that topology).
    pub domains: Vec<Option<usize>>,
}

/// Something to place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workload {
    /// Unique; ties are broken by it.
    pub name: String,
    /// What one replica takes, per resource.
    pub demand: Vec<u64>,
    /// Replicas wanted. Never exceeded.
    pub wanted: u32,
    /// Higher goes first: shortage is minimised for each priority from the highest down.
    pub priority: i32,
    /// Weight in the disruption tier of each running replica that is moved or stopped. At least 1.
    pub move_weight: u32,
    /// The nodes it may be placed on, ascending. Running replicas elsewhere are a broken state to repair.
    pub eligible: Vec<NodeIdx>,
    /// How many replicas one node may hold at most (1 for daemons), if bounded.
    pub per_node_max: Option<u32>,
}

/// A rule. The position in [`Problem::constraints`] identifies it in answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Constraint {
    /// What it says.
    pub rule: Rule,
    /// `None`: hard. `Some(w)`: costs `w` for each unit by which it is broken (units: see [`Rule`]).
    pub weight: Option<u32>,
}

/// The families of constraints. "Domain" means domain of the rule's topology. A workload with nothing placed breaks
/// no rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rule {
    /// Over the domains that hold at least one node eligible for `workload`: max − min of its counts ≤ `max_skew`.
    /// Hard: applies when at least one replica is placed. Unit: a step of skew beyond `max_skew`.
    Spread { workload: WorkloadIdx, topology: TopologyIdx, max_skew: u32 },
    /// Each domain holds at most `limit` replicas of `workload`. `separate within` is limit 1; `survive loss-of keep c` is limit
    /// `wanted − c`. Unit: a replica beyond the limit, in each domain.
    LimitPerDomain { workload: WorkloadIdx, topology: TopologyIdx, limit: u32 },
    /// No domain holds replicas of both `a` and `b`. Symmetric. Unit: in each domain that has both, min(count a, count b).
    SeparateFrom { a: WorkloadIdx, b: WorkloadIdx, topology: TopologyIdx },
    /// A domain that holds a replica of `workload` holds at least one of `to`. Not symmetric, may be circular. Unit: a replica of
    /// `workload` in a domain without `to`.
    Near { workload: WorkloadIdx, to: WorkloadIdx, topology: TopologyIdx },
    /// Soft only: a replica of `workload` on any node outside `nodes` (ascending). Unit: such a replica.
    Prefer { workload: WorkloadIdx, nodes: Vec<NodeIdx> },
    /// Hard only: Σ over `workloads` of demand × placed ≤ `max` for each resource listed.
    Quota { workloads: Vec<WorkloadIdx>, max: Vec<(ResourceIdx, u64)> },
    /// Hard only: either every one of `workloads` has all its wanted replicas placed, or none of them has any.
    AllOrNothing { workloads: Vec<WorkloadIdx> },
}

/// Replicas of one workload on one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Placed {
    /// Which workload.
    pub workload: WorkloadIdx,
    /// On which node.
    pub node: NodeIdx,
    /// How many, > 0.
    pub count: u32,
}

/// What to prefer, once shortage and soft constraints are decided.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Objective {
    /// The last tier.
    pub shape: Shape,
    /// `None`: disruption is a tier of its own before cost. `Some(p)`: the two become one tier, `p` × disruption + cost (millionths per hour),
    /// so that a voluntary move happens only when it saves more than `p`.
    pub move_price_micros: Option<u64>,
}

/// How replicas should lie when nothing else decides.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Shape {
    /// Fewest nodes that hold anything.
    #[default]
    Pack,
    /// Lowest peaks: minimise Σ over nodes of Σ over t ∈ {250, 500, 750} of max(0, peak − t), where a node's peak is
    /// ⌈1000 · used / capacity⌉, the largest over the resources with `shapes` of which it has any.
    Spread,
}
