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
fn what_can_not_be_placed_keeps_no_node_open() {
    // Thirty kinds of three replicas that fill a node, ten of each; and three of one that may be on one node only and fills it.
    let mut problem = puzzle(400, 10);
    let (of_any_shape, mut workloads) = (problem.workloads[0].clone(), Vec::new());
    for kind in 0..30 {
        let (first, second) = ([20 + 7 * kind % 31, 15 + 11 * kind % 37], [25 + 5 * kind % 23, 20 + 13 * kind % 29]);
        let third = [100 - first[0] - second[0], 100 - first[1] - second[1]];
        let shapes = [first, second, third].into_iter().enumerate();
        workloads.extend(shapes.map(|(at, demand)| Workload {
            name: format!("{kind}-{at}"),
            demand: demand.to_vec(),
            ..of_any_shape.clone()
        }));
    }
    workloads.push(Workload { demand: vec![100, 100], wanted: 3, eligible: vec![0], ..of_any_shape });
    problem.workloads = workloads;
    problem.nodes.iter_mut().for_each(|node| node.capacity = vec![100, 100]);
    let solution = solved(&problem, LONG / 3);
    let short: Vec<(u64, u64)> = solution.tiers.iter().take(1).map(|tier| (tier.value, tier.bound)).collect();
    assert_eq!(short, [(2, 2)]);
    let cost = solution.tiers.iter().find(|tier| tier.tier == Tier::Cost).expect("a tier of cost");
    assert!(cost.bound == 301 && cost.value <= 308, "{cost:?}");
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
