//! What one more replica does to the rules: which hard one it would break, and how much it adds to the soft ones.

use crate::layout::Layout;
use crate::{Constraint, Rule};

impl Layout<'_, '_> {
    /// The first hard rule that one more of `workload` on `node` would break. Rules that hold only in the end (all-or-nothing, near
    /// towards something not placed yet when `lenient`) are left to [`crate::prune`].
    pub(crate) fn forbidden_by(&self, workload: usize, node: usize, lenient: bool) -> Option<usize> {
        self.instance.rules_of[workload]
            .iter()
            .copied()
            .find(|index| {
                let Constraint { rule, weight } = &self.instance.problem.constraints[*index];
                weight.is_none() && self.breaks(*index, rule, workload, node, lenient)
            })
            .or_else(|| self.forbidden_by_pool(node))
            .or_else(|| self.forbidden_by_loss(workload))
    }

    /// The first reserve for which there would be one replica too many, as far as sums go.
    pub(crate) fn forbidden_by_loss(&self, workload: usize) -> Option<usize> {
        let survival = &self.instance.survival;
        let over = |(bound, amount): &&(usize, u128)| self.bounded[*bound] + amount > survival.bounds[*bound].most;
        survival.of_workload[workload].iter().find(over).map(|(bound, _)| survival.bounds[*bound].constraint)
    }

    /// The first hard limit on filled nodes that filling this one would break.
    pub(crate) fn forbidden_by_pool(&self, node: usize) -> Option<usize> {
        if !self.is_empty(node) {
            return None;
        }
        let full = self.pools.iter().find(|(index, filled)| {
            let Constraint { rule: Rule::NodesMost { nodes, most }, weight: None } =
                &self.instance.problem.constraints[*index]
            else {
                return false;
            };
            u64::from(*filled) >= u64::from(*most) + self.excess[*index] && nodes.binary_search(&node).is_ok()
        });
        full.map(|(index, _)| *index)
    }

    /// Whether one more of `added` on `node` breaks a constraint by more than the present state excuses.
    pub(crate) fn breaks(&self, index: usize, rule: &Rule, added: usize, node: usize, lenient: bool) -> bool {
        let problem = self.instance.problem;
        let (excess, [slot, other]) = (self.excess[index], self.instance.slots(index));
        let domain = |topology: usize| problem.nodes[node].domains[topology];
        match rule {
            Rule::Spread { topology, max_skew, .. } => domain(*topology).is_some_and(|domain| {
                let counts = &self.domains[slot];
                let spreads_over = &self.instance.watch.slots[slot].spreads_over;
                let skew = u64::from(counts.skew_with_one_more(domain, spreads_over));
                // With max-skew 0 the way to an even placement leads over a skew of 1.
                let allowed = u64::from((*max_skew).max(u32::from(lenient))) + excess;
                skew > allowed && skew > u64::from(counts.most() - counts.least())
            }),
            Rule::LimitPerDomain { topology, limit, .. } => domain(*topology).is_some_and(|domain| {
                let over: u64 = if excess == 0 { 0 } else { self.over_limit(slot, *limit) };
                self.in_slot(slot, domain) >= *limit && over >= excess
            }),
            Rule::Survive { workload, topology, keep } => domain(*topology).is_some_and(|domain| {
                let limit = self.survivable(*workload, *keep, 1);
                let over: u64 = if excess == 0 { 0 } else { self.over_limit(slot, limit) };
                self.in_slot(slot, domain) >= limit && over >= excess
            }),
            Rule::SeparateFrom { a, b, topology, limit } => domain(*topology).is_some_and(|domain| {
                let (of_a, of_b) = (self.in_slot(slot, domain), self.in_slot(other, domain));
                if *b == added { (of_a > 0 || a == b) && of_b >= *limit } else { of_b > *limit }
            }),
            Rule::Near { workloads, to, topology } if workloads.contains(&added) => match domain(*topology) {
                Some(domain) => {
                    let alone = self.in_slot(other, domain) == 0 && !to.contains(&added);
                    alone && !(lenient && to.iter().any(|to| self.missing(*to) > 0))
                }
                None => true,
            },
            Rule::Near { .. } => false,
            Rule::DistinctDomains { workloads, topology, least } => domain(*topology).is_some_and(|domain| {
                let (distinct, placed) = self.distinct(slot, workloads);
                let anew = self.in_slot(slot, domain) == 0;
                let lacking = (placed + 1).min(*least).saturating_sub(distinct + u32::from(anew));
                u64::from(lacking) > excess
            }),
            Rule::Quota { max, .. } => max.iter().enumerate().any(|(at, (resource, max))| {
                let demand = u128::from(problem.workloads[added].demand[*resource]);
                demand > 0 && self.quotas[self.instance.watch.quota_at[index] + at] + demand > u128::from(*max)
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

    fn over_limit(&self, slot: usize, limit: u32) -> u64 {
        let topology = self.instance.watch.slots[slot].topology;
        let domains = 0..self.instance.problem.topologies[topology].domains.len();
        let over = |domain: usize| self.in_slot(slot, domain).saturating_sub(limit);
        domains.map(|domain| u64::from(over(domain))).sum()
    }

    /// How many replicas of a workload a domain may hold so that `keep` remain, once there are `more` of it.
    fn survivable(&self, workload: usize, keep: u32, more: u32) -> u32 {
        let wanted = self.instance.problem.workloads[workload].wanted;
        (self.total[workload] + more).max(self.aim[workload]).max(wanted) - keep.min(wanted)
    }

    /// In how many domains the workloads of a slot lie, and how many replicas of them there are.
    fn distinct(&self, slot: usize, workloads: &[usize]) -> (u32, u32) {
        (self.domains[slot].held, workloads.iter().map(|workload| self.total[*workload]).sum())
    }

    /// What one more of `workload` on `node` adds to the soft tier (negative when it mends something).
    pub(crate) fn soft_change(&self, workload: usize, node: usize) -> i64 {
        let rules = self.instance.rules_of[workload].iter();
        let weighted = rules.filter_map(|index| {
            let Constraint { rule, weight } = &self.instance.problem.constraints[*index];
            weight.map(|weight| i64::from(weight) * self.units_change(*index, rule, workload, node))
        });
        weighted.sum::<i64>().saturating_add(self.soft_change_of_nodes(workload, node))
    }

    /// The part of the soft rules about nodes.
    pub(crate) fn soft_change_of_nodes(&self, workload: usize, node: usize) -> i64 {
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
                    let filled = self.pools.iter().find(|(pool, _)| pool == index).map_or(0, |(_, filled)| *filled);
                    i128::from(filled >= *most)
                }
                _ => 0,
            };
            weight.map(|weight| change.saturating_mul(i128::from(weight)))
        });
        let sum = weighted.fold(0, i128::saturating_add);
        i64::try_from(sum).unwrap_or(if sum < 0 { i64::MIN / 4 } else { i64::MAX / 4 })
    }

