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

/// Numbers from 0 to `below` that look random (splitmix64).
fn dice(seed: u64) -> impl FnMut(u64) -> u64 {
    let mut state = seed;
    move |below| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb) % below
    }
}

/// Nodes of eight types in three zones, two of each, and twenty kinds of replica spread over the zones: some thirty of the nodes are needed, of
/// nearly as many classes.
fn kinds_of_node(seed: u64) -> Problem {
    let (mut dice, mut problem) = (dice(seed), puzzle(0, 0));
    for node in 0..48 {
        let (kind, zone) = (node / 6, node % 3);
        let (cpu, memory) = (16 << (kind % 3), 32 + 24 * (kind as u64 * 5 % 8));
        problem.nodes.push(Node {
            name: format!("n{node}"),
            capacity: vec![cpu, memory],
            price_micros: 10_000 * cpu + 4_000 * memory + 7_000 * (kind as u64 * 3 % 5),
            domains: vec![Some(node), Some(zone)],
            ..Node::default()
        });
    }
    problem.topologies[0].domains = (0..48).map(|node| format!("n{node}")).collect();
    problem.topologies.push(Topology { key: "zone".into(), domains: ["a", "b", "c"].map(String::from).to_vec() });
    for kind in 0..20 {
        problem.workloads.push(Workload {
            name: format!("w{kind}"),
            demand: vec![1 + dice(8), 2 + dice(28)],
            wanted: 3 + dice(9) as u32,
            eligible: (0..48).collect(),
            move_weight: 1,
            ..Workload::default()
        });
    }
    problem.workloads.drain(..3);
    let spread = |workload| Rule::Spread { workload, topology: 1, max_skew: 1 };
    problem.constraints = (0..20).map(|workload| Constraint { rule: spread(workload), weight: None }).collect();
    problem
}

#[test]
fn a_few_nodes_of_many_kinds_are_chosen_together() {
    // Node by node from what the relaxation opens, rounded up, the search stays 4.4 % above the bound.
    let solution = solved(&kinds_of_node(2), LONG / 4);
    assert_eq!(solution.shortages, []);
    let cost = solution.tiers.iter().find(|tier| tier.tier == Tier::Cost).expect("a tier of cost");
    assert!(100 * cost.value <= 103 * cost.bound, "{cost:?}");
}

#[test]
fn whole_node_counts_come_apart_and_are_proven() {
    // Nodes closed one by one end at 14,945,000, 0.4 % above the least. A machine that has other things to do gets more time.
    let gap = |limit: Duration| {
        let solution = solved(&kinds_of_node(1), limit);
        let cost = solution.tiers.iter().find(|tier| tier.tier == Tier::Cost).expect("a tier of cost");
        (cost.value - cost.bound) as f64 / cost.bound as f64
    };
    assert!([LONG, 2 * LONG].into_iter().any(|limit| gap(limit) < 0.003));
}

#[test]
fn a_spread_leaves_whole_counts_to_zones() {
    // Thirty replicas, a node each. Fractions with a skew of 1 would leave a third less to the dear zone than there is: 114 for 120.
    let mut problem = puzzle(36, 0);
    problem.workloads.drain(1..);
    problem.workloads[0].demand = vec![10, 10];
    problem.workloads[0].wanted = 30;
    problem.topologies.push(Topology { key: "zone".into(), domains: ["a", "b", "c"].map(String::from).to_vec() });
    for (index, node) in problem.nodes.iter_mut().enumerate() {
        node.domains.push(Some(index % 3));
        node.price_micros = [1, 1, 10][index % 3];
    }
    problem.constraints.push(Constraint { rule: Rule::Spread { workload: 0, topology: 1, max_skew: 1 }, weight: None });
    let solution = solved(&problem, LONG);
    let cost = solution.tiers.iter().find(|tier| tier.tier == Tier::Cost).expect("a tier of cost");
    assert_eq!((cost.value, cost.bound, cost.proof), (120, 120, Proof::ClassRelaxation));
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
