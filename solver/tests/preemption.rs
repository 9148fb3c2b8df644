//! A higher priority displaces a lower one with the fewest victims, the cheapest of those, across nodes; and says that it is proven.

use hyphae_solver::*;
use std::time::Duration;

/// `nodes` nodes of 10 units, each full of low replicas of 1, 2, 3 and 4 units.
fn full(nodes: usize) -> Problem {
    let low = |name: &str, size: u64, move_weight: u32| Workload {
        name: name.into(),
        demand: vec![size],
        wanted: nodes as u32,
        priority: 0,
        move_weight,
        eligible: (0..nodes).collect(),
        ..Workload::default()
    };
    let workloads = vec![low("one", 1, 1), low("two", 2, 5), low("three", 3, 1), low("four", 4, 9)];
    let current = (0..4).flat_map(|workload| (0..nodes).map(move |node| Placed { workload, node, count: 1 })).collect();
    Problem {
        resources: vec![Resource { name: "cpu".into(), scale: 1, shapes: true, transient: false }],
        nodes: (0..nodes).map(|n| Node { name: format!("n{n:03}"), capacity: vec![10], ..Node::default() }).collect(),
        workloads,
        current,
        ..Problem::default()
    }
}

fn high(problem: &mut Problem, size: u64, wanted: u32) -> usize {
    problem.workloads.push(Workload {
        name: format!("high{}", problem.workloads.len()),
        demand: vec![size],
        wanted,
        priority: 100,
        move_weight: 1,
        eligible: (0..problem.nodes.len()).collect(),
        ..Workload::default()
    });
    problem.workloads.len() - 1
}

fn tier(solution: &Solution, tier: Tier) -> TierValue {
    *solution.tiers.iter().find(|value| value.tier == tier).expect("the tier is there")
}

fn solved(problem: &Problem, exact_pairs_max: usize) -> Solution {
    let options = SolveOptions {
        time_limit: Duration::from_secs(20),
        explain: false,
        exact_pairs_max,
        ..SolveOptions::default()
    };
    let solution = solve(problem, &options).expect("the problem is valid");
    verify(problem, &solution.placed).expect("verified");
    solution
}

#[test]
fn a_replica_of_four_takes_one_victim_of_four_and_not_four_of_one() {
    let mut problem = full(6);
    high(&mut problem, 4, 2);
    let solution = solved(&problem, 3_000);
    assert_eq!((tier(&solution, Tier::Shortage(100)).value, tier(&solution, Tier::Shortage(0)).value), (0, 2));
    assert!(tier(&solution, Tier::Shortage(0)).proven);
    // Two of size four have to go: their weight of 9 each is less important than how many go.
    assert_eq!(tier(&solution, Tier::Disruption).value, 18);
}

#[test]
fn of_as_many_victims_the_cheapest_go_and_others_make_room_by_moving() {
    // Size 3: a victim of three (weight 1) frees 3; one of four (weight 9) as well. The cheaper goes.
    let mut problem = full(4);
    high(&mut problem, 3, 1);
    let solution = solved(&problem, 3_000);
    assert_eq!(tier(&solution, Tier::Shortage(0)).value, 1);
    assert_eq!(tier(&solution, Tier::Disruption).value, 1);
    assert!(solution.tiers.iter().all(|tier| tier.proven), "{:?}", solution.tiers);
}

#[test]
fn victims_on_one_node_make_room_on_another() {
    // Free 1 on each of four nodes: a replica of 4 fits nowhere, but no victim is needed when small ones move.
    let mut problem = full(4);
    problem.workloads[0].wanted = 0;
    problem.current.retain(|placed| placed.workload != 0);
    high(&mut problem, 3, 1);
    let solution = solved(&problem, 3_000);
    assert_eq!(tier(&solution, Tier::Shortage(100)).value, 0);
    assert_eq!(tier(&solution, Tier::Shortage(0)).value, 0, "two of size two move to where one is free: {solution:?}");
}

#[test]
fn the_large_path_displaces_as_few_and_proves_it() {
    let mut problem = full(60);
    high(&mut problem, 4, 10);
    let solution = solved(&problem, 0);
    let (highest, lower) = (tier(&solution, Tier::Shortage(100)), tier(&solution, Tier::Shortage(0)));
    assert_eq!((highest.value, highest.proven), (0, true));
    assert_eq!(lower.bound, 10, "ten of four need ten victims: {:?}", solution.tiers);
    assert_eq!(lower.value, 10, "{:?}", solution.tiers);
}
