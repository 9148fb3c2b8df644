//! A reassignment problem as flat arrays: what [`Problem`] says, in the form that a search reads ten million times a second.
//!
//! Every soft rule about use (safety capacity, balance) is one *dimension*: on each machine a number `over` that each process there raises
//! by `need`, costing `price · max(0, over)`. Each resource is a dimension as well, with `room` that must not fall below zero.
//! Numbers are `f64` because two of them fit a vector register of every x86-64; all amounts are whole and below 2^52, therefore exact.
//!
//! Rules about counts become [`Counter`]s: how many processes of a group lie in each domain of a topology.

use crate::{Problem, Rule};
use std::collections::BTreeMap;

/// No sum of amounts may reach this.
const AMOUNT_MAX: f64 = (1u64 << 52) as f64;
/// "No group", "no limit".
pub(super) const NONE: u32 = u32::MAX;

/// One amount for each dimension, padded with zeros.
pub(super) type Row<const D: usize> = [f64; D];

/// How many processes of a group of workloads are in each domain of a topology, and what must hold of these counts.
#[derive(Debug, Clone)]
pub(super) struct Counter {
    /// Its first count, that of domain 0.
    pub(super) base: usize,
    pub(super) topology: usize,
    /// The most that a domain may hold.
    pub(super) limit: u32,
    /// In so many domains at least must it be above zero.
    pub(super) least: u32,
    /// Counters that must be above zero wherever this one is.
    pub(super) needs: Vec<u32>,
    /// The reverse.
    pub(super) needed_by: Vec<u32>,
}

/// The problem. Machines are nodes, processes are workloads; the indices are the same.
#[derive(Debug)]
pub(super) struct Dense<const D: usize> {
    pub(super) machines: usize,
    pub(super) processes: usize,
    /// Per process, what it adds to each dimension of its machine.
    pub(super) need: Vec<Row<D>>,
    /// Where each process runs now.
    pub(super) home: Vec<u32>,
    /// Per machine, `over` when it is empty.
    pub(super) over_empty: Vec<Row<D>>,
    /// Per machine, `room` when it is empty.
    pub(super) room_empty: Vec<Row<D>>,
    /// Cost of a unit of `over`.
    pub(super) price: Row<D>,
    /// 0 for transient resources, else 1: the part of a need that moving away gives back.
    pub(super) gives_back: Row<D>,
    /// Cost of a process being elsewhere than at home.
    pub(super) move_cost: Vec<f64>,
    /// Cost for each (from, to) machine.
    pub(super) far: Vec<f64>,
    /// Cost of each moved process of the group that has most.
    pub(super) most_price: f64,
    /// Per process its group in that rule, or [`NONE`].
    pub(super) most_group: Vec<u32>,
    pub(super) most_groups: usize,
    pub(super) counters: Vec<Counter>,
    pub(super) counts: usize,
    /// The counters of process p: `counter_of[counter_start[p]..counter_start[p + 1]]`.
    pub(super) counter_start: Vec<u32>,
    pub(super) counter_of: Vec<u32>,
    /// Per topology, the domain of each machine ([`NONE`]: in none; no process with a counter there may enter).
    pub(super) domain: Vec<Vec<u32>>,
    /// Per process its row of `allowed`, or [`NONE`]: anywhere.
    pub(super) allowed_row: Vec<u32>,
    pub(super) allowed: Vec<Vec<bool>>,
}

/// How many dimensions a problem needs, or `None` when it is no reassignment problem: every workload wants one replica and has one running;
/// hard rules are among limits per domain, distinct domains and nearness, soft ones among safety, balance and moves.
pub(super) fn dimensions(problem: &Problem) -> Option<usize> {
    let single = |w: &crate::Workload| w.wanted == 1 && w.surplus_max == 0 && w.device.is_none();
    let placed_once = problem.current.len() == problem.workloads.len() && problem.current.iter().all(|p| p.count == 1);
    if !problem.workloads.iter().all(single) || !placed_once || problem.workloads.is_empty() || !problem.held.is_empty()
    {
        return None;
    }
    let mut safeties = vec![0usize; problem.resources.len()];
    let mut dimensions = problem.resources.len();
    let mut most_rules = 0;
    for constraint in &problem.constraints {
        match (&constraint.rule, constraint.weight) {
            (Rule::LimitPerDomain { .. } | Rule::DistinctDomains { .. } | Rule::Near { .. }, None)
            | (Rule::Moved { .. } | Rule::MovedFar { .. }, Some(_)) => {}
            (Rule::MovedMost { .. }, Some(_)) => most_rules += 1,
            (Rule::Safety { resource, .. }, Some(_)) => {
                safeties[*resource] += 1;
                dimensions += usize::from(safeties[*resource] > 1);
            }
            (Rule::Balance { .. }, Some(_)) => dimensions += 1,
            _ => return None,
        }
    }
    (most_rules <= 1).then_some(dimensions)
}

