//! The plan document (DESIGN §5): what `hyphae plan --format json` prints, what `plan.json` holds, what `apply` sends back.
//!
//! Field names are stable; more may be added.

use serde::{Deserialize, Serialize};

/// A plan: exact, proven, with reasons.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanDocument {
    /// The state's revision at which it was made; `apply` refuses it at any other.
    pub revision: u64,
    /// How good it is.
    pub status: Status,
    /// The objective, most important tier first.
    pub tiers: Vec<TierEntry>,
    /// What runs where once it is carried out, sorted.
    pub assignments: Vec<Assignment>,
    /// Machines to buy.
    pub nodes_bought: Vec<NodesBought>,
    /// Machines of pools that hold nothing afterwards and are not needed for a pool's `min`.
    #[serde(default)]
    pub nodes_returned: Vec<NodeReturned>,
    /// What the same load would cost if every pool were bought anew; only where there are pools and time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cheapest_fleet: Option<CheapestFleet>,
    /// How many replicas each workload that scales wants, and why.
    #[serde(default)]
    pub scaling: Vec<Scaled>,
    /// The difference to the present.
    pub changes: Vec<Change>,
    /// Indices of `changes` that run together, in order. A change may be spread over waves; it then appears in each.
    pub waves: Vec<Vec<usize>>,
    /// What could not be placed, and why.
    pub unplaced: Vec<Unplaced>,
    /// Where several workloads are short: changes that together place everything; empty where none were found.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub repairs_together: Vec<RepairEntry>,
    /// What policies forbid.
    pub denied: Vec<Denied>,
    /// The soft statements that it breaks, the dearest first; their costs together are the tier "soft".
    #[serde(default)]
    pub broken_soft: Vec<BrokenSoft>,
    /// Price per hour before and after, millionths.
    pub cost: CostChange,
    /// How it was computed.
    pub solve: SolveEntry,
    /// Worth knowing: warnings about the sources, a policy set that comes into force.
    #[serde(default)]
    pub notes: Vec<String>,
    /// Present when it is made for a world that is not: what was supposed, and what the plan for the world as it is would be instead.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub what_if: Option<WhatIfEntry>,
    /// The sources it was made from, so that a saved plan is whole.
    pub inputs: Inputs,
}

/// How good a plan is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Everything is placed and every tier is proven.
    Optimal,
    /// Everything is placed; some tier is not proven.
    Feasible,
    /// Something wanted is not placed.
    Shortage,
    /// A policy forbids it; it can not be applied.
    Denied,
}

/// A soft statement that the plan breaks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrokenSoft {
    /// Where it is written.
    #[serde(flatten)]
    pub rule: Conflict,
    /// By how much it is broken, times its weight.
    pub cost: u64,
}

/// A tier's value and proof.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TierEntry {
    /// "shortage", "repair", "soft", "disruption", "cost", "priced-cost", "shape".
    pub tier: String,
    /// Of shortage: which priority.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub priority: Option<i32>,
    /// Reached.
    pub value: u64,
    /// No plan can be below.
    pub bound: u64,
    /// Value is bound, here and before.
    pub proven: bool,
}

/// Replicas of a workload on a node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Assignment {
    /// `team/name`.
    pub workload: String,
    /// The node.
    pub node: String,
    /// How many.
    pub count: u32,
}

/// Machines to buy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodesBought {
    /// Pool.
    pub pool: String,
    /// Instance type.
    pub instance: String,
    /// Zone; "" where the pool names none.
    pub zone: String,
    /// How many.
    pub count: u32,
    /// Price of one per hour, millionths.
    #[serde(default)]
    pub price_micros: u64,
    /// What they will hold; nothing where they are bought for the pool's `min` alone.
    #[serde(default)]
    pub holds: Vec<Held>,
    /// Their names among the assignments, until they are there.
    #[serde(default)]
    pub nodes: Vec<String>,
}

/// Why a plan cannot be carried out as things are: it places replicas on machines that have to be bought first.
pub fn needs_buying(bought: &[NodesBought]) -> Option<String> {
    let needed: Vec<&NodesBought> = bought.iter().filter(|bought| !bought.holds.is_empty()).collect();
    let count: u32 = needed.iter().map(|bought| bought.count).sum();
    let what = |bought: &&NodesBought| {
        let NodesBought { pool, instance, zone, count, .. } = bought;
        let zone = if zone.is_empty() { String::new() } else { format!(" in zone {zone}") };
        format!("{count} {instance}{zone} for pool {pool}")
    };
    let nodes = if count == 1 { "1 node".to_owned() } else { format!("{count} nodes") };
    let what = needed.iter().map(what).collect::<Vec<_>>().join(", ");
    (count > 0).then(|| format!("the plan buys {nodes}, and nothing here can buy them yet: {what}"))
}

/// Replicas of a workload on some nodes together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// `team/name`.
    pub workload: String,
    /// How many.
    pub count: u32,
}

/// A machine to return.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeReturned {
    /// Pool.
    pub pool: String,
    /// The node.
    pub node: String,
    /// Zone; "" where it has none.
    pub zone: String,
    /// Saved per hour, millionths.
    pub price_micros: u64,
}

