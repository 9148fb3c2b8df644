//! A placement that can be changed a replica at a time: counts, what is used, and per-domain counts kept up to date, so that a
//! search asks "may one more of w go on n?" in constant time for each rule ([`crate::effects`]).
//!
//! It is the searches' working copy. What it accepts is checked again by [`crate::verify`] before anybody sees it.

use crate::device_room::DeviceRoom;
use crate::instance::Instance;
use crate::watch::topology_of;
use crate::{DeviceDemand, DeviceTake, Placed, Rule};
use std::cell::Cell;
use std::collections::BTreeSet;

/// Counts of one slot over its domains.
#[derive(Clone, Default)]
pub(crate) struct DomainCounts {
    pub(crate) counts: Vec<u32>,
    /// How many domains hold any.
    pub(crate) held: u32,
    /// How many of the domains that a spread looks at have each count: (count, domains), ascending.
    histogram: Vec<(u32, u32)>,
}

impl DomainCounts {
    fn new(domains: usize, spreads_over: &[bool]) -> DomainCounts {
        let counted = spreads_over.iter().filter(|counted| **counted).count() as u32;
        let histogram = if counted > 0 { vec![(0, counted)] } else { Vec::new() };
        DomainCounts { counts: vec![0; domains], held: 0, histogram }
    }

    fn change(&mut self, domain: usize, to: u32, spreads_over: &[bool]) {
        let from = std::mem::replace(&mut self.counts[domain], to);
        self.held = self.held + u32::from(to > 0) - u32::from(from > 0);
        if !spreads_over.is_empty() && spreads_over[domain] {
            if let Ok(at) = self.histogram.binary_search_by_key(&from, |(count, _)| *count) {
                self.histogram[at].1 -= 1;
                if self.histogram[at].1 == 0 {
                    self.histogram.remove(at);
                }
            }
            match self.histogram.binary_search_by_key(&to, |(count, _)| *count) {
                Ok(at) => self.histogram[at].1 += 1,
                Err(at) => self.histogram.insert(at, (to, 1)),
            }
        }
    }

    pub(crate) fn least(&self) -> u32 {
        self.histogram.first().map_or(0, |(count, _)| *count)
    }

    pub(crate) fn most(&self) -> u32 {
        self.histogram.last().map_or(0, |(count, _)| *count)
    }

    pub(crate) fn skew_with_one_more(&self, domain: usize, spreads_over: &[bool]) -> u32 {
        if !spreads_over[domain] {
            return self.most() - self.least();
        }
        let count = self.counts[domain];
        let alone_at_least = self.histogram.first() == Some(&(count, 1));
        let least = if alone_at_least {
            self.histogram.get(1).map_or(count + 1, |(next, _)| *next).min(count + 1)
        } else {
            self.least()
        };
        self.most().max(count + 1) - least
    }
}

/// A placement under change.
#[derive(Clone)]
pub(crate) struct Layout<'i, 'p> {
    pub(crate) instance: &'i Instance<'p>,
    /// Per workload, its nodes and counts, ascending.
    of: Vec<Vec<(u32, u32)>>,
    /// Per node, its workloads and counts, ascending.
    on: Vec<Vec<(u32, u32)>>,
    pub(crate) total: Vec<u32>,
    /// Per workload, the replicas it is to have: what is wanted, or more where a rule needs a surplus.
    pub(crate) aim: Vec<u32>,
    /// Per workload, the running replicas that are not where they run.
    away: Vec<u32>,
    used: Vec<u128>,
    /// Per slot of the instance's watch.
    pub(crate) domains: Vec<DomainCounts>,
    /// Per quota of the instance's watch, what is used of it.
    pub(crate) quotas: Vec<u128>,
    /// Each limit on filled nodes, with how many of its nodes are filled.
    pub(crate) pools: Vec<(usize, u32)>,
    /// Per constraint, the units by which it may be broken: the present excess, or less where that was mended.
    pub(crate) excess: Vec<u64>,
    /// Per node and kind of device what is left, once somebody has asked.
    device_rooms: Vec<Cell<Option<DeviceRoom>>>,
    /// Per [`crate::survival::Bound`], what is placed of what it bounds.
    pub(crate) bounded: Vec<u128>,
}