impl<const D: usize> Dense<D> {
    /// `None` when amounts are too large for exact sums, or a shape is not covered (see [`dimensions`], which must have given at most `D`).
    pub(super) fn new(problem: &Problem) -> Option<Dense<D>> {
        let (machines, processes) = (problem.nodes.len(), problem.workloads.len());
        let mut home = vec![NONE; processes];
        problem.current.iter().for_each(|placed| home[placed.workload] = placed.node as u32);
        if home.contains(&NONE) {
            return None;
        }
        let mut dense = Dense {
            machines,
            processes,
            need: vec![[0.0; D]; processes],
            home,
            over_empty: vec![[0.0; D]; machines],
            room_empty: vec![[f64::INFINITY; D]; machines],
            price: [0.0; D],
            gives_back: [1.0; D],
            move_cost: vec![0.0; processes],
            far: vec![0.0; machines * machines],
            most_price: 0.0,
            most_group: vec![NONE; processes],
            most_groups: 0,
            counters: Vec::new(),
            counts: 0,
            counter_start: vec![0; processes + 1],
            counter_of: Vec::new(),
            domain: Vec::new(),
            allowed_row: vec![NONE; processes],
            allowed: Vec::new(),
        };
        dense.add_use(problem);
        dense.add_moves(problem)?;
        dense.add_counters(problem);
        dense.add_eligibility(problem);
        dense.is_exact().then_some(dense)
    }

    fn add_use(&mut self, problem: &Problem) {
        let resources = problem.resources.len();
        for (resource, kind) in problem.resources.iter().enumerate() {
            self.gives_back[resource] = f64::from(u8::from(!kind.transient));
            let needs = self.need.iter_mut().zip(&problem.workloads);
            needs.for_each(|(need, workload)| need[resource] = workload.demand[resource] as f64);
            let rooms = self.room_empty.iter_mut().zip(&problem.nodes);
            rooms.for_each(|(room, node)| room[resource] = node.capacity[resource] as f64);
        }
        let mut taken = vec![false; resources];
        let mut next = resources;
        let mut own_dimension = || {
            next += 1;
            next - 1
        };
        for constraint in &problem.constraints {
            let weight = f64::from(constraint.weight.unwrap_or(0));
            match &constraint.rule {
                Rule::Safety { resource, safe } => {
                    let repeated = std::mem::replace(&mut taken[*resource], true);
                    let d = if repeated { own_dimension() } else { *resource };
                    for (need, workload) in self.need.iter_mut().zip(&problem.workloads) {
                        need[d] = workload.demand[*resource] as f64;
                    }
                    self.over_empty.iter_mut().zip(safe).for_each(|(over, safe)| over[d] = -(*safe as f64));
                    self.price[d] = weight / problem.resources[*resource].scale.max(1) as f64;
                }
                Rule::Balance { first: (r1, f1), second: (r2, f2), unit } => {
                    let d = own_dimension();
                    let left = |amounts: &[u64]| *f1 as f64 * amounts[*r1] as f64 - *f2 as f64 * amounts[*r2] as f64;
                    for (need, workload) in self.need.iter_mut().zip(&problem.workloads) {
                        need[d] = -left(&workload.demand);
                    }
                    for (over, node) in self.over_empty.iter_mut().zip(&problem.nodes) {
                        over[d] = left(&node.capacity);
                    }
                    self.price[d] = weight / (*unit).max(1) as f64;
                }
                _ => {}
            }
        }
    }

    fn add_moves(&mut self, problem: &Problem) -> Option<()> {
        for constraint in &problem.constraints {
            let weight = f64::from(constraint.weight.unwrap_or(0));
            match &constraint.rule {
                Rule::Moved { workloads } => {
                    workloads.iter().for_each(|(w, units)| self.move_cost[*w] += weight * f64::from(*units));
                }
                Rule::MovedFar { units } => {
                    let pairs = self.far.iter_mut().zip(units.iter().flatten());
                    pairs.for_each(|(far, units)| *far += weight * f64::from(*units));
                }
                Rule::MovedMost { groups } => {
                    self.most_price = weight;
                    self.most_groups = groups.len();
                    for (group, workloads) in groups.iter().enumerate() {
                        for workload in workloads {
                            if std::mem::replace(&mut self.most_group[*workload], group as u32) != NONE {
                                return None;
                            }
                        }
                    }
                }
                _ => {}
            }
        }
        Some(())
    }

