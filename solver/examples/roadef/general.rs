//! An instance as a general placement problem: processes are workloads that want one replica, services are groups of them.

use super::instance::{Instance, Service};
use hyphae_solver::*;

/// Positions in [`Problem::topologies`].
const MACHINE: usize = 0;
const LOCATION: usize = 1;
const NEIGHBORHOOD: usize = 2;

/// The problem whose soft tier is the challenge's cost.
pub(crate) fn problem(instance: &Instance) -> Problem {
    let resources = instance.resources.iter().enumerate();
    let machines = instance.machines.iter().enumerate();
    let processes = instance.processes.iter().enumerate();
    let everywhere: Vec<usize> = (0..instance.machines.len()).collect();
    let resource = |(r, (transient, _)): (usize, &(bool, u32))| Resource {
        name: format!("r{r}"),
        scale: 1,
        shapes: true,
        transient: *transient,
    };
    let domains = |key: &str, of: &dyn Fn(usize) -> usize| {
        let count = everywhere.iter().map(|m| of(*m) + 1).max().unwrap_or(0);
        Topology { key: key.into(), domains: (0..count).map(|d| format!("{key}{d}")).collect() }
    };
    Problem {
        resources: resources.map(resource).collect(),
        topologies: vec![
            domains("node", &|m| m),
            domains("location", &|m| instance.machines[m].location),
            domains("neighborhood", &|m| instance.machines[m].neighborhood),
        ],
        nodes: machines
            .map(|(m, machine)| Node {
                name: format!("m{m}"),
                capacity: machine.capacity.clone(),
                domains: vec![Some(m), Some(machine.location), Some(machine.neighborhood)],
                ..Node::default()
            })
            .collect(),
        workloads: processes
            .map(|(p, process)| Workload {
                name: format!("p{p}"),
                demand: process.requirement.clone(),
                wanted: 1,
                move_weight: 1,
                eligible: everywhere.clone(),
                ..Workload::default()
            })
            .collect(),
        constraints: [hard(instance), soft(instance)].concat(),
        current: instance
            .original
            .iter()
            .enumerate()
            .map(|(workload, node)| Placed { workload, node: *node, count: 1 })
            .collect(),
        ..Problem::default()
    }
}

fn hard(instance: &Instance) -> Vec<Constraint> {
    let services = &instance.services;
    let group = |service: &Service| service.processes.clone();
    let conflict = services.iter().filter(|s| s.processes.len() > 1).map(|s| Rule::LimitPerDomain {
        workloads: group(s),
        topology: MACHINE,
        limit: 1,
    });
    let spread = services
        .iter()
        .filter(|s| s.spread_min > 1 && !s.processes.is_empty())
        .map(|s| Rule::DistinctDomains { workloads: group(s), topology: LOCATION, least: s.spread_min });
    let dependent = services.iter().filter(|s| !s.processes.is_empty());
    let near = dependent.flat_map(|s| {
        let to = |on: &usize| group(&services[*on]);
        s.depends_on.iter().map(move |on| Rule::Near { workloads: group(s), to: to(on), topology: NEIGHBORHOOD })
    });
    conflict.chain(spread).chain(near).map(|rule| Constraint { rule, weight: None }).collect()
}

fn soft(instance: &Instance) -> Vec<Constraint> {
    let safety = instance.resources.iter().enumerate().map(|(resource, (_, weight))| {
        let safe = instance.machines.iter().map(|machine| machine.safety[resource]).collect();
        (Rule::Safety { resource, safe }, *weight)
    });
    let balance = instance
        .balances
        .iter()
        .map(|b| (Rule::Balance { first: (b.first, b.target), second: (b.second, 1), unit: 1 }, b.weight));
    let [process, service, machine] = instance.move_weights;
    let moved = instance.processes.iter().enumerate().map(|(p, process)| (p, process.move_cost)).collect();
    let groups = instance.services.iter().map(|s| s.processes.clone()).filter(|group| !group.is_empty()).collect();
    let far = instance.machines.iter().map(|machine| machine.move_cost_to.clone()).collect();
    let moves = [
        (Rule::Moved { workloads: moved }, process),
        (Rule::MovedMost { groups }, service),
        (Rule::MovedFar { units: far }, machine),
    ];
    let stated = safety.chain(balance).chain(moves).filter(|(_, weight)| *weight > 0);
    stated.map(|(rule, weight)| Constraint { rule, weight: Some(weight) }).collect()
}
