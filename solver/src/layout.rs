//! A placement that can be changed a replica at a time: counts, what is used, and per-domain counts kept up to date, so that a
//! search asks "may one more of w go on n?" in constant time for each rule.
//!
//! It is the searches' working copy. What it accepts is checked again by [`crate::verify`] before anybody sees it.

use crate::instance::Instance;
use crate::{Constraint, Placed, Rule};
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
        };
        for constraint in &problem.constraints {
            match constraint.rule {
                Rule::Spread { workload, topology, .. } | Rule::LimitPerDomain { workload, topology, .. } => {
                    layout.watch(workload, topology);
                }
                Rule::SeparateFrom { a, b, topology } | Rule::Near { workload: a, to: b, topology } => {
                    layout.watch(a, topology);
                    layout.watch(b, topology);
                }
                Rule::Prefer { .. } | Rule::Quota { .. } | Rule::AllOrNothing { .. } => {}
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
        for (resource, demand) in problem.workloads[workload].demand.iter().enumerate() {
            let amount = u128::from(*demand) * u128::from(many);
            let used = &mut self.used[node * resources + resource];
            *used = if more { *used + amount } else { *used - amount };
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
        let demands = spec.demand.iter().enumerate();
        demands.into_iter().all(|(resource, demand)| *demand == 0 || self.free(node, resource) >= u128::from(*demand))
    }

    /// The first hard rule that one more of `workload` on `node` would break. Rules that hold only in the end (all-or-nothing, near
    /// towards something not placed yet when `lenient`) are left to [`crate::prune`].
    pub(crate) fn forbidden_by(&self, workload: usize, node: usize, lenient: bool) -> Option<usize> {
        self.instance.rules_of[workload].iter().copied().find(|index| {
            let Constraint { rule, weight } = &self.instance.problem.constraints[*index];
            weight.is_none() && self.breaks(rule, self.instance.excess[*index], workload, node, lenient)
        })
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
            Rule::LimitPerDomain { workload, topology, limit } => domain(*topology).is_some_and(|domain| {
                let over: u64 = if excess == 0 { 0 } else { self.over_limit(*workload, *topology, *limit) };
                self.in_domain(*workload, *topology, domain) >= *limit && over >= excess
            }),
            Rule::SeparateFrom { a, b, topology } => {
                let other = if *a == added { *b } else { *a };
                domain(*topology).is_some_and(|domain| self.in_domain(other, *topology, domain) > 0)
            }
            Rule::Near { workload, to, topology } if *workload == added => match domain(*topology) {
                Some(domain) => {
                    let alone = self.in_domain(*to, *topology, domain) == 0 && to != workload;
                    alone && !(lenient && self.missing(*to) > 0)
                }
                None => true,
            },
            Rule::Near { .. } => false,
            Rule::Quota { workloads, max } => max.iter().any(|(resource, max)| {
                let demand = u128::from(problem.workloads[added].demand[*resource]);
                demand > 0 && self.quota_used(workloads, *resource) + demand > u128::from(*max)
            }),
            Rule::AllOrNothing { .. } | Rule::Prefer { .. } => false,
        }
    }

    fn over_limit(&self, workload: usize, topology: usize, limit: u32) -> u64 {
        let counts = &self.domains[self.slots[&(workload, topology)]].counts;
        counts.iter().map(|count| u64::from(count.saturating_sub(limit))).sum()
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
        weighted.sum()
    }

    fn units_change(&self, rule: &Rule, added: usize, node: usize) -> i64 {
        let domain = |topology: usize| self.instance.problem.nodes[node].domains[topology];
        match rule {
            Rule::Spread { workload, topology, max_skew } => domain(*topology).map_or(0, |domain| {
                let counts = &self.domains[self.slots[&(*workload, *topology)]];
                let units = |skew: u32| i64::from(skew.saturating_sub(*max_skew));
                units(counts.skew_with_one_more(domain)) - units(counts.most() - counts.least())
            }),
            Rule::LimitPerDomain { workload, topology, limit } => {
                domain(*topology).map_or(0, |domain| i64::from(self.in_domain(*workload, *topology, domain) >= *limit))
            }
            Rule::SeparateFrom { a, b, topology } => domain(*topology).map_or(0, |domain| {
                let (mine, theirs) = if *a == added { (*a, *b) } else { (*b, *a) };
                let more = self.in_domain(mine, *topology, domain) < self.in_domain(theirs, *topology, domain);
                i64::from(more || a == b)
            }),
            Rule::Near { workload, to, topology } => match domain(*topology) {
                Some(domain) if *to == added && self.in_domain(*to, *topology, domain) == 0 => {
                    if workload == to {
                        0
                    } else {
                        -i64::from(self.in_domain(*workload, *topology, domain))
                    }
                }
                Some(domain) if *workload == added => i64::from(self.in_domain(*to, *topology, domain) == 0),
                None if *workload == added => 1,
                _ => 0,
            },
            Rule::Prefer { nodes, .. } => i64::from(nodes.binary_search(&node).is_err()),
            Rule::Quota { .. } | Rule::AllOrNothing { .. } => 0,
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
