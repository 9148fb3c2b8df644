//! Commands by values, and random sequences of them against the invariants.

use super::commands::{AdvanceRollout, Effect, Initialise, JobFinished, RegisterNode, SetSchedulable};
use super::*;
use proptest::prelude::*;

fn initialise() -> Command {
    Command::Initialise(Initialise { prefix: "fd00:1:2::".parse().unwrap() })
}

fn register(name: &str) -> Command {
    Command::RegisterNode(RegisterNode {
        name: name.to_owned(),
        pool: "general".to_owned(),
        labels: BTreeMap::from([("zone".to_owned(), "a".to_owned())]),
        capacity: Capacity { cpu_millis: 4000, memory_bytes: 8 << 30, replicas: 100, ..Capacity::default() },
        taints: vec![],
        price_micros: 0,
        prefix: None,
    })
}

fn id(workload: &str, index: u32) -> ReplicaId {
    ReplicaId { workload: workload.to_owned(), index }
}

fn record(kind: &str, generation: u64, image: &str) -> WorkloadRecord {
    WorkloadRecord {
        service_id: 0,
        kind: kind.to_owned(),
        wanted: 1,
        unplaced: 0,
        generation,
        templates: BTreeMap::from([(generation, Template { image: image.to_owned(), ..Template::default() })]),
        finished: BTreeMap::new(),
    }
}

fn start(workload: &str, index: u32, node: &str, generation: u64) -> Step {
    Step::Start { replica: id(workload, index), node: node.to_owned(), generation }
}

fn stop(workload: &str, index: u32) -> Step {
    Step::Stop { replica: id(workload, index) }
}

/// A release made of a state's own workloads and these.
fn release(state: &State, workloads: &[(&str, WorkloadRecord)], waves: Vec<Vec<Step>>) -> Release {
    let mut all = state.workloads.clone();
    all.extend(workloads.iter().map(|(name, record)| ((*name).to_owned(), record.clone())));
    Release {
        expected_revision: state.revision,
        objects_put: BTreeMap::new(),
        objects_removed: vec![],
        policies: None,
        workloads: all,
        waves,
    }
}

fn apply_release(state: &mut State, release: Release) -> Result<Outcome, Refusal> {
    state.apply(Command::ApplyRelease(Box::new(release)))
}

fn cluster() -> State {
    let mut state = State::default();
    for command in [initialise(), register("n1"), register("n2")] {
        state.apply(command).unwrap();
    }
    state
}

/// Two replicas of default/web, the second in a wave of its own.
fn cluster_with_web() -> State {
    let mut state = cluster();
    let waves = vec![vec![start("default/web", 0, "n1", 1)], vec![start("default/web", 1, "n2", 1)]];
    let first = release(&state, &[("default/web", record("service", 1, "web:1"))], waves);
    apply_release(&mut state, first).unwrap();
    state
}

#[test]
fn a_release_at_an_old_revision_is_refused_and_says_so() {
    let mut state = cluster_with_web();
    let before = state.clone();
    let late = Release { expected_revision: state.revision - 1, ..release(&state, &[], vec![]) };
    let refusal = apply_release(&mut state, late).unwrap_err();
    assert_eq!(refusal, Refusal::Stale { made_at: 2, now: 3 });
    assert_eq!(
        refusal.to_string(),
        "the plan was made at revision 2, the cluster is at revision 3: something has changed in between; plan again"
    );
    assert_eq!(state, before);
}

#[test]
fn waves_are_released_one_after_another() {
    let mut state = cluster_with_web();
    assert_eq!(state.replicas.keys().cloned().collect::<Vec<_>>(), [id("default/web", 0)]);
    let rollout_revision = state.rollout.as_ref().unwrap().revision;
    let advance = |wave| Command::AdvanceRollout(AdvanceRollout { rollout_revision, wave });
    assert!(matches!(state.apply(advance(2)), Err(Refusal::OutOfDate(_))), "not before the wave in between");
    assert_eq!(state.apply(advance(1)).unwrap().revision, rollout_revision + 1);
    assert_eq!(state.replicas.len(), 2);
    assert!(matches!(state.apply(advance(1)), Err(Refusal::OutOfDate(_))), "not twice");
    assert_eq!(state.apply(advance(2)).unwrap().revision, rollout_revision + 1, "ending changes nothing a plan needs");
    assert_eq!(state.rollout, None);
}

