//! The independent checker: does a placement keep every hard condition, and if not, by how much?
//!
//! It knows nothing of models, programs or searches, shares no code with them, and computes in exact integers. [`verify`]
//! is the last word on every placement the crate hands out.

use crate::{Constraint, Placed, Problem, Rule, Violation};
use std::collections::BTreeMap;

/// Every hard condition that `placed` breaks, sorted. Empty means that the placement may be carried out. `problem` must be
/// [valid](Problem::validate); `placed` may be anything.
pub fn check(problem: &Problem, placed: &[Placed]) -> Vec<Violation> {
    let mut violations = Vec::new();
    let tally = Tally::new(problem, placed, &mut violations);
    check_capacity(problem, &tally, &mut violations);
    check_pairs(problem, &tally, &mut violations);
    for (constraint, stated) in problem.constraints.iter().enumerate() {
        if stated.weight.is_none() {
            let units = rule_units(problem, &tally, &stated.rule);
            if units > 0 {
                violations.push(Violation::Rule { constraint, units: u64::try_from(units).unwrap_or(u64::MAX) });
            }
        }
    }
    violations.sort_unstable();
    violations
}

/// What the present state breaks, and a placement may therefore go on breaking, at most as much. Too many replicas are never excused:
/// stopping one is always possible.
pub fn excused(problem: &Problem) -> Vec<Violation> {
    let mut violations = check(problem, &problem.current);
    violations.retain(|v| !matches!(v, Violation::TooMany { .. } | Violation::Malformed { .. }));
    if !problem.held.is_empty() {
        let quota = |position: usize| matches!(problem.constraints[position].rule, Rule::Quota { .. });
        violations.retain(|violation| match violation {
            Violation::Capacity { .. } => false,
            Violation::Rule { constraint, .. } => !quota(*constraint),
            _ => true,
        });
        violations.extend(held_too_much(problem));
        violations.sort_unstable();
    }
    violations
}

/// Capacities and quotas that [`Problem::held`] exceeds.
fn held_too_much(problem: &Problem) -> Vec<Violation> {
    let held = |resource: usize, counts: &dyn Fn(&Placed) -> bool| -> u128 {
        let entries = problem.current.iter().zip(&problem.held).filter(|(placed, _)| counts(placed));
        entries.map(|(_, held)| u128::from(held[resource])).fold(0, u128::saturating_add)
    };
    let mut violations = Vec::new();
    let mut occupied: Vec<usize> = problem.current.iter().map(|placed| placed.node).collect();
    occupied.sort_unstable();
    occupied.dedup();
    for node in occupied {
        for (resource, &capacity) in problem.nodes[node].capacity.iter().enumerate() {
            let used = held(resource, &|placed| placed.node == node);
            if used > u128::from(capacity) {
                violations.push(Violation::Capacity { node, resource, used, capacity });
            }
        }
    }
    for (constraint, Constraint { rule, .. }) in problem.constraints.iter().enumerate() {
        let Rule::Quota { workloads, max } = rule else { continue };
        let over = max.iter().map(|(resource, max)| {
            let used = held(*resource, &|placed| workloads.contains(&placed.workload));
            used.saturating_sub(u128::from(*max)).div_ceil(u128::from(problem.resources[*resource].scale.max(1)))
        });
        let units = over.fold(0, u128::saturating_add);
        if units > 0 {
            let units = u64::try_from(units).unwrap_or(u64::MAX);
            violations.push(Violation::Rule { constraint, units });
        }
    }
    violations
}

/// Whether `placed` may be handed out: `Ok` with the violations that the present state excuses, `Err` with those that nothing
/// excuses.
pub fn verify(problem: &Problem, placed: &[Placed]) -> Result<Vec<Violation>, Vec<Violation>> {
    let violations = check(problem, placed);
    if violations.is_empty() {
        return Ok(violations);
    }
    let excuses = excused(problem);
    let (kept, new): (Vec<_>, Vec<_>) =
        violations.into_iter().partition(|violation| excuses.iter().any(|excuse| covers(excuse, violation)));
    if new.is_empty() { Ok(kept) } else { Err(new) }
}

