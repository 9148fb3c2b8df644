//! What a loss leaves: can everything that lies in a lost domain be placed again on what is free elsewhere?
//!
//! Every loss is simulated on the placement itself. The lost replicas are packed, the hardest to place first, each where it leaves least; when that
//! fails, a bounded exact search follows. "No room" may be said wrongly of a large and nearly full cluster, "room" never.

use super::{Tally, devices_on, used_on};
use crate::{Problem, Standing};
use std::cmp::Reverse;

/// Replicas of one loss that the exact search looks at, at most.
const SEARCHED_MAX: u64 = 64;
/// Steps of the exact search for each loss.
const STEPS_MAX: usize = 20_000;

/// Replicas for which no room is found, summed over the losses of each domain of a topology.
pub(super) fn homeless(problem: &Problem, tally: &Tally, labels: &[Vec<usize>], topology: usize) -> u128 {
    let losses = losses(problem, tally, topology);
    if losses.iter().all(Vec::is_empty) {
        return 0;
    }
    let used: Vec<Vec<u128>> = (0..problem.nodes.len())
        .map(|node| (0..problem.resources.len()).map(|resource| used_on(problem, tally, node, resource)).collect())
        .collect();
    let of = |(domain, lost): (usize, Vec<(usize, u64)>)| {
        Loss::new(problem, tally, labels, &used, topology, domain).homeless(lost)
    };
    losses.into_iter().enumerate().filter(|(_, lost)| !lost.is_empty()).map(of).sum()
}

