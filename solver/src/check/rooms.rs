//! The nodes that are room after a loss, in a tree that finds the first of them with room for a replica without looking at all.
//!
//! Leaves are nodes: first those that few workloads may go to, and of these the fullest, so that *first fit* is nearly *best fit*. A vertex
//! knows the most that is free below it of each resource, and for which sets of eligible nodes there is a node below. A loss changes the
//! tree and takes its changes back, so that thousands of losses of a few replicas each cost little more than those replicas.

use super::{Tally, devices_on, used_on};
use crate::{DeviceTake, Problem, Standing};
use std::collections::BTreeMap;

/// The rooms of one placement, for losses of domains of one topology.
pub(super) struct Rooms<'a> {
    problem: &'a Problem,
    tally: &'a Tally,
    topology: usize,
    /// Leaf to node.
    nodes: Vec<usize>,
    /// Per domain, the leaves in it.
    leaves_of: Vec<Vec<usize>>,
    /// Leaves of the whole tree, a power of two; vertex 1 is the root, the leaves begin at `width`.
    width: usize,
    /// Resources, then kinds of devices in parts: entries of one vector of amounts.
    kinds: usize,
    /// Per workload, what a replica takes of each kind.
    demand: Vec<u64>,
    /// Per vertex and kind, the most that is free on one node below. Of devices a bound only.
    free: Vec<u64>,
    /// Per workload, the set of nodes it may go to.
    set_of: Vec<usize>,
    /// Per vertex a bit for each set: there is such a node below.
    open: Vec<u64>,
    /// `u64`s in a vertex of `open`.
    words: usize,
    /// Per set, its nodes among the leaves.
    reach: Vec<usize>,
    lost: Option<usize>,
    /// What the present loss has brought: (leaf, workload) to replicas.
    taken: BTreeMap<(usize, usize), u64>,
}