impl<'i, 'p> Layout<'i, 'p> {
    pub(crate) fn new(instance: &'i Instance<'p>, placed: &[Placed]) -> Layout<'i, 'p> {
        let problem = instance.problem;
        let domains = instance.watch.slots.iter().map(|slot| {
            let domains = problem.topologies[slot.topology].domains.len();
            if slot.counted { DomainCounts::new(domains, &slot.spreads_over) } else { DomainCounts::default() }
        });
        let is_pool = |index: &usize| matches!(problem.constraints[*index].rule, Rule::NodesMost { .. });
        let mut layout = Layout {
            instance,
            of: vec![Vec::new(); problem.workloads.len()],
            on: vec![Vec::new(); problem.nodes.len()],
            total: vec![0; problem.workloads.len()],
            aim: problem.workloads.iter().map(|workload| workload.wanted).collect(),
            away: instance.running.iter().map(|running| running.iter().map(|(_, count)| count).sum()).collect(),
            used: vec![0; problem.nodes.len() * problem.resources.len()],
            domains: domains.collect(),
            quotas: vec![0; instance.watch.quotas.len()],
            pools: instance.node_rules.iter().copied().filter(is_pool).map(|index| (index, 0)).collect(),
            excess: instance.excess.clone(),
            device_rooms: vec![Cell::new(None); problem.nodes.len() * problem.devices.len()],
            bounded: vec![0; instance.survival.bounds.len()],
        };
        // What runs is held until all moves are done.
        for (resource, _) in problem.resources.iter().enumerate().filter(|(_, resource)| resource.transient) {
            for running in &problem.current {
                let amount = u128::from(problem.workloads[running.workload].demand[resource]);
                layout.used[running.node * problem.resources.len() + resource] += amount * u128::from(running.count);
            }
        }
        for entry in placed {
            layout.add(entry.workload, entry.node, entry.count);
        }
        layout
    }

    pub(crate) fn add(&mut self, workload: usize, node: usize, many: u32) {
        let first = self.on[node].is_empty();
        raise(&mut self.of[workload], node as u32, many);
        let count = raise(&mut self.on[node], workload as u32, many);
        self.total[workload] += many;
        if first {
            self.fill(node, true);
        }
        self.account(workload, node, many, count, true);
    }

    /// Takes away `many` replicas, which must be there.
    pub(crate) fn remove(&mut self, workload: usize, node: usize, many: u32) {
        lower(&mut self.of[workload], node as u32, many);
        let count = lower(&mut self.on[node], workload as u32, many);
        self.total[workload] -= many;
        if self.on[node].is_empty() {
            self.fill(node, false);
        }
        self.account(workload, node, many, count, false);
    }

    /// A node that was empty is not any more, or the other way round.
    fn fill(&mut self, node: usize, more: bool) {
        for (index, filled) in &mut self.pools {
            if let Rule::NodesMost { nodes, .. } = &self.instance.problem.constraints[*index].rule
                && nodes.binary_search(&node).is_ok()
            {
                *filled = if more { *filled + 1 } else { *filled - 1 };
            }
        }
    }

