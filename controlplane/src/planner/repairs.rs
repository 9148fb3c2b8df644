//! The solver's repairs, told as what to write, and where.

use super::program::{Origin, Program};
use crate::plan::RepairEntry;
use hyphae_solver::{NodeIdx, Repair, ResourceIdx, Rule};

/// A repair for people. It names file and line of what is to be changed.
pub(super) fn repair_entry(program: &Program, repair: &Repair) -> RepairEntry {
    match repair {
        Repair::RelaxRule { constraint, to } => {
            let Origin { file, line, text, .. } = &program.origins[*constraint];
            let change = relaxed(program, *constraint, text, to);
            RepairEntry { text: format!("at {file}:{line}: {change}"), adds: None }
        }
        Repair::AddNodes { like, count } => {
            let what = if *count == 1 { "1 node".to_owned() } else { format!("{count} nodes") };
            let adds = format!("{what} like {} ({})", program.nodes[*like], node_text(program, *like));
            RepairEntry { text: format!("add {adds}"), adds: Some(adds) }
        }
        Repair::DropReplicas { workload, by } | Repair::WantFewer { workload, by } => {
            let (name, wanted) = (&program.workloads[*workload], program.problem.workloads[*workload].wanted);
            let fewer = wanted.saturating_sub(*by);
            let text = match fewer {
                0 => format!("do without {name}"),
                1 => format!("run 1 replica of {name} instead of {wanted}"),
                _ => format!("run {fewer} replicas of {name} instead of {wanted}"),
            };
            RepairEntry { text, adds: None }
        }
        Repair::DropRule(constraint) => {
            let Origin { file, line, text, .. } = &program.origins[*constraint];
            RepairEntry { text: format!("remove `{text}` ({file}:{line})"), adds: None }
        }
    }
}

/// "max-skew=2 instead of 1": in the words of the statement that the rule came from.
fn relaxed(program: &Program, constraint: usize, text: &str, to: &Rule) -> String {
    let instead = |what: &str, now: u32, before: u32| format!("{what}={now} instead of {before}");
    let wanted = |workload: usize| program.problem.workloads[workload].wanted;
    match (&program.problem.constraints[constraint].rule, to) {
        (Rule::Spread { max_skew: before, .. }, Rule::Spread { max_skew, .. }) => {
            instead("max-skew", *max_skew, *before)
        }
        // What may be lost with a domain is what is wanted less what must remain.
        (Rule::LimitPerDomain { limit: before, workloads, .. }, Rule::LimitPerDomain { limit, .. })
            if text.starts_with("survive") =>
        {
            let keep = |limit: u32| workloads.first().map_or(0, |w| wanted(*w).saturating_sub(limit));
            instead("keep", keep(*limit), keep(*before))
        }
        (Rule::LimitPerDomain { limit: before, .. }, Rule::LimitPerDomain { limit, .. })
        | (Rule::SeparateFrom { limit: before, .. }, Rule::SeparateFrom { limit, .. }) => {
            instead("limit", *limit, *before)
        }
        (Rule::Survive { keep: before, .. }, Rule::Survive { keep, .. }) => instead("keep", *keep, *before),
        (Rule::DistinctDomains { least: before, .. }, Rule::DistinctDomains { least, .. }) => {
            instead("least", *least, *before)
        }
        (Rule::NodesMost { most: before, .. }, Rule::NodesMost { most, .. }) => instead("max", *most, *before),
        (Rule::Quota { max: before, .. }, Rule::Quota { max, .. }) => quota(program, before, max),
        _ => format!("less than `{text}`"),
    }
}

/// "cpu 10 instead of 8, memory 4GiB instead of 2GiB".
fn quota(program: &Program, before: &[(ResourceIdx, u64)], now: &[(ResourceIdx, u64)]) -> String {
    let changed = before.iter().zip(now).filter(|(before, now)| before != now);
    let words = changed.map(|((resource, before), (_, now))| {
        let amount = |amount: u64| program.resources.amount_text(*resource, amount);
        format!("{} {} instead of {}", program.resources.name_text(*resource), amount(*now), amount(*before))
    });
    format!("a quota of {}", words.collect::<Vec<_>>().join(", "))
}

fn node_text(program: &Program, node: NodeIdx) -> String {
    let capacity = &program.problem.nodes[node].capacity;
    let amount =
        |resource: usize, unit: &str| format!("{}{unit}", program.resources.amount_text(resource, capacity[resource]));
    let domains = program.problem.topologies.iter().zip(&program.problem.nodes[node].domains);
    let domains = domains.filter(|(topology, _)| topology.key != "node");
    let domains =
        domains.filter_map(|(topology, domain)| Some(format!("{} {}", topology.key, topology.domains[(*domain)?])));
    [amount(0, " cpu"), amount(1, "")].into_iter().chain(domains).collect::<Vec<_>>().join(", ")
}
