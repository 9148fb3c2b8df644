//! A placement that can be changed a replica at a time: counts, what is used, and per-domain counts kept up to date, so that a
//! search asks "may one more of w go on n?" in constant time for each rule.
//!
//! It is the searches' working copy. What it accepts is checked again by [`crate::verify`] before anybody sees it.

use crate::device_room::DeviceRoom;
use crate::instance::Instance;
use crate::{Constraint, DeviceDemand, DeviceTake, Placed, Rule};
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

/// Counts of one workload over the domains of one topology that some rule asks about.
#[derive(Clone)]
struct DomainCounts {
    counts: Vec<u32>,
    /// The domains that hold an eligible node: those a spread looks at.
    spreads_over: Vec<bool>,
    /// How many of those have each count.
    histogram: BTreeMap<u32, usize>,
}

impl DomainCounts {
    fn change(&mut self, domain: usize, to: u32) {
        let from = std::mem::replace(&mut self.counts[domain], to);
        if self.spreads_over[domain] {
            if let Some(many) = self.histogram.get_mut(&from) {
                *many -= 1;
                if *many == 0 {
                    self.histogram.remove(&from);
                }
            }
            *self.histogram.entry(to).or_default() += 1;
        }
    }

    fn least(&self) -> u32 {
        self.histogram.keys().next().copied().unwrap_or(0)
    }

    fn most(&self) -> u32 {
        self.histogram.keys().next_back().copied().unwrap_or(0)
    }

