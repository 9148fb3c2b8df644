//! What a loss leaves: can everything that lies in a lost domain be placed again on what is free elsewhere?
//!
//! Every loss is simulated on the placement itself. The lost replicas are packed, the hardest to place first, each where it leaves little; when that
//! fails in two orders, nodes are filled one after the other so that their resources run out together (Panigrahy et al. 2011), what is still left
//! over takes the place of what has room elsewhere too, and a bounded exact search follows. "No room" may be said wrongly of a large and nearly full cluster, "room" never.

use super::rooms::Rooms;
use super::{Tally, labels_needed};
use crate::{Placed, Problem};
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// Replicas of one loss that the exact search looks at, at most.
const SEARCHED_MAX: u64 = 64;
/// Pairs of a node and a workload there that are looked at for what is left over: for each loss.
const SWAPS_MAX: usize = 100_000;
/// No place is taken for what is left over when that is more than this, and more than one in so many of the lost replicas.
const LEFT_OVER_MAX: u64 = 64;
const LEFT_OVER_PART: u64 = 10;
/// Lost replicas times their workloads, at most, for filling node after node.
const COMPARED_MAX: u64 = 4_000_000;
/// Nodes that the exact searches look at: for each loss, and for all of them together.
const STEPS_MAX: usize = 60_000;
const STEPS_OF_ALL_MAX: usize = 3_000_000;

/// Replicas of a workload that find no room when a domain is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Homeless {
    pub(crate) domain: usize,
    pub(crate) workload: usize,
    pub(crate) count: u64,
}

/// Replicas for which no room is found, for the loss of each domain of a topology. Those of `except` need none.
pub(crate) fn homeless_of(problem: &Problem, placed: &[Placed], topology: usize, except: &[usize]) -> Vec<Homeless> {
    homeless(problem, &Tally::new(problem, placed, &mut Vec::new()), topology, except)
}

pub(super) fn homeless(problem: &Problem, tally: &Tally, topology: usize, except: &[usize]) -> Vec<Homeless> {
    let losses = losses(problem, tally, topology, except);
    if losses.iter().all(Vec::is_empty) {
        return Vec::new();
    }
    let rooms = Rooms::new(problem, tally, &labels_needed(problem), topology);
    let most = |r: usize| problem.nodes.iter().map(|node| node.capacity[r]).max().unwrap_or(0).max(1);
    let most: Vec<u64> = (0..problem.resources.len()).map(most).collect();
    let mut simulation = Simulation { problem, rooms, most, steps: 0, steps_of_all: STEPS_OF_ALL_MAX };
    let mut homeless = Vec::new();
    for (domain, lost) in losses.into_iter().enumerate().filter(|(_, lost)| !lost.is_empty()) {
        let missing = simulation.loss(domain, lost).into_iter();
        homeless.extend(missing.map(|(workload, count)| Homeless { domain, workload, count }));
    }
    homeless
}

/// How lost replicas are packed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    FewestNodes,
    LargestFirst,
    NodeAfterNode,
}

/// (workload, how many).
type Counts = Vec<(usize, u64)>;

fn total(counts: &[(usize, u64)]) -> u64 {
    counts.iter().map(|(_, count)| count).sum()
}

/// Per domain, what lies in it and has to go elsewhere.
fn losses(problem: &Problem, tally: &Tally, topology: usize, except: &[usize]) -> Vec<Counts> {
    let mut losses: Vec<Counts> = vec![Vec::new(); problem.topologies[topology].domains.len()];
    for (workload, nodes) in tally.by_workload.iter().enumerate() {
        if except.binary_search(&workload).is_ok() {
            continue;
        }
        for (node, count) in nodes {
            let Some(domain) = problem.nodes[*node].domains[topology] else { continue };
            match losses[domain].last_mut() {
                Some((last, many)) if *last == workload => *many += count,
                _ => losses[domain].push((workload, *count)),
            }
        }
    }
    losses
}