/// The units of a violation in [`crate::Tier::Repair`]: replicas, units of a rule, or `scale`s of a resource, rounded up.
pub(crate) fn violation_units(problem: &Problem, violation: &Violation) -> u128 {
    match *violation {
        Violation::Capacity { resource, used, capacity, .. } => {
            used.saturating_sub(u128::from(capacity)).div_ceil(u128::from(problem.resources[resource].scale.max(1)))
        }
        Violation::NotEligible { count, .. } => u128::from(count),
        Violation::PerNodeMax { workload, count, .. } => {
            u128::from(count.saturating_sub(problem.workloads[workload].per_node_max.unwrap_or(u32::MAX)))
        }
        Violation::TooMany { placed, wanted, .. } => u128::from(placed.saturating_sub(u64::from(wanted))),
        Violation::Rule { units, .. } => u128::from(units),
        Violation::Malformed { .. } => 1,
    }
}

fn covers(excuse: &Violation, violation: &Violation) -> bool {
    match (excuse, violation) {
        (
            Violation::Capacity { node: n, resource: r, used: allowed, .. },
            Violation::Capacity { node, resource, used, .. },
        ) => (n, r) == (node, resource) && used <= allowed,
        (
            Violation::NotEligible { workload: w, node: n, count: allowed },
            Violation::NotEligible { workload, node, count },
        )
        | (
            Violation::PerNodeMax { workload: w, node: n, count: allowed },
            Violation::PerNodeMax { workload, node, count },
        ) => (w, n) == (workload, node) && count <= allowed,
        (Violation::Rule { constraint: c, units: allowed }, Violation::Rule { constraint, units }) => {
            c == constraint && units <= allowed
        }
        _ => false,
    }
}

/// Whether a placement breaks a rule, hard or soft.
pub(crate) fn is_broken(problem: &Problem, placed: &[Placed], rule: &Rule) -> bool {
    rule_units(problem, &Tally::new(problem, placed, &mut Vec::new()), rule) > 0
}

/// A placement, counted: who is where.
pub(crate) struct Tally {
    /// Per workload, its nodes and counts.
    pub(crate) by_workload: Vec<Vec<(usize, u64)>>,
    /// Per node, its workloads and counts.
    pub(crate) by_node: Vec<Vec<(usize, u64)>>,
}

impl Tally {
    /// Entries that mean nothing are reported and left out; pairs listed twice are reported and added.
    pub(crate) fn new(problem: &Problem, placed: &[Placed], violations: &mut Vec<Violation>) -> Tally {
        let mut counts: BTreeMap<(usize, usize), u64> = BTreeMap::new();
        for entry in placed {
            let known = entry.workload < problem.workloads.len() && entry.node < problem.nodes.len();
            let repeated = counts.contains_key(&(entry.workload, entry.node));
            if !known || entry.count == 0 || repeated {
                violations.push(Violation::Malformed { workload: entry.workload, node: entry.node });
            }
            if known && entry.count > 0 {
                *counts.entry((entry.workload, entry.node)).or_default() += u64::from(entry.count);
            }
        }
        let mut tally = Tally {
            by_workload: vec![Vec::new(); problem.workloads.len()],
            by_node: vec![Vec::new(); problem.nodes.len()],
        };
        for ((workload, node), count) in counts {
            tally.by_workload[workload].push((node, count));
            tally.by_node[node].push((workload, count));
        }
        tally
    }

    pub(crate) fn total(&self, workload: usize) -> u64 {
        self.by_workload[workload].iter().map(|(_, count)| count).sum()
    }

    /// Counts of a workload for each domain of a topology, and what lies on nodes that are in none.
    fn per_domain(&self, problem: &Problem, workload: usize, topology: usize) -> (Vec<u64>, u64) {
        let mut counts = vec![0; problem.topologies[topology].domains.len()];
        let mut outside = 0;
        for (node, count) in &self.by_workload[workload] {
            match problem.nodes[*node].domains[topology] {
                Some(domain) => counts[domain] += count,
                None => outside += count,
            }
        }
        (counts, outside)
    }
}

/// Amount of each resource used on a node.
pub(crate) fn used_on(problem: &Problem, tally: &Tally, node: usize, resource: usize) -> u128 {
    let amount = |(w, count): &(usize, u64)| u128::from(problem.workloads[*w].demand[resource]) * u128::from(*count);
    tally.by_node[node].iter().map(amount).fold(0, u128::saturating_add)
}