impl<'a> Rooms<'a> {
    pub(super) fn new(problem: &'a Problem, tally: &'a Tally, labels: &[Vec<usize>], topology: usize) -> Rooms<'a> {
        let kinds = problem.resources.len() + problem.devices.len();
        let (sets, set_of) = sets(problem, labels);
        let is_room =
            |node: &usize| problem.nodes[*node].standing == Standing::Here || !tally.by_node[*node].is_empty();
        let mut nodes: Vec<usize> = (0..problem.nodes.len()).filter(is_room).collect();
        let free: Vec<Vec<u64>> = (0..problem.nodes.len()).map(|node| free_on(problem, tally, node)).collect();
        let mut welcome = vec![0usize; problem.nodes.len()];
        sets.iter().flatten().for_each(|node| welcome[*node] += 1);
        let part = |node: usize| {
            let capacity = problem.nodes[node].capacity.iter().zip(&free[node]).zip(&problem.resources);
            let shaping = capacity.filter(|((capacity, _), resource)| resource.shapes && **capacity > 0);
            shaping.map(|((all, free), _)| u128::from(*free) * 1_000_000 / u128::from(*all)).sum::<u128>()
        };
        nodes.sort_by_cached_key(|node| (welcome[*node], part(*node), *node));
        let (width, words) = (nodes.len().max(1).next_power_of_two(), sets.len().div_ceil(64));
        let mut rooms = Rooms {
            problem,
            tally,
            topology,
            leaves_of: vec![Vec::new(); problem.topologies[topology].domains.len()],
            width,
            kinds,
            demand: demands(problem, kinds),
            free: vec![0; 2 * width * kinds],
            set_of,
            open: vec![0; 2 * width * words],
            words,
            reach: vec![0; sets.len()],
            lost: None,
            taken: BTreeMap::new(),
            nodes,
        };
        rooms.fill(&free, &sets);
        rooms
    }

    fn fill(&mut self, free: &[Vec<u64>], sets: &[Vec<usize>]) {
        let mut leaf_of = vec![None; self.problem.nodes.len()];
        for (leaf, node) in self.nodes.iter().enumerate() {
            leaf_of[*node] = Some(leaf);
            let at = (self.width + leaf) * self.kinds;
            self.free[at..at + self.kinds].copy_from_slice(&free[*node]);
            if let Some(domain) = self.problem.nodes[*node].domains[self.topology] {
                self.leaves_of[domain].push(leaf);
            }
        }
        for (set, nodes) in sets.iter().enumerate() {
            for leaf in nodes.iter().filter_map(|node| leaf_of[*node]) {
                self.open[(self.width + leaf) * self.words + set / 64] |= 1 << (set % 64);
                self.reach[set] += 1;
            }
        }
        for vertex in (1..self.width).rev() {
            self.pull(vertex);
            for word in 0..self.words {
                self.open[vertex * self.words + word] =
                    self.open[2 * vertex * self.words + word] | self.open[(2 * vertex + 1) * self.words + word];
            }
        }
    }

    fn pull(&mut self, vertex: usize) {
        for kind in 0..self.kinds {
            let below = [2 * vertex, 2 * vertex + 1].map(|below| self.free[below * self.kinds + kind]);
            self.free[vertex * self.kinds + kind] = below[0].max(below[1]);
        }
    }

    fn pull_up(&mut self, leaf: usize) {
        let mut vertex = (self.width + leaf) / 2;
        while vertex > 0 {
            self.pull(vertex);
            vertex /= 2;
        }
    }

    /// How many nodes a workload may go to, lost or not.
    pub(super) fn reach(&self, workload: usize) -> usize {
        self.reach[self.set_of[workload]]
    }

    pub(super) fn leaves(&self) -> usize {
        self.nodes.len()
    }

    /// From now on a domain is lost, and nothing has been placed again.
    pub(super) fn lose(&mut self, domain: usize) {
        self.forget();
        self.lost = Some(domain);
        for leaf in self.leaves_of[domain].clone() {
            let at = (self.width + leaf) * self.kinds;
            self.free[at..at + self.kinds].fill(0);
            self.pull_up(leaf);
        }
    }

    /// Takes back everything that has been placed again.
    pub(super) fn clear(&mut self) {
        for ((leaf, workload), count) in std::mem::take(&mut self.taken) {
            self.account(workload, leaf, count, false);
        }
    }

    /// Nothing is lost any more.
    fn forget(&mut self) {
        self.clear();
        let Some(domain) = self.lost.take() else { return };
        for leaf in self.leaves_of[domain].clone() {
            let free = free_on(self.problem, self.tally, self.nodes[leaf]);
            let at = (self.width + leaf) * self.kinds;
            self.free[at..at + self.kinds].copy_from_slice(&free);
            self.pull_up(leaf);
        }
    }

    /// The first leaf with room for one more replica.
    pub(super) fn first(&self, workload: usize) -> Option<usize> {
        self.first_below(workload, 1)
    }

    fn first_below(&self, workload: usize, vertex: usize) -> Option<usize> {
        let set = self.set_of[workload];
        let demand = &self.demand[workload * self.kinds..(workload + 1) * self.kinds];
        let free = &self.free[vertex * self.kinds..(vertex + 1) * self.kinds];
        let open = (self.open[vertex * self.words + set / 64] >> (set % 64)) & 1 == 1;
        if !open || demand.iter().zip(free).any(|(demand, free)| demand > free) {
            return None;
        }
        if vertex >= self.width {
            return Some(vertex - self.width).filter(|leaf| self.fits(workload, *leaf));
        }
        self.first_below(workload, 2 * vertex).or_else(|| self.first_below(workload, 2 * vertex + 1))
    }

    /// Whether one more replica has room on a leaf.
    pub(super) fn fits(&self, workload: usize, leaf: usize) -> bool {
        self.most(workload, leaf, 1) == 1
    }

    /// What is free on a leaf of each resource.
    pub(super) fn free(&self, leaf: usize) -> &[u64] {
        &self.free[(self.width + leaf) * self.kinds..][..self.problem.resources.len()]
    }

    /// [`Rooms::fits`], looking at amounts first.
    pub(super) fn may_fit(&self, workload: usize, leaf: usize) -> bool {
        let demand = &self.demand[workload * self.kinds..(workload + 1) * self.kinds];
        let free = &self.free[(self.width + leaf) * self.kinds..][..self.kinds];
        demand.iter().zip(free).all(|(demand, free)| demand <= free) && self.fits(workload, leaf)
    }

    /// How many more replicas, at most `wanted`, have room on a leaf.
    pub(super) fn most(&self, workload: usize, leaf: usize, wanted: u64) -> u64 {
        let (node, set) = (self.nodes[leaf], self.set_of[workload]);
        let vertex = self.width + leaf;
        let open = (self.open[vertex * self.words + set / 64] >> (set % 64)) & 1 == 1;
        if !open || self.lost.is_some() && self.problem.nodes[node].domains[self.topology] == self.lost {
            return 0;
        }
        let demand = &self.demand[workload * self.kinds..(workload + 1) * self.kinds];
        let free = &self.free[vertex * self.kinds..(vertex + 1) * self.kinds];
        let rooms = demand.iter().zip(free).filter(|(demand, _)| **demand > 0).map(|(demand, free)| free / demand);
        let mut most = rooms.fold(wanted, u64::min);
        let spec = &self.problem.workloads[workload];
        if let Some(max) = spec.per_node_max {
            let held = self.tally.count(workload, node) + self.taken.get(&(leaf, workload)).copied().unwrap_or(0);
            most = most.min(u64::from(max).saturating_sub(held));
        }
        let Some(device) = spec.device.filter(|_| most > 0) else { return most };
        let mut held = self.tally.by_node[node].clone();
        held.extend(self.taken.range((leaf, 0)..(leaf + 1, 0)).map(|((_, workload), count)| (*workload, *count)));
        held.push((workload, 1));
        let there = u64::from(self.problem.nodes[node].devices.get(device.kind).copied().unwrap_or(0));
        let needed = devices_on(self.problem, &held, device.kind, self.problem.devices[device.kind].parts);
        u64::from(needed <= there)
    }

    /// The leaves that a workload may go to, full or not.
    pub(super) fn open_leaves(&self, workload: usize) -> Vec<usize> {
        let (set, lost) = (self.set_of[workload], &self.lost);
        let open = |leaf: &usize| {
            let domain = self.problem.nodes[self.nodes[*leaf]].domains[self.topology];
            (self.open[(self.width + leaf) * self.words + set / 64] >> (set % 64)) & 1 == 1
                && (lost.is_none() || domain != *lost)
        };
        (0..self.nodes.len()).filter(open).collect()
    }

    /// What has come to a leaf, and how many of it would have to go for one more of `workload` as far as amounts tell: only what is enough
    /// by itself.
    pub(super) fn in_the_way(&self, workload: usize, leaf: usize) -> Vec<(usize, u64)> {
        let amounts = |workload: usize| &self.demand[workload * self.kinds..(workload + 1) * self.kinds];
        let free = &self.free[(self.width + leaf) * self.kinds..][..self.kinds];
        let here = self.taken.range((leaf, 0)..(leaf + 1, 0)).filter(|((_, other), _)| *other != workload);
        let enough = here.filter_map(|((_, other), count)| {
            let lacks = amounts(workload).iter().zip(free).map(|(demand, free)| demand.saturating_sub(*free));
            let many = lacks.zip(amounts(*other)).try_fold(1, |many: u64, (lack, amount)| match (lack, amount) {
                (0, _) => Some(many),
                (_, 0) => None,
                _ => Some(many.max(lack.div_ceil(*amount))),
            });
            many.filter(|many| many <= count).map(|many| (*other, many))
        });
        enough.collect()
    }

    /// Places `count` replicas on a leaf, where they must fit.
    pub(super) fn take(&mut self, workload: usize, leaf: usize, count: u64) {
        *self.taken.entry((leaf, workload)).or_default() += count;
        self.account(workload, leaf, count, true);
    }

    /// Takes one replica back.
    pub(super) fn give_back(&mut self, workload: usize, leaf: usize) {
        if let Some(count) = self.taken.get_mut(&(leaf, workload)) {
            *count -= 1;
            if *count == 0 {
                self.taken.remove(&(leaf, workload));
            }
            self.account(workload, leaf, 1, false);
        }
    }

    fn account(&mut self, workload: usize, leaf: usize, count: u64, more: bool) {
        for kind in 0..self.kinds {
            let amount = self.demand[workload * self.kinds + kind] * count;
            let free = &mut self.free[(self.width + leaf) * self.kinds + kind];
            *free = if more { *free - amount } else { *free + amount };
        }
        self.pull_up(leaf);
    }
}

