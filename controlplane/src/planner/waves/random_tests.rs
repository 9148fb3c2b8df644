//! Random specs after random specs on a few full nodes: what their waves do is simulated here by names, sharing nothing with planner or checker.

use crate::plan::{Action, PlanDocument};
use crate::planner::tests::{admin, assigned, carry_out, planned, running, state};
use crate::planner::verify;
use crate::state::{State, Step};
use proptest::prelude::*;
use std::collections::BTreeMap;

const CPU_MILLIS: u64 = 3_000;
const MEMORY_BYTES: u64 = 3 << 30;
/// Name, zone.
const NODES: [(&str, &str); 4] = [("n1", "a"), ("n2", "a"), ("n3", "b"), ("n4", "b")];

#[derive(Debug, Clone)]
struct Service {
    cpu: u64,
    memory: u64,
    image: u8,
    replicas: u8,
    unavailable: u8,
    zone: Option<&'static str>,
    /// At most so many in a domain.
    limit: Option<(&'static str, usize)>,
    /// Kept apart from the next service.
    apart: Option<&'static str>,
    /// Rules that only the final placement keeps.
    others: Vec<&'static str>,
    priority: u8,
}

const OTHERS: [&str; 5] = [
    "spread over=zone; ",
    "spread over=node weight=2; ",
    "survive loss-of=zone keep=\"50%\"; ",
    "prefer zone=a weight=3; ",
    "separate within=node weight=1; ",
];

const RESERVES: [&str; 4] = [
    "",
    "",
    "reserve survive-loss-of=node\n",
    "reserve survive-loss-of=zone weight=2\nobjective { move-price 0.05 }\n",
];

#[derive(Debug, Clone)]
struct Spec {
    services: Vec<Service>,
    reserve: &'static str,
}

fn name(service: usize) -> String {
    format!("s{service}")
}

fn text(spec: &Spec) -> String {
    let line = |(number, service): (usize, &Service)| {
        let Service { cpu, memory, image, replicas, unavailable, zone, limit, apart, others, priority } = service;
        // Of a single one none could remain.
        let may = |other: &&&str| *replicas != 1 || !other.starts_with("survive");
        let mut place = others.iter().filter(may).copied().collect::<String>();
        place += &zone.map(|zone| format!("require zone={zone}; ")).unwrap_or_default();
        place += &limit.map(|(within, limit)| format!("separate within={within} limit={limit}; ")).unwrap_or_default();
        if let Some(within) = apart {
            place += &format!("separate from={} within={within}; ", name((number + 1) % spec.services.len()));
        }
        format!(
            "service {} {{ image \"r.example/x:{image}\"; replicas {replicas}; priority {priority}; update max-unavailable={unavailable}; \
             resources cpu={cpu} memory=\"{memory}GiB\"; place {{ {place} }} }}\n",
            name(number)
        )
    };
    spec.reserve.to_owned() + &spec.services.iter().enumerate().map(line).collect::<String>()
}

fn domain(within: &str, node: &str) -> String {
    match within {
        "zone" => NODES.iter().find(|(name, _)| *name == node).unwrap().1.to_owned(),
        _ => node.to_owned(),
    }
}

/// By how much each rule is broken by what is where: (service, node).
fn broken(spec: &Spec, there: &[(String, String)]) -> Vec<usize> {
    let counts = |service: usize, within: &str| {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        let of_service = there.iter().filter(|(workload, _)| *workload == format!("default/{}", name(service)));
        of_service.for_each(|(_, node)| *counts.entry(domain(within, node)).or_default() += 1);
        counts
    };
    let mut units = Vec::new();
    for (number, service) in spec.services.iter().enumerate() {
        let over = |(within, limit)| counts(number, within).values().map(|count| count.saturating_sub(limit)).sum();
        units.push(service.limit.map_or(0, over));
        let both = |within: &str| {
            let other = counts((number + 1) % spec.services.len(), within);
            counts(number, within).iter().map(|(d, count)| (*count).min(other.get(d).copied().unwrap_or(0))).sum()
        };
        units.push(service.apart.map_or(0, both));
    }
    units
}

/// Goes through the waves of a plan; at the fullest moment of each, every node has room and no rule is broken by more than before or after.
fn simulate(before: &State, spec: &Spec, document: &PlanDocument) -> Result<(), TestCaseError> {
    let release = verify(before, document, &admin()).map_err(|error| TestCaseError::fail(error.to_string()))?;
    let generation_of = |workload: &str, generation: u64| {
        let new = release.workloads.get(workload).and_then(|workload| workload.templates.get(&generation));
        let template = new.or_else(|| before.workloads.get(workload)?.templates.get(&generation)).unwrap();
        (template.cpu_millis, template.memory_bytes)
    };
    let mut there: BTreeMap<_, _> = before
        .replicas
        .iter()
        .map(|(id, replica)| (id.clone(), (replica.node.clone(), generation_of(&id.workload, replica.generation))))
        .collect();
    let pairs = |there: &BTreeMap<crate::state::ReplicaId, (String, (u64, u64))>| -> Vec<(String, String)> {
        there.iter().map(|(id, (node, _))| (id.workload.clone(), node.clone())).collect()
    };
    let after = document.assignments.iter();
    let after = after.flat_map(|a| std::iter::repeat_n((a.workload.clone(), a.node.clone()), a.count as usize));
    let (at_first, in_the_end) = (broken(spec, &pairs(&there)), broken(spec, &after.collect::<Vec<_>>()));
    for (number, wave) in release.waves.iter().enumerate() {
        for step in wave {
            match step {
                Step::Start { replica, node, generation } => {
                    let holds = generation_of(&replica.workload, *generation);
                    prop_assert!(there.insert(replica.clone(), (node.clone(), holds)).is_none());
                }
                Step::Update { replica, generation } => {
                    let (cpu, memory) = generation_of(&replica.workload, *generation);
                    let holds = &mut there.get_mut(replica).unwrap().1;
                    *holds = (holds.0.max(cpu), holds.1.max(memory));
                }
                Step::Stop { .. } => {}
            }
        }
        for (node, _) in NODES {
            let on_node = there.values().filter(|(at, _)| at == node).map(|(_, holds)| *holds);
            let (cpu, memory) = on_node.fold((0, 0), |sum, holds| (sum.0 + holds.0, sum.1 + holds.1));
            prop_assert!(cpu <= CPU_MILLIS && memory <= MEMORY_BYTES, "wave {} on {}: {:?}", number, node, document);
        }
        let broken = broken(spec, &pairs(&there));
        let no_more =
            broken.iter().zip(at_first.iter().zip(&in_the_end)).all(|(now, (first, end))| now <= first.max(end));
        prop_assert!(no_more, "wave {} breaks a rule: {:?}", number, document);
        for step in wave {
            match step {
                Step::Stop { replica } => prop_assert!(there.remove(replica).is_some()),
                Step::Update { replica, generation } => {
                    there.get_mut(replica).unwrap().1 = generation_of(&replica.workload, *generation);
                }
                Step::Start { .. } => {}
            }
        }
    }
    make_before_break(document, &release.waves)
}

/// As many replicas of a workload have moved in as have moved out, at all times, but for those moves that say otherwise.
fn make_before_break(document: &PlanDocument, waves: &[Vec<Step>]) -> Result<(), TestCaseError> {
    let moves = document.changes.iter().filter(|change| change.action == Action::Move);
    let mut of_workload: BTreeMap<&str, (Vec<u32>, Vec<u32>, usize)> = BTreeMap::new();
    for change in moves {
        let (old, new, broken) = of_workload.entry(&change.workload).or_default();
        old.extend(&change.replicas);
        new.extend(&change.new_replicas);
        let says = change.why.contains("stopped before its replacement");
        *broken += if says { change.replicas.len() } else { 0 };
    }
    for (workload, (old, new, broken)) in of_workload {
        let (mut there, mut gone) = (0, 0);
        for wave in waves {
            let of = wave.iter().filter(|step| step.replica().workload == workload);
            let stops = |step: &&Step| matches!(step, Step::Stop { replica } if old.contains(&replica.index));
            let starts = |step: &&Step| matches!(step, Step::Start { replica, .. } if new.contains(&replica.index));
            gone += of.clone().filter(stops).count();
            prop_assert!(gone <= there + broken, "{} of {} have left, {} came: {:?}", gone, workload, there, document);
            there += of.filter(starts).count();
        }
    }
    Ok(())
}

fn service() -> impl Strategy<Value = Service> {
    let within = || prop_oneof![Just("node"), Just("zone")];
    let sizes = (1u64..4, 1u64..4, 1u8..3, 0u8..4, 1u8..3);
    let zone = prop_oneof![2 => Just(None), 1 => Just(Some("a")), 1 => Just(Some("b"))];
    let (limit, apart) = (proptest::option::of((within(), 1usize..3)), proptest::option::of(within()));
    let others = (proptest::sample::subsequence(&OTHERS, 0..3), 0u8..2);
    (sizes, zone, limit, apart, others).prop_map(
        |((cpu, memory, image, replicas, unavailable), zone, limit, apart, (others, priority))| Service {
            cpu,
            memory,
            image,
            replicas,
            unavailable,
            zone,
            limit,
            apart,
            others,
            priority,
        },
    )
}

fn spec() -> impl Strategy<Value = Spec> {
    let services = proptest::collection::vec(service(), 3);
    (services, proptest::sample::select(&RESERVES)).prop_map(|(services, reserve)| Spec { services, reserve })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn every_wave_keeps_room_and_rules(specs in proptest::collection::vec(spec(), 2..4)) {
        let node = |(name, zone): &(&str, &str)| format!("node {name:?} price=0.1 {{ capacity cpu=3 memory=\"3GiB\"; labels zone={zone:?} }}\n");
        let mut state = state(&NODES.iter().map(node).collect::<String>());
        for spec in specs {
            let document = planned(&state, &text(&spec));
            simulate(&state, &spec, &document)?;
            carry_out(&mut state, &document);
            prop_assert_eq!(running(&state), assigned(&document));
        }
    }
}
