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

/// Mostly workloads that exist, each once.
fn group() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![
        20 => vec(any::<bool>(), 2).prop_map(|taken| (0..2).filter(|w| taken[*w]).collect()),
        1 => vec(index(), 0..3),
    ]
}

fn rule() -> impl Strategy<Value = Rule> {
    prop_oneof![placement_rule(), node_rule(), move_rule()]
}

fn placement_rule() -> impl Strategy<Value = Rule> {
    prop_oneof![
        (index(), index(), count()).prop_map(|(workload, topology, max_skew)| Rule::Spread {
            workload,
            topology,
            max_skew
        }),
        (group(), index(), count()).prop_map(|(workloads, topology, limit)| Rule::LimitPerDomain {
            workloads,
            topology,
            limit
        }),
        (index(), index(), count()).prop_map(|(workload, topology, keep)| Rule::Survive { workload, topology, keep }),
        (index(), index(), index(), count()).prop_map(|(a, b, topology, limit)| Rule::SeparateFrom {
            a,
            b,
            topology,
            limit
        }),
        (group(), group(), index()).prop_map(|(workloads, to, topology)| Rule::Near { workloads, to, topology }),
        (group(), index(), count()).prop_map(|(workloads, topology, least)| Rule::DistinctDomains {
            workloads,
            topology,
            least
        }),
        (index(), vec(index(), 0..3)).prop_map(|(workload, nodes)| Rule::Prefer { workload, nodes }),
        (group(), vec((index(), amount()), 0..3)).prop_map(|(workloads, max)| Rule::Quota { workloads, max }),
        group().prop_map(|workloads| Rule::AllOrNothing { workloads }),
    ]
}

fn node_rule() -> impl Strategy<Value = Rule> {
    prop_oneof![
        (index(), group()).prop_map(|(topology, except)| Rule::Reserve { topology, except }),
        (vec(any::<bool>(), 3), count())
            .prop_map(|(taken, most)| Rule::NodesMost { nodes: (0..3).filter(|n| taken[*n]).collect(), most }),
        (index(), prop_oneof![20 => vec(amount(), 3), 1 => vec(amount(), 0..5)])
            .prop_map(|(resource, safe)| Rule::Safety { resource, safe }),
        ((index(), amount()), (index(), amount()), amount()).prop_map(|(first, second, unit)| Rule::Balance {
            first,
            second,
            unit
        }),
    ]
}

fn move_rule() -> impl Strategy<Value = Rule> {
    prop_oneof![
        vec((index(), any::<u32>()), 0..2).prop_map(|workloads| Rule::Moved { workloads }),
        vec(group(), 0..3).prop_map(|groups| Rule::MovedMost { groups }),
        prop_oneof![10 => vec(vec(count(), 3), 3), 1 => vec(vec(count(), 0..4), 0..4)]
            .prop_map(|units| Rule::MovedFar { units }),
    ]
}

fn device() -> impl Strategy<Value = DeviceDemand> {
    let take = prop_oneof![
        3 => (1u32..11).prop_map(DeviceTake::Share),
        3 => (1u32..4).prop_map(DeviceTake::Whole),
        1 => any::<u32>().prop_map(DeviceTake::Whole),
        1 => any::<u32>().prop_map(DeviceTake::Share),
    ];
    (prop_oneof![30 => Just(0usize), 1 => index()], take).prop_map(|(kind, take)| DeviceDemand { kind, take })
}

fn constraint() -> impl Strategy<Value = Constraint> {
    (rule(), option::of(prop_oneof![Just(1u32), count()])).prop_map(|(rule, weight)| {
        let weight = match rule {
            Rule::Prefer { .. }
            | Rule::Safety { .. }
            | Rule::Balance { .. }
            | Rule::Moved { .. }
            | Rule::MovedMost { .. }
            | Rule::MovedFar { .. } => weight.or(Some(1)),
            Rule::Quota { .. } | Rule::AllOrNothing { .. } => None,
            _ => weight,
        };
        Constraint { rule, weight }
    })
}

fn node(name: usize) -> impl Strategy<Value = Node> {
    let price = prop_oneof![5 => 0u64..1000, 1 => amount()];
    let devices = prop_oneof![2 => Just(vec![]), 4 => vec(0u32..4, 1), 1 => vec(any::<u32>(), 0..3)];
    (vec(amount(), 2), price, vec(option::weighted(0.8, index()), 2), devices, any::<bool>()).prop_map(
        move |(capacity, price_micros, domains, devices, on_offer)| Node {
            name: format!("n{name}"),
            capacity,
            price_micros,
            domains,
            devices,
            standing: if on_offer { Standing::OnOffer } else { Standing::Here },
        },
    )
}

fn workload(name: usize) -> impl Strategy<Value = Workload> {
    let numbers = (count(), prop_oneof![3 => Just(0), 1 => count()], -2i32..3, 0u32..4, option::of(count()));
    (vec(amount(), 2), numbers, vec(any::<bool>(), 3), option::weighted(0.4, device())).prop_map(
        move |(demand, numbers, eligible, device)| {
            let (wanted, surplus_max, priority, move_weight, per_node_max) = numbers;
            let eligible = (0..3).filter(|n| eligible[*n]).collect();
            let move_weight = move_weight.max(u32::from(name != 1));
            Workload {
                name: format!("w{name}"),
                demand,
                wanted,
                surplus_max,
                priority,
                move_weight,
                eligible,
                per_node_max,
                device,
            }
        },
    )
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
    (nodes, workloads, vec(constraint(), 0..4), vec(placed, 0..3), held, objective, (0u64..40, any::<bool>())).prop_map(
        |(nodes, workloads, constraints, current, held, objective, (scale, transient))| Problem {
            resources: vec![
                Resource { name: "cpu".into(), scale, shapes: true, transient },
                Resource { name: "memory".into(), scale: 1, shapes: true, transient: false },
            ],
            devices: vec![DeviceKind { name: "gpu".into(), parts: 10 }],
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
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, max_shrink_iters: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_problem_gets_an_error_or_a_verified_answer(problem in problem(), exact in any::<bool>(), explain in any::<bool>()) {
        let exact_pairs_max = if exact { 3000 } else { 0 };
        let options = SolveOptions { time_limit: Duration::from_millis(400), explain, exact_pairs_max, ..SolveOptions::default() };
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
