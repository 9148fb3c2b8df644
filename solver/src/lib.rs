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
//! | wanted | placed\[w\] ≤ wanted\[w\] + p; p ≤ surplus_max · z; wanted · z ≤ placed\[w\] − p; z binary |
//! | capacity, for each node and resource | Σ_w demand\[w\] · x\[w,n\] ≤ capacity\[n\] · y\[n\], divided by what all demands share |
//! | filled | x\[w,n\] ≤ most\[w,n\] · y\[n\] |
//! | spread | m ≤ count\[w,d\] ≤ M over the domains with an eligible node; M − m ≤ max_skew + s |
//! | spread of whole counts over D domains | count\[w,d\] ≤ ⌊(wanted + (D − 1) · max_skew) / D⌋ + s; count\[w,d\] ≥ ⌈(wanted − (D − 1) · max_skew) / D⌉ − (wanted − Σ_d count\[w,d\]) − s |
//! | limit per domain, of a group | Σ_w count\[w,d\] ≤ limit + s\[d\] |
//! | survive, keep c | count\[w,d\] ≤ wanted − c + p + s\[d\] |
//! | separate a, b | count\[a,d\] ≤ U·z\[d\] + s\[d\]; count\[b,d\] ≤ limit + U·(1 − z\[d\]) + s\[d\]; z binary |
//! | group near group | count\[d\] ≤ U·u\[d\] + s\[d\]; u\[d\] ≤ count of the others\[d\]; u binary |
//! | distinct domains | Σ_k v\[k\] ≤ Σ_d u\[d\] + s; u\[d\] ≤ count\[d\]; placed ≤ k − 1 + U·v\[k\] for k ≤ least; u, v binary |
//! | transient resource | Σ_w demand · (running + t) ≤ capacity; t ≥ x − running |
//! | devices, y\[n,p\] of them filled by pattern p | Σ x\[w,n\] over each size of share ≤ Σ_p a\[p,size\] · y\[n,p\]; Σ_p y\[n,p\] + Σ_w whole\[w\] · x\[w,n\] ≤ devices\[n\] |
//! | too many patterns | Σ f(share) · x + Σ whole · x ≤ devices, for dual feasible functions f (see `model/devices.rs`) |
//! | filled nodes of a pool | Σ y ≤ most + s |
//! | safety, balance | over ≤ unit · s, on each node |
//! | moved | running − x ≤ d; Σ units · d, or their largest sum over groups, or Σ units\[from,to\] · x |
//! | prefer | units Σ x\[w,n\] over the nodes that are not preferred |
//! | quota | Σ_w demand\[w\] · placed\[w\] ≤ max + scale · s |
//! | all or nothing | Σ placed ≤ W·z + s; Σ wanted − placed ≤ W·(1 − z) + s; z binary |
//! | reserve, of small problems | count\[w,d\] ≤ Σ_n r\[w,d,n\] + s\[w,d\] over n outside d; Σ_w demand\[w\] · (x\[w,n\] + r\[w,d,n\]) ≤ capacity\[n\], for each d; devices as above, over x + r |
//! | reserve, of large ones | Σ_{w only in N} demand\[w\] · placed\[w\] ≤ min_d Σ_{n in N, not d} capacity\[n\], for sets N of eligible nodes |
//!
//! The slacks s ≥ 0 are the units in which a rule is broken. A hard rule has none; a soft one's go, weighted, to [`Tier::Soft`]; a hard
//! one that the present state breaks by u units has s ≤ u in all, and they go to [`Tier::Repair`]. In the same way a node that is
//! overloaded keeps at most its present use, and a replica that runs where it may not may stay.
//!
//! | tier | expression |
//! |---|---|
//! | shortage, for each priority | Σ wanted\[w\] − placed\[w\] |
//! | repair, soft | Σ s; Σ weight · s |
//! | surplus | Σ p |
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
//! Replicas are whole, fractions are not: for every class, resource and dual feasible function f (Fekete, Schepers 2001), Σ_w f(demand / capacity) ·
//! x\[w,c\] ≤ y\[c\] holds for every placement. Such rows are added where the relaxation breaks them, until they gain nothing any more;
//! so are the rows *filled*, of which there are many and few matter. A tier that is at its least is kept there part by part (placed = wanted for
//! each workload), which the back-end takes out of the program. Then the program is solved with y whole, from the best placement: without a
//! start the back-end finds next to nothing in the time, and proves no more.
//!
//! # The stages
//!
//! ```text
//!                       nearly all of it runs --> incremental (keep, repair, place, bounds from sums) -- settled --> answer
//!             +----------+   +--------+
//!  Problem -->| validate |-->| greedy |--+-- few pairs ----> exact program per node --- proven ---> answer
//!             +----------+   +--------+  |                          | time out        ^
//!                 keep what runs, and    |                          v                 | again, from
//!                 from nothing           +-- many --> room for everything (annealing) | the best so far
//!                                                          |                          | (few pairs only)
//!                                                          v                          |
//!                                                     class relaxation with cuts      |
//!                                                          | bounds, counts per class |
//!                                                          v                          |
//!                                                whole node counts, fewer nodes       |
//!                                                (annealing, 2 threads)               |
//!                                                          |                          |
//!                   class program, nodes whole  ||  ruin and recreate (2-5 nodes)     |
//!                   from the best placement     ||  exact neighbourhoods (6-14 nodes)-+
//!                   (another thread: bounds)    ||  empty nodes one by one
//!
//!  every placement on the way: verify (exact integers) --> evaluate --> kept if lexicographically better
//! ```
//!
//! *Whole node counts*, where the class program is small: it is solved with whole node counts, once as it is and once with a little of the capacity held
//! back. Just these nodes are open; the program's counts are dealt out on them, all that is left goes where it overloads least, and simulated annealing
//! makes the overload go away: exchanges of up to two replicas, all of a pair between two nodes looked at together, and one large replica for as many small
//! ones as it needs room. Between what came apart and what did not, counts in the middle are tried; those that keep failing are asked for again at prices
//! changed by a thousandth, which gives others that cost the same. Where nothing had to be held back, the placement costs what the program proves.
//!
//! *Fewer nodes*: what is open is what the class relaxation opens and a little more, or what whole node counts have left. Then nodes are closed, many at
//! once at first, or changed for cheaper ones, as long as everything finds room again by the same annealing: two ways at a time, each on a thread, those
//! first that left least too much when they failed. What must stay out, proven by the class relaxation, is left out from the start. Filling all open nodes
//! together, rather than one by one, lets several resources run out on every node at once.
//!
//! That and ruin and recreate work on a board: flat arrays in which the units of every rule are kept up to date replica by replica, so that a step
//! costs the same in any cluster. What finds no room in a step waits aside at somewhat more than its worth in resources, and the dual
//! prices of "enough capacity for all demands, at least cost" say what that is.
//!
//! *Reserves*: every replica has two places, where it lies and where it would go when that is lost. Annealing over both (`refuges`) makes what is
//! too much in any loss go away, before everything else in large problems; what is placed at all follows from the sums, with less and less held back.
//!
//! Answers are repeatable unless time ends the search: fixed seeds, bounded attempts, ties by index. Threads know nothing of each
//! other until all are done, and are then asked in a fixed order. HiGHS works on a thread of its own, which is left behind when it is late.
//!
//! # What is thin
//!
//! - A board knows no devices, no rules about nodes and no surplus: for such problems neighbourhoods alone carry the search. Where devices are
//!   short, replicas without rules that do not run yet are repacked over them by a ruin and recreate of its own.
//! - After a reserve that keeps something out, or that is costly to keep, nodes are only emptied one by one: the annealing over fewer nodes knows
//!   no losses. With devices a reserve is kept by greedy placements only.
//! - Safety capacity and balance of what runs are bettered by machine reassignment where every workload has one replica, else by neighbourhoods alone:
//!   a board does not know them.
//! - What runs and must not move, or moves at a price, is not brought onto fewer nodes by annealing: ruin and recreate does that, more slowly.
//! - The bound on cost is that of the class program; what only single nodes can tell (two resources that do not fit one node together) is not
//!   in it. There is no column generation and no partitioning.
//! - The deadline is looked at between steps and while HiGHS works, but not within a pass of the greedy stage, of which one is always made; HiGHS, left behind, ends by its own limit.
//! - A repair changes one thing: where two independent reasons stand in the way of one workload, loosening either alone helps nobody.
//!   [`Solution::together`] changes several, but only what helps each of the short ones by itself.
//! - The order of nodes that the greedy stage follows knows nothing of devices, of soft rules about what is left on each node (safety,
//!   balance), or how far replicas move: with those it looks at all nodes of a workload. Under [`Shape::Spread`] and soft rules over many
//!   domains it compares 64 nodes of each cell of its index.
//! - A small change to a large cluster moves nothing for the sake of soft rules or of cost; [`TierValue::gain`] says what that may be worth.
//! - Devices: with very many sizes of share only the largest are packed exactly in the programs ([`slots`] and the checker pack all). Which device a
//!   running replica has is not known, so that a placement may ask for another one on the same node.
//! - [`online`] looks at capacity, devices and eligibility only, not at rules.

