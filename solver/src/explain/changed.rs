//! A problem after a repair.

use super::ground::nothing;
use crate::{Problem, Repair, Rule};

/// The problem with what the repair asks for.
pub(super) fn changed(problem: &Problem, repair: &Repair) -> Problem {
    let mut problem = problem.clone();
    match repair {
        Repair::RelaxRule { constraint, to } => problem.constraints[*constraint].rule = to.clone(),
        Repair::DropRule(constraint) => {
            problem.constraints[*constraint].rule = nothing();
            problem.constraints[*constraint].weight = None;
        }
        Repair::DropReplicas { workload, by } | Repair::WantFewer { workload, by } => {
            let spec = &mut problem.workloads[*workload];
            spec.wanted = spec.wanted.saturating_sub(*by);
        }
        Repair::AddNodes { like, count } => (0..*count).for_each(|_| add_node(&mut problem, *like)),
    }
    problem
}

/// The rule, looser by so many steps; nothing when it has no limit, or not that far to go.
pub(super) fn relaxed(rule: &Rule, by: u32) -> Option<Rule> {
    let mut rule = rule.clone();
    match &mut rule {
        Rule::Spread { max_skew: limit, .. }
        | Rule::LimitPerDomain { limit, .. }
        | Rule::NodesMost { most: limit, .. } => {
            *limit = limit.checked_add(by)?;
        }
        // A limit of 0 is another rule: the two may not meet.
        Rule::SeparateFrom { limit, .. } if *limit > 0 => *limit = limit.checked_add(by)?,
        Rule::Survive { keep: least, .. } | Rule::DistinctDomains { least, .. } => *least = least.checked_sub(by)?,
        _ => return None,
    }
    Some(rule)
}

/// One more node like another: in the same domains, except that a domain that is the node itself (it has its name) gets a twin.
fn add_node(problem: &mut Problem, like: usize) {
    let added = problem.nodes.len();
    let mut node = problem.nodes[like].clone();
    let old = std::mem::replace(&mut node.name, format!("{} (new {added})", problem.nodes[like].name));
    for (topology, domain) in problem.topologies.iter_mut().zip(&mut node.domains) {
        if domain.is_some_and(|domain| topology.domains[domain] == old) {
            topology.domains.push(node.name.clone());
            *domain = Some(topology.domains.len() - 1);
        }
    }
    problem.nodes.push(node);
    for workload in &mut problem.workloads {
        if workload.eligible.binary_search(&like).is_ok() {
            workload.eligible.push(added);
        }
    }
    for constraint in &mut problem.constraints {
        match &mut constraint.rule {
            Rule::Prefer { nodes, .. } | Rule::NodesMost { nodes, .. } if nodes.binary_search(&like).is_ok() => {
                nodes.push(added);
            }
            Rule::Safety { safe, .. } => safe.push(safe[like]),
            Rule::MovedFar { units } => {
                units.iter_mut().for_each(|row| row.push(row[like]));
                units.push(units[like].clone());
            }
            _ => {}
        }
    }
}
