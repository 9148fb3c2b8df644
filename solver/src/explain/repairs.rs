//! What would help: ideas from the conflict, cheapest first, each tried by solving the changed problem from the present placement.
//!
//! The order is that of [`Repair`]: what is asked for stays (a limit relaxed), then what is paid for (nodes, the kind that costs least), then
//! what is given up (another's replicas, a rule, one's own replicas).

use super::Explainer;
use super::changed::{changed, relaxed};
use super::conflict::is_hopeless;
use super::wish::{Wish, want};
use crate::classes::classes;
use crate::instance::Instance;
use crate::layout::Layout;
use crate::prune::prune;
use crate::{Cause, Constraint, Problem, Repair, Rule};
use std::cmp::Reverse;
use std::collections::BTreeSet;

/// No repair adds more nodes than this.
const ADDED_NODES_MAX: u32 = 100;
/// Repairs for each shortage.
const REPAIRS_MAX: usize = 3;
/// Of these, relaxed rules.
const RELAXED_MAX: usize = 2;
/// Kinds of node, and workloads to take from, that are tried.
const KINDS_MAX: usize = 4;

/// The search for what helps one workload.
pub(super) struct Repairs<'e, 'i, 'p> {
    pub(super) explainer: &'e Explainer<'i, 'p>,
    pub(super) layout: &'e Layout<'i, 'p>,
    pub(super) workload: usize,
}

