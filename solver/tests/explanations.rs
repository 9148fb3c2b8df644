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
    assert!(shortage.minimal);
    let to = Rule::LimitPerDomain { workloads: vec![w], topology: 1, limit: 2 };
    let relaxed = Repair::RelaxRule { constraint: rule, to };
    assert_eq!(
        shortage.repairs,
        [relaxed, Repair::AddNodes { like: 0, count: 1 }, Repair::WantFewer { workload: w, by: 1 }]
    );
}

#[test]
fn a_rule_without_a_limit_can_only_be_dropped() {
    let mut problem = cluster(2);
    let v = workload(&mut problem, "v", [1, 1], 1);
    problem.workloads[v].eligible = vec![0];
    let w = workload(&mut problem, "w", [1, 1], 1);
    problem.workloads[w].eligible = vec![0];
    problem.workloads[v].priority = 10;
    let rule = hard(&mut problem, Rule::SeparateFrom { a: w, b: v, topology: 1, limit: 0 });
    let shortage = shortage(&problem);
    assert_eq!((shortage.workload, shortage.proven, shortage.minimal), (w, true, true));
    assert!(shortage.conflict.contains(&Cause::Rule(rule)), "{:?}", shortage.conflict);
    assert!(shortage.repairs.contains(&Repair::DropRule(rule)), "{:?}", shortage.repairs);
}

#[test]
fn the_least_relaxation_is_offered_and_a_quota_grows_by_what_is_missing() {
    let mut problem = cluster(4);
    let w = workload(&mut problem, "w", [1, 1], 9);
    let limit = hard(&mut problem, Rule::LimitPerDomain { workloads: vec![w], topology: 0, limit: 2 });
    let first = shortage(&problem);
    let to = Rule::LimitPerDomain { workloads: vec![w], topology: 0, limit: 5 };
    assert_eq!(first.conflict, [Cause::Rule(limit)]);
    assert_eq!(first.repairs[0], Repair::RelaxRule { constraint: limit, to });
    problem.constraints[limit].rule = Rule::Quota { workloads: vec![w], max: vec![(0, 6), (1, 100)] };
    let second = shortage(&problem);
    let to = Rule::Quota { workloads: vec![w], max: vec![(0, 9), (1, 100)] };
    assert_eq!((second.missing, second.conflict), (3, vec![Cause::Rule(limit)]));
    assert_eq!(second.repairs[0], Repair::RelaxRule { constraint: limit, to });
}

#[test]
fn a_survival_keeps_fewer() {
    let mut problem = cluster(4);
    let full = workload(&mut problem, "full", [4, 8], 2);
    (problem.workloads[full].eligible, problem.workloads[full].priority) = (vec![1, 3], 10);
    let w = workload(&mut problem, "w", [1, 1], 6);
    let rule = hard(&mut problem, Rule::Survive { workload: w, topology: 0, keep: 3 });
    let shortage = shortage(&problem);
    assert_eq!((shortage.workload, shortage.missing), (w, 3), "one zone is full, the other may hold three");
    assert!(shortage.proven && shortage.conflict.contains(&Cause::Rule(rule)), "{:?}", shortage.conflict);
    let to = Rule::Survive { workload: w, topology: 0, keep: 0 };
    assert_eq!(shortage.repairs[0], Repair::RelaxRule { constraint: rule, to });
}

#[test]
fn the_cheapest_kind_of_node_is_offered() {
    let mut problem = cluster(4);
    problem.nodes.iter_mut().for_each(|node| node.price_micros = 10);
    (problem.nodes[2].capacity, problem.nodes[2].price_micros) = (vec![2, 8], 4);
    workload(&mut problem, "w", [2, 1], 9);
    let shortage = shortage(&problem);
    assert_eq!(shortage.missing, 2);
    assert_eq!(shortage.repairs[0], Repair::AddNodes { like: 2, count: 2 }, "8 rather than 10");
}