/// Per domain, what lies in it: (workload, how many).
fn losses(problem: &Problem, tally: &Tally, topology: usize) -> Vec<Vec<(usize, u64)>> {
    let mut losses: Vec<Vec<(usize, u64)>> = vec![Vec::new(); problem.topologies[topology].domains.len()];
    for (workload, nodes) in tally.by_workload.iter().enumerate() {
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

struct Loss<'a> {
    problem: &'a Problem,
    /// The nodes that remain and are room, ascending.
    nodes: Vec<usize>,
    /// Per remaining node and resource, what is free.
    free: Vec<Vec<u128>>,
    /// Per remaining node, what it holds.
    held: Vec<Vec<(usize, u64)>>,
    labels: &'a [Vec<usize>],
    steps: usize,
}

impl<'a> Loss<'a> {
    fn new(
        problem: &'a Problem,
        tally: &Tally,
        labels: &'a [Vec<usize>],
        used: &[Vec<u128>],
        topology: usize,
        domain: usize,
    ) -> Loss<'a> {
        let is_room = |node: &usize| {
            let there = problem.nodes[*node].standing == Standing::Here || !tally.by_node[*node].is_empty();
            there && problem.nodes[*node].domains[topology] != Some(domain)
        };
        let nodes: Vec<usize> = (0..problem.nodes.len()).filter(is_room).collect();
        let free = |node: &usize| {
            let capacities = problem.nodes[*node].capacity.iter().zip(&used[*node]);
            capacities.map(|(capacity, used)| u128::from(*capacity).saturating_sub(*used)).collect()
        };
        let free = nodes.iter().map(free).collect();
        let held = nodes.iter().map(|node| tally.by_node[*node].clone()).collect();
        Loss { problem, nodes, free, held, labels, steps: STEPS_MAX }
    }

    /// How many of the lost replicas find no room.
    fn homeless(mut self, mut lost: Vec<(usize, u64)>) -> u128 {
        lost.sort_by_cached_key(|(workload, _)| (self.reach(*workload), Reverse(self.size(*workload)), *workload));
        let many: u64 = lost.iter().map(|(_, count)| count).sum();
        let (free, held) = (self.free.clone(), self.held.clone());
        let mut missing = self.packed(&lost);
        if missing > 0 && many <= SEARCHED_MAX {
            (self.free, self.held) = (free, held);
            self.search(&mut lost, (0, 0), 0, &mut missing);
        }
        missing
    }

    /// How many remaining nodes a workload may go to.
    fn reach(&self, workload: usize) -> usize {
        self.nodes.iter().filter(|node| self.may(workload, **node)).count()
    }

    /// The largest part of any remaining node's capacity that one replica takes, in millionths.
    fn size(&self, workload: usize) -> u128 {
        let demand = &self.problem.workloads[workload].demand;
        let most = |resource: usize| {
            self.nodes.iter().map(|node| self.problem.nodes[*node].capacity[resource]).max().unwrap_or(0).max(1)
        };
        let parts = demand.iter().enumerate();
        parts.map(|(r, demand)| u128::from(*demand) * 1_000_000 / u128::from(most(r))).max().unwrap_or(0)
    }

    fn may(&self, workload: usize, node: usize) -> bool {
        let labelled = || self.labels[workload].iter().all(|t| self.problem.nodes[node].domains[*t].is_some());
        self.problem.workloads[workload].eligible.binary_search(&node).is_ok() && labelled()
    }

    /// Whether one more replica has room on the node at a position.
    fn fits(&self, workload: usize, at: usize) -> bool {
        let spec = &self.problem.workloads[workload];
        let enough = spec.demand.iter().zip(&self.free[at]).all(|(demand, free)| u128::from(*demand) <= *free);
        if !enough || !self.may(workload, self.nodes[at]) {
            return false;
        }
        let count = self.held[at].iter().find(|(w, _)| *w == workload).map_or(0, |(_, count)| *count);
        if spec.per_node_max.is_some_and(|max| count >= u64::from(max)) {
            return false;
        }
        let Some(device) = spec.device else { return true };
        let mut held = self.held[at].clone();
        held.push((workload, 1));
        let there = self.problem.nodes[self.nodes[at]].devices.get(device.kind).copied().unwrap_or(0);
        devices_on(self.problem, &held, device.kind, self.problem.devices[device.kind].parts) <= u64::from(there)
    }

    /// Takes up one replica on a node, or gives it back.
    fn change(&mut self, workload: usize, at: usize, more: bool) {
        for (free, demand) in self.free[at].iter_mut().zip(&self.problem.workloads[workload].demand) {
            *free = if more { *free - u128::from(*demand) } else { *free + u128::from(*demand) };
        }
        match self.held[at].iter_mut().find(|(w, _)| *w == workload) {
            Some((_, count)) if more => *count += 1,
            Some((_, count)) => *count -= 1,
            None => self.held[at].push((workload, 1)),
        }
    }

    /// Best fit: how many are left over.
    fn packed(&mut self, lost: &[(usize, u64)]) -> u128 {
        let mut missing = 0;
        for (workload, count) in lost {
            for placed in 0..*count {
                let rooms = (0..self.nodes.len()).filter(|at| self.fits(*workload, *at));
                let Some(at) = rooms.min_by_key(|at| (self.left(*workload, *at), *at)) else {
                    missing += u128::from(count - placed);
                    break;
                };
                self.change(*workload, at, true);
            }
        }
        missing
    }

    /// What one more replica leaves free of a node, in millionths of it.
    fn left(&self, workload: usize, at: usize) -> u128 {
        let capacity = &self.problem.nodes[self.nodes[at]].capacity;
        let demand = &self.problem.workloads[workload].demand;
        let left = self.free[at].iter().zip(demand).zip(capacity).filter(|((_, demand), _)| **demand > 0);
        left.map(|((free, demand), capacity)| {
            (free - u128::from(*demand)).saturating_mul(1_000_000) / u128::from((*capacity).max(1))
        })
        .sum()
    }

    /// Tries every node for every replica, those of one workload in ascending order of nodes, and leaving the rest of a workload out;
    /// `best` is the fewest left out so far.
    fn search(&mut self, lost: &mut Vec<(usize, u64)>, (index, from): (usize, usize), missing: u128, best: &mut u128) {
        if missing >= *best || self.steps == 0 {
            return;
        }
        self.steps -= 1;
        let Some((workload, count)) = lost.get(index).copied() else {
            *best = missing;
            return;
        };
        if count == 0 {
            return self.search(lost, (index + 1, 0), missing, best);
        }
        for at in from..self.nodes.len() {
            if self.fits(workload, at) {
                self.change(workload, at, true);
                lost[index].1 -= 1;
                self.search(lost, (index, at), missing, best);
                lost[index].1 += 1;
                self.change(workload, at, false);
            }
        }
        self.search(lost, (index + 1, 0), missing + u128::from(count), best);
    }
}