#[test]
fn a_new_release_replaces_a_rollout_under_way() {
    let mut state = cluster_with_web();
    let second = release(&state, &[], vec![vec![start("default/web", 1, "n1", 1)]]);
    apply_release(&mut state, second).unwrap();
    assert_eq!(state.replicas[&id("default/web", 1)].node, "n1");
    assert_eq!(state.rollout.as_ref().unwrap().waves.len(), 1);
}

#[test]
fn what_an_earlier_plan_stops_is_waited_for_before_anything_takes_its_place() {
    let mut state = cluster_with_web();
    let second = release(&state, &[], vec![vec![stop("default/web", 0)]]);
    apply_release(&mut state, second).unwrap();
    let other = [("default/api", record("service", 1, "api:1"))];
    let third = release(&state, &other, vec![vec![start("default/api", 0, "n1", 1)]]);
    apply_release(&mut state, third).unwrap();
    let rollout = state.rollout.clone().unwrap();
    assert_eq!((rollout.waves[0].as_slice(), rollout.released), ([stop("default/web", 0)].as_slice(), 1));
    assert!(state.replicas.is_empty(), "nothing has started yet: {:?}", state.replicas);
    // A plan that changes nothing still waits, and so does the one after it.
    let fourth = release(&state, &[], vec![]);
    apply_release(&mut state, fourth).unwrap();
    let fifth = release(&state, &[], vec![vec![start("default/api", 0, "n1", 1)]]);
    apply_release(&mut state, fifth).unwrap();
    let rollout = state.rollout.clone().unwrap();
    assert_eq!((rollout.waves.len(), rollout.waves[0].len()), (2, 1));
    state.apply(Command::AdvanceRollout(AdvanceRollout { rollout_revision: rollout.revision, wave: 1 })).unwrap();
    assert_eq!(state.replicas[&id("default/api", 0)].node, "n1");
    assert!(state.check_invariants().is_empty(), "{:?}", state.check_invariants());
}

#[test]
fn old_templates_live_as_long_as_a_replica_runs_them() {
    let mut state = cluster_with_web();
    let update = Step::Update { replica: id("default/web", 0), generation: 2 };
    let second = release(&state, &[("default/web", record("service", 2, "web:2"))], vec![vec![], vec![update]]);
    apply_release(&mut state, second).unwrap();
    assert_eq!(share(&state, "n1").replicas[0].image, "web:1");
    assert_eq!(state.workloads["default/web"].templates.len(), 2);
    let rollout_revision = state.rollout.as_ref().unwrap().revision;
    state.apply(Command::AdvanceRollout(AdvanceRollout { rollout_revision, wave: 1 })).unwrap();
    assert_eq!(share(&state, "n1").replicas[0].image, "web:2");
    assert_eq!(state.workloads["default/web"].templates.len(), 1);
}

#[test]
fn a_removed_workload_is_known_until_its_last_replica_stops_and_its_id_is_not_given_again() {
    let mut state = cluster_with_web();
    let service_id = state.workloads["default/web"].service_id;
    let mut removal = release(&state, &[], vec![vec![], vec![stop("default/web", 0)]]);
    removal.workloads.clear();
    apply_release(&mut state, removal).unwrap();
    assert!(state.retiring.contains("default/web"));
    let rollout_revision = state.rollout.as_ref().unwrap().revision;
    state.apply(Command::AdvanceRollout(AdvanceRollout { rollout_revision, wave: 1 })).unwrap();
    assert!(state.workloads.is_empty() && state.retiring.is_empty());
    let again = release(&state, &[("default/web", record("service", 1, "web:1"))], vec![]);
    apply_release(&mut state, again).unwrap();
    assert!(state.workloads["default/web"].service_id > service_id);
}

#[test]
fn a_removed_workload_must_be_stopped_by_its_release() {
    let mut state = cluster_with_web();
    let mut removal = release(&state, &[], vec![]);
    removal.workloads.clear();
    assert!(matches!(apply_release(&mut state, removal), Err(Refusal::Contradiction(_))));
}

#[test]
fn a_job_that_ends_leaves_the_replicas_and_is_remembered() {
    let mut state = cluster();
    let waves = vec![vec![start("default/migrate", 0, "n1", 1)]];
    let first = release(&state, &[("default/migrate", record("job", 1, "m:1"))], waves);
    apply_release(&mut state, first).unwrap();
    let ended = JobFinished { replica: id("default/migrate", 0), generation: 1, exit_code: 3 };
    state.apply(Command::JobFinished(ended.clone())).unwrap();
    assert!(state.replicas.is_empty());
    assert_eq!(state.workloads["default/migrate"].finished, BTreeMap::from([(0, 3)]));
    assert_eq!(state.finished_on, BTreeMap::from([(id("default/migrate", 0), "n1".to_owned())]));
    assert!(matches!(state.apply(Command::JobFinished(ended)), Err(Refusal::OutOfDate(_))), "told twice");
}

