//! Losses, simulated once more by the tests: what a reserve promises can be placed by the solver itself on what remains, and what `Survive`
//! promises is counted.

use hyphae_solver::*;
use std::time::Duration;

const ZONE: usize = 0;
const RACK: usize = 1;
const NODE: usize = 2;

/// Machines of 8 and 16 units in three zones and racks of five; services of several sizes and three priorities that ask for `percent` of all.
fn cluster(nodes: usize, percent: u64) -> Problem {
    let capacity = |n: usize| [8u64, 16, 8, 12][n % 4];
    let machines: Vec<Node> = (0..nodes)
        .map(|n| Node {
            name: format!("n{n:03}"),
            capacity: vec![capacity(n), 2 * capacity(n)],
            price_micros: 1000 * capacity(n),
            domains: vec![Some(n % 3), Some(n / 5), Some(n)],
            ..Node::default()
        })
        .collect();
    let total: u64 = (0..nodes).map(capacity).sum();
    let large: Vec<usize> = (0..nodes).filter(|n| capacity(*n) > 8).collect();
    let mut workloads = Vec::new();
    let mut asked = 0;
    let all = total * percent / 100;
    while asked < all {
        let w = workloads.len() as u64;
        let (size, wanted) = ([1, 2, 1, 4][(w % 4) as usize], 3 + w % 5);
        let wanted = wanted.min((all - asked).div_ceil(size));
        asked += size * wanted;
        workloads.push(Workload {
            name: format!("w{w:03}"),
            demand: vec![size, [3, 2, 1, 9][(w % 4) as usize]],
            wanted: wanted as u32,
            priority: [0, 10, 20][(w % 3) as usize],
            move_weight: 1,
            eligible: if w % 4 == 3 { large.clone() } else { (0..nodes).collect() },
            ..Workload::default()
        });
    }
    let names = |count: usize| (0..count).map(|d| d.to_string()).collect();
    let topology = |key: &str, count| Topology { key: key.into(), domains: names(count) };
    let resource = |name: &str| Resource { name: name.into(), scale: 1, shapes: true, transient: false };
    Problem {
        resources: vec![resource("cpu"), resource("memory")],
        topologies: vec![topology("zone", 3), topology("rack", nodes.div_ceil(5)), topology("node", nodes)],
        nodes: machines,
        workloads,
        ..Problem::default()
    }
}

fn reserve(topology: usize) -> Constraint {
    Constraint { rule: Rule::Reserve { topology, except: Vec::new() }, weight: None }
}

fn solved(problem: &Problem, explain: bool) -> Solution {
    let options = SolveOptions { time_limit: Duration::from_secs(4), explain, ..SolveOptions::default() };
    let solution = solve(problem, &options).expect("a valid problem");
    verify(problem, &solution.placed).expect("only verified placements are handed out");
    solution
}

fn shortage(solution: &Solution) -> Vec<u64> {
    let of = |tier: &TierValue| matches!(tier.tier, Tier::Shortage(_)).then_some(tier.value);
    solution.tiers.iter().filter_map(of).collect()
}

/// Replicas that the solver cannot place again when a domain is lost and everything else stays where it is.
fn homeless(problem: &Problem, placed: &[Placed], topology: usize, domain: usize) -> u64 {
    let lost = |node: usize| problem.nodes[node].domains[topology] == Some(domain);
    let mut after = Problem { constraints: Vec::new(), current: Vec::new(), ..problem.clone() };
    after.workloads.iter_mut().for_each(|spec| spec.wanted = 0);
    for entry in placed {
        if lost(entry.node) {
            after.workloads[entry.workload].wanted += entry.count;
        } else {
            let demand = problem.workloads[entry.workload].demand.iter();
            let capacity = after.nodes[entry.node].capacity.iter_mut();
            capacity.zip(demand).for_each(|(free, demand)| *free -= demand * u64::from(entry.count));
        }
    }
    after.workloads.iter_mut().for_each(|spec| spec.eligible.retain(|node| !lost(*node)));
    shortage(&solved(&after, false)).iter().sum()
}