#[test]
fn another_workload_of_the_same_priority_may_give_up_replicas() {
    let mut problem = cluster(1);
    let v = workload(&mut problem, "v", [1, 1], 3);
    let w = workload(&mut problem, "w", [4, 4], 1);
    problem.current = vec![Placed { workload: v, node: 0, count: 3 }];
    let shortage = shortage(&problem);
    assert_eq!(shortage.workload, w);
    assert!(shortage.repairs.contains(&Repair::DropReplicas { workload: v, by: 3 }), "{:?}", shortage.repairs);
}

#[test]
fn a_rule_of_another_workload_that_takes_part_is_named() {
    // v may not leave zone 0 for zone 1, where it would make room: its own limit keeps it.
    let mut problem = cluster(2);
    let v = workload(&mut problem, "v", [2, 1], 3);
    problem.workloads[v].priority = 10;
    let limit = hard(&mut problem, Rule::LimitPerDomain { workloads: vec![v], topology: 0, limit: 2 });
    let w = workload(&mut problem, "w", [4, 1], 1);
    let roomy = workload(&mut problem, "roomy", [1, 1], 0);
    hard(&mut problem, Rule::LimitPerDomain { workloads: vec![roomy], topology: 0, limit: 1 });
    problem.nodes[1].capacity = vec![8, 8];
    problem.workloads[w].eligible = vec![0];
    let shortage = shortage(&problem);
    assert_eq!((shortage.workload, shortage.proven, shortage.minimal), (w, true, true));
    assert!(shortage.conflict.contains(&Cause::Rule(limit)), "{:?}", shortage.conflict);
    let to = Rule::LimitPerDomain { workloads: vec![v], topology: 0, limit: 3 };
    assert_eq!(shortage.repairs[0], Repair::RelaxRule { constraint: limit, to });
}

#[test]
fn where_it_may_be_is_named_when_it_would_fit_elsewhere() {
    let mut problem = cluster(3);
    let w = workload(&mut problem, "w", [3, 1], 2);
    problem.workloads[w].eligible = vec![1];
    let shortage = shortage(&problem);
    let cpu = Cause::Capacity { resource: 0, needed: 3, free: 1, fragmented: false };
    assert!(shortage.minimal && shortage.conflict.contains(&Cause::Eligibility), "{:?}", shortage.conflict);
    assert!(shortage.conflict.iter().any(|cause| matches!(cause, Cause::Capacity { resource: 0, .. })), "{cpu:?}");
    let certificate = shortage.certificate.expect("one node of four for six");
    assert_eq!((certificate.nodes, certificate.needed, certificate.there), (vec![1], 6, 4));
}

#[test]
fn needing_something_of_lower_priority_is_not_called_impossible() {
    // Everything lower may go, but not what the wish itself needs.
    let mut problem = cluster(2);
    let cache = workload(&mut problem, "cache", [1, 1], 1);
    problem.workloads[cache].priority = -5;
    let w = workload(&mut problem, "w", [1, 1], 8);
    let near = hard(&mut problem, Rule::Near { workloads: vec![w], to: vec![cache], topology: 1 });
    let shortage = shortage(&problem);
    assert_eq!((shortage.workload, shortage.missing), (w, 5), "three beside the one cache");
    assert!(shortage.proven && shortage.conflict.contains(&Cause::Rule(near)), "{:?}", shortage.conflict);
}

#[test]
fn at_a_thousand_nodes_the_answer_is_proven_and_minimal() {
    let mut problem = cluster(1000);
    for w in 0..60 {
        let v = workload(&mut problem, &format!("v{w:02}"), [1, 2], 20);
        problem.workloads[v].priority = 10;
        if w % 3 == 0 {
            hard(&mut problem, Rule::Spread { workload: v, topology: 0, max_skew: 1 });
        }
    }
    let w = workload(&mut problem, "w", [3, 1], 700);
    let limit = hard(&mut problem, Rule::LimitPerDomain { workloads: vec![w], topology: 0, limit: 300 });
    let options = SolveOptions { time_limit: Duration::from_secs(120), ..SolveOptions::default() };
    let shortage = solve(&problem, &options).expect("the problem is valid").shortages.swap_remove(0);
    assert_eq!((shortage.workload, shortage.missing, shortage.proven), (w, 100, true));
    assert_eq!((shortage.conflict, shortage.minimal), (vec![Cause::Rule(limit)], true));
}

