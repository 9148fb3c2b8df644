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
/// Position of a kind of device in [`Problem::devices`], and of its number in [`Node::devices`].
pub type DeviceIdx = usize;

/// A placement problem. Build it, then call [`Problem::validate`] (every solver entry point does so too).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// The kinds of resource. The unit is the caller's (millicores, bytes, pieces); amounts are whole numbers.
    pub resources: Vec<Resource>,
    /// The kinds of device (GPUs): pieces of a node that a replica takes whole, or one of them in part.
    #[serde(default)]
    pub devices: Vec<DeviceKind>,
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
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resource {
    /// For messages: "cpu", "memory", "port 8080/tcp".
    pub name: String,
    /// Model units are `amount / scale`, so that numbers in the program stay near 1 (1000 for millicores,
    /// 2^30 for bytes). Affects conditioning only, never the answer. At least 1.
    pub scale: u64,
    /// Counts towards [`Shape::Spread`]'s peaks (cpu and memory do; ports and addresses do not).
    pub shapes: bool,
    /// Held at both ends while a replica moves: a node that replicas leave goes on lending them this resource until every move is done, so that
    /// `Σ_w demand · max(x[w,n], running[w,n]) ≤ max(capacity, Σ_w demand · running[w,n])`.
    #[serde(default)]
    pub transient: bool,
}

/// A kind of device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceKind {
    /// For messages: "gpu".
    pub name: String,
    /// Parts in one device (1000 for thousandths of a GPU). At least 1.
    pub parts: u32,
}

/// What one replica takes of a kind of device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceDemand {
    /// Of which kind.
    pub kind: DeviceIdx,
    /// How much.
    pub take: DeviceTake,
}

/// Whole devices, or a part of a single one: never parts of two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceTake {
    /// So many devices of one node, none of them shared.
    Whole(u32),
    /// So many parts of one device: from 1 to [`DeviceKind::parts`].
    Share(u32),
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
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
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
    /// How many devices of each kind; empty: none.
    #[serde(default)]
    pub devices: Vec<u32>,
    /// Whether it is there.
    #[serde(default)]
    pub standing: Standing,
}

/// Whether a node is there already.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// It is there, empty or not.
    #[default]
    Here,
    /// It can be had: placing something on it buys it. Empty, it is no room for anything that is lost elsewhere.
    OnOffer,
}

