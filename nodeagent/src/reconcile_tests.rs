//! Decisions, case by case. Whole histories are in `world_tests`.

use super::*;
use crate::history::{End, Exit};
use crate::replica::Kind;
use hyphae_api::v1;

const NOW: u64 = 1_000_000;

fn id(index: u32) -> ReplicaId {
    ReplicaId { workload: "a/b".into(), index }
}

fn share(generation: u64, indices: impl IntoIterator<Item = u32>) -> WantedShare {
    let replicas = indices.into_iter().map(|index| v1::Replica {
        workload: "a/b".into(),
        index,
        generation,
        kind: "service".into(),
        image: "x:1".into(),
        address: "fd00::1".into(),
        ..v1::Replica::default()
    });
    WantedShare::read(&v1::Share { revision: 1, replicas: replicas.collect() })
}

fn observed(replicas: impl IntoIterator<Item = (u32, Seen)>) -> Observed {
    Observed {
        runtime: Runtime::Listed,
        replicas: replicas.into_iter().map(|(index, seen)| (id(index), seen)).collect(),
        images: BTreeMap::from([("x:1".to_owned(), ImageSeen::Ready)]),
    }
}

fn running(generation: u64) -> Seen {
    let history = History { running: true, ..History::new(generation) };
    Seen { container: Container::Running { generation }, traces: Traces::All, history, ..Seen::absent() }
}

fn actions(wanted: Option<&WantedShare>, observed: &Observed) -> Vec<Action> {
    reconcile(wanted, observed, NOW).actions
}

#[test]
fn without_a_share_or_a_listing_nothing_is_touched() {
    let mut seen = observed([(0, running(1))]);
    assert_eq!(actions(None, &seen), []);
    seen.runtime = Runtime::Unknown;
    assert_eq!(actions(Some(&share(2, [1])), &seen), []);
}

#[test]
fn what_is_unknown_is_left_alone() {
    let unknown = Seen { container: Container::Unknown, ..running(1) };
    let seen = observed([(0, unknown.clone())]);
    assert_eq!(actions(Some(&share(2, [0])), &seen), []);
    assert_eq!(actions(Some(&share(2, [])), &seen), []);
}

#[test]
fn what_runs_as_wanted_is_left_alone() {
    assert_eq!(reconcile(Some(&share(1, [0])), &observed([(0, running(1))]), NOW), Decision::default());
}

#[test]
fn another_generation_is_stopped_and_then_started_anew() {
    let wanted = share(2, [0]);
    assert_eq!(actions(Some(&wanted), &observed([(0, running(1))])), [Action::Terminate { id: id(0) }]);
    let ended = Seen { container: Container::Exited { generation: 1 }, ..running(1) };
    assert_eq!(actions(Some(&wanted), &observed([(0, ended)])), [Action::Collect { id: id(0) }]);
    // The old one's pause does not hold the new one.
    let mut history = History::new(1);
    history.ended(Exit { code: Some(1), ..Exit::default() }, Kind::Lasting, 0, NOW);
    let collected = Seen { history, traces: Traces::All, ..Seen::absent() };
    assert_eq!(actions(Some(&wanted), &observed([(0, collected)])), [Action::Start { id: id(0) }]);
}

#[test]
fn what_does_not_end_is_killed_when_its_grace_is_over_and_again_after_that() {
    let wanted = share(1, []);
    let stopping = |since_millis, killed_millis| Seen {
        stopping: Some(Stopping { since_millis, killed_millis }),
        stop_grace_millis: 3_000,
        ..running(1)
    };
    for (seen, expected) in [
        (stopping(NOW, None), Decision { actions: vec![], wake_millis: Some(NOW + 3_000) }),
        (stopping(NOW - 3_000, None), Decision { actions: vec![Action::Kill { id: id(0) }], wake_millis: None }),
        (stopping(NOW - 9_000, Some(NOW)), Decision { actions: vec![], wake_millis: Some(NOW + KILL_AGAIN_MILLIS) }),
        // The clock was set back by an hour: the grace counts from now.
        (stopping(NOW + 3_600_000, None), Decision { actions: vec![], wake_millis: Some(NOW + 3_000) }),
    ] {
        assert_eq!(reconcile(Some(&wanted), &observed([(0, seen)]), NOW), expected);
    }
}

#[test]
fn what_is_gone_is_removed_and_its_output_later() {
    let wanted = share(1, []);
    let gone = |traces| observed([(0, Seen { traces, ..Seen::absent() })]);
    assert_eq!(actions(Some(&wanted), &gone(Traces::All)), [Action::Remove { id: id(0) }]);
    let kept = reconcile(Some(&wanted), &gone(Traces::Logs { until_millis: NOW + LOGS_KEPT_MILLIS }), NOW);
    assert_eq!(kept, Decision { actions: vec![], wake_millis: Some(NOW + LOGS_KEPT_MILLIS) });
    let old = gone(Traces::Logs { until_millis: NOW });
    assert_eq!(actions(Some(&wanted), &old), [Action::RemoveLogs { id: id(0) }]);
}

#[test]
fn an_image_is_pulled_once_for_all_who_want_it_and_only_after_its_pause() {
    let wanted = share(1, 0..9);
    let mut seen = observed([]);
    seen.images.clear();
    assert_eq!(actions(Some(&wanted), &seen), [Action::Pull { image: "x:1".into() }]);
    seen.images.insert("x:1".into(), ImageSeen::Pulling { layers_done: 0, layers: 2 });
    assert_eq!(actions(Some(&wanted), &seen), []);
    let failed = |not_before_millis| ImageSeen::Failed { problem: "down".into(), failures: 1, not_before_millis };
    seen.images.insert("x:1".into(), failed(NOW + 500));
    let waiting = reconcile(Some(&wanted), &seen, NOW);
    assert_eq!(waiting, Decision { actions: vec![], wake_millis: Some(NOW + 500) });
    seen.images.insert("x:1".into(), failed(NOW));
    assert_eq!(actions(Some(&wanted), &seen), [Action::Pull { image: "x:1".into() }]);
}

#[test]
fn only_so_many_start_at_once() {
    let wanted = share(1, 0..20);
    assert_eq!(actions(Some(&wanted), &observed([])).len(), STARTS_MAX);
    let starting = Seen { doing: Some(Doing::Starting), ..Seen::absent() };
    let seen = observed((0..3).map(|index| (index, starting.clone())));
    assert_eq!(actions(Some(&wanted), &seen), [Action::Start { id: id(3) }]);
}

#[test]
fn what_ended_for_good_and_what_was_refused_is_not_started() {
    let ended = Seen { history: History { end: Some(End::Completed), ..History::new(1) }, ..Seen::absent() };
    assert_eq!(reconcile(Some(&share(1, [0])), &observed([(0, ended)]), NOW), Decision::default());
    let mut refused = share(1, [0]);
    let replica = refused.replicas.values_mut().next().expect("one");
    std::sync::Arc::make_mut(replica).refused = Some("nonsense".into());
    assert_eq!(reconcile(Some(&refused), &observed([]), NOW), Decision::default());
}

#[test]
fn after_an_action_that_failed_there_is_a_pause() {
    let held = Seen { traces: Traces::All, hold_until_millis: NOW + 400, ..Seen::absent() };
    let seen = observed([(0, held)]);
    assert_eq!(reconcile(Some(&share(1, [])), &seen, NOW), Decision { actions: vec![], wake_millis: Some(NOW + 400) });
    assert_eq!(reconcile(Some(&share(1, [0])), &seen, NOW), Decision { actions: vec![], wake_millis: Some(NOW + 400) });
}
