//! The solver's causes, told in the words of those who wrote the constraints.

use super::program::{Origin, Program};
use super::repairs::repair_entry;
use super::resources::ResourceKey;
use super::sources::Merged;
use crate::plan::{Conflict, Unplaced};
use hyphae_solver::{Cause, Certificate, NodeIdx, Placed, Rule, Shortage, Topology, WorkloadIdx};
use hyphae_specs::{Span, Workload};

/// A solver's shortage as an entry of the plan.
pub(super) fn unplaced(merged: &Merged, program: &Program, placed: &[Placed], shortage: &Shortage) -> Unplaced {
    // That no node is allowed at all needs no solver to be seen, and is all there is to say.
    let runs = program.problem.current.iter().any(|placed| placed.workload == shortage.workload);
    let nowhere_allowed = program.problem.workloads[shortage.workload].eligible.is_empty() && !runs;
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
        conflict: causes.iter().flat_map(|cause| told(merged, program, shortage, cause)).collect(),
        repairs: shortage.repairs.iter().map(|repair| repair_entry(program, repair)).collect(),
        proven: shortage.proven || nowhere_allowed,
        minimal: shortage.minimal || nowhere_allowed,
        certificate: shortage.certificate.as_ref().map(|certificate| certificate_text(program, certificate)),
    }
}

/// A cause; when nothing is proven, with the number of nodes on which it stands in the way.
fn told(merged: &Merged, program: &Program, shortage: &Shortage, cause: &Cause) -> Vec<Conflict> {
    let mut conflicts = conflicts(merged, program, shortage.workload, cause);
    let barred = shortage.barred.iter().find(|barred| barred.cause == *cause && barred.nodes > 0);
    if let Some(barred) = barred {
        let allowed = program.problem.workloads[shortage.workload].eligible.len();
        let nodes = if allowed == 1 { "node" } else { "nodes" };
        let on = format!(" (on {} of {allowed} allowed {nodes})", barred.nodes);
        conflicts.iter_mut().for_each(|conflict| conflict.constraint.push_str(&on));
    }
    conflicts
}

/// Nodes named one by one.
const NODES_NAMED_MAX: usize = 4;

fn certificate_text(program: &Program, certificate: &Certificate) -> String {
    let Certificate { resource, nodes, workloads, needed, there } = certificate;
    let name = |node: &NodeIdx| program.nodes[*node].as_str();
    let amount = |amount: u64| program.resources.amount_text(*resource, amount);
    let needs = match program.resources.key(*resource) {
        ResourceKey::Replicas => format!("{} addresses", amount(*needed)),
        _ => format!("{} of {}", amount(*needed), program.resources.name_text(*resource)),
    };
    let there = amount(*there);
    if nodes.is_empty() {
        let names = workloads.iter().map(|workload| program.workloads[*workload].as_str()).collect::<Vec<_>>();
        return format!("no node is left for {}", names.join(", "));
    }
    if nodes.len() == program.nodes.len() {
        return match workloads.as_slice() {
            [only] => format!("{} needs {needs}; all nodes together have {there}", program.workloads[*only]),
            all => format!("{} workloads together need {needs}; all nodes together have {there}", all.len()),
        };
    }
    let place = match nodes.len() {
        few if few <= NODES_NAMED_MAX => nodes.iter().map(name).collect::<Vec<_>>().join(", "),
        many => format!("{many} nodes ({}, {}, …)", name(&nodes[0]), name(&nodes[1])),
    };
    let have = if nodes.len() == 1 { "it has" } else { "they have" };
    match workloads.as_slice() {
        [only] => format!("{} can only be on {place} and needs {needs}; {have} {there}", program.workloads[*only]),
        all => format!("the {} workloads that can only be on {place} need {needs}; {have} {there}", all.len()),
    }
}

fn nowhere(text: String) -> Conflict {
    Conflict { file: None, line: None, column: None, constraint: text }
}

pub(super) fn written(origin: &Origin, text: String) -> Conflict {
    Conflict { file: Some(origin.file.clone()), line: Some(origin.line), column: Some(origin.column), constraint: text }
}

