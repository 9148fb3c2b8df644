//! A resource certificate: some workloads may only be on some nodes, and together they need more of a resource than those nodes have (the
//! condition of Hall's theorem, for one resource). Found where the relaxation's dual values point, added up in exact integers.

use super::wish::{REQUIRED, Support};
use crate::backend::Tag;
use crate::instance::Instance;
use crate::{Certificate, Problem};
use std::cmp::Reverse;
use std::collections::BTreeSet;

/// The certificate over the fewest nodes, and of those the one with the fewest workloads, if any set of nodes that comes to mind has one: where the wisher may be, where a capacity
/// holds the relaxation up, all.
pub(super) fn certificate(problem: &Problem, wisher: usize, support: &Support) -> Option<Certificate> {
    let instance = Instance::new(problem);
    let own: BTreeSet<usize> = reach(&instance, wisher).collect();
    let mut found: Vec<Certificate> = Vec::new();
    for resource in 0..problem.resources.len() {
        let tight = support.duals.iter().filter_map(|(tag, _)| match tag {
            Tag::Capacity { resource: of, bin } if *of == resource => Some(&support.bins[*bin]),
            _ => None,
        });
        let tight: BTreeSet<usize> = tight.flatten().copied().chain(own.iter().copied()).collect();
        let all: BTreeSet<usize> = (0..problem.nodes.len()).collect();
        found.extend([&own, &tight, &all].into_iter().find_map(|nodes| over(&instance, wisher, resource, nodes)));
    }
    found.into_iter().min_by_key(|certificate| (certificate.nodes.len(), certificate.workloads.len()))
}

/// The nodes that a workload may be on, or may stay on.
fn reach<'i>(instance: &'i Instance, workload: usize) -> impl Iterator<Item = usize> + 'i {
    let running = instance.running[workload].iter().map(|(node, _)| *node);
    instance.allowed[workload].iter().copied().chain(running)
}

/// The certificate over these nodes, if they have too little of the resource.
fn over(instance: &Instance, wisher: usize, resource: usize, nodes: &BTreeSet<usize>) -> Option<Certificate> {
    let problem = instance.problem;
    let confined = |workload: &usize| {
        let spec = &problem.workloads[*workload];
        let takes = spec.priority == REQUIRED && spec.wanted > 0 && spec.demand[resource] > 0;
        takes && reach(instance, *workload).all(|node| nodes.contains(&node))
    };
    let mut workloads: Vec<usize> = (0..problem.workloads.len()).filter(confined).collect();
    let needs = |workload: &usize| {
        u128::from(problem.workloads[*workload].demand[resource]) * u128::from(problem.workloads[*workload].wanted)
    };
    let there = nodes.iter().map(|node| instance.ceiling[*node][resource]).fold(0, u128::saturating_add);
    // The wisher and as few others as will do, those that need most: a sum over all would hide what is too much by itself.
    workloads.sort_by_key(|workload| (*workload != wisher, Reverse(needs(workload)), *workload));
    let mut needed = 0u128;
    let enough = workloads.iter().position(|workload| {
        needed = needed.saturating_add(needs(workload));
        needed > there
    });
    workloads.truncate(enough? + 1);
    if !workloads.contains(&wisher) {
        return None;
    }
    workloads.sort_unstable();
    let (needed, there) = (u64::try_from(needed).ok()?, u64::try_from(there).ok()?);
    Some(Certificate { resource, nodes: nodes.iter().copied().collect(), workloads, needed, there })
}
