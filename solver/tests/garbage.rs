//! Problems nobody would write: whatever comes in, an error or a verified answer comes out, never a panic.

use hyphae_solver::*;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use std::time::Duration;

/// Small numbers mostly, and those at which things overflow.
fn amount() -> impl Strategy<Value = u64> {
    prop_oneof![
        6 => 0u64..12,
        1 => Just(u64::MAX),
        1 => Just(1 << 63),
        1 => Just((1 << 63) - 1),
        1 => Just(1 << 40),
        1 => any::<u64>(),
    ]
}

fn count() -> impl Strategy<Value = u32> {
    prop_oneof![8 => 0u32..5, 1 => 0u32..2000]
}

/// Mostly in range for the small problems made here.
fn index() -> impl Strategy<Value = usize> {
    prop_oneof![60 => 0usize..2, 1 => 0usize..6, 1 => Just(usize::MAX)]
}

fn rule() -> impl Strategy<Value = Rule> {
    prop_oneof![
        (index(), index(), count()).prop_map(|(workload, topology, max_skew)| Rule::Spread {
            workload,
            topology,
            max_skew
        }),
        (vec(index(), 0..3), index(), count()).prop_map(|(workloads, topology, limit)| Rule::LimitPerDomain {
            workloads,
            topology,
            limit
        }),
        (index(), index(), index(), count()).prop_map(|(a, b, topology, limit)| Rule::SeparateFrom {
            a,
            b,
            topology,
            limit
        }),
        (vec(index(), 0..3), vec(index(), 0..3), index()).prop_map(|(workloads, to, topology)| Rule::Near {
            workloads,
            to,
            topology
        }),
        (index(), vec(index(), 0..3)).prop_map(|(workload, nodes)| Rule::Prefer { workload, nodes }),
        (vec(index(), 0..3), vec((index(), amount()), 0..3))
            .prop_map(|(workloads, max)| Rule::Quota { workloads, max }),
        vec(index(), 0..3).prop_map(|workloads| Rule::AllOrNothing { workloads }),
    ]
}

fn constraint() -> impl Strategy<Value = Constraint> {
    (rule(), option::of(prop_oneof![Just(1u32), count()])).prop_map(|(rule, weight)| {
        let weight = match rule {
            Rule::Prefer { .. } => weight.or(Some(1)),
            Rule::Quota { .. } | Rule::AllOrNothing { .. } => None,
            _ => weight,
        };
        Constraint { rule, weight }
    })
}

fn node(name: usize) -> impl Strategy<Value = Node> {
    (vec(amount(), 2), prop_oneof![5 => 0u64..1000, 1 => amount()], vec(option::weighted(0.8, index()), 2)).prop_map(
        move |(capacity, price_micros, domains)| Node {
            name: format!("n{name}"),
            capacity,
            price_micros,
            domains,
            ..Node::default()
        },
    )
}

fn workload(name: usize) -> impl Strategy<Value = Workload> {
    let numbers = (count(), -2i32..3, 0u32..4, option::of(count()));
    (vec(amount(), 2), numbers, vec(any::<bool>(), 3)).prop_map(move |(demand, numbers, eligible)| {
        let (wanted, priority, move_weight, per_node_max) = numbers;
        let eligible = (0..3).filter(|n| eligible[*n]).collect();
        let move_weight = move_weight.max(u32::from(name != 1));
        Workload {
            name: format!("w{name}"),
            demand,
            wanted,
            priority,
            move_weight,
            eligible,
            per_node_max,
            ..Workload::default()
        }
    })
}

fn problem() -> impl Strategy<Value = Problem> {
    let placed = (index(), index(), 0u32..4).prop_map(|(workload, node, count)| Placed { workload, node, count });
    let objective = (any::<bool>(), option::of(amount())).prop_map(|(spread, move_price_micros)| Objective {
        shape: if spread { Shape::Spread } else { Shape::Pack },
        move_price_micros,
    });
    let nodes = (node(0), node(1), node(2));
    let workloads = (workload(0), workload(1));
    let held = prop_oneof![3 => Just(Vec::new()), 1 => vec(vec(amount(), 2), 0..3)];
    (nodes, workloads, vec(constraint(), 0..4), vec(placed, 0..3), held, objective, 0u64..40).prop_map(
        |(nodes, workloads, constraints, current, held, objective, scale)| Problem {
            resources: vec![
                Resource { name: "cpu".into(), scale, shapes: true, transient: false },
                Resource { name: "memory".into(), scale: 1, shapes: true, transient: false },
            ],
            topologies: vec![
                Topology { key: "zone".into(), domains: vec!["a".into(), "b".into()] },
                Topology { key: "node".into(), domains: vec!["0".into(), "1".into(), "2".into()] },
            ],
            nodes: <[Node; 3]>::from(nodes).to_vec(),
            workloads: <[Workload; 2]>::from(workloads).to_vec(),
            constraints,
            current,
            held,
            objective,
            ..Problem::default()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, max_shrink_iters: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_problem_gets_an_error_or_a_verified_answer(problem in problem(), exact in any::<bool>(), explain in any::<bool>()) {
        let exact_pairs_max = if exact { 3000 } else { 0 };
        let options = SolveOptions { time_limit: Duration::from_millis(400), explain, exact_pairs_max };
        match solve(&problem, &options) {
            Err(error) => prop_assert_eq!(Some(error), problem.validate().err()),
            Ok(solution) => {
                prop_assert!(verify(&problem, &solution.placed).is_ok());
                let values: Vec<(Tier, u64)> = solution.tiers.iter().map(|t| (t.tier, t.value)).collect();
                prop_assert_eq!(values, evaluate(&problem, &solution.placed));
            }
        }
    }
}

#[test]
fn more_replicas_than_any_cluster_has_are_refused_and_many_are_not() {
    let workload = Workload {
        name: "w".into(),
        demand: vec![],
        wanted: 500_000,
        priority: 0,
        move_weight: 1,
        eligible: vec![0],
        per_node_max: None,
        ..Workload::default()
    };
    let node = Node { name: "n".into(), capacity: vec![], price_micros: 0, domains: vec![], ..Node::default() };
    let mut problem = Problem { nodes: vec![node], workloads: vec![workload], ..Problem::default() };
    let solution = solve(&problem, &SolveOptions::default()).expect("half a million is a lot, but no error");
    assert_eq!(solution.tiers[0].value, 0);
    problem.workloads[0].wanted = u32::MAX;
    let error = solve(&problem, &SolveOptions::default()).expect_err("four billion replicas");
    assert!(error.to_string().starts_with("4294967295 replicas are wanted"), "{error}");
}

#[test]
fn empty_problems_have_empty_answers() {
    let solution = solve(&Problem::default(), &SolveOptions::default()).expect("nothing is wrong with nothing");
    assert!(solution.placed.is_empty() && solution.tiers.iter().all(|tier| tier.proven));
}

#[test]
fn a_problem_says_what_is_wrong_with_it() {
    let node = Node { name: "n".into(), capacity: vec![1], price_micros: 0, domains: vec![], ..Node::default() };
    let problem = Problem { nodes: vec![node], ..Problem::default() };
    let error = solve(&problem, &SolveOptions::default()).expect_err("a capacity without a resource");
    assert_eq!(error.to_string(), "the capacity of node `n` has 1 entries where 0 are needed");
}