#[test]
fn with_more_than_half_asked_for_everything_is_placed_and_any_zone_can_be_lost() {
    let mut problem = cluster(60, 60);
    problem.constraints.push(reserve(ZONE));
    let solution = solved(&problem, false);
    assert_eq!(shortage(&solution), [0, 0, 0]);
    for zone in 0..3 {
        assert_eq!(homeless(&problem, &solution.placed, ZONE, zone), 0, "zone {zone}");
    }
}

#[test]
fn with_four_fifths_asked_for_the_lowest_priority_waits_and_the_reserve_is_the_reason() {
    let mut problem = cluster(60, 80);
    problem.constraints.push(reserve(ZONE));
    let solution = solved(&problem, true);
    let short = shortage(&solution);
    assert_eq!(short[..2], [0, 0], "the higher priorities fit");
    // Two thirds of the machines are what any loss leaves: at least an eighth of what is asked for does not fit.
    let held: u64 = solution.placed.iter().map(|p| problem.workloads[p.workload].demand[0] * u64::from(p.count)).sum();
    let total: u64 = problem.nodes.iter().map(|node| node.capacity[0]).sum();
    assert!(short[2] > 0 && 3 * held <= 2 * total, "{held} of {total} held");
    assert!(100 * held >= 50 * total, "much more could be placed: {held} of {total} held");
    for zone in 0..3 {
        assert_eq!(homeless(&problem, &solution.placed, ZONE, zone), 0, "zone {zone}");
    }
    let because = |shortage: &Shortage| shortage.conflict.contains(&Cause::Rule(0));
    assert!(solution.shortages.iter().any(because), "{:?}", solution.shortages);
}

#[test]
fn any_rack_and_any_node_can_be_lost_at_four_fifths() {
    for topology in [RACK, NODE] {
        let mut problem = cluster(60, 80);
        problem.constraints.push(reserve(topology));
        let solution = solved(&problem, false);
        assert_eq!(shortage(&solution), [0, 0, 0]);
        for domain in (0..problem.topologies[topology].domains.len()).step_by(7) {
            assert_eq!(homeless(&problem, &solution.placed, topology, domain), 0, "domain {domain}");
        }
    }
}

#[test]
fn a_soft_reserve_costs_and_leaves_nothing_unplaced() {
    let mut problem = cluster(60, 80);
    problem.constraints.push(Constraint { weight: Some(2), ..reserve(ZONE) });
    let solution = solved(&problem, false);
    assert_eq!(shortage(&solution), [0, 0, 0]);
    let soft = solution.tiers.iter().find(|tier| tier.tier == Tier::Soft).expect("always a tier").value;
    assert!(soft > 0, "four fifths cannot be placed again on two thirds");
}

#[test]
fn a_daemon_goes_with_its_node() {
    let mut problem = cluster(12, 40);
    problem.workloads.push(Workload {
        name: "daemon".into(),
        demand: vec![1, 1],
        wanted: 12,
        priority: 30,
        move_weight: 1,
        eligible: (0..12).collect(),
        per_node_max: Some(1),
        ..Workload::default()
    });
    let daemon = problem.workloads.len() - 1;
    problem.constraints.push(reserve(NODE));
    let placed =
        |solution: &Solution| -> u32 { solution.placed.iter().filter(|p| p.workload == daemon).map(|p| p.count).sum() };
    assert!(placed(&solved(&problem, false)) < 12, "one must be left out for a node to spare");
    problem.constraints[0].rule = Rule::Reserve { topology: NODE, except: vec![daemon] };
    assert_eq!(placed(&solved(&problem, false)), 12);
}

