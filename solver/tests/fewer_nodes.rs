//! Everything on as few nodes as there can be, where only perfect fillings will do and the exact path is out of reach.

use hyphae_solver::*;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(60);

/// A large, a middle and a small replica fill a node in both resources; `fillings` of each, on `nodes` nodes of price 1.
fn puzzle(nodes: usize, fillings: u32) -> Problem {
    let resource = |name: &str| Resource { name: name.into(), scale: 1, shapes: true, transient: false };
    let workload = |name: &str, demand: [u64; 2]| Workload {
        name: name.into(),
        demand: demand.to_vec(),
        wanted: fillings,
        eligible: (0..nodes).collect(),
        move_weight: 1,
        ..Workload::default()
    };
    let node = |n: usize| Node {
        name: format!("n{n}"),
        capacity: vec![10, 10],
        price_micros: 1,
        domains: vec![Some(n)],
        ..Node::default()
    };
    Problem {
        resources: vec![resource("cpu"), resource("memory")],
        topologies: vec![Topology { key: "node".into(), domains: (0..nodes).map(|n| format!("n{n}")).collect() }],
        nodes: (0..nodes).map(node).collect(),
        workloads: vec![workload("wide", [6, 2]), workload("middle", [2, 3]), workload("high", [2, 5])],
        ..Problem::default()
    }
}

fn solved(problem: &Problem, time_limit: Duration) -> Solution {
    let options = SolveOptions { time_limit, explain: false, exact_pairs_max: 0, ..SolveOptions::default() };
    let solution = solve(problem, &options).expect("valid");
    assert!(verify(problem, &solution.placed).is_ok());
    solution
}

#[test]
fn all_is_placed_where_every_node_must_be_full() {
    let solution = solved(&puzzle(60, 60), LONG);
    assert_eq!(solution.shortages, []);
}

#[test]
fn no_more_nodes_are_used_than_the_bound_asks_for() {
    let solution = solved(&puzzle(80, 60), LONG);
    let cost = solution.tiers.iter().find(|tier| tier.tier == Tier::Cost).expect("a tier of cost");
    assert_eq!((cost.value, cost.bound), (60, 60));
}

#[test]
fn more_than_anybody_can_place_is_no_trouble() {
    let mut problem = puzzle(3, 600_000);
    let solution = solved(&problem, Duration::from_secs(2));
    assert_eq!(solution.placed.iter().map(|placed| placed.count).sum::<u32>(), 9);
    for workload in &mut problem.workloads {
        (workload.wanted, workload.demand) = (1_000, vec![1 << 58; 2]);
    }
    assert_eq!(solved(&problem, Duration::from_secs(2)).placed, []);
    (problem.nodes, problem.topologies[0].domains) = (Vec::new(), Vec::new());
    problem.workloads.iter_mut().for_each(|workload| workload.eligible.clear());
    assert_eq!(solved(&problem, Duration::from_secs(2)).placed, []);
}