    fn skew_with_one_more(&self, domain: usize) -> u32 {
        if !self.spreads_over[domain] {
            return self.most() - self.least();
        }
        let count = self.counts[domain];
        let alone_at_least = count == self.least() && self.histogram.get(&count) == Some(&1);
        let least = if alone_at_least {
            self.histogram.keys().nth(1).copied().unwrap_or(count + 1).min(count + 1)
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
    of: Vec<BTreeMap<usize, u32>>,
    on: Vec<BTreeMap<usize, u32>>,
    total: Vec<u32>,
    used: Vec<u128>,
    slots: BTreeMap<(usize, usize), usize>,
    slots_of: Vec<Vec<(usize, usize)>>,
    domains: Vec<DomainCounts>,
    /// Per node and kind of device what is left, once somebody has asked.
    device_rooms: Vec<Cell<Option<DeviceRoom>>>,
    /// Per [`crate::survival::Bound`], what is placed of what it bounds.
    bounded: Vec<u128>,
}

impl<'i, 'p> Layout<'i, 'p> {
    pub(crate) fn new(instance: &'i Instance<'p>, placed: &[Placed]) -> Layout<'i, 'p> {
        let problem = instance.problem;
        let mut layout = Layout {
            instance,
            of: vec![BTreeMap::new(); problem.workloads.len()],
            on: vec![BTreeMap::new(); problem.nodes.len()],
            total: vec![0; problem.workloads.len()],
            used: vec![0; problem.nodes.len() * problem.resources.len()],
            slots: BTreeMap::new(),
            slots_of: vec![Vec::new(); problem.workloads.len()],
            domains: Vec::new(),
            device_rooms: vec![Cell::new(None); problem.nodes.len() * problem.devices.len()],
            bounded: vec![0; instance.survival.bounds.len()],
        };
        for constraint in &problem.constraints {
            match &constraint.rule {
                Rule::Spread { workload, topology, .. } | Rule::Survive { workload, topology, .. } => {
                    layout.watch(*workload, *topology);
                }
                Rule::LimitPerDomain { workloads, topology, .. }
                | Rule::DistinctDomains { workloads, topology, .. } => {
                    workloads.iter().for_each(|workload| layout.watch(*workload, *topology));
                }
                Rule::SeparateFrom { a, b, topology, .. } => {
                    layout.watch(*a, *topology);
                    layout.watch(*b, *topology);
                }
                Rule::Near { workloads, to, topology } => {
                    workloads.iter().chain(to).for_each(|workload| layout.watch(*workload, *topology));
                }
                Rule::Prefer { .. }
                | Rule::Quota { .. }
                | Rule::AllOrNothing { .. }
                | Rule::Reserve { .. }
                | Rule::NodesMost { .. }
                | Rule::Safety { .. }
                | Rule::Balance { .. }
                | Rule::Moved { .. }
                | Rule::MovedMost { .. }
                | Rule::MovedFar { .. } => {}
            }
        }
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

    fn watch(&mut self, workload: usize, topology: usize) {
        if self.slots.contains_key(&(workload, topology)) {
            return;
        }
        let problem = self.instance.problem;
        let mut spreads_over = vec![false; problem.topologies[topology].domains.len()];
        for node in &problem.workloads[workload].eligible {
            if let Some(domain) = problem.nodes[*node].domains[topology] {
                spreads_over[domain] = true;
            }
        }
        let mut histogram = BTreeMap::new();
        let counted = spreads_over.iter().filter(|counted| **counted).count();
        if counted > 0 {
            histogram.insert(0, counted);
        }
        self.slots.insert((workload, topology), self.domains.len());
        self.slots_of[workload].push((topology, self.domains.len()));
        self.domains.push(DomainCounts { counts: vec![0; spreads_over.len()], spreads_over, histogram });
    }

    pub(crate) fn add(&mut self, workload: usize, node: usize, many: u32) {
        *self.of[workload].entry(node).or_default() += many;
        *self.on[node].entry(workload).or_default() += many;
        self.total[workload] += many;
        self.account(workload, node, many, true);
    }

    /// Takes away `many` replicas, which must be there.
    pub(crate) fn remove(&mut self, workload: usize, node: usize, many: u32) {
        lower(&mut self.of[workload], node, many);
        lower(&mut self.on[node], workload, many);
        self.total[workload] -= many;
        self.account(workload, node, many, false);
    }

    fn account(&mut self, workload: usize, node: usize, many: u32, more: bool) {
        let problem = self.instance.problem;
        let resources = problem.resources.len();
        if let Some(demand) = problem.workloads[workload].device {
            self.device_rooms[node * problem.devices.len() + demand.kind].set(None);
        }
        // Of a transient resource, what runs is charged whether it stays or not.
        let (count, running) = (self.count(workload, node), self.instance.running_count(workload, node));
        let other = if more { count - many } else { count + many };
        let beyond = count.max(running).abs_diff(other.max(running));
        for (resource, demand) in problem.workloads[workload].demand.iter().enumerate() {
            let many = if problem.resources[resource].transient { beyond } else { many };
            let amount = u128::from(*demand) * u128::from(many);
            let used = &mut self.used[node * resources + resource];
            *used = if more { *used + amount } else { *used - amount };
        }
        for (bound, amount) in &self.instance.survival.of_workload[workload] {
            let amount = amount * u128::from(many);
            let bounded = &mut self.bounded[*bound];
            *bounded = if more { *bounded + amount } else { *bounded - amount };
        }
        for (topology, slot) in &self.slots_of[workload] {
            if let Some(domain) = problem.nodes[node].domains[*topology] {
                let count = self.domains[*slot].counts[domain];
                self.domains[*slot].change(domain, if more { count + many } else { count - many });
            }
        }
    }

    pub(crate) fn count(&self, workload: usize, node: usize) -> u32 {
        self.of[workload].get(&node).copied().unwrap_or(0)
    }

    pub(crate) fn missing(&self, workload: usize) -> u32 {
        self.instance.problem.workloads[workload].wanted.saturating_sub(self.total[workload])
    }

    /// What is on a node: (workload, count), ascending.
    pub(crate) fn on_node(&self, node: usize) -> impl Iterator<Item = (usize, u32)> + '_ {
        self.on[node].iter().map(|(workload, count)| (*workload, *count))
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
                of.iter().map(move |(node, count)| Placed { workload, node: *node, count: *count })
            })
            .collect()
    }

    pub(crate) fn in_domain(&self, workload: usize, topology: usize, domain: usize) -> u32 {
        self.slots.get(&(workload, topology)).map_or(0, |slot| self.domains[*slot].counts[domain])
    }

    /// Whether one more of `workload` fits on `node`, looking at that node alone.
    pub(crate) fn fits(&self, workload: usize, node: usize) -> bool {
        let spec = &self.instance.problem.workloads[workload];
        let count = self.count(workload, node);
        if !self.instance.is_allowed(workload, node) && count >= self.instance.running_count(workload, node) {
            return false;
        }
        if spec.per_node_max.is_some_and(|max| count >= max.max(self.instance.running_count(workload, node))) {
            return false;
        }
        let back = count < self.instance.running_count(workload, node);
        let enough = |(resource, demand): (usize, &u64)| {
            let held_already = back && self.instance.problem.resources[resource].transient;
            *demand == 0 || held_already || self.free(node, resource) >= u128::from(*demand)
        };
        spec.demand.iter().enumerate().all(enough) && self.has_devices(workload, node)
    }