fn check_capacity(problem: &Problem, tally: &Tally, violations: &mut Vec<Violation>) {
    for (node, machine) in problem.nodes.iter().enumerate() {
        if tally.by_node[node].is_empty() {
            continue;
        }
        for (resource, capacity) in machine.capacity.iter().enumerate() {
            let used = used_on(problem, tally, node, resource);
            if used > u128::from(*capacity) {
                violations.push(Violation::Capacity { node, resource, used, capacity: *capacity });
            }
        }
    }
}

fn check_pairs(problem: &Problem, tally: &Tally, violations: &mut Vec<Violation>) {
    let labels = labels_needed(problem);
    for (workload, spec) in problem.workloads.iter().enumerate() {
        for (node, count) in &tally.by_workload[workload] {
            let (node, count) = (*node, u32::try_from(*count).unwrap_or(u32::MAX));
            let labelled = labels[workload].iter().all(|topology| problem.nodes[node].domains[*topology].is_some());
            if !labelled || spec.eligible.binary_search(&node).is_err() {
                violations.push(Violation::NotEligible { workload, node, count });
            }
            if spec.per_node_max.is_some_and(|max| count > max) {
                violations.push(Violation::PerNodeMax { workload, node, count });
            }
        }
        let placed = tally.total(workload);
        if placed > u64::from(spec.wanted) {
            violations.push(Violation::TooMany { workload, placed, wanted: spec.wanted });
        }
    }
}

/// Per workload, the topologies in which its nodes must have a domain, because a hard rule divides by them.
fn labels_needed(problem: &Problem) -> Vec<Vec<usize>> {
    let mut needed = vec![Vec::new(); problem.workloads.len()];
    for constraint in problem.constraints.iter().filter(|c| c.weight.is_none()) {
        match constraint.rule {
            Rule::Spread { workload, topology, .. }
            | Rule::LimitPerDomain { workload, topology, .. }
            | Rule::Near { workload, topology, .. } => needed[workload].push(topology),
            Rule::SeparateFrom { a, b, topology } => {
                needed[a].push(topology);
                needed[b].push(topology);
            }
            Rule::Prefer { .. } | Rule::Quota { .. } | Rule::AllOrNothing { .. } => {}
        }
    }
    needed
}

/// By how much a rule is broken, in the units its documentation states; quotas in `scale`s of each resource, rounded up; all-or-nothing in
/// the replicas one would have to stop or start, whichever are fewer.
pub(crate) fn rule_units(problem: &Problem, tally: &Tally, rule: &Rule) -> u128 {
    match rule {
        Rule::Spread { workload, topology, max_skew } => {
            let (counts, _) = tally.per_domain(problem, *workload, *topology);
            let mut counted = vec![false; counts.len()];
            for node in &problem.workloads[*workload].eligible {
                if let Some(domain) = problem.nodes[*node].domains[*topology] {
                    counted[domain] = true;
                }
            }
            let within = || counts.iter().zip(&counted).filter(|(_, counted)| **counted).map(|(count, _)| *count);
            let skew = within().max().unwrap_or(0) - within().min().unwrap_or(0);
            u128::from(skew.saturating_sub(u64::from(*max_skew)))
        }
        Rule::LimitPerDomain { workload, topology, limit } => {
            let (counts, _) = tally.per_domain(problem, *workload, *topology);
            counts.iter().map(|count| u128::from(count.saturating_sub(u64::from(*limit)))).sum()
        }
        Rule::SeparateFrom { a, b, topology } => {
            let (of_a, _) = tally.per_domain(problem, *a, *topology);
            let (of_b, _) = tally.per_domain(problem, *b, *topology);
            of_a.iter().zip(&of_b).map(|(a, b)| u128::from(*a.min(b))).sum()
        }
        Rule::Near { workload, to, topology } => {
            let (counts, outside) = tally.per_domain(problem, *workload, *topology);
            let (others, _) = tally.per_domain(problem, *to, *topology);
            let alone: u64 = counts.iter().zip(&others).filter(|(_, other)| **other == 0).map(|(count, _)| count).sum();
            u128::from(alone + outside)
        }
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
            let placed: u64 = workloads.iter().map(|w| tally.total(*w)).sum();
            let missing: u64 =
                workloads.iter().map(|w| u64::from(problem.workloads[*w].wanted).saturating_sub(tally.total(*w))).sum();
            u128::from(placed.min(missing))
        }
    }
}