impl Repairs<'_, '_, '_> {
    /// Up to three that were verified.
    pub(super) fn found(&self, conflict: &[Cause]) -> Vec<Repair> {
        let rules: Vec<usize> = conflict
            .iter()
            .filter_map(|cause| match cause {
                Cause::Rule(rule) => Some(*rule),
                _ => None,
            })
            .collect();
        // A rule of which it is no use to be rid is no use relaxed.
        let useful: Vec<usize> = rules.into_iter().filter(|rule| self.helps(&Repair::DropRule(*rule))).collect();
        let mut repairs: Vec<Repair> =
            useful.iter().filter_map(|rule| self.relaxation(*rule)).take(RELAXED_MAX).collect();
        let relaxed: BTreeSet<usize> = repairs
            .iter()
            .filter_map(|repair| match repair {
                Repair::RelaxRule { constraint, .. } => Some(*constraint),
                _ => None,
            })
            .collect();
        let by = self.surplus();
        repairs.extend(self.more_nodes(by));
        if repairs.len() < REPAIRS_MAX {
            repairs.extend(self.fewer_of_another(conflict));
        }
        repairs.extend(useful.into_iter().filter(|rule| !relaxed.contains(rule)).map(Repair::DropRule));
        let fewer = Repair::WantFewer { workload: self.workload, by };
        // To want none of it is no repair.
        let some_remain = by < self.explainer.instance.problem.workloads[self.workload].wanted;
        if repairs.len() < REPAIRS_MAX && by > 0 && some_remain && self.helps(&fewer) {
            repairs.push(fewer);
        }
        repairs.truncate(REPAIRS_MAX);
        repairs
    }

    /// The rule with the least change of its limit that helps.
    fn relaxation(&self, constraint: usize) -> Option<Repair> {
        let problem = self.explainer.instance.problem;
        let rule = &problem.constraints[constraint].rule;
        if let Rule::Quota { workloads, max } = rule {
            let placed = |w: &usize| u128::from(problem.workloads[*w].wanted - self.layout.missing(*w));
            let more = |w: &usize| if *w == self.workload { u128::from(self.layout.missing(*w)) } else { 0 };
            let used = |resource: usize| -> u128 {
                let of = |w: &usize| u128::from(problem.workloads[*w].demand[resource]) * (placed(w) + more(w));
                workloads.iter().map(of).sum()
            };
            let max = max
                .iter()
                .map(|(resource, max)| (*resource, (*max).max(u64::try_from(used(*resource)).unwrap_or(u64::MAX))));
            let to = Rule::Quota { workloads: workloads.clone(), max: max.collect() };
            return Some(Repair::RelaxRule { constraint, to }).filter(|repair| self.helps(repair));
        }
        let all: u32 = rule.workloads().iter().map(|w| problem.workloads[*w].wanted).fold(1, u32::saturating_add);
        let nodes = u32::try_from(problem.nodes.len()).unwrap_or(u32::MAX);
        self.least(all.max(nodes), |by| Some(Repair::RelaxRule { constraint, to: relaxed(rule, by)? }))
    }

    /// The first of a row of ever larger repairs that helps: doubling, then halving the gap. (More of it is taken to help no less.)
    fn least(&self, max: u32, repair: impl Fn(u32) -> Option<Repair>) -> Option<Repair> {
        let (mut short_of, mut by) = (0, 1);
        let mut good = loop {
            // The largest step may lie between two doublings.
            let idea = (short_of + 1..=by.min(max)).rev().find_map(|by| Some((by, repair(by)?)));
            let (at, idea) = idea?;
            if self.helps(&idea) {
                by = at;
                break idea;
            }
            if at < by || by >= max || self.explainer.deadline.passed() {
                return None;
            }
            (short_of, by) = (at, by.saturating_mul(2));
        };
        while by - short_of > 1 && !self.explainer.deadline.passed() {
            let middle = short_of + (by - short_of) / 2;
            match repair(middle).filter(|idea| self.helps(idea)) {
                Some(idea) => (good, by) = (idea, middle),
                None => short_of = middle,
            }
        }
        Some(good)
    }

    /// Nodes of the kind for which it costs least, if some kind helps.
    fn more_nodes(&self, missing: u32) -> Option<Repair> {
        let instance = self.explainer.instance;
        let allowed = |class: &Vec<usize>| class.iter().copied().find(|node| instance.is_allowed(self.workload, *node));
        let kind = |like: usize| {
            let room = self.room_when_empty(like);
            let count = if room == 0 { return None } else { missing.div_ceil(room) };
            let price = u128::from(instance.problem.nodes[like].price_micros) * u128::from(count);
            (1..=ADDED_NODES_MAX).contains(&count).then_some((price, count, like))
        };
        let mut kinds: Vec<(u128, u32, usize)> =
            classes(instance).iter().filter_map(allowed).filter_map(kind).collect();
        kinds.sort_unstable();
        let ideas = kinds
            .into_iter()
            .take(KINDS_MAX)
            .flat_map(|(_, count, like)| [count, count + 1, count * 2].map(|count| Repair::AddNodes { like, count }));
        ideas.into_iter().find(|idea| self.helps(idea))
    }

    /// How many replicas a node like this one holds when nothing else is on it.
    fn room_when_empty(&self, node: usize) -> u32 {
        let problem = self.explainer.instance.problem;
        let spec = &problem.workloads[self.workload];
        let capacity = &problem.nodes[node].capacity;
        let pairs = spec.demand.iter().zip(capacity).filter(|(demand, _)| **demand > 0);
        let room = pairs.map(|(demand, capacity)| capacity / demand).min().unwrap_or(u64::from(spec.wanted));
        let limits = self.explainer.instance.rules_of[self.workload].iter().filter_map(|rule| {
            let Constraint { rule: Rule::LimitPerDomain { topology, limit, .. }, weight: None } =
                problem.constraints[*rule]
            else {
                return None;
            };
            let domain = problem.nodes[node].domains[topology]?;
            let is_the_node = problem.topologies[topology].domains[domain] == problem.nodes[node].name;
            is_the_node.then_some(u64::from(limit))
        });
        let room = limits.fold(room, u64::min);
        u32::try_from(room).unwrap_or(u32::MAX).min(spec.per_node_max.unwrap_or(u32::MAX)).min(spec.wanted)
    }

    /// Fewest replicas of one other workload, of this priority or lower, the least important first.
    fn fewer_of_another(&self, conflict: &[Cause]) -> Option<Repair> {
        let problem = self.explainer.instance.problem;
        let own = &problem.workloads[self.workload];
        let shares_rule = |other: usize| {
            let named = |rule: usize| problem.constraints[rule].rule.workloads().contains(&other);
            conflict.iter().any(|cause| matches!(cause, Cause::Rule(rule) if named(*rule)))
        };
        let shares = |other: usize| {
            let spec = &problem.workloads[other];
            let takes = spec.demand.iter().zip(&own.demand).any(|(theirs, mine)| *theirs > 0 && *mine > 0);
            takes && self.meet(other) || shares_rule(other)
        };
        let has = |other: usize| problem.workloads[other].wanted - self.layout.missing(other);
        let mut others: Vec<usize> = (0..problem.workloads.len())
            .filter(|w| *w != self.workload && problem.workloads[*w].priority <= own.priority)
            .filter(|w| has(*w) > 0 && shares(*w))
            .collect();
        let size = |w: usize| problem.workloads[w].demand.iter().zip(&own.demand).filter(|(_, mine)| **mine > 0);
        let size = |w: usize| size(w).map(|(theirs, mine)| theirs.saturating_mul(1000) / mine).max().unwrap_or(0);
        others.sort_by_key(|w| (problem.workloads[*w].priority, !shares_rule(*w), Reverse(size(*w)), *w));
        others.into_iter().take(KINDS_MAX).find_map(|workload| {
            let fewer =
                |by| Repair::DropReplicas { workload, by: problem.workloads[workload].wanted - has(workload) + by };
            self.helps(&fewer(has(workload))).then(|| self.least(has(workload), |by| Some(fewer(by))))?
        })
    }

    /// Whether two workloads may be on the same node.
    fn meet(&self, other: usize) -> bool {
        let allowed = &self.explainer.instance.allowed;
        allowed[other].iter().any(|node| self.explainer.instance.is_allowed(self.workload, *node))
    }

    /// Solves the changed problem from the present placement: is the workload whole, and nobody shorter than before?
    fn helps(&self, repair: &Repair) -> bool {
        if self.explainer.deadline.passed() {
            return false;
        }
        let mut problem = changed(self.explainer.instance.problem, repair);
        if problem.validate().is_err() {
            return false;
        }
        // Others that are short must not take what is meant for this one (those that come with it, all or nothing, may).
        let rules = self.explainer.instance.rules_of[self.workload].iter();
        let together = rules.filter_map(|rule| match &problem.constraints[*rule].rule {
            Rule::AllOrNothing { workloads } => Some(workloads.clone()),
            _ => None,
        });
        let together: BTreeSet<usize> = together.flatten().chain([self.workload]).collect();
        for other in (0..problem.workloads.len()).filter(|other| !together.contains(other)) {
            let has = self.explainer.instance.problem.workloads[other].wanted - self.layout.missing(other);
            let to = has.min(problem.workloads[other].wanted);
            want(&mut problem, other, to);
        }
        let instance = Instance::new(&problem);
        let start = prune(&instance, self.explainer.placed);
        let wish = Wish::new(&Layout::new(&instance, &start), self.workload, self.explainer.exact_pairs_max);
        if is_hopeless(&wish, self.explainer.deadline) {
            return false;
        }
        let after = Layout::new(&instance, &self.explainer.solved(&instance));
        let no_worse = |other: usize| {
            after.missing(other) == 0 || together.contains(&other) && after.missing(other) <= self.layout.missing(other)
        };
        after.missing(self.workload) == 0 && (0..problem.workloads.len()).all(no_worse)
    }

    /// How many replicas are too many: those missing, or, when all or nothing is asked for, those that would be missing if it were not.
    fn surplus(&self) -> u32 {
        let instance = self.explainer.instance;
        let alone = |rule: &&usize| match &instance.problem.constraints[**rule].rule {
            Rule::AllOrNothing { workloads } => workloads.len() == 1,
            _ => false,
        };
        let Some(rule) = instance.rules_of[self.workload].iter().find(alone).copied() else {
            return self.layout.missing(self.workload);
        };
        let problem: Problem = changed(instance.problem, &Repair::DropRule(rule));
        let instance = Instance::new(&problem);
        Layout::new(&instance, &self.explainer.solved(&instance)).missing(self.workload)
    }
}
