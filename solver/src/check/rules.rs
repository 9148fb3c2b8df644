//! By how much a placement breaks each family of rules: one arm for each.

use super::reserve::homeless;
use super::{Tally, used_on};
use crate::{Problem, Rule};

/// By how much a rule is broken, in the units its documentation states; quotas in `scale`s of each resource, rounded up; all-or-nothing in
/// the replicas one would have to stop or start, whichever are fewer.
pub(crate) fn rule_units(problem: &Problem, tally: &Tally, rule: &Rule) -> u128 {
    match rule {
        Rule::Spread { workload, topology, max_skew } => {
            let (counts, _) = tally.per_domain(problem, *workload, *topology);
            let (mut counted, mut uncounted) = (vec![false; counts.len()], counts.len());
            for node in &problem.workloads[*workload].eligible {
                if let Some(domain) = problem.nodes[*node].domains[*topology] {
                    uncounted -= usize::from(!std::mem::replace(&mut counted[domain], true));
                }
                if uncounted == 0 {
                    break;
                }
            }
            let within = || counts.iter().zip(&counted).filter(|(_, counted)| **counted).map(|(count, _)| *count);
            let skew = within().max().unwrap_or(0) - within().min().unwrap_or(0);
            u128::from(skew.saturating_sub(u64::from(*max_skew)))
        }
        Rule::LimitPerDomain { workloads, topology, limit } => {
            let (counts, _) = tally.in_domains(problem, workloads, *topology);
            counts.iter().map(|(_, count)| u128::from(count.saturating_sub(u64::from(*limit)))).sum()
        }
        Rule::Survive { workload, topology, keep } => {
            let (counts, _) = tally.in_domains(problem, &[*workload], *topology);
            let wanted = u64::from(problem.workloads[*workload].wanted);
            let limit = tally.total(*workload).max(wanted) - u64::from(*keep).min(wanted);
            counts.iter().map(|(_, count)| u128::from(count.saturating_sub(limit))).sum()
        }
        Rule::SeparateFrom { a, b, topology, limit } => {
            let (of_a, _) = tally.in_domains(problem, &[*a], *topology);
            let (of_b, _) = tally.in_domains(problem, &[*b], *topology);
            let beyond = |domain: usize| held(&of_b, domain).saturating_sub(u64::from(*limit));
            of_a.iter().map(|(domain, a)| u128::from(beyond(*domain).min(*a))).sum()
        }
        Rule::Near { workloads, to, topology } => {
            let (counts, outside) = tally.in_domains(problem, workloads, *topology);
            let (others, _) = tally.in_domains(problem, to, *topology);
            let alone: u64 = counts.iter().filter(|(d, _)| held(&others, *d) == 0).map(|(_, count)| count).sum();
            u128::from(alone + outside)
        }
        Rule::DistinctDomains { workloads, topology, least } => {
            let (counts, outside) = tally.in_domains(problem, workloads, *topology);
            let placed = counts.iter().map(|(_, count)| count).sum::<u64>() + outside;
            let distinct = counts.len() as u64;
            u128::from(placed.min(u64::from(*least)).saturating_sub(distinct))
        }
        Rule::Reserve { topology, except } => {
            homeless(problem, tally, *topology, except).iter().map(|homeless| u128::from(homeless.count)).sum()
        }
        Rule::NodesMost { nodes, most } => {
            let filled = nodes.iter().filter(|node| !tally.by_node[**node].is_empty()).count() as u64;
            u128::from(filled.saturating_sub(u64::from(*most)))
        }
        Rule::Safety { resource, safe } => {
            let over = |node: usize| used_on(problem, tally, node, *resource).saturating_sub(u128::from(safe[node]));
            let scale = u128::from(problem.resources[*resource].scale.max(1));
            (0..problem.nodes.len()).map(|node| over(node).div_ceil(scale)).fold(0, u128::saturating_add)
        }
        Rule::Balance { first, second, unit } => (0..problem.nodes.len())
            .map(|node| imbalance(problem, tally, node, *first, *second).div_ceil(u128::from((*unit).max(1))))
            .fold(0, u128::saturating_add),
        Rule::Moved { workloads } => {
            let moved = moved(problem, tally);
            workloads.iter().map(|(w, units)| u128::from(*units) * moved[*w]).sum()
        }
        Rule::MovedMost { groups } => {
            let moved = moved(problem, tally);
            let of = |group: &Vec<usize>| group.iter().map(|w| moved[*w]).sum();
            groups.iter().map(of).max().unwrap_or(0)
        }
        Rule::MovedFar { units } => moved_far(problem, tally, units),
        Rule::Prefer { workload, nodes } => tally.by_workload[*workload]
            .iter()
            .filter(|(node, _)| nodes.binary_search(node).is_err())
            .map(|(_, count)| u128::from(*count))
            .sum(),
        Rule::Quota { workloads, max } => max
            .iter()
            .map(|(resource, max)| {
                let of = |w: &usize| u128::from(problem.workloads[*w].demand[*resource]) * u128::from(tally.total(*w));
                let used = workloads.iter().map(of).fold(0, u128::saturating_add);
                used.saturating_sub(u128::from(*max)).div_ceil(u128::from(problem.resources[*resource].scale.max(1)))
            })
            .fold(0, u128::saturating_add),
        Rule::AllOrNothing { workloads } => {
            let served = |w: &usize| tally.total(*w).min(u64::from(problem.workloads[*w].wanted));
            let placed: u64 = workloads.iter().map(served).sum();
            let missing: u64 =
                workloads.iter().map(|w| u64::from(problem.workloads[*w].wanted).saturating_sub(tally.total(*w))).sum();
            u128::from(placed.min(missing))
        }
    }
}

