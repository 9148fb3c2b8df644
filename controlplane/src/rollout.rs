//! When the next wave of a plan may go: a pure decision of the state, what is observed, and the time.
//!
//! A wave is through when every replica that it started or updated has been running, in the generation it shall have, for [`SETTLED_MS`] (or is a
//! job's and has ended), and every replica that it stopped is gone. A replica that crashes or can not start holds the rollout where it is: nothing
//! else is stopped for it, and the operator sees what it waits for.

use crate::observed::Observed;
use crate::state::commands::{AdvanceRollout, JobFinished};
use crate::state::{ReplicaId, ReplicaRecord, State};
use hyphae_api::v1::ReplicaState;
use std::collections::{BTreeMap, BTreeSet};

/// A replica must have been running for so long.
pub const SETTLED_MS: u64 = 1_000;

/// Something a rollout waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// For which replica.
    pub replica: ReplicaId,
    /// For people: "pulling on n1".
    pub reason: String,
}

/// The command that carries the rollout on, if its last released wave is through.
pub fn next(state: &State, observed: &Observed, now_ms: u64) -> Option<AdvanceRollout> {
    let rollout = state.rollout.as_ref()?;
    waiting(state, observed, now_ms)
        .is_empty()
        .then_some(AdvanceRollout { rollout_revision: rollout.revision, wave: rollout.released })
}

/// What the released waves still lack. Empty without a rollout.
pub fn waiting(state: &State, observed: &Observed, now_ms: u64) -> Vec<Waiting> {
    let Some(rollout) = &state.rollout else { return Vec::new() };
    let touched: BTreeSet<&ReplicaId> =
        rollout.waves.iter().take(rollout.released).flatten().map(|step| step.replica()).collect();
    let present = Present::of(state, observed, now_ms);
    touched
        .into_iter()
        .filter_map(|replica| {
            let reason = match state.replicas.get(replica) {
                Some(record) => not_settled(state, observed, replica, record, now_ms),
                None => present.not_gone(replica),
            };
            reason.map(|reason| Waiting { replica: replica.clone(), reason })
        })
        .collect()
}

/// Jobs' replicas that have ended for good and that the state still wants to run.
pub fn finished_jobs(state: &State, observed: &Observed) -> Vec<JobFinished> {
    let jobs = state.workloads.iter().filter(|(_, workload)| workload.kind == "job");
    jobs.flat_map(|(name, _)| state.replicas_of(name))
        .filter_map(|(id, record)| {
            let seen = &observed.replica(&record.node, id)?.status;
            let exit_code = match seen.state() {
                ReplicaState::Completed => 0,
                ReplicaState::Failed => seen.exit_code.filter(|code| *code != 0).unwrap_or(1),
                _ => return None,
            };
            let current = seen.generation == record.generation;
            current.then(|| JobFinished { replica: id.clone(), generation: record.generation, exit_code })
        })
        .collect()
}

fn not_settled(
    state: &State,
    observed: &Observed,
    id: &ReplicaId,
    record: &ReplicaRecord,
    now_ms: u64,
) -> Option<String> {
    let node = &record.node;
    if !observed.is_connected(node, now_ms) {
        return Some(format!("node {node} is not connected"));
    }
    let Some(seen) = observed.replica(node, id) else { return Some(format!("not yet begun on {node}")) };
    if seen.status.generation != record.generation {
        return Some(format!("generation {} is yet to be replaced on {node}", seen.status.generation));
    }
    match seen.status.state() {
        ReplicaState::Running if now_ms.saturating_sub(seen.since_ms) >= SETTLED_MS => None,
        ReplicaState::Running => Some(format!("has just started on {node}")),
        ReplicaState::Completed | ReplicaState::Failed if is_job(state, id) => None,
        _ if seen.status.reason.is_empty() => Some(format!("{} on {node}", state_word(seen.status.state()))),
        other => Some(format!("{} on {node}: {}", state_word(other), seen.status.reason)),
    }
}

/// What is known to be somewhere, on the nodes that are still waited for.
struct Present<'a> {
    nodes: BTreeMap<&'a ReplicaId, &'a str>,
    /// One that has not told yet what it runs: it may have anything.
    untold: Option<&'a str>,
}

impl<'a> Present<'a> {
    fn of(state: &'a State, observed: &'a Observed, now_ms: u64) -> Self {
        let mut present = Self { nodes: BTreeMap::new(), untold: None };
        for name in state.nodes.keys().filter(|name| !observed.is_given_up(name, now_ms)) {
            match observed.node(name) {
                Some(node) if node.has_reported() => {
                    present.nodes.extend(node.replicas().map(|id| (id, name.as_str())))
                }
                _ => present.untold = Some(name),
            }
        }
        present
    }

    fn not_gone(&self, id: &ReplicaId) -> Option<String> {
        match (self.nodes.get(id), self.untold) {
            (Some(node), _) => Some(format!("stopping on {node}")),
            (None, Some(node)) => Some(format!("node {node} has not told yet what it runs")),
            (None, None) => None,
        }
    }
}

fn is_job(state: &State, id: &ReplicaId) -> bool {
    state.workloads.get(&id.workload).is_some_and(|workload| workload.kind == "job")
}

