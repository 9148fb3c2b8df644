//! The independent checker: does a placement keep every hard condition, and if not, by how much?
//!
//! It knows nothing of models, programs or searches, shares no code with them, and computes in exact integers. [`verify`]
//! is the last word on every placement the crate hands out.

mod devices;
mod reserve;
mod rooms;
mod rules;

pub(crate) use devices::{devices_needed, packing};
pub(crate) use reserve::{Homeless, homeless_of};
pub(crate) use rules::rule_units;

use crate::{Constraint, DeviceTake, Placed, Problem, Rule, Violation};

/// Every hard condition that `placed` breaks, sorted. Empty means that the placement may be carried out. `problem` must be
/// [valid](Problem::validate); `placed` may be anything.
pub fn check(problem: &Problem, placed: &[Placed]) -> Vec<Violation> {
    let mut violations = Vec::new();
    let tally = Tally::new(problem, placed, &mut violations);
    check_tally(problem, &tally, violations)
}

/// [`check`], of a placement that has been counted; `violations` are those of the counting.
pub(crate) fn check_tally(problem: &Problem, tally: &Tally, mut violations: Vec<Violation>) -> Vec<Violation> {
    check_capacity(problem, tally, &mut violations);
    check_devices(problem, tally, &mut violations);
    check_pairs(problem, tally, &mut violations);
    for (constraint, stated) in problem.constraints.iter().enumerate() {
        if stated.weight.is_none() {
            let units = rule_units(problem, tally, &stated.rule);
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
    let resources = problem.resources.len();
    let mut on_node = vec![0u128; problem.nodes.len() * resources];
    let mut of_workload = vec![0u128; problem.workloads.len() * resources];
    for (placed, held) in problem.current.iter().zip(&problem.held) {
        for (resource, held) in held.iter().enumerate() {
            let sums = [
                &mut on_node[placed.node * resources + resource],
                &mut of_workload[placed.workload * resources + resource],
            ];
            sums.into_iter().for_each(|sum| *sum = sum.saturating_add(u128::from(*held)));
        }
    }
    let mut violations = Vec::new();
    for (node, machine) in problem.nodes.iter().enumerate() {
        for (resource, &capacity) in machine.capacity.iter().enumerate() {
            let used = on_node[node * resources + resource];
            if used > u128::from(capacity) {
                violations.push(Violation::Capacity { node, resource, used, capacity });
            }
        }
    }
    for (constraint, Constraint { rule, .. }) in problem.constraints.iter().enumerate() {
        let Rule::Quota { workloads, max } = rule else { continue };
        let over = max.iter().map(|(resource, max)| {
            let used = workloads.iter().map(|w| of_workload[w * resources + resource]).fold(0, u128::saturating_add);
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
    verdict(problem, check(problem, placed))
}

/// [`verify`], when the violations are known.
pub(crate) fn verdict(problem: &Problem, violations: Vec<Violation>) -> Result<Vec<Violation>, Vec<Violation>> {
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
        Violation::Devices { lacking, .. } => u128::from(lacking),
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
        (Violation::Devices { node: n, kind: k, lacking: allowed }, Violation::Devices { node, kind, lacking }) => {
            (n, k) == (node, kind) && lacking <= allowed
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
        let mut entries = Vec::with_capacity(placed.len());
        for entry in placed {
            let known = entry.workload < problem.workloads.len() && entry.node < problem.nodes.len();
            if known && entry.count > 0 {
                entries.push((entry.workload, entry.node, u64::from(entry.count)));
            } else {
                violations.push(Violation::Malformed { workload: entry.workload, node: entry.node });
            }
        }
        entries.sort_unstable();
        let mut tally = Tally {
            by_workload: vec![Vec::new(); problem.workloads.len()],
            by_node: vec![Vec::new(); problem.nodes.len()],
        };
        for (workload, node, count) in entries {
            if let (Some((n, sum)), Some((w, same))) =
                (tally.by_workload[workload].last_mut(), tally.by_node[node].last_mut())
                && (*w, *n) == (workload, node)
            {
                violations.push(Violation::Malformed { workload, node });
                *sum += count;
                *same += count;
            } else {
                tally.by_workload[workload].push((node, count));
                tally.by_node[node].push((workload, count));
            }
        }
        tally
    }

    pub(crate) fn count(&self, workload: usize, node: usize) -> u64 {
        let entries = &self.by_workload[workload];
        entries.binary_search_by_key(&node, |(node, _)| *node).map_or(0, |at| entries[at].1)
    }

    pub(crate) fn total(&self, workload: usize) -> u64 {
        self.by_workload[workload].iter().map(|(_, count)| count).sum()
    }

    /// Counts of some workloads together (each once) in the domains that hold any, ascending, and what lies on nodes that are in none.
    fn in_domains(&self, problem: &Problem, workloads: &[usize], topology: usize) -> (Vec<(usize, u64)>, u64) {
        let mut counts: Vec<(usize, u64)> = Vec::new();
        let mut outside = 0;
        for (node, count) in workloads.iter().flat_map(|workload| &self.by_workload[*workload]) {
            match (problem.nodes[*node].domains[topology], counts.last_mut()) {
                (Some(domain), Some((last, sum))) if *last == domain => *sum += count,
                (Some(domain), _) => counts.push((domain, *count)),
                (None, _) => outside += count,
            }
        }
        counts.sort_unstable();
        counts.dedup_by(|next, kept| {
            let same = next.0 == kept.0;
            kept.1 += if same { next.1 } else { 0 };
            same
        });
        (counts, outside)
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

/// What counts against a node's capacity. Of a transient resource the replicas that leave go on holding what they hold, and what arrives
/// must fit beside them; what leaves breaks nothing that is not broken at present, and when nothing arrives, only what is used counts.
fn counted_on(problem: &Problem, tally: &Tally, running: &[(usize, u64)], node: usize, resource: usize) -> u128 {
    let used = used_on(problem, tally, node, resource);
    if !problem.resources[resource].transient {
        return used;
    }
    let demand = |workload: usize| u128::from(problem.workloads[workload].demand[resource]);
    let (mut at_present, mut charged) = (0u128, used);
    for (workload, count) in running {
        at_present = at_present.saturating_add(demand(*workload) * u128::from(*count));
        let left = count.saturating_sub(tally.count(*workload, node));
        charged = charged.saturating_add(demand(*workload) * u128::from(left));
    }
    let most = u128::from(problem.nodes[node].capacity[resource]).max(at_present);
    if charged > most { charged } else { used }
}

fn check_capacity(problem: &Problem, tally: &Tally, violations: &mut Vec<Violation>) {
    let mut running = vec![Vec::new(); problem.nodes.len()];
    if problem.resources.iter().any(|resource| resource.transient) {
        problem.current.iter().for_each(|p| running[p.node].push((p.workload, u64::from(p.count))));
    }
    for (node, machine) in problem.nodes.iter().enumerate() {
        if tally.by_node[node].is_empty() {
            continue;
        }
        for (resource, capacity) in machine.capacity.iter().enumerate() {
            let used = counted_on(problem, tally, &running[node], node, resource);
            if used > u128::from(*capacity) {
                violations.push(Violation::Capacity { node, resource, used, capacity: *capacity });
            }
        }
    }
}

fn check_devices(problem: &Problem, tally: &Tally, violations: &mut Vec<Violation>) {
    for (node, machine) in problem.nodes.iter().enumerate() {
        for (kind, device) in problem.devices.iter().enumerate() {
            let needed = devices_on(problem, &tally.by_node[node], kind, device.parts);
            let there = u64::from(machine.devices.get(kind).copied().unwrap_or(0));
            if needed > there {
                let lacking = u32::try_from(needed - there).unwrap_or(u32::MAX);
                violations.push(Violation::Devices { node, kind, lacking });
            }
        }
    }
}

/// How many devices of a kind a set of replicas needs.
fn devices_on(problem: &Problem, held: &[(usize, u64)], kind: usize, parts: u32) -> u64 {
    let mut whole = 0u64;
    let mut shares = Vec::new();
    for (workload, count) in held {
        match problem.workloads[*workload].device.filter(|demand| demand.kind == kind).map(|demand| demand.take) {
            Some(DeviceTake::Whole(devices)) => whole = whole.saturating_add(u64::from(devices).saturating_mul(*count)),
            Some(DeviceTake::Share(share)) => shares.push((share, *count)),
            None => {}
        }
    }
    whole.saturating_add(devices_needed(&shares, parts))
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
        if placed > u64::from(spec.wanted) + u64::from(spec.surplus_max) {
            violations.push(Violation::TooMany { workload, placed, wanted: spec.wanted });
        }
    }
}

/// Per workload, the topologies in which its nodes must have a domain, because a hard rule divides by them.
fn labels_needed(problem: &Problem) -> Vec<Vec<usize>> {
    let mut needed = vec![Vec::new(); problem.workloads.len()];
    for constraint in problem.constraints.iter().filter(|c| c.weight.is_none()) {
        match &constraint.rule {
            Rule::Spread { workload, topology, .. } | Rule::Survive { workload, topology, .. } => {
                needed[*workload].push(*topology);
            }
            Rule::LimitPerDomain { workloads, topology, .. }
            | Rule::Near { workloads, topology, .. }
            | Rule::DistinctDomains { workloads, topology, .. } => {
                workloads.iter().for_each(|workload| needed[*workload].push(*topology));
            }
            Rule::SeparateFrom { a, b, topology, .. } => {
                needed[*a].push(*topology);
                needed[*b].push(*topology);
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
    needed
}
