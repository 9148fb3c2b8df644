//! From any placement to one that may be carried out: takes replicas away until nothing unexcused is broken.

use crate::check::homeless_of;
use crate::deadline::Deadline;
use crate::instance::Instance;
use crate::survival::make_rooms;
use crate::{Placed, Rule, Violation, verify};
use std::collections::BTreeMap;

/// A placement as a map, for taking away.
pub(crate) type Counts = BTreeMap<(usize, usize), u32>;

/// Removes what [`verify`] objects to, one violation after the other; replicas of low priority and new ones first. It ends, because every
/// step takes a replica and nothing placed breaks nothing: what is left when the instance's time is over.
pub(crate) fn prune(instance: &Instance, placed: &[Placed]) -> Vec<Placed> {
    let ascending = placed.windows(2).all(|pair| (pair[0].workload, pair[0].node) < (pair[1].workload, pair[1].node));
    if ascending && placed.iter().all(|entry| entry.count > 0) && verify(instance.problem, placed).is_ok() {
        return placed.to_vec();
    }
    let mut counts = counted(placed);
    for round in 0u64.. {
        if round > 0 && instance.until.is_some_and(Deadline::passed) {
            break;
        }
        let list = listed(&counts);
        let Err(violations) = verify(instance.problem, &list) else { return list };
        let before = list.iter().map(|entry| u64::from(entry.count)).sum::<u64>();
        for violation in &violations {
            relieve(instance, &mut counts, violation, round);
        }
        let after = counts.values().map(|count| u64::from(*count)).sum::<u64>();
        if after >= before {
            debug_assert!(false, "every violation names replicas to take away: {violations:?}");
            break;
        }
    }
    Vec::new()
}

pub(crate) fn counted(placed: &[Placed]) -> Counts {
    let mut counts: Counts = BTreeMap::new();
    for entry in placed.iter().filter(|entry| entry.count > 0) {
        *counts.entry((entry.workload, entry.node)).or_default() += entry.count;
    }
    counts
}

/// How many replicas hold `amount`, at least one.
fn replicas_for(amount: u128, demand: u64) -> u64 {
    u64::try_from(amount.div_ceil(u128::from(demand.max(1)))).unwrap_or(u64::MAX).max(1)
}

pub(crate) fn listed(counts: &Counts) -> Vec<Placed> {
    counts.iter().map(|((workload, node), count)| Placed { workload: *workload, node: *node, count: *count }).collect()
}

/// Takes away `many` replicas of a pair (at most what is there).
pub(crate) fn take(counts: &mut Counts, pair: (usize, usize), many: u64) -> u64 {
    let Some(count) = counts.get_mut(&pair) else { return 0 };
    let taken = u64::from(*count).min(many);
    *count -= u32::try_from(taken).unwrap_or(*count);
    if *count == 0 {
        counts.remove(&pair);
    }
    taken
}

