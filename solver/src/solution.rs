//! The solver's answer: a checked placement, its value tier by tier with proven bounds, and reasons for what is missing.

use crate::{ConstraintIdx, DeviceIdx, NodeIdx, Placed, ResourceIdx, Rule, WorkloadIdx};
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
    /// Where several workloads are short: changes after all of which everything is placed, found and verified by solving again. They give
    /// nothing up; empty where no such were found.
    #[serde(default)]
    pub together: Vec<Repair>,
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
    /// Sums of demands, capacities and what must stay.
    Sums,
    /// The linear relaxation of the program over classes of like nodes, with cuts.
    ClassRelaxation,
    /// The program over classes, node counts whole.
    ClassProgram,
    /// The program over single nodes.
    ExactProgram,
}

impl TierValue {
    /// How much less another plan could reach in this tier at most, with the same values in the tiers before.
    pub fn gain(&self) -> u64 {
        self.value.saturating_sub(self.bound)
    }
}

/// A workload that could not be placed in full, and why.
///
/// What is asked about is the *wish*: the workload has all it wants, everything of its priority or higher keeps as many replicas as it has,
/// and everything lower may go.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shortage {
    /// Which workload.
    pub workload: WorkloadIdx,
    /// Replicas missing.
    pub missing: u32,
    /// What stands in the way. When `proven`, the wish is impossible under these alone, everything else about it given up; empty when the
    /// set would be too long to be read, and `certificate` is all there is to say.
    pub conflict: Vec<Cause>,
    /// What would help, cheapest first, each verified by solving again; may be empty. The order is that of [`Repair`].
    pub repairs: Vec<Repair>,
    /// The wish is impossible: shown by a bound of the back-end, or by the certificate. False means "not found", not "impossible".
    pub proven: bool,
    /// Proven, and without any one cause of the conflict the wish is possible: a placement for it was found and verified.
    #[serde(default)]
    pub minimal: bool,
    /// A resource that cannot suffice, in exact integers.
    #[serde(default)]
    pub certificate: Option<Certificate>,
    /// When not proven: how many of the nodes that the workload may be on are barred for one more replica by what.
    #[serde(default)]
    pub barred: Vec<Barred>,
}

/// Workloads that may only be on these nodes need more of a resource than the nodes have: the wish is impossible.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// Of what.
    pub resource: ResourceIdx,
    /// The nodes, ascending.
    pub nodes: Vec<NodeIdx>,
    /// The workloads with no other place to be, ascending: the one that is short, and those of its priority or higher.
    pub workloads: Vec<WorkloadIdx>,
    /// What they need: the one that is short for all that it wants, the others for what they have.
    pub needed: u64,
    /// What the nodes have.
    pub there: u64,
}

/// Nodes on which one more replica is impossible as things are, for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Barred {
    /// The reason.
    pub cause: Cause,
    /// On so many nodes.
    pub nodes: u32,
}

/// A thing that stands in the way of a replica.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// No node is eligible.
    NotEligible,
    /// There is this resource only so much: `needed` for the missing replicas (0 when only others take of it), `free` in all on the eligible
    /// nodes, of which no node has enough for one when `fragmented`.
    Capacity { resource: ResourceIdx, needed: u64, free: u64, fragmented: bool },
    /// At most [`crate::Workload::per_node_max`] on a node.
    PerNodeMax,
    /// This rule; it may be another workload's.
    Rule(ConstraintIdx),
    /// It may be on the eligible nodes only.
    Eligibility,
    /// The nodes have only so many devices.
    Devices(DeviceIdx),
}

/// A change that lets the missing replicas be placed while nobody else loses any, but for what it says itself. In order of what it costs: what
/// is asked for stays, then what is paid for, then what is given up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Repair {
    /// Put this looser rule in its place: the least change of its limit that was found to help.
    RelaxRule { constraint: ConstraintIdx, to: Rule },
    /// `count` more nodes like this one (same capacity, same domains): the kind for which that costs least.
    AddNodes { like: NodeIdx, count: u32 },
    /// Run this many fewer replicas of another workload, of this priority or lower.
    DropReplicas { workload: WorkloadIdx, by: u32 },
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
