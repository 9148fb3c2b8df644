//! The solver's causes and repairs, told in the words of those who wrote the constraints.

use super::program::{Origin, Program};
use super::resources::ResourceKey;
use super::sources::Merged;
use crate::plan::{Conflict, RepairEntry, Unplaced};
use hyphae_solver::{Cause, NodeIdx, Placed, Repair, Shortage, WorkloadIdx};
use hyphae_specs::{Span, Workload};

/// A solver's shortage as an entry of the plan.
pub(super) fn unplaced(merged: &Merged, program: &Program, placed: &[Placed], shortage: &Shortage) -> Unplaced {
    // That no node is allowed at all needs no solver to be seen, and is all there is to say.
    let nowhere_allowed = program.problem.workloads[shortage.workload].eligible.is_empty();
    let mut causes = if nowhere_allowed { vec![Cause::NotEligible] } else { shortage.conflict.clone() };
    // What a pool could still offer is of no use when it is full; the solver takes that limit for granted.
    let full = super::pools::reached(program, placed, shortage.workload);
    if !full.is_empty() {
        causes.iter_mut().for_each(|cause| super::pools::without_offers(program, placed, shortage.workload, cause));
        let full = full.into_iter().map(Cause::Rule);
        causes.extend(full.filter(|full| !shortage.conflict.contains(full)).collect::<Vec<_>>());
    }
    Unplaced {
        workload: program.workloads[shortage.workload].clone(),
        count: shortage.missing,
        conflict: causes.iter().flat_map(|cause| conflicts(merged, program, shortage.workload, cause)).collect(),
        repairs: shortage.repairs.iter().map(|repair| repair_entry(program, repair)).collect(),
        proven: shortage.proven || nowhere_allowed,
    }
}

fn nowhere(text: String) -> Conflict {
    Conflict { file: None, line: None, column: None, constraint: text }
}

fn written(origin: &Origin, text: String) -> Conflict {
    Conflict { file: Some(origin.file.clone()), line: Some(origin.line), column: Some(origin.column), constraint: text }
}

fn conflicts(merged: &Merged, program: &Program, workload: WorkloadIdx, cause: &Cause) -> Vec<Conflict> {
    match cause {
        Cause::NotEligible => ineligible(program, workload),
        Cause::PerNodeMax => vec![nowhere("a daemon has one replica on each node".to_owned())],
        Cause::Rule(constraint) => {
            let origin = &program.origins[*constraint];
            vec![written(origin, origin.text.clone())]
        }
        Cause::Capacity { resource, needed, free, fragmented } => {
            let amount = |amount| program.resources.amount_text(*resource, amount);
            let name = program.resources.name_text(*resource);
            let one = amount(program.problem.workloads[workload].demand[*resource]);
            let text = match fragmented {
                true => {
                    format!("{name}: {} free in all, but no allowed node has {one} free for one replica", amount(*free))
                }
                false => format!("{name}: {} needed, {} free on the allowed nodes", amount(*needed), amount(*free)),
            };
            let span =
                demand_span(&merged.model.workloads[&program.workloads[workload]], program.resources.key(*resource));
            vec![span.map_or_else(
                || nowhere(text.clone()),
                |span| written(&Origin::new(&merged.sources, span), text.clone()),
            )]
        }
    }
}

/// Where a workload says how much of a resource it takes.
fn demand_span(workload: &Workload, key: &ResourceKey) -> Option<Span> {
    let resources = &workload.resources;
    match key {
        ResourceKey::Cpu => resources.cpu.as_ref().map(|cpu| cpu.span),
        ResourceKey::Memory => resources.memory.as_ref().map(|memory| memory.span),
        ResourceKey::Disk => resources.disk.as_ref().map(|disk| disk.span),
        ResourceKey::Extra(name) => resources.extras.get(name).map(|extra| extra.span),
        ResourceKey::HostPort(port, _) => workload
            .ports
            .iter()
            .filter_map(|own| own.host.as_ref())
            .find(|host| host.value == *port)
            .map(|host| host.span),
        ResourceKey::Replicas | ResourceKey::Cordoned { .. } => None,
    }
}

fn ineligible(program: &Program, workload: WorkloadIdx) -> Vec<Conflict> {
    let all = program.nodes.len();
    if all == 0 {
        return vec![nowhere("there are no nodes".to_owned())];
    }
    let reasons = program.ineligible[workload].iter().map(|reason| {
        let text = format!("{} (rules out {} of {all} nodes)", reason.text, reason.nodes.len());
        reason.origin.as_ref().map_or_else(|| nowhere(text.clone()), |origin| written(origin, text.clone()))
    });
    reasons.collect()
}

fn repair_entry(program: &Program, repair: &Repair) -> RepairEntry {
    match repair {
        Repair::AddNodes { like, count } => {
            let what = if *count == 1 { "1 node".to_owned() } else { format!("{count} nodes") };
            let adds = format!("{what} like {} ({})", program.nodes[*like], node_text(program, *like));
            RepairEntry { text: format!("add {adds}"), adds: Some(adds) }
        }
        Repair::DropRule(constraint) => {
            let Origin { file, line, text, .. } = &program.origins[*constraint];
            RepairEntry { text: format!("remove or relax `{text}` ({file}:{line})"), adds: None }
        }
        Repair::WantFewer { workload, by } => {
            let (name, wanted) = (&program.workloads[*workload], program.problem.workloads[*workload].wanted);
            let text = format!("run {} replicas of {name} instead of {wanted}", wanted.saturating_sub(*by));
            RepairEntry { text, adds: None }
        }
    }
}

fn node_text(program: &Program, node: NodeIdx) -> String {
    let capacity = &program.problem.nodes[node].capacity;
    let amount =
        |resource: usize, unit: &str| format!("{}{unit}", program.resources.amount_text(resource, capacity[resource]));
    let zone = program.problem.topologies.iter().zip(&program.problem.nodes[node].domains);
    let domains = zone.filter(|(topology, _)| topology.key != "node");
    let domains =
        domains.filter_map(|(topology, domain)| Some(format!("{} {}", topology.key, topology.domains[(*domain)?])));
    [amount(0, " cpu"), amount(1, "")].into_iter().chain(domains).collect::<Vec<_>>().join(", ")
}

/// The rules that name the workload, as written.
pub(super) fn rules(program: &Program, workload: WorkloadIdx) -> Vec<super::ExplainedRule> {
    let explained = |position: usize| {
        let origin = &program.origins[position];
        let hard = program.problem.constraints[position].weight.is_none();
        super::ExplainedRule { rule: written(origin, origin.text.clone()), hard }
    };
    rules_naming(program, workload).map(explained).collect()
}

/// The positions of the rules that name the workload.
pub(super) fn rules_naming(program: &Program, workload: WorkloadIdx) -> impl Iterator<Item = usize> + '_ {
    let rules = program.problem.constraints.iter().enumerate();
    rules.filter(move |(_, constraint)| constraint.rule.workloads().contains(&workload)).map(|(position, _)| position)
}
