//! The incremental path: what is sound stays, what is missing or broken is mended, and no bound is claimed that does not hold.

mod oracle;

use hyphae_solver::*;
use std::time::Duration;

fn options() -> SolveOptions {
    let effort = SolveEffort::Incremental;
    SolveOptions { time_limit: Duration::from_secs(60), explain: false, effort, ..SolveOptions::default() }
}

/// `nodes` like machines in three zones, `services` of `wanted` small replicas each.
fn cluster(nodes: usize, services: usize, wanted: u32) -> Problem {
    let resource = |name: &str| Resource { name: name.into(), scale: 1, shapes: true, transient: false };
    let node = |n: usize| Node {
        name: format!("n{n:03}"),
        capacity: vec![100, 200],
        price_micros: 10,
        domains: vec![Some(n % 3), Some(n)],
        ..Node::default()
    };
    let service = |w: usize| Workload {
        name: format!("w{w:03}"),
        demand: vec![5 + w as u64 % 7, 9 + w as u64 % 5],
        wanted,
        move_weight: 1,
        eligible: (0..nodes).collect(),
        ..Workload::default()
    };
    Problem {
        resources: vec![resource("cpu"), resource("memory")],
        topologies: vec![
            Topology { key: "zone".into(), domains: ["a", "b", "c"].map(String::from).to_vec() },
            Topology { key: "node".into(), domains: (0..nodes).map(|n| format!("n{n:03}")).collect() },
        ],
        nodes: (0..nodes).map(node).collect(),
        workloads: (0..services).map(service).collect(),
        ..Problem::default()
    }
}

fn value(solution: &Solution, tier: Tier) -> u64 {
    solution.tiers.iter().find(|t| t.tier == tier).map_or(0, |t| t.value)
}

#[test]
fn cheap_bounds_hold_on_every_small_problem() {
    let mut proven = 0;
    for seed in 0..1500 {
        let problem = oracle::small(seed);
        let best = oracle::best(&problem);
        let solution = solve(&problem, &options()).expect("small problems are valid");
        assert!(verify(&problem, &solution.placed).is_ok(), "seed {seed}");
        let values: Vec<u64> = solution.tiers.iter().map(|t| t.value).collect();
        assert!(best <= values, "seed {seed}: better than the best there is");
        for (index, tier) in solution.tiers.iter().enumerate() {
            assert!(tier.bound <= best[index], "seed {seed}: {:?} above {best:?}\n{problem:#?}", solution.tiers);
            assert!(!tier.proven || values[index] == best[index], "seed {seed}: {tier:?} is not {best:?}");
            if values[index] != best[index] {
                break;
            }
        }
        proven += usize::from(solution.tiers.iter().all(|tier| tier.proven));
    }
    assert!(proven > 150, "only {proven} of 1500 proven by sums");
}

#[test]
fn what_runs_stays_and_the_answer_is_proven_when_no_node_is_filled_anew() {
    let mut problem = cluster(60, 30, 10);
    problem.current = solve(&problem, &options()).expect("valid").placed;
    problem.workloads[3].wanted += 1;
    problem.workloads[17].wanted += 1;
    let solution = solve(&problem, &options()).expect("valid");
    assert_eq!(value(&solution, Tier::Shortage(0)), 0);
    assert_eq!(value(&solution, Tier::Disruption), 0, "nothing that ran was touched");
    let cost = |placed: &[Placed]| {
        let tiers = evaluate(&problem, placed);
        tiers.iter().find(|(tier, _)| *tier == Tier::Cost).map_or(0, |(_, value)| *value)
    };
    if cost(&problem.current) == cost(&solution.placed) {
        assert!(solution.tiers.iter().all(|tier| tier.proven), "{:?}", solution.tiers);
    }
    assert!(solution.tiers.iter().all(|tier| tier.gain() == tier.value - tier.bound));
}

#[test]
fn what_the_present_state_breaks_is_mended_without_touching_the_rest() {
    let mut problem = cluster(12, 4, 3);
    problem.constraints =
        vec![Constraint { rule: Rule::LimitPerDomain { workloads: vec![0], topology: 1, limit: 1 }, weight: None }];
    let at = |workload, node, count| Placed { workload, node, count };
    problem.current = vec![at(0, 0, 3), at(1, 1, 3), at(2, 5, 2), at(2, 6, 1), at(3, 7, 3)];
    // Node 5 may not hold workload 2 any more.
    problem.workloads[2].eligible.retain(|node| *node != 5);
    let solution = solve(&problem, &options()).expect("valid");
    assert_eq!(value(&solution, Tier::Repair), 0, "{:?}", solution.placed);
    assert_eq!(value(&solution, Tier::Disruption), 4, "two of workload 0, two of workload 2: {:?}", solution.placed);
    assert!(solution.unrepaired.is_empty());
    assert!(solution.placed.contains(&at(1, 1, 3)) && solution.placed.contains(&at(3, 7, 3)));
}

#[test]
fn a_surplus_is_placed_where_only_that_survives() {
    let mut problem = cluster(9, 1, 2);
    problem.workloads[0].surplus_max = 2;
    problem.constraints = vec![Constraint { rule: Rule::Survive { workload: 0, topology: 0, keep: 2 }, weight: None }];
    let solution = solve(&problem, &options()).expect("valid");
    // One in each zone: whichever is lost, two remain.
    assert_eq!(value(&solution, Tier::Shortage(0)), 0, "{:?}", solution.placed);
    assert_eq!(value(&solution, Tier::Surplus), 1, "{:?}", solution.placed);
    // With room in one zone only no surplus helps, and none is placed.
    problem.workloads[0].eligible.retain(|node| node % 3 == 0);
    let solution = solve(&problem, &options()).expect("valid");
    assert_eq!(value(&solution, Tier::Surplus), 0, "{:?}", solution.placed);
}

#[test]
fn a_large_cluster_takes_the_incremental_path_by_itself() {
    let mut problem = cluster(200, 40, 20);
    problem.current = solve(&problem, &options()).expect("valid").placed;
    problem.workloads[5].wanted += 3;
    let automatic = SolveOptions { effort: SolveEffort::Auto, ..options() };
    let solution = solve(&problem, &automatic).expect("valid");
    assert!(solution.stats.method.starts_with("incremental"), "{}", solution.stats.method);
    assert_eq!(value(&solution, Tier::Shortage(0)), 0);
    let full = SolveOptions { effort: SolveEffort::Full, time_limit: Duration::from_secs(2), ..options() };
    let solution = solve(&problem, &full).expect("valid");
    assert!(!solution.stats.method.starts_with("incremental"), "{}", solution.stats.method);
}

#[test]
fn one_at_a_time_keeps_every_rule_at_every_step() {
    for seed in 0..600 {
        let problem = oracle::small(seed);
        if !problem.current.is_empty() || problem.constraints.iter().any(|c| only_in_the_end(&c.rule)) {
            continue;
        }
        let instance = Instance::new(&problem);
        let mut placer = Placer::new(&instance, &[]);
        for workload in 0..problem.workloads.len() {
            while let Some(node) = placer.place(workload) {
                let verdict = verify(&problem, &placer.placed());
                assert!(verdict.is_ok(), "seed {seed}: {workload} on {node}: {verdict:?}\n{problem:#?}");
            }
        }
    }
}

/// Rules that a step may break although the end keeps them.
fn only_in_the_end(rule: &Rule) -> bool {
    matches!(rule, Rule::AllOrNothing { .. } | Rule::Reserve { .. } | Rule::Spread { max_skew: 0, .. })
}