#[cfg(test)]
extern crate self as hyphae_solver;

mod asked;
mod backend;
mod board;
#[cfg(test)]
mod board_tests;
mod cells;
mod chance;
mod check;
mod classes;
mod deadline;
mod device_room;
mod effects;
mod evaluate;
mod explain;
mod fewer_nodes;
mod greedy;
mod guided;
mod incremental;
mod index;
mod instance;
mod ladder;
mod layout;
mod lexicographic;
mod many_rules;
mod marks;
mod model;
mod neighbourhoods;
mod node_counts;
pub mod online;
mod ordered;
mod placer;
mod prices;
mod problem;
pub mod profiles;
mod prune;
mod reassign;
mod refuges;
mod repack;
mod ruin;
mod scan;
mod slots;
mod solution;
mod solve;
mod squeeze;
mod survival;
mod validate;
mod watch;

pub use check::{check, excused, verify};
pub use deadline::Cancel;
pub use evaluate::{evaluate, tiers};
pub use explain::{Ask, Room, TierGain, explain, price_of, room};
pub use instance::Instance;
pub use placer::Placer;
pub use problem::*;
pub use reassign::{ReassignLimits, reassign};
pub use slots::{SlotAssignment, slots};
pub use solution::*;
pub use solve::{SolveEffort, SolveOptions, solve};
pub use validate::ProblemError;
