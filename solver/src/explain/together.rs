//! What would place everything where several workloads are short: changes that give nothing up, taken from what helps each by itself and
//! tried once more together, since one may take what is meant for another.

use super::Explainer;
use super::changed::changed;
use crate::instance::Instance;
use crate::layout::Layout;
use crate::{Problem, Repair, Rule, Shortage};
use std::collections::BTreeMap;

/// What helps each needs up to so many times as much for all.
const TIMES_MAX: u32 = 4;

/// Rules with what they become, and how many nodes like each.
#[derive(Clone, Default)]
struct Changes {
    rules: BTreeMap<usize, Rule>,
    nodes: BTreeMap<usize, u32>,
}

impl Changes {
    fn repairs(&self) -> Vec<Repair> {
        let rules = self.rules.iter().map(|(at, to)| Repair::RelaxRule { constraint: *at, to: to.clone() });
        let nodes = self.nodes.iter().filter(|(_, count)| **count > 0);
        rules.chain(nodes.map(|(like, count)| Repair::AddNodes { like: *like, count: *count })).collect()
    }
}

/// Changes after which everything is placed: found by solving again, as few nodes of each kind as were tried to suffice. Empty where none were
/// found, or less than two workloads are short.
pub(super) fn together(explainer: &Explainer, shortages: &[Shortage]) -> Vec<Repair> {
    if shortages.len() < 2 {
        return Vec::new();
    }
    let Some(mut changes) = added_up(explainer.instance.problem, shortages) else { return Vec::new() };
    let suffices = |changes: &Changes| !explainer.deadline.passed() && places_all(explainer, changes);
    let each = changes.nodes.clone();
    let mut times = 1;
    while !suffices(&changes) {
        times *= 2;
        if times > TIMES_MAX || each.is_empty() || explainer.deadline.passed() {
            return Vec::new();
        }
        changes.nodes.iter_mut().for_each(|(like, count)| *count = each[like] * times);
    }
    for like in each.keys() {
        let (mut too_few, mut enough) = (None, changes.nodes[like]);
        while too_few.map_or(0, |few: u32| few + 1) < enough {
            let middle = too_few.map_or(0, |few| few + 1).midpoint(enough - 1);
            let mut fewer = changes.clone();
            fewer.nodes.insert(*like, middle);
            if suffices(&fewer) {
                (changes, enough) = (fewer, middle);
            } else {
                too_few = Some(middle);
            }
        }
    }
    changes.repairs()
}

/// The first thing that helps each and gives nothing up: rules as loose as the most demanding needs, quotas and nodes for all. Nothing where
/// one has no such help.
fn added_up(problem: &Problem, shortages: &[Shortage]) -> Option<Changes> {
    let mut changes = Changes::default();
    for shortage in shortages {
        let mut usual = shortage.repairs.iter();
        match usual.find(|repair| matches!(repair, Repair::RelaxRule { .. } | Repair::AddNodes { .. }))? {
            Repair::RelaxRule { constraint, to } => {
                let before = &problem.constraints[*constraint].rule;
                let so_far = changes.rules.remove(constraint).unwrap_or_else(|| before.clone());
                changes.rules.insert(*constraint, both(before, so_far, to));
            }
            Repair::AddNodes { like, count } => *changes.nodes.entry(*like).or_default() += count,
            _ => {}
        }
    }
    Some(changes)
}

/// A rule that is loosened twice: by both in a quota, which is used up, else by the one that loosens more.
fn both(before: &Rule, one: Rule, other: &Rule) -> Rule {
    let limit = |rule: &Rule| match rule {
        Rule::Spread { max_skew: limit, .. }
        | Rule::LimitPerDomain { limit, .. }
        | Rule::SeparateFrom { limit, .. }
        | Rule::NodesMost { most: limit, .. } => i64::from(*limit),
        Rule::Survive { keep: least, .. } | Rule::DistinctDomains { least, .. } => -i64::from(*least),
        _ => 0,
    };
    match (before, one, other) {
        (Rule::Quota { max: before, .. }, Rule::Quota { workloads, max }, Rule::Quota { max: other, .. }) => {
            let sum = max.iter().zip(before).zip(other).map(|(((resource, one), (_, before)), (_, other))| {
                (*resource, one.saturating_add(other.saturating_sub(*before)))
            });
            Rule::Quota { workloads, max: sum.collect() }
        }
        (_, one, other) if limit(&one) >= limit(other) => one,
        (_, _, other) => other.clone(),
    }
}

/// Whether a placement of everything is found after these changes.
fn places_all(explainer: &Explainer, changes: &Changes) -> bool {
    let problem =
        changes.repairs().iter().fold(explainer.instance.problem.clone(), |problem, repair| changed(&problem, repair));
    if problem.validate().is_err() {
        return false;
    }
    let instance = Instance::new(&problem);
    Layout::new(&instance, &explainer.solved(&instance)).short().is_empty()
}
