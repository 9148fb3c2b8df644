//! Placement as an integer program: a [`Problem`] goes in, a [`Solution`] with its proof comes out.
//!
//! The crate is pure. It does no IO, reads no clock except through the deadline it is given, and knows no
//! containers: a *workload* is a demand vector wanted a number of times, a *node* a capacity vector with a price.
//! [`solve`] finds, [`check`] and [`verify`] judge, [`evaluate`] says what a placement is worth. The last three compute in exact
//! integers and share no code with what finds.
//!
//! # The program
//!
//! x\[w,n\] ∈ {0, 1, …} is the number of replicas of workload w on node n, wherever w may be; y\[n\] ∈ {0, 1} says that n holds anything.
//! count\[w,d\] is Σ x\[w,n\] over the nodes n of domain d, placed\[w\] is Σ x\[w,n\] over all n. U is a bound on a count.
//!
//! | condition | rows |
//! |---|---|
//! | wanted | placed\[w\] ≤ wanted\[w\] |
//! | capacity, for each node and resource | Σ_w demand\[w\] · x\[w,n\] ≤ capacity\[n\] · y\[n\], divided by what all demands share |
//! | filled | x\[w,n\] ≤ most\[w,n\] · y\[n\] |
//! | spread | m ≤ count\[w,d\] ≤ M over the domains with an eligible node; M − m ≤ max_skew + s |
//! | limit per domain | count\[w,d\] ≤ limit + s\[d\] |
//! | separate a, b | count\[a,d\] ≤ U·z\[d\] + s\[d\]; count\[b,d\] ≤ U·(1 − z\[d\]) + s\[d\]; z binary |
//! | w near v | count\[w,d\] ≤ U·u\[d\] + s\[d\]; u\[d\] ≤ count\[v,d\]; u binary |
//! | prefer | units Σ x\[w,n\] over the nodes that are not preferred |
//! | quota | Σ_w demand\[w\] · placed\[w\] ≤ max + scale · s |
//! | all or nothing | Σ placed ≤ W·z + s; Σ wanted − placed ≤ W·(1 − z) + s; z binary |
//!
//! The slacks s ≥ 0 are the units in which a rule is broken. A hard rule has none; a soft one's go, weighted, to [`Tier::Soft`]; a hard
//! one that the present state breaks by u units has s ≤ u in all, and they go to [`Tier::Repair`]. In the same way a node that is
//! overloaded keeps at most its present use, and a replica that runs where it may not may stay.
//!
//! | tier | expression |
//! |---|---|
//! | shortage, for each priority | Σ wanted\[w\] − placed\[w\] |
//! | repair, soft | Σ s; Σ weight · s |
//! | disruption | Σ weight\[w\] · δ\[w,n\], δ ≥ running − x |
//! | cost | Σ price\[n\] · y\[n\] |
//! | priced cost | move price · disruption + cost |
//! | shape | Σ y, or Σ e\[n,t\] with e ≥ peak\[n\] − t and peak\[n\] ≥ 1000 · used / capacity, whole |
//!
//! Tiers are minimised one after the other, each under the rows *earlier tier ≤ its value*. A bound found under these rows is what
//! [`TierValue::bound`] promises. A tier that ran out of time is not frozen: its row says "no worse", and everything after it is
//! reported as unproven.
//!
//! # Classes
//!
//! Nodes that no rule, capacity or price tells apart are taken together: x\[w,c\] ≤ Σ most, y\[c\] ∈ {0, …, |c|}. Every placement, summed
//! over classes, satisfies that program, so its bounds hold for all placements. Its own solutions guide the search; they
//! need not come apart into placements. Where each node of a class is a domain of its own (topology "node"), rules are relaxed to what
//! averages must satisfy.
//!
//! # The stages
//!
//! ```text
//!             +----------+   +--------+
//!  Problem -->| validate |-->| greedy |--+-- few pairs ----> exact program per node --- proven ---> answer
//!             +----------+   +--------+  |                          | time out        ^
//!                 keep what runs, and    |                          v                 | again, from
//!                 from nothing           +-- many --> class guide --> neighbourhoods -+ the best so far
//!                                                     (deflation      (6-14 nodes as      (few pairs only)
//!                                                      ladder)         exact programs)
//!                                                         |  bounds: class program
//!                                                         v
//!                                            empty nodes one by one
//!
//!  every placement on the way: verify (exact integers) --> evaluate --> kept if lexicographically better
//! ```
//!
//! Answers are repeatable unless time ends the search: one thread, fixed seeds, bounded attempts, ties by index.
//!
//! # What is thin
//!
//! - With many nodes only shortage, soft rules and cost are searched for; the bound on cost is that of the class program's linear relaxation, and
//!   5 to 10 % of gap remain at 200 nodes. There is no ruin and recreate, no column generation, no partitioning.
//! - The greedy stage looks at all nodes of a workload: fine for thousands, not for 1,000,000 placements a second.
//! - A change to a large cluster goes through all stages; only what they touch is bounded, not what they read.
//! - A deadline is honoured between programs and within HiGHS; HiGHS has been seen to overrun by a few hundred milliseconds.
//! - A conflict is minimal as far as every test was decided in time; rules between other workloads are taken as given.
//! - Devices (whole GPUs), safety capacity, transient use while moving, buying nodes: not modelled.

mod backend;
mod check;
mod classes;
mod deadline;
mod evaluate;
mod explain;
mod greedy;
mod guided;
mod instance;
mod layout;
mod lexicographic;
mod model;
mod neighbourhoods;
mod problem;
mod prune;
mod reassign;
mod solution;
mod solve;
mod validate;

pub use check::{check, excused, verify};
pub use evaluate::{evaluate, tiers};
pub use problem::*;
pub use reassign::{ReassignLimits, reassign};
pub use solution::*;
pub use solve::{SolveOptions, solve};
pub use validate::ProblemError;