fn relieve(instance: &Instance, counts: &mut Counts, violation: &Violation, round: u64) {
    let problem = instance.problem;
    match *violation {
        Violation::Capacity { node, resource, used, .. } => {
            let over = used.saturating_sub(instance.ceiling[node][resource]);
            let holds = |(w, n): &(usize, usize)| *n == node && problem.workloads[*w].demand[resource] > 0;
            // What runs goes on holding what is transient: where anything arrives, that has to go.
            let arrives = |(w, n): &(usize, usize)| {
                problem.resources[resource].transient && counts[&(*w, *n)] > instance.running_count(*w, *n)
            };
            let any_arrives = counts.keys().any(|pair| holds(pair) && arrives(pair));
            let on_node = counts.keys().copied().filter(|pair| holds(pair) && (!any_arrives || arrives(pair)));
            if let Some(pair) = least_loss(instance, counts, on_node) {
                take(counts, pair, replicas_for(over, problem.workloads[pair.0].demand[resource]));
            }
        }
        Violation::Devices { node, kind, .. } => {
            let uses = |w: usize| problem.workloads[w].device.is_some_and(|demand| demand.kind == kind);
            let on_node = counts.keys().copied().filter(|(w, n)| *n == node && uses(*w));
            if let Some(pair) = least_loss(instance, counts, on_node) {
                take(counts, pair, 1);
            }
        }
        Violation::NotEligible { workload, node, count } => {
            let excused = instance.running_count(workload, node);
            take(counts, (workload, node), u64::from(count.saturating_sub(excused).max(1)));
        }
        Violation::PerNodeMax { workload, node, count } => {
            let max = problem.workloads[workload].per_node_max.unwrap_or(u32::MAX);
            take(counts, (workload, node), u64::from(count.saturating_sub(max).max(1)));
        }
        Violation::TooMany { workload, placed, wanted } => {
            // The fullest domain of a spread rule first, so that the rest stays even.
            let spread = instance.rules_of[workload].iter().find_map(|rule| match problem.constraints[*rule].rule {
                Rule::Spread { topology, .. } => Some(topology),
                _ => None,
            });
            let domain = |node: usize| spread.and_then(|topology| problem.nodes[node].domains[topology]);
            let mut per_domain: BTreeMap<Option<usize>, u64> = BTreeMap::new();
            for ((w, node), count) in counts.iter() {
                if *w == workload {
                    *per_domain.entry(domain(*node)).or_default() += u64::from(*count);
                }
            }
            let fullest = per_domain.into_iter().max_by_key(|(_, count)| *count).and_then(|(domain, _)| domain);
            let there = counts.keys().copied().filter(|(w, n)| *w == workload && domain(*n) == fullest);
            // Few at a time, so that several domains share the loss; many only when there are very many.
            let many = (placed.saturating_sub(u64::from(wanted)) / 1024).max(1);
            if let Some(pair) = least_loss(instance, counts, there) {
                take(counts, pair, many);
            }
        }
        Violation::Rule { constraint, units } => {
            let over = units.saturating_sub(instance.excess[constraint]);
            if let Rule::Reserve { topology, except } = &problem.constraints[constraint].rule {
                let homeless = homeless_of(problem, &listed(counts), *topology, except);
                // More and more when what went first did not make the room that was needed.
                make_rooms(
                    instance,
                    counts,
                    &homeless,
                    (u128::from(over) * u128::from(4 + round * round), u128::from(units) * 4),
                );
                return;
            }
            relieve_rule(instance, counts, &problem.constraints[constraint].rule, over);
        }
        Violation::Malformed { workload, node } => {
            take(counts, (workload, node), u64::MAX);
        }
    }
}

/// Of some pairs, the one whose replica is missed least: low priority, then not running (or more than run), then small move weight.
pub(crate) fn least_loss(
    instance: &Instance,
    counts: &Counts,
    pairs: impl Iterator<Item = (usize, usize)>,
) -> Option<(usize, usize)> {
    pairs.min_by_key(|pair| {
        let (workload, node) = *pair;
        let spec = &instance.problem.workloads[workload];
        let runs = counts.get(pair).is_some_and(|count| *count <= instance.running_count(workload, node));
        (spec.priority, runs, spec.move_weight, instance.is_allowed(workload, node), *pair)
    })
}

