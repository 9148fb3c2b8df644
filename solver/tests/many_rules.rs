//! 100,000 rules: an answer that was checked, and no program of millions of rows for it.

use hyphae_solver::{Constraint, Node, Problem, Resource, Rule, SolveOptions, Topology, Workload, solve, verify};
use std::time::Duration;

#[test]
fn a_hundred_thousand_rules_are_planned_without_programs() {
    let nodes = 20;
    let topology = Topology { key: "node".into(), domains: (0..nodes).map(|node| format!("n{node}")).collect() };
    let node = |node: usize| Node {
        name: format!("n{node}"),
        capacity: vec![100],
        domains: vec![Some(node)],
        ..Node::default()
    };
    let workload = |name: usize| Workload {
        name: format!("w{name}"),
        demand: vec![1],
        wanted: 2,
        move_weight: 1,
        eligible: (0..nodes).collect(),
        ..Workload::default()
    };
    // Even and odd workloads keep apart, over and over, softly and hard.
    let rule = |index: usize| {
        let rule = Rule::SeparateFrom { a: 2 * (index % 20), b: 2 * (index / 20 % 20) + 1, topology: 0, limit: 0 };
        Constraint { rule, weight: index.is_multiple_of(3).then_some(1) }
    };
    let problem = Problem {
        resources: vec![Resource { name: "cpu".into(), scale: 1, shapes: true, transient: false }],
        topologies: vec![topology],
        nodes: (0..nodes).map(node).collect(),
        workloads: (0..40).map(workload).collect(),
        constraints: (0..100_000).map(rule).collect(),
        ..Problem::default()
    };
    let options = SolveOptions { time_limit: Duration::from_secs(3), ..SolveOptions::default() };
    let solution = solve(&problem, &options).unwrap();
    assert!(verify(&problem, &solution.placed).is_ok());
    assert_eq!(solution.stats.constraints, 0, "no program was made: {}", solution.stats.method);
    assert!(solution.tiers.iter().all(|tier| tier.bound <= tier.value));
}