    /// `count`: how many there are now.
    fn account(&mut self, workload: usize, node: usize, many: u32, count: u32, more: bool) {
        let instance = self.instance;
        let problem = instance.problem;
        if let Some(demand) = problem.workloads[workload].device {
            self.device_rooms[node * problem.devices.len() + demand.kind].set(None);
        }
        let running = instance.running_count(workload, node);
        let before = if more { count - many } else { count + many };
        // Of a transient resource, what runs is charged whether it stays or not.
        let beyond = count.max(running).abs_diff(before.max(running));
        self.away[workload] = self.away[workload] + running.saturating_sub(count) - running.saturating_sub(before);
        let at = node * problem.resources.len();
        let demands = problem.workloads[workload].demand.iter().zip(&problem.resources);
        for (used, (demand, resource)) in self.used[at..].iter_mut().zip(demands) {
            let amount = u128::from(*demand) * u128::from(if resource.transient { beyond } else { many });
            *used = if more { *used + amount } else { *used - amount };
        }
        for (bound, amount) in &instance.survival.of_workload[workload] {
            let amount = amount * u128::from(many);
            let bounded = &mut self.bounded[*bound];
            *bounded = if more { *bounded + amount } else { *bounded - amount };
        }
        for slot in &instance.watch.of[workload] {
            let watched = &instance.watch.slots[*slot];
            if let (true, Some(domain)) = (watched.counted, problem.nodes[node].domains[watched.topology]) {
                let counts = &mut self.domains[*slot];
                let now = if more { counts.counts[domain] + many } else { counts.counts[domain] - many };
                counts.change(domain, now, &watched.spreads_over);
            }
        }
        for (quota, demand) in &instance.watch.quota_of[workload] {
            let amount = u128::from(*demand) * u128::from(many);
            let used = &mut self.quotas[*quota];
            *used = if more { *used + amount } else { *used - amount };
        }
    }

    pub(crate) fn count(&self, workload: usize, node: usize) -> u32 {
        let on = &self.on[node];
        on.binary_search_by_key(&(workload as u32), |(w, _)| *w).map_or(0, |at| on[at].1)
    }

    pub(crate) fn missing(&self, workload: usize) -> u32 {
        self.instance.problem.workloads[workload].wanted.saturating_sub(self.total[workload])
    }

    /// How many running replicas of a workload are not where they run.
    pub(crate) fn away(&self, workload: usize) -> u32 {
        self.away[workload]
    }

