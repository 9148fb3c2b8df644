//! Classes of like nodes, and what the program over classes knows: bounds for every tier, and how many of what each class should hold.
//!
//! Two nodes are alike when no rule, capacity or price tells them apart, except that topologies in which every domain is a single
//! node may differ. Every placement, summed over classes, satisfies the class program ([`crate::model`]), so its bounds hold for
//! all placements; its own solutions need not come apart into placements.

use crate::backend::{Linear, SolveLimits, Whole};
use crate::deadline::Deadline;
use crate::instance::Instance;
use crate::lexicographic::Scaled;
use crate::model::{Model, Scope};
use crate::watch::topology_of;
use crate::{Proof, Rule, Standing, Tier};
use std::collections::BTreeMap;

/// What tells nodes apart.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Likeness {
    capacity: Vec<u64>,
    price_micros: u64,
    /// Domains, in topologies that some rule looks at; of those with one node to a domain only whether there is one.
    domains: Vec<Option<usize>>,
    /// Bit per workload: may be here.
    allowed: Vec<u64>,
    /// Bit per workload: is eligible here (labels aside).
    eligible: Vec<u64>,
    /// Bit per `prefer` rule: this node is preferred.
    preferred: Vec<u64>,
    /// Its devices, and whether it is there.
    devices: Vec<u32>,
    standing: Standing,
    /// Per `safety` rule its safety capacity; per limit on filled nodes, whether it is among them.
    of_rules: Vec<u64>,
    /// Nodes on which something is broken are alike to none.
    broken: Option<usize>,
}

/// The classes, each ascending, in order of their first node.
pub(crate) fn classes(instance: &Instance) -> Vec<Vec<usize>> {
    let problem = instance.problem;
    let nodes = problem.nodes.len();
    let mut sizes: Vec<Vec<usize>> = problem.topologies.iter().map(|t| vec![0; t.domains.len()]).collect();
    for node in &problem.nodes {
        for (topology, domain) in node.domains.iter().enumerate() {
            if let Some(domain) = domain {
                sizes[topology][*domain] += 1;
            }
        }
    }
    let single: Vec<bool> = sizes.iter().map(|sizes| sizes.iter().all(|size| *size <= 1)).collect();
    let allowed = bits(nodes, instance.allowed.iter().map(|nodes| nodes.as_ref()));
    let eligible = bits(nodes, problem.workloads.iter().map(|w| w.eligible.as_slice()));
    let preferences = problem.constraints.iter().filter_map(|c| match &c.rule {
        Rule::Prefer { nodes, .. } => Some(nodes.as_slice()),
        _ => None,
    });
    let preferred = bits(nodes, preferences);
    let mut looked_at = vec![false; problem.topologies.len()];
    problem.constraints.iter().filter_map(|c| topology_of(&c.rule)).for_each(|topology| looked_at[topology] = true);
    let mut classes: BTreeMap<Likeness, Vec<usize>> = BTreeMap::new();
    for (index, (((node, allowed), eligible), preferred)) in
        problem.nodes.iter().zip(allowed).zip(eligible).zip(preferred).enumerate()
    {
        let domain = |topology: usize, domain: Option<usize>| match (looked_at[topology], single[topology]) {
            (false, _) => None,
            (true, true) => domain.map(|_| 0),
            (true, false) => domain,
        };
        let likeness = Likeness {
            capacity: node.capacity.clone(),
            price_micros: node.price_micros,
            domains: node.domains.iter().enumerate().map(|(topology, known)| domain(topology, *known)).collect(),
            allowed,
            eligible,
            preferred,
            devices: node.devices.clone(),
            standing: node.standing,
            of_rules: problem.constraints.iter().filter_map(|c| of_rule(&c.rule, index)).collect(),
            broken: instance.broken_nodes[index].then_some(index),
        };
        classes.entry(likeness).or_default().push(index);
    }
    let mut classes: Vec<Vec<usize>> = classes.into_values().collect();
    classes.sort_unstable();
    classes
}

/// What a rule about nodes knows of one of them.
fn of_rule(rule: &Rule, node: usize) -> Option<u64> {
    match rule {
        Rule::Safety { safe, .. } => Some(safe[node]),
        Rule::NodesMost { nodes, .. } => Some(u64::from(nodes.binary_search(&node).is_ok())),
        _ => None,
    }
}

/// For each node, a bit for each list that holds it.
fn bits<'a>(nodes: usize, lists: impl Iterator<Item = &'a [usize]>) -> Vec<Vec<u64>> {
    let lists: Vec<&[usize]> = lists.collect();
    let mut bits = vec![vec![0; lists.len().div_ceil(64)]; nodes];
    for (index, list) in lists.into_iter().enumerate() {
        for node in list {
            bits[*node][index / 64] |= 1 << (index % 64);
        }
    }
    bits
}

/// The program over classes.
pub(crate) fn class_model<'i, 'p>(instance: &'i Instance<'p>, deflation: f64) -> Model<'i, 'p> {
    let scope = Scope { bins: classes(instance), whole_counts: false, deflation, ..Scope::whole(instance) };
    Model::build(instance, &scope)
}