/// A state in a word, for people: "running".
pub fn state_word(state: ReplicaState) -> &'static str {
    match state {
        ReplicaState::Unknown => "unknown",
        ReplicaState::Pending => "pending",
        ReplicaState::Pulling => "pulling",
        ReplicaState::Starting => "starting",
        ReplicaState::Running => "running",
        ReplicaState::Backoff => "backing off",
        ReplicaState::Stopping => "stopping",
        ReplicaState::Completed => "completed",
        ReplicaState::Failed => "failed",
        ReplicaState::Stopped => "stopped",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observed::LOST_AFTER_MS;
    use crate::state::{Capacity, NodeRecord, Rollout, Step, WorkloadRecord};
    use hyphae_api::v1::{ReplicaReport, ReplicaStatus};

    fn id() -> ReplicaId {
        ReplicaId { workload: "default/web".to_owned(), index: 0 }
    }

    fn node() -> NodeRecord {
        NodeRecord {
            id: 1,
            pool: String::new(),
            labels: BTreeMap::new(),
            taints: vec![],
            capacity: Capacity::default(),
            price_micros: 0,
            prefix: "fd00::".parse().unwrap(),
            schedulable: true,
            devices: BTreeMap::new(),
        }
    }

    /// A rollout of two waves, the first released: generation 2 of default/web[0] on n1, or its stop.
    fn state(kind: &str, stop: bool) -> State {
        let step = match stop {
            true => Step::Stop { replica: id() },
            false => Step::Start { replica: id(), node: "n1".to_owned(), generation: 2 },
        };
        let workload = WorkloadRecord {
            service_id: 1,
            kind: kind.to_owned(),
            wanted: 1,
            unplaced: 0,
            generation: 2,
            templates: BTreeMap::new(),
            finished: BTreeMap::new(),
        };
        let mut state = State {
            workloads: BTreeMap::from([("default/web".to_owned(), workload)]),
            nodes: BTreeMap::from([("n1".to_owned(), node())]),
            rollout: Some(Rollout { revision: 7, waves: vec![vec![step], vec![]], released: 1 }),
            ..State::default()
        };
        if !stop {
            state.replicas.insert(id(), ReplicaRecord { node: "n1".to_owned(), generation: 2 });
        }
        state
    }

    fn observed(states: &[(ReplicaState, u64)], at_ms: u64) -> Observed {
        let mut observed = Observed::new(0);
        observed.attached("n1", at_ms, 0);
        let replicas = states.iter().map(|(state, generation)| ReplicaStatus {
            workload: "default/web".to_owned(),
            generation: *generation,
            state: (*state).into(),
            reason: "because".to_owned(),
            ..ReplicaStatus::default()
        });
        observed.report("n1", ReplicaReport { complete: true, replicas: replicas.collect() }, at_ms);
        observed
    }

    #[test]
    fn the_next_wave_goes_when_the_started_replica_has_run_for_a_second() {
        let observed = observed(&[(ReplicaState::Running, 2)], 100);
        assert_eq!(next(&state("service", false), &observed, 1_099), None);
        let advance = AdvanceRollout { rollout_revision: 7, wave: 1 };
        assert_eq!(next(&state("service", false), &observed, 1_100), Some(advance));
        assert_eq!(next(&state("service", false), &observed, 5_101), None, "the node has fallen silent");
    }

    #[test]
    fn a_replica_that_does_not_run_holds_the_rollout_and_says_why() {
        for (seen, reason) in [
            (vec![], "not yet begun on n1"),
            (vec![(ReplicaState::Running, 1)], "generation 1 is yet to be replaced on n1"),
            (vec![(ReplicaState::Backoff, 2)], "backing off on n1: because"),
            (vec![(ReplicaState::Failed, 2)], "failed on n1: because"),
        ] {
            let waiting = waiting(&state("service", false), &observed(&seen, 0), 3_000);
            assert_eq!(waiting, [Waiting { replica: id(), reason: reason.to_owned() }]);
        }
    }

    #[test]
    fn a_jobs_replica_that_has_ended_is_through_and_is_told_to_the_state() {
        let state = state("job", false);
        let failed = observed(&[(ReplicaState::Failed, 2)], 0);
        assert!(next(&state, &failed, 0).is_some());
        assert_eq!(finished_jobs(&state, &failed), [JobFinished { replica: id(), generation: 2, exit_code: 1 }]);
        assert_eq!(finished_jobs(&state, &observed(&[(ReplicaState::Completed, 1)], 0)), [], "of an old generation");
    }

    #[test]
    fn a_stop_is_awaited_until_the_node_is_given_up() {
        let state = state("service", true);
        assert_eq!(next(&state, &observed(&[(ReplicaState::Stopping, 1)], 0), 3_000), None);
        assert!(next(&state, &observed(&[], 0), 0).is_some(), "gone");
        assert_eq!(next(&state, &Observed::new(0), LOST_AFTER_MS), None, "the server has just started");
        assert!(next(&state, &Observed::new(0), LOST_AFTER_MS + 1).is_some());
    }
}