    /// By how many units one more of `added` on `node` breaks a rule more (negative: less).
    pub(crate) fn units_change(&self, index: usize, rule: &Rule, added: usize, node: usize) -> i64 {
        let [slot, other] = self.instance.slots(index);
        let domain = |topology: usize| self.instance.problem.nodes[node].domains[topology];
        match rule {
            Rule::Spread { topology, max_skew, .. } => domain(*topology).map_or(0, |domain| {
                let counts = &self.domains[slot];
                let spreads_over = &self.instance.watch.slots[slot].spreads_over;
                let units = |skew: u32| i64::from(skew.saturating_sub(*max_skew));
                units(counts.skew_with_one_more(domain, spreads_over)) - units(counts.most() - counts.least())
            }),
            Rule::LimitPerDomain { topology, limit, .. } => {
                domain(*topology).map_or(0, |domain| i64::from(self.in_slot(slot, domain) >= *limit))
            }
            Rule::Survive { workload, topology, keep } => domain(*topology)
                .map_or(0, |domain| i64::from(self.in_slot(slot, domain) >= self.survivable(*workload, *keep, 1))),
            Rule::SeparateFrom { a, b, topology, limit } => domain(*topology).map_or(0, |domain| {
                let (of_a, of_b) = (self.in_slot(slot, domain), self.in_slot(other, domain));
                let units = |a: u32, b: u32| i64::from(a.min(b.saturating_sub(*limit)));
                units(of_a + u32::from(*a == added), of_b + u32::from(*b == added)) - units(of_a, of_b)
            }),
            Rule::Near { workloads, to, topology } => {
                let (mine, theirs) = (workloads.contains(&added), to.contains(&added));
                let Some(domain) = domain(*topology) else { return i64::from(mine) };
                let others = self.in_slot(other, domain);
                if theirs && others == 0 {
                    -i64::from(self.in_slot(slot, domain))
                } else {
                    i64::from(mine && others == 0)
                }
            }
            Rule::DistinctDomains { workloads, topology, least } => {
                let (distinct, placed) = self.distinct(slot, workloads);
                let anew = domain(*topology).is_some_and(|domain| self.in_slot(slot, domain) == 0);
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
}