    /// Whether the node's devices suffice for one more.
    fn has_devices(&self, workload: usize, node: usize) -> bool {
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

    /// The first hard rule that one more of `workload` on `node` would break. Rules that hold only in the end (all-or-nothing, near
    /// towards something not placed yet when `lenient`) are left to [`crate::prune`].
    pub(crate) fn forbidden_by(&self, workload: usize, node: usize, lenient: bool) -> Option<usize> {
        self.instance.rules_of[workload]
            .iter()
            .copied()
            .find(|index| {
                let Constraint { rule, weight } = &self.instance.problem.constraints[*index];
                weight.is_none() && self.breaks(rule, self.instance.excess[*index], workload, node, lenient)
            })
            .or_else(|| self.forbidden_by_pool(node))
            .or_else(|| self.forbidden_by_loss(workload))
    }

    /// The first reserve for which there would be one replica too many, as far as sums go.
    fn forbidden_by_loss(&self, workload: usize) -> Option<usize> {
        let survival = &self.instance.survival;
        let over = |(bound, amount): &&(usize, u128)| self.bounded[*bound] + amount > survival.bounds[*bound].most;
        survival.of_workload[workload].iter().find(over).map(|(bound, _)| survival.bounds[*bound].constraint)
    }

    /// The first hard limit on filled nodes that filling this one would break.
    fn forbidden_by_pool(&self, node: usize) -> Option<usize> {
        if !self.is_empty(node) {
            return None;
        }
        self.instance.node_rules.iter().copied().find(|index| {
            let Constraint { rule: Rule::NodesMost { nodes, most }, weight: None } =
                &self.instance.problem.constraints[*index]
            else {
                return false;
            };
            let filled = || nodes.iter().filter(|node| !self.is_empty(**node)).count() as u64;
            nodes.binary_search(&node).is_ok() && filled() >= u64::from(*most) + self.instance.excess[*index]
        })
    }

    /// Counts of several workloads in a domain, together.
    fn in_domain_together(&self, workloads: &[usize], topology: usize, domain: usize) -> u32 {
        workloads.iter().map(|workload| self.in_domain(*workload, topology, domain)).sum()
    }

    fn breaks(&self, rule: &Rule, excess: u64, added: usize, node: usize, lenient: bool) -> bool {
        let problem = self.instance.problem;
        let domain = |topology: usize| problem.nodes[node].domains[topology];
        match rule {
            Rule::Spread { workload, topology, max_skew } => domain(*topology).is_some_and(|domain| {
                let counts = &self.domains[self.slots[&(*workload, *topology)]];
                let skew = u64::from(counts.skew_with_one_more(domain));
                // With max-skew 0 the way to an even placement leads over a skew of 1.
                let allowed = u64::from((*max_skew).max(u32::from(lenient))) + excess;
                skew > allowed && skew > u64::from(counts.most() - counts.least())
            }),
            Rule::LimitPerDomain { workloads, topology, limit } => domain(*topology).is_some_and(|domain| {
                let over: u64 = if excess == 0 { 0 } else { self.over_limit(workloads, *topology, *limit) };
                self.in_domain_together(workloads, *topology, domain) >= *limit && over >= excess
            }),
            Rule::Survive { workload, topology, keep } => domain(*topology).is_some_and(|domain| {
                let limit = self.survivable(*workload, *keep, 1);
                let over: u64 = if excess == 0 { 0 } else { self.over_limit(&[*workload], *topology, limit) };
                self.in_domain(*workload, *topology, domain) >= limit && over >= excess
            }),
            Rule::SeparateFrom { a, b, topology, limit } => domain(*topology).is_some_and(|domain| {
                let (of_a, of_b) = (self.in_domain(*a, *topology, domain), self.in_domain(*b, *topology, domain));
                if *b == added { (of_a > 0 || a == b) && of_b >= *limit } else { of_b > *limit }
            }),
            Rule::Near { workloads, to, topology } if workloads.contains(&added) => match domain(*topology) {
                Some(domain) => {
                    let alone = self.in_domain_together(to, *topology, domain) == 0 && !to.contains(&added);
                    alone && !(lenient && to.iter().any(|to| self.missing(*to) > 0))
                }
                None => true,
            },
            Rule::Near { .. } => false,
            Rule::DistinctDomains { workloads, topology, least } => domain(*topology).is_some_and(|domain| {
                let (distinct, placed) = self.distinct(workloads, *topology);
                let anew = self.in_domain_together(workloads, *topology, domain) == 0;
                let lacking = (placed + 1).min(*least).saturating_sub(distinct + u32::from(anew));
                u64::from(lacking) > excess
            }),
            Rule::Quota { workloads, max } => max.iter().any(|(resource, max)| {
                let demand = u128::from(problem.workloads[added].demand[*resource]);
                demand > 0 && self.quota_used(workloads, *resource) + demand > u128::from(*max)
            }),
            Rule::AllOrNothing { .. }
            | Rule::Prefer { .. }
            | Rule::Reserve { .. }
            | Rule::NodesMost { .. }
            | Rule::Safety { .. }
            | Rule::Balance { .. }
            | Rule::Moved { .. }
            | Rule::MovedMost { .. }
            | Rule::MovedFar { .. } => false,
        }
    }

    fn over_limit(&self, workloads: &[usize], topology: usize, limit: u32) -> u64 {
        let domains = 0..self.instance.problem.topologies[topology].domains.len();
        let over = |domain: usize| self.in_domain_together(workloads, topology, domain).saturating_sub(limit);
        domains.map(|domain| u64::from(over(domain))).sum()
    }

    /// How many replicas of a workload a domain may hold so that `keep` remain, once there are `more` of it.
    fn survivable(&self, workload: usize, keep: u32, more: u32) -> u32 {
        let wanted = self.instance.problem.workloads[workload].wanted;
        (self.total[workload] + more).max(wanted) - keep.min(wanted)
    }

    /// In how many domains some workloads lie, and how many of them there are.
    fn distinct(&self, workloads: &[usize], topology: usize) -> (u32, u32) {
        let domains = 0..self.instance.problem.topologies[topology].domains.len();
        let held = domains.filter(|domain| self.in_domain_together(workloads, topology, *domain) > 0).count();
        (held as u32, workloads.iter().map(|workload| self.total[*workload]).sum())
    }

    fn quota_used(&self, workloads: &[usize], resource: usize) -> u128 {
        let of =
            |w: &usize| u128::from(self.instance.problem.workloads[*w].demand[resource]) * u128::from(self.total[*w]);
        workloads.iter().map(of).sum()
    }

    /// What one more of `workload` on `node` adds to the soft tier (negative when it mends something).
    pub(crate) fn soft_change(&self, workload: usize, node: usize) -> i64 {
        let rules = self.instance.rules_of[workload].iter();
        let weighted = rules.filter_map(|index| {
            let Constraint { rule, weight } = &self.instance.problem.constraints[*index];
            weight.map(|weight| i64::from(weight) * self.units_change(rule, workload, node))
        });
        weighted.sum::<i64>().saturating_add(self.soft_change_of_nodes(workload, node))
    }

    /// The part of the soft rules about nodes.
    fn soft_change_of_nodes(&self, workload: usize, node: usize) -> i64 {
        let problem = self.instance.problem;
        let demand = |resource: usize| i128::from(problem.workloads[workload].demand[resource]);
        let used = |resource: usize| i128::try_from(self.used(node, resource)).unwrap_or(i128::MAX / 4);
        let weighted = self.instance.node_rules.iter().filter_map(|index| {
            let Constraint { rule, weight } = &problem.constraints[*index];
            let units = |before: i128, after: i128, unit: u64| {
                let started = |amount: i128| amount.max(0).saturating_add(i128::from(unit) - 1) / i128::from(unit);
                started(after) - started(before)
            };
            let change = match rule {
                Rule::Safety { resource, safe } => {
                    let over = used(*resource) - i128::from(safe[node]);
                    units(over, over + demand(*resource), problem.resources[*resource].scale)
                }
                Rule::Balance { first, second, unit } => {
                    let left = |more: i128, (resource, factor): (usize, u64)| {
                        let left = i128::from(problem.nodes[node].capacity[resource]) - used(resource);
                        (left - more * demand(resource)).saturating_mul(i128::from(factor))
                    };
                    let off = |more: i128| left(more, *first).saturating_sub(left(more, *second));
                    units(off(0), off(1), *unit)
                }
                Rule::MovedFar { units } => match self.instance.running[workload].as_slice() {
                    [(from, 1)]
                        if problem.workloads[workload].wanted == 1 && problem.workloads[workload].surplus_max == 0 =>
                    {
                        i128::from(units[*from][node])
                    }
                    _ => 0,
                },
                Rule::NodesMost { nodes, most } if self.is_empty(node) && nodes.binary_search(&node).is_ok() => {
                    let filled = nodes.iter().filter(|node| !self.is_empty(**node)).count();
                    i128::from(filled as u64 >= u64::from(*most))
                }
                _ => 0,
            };
            weight.map(|weight| change.saturating_mul(i128::from(weight)))
        });
        let sum = weighted.fold(0, i128::saturating_add);
        i64::try_from(sum).unwrap_or(if sum < 0 { i64::MIN / 4 } else { i64::MAX / 4 })
    }

    fn units_change(&self, rule: &Rule, added: usize, node: usize) -> i64 {
        let domain = |topology: usize| self.instance.problem.nodes[node].domains[topology];
        match rule {
            Rule::Spread { workload, topology, max_skew } => domain(*topology).map_or(0, |domain| {
                let counts = &self.domains[self.slots[&(*workload, *topology)]];
                let units = |skew: u32| i64::from(skew.saturating_sub(*max_skew));
                units(counts.skew_with_one_more(domain)) - units(counts.most() - counts.least())
            }),
            Rule::LimitPerDomain { workloads, topology, limit } => domain(*topology)
                .map_or(0, |domain| i64::from(self.in_domain_together(workloads, *topology, domain) >= *limit)),
            Rule::Survive { workload, topology, keep } => domain(*topology).map_or(0, |domain| {
                i64::from(self.in_domain(*workload, *topology, domain) >= self.survivable(*workload, *keep, 1))
            }),
            Rule::SeparateFrom { a, b, topology, limit } => domain(*topology).map_or(0, |domain| {
                let (of_a, of_b) = (self.in_domain(*a, *topology, domain), self.in_domain(*b, *topology, domain));
                let units = |a: u32, b: u32| i64::from(a.min(b.saturating_sub(*limit)));
                units(of_a + u32::from(*a == added), of_b + u32::from(*b == added)) - units(of_a, of_b)
            }),
            Rule::Near { workloads, to, topology } => {
                let (mine, theirs) = (workloads.contains(&added), to.contains(&added));
                let Some(domain) = domain(*topology) else { return i64::from(mine) };
                let others = self.in_domain_together(to, *topology, domain);
                if theirs && others == 0 {
                    -i64::from(self.in_domain_together(workloads, *topology, domain))
                } else {
                    i64::from(mine && others == 0)
                }
            }
            Rule::DistinctDomains { workloads, topology, least } => {
                let (distinct, placed) = self.distinct(workloads, *topology);
                let anew =
                    domain(*topology).is_some_and(|domain| self.in_domain_together(workloads, *topology, domain) == 0);
                let units = |distinct: u32, placed: u32| i64::from(placed.min(*least).saturating_sub(distinct));
                units(distinct + u32::from(anew), placed + 1) - units(distinct, placed)
            }
            Rule::Moved { workloads } => {
                let back = self.count(added, node) < self.instance.running_count(added, node);
                let units = workloads.iter().find(|(workload, _)| *workload == added).map_or(0, |(_, units)| *units);
                if back { -i64::from(units) } else { 0 }
            }
            Rule::Prefer { nodes, .. } => i64::from(nodes.binary_search(&node).is_err()),
            Rule::Quota { .. }
            | Rule::AllOrNothing { .. }
            | Rule::MovedMost { .. }
            | Rule::Reserve { .. }
            | Rule::NodesMost { .. }
            | Rule::Safety { .. }
            | Rule::Balance { .. }
            | Rule::MovedFar { .. } => 0,
        }
    }

    /// The workloads with replicas missing, ascending.
    pub(crate) fn short(&self) -> Vec<usize> {
        (0..self.total.len()).filter(|workload| self.missing(*workload) > 0).collect()
    }

    /// The domains of the nodes of `workload` in the topologies whose rules look at it, for grouping nodes that are alike to its rules.
    pub(crate) fn watched(&self, workload: usize) -> BTreeSet<usize> {
        self.slots_of[workload].iter().map(|(topology, _)| *topology).collect()
    }
}

fn lower(counts: &mut BTreeMap<usize, u32>, key: usize, many: u32) {
    if let Some(count) = counts.get_mut(&key) {
        *count -= many;
        if *count == 0 {
            counts.remove(&key);
        }
    }
}
