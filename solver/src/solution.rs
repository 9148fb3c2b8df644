//! The solver's answer: a checked placement, its value tier by tier with proven bounds, and reasons for what is missing.

use crate::{ConstraintIdx, DeviceIdx, NodeIdx, Placed, ResourceIdx, WorkloadIdx};
use serde::{Deserialize, Serialize};

/// A placement that has passed [`crate::check`], and what is known about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Solution {
    /// What goes where: sorted by (workload, node), one entry for each pair, counts > 0.
    pub placed: Vec<Placed>,
    /// One entry for each tier in order of importance: shortage for each priority that occurs (highest first), repair, soft, then
    /// either disruption and cost or their priced sum, then shape.
    pub tiers: Vec<TierValue>,
    /// Workloads with fewer replicas than wanted, in order of index, with the reason.
    pub shortages: Vec<Shortage>,
    /// Hard rules that the present state breaks and this placement still (never more) breaks.
    pub unrepaired: Vec<Violation>,
    /// How it was found.
    pub stats: SolveStats,
}

/// A tier of the objective. Smaller is better for all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tier {
    /// Replicas wanted and not placed, of this priority.
    Shortage(i32),
    /// Units by which hard rules stay broken that the present state breaks.
    Repair,
    /// Weighted units by which soft rules are broken.
    Soft,
    /// Replicas placed beyond what is wanted. Present only when some workload may have any.
    Surplus,
    /// Running replicas moved or stopped: Σ weight · max(0, current − x).
    Disruption,
    /// Price of the nodes that hold anything, millionths per hour.
    Cost,
    /// `move_price_micros` × disruption + cost, when moves are priced (then the two tiers above are absent).
    PricedCost,
    /// See [`crate::Shape`].
    Shape,
}

/// A tier's value and the proof that goes with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TierValue {
    /// Which tier.
    pub tier: Tier,
    /// The placement's value, recomputed exactly from the placement.
    pub value: u64,
    /// A lower bound on what any placement with the same values in the tiers before could reach. 0 when nothing is known.
    pub bound: u64,
    /// `value == bound`, and every tier before is proven as well.
    pub proven: bool,
    /// What gave the bound.
    #[serde(default)]
    pub proof: Proof,
}

/// What gave a bound.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Proof {
    /// Nothing is below zero.
    #[default]
    Trivial,
    /// The linear relaxation of the program over classes of like nodes, with cuts.
    ClassRelaxation,
    /// The program over classes, node counts whole.
    ClassProgram,
    /// The program over single nodes.
    ExactProgram,
}

/// A workload that could not be placed in full, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shortage {
    /// Which workload.
    pub workload: WorkloadIdx,
    /// Replicas missing.
    pub missing: u32,
    /// What stands in the way.
    pub conflict: Vec<Cause>,
    /// What would help, cheapest first, each verified by solving again; may be empty.
    pub repairs: Vec<Repair>,
    /// The conflict was shown to be sufficient (removing replicas is then the only way); false means "not found", not "impossible".
    pub proven: bool,
}

/// A thing that stands in the way of a replica.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// No node is eligible.
    NotEligible,
    /// The eligible nodes lack this resource: `needed` for the missing replicas, `free` in all, of which no node has enough for one when `fragmented`.
    Capacity { resource: ResourceIdx, needed: u64, free: u64, fragmented: bool },
    /// At most [`crate::Workload::per_node_max`] on a node.
    PerNodeMax,
    /// This rule.
    Rule(ConstraintIdx),
}

/// A change that lets the missing replicas be placed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Repair {
    /// `count` more nodes like this one (same capacity, same domains).
    AddNodes { like: NodeIdx, count: u32 },
    /// Drop this rule.
    DropRule(ConstraintIdx),
    /// Want this many fewer replicas.
    WantFewer { workload: WorkloadIdx, by: u32 },
}

/// How a solution was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SolveStats {
    /// "exact per node", "per class", "greedy", …
    pub method: String,
    /// Variables of the largest program solved.
    pub variables: usize,
    /// Rows of the largest program solved.
    pub constraints: usize,
    /// The back-end was stopped by the deadline.
    pub timed_out: bool,
}

/// A hard condition that a placement does not keep, as found by [`crate::check`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Violation {
    /// More used than there is.
    Capacity { node: NodeIdx, resource: ResourceIdx, used: u128, capacity: u64 },
    /// Replicas on a node that is not eligible, or lacks a label that a hard rule divides by.
    NotEligible { workload: WorkloadIdx, node: NodeIdx, count: u32 },
    /// More on one node than [`crate::Workload::per_node_max`].
    PerNodeMax { workload: WorkloadIdx, node: NodeIdx, count: u32 },
    /// A node's devices do not suffice: so many more would be needed.
    Devices { node: NodeIdx, kind: DeviceIdx, lacking: u32 },
    /// More replicas than wanted and may be beyond it.
    TooMany { workload: WorkloadIdx, placed: u64, wanted: u32 },
    /// A hard rule broken by this many units.
    Rule { constraint: ConstraintIdx, units: u64 },
    /// An entry that names something that does not exist, a count of zero, or a pair listed twice.
    Malformed { workload: WorkloadIdx, node: NodeIdx },
}
