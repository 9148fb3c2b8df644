//! When nothing is proven: what speaks against one more replica on each node as things are, added up over the nodes.

use crate::layout::Layout;
use crate::{Barred, Cause, Rule};
use std::collections::BTreeMap;

/// The reasons, those that bar most nodes first; then rules that bar none in particular.
pub(super) fn barred(layout: &Layout, workload: usize, capacity: impl Fn(usize) -> Cause) -> Vec<Barred> {
    let instance = layout.instance;
    let spec = &instance.problem.workloads[workload];
    let mut causes: BTreeMap<Cause, u32> = BTreeMap::new();
    for node in instance.allowed[workload].iter() {
        let lacks = |(resource, demand): &(usize, &u64)| layout.free(*node, *resource) < u128::from(**demand);
        let lacking: Vec<usize> = spec.demand.iter().enumerate().filter(lacks).map(|(resource, _)| resource).collect();
        let full = spec.per_node_max.is_some_and(|max| layout.count(workload, *node) >= max);
        let mut found: Vec<Cause> = lacking.iter().map(|resource| capacity(*resource)).collect();
        found.extend(full.then_some(Cause::PerNodeMax));
        found.extend(layout.forbidden_by(workload, *node, false).map(Cause::Rule));
        if let Some(device) = spec.device.filter(|_| found.is_empty() && !layout.fits(workload, *node)) {
            found.push(Cause::Devices(device.kind));
        }
        found.into_iter().for_each(|cause| *causes.entry(cause).or_default() += 1);
    }
    for reserve in crate::survival::in_the_way(layout, workload) {
        causes.entry(Cause::Rule(reserve)).or_default();
    }
    let constraints = &instance.problem.constraints;
    for rule in &instance.rules_of[workload] {
        let all = matches!(constraints[*rule].rule, Rule::AllOrNothing { .. });
        if all || instance.allowed[workload].is_empty() && constraints[*rule].weight.is_none() {
            causes.entry(Cause::Rule(*rule)).or_default();
        }
    }
    let mut barred: Vec<Barred> = causes.into_iter().map(|(cause, nodes)| Barred { cause, nodes }).collect();
    barred.sort_by_key(|barred| std::cmp::Reverse(barred.nodes));
    barred
}