/// The count of a domain among those that hold any.
fn held(counts: &[(usize, u64)], domain: usize) -> u64 {
    counts.binary_search_by_key(&domain, |(domain, _)| *domain).map_or(0, |at| counts[at].1)
}

/// max(0, factor₁ · left₁ − factor₂ · left₂) on a node.
fn imbalance(problem: &Problem, tally: &Tally, node: usize, first: (usize, u64), second: (usize, u64)) -> u128 {
    // Sums of up to 2^21 replicas of less than 2^64 each, times a factor: in pieces that cannot overflow.
    let part = |(resource, factor): (usize, u64)| -> (u128, u128) {
        let factor = u128::from(factor);
        let capacity = u128::from(problem.nodes[node].capacity[resource]).saturating_mul(factor);
        (capacity, used_on(problem, tally, node, resource).saturating_mul(factor))
    };
    let ((capacity_1, used_1), (capacity_2, used_2)) = (part(first), part(second));
    capacity_1.saturating_add(used_2).saturating_sub(used_1.saturating_add(capacity_2))
}

/// Per workload, the running replicas that are not where they were.
fn moved(problem: &Problem, tally: &Tally) -> Vec<u128> {
    let mut moved = vec![0; problem.workloads.len()];
    for running in &problem.current {
        let kept = tally.count(running.workload, running.node);
        moved[running.workload] += u128::from(u64::from(running.count).saturating_sub(kept));
    }
    moved
}

/// Σ `units[from][to]` over the workloads that want one replica, have one running, and have one placed.
fn moved_far(problem: &Problem, tally: &Tally, units: &[Vec<u32>]) -> u128 {
    let mut running: Vec<Vec<(usize, u32)>> = vec![Vec::new(); problem.workloads.len()];
    problem.current.iter().for_each(|entry| running[entry.workload].push((entry.node, entry.count)));
    let mut far = 0;
    for (workload, running) in running.iter().enumerate() {
        let spec = &problem.workloads[workload];
        if let ([(from, 1)], [(to, 1)]) = (running.as_slice(), tally.by_workload[workload].as_slice())
            && (spec.wanted, spec.surplus_max) == (1, 0)
        {
            far += u128::from(units[*from][*to]);
        }
    }
    far
}