#[test]
fn an_update_of_a_job_that_ends_before_its_wave_becomes_a_start() {
    let mut state = cluster();
    let waves = vec![vec![start("default/migrate", 0, "n1", 1)]];
    let first = release(&state, &[("default/migrate", record("job", 1, "m:1"))], waves);
    apply_release(&mut state, first).unwrap();
    let update = Step::Update { replica: id("default/migrate", 0), generation: 2 };
    let second = release(&state, &[("default/migrate", record("job", 2, "m:2"))], vec![vec![], vec![update]]);
    apply_release(&mut state, second).unwrap();
    let ended = JobFinished { replica: id("default/migrate", 0), generation: 1, exit_code: 0 };
    state.apply(Command::JobFinished(ended)).unwrap();
    let rollout_revision = state.rollout.as_ref().unwrap().revision;
    state.apply(Command::AdvanceRollout(AdvanceRollout { rollout_revision, wave: 1 })).unwrap();
    assert_eq!(state.replicas[&id("default/migrate", 0)], ReplicaRecord { node: "n1".to_owned(), generation: 2 });
}

#[test]
fn nodes_keep_their_id_and_their_cordon_when_they_come_again() {
    let mut state = cluster();
    let cordon = Command::SetSchedulable(SetSchedulable { node: "n1".to_owned(), schedulable: false });
    state.apply(cordon).unwrap();
    let revision = state.revision;
    assert_eq!(state.apply(register("n1")).unwrap(), Outcome { revision, effect: Effect::Unchanged });
    let Command::RegisterNode(mut bigger) = register("n1") else { unreachable!() };
    bigger.capacity.cpu_millis = 8000;
    assert_eq!(state.apply(Command::RegisterNode(bigger)).unwrap().revision, revision + 1);
    let node = &state.nodes["n1"];
    assert_eq!((node.id, node.capacity.cpu_millis, node.schedulable), (1, 8000, false));
    assert_eq!(node.prefix.to_string(), "fd00:1:2:0:1::");
}

#[test]
fn bad_nodes_are_refused_with_the_reason() {
    let mut state = cluster();
    let Command::RegisterNode(good) = register("n3") else { unreachable!() };
    for (name, prefix, words) in [
        ("", None, "1 to 253"),
        ("N 3", None, "1 to 253"),
        ("n3", Some("fd00:1:2:0:1:1::"), "not a /80"),
        ("n3", Some("fd00:1:2:0:1::"), "is node \"n1\"'s"),
    ] {
        let bad = RegisterNode { name: name.to_owned(), prefix: prefix.map(|p| p.parse().unwrap()), ..good.clone() };
        let text = state.apply(Command::RegisterNode(bad)).unwrap_err().to_string();
        assert!(text.contains(words), "{text}");
    }
}

#[test]
fn a_share_is_whole_and_names_addresses() {
    let state = cluster_with_web();
    let share = share(&state, "n1");
    assert_eq!((share.revision, share.replicas.len()), (3, 1));
    assert_eq!(share.replicas[0].address, "fd00:1:2:0:1:1:1:1");
    assert!(super::share(&state, "unknown").replicas.is_empty());
}

#[test]
fn bytes_of_another_format_are_refused() {
    let bytes = encode(&cluster());
    assert_eq!(bytes[0], 1);
    assert_eq!(decode::<State>(&bytes).unwrap(), cluster());
    let newer = [&[2], &bytes[1..]].concat();
    assert!(decode::<State>(&newer).unwrap_err().to_string().contains("newer hyphae"));
    assert!(decode::<State>(&[]).is_err() && decode::<State>(&bytes[..bytes.len() / 2]).is_err());
}

