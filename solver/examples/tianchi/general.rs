//! The same fleet as a general `Problem`, so that the crate's own checker judges the final placement too: two resources for each slot, one for
//! each flat amount, machines as a topology. The price of CPU is no part of it.

use hyphae_solver::profiles::Fleet;
use hyphae_solver::{Constraint, Node, Placed, Problem, Resource, Rule, Topology, Workload, verify};
use std::collections::BTreeMap;
use std::error::Error;

/// Whether `hyphae_solver::verify` accepts the placement.
pub(crate) fn verify_end(fleet: &Fleet, end: &[usize]) -> Result<(), Box<dyn Error>> {
    let mut counts: BTreeMap<(usize, usize), u32> = BTreeMap::new();
    fleet.instances.iter().zip(end).for_each(|(app, machine)| *counts.entry((*app, *machine)).or_default() += 1);
    let placed: Vec<Placed> =
        counts.into_iter().map(|((workload, node), count)| Placed { workload, node, count }).collect();
    let problem = problem(fleet, &placed);
    problem.validate()?;
    verify(&problem, &placed)
        .map_err(|violations| format!("verify refuses the placement: {:?}", violations.first()))?;
    let mut missing: Vec<i64> = problem.workloads.iter().map(|workload| i64::from(workload.wanted)).collect();
    placed.iter().for_each(|entry| missing[entry.workload] -= i64::from(entry.count));
    if missing.iter().any(|count| *count != 0) {
        return Err("not every instance is placed".into());
    }
    Ok(())
}

/// Every machine is eligible for every app; to save the 450 MB of those lists, only the machines in use by each are listed, which makes the
/// problem stricter and changes nothing in the verdict.
fn problem(fleet: &Fleet, placed: &[Placed]) -> Problem {
    let amounts = |cpu: &[u32], memory: &[u32], flat: &[u64]| -> Vec<u64> {
        cpu.iter().chain(memory).map(|amount| u64::from(*amount)).chain(flat.iter().copied()).collect()
    };
    let flats = fleet.machines.first().map_or(0, |machine| machine.flat.len());
    let names = (0..fleet.slots).map(|slot| format!("cpu {slot}"));
    let names = names.chain((0..fleet.slots).map(|slot| format!("memory {slot}")));
    let names = names.chain((0..flats).map(|flat| format!("flat {flat}")));
    let nodes = fleet.machines.iter().enumerate().map(|(index, machine)| Node {
        name: format!("{index:05}"),
        capacity: amounts(&vec![machine.cpu; fleet.slots], &vec![machine.memory; fleet.slots], &machine.flat),
        domains: vec![Some(index)],
        ..Node::default()
    });
    let mut eligible: Vec<Vec<usize>> = vec![Vec::new(); fleet.apps.len()];
    placed.iter().for_each(|entry| eligible[entry.workload].push(entry.node));
    let mut wanted = vec![0u32; fleet.apps.len()];
    fleet.instances.iter().for_each(|app| wanted[*app] += 1);
    let workloads = fleet.apps.iter().enumerate().map(|(index, app)| Workload {
        name: format!("{index:05}"),
        demand: amounts(&app.cpu, &app.memory, &app.flat),
        wanted: wanted[index],
        move_weight: 1,
        eligible: std::mem::take(&mut eligible[index]),
        ..Workload::default()
    });
    let rules = fleet.limits.iter().map(|limit| {
        let rule = if limit.app == limit.beside {
            Rule::LimitPerDomain { workloads: vec![limit.app], topology: 0, limit: limit.most }
        } else {
            Rule::SeparateFrom { a: limit.beside, b: limit.app, topology: 0, limit: limit.most }
        };
        Constraint { rule, weight: None }
    });
    Problem {
        resources: names.map(|name| Resource { name, scale: 1_000_000, ..Resource::default() }).collect(),
        topologies: vec![Topology {
            key: "node".to_owned(),
            domains: (0..fleet.machines.len()).map(|index| format!("{index:05}")).collect(),
        }],
        nodes: nodes.collect(),
        workloads: workloads.collect(),
        constraints: rules.collect(),
        ..Problem::default()
    }
}