struct Simulation<'a> {
    problem: &'a Problem,
    rooms: Rooms<'a>,
    /// Per resource, the largest capacity of a node.
    most: Vec<u64>,
    steps: usize,
    steps_of_all: usize,
}

impl Simulation<'_> {
    /// Which of the lost replicas find no room.
    fn loss(&mut self, domain: usize, mut lost: Counts) -> Counts {
        self.rooms.lose(domain);
        lost.sort_by_cached_key(|(workload, _)| {
            (Reverse(self.size(*workload)), self.rooms.reach(*workload), *workload)
        });
        let by_size = lost.clone();
        lost.sort_by_cached_key(|(workload, _)| {
            (self.rooms.reach(*workload), Reverse(self.size(*workload)), *workload)
        });
        let mut missing = self.pack(Way::FewestNodes, (&lost, &by_size));
        let few = LEFT_OVER_MAX.max(total(&lost) / LEFT_OVER_PART);
        let compared = total(&lost).saturating_mul(lost.len() as u64);
        let mut best = Way::FewestNodes;
        for way in [Way::LargestFirst, Way::NodeAfterNode] {
            let hopeless = way == Way::NodeAfterNode && (total(&missing) > few || compared > COMPARED_MAX);
            if missing.is_empty() || hopeless || way == Way::LargestFirst && by_size == lost {
                continue;
            }
            let other = self.pack(way, (&lost, &by_size));
            if total(&other) < total(&missing) {
                (missing, best) = (other, way);
            }
        }
        if !missing.is_empty() && total(&missing) <= few {
            self.pack(best, (&lost, &by_size));
            self.steps = SWAPS_MAX;
            missing = self.squeezed_in(missing);
        }
        if !missing.is_empty() && total(&lost) <= SEARCHED_MAX {
            self.rooms.clear();
            self.steps = STEPS_MAX.min(self.steps_of_all);
            self.steps_of_all -= self.steps;
            self.search(&mut lost, (0, 0), &mut Vec::new(), &mut missing);
            self.steps_of_all += self.steps;
        }
        missing
    }

    /// What is left over when the lost replicas, sorted by how few nodes they may go to and by size, are packed in one way from nothing.
    fn pack(&mut self, way: Way, (by_reach, by_size): (&Counts, &Counts)) -> Counts {
        self.rooms.clear();
        match way {
            Way::FewestNodes => self.packed(by_reach),
            Way::LargestFirst => self.packed(by_size),
            Way::NodeAfterNode => self.packed_by_node(by_reach),
        }
    }

    /// The largest part of any node's capacity that one replica takes, in millionths.
    fn size(&self, workload: usize) -> u128 {
        let parts = self.problem.workloads[workload].demand.iter().zip(&self.most);
        parts.map(|(demand, most)| u128::from(*demand) * 1_000_000 / u128::from(*most)).max().unwrap_or(0)
    }

    /// First fit: what is left over.
    fn packed(&mut self, lost: &[(usize, u64)]) -> Counts {
        let mut missing = Vec::new();
        for (workload, count) in lost {
            let mut left = *count;
            while left > 0 {
                let Some(leaf) = self.rooms.first(*workload) else {
                    missing.push((*workload, left));
                    break;
                };
                let many = self.rooms.most(*workload, leaf, left);
                self.rooms.take(*workload, leaf, many);
                left -= many;
            }
        }
        missing
    }

    /// Node after node, each time the replica whose demand points most in the direction of what is free; first those that may go to few nodes.
    fn packed_by_node(&mut self, by_reach: &Counts) -> Counts {
        let parts = |amount: u64, most: u64| (u128::from(amount) * 1000 / u128::from(most)) as u64;
        let mut missing = Vec::new();
        let reach = |(workload, _): &(usize, u64)| self.rooms.reach(*workload);
        let alike: Vec<&[(usize, u64)]> = by_reach.chunk_by(|one, other| reach(one) == reach(other)).collect();
        for alike in alike {
            let demand = |(workload, _): &(usize, u64)| -> Vec<u64> {
                let demand = self.problem.workloads[*workload].demand.iter();
                demand.zip(&self.most).map(|(demand, most)| parts(*demand, *most)).collect()
            };
            let demands: Vec<Vec<u64>> = alike.iter().map(demand).collect();
            let mut left = alike.to_vec();
            for leaf in 0..self.rooms.leaves() {
                loop {
                    let free: Vec<u64> =
                        self.rooms.free(leaf).iter().zip(&self.most).map(|(free, most)| parts(*free, *most)).collect();
                    let open = (0..left.len()).filter(|at| left[*at].1 > 0 && self.rooms.may_fit(left[*at].0, leaf));
                    let along =
                        |at: &usize| demands[*at].iter().zip(&free).map(|(demand, free)| demand * free).sum::<u64>();
                    let Some(at) = open.max_by_key(|at| (along(at), Reverse(*at))) else { break };
                    self.rooms.take(left[at].0, leaf, 1);
                    left[at].1 -= 1;
                }
            }
            missing.extend(left.into_iter().filter(|(_, count)| *count > 0));
        }
        missing
    }

    /// Ejection chains of one link: what is left over after some has taken the place of others, for which there was room elsewhere.
    fn squeezed_in(&mut self, mut missing: Counts) -> Counts {
        for (workload, count) in &mut missing {
            self.squeeze_in(*workload, count);
        }
        missing.retain(|(_, count)| *count > 0);
        missing
    }

    fn squeeze_in(&mut self, workload: usize, count: &mut u64) {
        // What has room elsewhere, as far as that was asked.
        let mut elsewhere: BTreeMap<usize, bool> = BTreeMap::new();
        for leaf in self.rooms.open_leaves(workload) {
            for (other, many) in self.rooms.in_the_way(workload, leaf) {
                let Some(left) = self.steps.checked_sub(1).filter(|_| *count > 0) else { return };
                self.steps = left;
                let room = elsewhere.entry(other).or_insert_with(|| self.rooms.first(other).is_some());
                if *room && self.exchange(workload, leaf, (other, many)) {
                    *count -= 1;
                    elsewhere.clear();
                }
            }
        }
    }

    /// One replica comes to a leaf and `many` of another workload go elsewhere, or nothing changes.
    fn exchange(&mut self, workload: usize, leaf: usize, (other, many): (usize, u64)) -> bool {
        (0..many).for_each(|_| self.rooms.give_back(other, leaf));
        let mut went = Vec::new();
        if self.rooms.fits(workload, leaf) {
            self.rooms.take(workload, leaf, 1);
            while let Some(to) = (went.len() < many as usize).then(|| self.rooms.first(other)).flatten() {
                self.rooms.take(other, to, 1);
                went.push(to);
            }
            if went.len() == many as usize {
                return true;
            }
            went.into_iter().for_each(|to| self.rooms.give_back(other, to));
            self.rooms.give_back(workload, leaf);
        }
        self.rooms.take(other, leaf, many);
        false
    }

    /// Tries every node for every replica, those of one workload in ascending order of leaves, and leaving the rest of a workload out;
    /// `out` is what is left out so far, `best` the least of that.
    fn search(
        &mut self,
        lost: &mut [(usize, u64)],
        (index, from): (usize, usize),
        out: &mut Counts,
        best: &mut Counts,
    ) {
        if total(out) >= total(best) || self.steps == 0 {
            return;
        }
        let Some((workload, count)) = lost.get(index).copied() else {
            best.clone_from(out);
            return;
        };
        if count == 0 {
            return self.search(lost, (index + 1, 0), out, best);
        }
        for leaf in from..self.rooms.leaves() {
            if self.steps == 0 {
                return;
            }
            self.steps -= 1;
            if self.rooms.fits(workload, leaf) {
                self.rooms.take(workload, leaf, 1);
                lost[index].1 -= 1;
                self.search(lost, (index, leaf), out, best);
                lost[index].1 += 1;
                self.rooms.give_back(workload, leaf);
            }
        }
        out.push((workload, count));
        self.search(lost, (index + 1, 0), out, best);
        out.pop();
    }
}