    /// What is on a node: (workload, count), ascending.
    pub(crate) fn on_node(&self, node: usize) -> impl Iterator<Item = (usize, u32)> + '_ {
        self.on[node].iter().map(|(workload, count)| (*workload as usize, *count))
    }

    /// Where a workload is: (node, count), ascending.
    pub(crate) fn nodes_of(&self, workload: usize) -> impl Iterator<Item = (usize, u32)> + '_ {
        self.of[workload].iter().map(|(node, count)| (*node as usize, *count))
    }

    pub(crate) fn is_empty(&self, node: usize) -> bool {
        self.on[node].is_empty()
    }

    pub(crate) fn used(&self, node: usize, resource: usize) -> u128 {
        self.used[node * self.instance.problem.resources.len() + resource]
    }

    /// Free of a resource on a node, never negative.
    pub(crate) fn free(&self, node: usize, resource: usize) -> u128 {
        self.instance.ceiling[node][resource].saturating_sub(self.used(node, resource))
    }

    pub(crate) fn placed(&self) -> Vec<Placed> {
        let entries = self.of.iter().enumerate();
        entries
            .flat_map(|(workload, of)| {
                of.iter().map(move |(node, count)| Placed { workload, node: *node as usize, count: *count })
            })
            .collect()
    }

    /// How many replicas of a slot's workloads, together, lie in a domain.
    pub(crate) fn in_slot(&self, slot: usize, domain: usize) -> u32 {
        let watched = &self.instance.watch.slots[slot];
        if watched.counted {
            return self.domains[slot].counts[domain];
        }
        let node = self.instance.watch.node_of[watched.topology].as_ref().and_then(|nodes| nodes.get(domain).copied());
        let Some(node) = node.filter(|node| *node < self.on.len()) else { return 0 };
        watched.members.iter().map(|workload| self.count(*workload, node)).sum()
    }

    /// Whether one more of `workload` fits on `node`, looking at that node alone.
    pub(crate) fn fits(&self, workload: usize, node: usize) -> bool {
        let spec = &self.instance.problem.workloads[workload];
        let (count, running) = (self.count(workload, node), self.instance.running_count(workload, node));
        if !self.instance.is_allowed(workload, node) && count >= running {
            return false;
        }
        if self.is_crowded(workload, node) {
            return false;
        }
        let back = count < running;
        let enough = |(resource, demand): (usize, &u64)| {
            let held_already = back && self.instance.problem.resources[resource].transient;
            *demand == 0 || held_already || self.free(node, resource) >= u128::from(*demand)
        };
        spec.demand.iter().enumerate().all(enough) && self.has_devices(workload, node)
    }

    /// Whether a node holds as many of a workload as one node may.
    pub(crate) fn is_crowded(&self, workload: usize, node: usize) -> bool {
        let most = self.instance.problem.workloads[workload].per_node_max;
        most.is_some_and(|max| self.count(workload, node) >= max.max(self.instance.running_count(workload, node)))
    }

    /// Whether the node's devices suffice for one more.
    pub(crate) fn has_devices(&self, workload: usize, node: usize) -> bool {
        let Some(DeviceDemand { kind, take }) = self.instance.problem.workloads[workload].device else { return true };
        self.device_room(node, kind).takes(take)
    }

    /// The part of a node's devices that lacks for one more.
    pub(crate) fn lacks_devices(&self, workload: usize, node: usize) -> f64 {
        let Some(DeviceDemand { kind, take }) = self.instance.problem.workloads[workload].device else { return 0.0 };
        let room = self.device_room(node, kind);
        let lacking = match take {
            _ if room.takes(take) => 0,
            DeviceTake::Whole(devices) => devices - room.whole,
            DeviceTake::Share(_) => 1,
        };
        f64::from(lacking) / f64::from(self.instance.devices(node, kind).max(1))
    }

    /// What is left of a node's devices.
    pub(crate) fn device_room(&self, node: usize, kind: usize) -> DeviceRoom {
        let known = &self.device_rooms[node * self.instance.problem.devices.len() + kind];
        let room = known.get().unwrap_or_else(|| DeviceRoom::of(self.instance, node, kind, self.on_node(node)));
        known.set(Some(room));
        room
    }

    /// The workloads with replicas missing, ascending.
    pub(crate) fn short(&self) -> Vec<usize> {
        (0..self.total.len()).filter(|workload| self.missing(*workload) > 0).collect()
    }

    /// The topologies whose domains the rules of a workload look at, for grouping nodes that are alike to its rules.
    pub(crate) fn watched(&self, workload: usize) -> BTreeSet<usize> {
        let rules = self.instance.rules_of[workload].iter();
        rules.filter_map(|rule| topology_of(&self.instance.problem.constraints[*rule].rule)).collect()
    }
}

/// Adds to a sorted list of counts; how many there are then.
fn raise(counts: &mut Vec<(u32, u32)>, key: u32, many: u32) -> u32 {
    // Placements are mostly read in ascending order.
    let at = match counts.last() {
        Some((last, _)) if *last < key => Err(counts.len()),
        _ => counts.binary_search_by_key(&key, |(key, _)| *key),
    };
    match at {
        Ok(at) => {
            counts[at].1 += many;
            counts[at].1
        }
        Err(at) => {
            counts.insert(at, (key, many));
            many
        }
    }
}

/// Takes away from a sorted list of counts; how many remain.
fn lower(counts: &mut Vec<(u32, u32)>, key: u32, many: u32) -> u32 {
    let Ok(at) = counts.binary_search_by_key(&key, |(key, _)| *key) else { return 0 };
    counts[at].1 -= many;
    if counts[at].1 > 0 {
        return counts[at].1;
    }
    counts.remove(at);
    0
}