fn conflicts(merged: &Merged, program: &Program, workload: WorkloadIdx, cause: &Cause) -> Vec<Conflict> {
    match cause {
        Cause::NotEligible | Cause::Eligibility => ineligible(program, workload),
        Cause::Devices(kind) => {
            let name = program.problem.devices.get(*kind).map_or("devices", |kind| kind.name.as_str());
            let has_none = |node: &hyphae_solver::Node| node.devices.get(*kind).is_none_or(|count| *count == 0);
            vec![nowhere(match program.problem.nodes.iter().all(has_none) {
                true => format!("{name}: no node has such a device"),
                false => format!("{name}: no allowed node has enough for one replica more"),
            })]
        }
        Cause::PerNodeMax => vec![nowhere("a daemon has one replica on each node".to_owned())],
        Cause::Rule(constraint) => {
            let origin = &program.origins[*constraint];
            vec![written(origin, format!("{}{}", origin.text, no_such_label(program, *constraint)))]
        }
        Cause::Capacity { resource, needed, free, fragmented } => {
            let amount = |amount| program.resources.amount_text(*resource, amount);
            let name = program.resources.name_text(*resource);
            let one = amount(program.problem.workloads[workload].demand[*resource]);
            let text = match fragmented {
                _ if *needed == 0 => {
                    format!("{name}: what others have of it, {} free on the allowed nodes", amount(*free))
                }
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

/// What to say of a hard rule over a label that no node has: it keeps its workload off all of them.
fn no_such_label(program: &Program, constraint: usize) -> String {
    let topology = match &program.problem.constraints[constraint].rule {
        Rule::Spread { topology, .. }
        | Rule::LimitPerDomain { topology, .. }
        | Rule::SeparateFrom { topology, .. }
        | Rule::Near { topology, .. }
        | Rule::Survive { topology, .. } => *topology,
        _ => return String::new(),
    };
    unknown_label(program, topology).map(|text| format!(" ({text})")).unwrap_or_default()
}

/// Of a label that no node has.
fn unknown_label(program: &Program, topology: usize) -> Option<String> {
    let Topology { key, domains } = &program.problem.topologies[topology];
    let near = || hyphae_specs::did_you_mean(key, program.labels.iter().map(String::as_str));
    let near = || near().map(|near| format!("; did you mean {near:?}?")).unwrap_or_default();
    domains.is_empty().then(|| format!("no node has the label {key:?}{}", near()))
}

/// A reserve over a label that no node has asks for nothing: that is no error of the specs, but hardly what is meant.
pub(super) fn idle_reserves(program: &Program) -> impl Iterator<Item = String> + '_ {
    program.problem.constraints.iter().zip(&program.origins).filter_map(|(constraint, origin)| {
        let Rule::Reserve { topology, .. } = &constraint.rule else { return None };
        let Origin { file, line, text, .. } = origin;
        Some(format!("`{text}` ({file}:{line}) keeps no room: {}", unknown_label(program, *topology)?))
    })
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

/// The rules that name the workload, as written.
pub(super) fn rules(program: &Program, workload: WorkloadIdx) -> Vec<super::ExplainedRule> {
    let explained = |position: usize| {
        let origin = &program.origins[position];
        let hard = program.problem.constraints[position].weight.is_none();
        super::ExplainedRule { rule: written(origin, origin.text.clone()), hard, costs: None }
    };
    rules_naming(program, workload).map(explained).collect()
}

/// The positions of the rules that name each workload.
pub(super) fn rules_by_workload(program: &Program) -> Vec<Vec<usize>> {
    let mut naming = vec![Vec::new(); program.workloads.len()];
    for (position, constraint) in program.problem.constraints.iter().enumerate() {
        constraint.rule.workloads().into_iter().for_each(|workload| naming[workload].push(position));
    }
    naming
}

/// The positions of the rules that name the workload.
pub(super) fn rules_naming(program: &Program, workload: WorkloadIdx) -> impl Iterator<Item = usize> + '_ {
    let rules = program.problem.constraints.iter().enumerate();
    rules.filter(move |(_, constraint)| constraint.rule.workloads().contains(&workload)).map(|(position, _)| position)
}