#[test]
fn a_broken_reserve_is_repaired_first_and_with_few_moves() {
    // A replica of five units alone on a machine of eight; four of one unit on each of the five others: nowhere are five free.
    let mut problem = cluster(6, 60);
    problem.nodes.iter_mut().for_each(|node| node.capacity = vec![8, 16]);
    let spec = |name: &str, size, wanted| Workload {
        name: name.into(),
        demand: vec![size, 1],
        wanted,
        move_weight: 1,
        eligible: (0..6).collect(),
        ..Workload::default()
    };
    problem.workloads = vec![spec("large", 5, 1), spec("small", 1, 20)];
    problem.current = vec![Placed { workload: 0, node: 0, count: 1 }];
    problem.current.extend((1..6).map(|node| Placed { workload: 1, node, count: 4 }));
    problem.constraints.push(reserve(ZONE));
    assert_eq!(excused(&problem), [Violation::Rule { constraint: 0, units: 1 }]);
    for exact_pairs_max in [3_000, 0] {
        let options = SolveOptions {
            time_limit: Duration::from_secs(10),
            explain: false,
            exact_pairs_max,
            ..SolveOptions::default()
        };
        let solution = solve(&problem, &options).expect("a valid problem");
        let value = |wanted: Tier| solution.tiers.iter().find(|tier| tier.tier == wanted).map(|tier| tier.value);
        assert_eq!(value(Tier::Shortage(0)), Some(0));
        assert_eq!(verify(&problem, &solution.placed), Ok(Vec::new()));
        assert_eq!(value(Tier::Repair), Some(0));
        assert_eq!(value(Tier::Disruption), Some(1), "one small replica that moves is enough");
    }
}

/// First fit would give the first node, where both resources are left, to those that need only one of them.
#[test]
fn many_lost_replicas_are_packed_so_that_resources_run_out_together() {
    let mut problem = cluster(3, 0);
    for (node, (zone, capacity)) in problem.nodes.iter_mut().zip([(0, [120, 60]), (1, [200, 200]), (1, [60, 0])]) {
        node.capacity = capacity.to_vec();
        node.domains[ZONE] = Some(zone);
    }
    let spec = |name: &str, demand: [u64; 2], wanted| Workload {
        name: name.into(),
        demand: demand.to_vec(),
        wanted,
        move_weight: 1,
        eligible: vec![0, 1, 2],
        ..Workload::default()
    };
    problem.workloads = vec![spec("lean", [1, 0], 60), spec("both", [1, 1], 60), spec("daemon", [140, 140], 1)];
    problem.constraints.push(Constraint { rule: Rule::Reserve { topology: ZONE, except: vec![2] }, weight: None });
    let at = |workload, node, count| Placed { workload, node, count };
    let placed = [at(0, 0, 60), at(1, 0, 60), at(2, 1, 1)];
    assert_eq!(verify(&problem, &placed), Ok(Vec::new()));
    problem.nodes[2].capacity[0] = 59;
    assert_eq!(verify(&problem, &placed), Err(vec![Violation::Rule { constraint: 0, units: 1 }]));
}

#[test]
fn survive_keeps_its_replicas_whatever_zone_rack_or_node_is_lost() {
    for (topology, keep) in [(ZONE, 2), (RACK, 4), (NODE, 5)] {
        let mut problem = cluster(30, 50);
        let services: Vec<usize> = (0..problem.workloads.len()).filter(|w| problem.workloads[*w].wanted >= 6).collect();
        assert!(services.len() > 2);
        let rule = |workload| Rule::Survive { workload, topology, keep };
        problem.constraints = services.iter().map(|w| Constraint { rule: rule(*w), weight: None }).collect();
        let solution = solved(&problem, false);
        assert_eq!(shortage(&solution), [0, 0, 0]);
        for workload in &services {
            for domain in 0..problem.topologies[topology].domains.len() {
                let remains = solution.placed.iter().filter(|p| p.workload == *workload);
                let remains = remains.filter(|p| problem.nodes[p.node].domains[topology] != Some(domain));
                let remain: u32 = remains.map(|p| p.count).sum();
                assert!(remain >= keep, "{remain} of workload {workload} remain without domain {domain}");
            }
        }
    }
}
