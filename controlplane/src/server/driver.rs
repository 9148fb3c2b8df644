//! Carries the state on where no operator is needed: rollouts, jobs that end, nodes that fall silent. The decisions are pure and elsewhere
//! ([`crate::rollout`]); this commits them.

use super::Shared;
use crate::raft::WriteError;
use crate::rollout;
use crate::state::{Command, State};
use hyphae_api::v1::Event;
use std::sync::Arc;
use std::time::Duration;

/// The longest time between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// The shortest: many reports are looked at together.
const LOOK_PAUSE: Duration = Duration::from_millis(20);
/// After a write that failed.
const FAILED_PAUSE: Duration = Duration::from_secs(1);

/// Runs until the server ends.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut changes = shared.consensus.changes();
    loop {
        tokio::select! {
            () = shared.end.cancelled() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
            _ = changes.changed() => {}
            () = shared.observed_changed.notified() => {}
        }
        tell_lost_nodes(&shared);
        let pause = match look(&shared).await {
            Ok(()) => LOOK_PAUSE,
            Err(error) => {
                tracing::warn!(%error, "the state could not be carried on");
                FAILED_PAUSE
            }
        };
        tokio::select! {
            () = shared.end.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

fn tell_lost_nodes(shared: &Shared) {
    let lost = shared.observed().newly_lost(shared.clock.now_ms());
    for node in lost {
        tracing::warn!(node, "a node is lost");
        shared.events.push(Event {
            unix_millis: shared.clock.unix_millis(),
            kind: "node-lost".to_owned(),
            node,
            text: "its agent has not been heard for 5 s; what runs there is unknown and goes on".to_owned(),
            ..Event::default()
        });
    }
}

async fn look(shared: &Shared) -> Result<(), WriteError> {
    let state = shared.consensus.applied();
    let (ended, next) = {
        let observed = shared.observed();
        (rollout::finished_jobs(&state, &observed), rollout::next(&state, &observed, shared.clock.now_ms()))
    };
    for job in ended {
        let event = Event {
            unix_millis: shared.clock.unix_millis(),
            kind: "job-finished".to_owned(),
            workload: job.replica.workload.clone(),
            text: format!("{} has ended with exit code {}", job.replica, job.exit_code),
            ..Event::default()
        };
        if commit(shared, Command::JobFinished(job)).await? {
            shared.events.push(event);
        }
    }
    if let Some(advance) = next {
        let event = rollout_event(shared, &state, advance.wave);
        if commit(shared, Command::AdvanceRollout(advance)).await? {
            shared.events.push(event);
        }
    }
    Ok(())
}

/// Whether it was committed. A refusal means that the state has moved on since it was looked at: the next look decides anew.
async fn commit(shared: &Shared, command: Command) -> Result<bool, WriteError> {
    match shared.consensus.write(command).await {
        Ok(_) => Ok(true),
        Err(WriteError::Refused(refusal)) => {
            tracing::debug!(%refusal, "not carried on");
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

fn rollout_event(shared: &Shared, state: &State, wave: usize) -> Event {
    let (revision, waves) = state.rollout.as_ref().map_or((0, 0), |rollout| (rollout.revision, rollout.waves.len()));
    let (kind, text) = match wave == waves {
        true => ("rollout-finished", format!("the plan applied as revision {revision} is carried out")),
        false => ("rollout-wave", format!("revision {revision}: wave {} of {waves} begins", wave + 1)),
    };
    Event { unix_millis: shared.clock.unix_millis(), kind: kind.to_owned(), text, ..Event::default() }
}