/// Something to place.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workload {
    /// Unique; ties are broken by it.
    pub name: String,
    /// What one replica takes, per resource.
    pub demand: Vec<u64>,
    /// Replicas wanted: fewer are a shortage.
    pub wanted: u32,
    /// Replicas beyond `wanted` that may be placed where a rule ([`Rule::Survive`]) needs them; each costs a unit of [`crate::Tier::Surplus`].
    #[serde(default)]
    pub surplus_max: u32,
    /// Higher goes first: shortage is minimised for each priority from the highest down.
    pub priority: i32,
    /// Weight in the disruption tier of each running replica that is moved or stopped. At least 1.
    pub move_weight: u32,
    /// The nodes it may be placed on, ascending. Running replicas elsewhere are a broken state to repair.
    pub eligible: Vec<NodeIdx>,
    /// How many replicas one node may hold at most (1 for daemons), if bounded.
    pub per_node_max: Option<u32>,
    /// What one replica takes of a node's devices, if anything.
    #[serde(default)]
    pub device: Option<DeviceDemand>,
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
    /// Each domain holds at most `limit` replicas of all of `workloads` together. `separate within` is limit 1 for one workload. Unit: a
    /// replica beyond the limit, in each domain.
    LimitPerDomain { workloads: Vec<WorkloadIdx>, topology: TopologyIdx, limit: u32 },
    /// No domain holds more than max(wanted, placed) − min(keep, wanted) replicas of `workload`: with all placed, at least `keep` remain
    /// whichever domain is lost, and a shortage elsewhere never drives it to zero. Unit: a replica too many, in each domain.
    Survive { workload: WorkloadIdx, topology: TopologyIdx, keep: u32 },
    /// A domain that holds a replica of `a` holds at most `limit` of `b`. With limit 0 it is symmetric: none holds both. Unit: in each
    /// domain, min(count a, count b beyond the limit).
    SeparateFrom { a: WorkloadIdx, b: WorkloadIdx, topology: TopologyIdx, limit: u32 },
    /// A domain that holds a replica of any of `workloads` holds at least one of any of `to`. Not symmetric, may be circular. Unit: a
    /// replica of `workloads` in a domain without.
    Near { workloads: Vec<WorkloadIdx>, to: Vec<WorkloadIdx>, topology: TopologyIdx },
    /// The replicas of `workloads`, taken together, lie in at least min(`least`, how many are placed) domains. Unit: a domain too few.
    DistinctDomains { workloads: Vec<WorkloadIdx>, topology: TopologyIdx, least: u32 },
    /// For every domain d: what is lost with d can be placed again, all of it, on what is free on the nodes outside d, as far as capacity,
    /// devices, eligibility and per-node maxima go. Nodes on offer are room only when they hold something. Unit: a replica for which
    /// [`crate::check`] finds no room, summed over the domains. Replicas of `except` (ascending) go with what is lost: daemons do.
    Reserve {
        topology: TopologyIdx,
        #[serde(default)]
        except: Vec<WorkloadIdx>,
    },
    /// At most `most` of `nodes` (ascending) hold anything: the limit of a pool that grows. Unit: a node beyond it.
    NodesMost { nodes: Vec<NodeIdx>, most: u32 },
    /// Soft only: a safety capacity. Unit: a started `scale` of the resource used on a node beyond `safe[node]`.
    Safety { resource: ResourceIdx, safe: Vec<u64> },
    /// Soft only: what is left of two resources should keep a ratio. Unit: a started `unit` of max(0, factor₁ · left₁ − factor₂ · left₂),
    /// on each node, where left = capacity − used (of an overloaded node it is negative). `(resource, factor)` twice.
    Balance { first: (ResourceIdx, u64), second: (ResourceIdx, u64), unit: u64 },
    /// Soft only: a running replica that is moved or stopped, by its workload. Unit: one, times the number beside the workload.
    Moved { workloads: Vec<(WorkloadIdx, u32)> },
    /// Soft only: the most running replicas that are moved or stopped in any one of `groups`. Unit: one.
    MovedMost { groups: Vec<Vec<WorkloadIdx>> },
    /// Soft only: how far replicas move. Unit: `units[from][to]`, for each workload that wants one replica and no surplus, and has one running.
    MovedFar { units: Vec<Vec<u32>> },
    /// Soft only: a replica of `workload` on any node outside `nodes` (ascending). Unit: such a replica.
    Prefer { workload: WorkloadIdx, nodes: Vec<NodeIdx> },
    /// Hard only: Σ over `workloads` of demand × placed ≤ `max` for each resource listed.
    Quota { workloads: Vec<WorkloadIdx>, max: Vec<(ResourceIdx, u64)> },
    /// Hard only: either every one of `workloads` has all its wanted replicas placed, or none of them has any.
    AllOrNothing { workloads: Vec<WorkloadIdx> },
}

impl Rule {
    /// The workloads a rule names, each once.
    pub fn workloads(&self) -> Vec<WorkloadIdx> {
        match self {
            Rule::Spread { workload, .. } | Rule::Survive { workload, .. } | Rule::Prefer { workload, .. } => {
                vec![*workload]
            }
            Rule::SeparateFrom { a, b, .. } if a == b => vec![*a],
            Rule::SeparateFrom { a, b, .. } => vec![*a, *b],
            Rule::Near { workloads, to, .. } => {
                let mut both = [workloads.as_slice(), to.as_slice()].concat();
                both.sort_unstable();
                both.dedup();
                both
            }
            Rule::LimitPerDomain { workloads, .. }
            | Rule::DistinctDomains { workloads, .. }
            | Rule::Quota { workloads, .. }
            | Rule::AllOrNothing { workloads } => workloads.clone(),
            Rule::Moved { workloads } => workloads.iter().map(|(workload, _)| *workload).collect(),
            Rule::MovedMost { groups } => {
                let mut all = groups.concat();
                all.sort_unstable();
                all.dedup();
                all
            }
            Rule::Reserve { .. }
            | Rule::NodesMost { .. }
            | Rule::Safety { .. }
            | Rule::Balance { .. }
            | Rule::MovedFar { .. } => Vec::new(),
        }
    }

    /// Whether a rule is about nodes and whatever lies on them, naming no workload.
    pub fn is_about_nodes(&self) -> bool {
        matches!(
            self,
            Rule::Reserve { .. }
                | Rule::NodesMost { .. }
                | Rule::Safety { .. }
                | Rule::Balance { .. }
                | Rule::MovedFar { .. }
        )
    }
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