#[test]
fn room_is_exact_on_a_small_problem_and_says_what_stops_it() {
    let mut problem = cluster(2);
    let w = workload(&mut problem, "w", [1, 1], 2);
    let v = workload(&mut problem, "v", [2, 1], 1);
    let rule = hard(&mut problem, Rule::Spread { workload: w, topology: 0, max_skew: 1 });
    let solution = solve(&problem, &SolveOptions::default()).expect("the problem is valid");
    let found = room(&problem, &solution.placed, w, &SolveOptions::default()).expect("the problem is valid");
    assert_eq!((found.low, found.high), (3, 3), "{v} leaves six, of which a skew of one uses five");
    let stops = found.stops.expect("a reason");
    assert!(stops.proven && stops.conflict.contains(&Cause::Rule(rule)), "{stops:?}");
}

#[test]
fn room_on_many_nodes_is_between_proven_bounds() {
    let mut problem = cluster(40);
    let w = workload(&mut problem, "w", [3, 1], 10);
    let options = SolveOptions { exact_pairs_max: 0, ..SolveOptions::default() };
    let solution = solve(&problem, &options).expect("the problem is valid");
    let found = room(&problem, &solution.placed, w, &options).expect("the problem is valid");
    assert_eq!((found.low, found.high), (30, 30), "one on each node, and the program over classes knows it");
}

#[test]
fn the_price_of_a_rule_is_what_goes_without_it() {
    let mut problem = cluster(3);
    problem.nodes.iter_mut().for_each(|node| node.price_micros = 7);
    let w = workload(&mut problem, "w", [1, 1], 3);
    let rule = hard(&mut problem, Rule::LimitPerDomain { workloads: vec![w], topology: 1, limit: 1 });
    let options = SolveOptions::default();
    let base = solve(&problem, &options).expect("the problem is valid");
    let gains = price_of(&problem, &base, rule, &options).expect("the problem is valid");
    let cost = gains.iter().find(|gain| gain.tier == Tier::Cost).expect("a tier for the cost");
    assert_eq!((cost.with, cost.without, cost.proven), (21, 7, true));
    assert!(gains.iter().take_while(|gain| gain.tier != Tier::Cost).all(|gain| gain.with == gain.without));
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
    let to = Rule::Spread { workload: w, topology: 0, max_skew: 4 };
    assert_eq!(shortage.repairs[0], Repair::RelaxRule { constraint: spread, to });
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

fn together(problem: &Problem) -> Vec<Repair> {
    let options = SolveOptions { time_limit: Duration::from_secs(20), ..SolveOptions::default() };
    solve(problem, &options).expect("the problem is valid").together
}

#[test]
fn what_places_everything_is_told_where_several_are_short() {
    // Two nodes with four units of cpu: nine are asked for by three workloads, none of which may be with itself.
    let mut problem = cluster(2);
    for name in ["a", "b", "c"] {
        let w = workload(&mut problem, name, [2, 1], 3);
        hard(&mut problem, Rule::LimitPerDomain { workloads: vec![w], topology: 1, limit: 1 });
    }
    assert_eq!(
        together(&problem),
        [Repair::AddNodes { like: 0, count: 3 }],
        "18 units on nodes of 4, not 2 more for each"
    );
    // One that is short has its own help.
    problem.workloads.truncate(1);
    problem.constraints.truncate(1);
    assert_eq!(together(&problem), []);
}

#[test]
fn a_quota_grows_by_what_all_that_are_short_need() {
    let mut problem = cluster(4);
    let workloads = vec![workload(&mut problem, "a", [1, 1], 3), workload(&mut problem, "b", [2, 1], 3)];
    problem.workloads[1].priority = 1;
    let quota = hard(&mut problem, Rule::Quota { workloads: workloads.clone(), max: vec![(0, 5), (1, 6)] });
    let to = Rule::Quota { workloads, max: vec![(0, 9), (1, 6)] };
    assert_eq!(together(&problem), [Repair::RelaxRule { constraint: quota, to }]);
}