/// What the same load would cost if no machine of a pool were there yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheapestFleet {
    /// Per hour, millionths: of all nodes that would hold anything, those outside pools included.
    pub cost_micros: u64,
    /// No fleet that places as much and breaks as little can cost less.
    pub bound_micros: u64,
    /// Cost is bound.
    pub proven: bool,
    /// What would be bought.
    pub nodes: Vec<NodesBought>,
}

/// What a `scale` comes to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scaled {
    /// `team/name`.
    pub workload: String,
    /// What all its replicas use together, when it is known.
    pub load_cpu_millis: Option<u64>,
    /// The share of its reserved cpu that a replica should use, in thousandths.
    pub target_cpu_permille: u32,
    /// Fewest replicas.
    pub min: u32,
    /// Most replicas.
    pub max: u32,
    /// Replicas for the load; fewer are a shortage.
    pub wanted: u32,
    /// Replicas placed.
    pub placed: u32,
    /// The labels whose loss takes more replicas than the load does; empty where no more are placed.
    pub survives: Vec<String>,
}

/// One kind of change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// What.
    pub action: Action,
    /// Whose.
    pub workload: String,
    /// From which node (stop, move, update).
    pub from: Option<String>,
    /// To which node (start, move, update).
    pub to: Option<String>,
    /// How many replicas.
    pub count: u32,
    /// For people.
    pub why: String,
    /// The indices of the replicas concerned (of a move: the old ones).
    pub replicas: Vec<u32>,
    /// Of a move: the indices of the replicas that replace them.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub new_replicas: Vec<u32>,
}

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    Start,
    Stop,
    Move,
    Update,
}

/// A workload that is short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unplaced {
    /// Which.
    pub workload: String,
    /// By how much.
    pub count: u32,
    /// What stands in the way.
    pub conflict: Vec<Conflict>,
    /// What would help.
    pub repairs: Vec<RepairEntry>,
    /// The conflict was proven; otherwise no placement was found, which is not the same as impossible.
    pub proven: bool,
    /// Proven, and without any one of the conflict's members it would be possible, as far as those go.
    #[serde(default)]
    pub minimal: bool,
    /// For people: a resource of which there cannot be enough, added up.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub certificate: Option<String>,
}

/// What was supposed, and what it changes: "now" is the plan without the suppositions, "then" this one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WhatIfEntry {
    /// As they were given.
    pub suppositions: Vec<String>,
    /// Every tier that either plan has.
    pub tiers: Vec<TierChange>,
    /// Workloads that are short in either.
    pub unplaced: Vec<UnplacedChange>,
    /// Price per hour of the nodes that hold anything, millionths, in the plan without.
    pub cost_now_micros: u64,
    /// The same in this one.
    pub cost_then_micros: u64,
}

/// A tier's value in both plans; none where a plan has no such tier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TierChange {
    /// As in [`TierEntry`].
    pub tier: String,
    /// Of shortage: which priority.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub priority: Option<i32>,
    /// Without the suppositions.
    pub now: Option<u64>,
    /// With them.
    pub then: Option<u64>,
}

/// Replicas of a workload that have no place in each plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnplacedChange {
    /// Which.
    pub workload: String,
    /// Without the suppositions.
    pub now: u32,
    /// With them.
    pub then: u32,
}

/// A thing that stands in the way, with where it is written, when it is written anywhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conflict {
    /// The file.
    pub file: Option<String>,
    /// From 1.
    pub line: Option<usize>,
    /// From 1.
    pub column: Option<usize>,
    /// The statement, or what lacks: "spread over=\"zone\" max-skew=1", "memory: 4GiB needed, 1GiB free".
    pub constraint: String,
}

/// A change that would help.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepairEntry {
    /// For people.
    pub text: String,
    /// What it adds, if it adds machines.
    pub adds: Option<String>,
}

/// What a policy forbids.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Denied {
    /// The policy's id; `None`: no policy permits it.
    pub policy: Option<String>,
    /// Its file.
    pub file: Option<String>,
    /// Its line.
    pub line: Option<usize>,
    /// "deploy", "apply", …
    pub action: String,
    /// On what.
    pub workload: String,
    /// For people.
    pub message: String,
}

/// Price per hour, millionths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CostChange {
    /// Of the nodes that hold anything now.
    pub before_micros: u64,
    /// Of the nodes that hold anything afterwards.
    pub after_micros: u64,
}

/// How a plan was computed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SolveEntry {
    /// Wall time of planning.
    pub millis: u64,
    /// See `hyphae_solver::SolveStats`.
    pub method: String,
    /// Of the largest program.
    pub variables: usize,
    /// Of the largest program.
    pub constraints: usize,
    /// The independent checker has verified the placement. Always true: no other plan is shown.
    pub checked: bool,
}

/// The sources of a plan.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inputs {
    /// KDL and Cedar files.
    pub files: Vec<InputFile>,
    /// Full names of workloads to delete.
    pub delete: Vec<String>,
}

/// A file as the user named it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputFile {
    /// Its name; ends in .kdl or .cedar.
    pub file: String,
    /// Its content.
    pub text: String,
}
