//! Why something is short, and what helps: small clusters where the answer is plain.

use hyphae_solver::*;
use std::time::Duration;

/// `count` nodes with four units of cpu and eight of memory, spread over two zones.
fn cluster(count: usize) -> Problem {
    let resource = |name: &str| Resource { name: name.into(), scale: 1, shapes: true, transient: false };
    let node = |n: usize| Node {
        name: format!("n{n}"),
        capacity: vec![4, 8],
        price_micros: 1,
        domains: vec![Some(n % 2), Some(n)],
        ..Node::default()
    };
    let domains = |prefix: &str, count: usize| (0..count).map(|d| format!("{prefix}{d}")).collect();
    Problem {
        resources: vec![resource("cpu"), resource("memory")],
        topologies: vec![
            Topology { key: "zone".into(), domains: domains("z", 2) },
            Topology { key: "node".into(), domains: domains("n", count) },
        ],
        nodes: (0..count).map(node).collect(),
        ..Problem::default()
    }
}

fn workload(problem: &mut Problem, name: &str, demand: [u64; 2], wanted: u32) -> usize {
    problem.workloads.push(Workload {
        name: name.into(),
        demand: demand.to_vec(),
        wanted,
        priority: 0,
        move_weight: 1,
        eligible: (0..problem.nodes.len()).collect(),
        per_node_max: None,
        ..Workload::default()
    });
    problem.workloads.len() - 1
}

fn hard(problem: &mut Problem, rule: Rule) -> usize {
    problem.constraints.push(Constraint { rule, weight: None });
    problem.constraints.len() - 1
}

fn shortage(problem: &Problem) -> Shortage {
    let options = SolveOptions { time_limit: Duration::from_secs(20), ..SolveOptions::default() };
    let solution = solve(problem, &options).expect("the problem is valid");
    assert_eq!(solution.shortages.len(), 1, "{:?}", solution.shortages);
    solution.shortages[0].clone()
}

#[test]
fn a_workload_without_eligible_nodes_says_so() {
    let mut problem = cluster(2);
    let w = workload(&mut problem, "w", [1, 1], 1);
    problem.workloads[w].eligible.clear();
    let shortage = shortage(&problem);
    assert_eq!((shortage.conflict, shortage.proven), (vec![Cause::NotEligible], true));
}

#[test]
fn the_scarce_resource_is_named_and_not_the_other() {
    let mut problem = cluster(2);
    let w = workload(&mut problem, "w", [1, 4], 6);
    let shortage = shortage(&problem);
    assert_eq!((shortage.workload, shortage.missing, shortage.proven), (w, 2, true));
    assert_eq!(shortage.conflict, [Cause::Capacity { resource: 1, needed: 8, free: 0, fragmented: false }]);
    assert_eq!(shortage.repairs, [Repair::AddNodes { like: 0, count: 1 }, Repair::WantFewer { workload: w, by: 2 }]);
}

#[test]
fn free_space_in_pieces_is_called_fragmented() {
    let mut problem = cluster(2);
    let a = workload(&mut problem, "a", [3, 1], 2);
    problem.workloads[a].priority = 10;
    workload(&mut problem, "b", [2, 1], 1);
    let shortage = shortage(&problem);
    assert_eq!(shortage.conflict, [Cause::Capacity { resource: 0, needed: 2, free: 2, fragmented: true }]);
    assert!(shortage.proven);
}

#[test]
fn a_rule_that_alone_forbids_it_is_named_and_dropping_it_helps() {
    let mut problem = cluster(2);
    let w = workload(&mut problem, "w", [1, 1], 3);
    let rule = hard(&mut problem, Rule::LimitPerDomain { workloads: vec![w], topology: 1, limit: 1 });
    let shortage = shortage(&problem);
    assert_eq!((shortage.conflict, shortage.proven), (vec![Cause::Rule(rule)], true));
    assert_eq!(
        shortage.repairs,
        [Repair::DropRule(rule), Repair::AddNodes { like: 0, count: 1 }, Repair::WantFewer { workload: w, by: 1 }]
    );
}

#[test]
fn a_rule_and_a_resource_that_conflict_only_together_are_both_named() {
    let mut problem = cluster(3);
    let full = workload(&mut problem, "full", [4, 8], 1);
    (problem.workloads[full].eligible, problem.workloads[full].priority) = (vec![1], 10);
    let w = workload(&mut problem, "w", [2, 1], 4);
    let idle = hard(&mut problem, Rule::Quota { workloads: vec![w], max: vec![(0, 100)] });
    let spread = hard(&mut problem, Rule::Spread { workload: w, topology: 0, max_skew: 1 });
    let shortage = shortage(&problem);
    assert_eq!(shortage.workload, w, "the zone of node 1 has no room");
    assert!(shortage.proven && !shortage.conflict.contains(&Cause::Rule(idle)), "{:?}", shortage.conflict);
    assert!(shortage.conflict.contains(&Cause::Rule(spread)), "{:?}", shortage.conflict);
    assert!(shortage.conflict.iter().any(|cause| matches!(cause, Cause::Capacity { resource: 0, .. })));
    assert!(shortage.repairs.contains(&Repair::DropRule(spread)), "{:?}", shortage.repairs);
}

#[test]
fn all_or_nothing_says_how_many_fewer_would_fit() {
    let mut problem = cluster(2);
    let w = workload(&mut problem, "w", [2, 1], 5);
    let rule = hard(&mut problem, Rule::AllOrNothing { workloads: vec![w] });
    let shortage = shortage(&problem);
    assert_eq!((shortage.missing, shortage.proven), (5, true));
    assert!(!shortage.conflict.contains(&Cause::Rule(rule)), "four would fit: cpu is what lacks");
    assert!(shortage.repairs.contains(&Repair::AddNodes { like: 0, count: 1 }), "{:?}", shortage.repairs);
    assert!(shortage.repairs.contains(&Repair::WantFewer { workload: w, by: 1 }), "{:?}", shortage.repairs);
}

#[test]
fn the_larger_of_two_reasons_does_not_hide_behind_classes() {
    // The program over classes proves it as well as the one over nodes.
    let mut problem = cluster(40);
    let w = workload(&mut problem, "w", [3, 1], 50);
    let options = SolveOptions { exact_pairs_max: 0, time_limit: Duration::from_secs(10), ..SolveOptions::default() };
    let solution = solve(&problem, &options).expect("the problem is valid");
    let shortage = &solution.shortages[0];
    assert_eq!((shortage.workload, shortage.missing), (w, 10));
    assert!(matches!(shortage.conflict.as_slice(), [Cause::Capacity { resource: 0, fragmented: true, .. }]));
}

#[test]
fn without_time_the_shortage_is_still_told() {
    let mut problem = cluster(1);
    workload(&mut problem, "w", [1, 1], 9);
    let options = SolveOptions { time_limit: Duration::ZERO, ..SolveOptions::default() };
    let solution = solve(&problem, &options).expect("the problem is valid");
    assert_eq!(solution.shortages.len(), 1);
    assert!(verify(&problem, &solution.placed).is_ok());
}