/// A command that mostly fits the state, made of four small numbers.
fn command(state: &State, [kind, a, b, c]: [u8; 4]) -> Command {
    let node = format!("n{}", a % 4);
    let workload = format!("default/w{}", b % 3);
    let replica = id(&workload, u32::from(c % 3));
    let rollout = state.rollout.as_ref().map_or((0, 0), |rollout| (rollout.revision, rollout.released));
    match kind % 8 {
        0 => register(&node),
        1 => Command::SetSchedulable(SetSchedulable { node, schedulable: b % 2 == 0 }),
        2 | 3 => Command::AdvanceRollout(AdvanceRollout {
            rollout_revision: rollout.0,
            wave: rollout.1 + usize::from(c == 0),
        }),
        4 => {
            let generation = state.replicas.get(&replica).map_or(1, |replica| replica.generation);
            Command::JobFinished(JobFinished { replica, generation, exit_code: i32::from(a) })
        }
        _ => Command::ApplyRelease(Box::new(random_release(state, [kind, a, b, c]))),
    }
}

fn random_release(state: &State, [kind, a, b, c]: [u8; 4]) -> Release {
    let name = format!("default/w{}", b % 3);
    let old = state.workloads.get(&name);
    let generation = old.map_or(0, |old| old.generation) + u64::from(old.is_none() || a % 2 == 0);
    let mut new = record(if b % 3 == 0 { "job" } else { "service" }, generation, &format!("i:{generation}"));
    new.templates.extend(old.and_then(|old| old.templates.get_key_value(&generation)).map(|(g, t)| (*g, t.clone())));
    let mut release = release(state, &[(&name, new)], vec![]);
    if c % 5 == 0 {
        release.workloads.remove(&name);
    }
    let mut steps = Vec::new();
    for index in 0..3u32 {
        let replica = id(&name, index);
        let there = state.replicas.contains_key(&replica);
        let removed = c % 5 == 0;
        match (there, (u32::from(a) >> index) % 2 == 0) {
            (true, stopped) if stopped || removed => steps.push(Step::Stop { replica }),
            (true, _) => steps.push(Step::Update { replica, generation }),
            (false, true) if !removed => steps.push(start(&name, index, &format!("n{}", b % 4), generation)),
            _ => {}
        }
    }
    if kind % 16 == 5 {
        steps.push(stop(&name, 1)); // often a contradiction
    }
    release.waves = steps.chunks(1 + usize::from(c % 3)).map(<[Step]>::to_vec).collect();
    release
}

/// Guards the property below against testing nothing but refusals.
#[test]
fn the_random_commands_are_of_every_kind_and_mostly_accepted() {
    let mut state = cluster();
    let (mut seed, mut accepted) = (7_u64, BTreeMap::new());
    for _ in 0..2_000 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let [kind, a, b, c, ..] = seed.to_be_bytes();
        let command = command(&state, [kind, a, b, c]);
        let name = command.to_string().split(' ').next().unwrap().to_owned();
        let changed = state.apply(command).is_ok_and(|outcome| outcome.effect == Effect::Changed);
        *accepted.entry(if name.starts_with("default") { "job".to_owned() } else { name }).or_insert(0) +=
            u32::from(changed);
    }
    for kind in ["register", "set", "apply", "rollout", "job"] {
        assert!(accepted[kind] > if kind == "register" { 1 } else { 20 }, "{accepted:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_sequence_of_commands_keeps_the_invariants(numbers in prop::collection::vec(any::<[u8; 4]>(), 1..60)) {
        let mut state = cluster();
        for numbers in numbers {
            let command = command(&state, numbers);
            let before = state.clone();
            let mut twin = state.clone();
            let result = state.apply(command.clone());
            prop_assert_eq!(&twin.apply(command.clone()), &result, "not deterministic");
            prop_assert_eq!(&twin, &state, "not deterministic");
            prop_assert_eq!(state.check_invariants(), Vec::<String>::new());
            match result {
                Err(_) => prop_assert_eq!(&state, &before, "refused, and yet something changed: {}", command),
                Ok(Outcome { effect: Effect::Unchanged, .. }) => prop_assert_eq!(&state, &before),
                Ok(outcome) => prop_assert_eq!(outcome.revision, state.revision),
            }
            prop_assert!(state.revision >= before.revision);
            for node in before.nodes.keys() {
                let (old, new) = (share(&before, node), share(&state, node));
                let by_node = replicas_by_node(&state);
                prop_assert_eq!(&new, &share_of(&state, node, by_node.get(node).into_iter().flatten()));
                prop_assert!(old.replicas == new.replicas || old.revision < new.revision, "a share changed within a revision");
            }
            prop_assert_eq!(&decode::<State>(&encode(&state)).unwrap(), &state);
        }
    }
}