/// `over`: the units to get rid of.
fn relieve_rule(instance: &Instance, counts: &mut Counts, rule: &Rule, over: u64) {
    let problem = instance.problem;
    let domain = |node: usize, topology: usize| problem.nodes[node].domains[topology];
    let per_domain = |counts: &Counts, workloads: &[usize], topology: usize| {
        let mut per_domain: BTreeMap<usize, u64> = BTreeMap::new();
        for ((w, node), count) in counts {
            if let (true, Some(domain)) = (workloads.contains(w), domain(*node, topology)) {
                *per_domain.entry(domain).or_default() += u64::from(*count);
            }
        }
        per_domain
    };
    let in_domain = |counts: &Counts, workloads: &[usize], topology: usize, of: Option<usize>| -> Vec<(usize, usize)> {
        counts.keys().copied().filter(|(w, n)| workloads.contains(w) && domain(*n, topology) == of).collect()
    };
    let take_some = |counts: &mut Counts, pairs: Vec<(usize, usize)>| {
        if let Some(pair) = least_loss(instance, counts, pairs.into_iter()) {
            take(counts, pair, (over / 1024).max(1));
        }
    };
    match rule {
        Rule::Spread { workload, topology, .. } | Rule::Survive { workload, topology, .. } => {
            let totals = per_domain(counts, &[*workload], *topology);
            let fullest = totals.iter().max_by_key(|(_, count)| **count).map(|(domain, _)| *domain);
            take_some(counts, in_domain(counts, &[*workload], *topology, fullest));
        }
        Rule::LimitPerDomain { workloads, topology, .. } | Rule::DistinctDomains { workloads, topology, .. } => {
            let totals = per_domain(counts, workloads, *topology);
            let fullest = totals.iter().max_by_key(|(_, count)| **count).map(|(domain, _)| *domain);
            take_some(counts, in_domain(counts, workloads, *topology, fullest));
        }
        Rule::SeparateFrom { a, b, topology, limit } => {
            let (of_a, of_b) = (per_domain(counts, &[*a], *topology), per_domain(counts, &[*b], *topology));
            for (domain, count_a) in of_a {
                let Some(count_b) = of_b.get(&domain).filter(|count| **count > u64::from(*limit)) else { continue };
                let rank = |w: usize, count: u64| (problem.workloads[w].priority, count, w);
                let (loser, mut left) = if rank(*a, count_a) < rank(*b, count_b - u64::from(*limit)) {
                    (*a, count_a)
                } else {
                    (*b, count_b - u64::from(*limit))
                };
                for pair in in_domain(counts, &[loser], *topology, Some(domain)) {
                    left -= take(counts, pair, left);
                }
                return;
            }
        }
        Rule::Near { workloads, to, topology } => {
            let others = per_domain(counts, to, *topology);
            let alone = |node: usize| domain(node, *topology).is_none_or(|domain| !others.contains_key(&domain));
            let pairs = counts.keys().copied().filter(|(w, n)| workloads.contains(w) && alone(*n)).collect();
            take_some(counts, pairs);
        }
        Rule::NodesMost { nodes, .. } => {
            let mut held: BTreeMap<usize, (i32, u64)> = BTreeMap::new();
            for ((w, node), count) in counts.iter().filter(|((_, node), _)| nodes.binary_search(node).is_ok()) {
                let entry = held.entry(*node).or_insert((i32::MIN, 0));
                *entry = (entry.0.max(problem.workloads[*w].priority), entry.1 + u64::from(*count));
            }
            if let Some((node, _)) = held.into_iter().min_by_key(|(node, held)| (*held, *node)) {
                counts.retain(|(_, n), _| *n != node);
            }
        }
        Rule::Quota { workloads, max } => {
            for (resource, _) in max {
                let uses = |w: usize| workloads.contains(&w) && problem.workloads[w].demand[*resource] > 0;
                let pairs = counts.keys().copied().filter(|(w, _)| uses(*w));
                if let Some(pair) = least_loss(instance, counts, pairs) {
                    let amount = u128::from(over) * u128::from(problem.resources[*resource].scale);
                    let many = replicas_for(amount, problem.workloads[pair.0].demand[*resource]);
                    take(counts, pair, (many / 1024).max(1));
                }
            }
        }
        Rule::AllOrNothing { workloads } => counts.retain(|(w, _), _| !workloads.contains(w)),
        Rule::Prefer { .. }
        | Rule::Reserve { .. }
        | Rule::Safety { .. }
        | Rule::Balance { .. }
        | Rule::Moved { .. }
        | Rule::MovedMost { .. }
        | Rule::MovedFar { .. } => {}
    }
}