    fn add_counters(&mut self, problem: &Problem) {
        let mut index: BTreeMap<(Vec<usize>, usize), u32> = BTreeMap::new();
        let mut members: Vec<Vec<usize>> = Vec::new();
        let mut counter = |dense: &mut Self, workloads: &[usize], topology: usize| -> usize {
            let mut group = workloads.to_vec();
            group.sort_unstable();
            group.dedup();
            let next = dense.counters.len() as u32;
            let at = *index.entry((group.clone(), topology)).or_insert(next);
            if at == next {
                let (base, limit) = (dense.counts, NONE);
                let (needs, needed_by) = (Vec::new(), Vec::new());
                dense.counters.push(Counter { base, topology, limit, least: 0, needs, needed_by });
                dense.counts += problem.topologies[topology].domains.len();
                members.push(group);
            }
            at as usize
        };
        for constraint in &problem.constraints {
            match &constraint.rule {
                Rule::LimitPerDomain { workloads, topology, limit } if (*limit as usize) < workloads.len() => {
                    let at = counter(self, workloads, *topology);
                    self.counters[at].limit = self.counters[at].limit.min(*limit);
                }
                Rule::DistinctDomains { workloads, topology, least } if *least > 1 => {
                    let at = counter(self, workloads, *topology);
                    let reachable = (*least).min(workloads.len() as u32);
                    self.counters[at].least = self.counters[at].least.max(reachable);
                }
                Rule::Near { workloads, to, topology } => {
                    let (a, b) = (counter(self, workloads, *topology), counter(self, to, *topology));
                    if a != b && !self.counters[a].needs.contains(&(b as u32)) {
                        self.counters[a].needs.push(b as u32);
                        self.counters[b].needed_by.push(a as u32);
                    }
                }
                _ => {}
            }
        }
        let mut of_process = vec![Vec::new(); self.processes];
        for (counter, group) in members.iter().enumerate() {
            group.iter().for_each(|process| of_process[*process].push(counter as u32));
        }
        for (process, counters) in of_process.iter().enumerate() {
            self.counter_of.extend(counters);
            self.counter_start[process + 1] = self.counter_of.len() as u32;
        }
        self.domain = (0..problem.topologies.len())
            .map(|topology| problem.nodes.iter().map(|n| n.domains[topology].map_or(NONE, |d| d as u32)).collect())
            .collect();
    }

    /// Eligibility, and the labels that hard rules ask for.
    fn add_eligibility(&mut self, problem: &Problem) {
        let mut index: BTreeMap<Vec<bool>, u32> = BTreeMap::new();
        let mut labels: BTreeMap<(Vec<u32>, &[usize]), Vec<bool>> = BTreeMap::new();
        for (process, workload) in problem.workloads.iter().enumerate() {
            let mut topologies: Vec<u32> =
                self.counters_of(process).iter().map(|c| self.counters[*c as usize].topology as u32).collect();
            topologies.sort_unstable();
            topologies.dedup();
            let labelled = |m: usize| topologies.iter().all(|t| self.domain[*t as usize][m] != NONE);
            let row = labels.entry((topologies.clone(), workload.eligible.as_slice())).or_insert_with(|| {
                let mut row = vec![false; self.machines];
                workload.eligible.iter().for_each(|m| row[*m] = labelled(*m));
                row
            });
            if !row.iter().all(|allowed| *allowed) {
                let next = index.len() as u32;
                self.allowed_row[process] = *index.entry(row.clone()).or_insert(next);
            }
        }
        let mut rows: Vec<(Vec<bool>, u32)> = index.into_iter().collect();
        rows.sort_unstable_by_key(|(_, at)| *at);
        self.allowed = rows.into_iter().map(|(row, _)| row).collect();
    }

    /// Whether all sums stay below 2^52.
    fn is_exact(&self) -> bool {
        (0..D).all(|d| {
            let needed: f64 = self.need.iter().map(|need| need[d].abs()).sum();
            let rows = self.over_empty.iter().chain(&self.room_empty).map(|row| row[d]);
            let largest =
                rows.filter(|amount| amount.is_finite()).fold(0.0, |most: f64, amount| most.max(amount.abs()));
            needed + largest < AMOUNT_MAX
        })
    }

    /// No assignment costs less: each dimension over all machines at once, for max(0, ·) is convex.
    pub(super) fn bound(&self) -> f64 {
        let over = |d: usize| -> f64 {
            self.over_empty.iter().map(|over| over[d]).sum::<f64>() + self.need.iter().map(|need| need[d]).sum::<f64>()
        };
        (0..D).map(|d| self.price[d] * over(d).max(0.0)).sum()
    }

    #[inline]
    pub(super) fn counters_of(&self, process: usize) -> &[u32] {
        &self.counter_of[self.counter_start[process] as usize..self.counter_start[process + 1] as usize]
    }

    #[inline]
    pub(super) fn may_enter(&self, process: usize, machine: usize) -> bool {
        let row = self.allowed_row[process];
        row == NONE || self.allowed[row as usize][machine]
    }

    /// What being on `machine` costs a process in moves, beyond its group's count.
    #[inline]
    pub(super) fn moving(&self, process: usize, machine: usize) -> f64 {
        let home = self.home[process] as usize;
        if home == machine { 0.0 } else { self.move_cost[process] + self.far[home * self.machines + machine] }
    }
}
