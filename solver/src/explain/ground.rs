//! The grounds on which a wish may be refused: the conditions that a conflict can name, and the problem without some of them.

use crate::{Problem, Rule};
use std::collections::BTreeSet;

/// A condition that can be taken away. Taking one away never makes anything impossible.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Ground {
    /// A hard rule, of whichever workload.
    Rule(usize),
    /// The wisher's maximum on one node.
    PerNodeMax,
    /// The capacity of a resource, on every node.
    Capacity(usize),
    /// The number of devices of a kind, on every node.
    Devices(usize),
    /// The nodes that the wisher may not be on.
    Eligibility,
}

/// Which grounds stand.
pub(super) type Grounds = BTreeSet<Ground>;

/// A rule that says nothing, in the place of one taken away.
pub(super) fn nothing() -> Rule {
    Rule::Quota { workloads: Vec::new(), max: Vec::new() }
}

/// Takes away every ground but those in `standing`. What is no ground (what others want, where others may be) stays.
pub(super) fn keep_only(problem: &mut Problem, wisher: usize, standing: &Grounds) {
    // Asked while the rules are there: which of them stand must not change what else is a ground.
    let widens = may_widen(problem, wisher);
    for (index, constraint) in problem.constraints.iter_mut().enumerate() {
        if constraint.weight.is_some() || !standing.contains(&Ground::Rule(index)) {
            constraint.rule = nothing();
            constraint.weight = None;
        }
    }
    if !standing.contains(&Ground::PerNodeMax) {
        problem.workloads[wisher].per_node_max = None;
    }
    for resource in (0..problem.resources.len()).filter(|r| !standing.contains(&Ground::Capacity(*r))) {
        problem.nodes.iter_mut().for_each(|node| node.capacity[resource] = u64::MAX);
    }
    for kind in (0..problem.devices.len()).filter(|kind| !standing.contains(&Ground::Devices(*kind))) {
        let of_kind = problem.workloads.iter_mut().filter(|w| w.device.is_some_and(|device| device.kind == kind));
        of_kind.for_each(|workload| workload.device = None);
    }
    if widens && !standing.contains(&Ground::Eligibility) {
        problem.workloads[wisher].eligible = (0..problem.nodes.len()).collect();
    }
}

/// Whether eligibility is a ground: it rules nodes out, and no spread counts domains by it (more of those would bind more, not less).
pub(super) fn may_widen(problem: &Problem, wisher: usize) -> bool {
    let spreads = |rule: &Rule| matches!(rule, Rule::Spread { workload, .. } if *workload == wisher);
    let excludes = problem.workloads[wisher].eligible.len() < problem.nodes.len();
    excludes && !problem.constraints.iter().any(|constraint| constraint.weight.is_none() && spreads(&constraint.rule))
}