/// Per workload and kind, what a replica takes.
fn demands(problem: &Problem, kinds: usize) -> Vec<u64> {
    let mut demands = vec![0; problem.workloads.len() * kinds];
    for (spec, amounts) in problem.workloads.iter().zip(demands.chunks_mut(kinds.max(1))) {
        amounts[..spec.demand.len()].copy_from_slice(&spec.demand);
        if let Some(device) = spec.device {
            amounts[problem.resources.len() + device.kind] = match device.take {
                DeviceTake::Whole(devices) => u64::from(devices) * u64::from(problem.devices[device.kind].parts),
                DeviceTake::Share(share) => u64::from(share),
            };
        }
    }
    demands
}

/// What is free on a node of each kind; of devices, parts of any device.
fn free_on(problem: &Problem, tally: &Tally, node: usize) -> Vec<u64> {
    let left = |all: u64, used: u128| u64::try_from(u128::from(all).saturating_sub(used)).unwrap_or(0);
    let capacity = problem.nodes[node].capacity.iter().enumerate();
    let resources = capacity.map(|(resource, all)| left(*all, used_on(problem, tally, node, resource)));
    let devices = problem.devices.iter().enumerate().map(|(kind, device)| {
        let parts = u64::from(device.parts);
        let used = tally.by_node[node].iter().map(|(workload, count)| {
            let take = problem.workloads[*workload].device.filter(|demand| demand.kind == kind).map(|d| d.take);
            let amount = match take {
                Some(DeviceTake::Whole(devices)) => u128::from(devices) * u128::from(parts),
                Some(DeviceTake::Share(share)) => u128::from(share),
                None => 0,
            };
            amount * u128::from(*count)
        });
        let there = problem.nodes[node].devices.get(kind).copied().unwrap_or(0);
        left(u64::from(there) * parts, used.sum())
    });
    resources.chain(devices).collect()
}