/// Whether a tier is to be looked at.
type Which = fn(Tier) -> bool;

/// Rounds of cuts for one tier, at most.
const CUT_ROUNDS_MAX: usize = 15;
/// A round that raises the bound by less, relatively, is the last but one.
const CUT_GAIN_MIN: f64 = 2e-5;

/// Lower bounds on those tiers for which `which` holds of a placement worth `worth`, where `known` is not already tight: what any placement with
/// the same values in the tiers before must reach. First the linear relaxation, with `cuts` added to until they gain nothing any more; then,
/// from a `start` if there is one (or the relaxation rounded up, if that is better), with whole node counts, for at most half of the time left, so that one
/// tier's proof does not use up the others' time. Returns the last values for the cost, where it was looked at and nothing is short.
pub(crate) fn bounds(
    model: &Model,
    worth: &[(Tier, u64)],
    (known, proofs): (&mut [u64], &mut [Proof]),
    cuts: &mut Vec<Linear>,
    (start, which): (Option<&[f64]>, Which),
    deadline: Deadline,
) -> Option<Vec<f64>> {
    let (mut rows, mut found): (Vec<Linear>, _) = (Vec::new(), None);
    // What is short would be left out of the values as well.
    let is_short = |known: &[u64]| {
        let mut tiers = worth.iter().zip(known);
        tiers.any(|((tier, value), known)| matches!(tier, Tier::Shortage(_)) && value > known)
    };
    let last = worth.iter().zip(known.iter()).rposition(|((tier, value), known)| known < value && which(*tier));
    for (index, (_, tier)) in model.tiers.iter().enumerate() {
        let value = worth[index].1;
        let scaled = Scaled::new(tier);
        let trivial = scaled.bound(tier, model.program.least(&scaled.objective)).max(0.0) as u64;
        if trivial.min(value) > known[index] {
            (known[index], proofs[index]) = (trivial.min(value), Proof::ClassRelaxation);
        }
        let take = |bound: f64| scaled.bound(tier, bound).max(0.0).min(value as f64) as u64;
        let mut learn = |known: &mut u64, bound: Option<f64>, proof: Proof| {
            let bound = bound.map_or(0, take);
            if bound > *known {
                (*known, proofs[index]) = (bound, proof);
            }
        };
        let is_open = |known: u64| known < value && which(worth[index].0);
        let is_cost = matches!(worth[index].0, Tier::Cost | Tier::PricedCost);
        let mut values = None;
        if is_open(known[index]) && !deadline.passed() {
            let (bound, relaxed) = relaxation(model, &scaled, &rows, cuts, deadline);
            values = relaxed;
            learn(&mut known[index], bound, Proof::ClassRelaxation);
            if is_cost && !is_short(known) {
                found = values.clone();
            }
        }
        if let Some(start) = start.filter(|_| is_open(known[index]) && !deadline.passed()) {
            let share = if Some(index) == last { deadline.remaining() } else { deadline.remaining() / 2 };
            let gap = 0.9 * scaled.unit / scaled.divisor;
            let deadline = deadline.within(share);
            let limits = SolveLimits { deadline, whole: Whole::All, gap, relative_gap: 0.0 };
            let all: Vec<Linear> = rows.iter().chain(cuts.iter()).cloned().collect();
            let start = model.program.whole_start(&scaled.objective, &all, Some(start), values.as_deref());
            let outcome = model.program.minimise(&scaled.objective, &all, start.as_deref(), limits);
            learn(&mut known[index], outcome.bound, Proof::ClassProgram);
            if is_cost && !is_short(known) {
                found = outcome.values.or(found);
            }
        }
        rows.extend(model.no_worse(index, value as f64));
    }
    found
}

/// The bound of the linear relaxation, with cuts where it breaks them, and its last values. The best of all rounds: rounds are valid each by
/// itself.
fn relaxation(
    model: &Model,
    scaled: &Scaled,
    rows: &[Linear],
    cuts: &mut Vec<Linear>,
    deadline: Deadline,
) -> (Option<f64>, Option<Vec<f64>>) {
    let limits = SolveLimits { deadline, whole: Whole::None, gap: 0.0, relative_gap: 0.0 };
    let (mut best, mut found): (Option<f64>, _) = (None, None);
    for _ in 0..CUT_ROUNDS_MAX {
        let all: Vec<Linear> = rows.iter().chain(cuts.iter()).cloned().collect();
        let outcome = model.program.minimise(&scaled.objective, &all, None, limits);
        let (Some(bound), Some(values)) = (outcome.bound, outcome.values) else { break };
        let gain = best.map_or(f64::INFINITY, |best| bound - best);
        best = Some(best.map_or(bound, |best| best.max(bound)));
        let new = model.broken_rows(&values);
        found = Some(values);
        if new.is_empty() || gain <= CUT_GAIN_MIN * bound.abs() {
            break;
        }
        cuts.extend(new);
    }
    (best, found)
}