/// The distinct sets of nodes that workloads may go to, and each workload's.
fn sets(problem: &Problem, labels: &[Vec<usize>]) -> (Vec<Vec<usize>>, Vec<usize>) {
    let mut sets: Vec<Vec<usize>> = Vec::new();
    let mut first_with: Vec<usize> = Vec::new();
    let mut by_digest: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
    let mut set_of = Vec::with_capacity(problem.workloads.len());
    for (workload, spec) in problem.workloads.iter().enumerate() {
        let digest = spec.eligible.iter().chain(&labels[workload]).fold(spec.eligible.len() as u64, |digest, entry| {
            (digest ^ *entry as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(23)
        });
        let alike = by_digest.entry(digest).or_default();
        let same = |set: &&usize| {
            let other = first_with[**set];
            problem.workloads[other].eligible == spec.eligible && labels[other] == labels[workload]
        };
        if let Some(set) = alike.iter().find(same) {
            set_of.push(*set);
            continue;
        }
        alike.push(sets.len());
        set_of.push(sets.len());
        first_with.push(workload);
        let labelled = |node: &usize| labels[workload].iter().all(|t| problem.nodes[*node].domains[*t].is_some());
        sets.push(spec.eligible.iter().copied().filter(labelled).collect());
    }
    (sets, set_of)
}
