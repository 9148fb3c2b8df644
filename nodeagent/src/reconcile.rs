//! The agent's decisions: from what shall run, what is seen, and the time, to what to do next. Pure.
//!
//! ```text
//!   wanted ──┐
//!   observed ┼──> reconcile ──> actions (each carried out elsewhere, one at a time for a replica) + when to look again
//!   now ─────┘
//! ```
//!
//! Called after every change of any of the three. It never assumes that an action it asked for has worked: the next
//! call sees what became of it. What is *unknown* (containerd does not answer) is left alone, and as long as no share is
//! known at all, nothing is stopped.

use crate::history::{BACKOFF_MILLIS_MAX, History};
use crate::replica::{ReplicaId, Wanted, WantedShare};
use std::collections::{BTreeMap, BTreeSet};

/// Starts under way at once. More is no faster: the kernel and runc serialize.
pub const STARTS_MAX: usize = 4;
/// Images pulled at once.
pub const PULLS_MAX: usize = 3;
/// Output of a replica that is gone is kept so long.
pub const LOGS_KEPT_MILLIS: u64 = 60_000;
/// Output of a job that has ended is kept so long: it is mostly read afterwards.
pub const JOB_LOGS_KEPT_MILLIS: u64 = 24 * 60 * 60 * 1_000;
/// Grace when the spec says none.
pub const GRACE_MILLIS_DEFAULT: u64 = 10_000;
/// A SIGKILL that seems to have had no effect is sent again after this.
pub const KILL_AGAIN_MILLIS: u64 = 5_000;
/// After an action that failed, nothing is tried on the same replica for so long.
pub const HOLD_MILLIS: u64 = 1_000;

/// What containerd says of a replica's container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Container {
    /// Not known: an action on it failed half way, and nobody has looked since.
    Unknown,
    /// There is none.
    Absent,
    /// A container that never came to run, or whose task nobody knows: left by a start that was cut short, or by a reboot.
    Incomplete { generation: u64 },
    /// Its task runs.
    Running { generation: u64 },
    /// Its task has ended and has not been collected.
    Exited { generation: u64 },
}

/// An action that is being carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doing {
    /// `Action::Start`.
    Starting,
    /// `Action::Terminate` or `Action::Kill`.
    Signalling,
    /// `Action::Collect`.
    Collecting,
    /// `Action::Remove` or `Action::RemoveLogs`.
    Removing,
}

/// A running replica that was told to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopping {
    /// When it got SIGTERM.
    pub since_millis: u64,
    /// When it got SIGKILL.
    pub killed_millis: Option<u64>,
}

/// What else of a replica is on the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Traces {
    /// Nothing.
    None,
    /// Its network, its cgroup, its files: all or some.
    All,
    /// Its output, and until when that is kept.
    Logs { until_millis: u64 },
}

/// What is seen of one replica.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// Its container.
    pub container: Container,
    /// What is being done to it; while anything is, nothing else is begun.
    pub doing: Option<Doing>,
    /// It was told to end.
    pub stopping: Option<Stopping>,
    /// What else there is.
    pub traces: Traces,
    /// Its past.
    pub history: History,
    /// Between SIGTERM and SIGKILL, for what runs now (its spec may be gone already).
    pub stop_grace_millis: u64,
    /// Nothing is done to it before: its last action failed.
    pub hold_until_millis: u64,
}

impl Seen {
    /// A replica of which nothing is there yet.
    pub fn absent() -> Self {
        Self {
            container: Container::Absent,
            doing: None,
            stopping: None,
            traces: Traces::None,
            history: History::default(),
            stop_grace_millis: GRACE_MILLIS_DEFAULT,
            hold_until_millis: 0,
        }
    }
}

/// What is seen of one image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageSeen {
    /// Being pulled.
    Pulling { layers_done: usize, layers: usize },
    /// Pulled and unpacked.
    Ready,
    /// The last attempt failed.
    Failed { problem: String, failures: u32, not_before_millis: u64 },
}

/// Whether containerd has been asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runtime {
    /// It does not answer, or has not yet been asked: nothing is known, and nothing is done.
    Unknown,
    /// It was asked; a replica that is not in `Observed::replicas` does not exist.
    Listed,
}

/// All that is seen on the node.
#[derive(Debug, Clone, PartialEq)]
pub struct Observed {
    /// Whether any of it can be relied on.
    pub runtime: Runtime,
    /// By replica.
    pub replicas: BTreeMap<ReplicaId, Seen>,
    /// By reference as written. An image that is not here has not been asked for.
    pub images: BTreeMap<String, ImageSeen>,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// Have the image here, unpacked.
    Pull { image: String },
    /// Make its network, container and task, and start it.
    Start { id: ReplicaId },
    /// SIGTERM to its first process.
    Terminate { id: ReplicaId },
    /// SIGKILL to all its processes.
    Kill { id: ReplicaId },
    /// Read how it ended; remove task, container and snapshot.
    Collect { id: ReplicaId },
    /// Remove its network, its cgroup and its files except its output.
    Remove { id: ReplicaId },
    /// Remove its output, the last trace.
    RemoveLogs { id: ReplicaId },
}

/// What follows from what is seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decision {
    /// To begin now.
    pub actions: Vec<Action>,
    /// Look again then, even if nothing happens before.
    pub wake_millis: Option<u64>,
}

impl Decision {
    fn wake(&mut self, at_millis: u64) {
        self.wake_millis = Some(self.wake_millis.map_or(at_millis, |earlier| earlier.min(at_millis)));
    }
}

/// Decides what to do next.
pub fn reconcile(wanted: Option<&WantedShare>, observed: &Observed, now_millis: u64) -> Decision {
    let mut decision = Decision::default();
    let (Some(wanted), Runtime::Listed) = (wanted, observed.runtime) else { return decision };
    let starting = observed.replicas.values().filter(|seen| seen.doing == Some(Doing::Starting)).count();
    let pulling = observed.images.values().filter(|image| matches!(image, ImageSeen::Pulling { .. })).count();
    let mut turn = Turn {
        observed,
        now_millis,
        starts_left: STARTS_MAX.saturating_sub(starting),
        pulls_left: PULLS_MAX.saturating_sub(pulling),
        asked_images: BTreeSet::new(),
    };
    // What must go goes first: it may hold what the new needs (a host port, memory).
    for (id, seen) in &observed.replicas {
        if seen.doing.is_none() && !turn.holds(seen, &mut decision) {
            turn.end(id, seen, wanted.replicas.get(id).map(|replica| &**replica), &mut decision);
        }
    }
    for (id, replica) in &wanted.replicas {
        let absent = Seen::absent();
        let seen = observed.replicas.get(id).unwrap_or(&absent);
        if seen.doing.is_none() && seen.container == Container::Absent && !turn.holds(seen, &mut decision) {
            turn.begin(replica, seen, &mut decision);
        }
    }
    decision
}

/// One call of `reconcile`: what it reads, and how much it may still begin.
struct Turn<'a> {
    observed: &'a Observed,
    now_millis: u64,
    starts_left: usize,
    pulls_left: usize,
    asked_images: BTreeSet<&'a str>,
}

impl<'a> Turn<'a> {
    /// True when its last action failed just now. A clock that was set back must not hold it for long.
    fn holds(&self, seen: &Seen, decision: &mut Decision) -> bool {
        let until = seen.hold_until_millis.min(self.now_millis.saturating_add(HOLD_MILLIS));
        if until > self.now_millis {
            decision.wake(until);
        }
        until > self.now_millis
    }

    /// What is there and must not stay.
    fn end(&self, id: &ReplicaId, seen: &Seen, wanted: Option<&Wanted>, decision: &mut Decision) {
        match seen.container {
            Container::Unknown => {}
            Container::Running { generation } => {
                if wanted.is_none_or(|wanted| wanted.generation != generation) {
                    self.stop(id, seen, decision);
                }
            }
            Container::Exited { .. } | Container::Incomplete { .. } => {
                decision.actions.push(Action::Collect { id: id.clone() });
            }
            Container::Absent if wanted.is_some() => {}
            Container::Absent => match seen.traces {
                Traces::None => {}
                Traces::All => decision.actions.push(Action::Remove { id: id.clone() }),
                Traces::Logs { until_millis } => {
                    // A clock that was set back must not keep them for ever.
                    let until = until_millis.min(self.now_millis.saturating_add(JOB_LOGS_KEPT_MILLIS));
                    if self.now_millis >= until {
                        decision.actions.push(Action::RemoveLogs { id: id.clone() });
                    } else {
                        decision.wake(until);
                    }
                }
            },
        }
    }

    fn stop(&self, id: &ReplicaId, seen: &Seen, decision: &mut Decision) {
        let Some(stopping) = seen.stopping else {
            decision.actions.push(Action::Terminate { id: id.clone() });
            return;
        };
        let due = match stopping.killed_millis {
            None => stopping.since_millis.min(self.now_millis).saturating_add(seen.stop_grace_millis),
            Some(killed) => killed.min(self.now_millis).saturating_add(KILL_AGAIN_MILLIS),
        };
        if self.now_millis >= due {
            decision.actions.push(Action::Kill { id: id.clone() });
        } else {
            decision.wake(due);
        }
    }

    /// What is wanted and has no container.
    fn begin(&mut self, wanted: &'a Wanted, seen: &Seen, decision: &mut Decision) {
        if wanted.refused.is_some() {
            return;
        }
        // The past of another generation says nothing about this one.
        if seen.history.generation == wanted.generation {
            if seen.history.end.is_some() {
                return;
            }
            let start_millis = seen.history.start_millis(self.now_millis);
            if start_millis > self.now_millis {
                decision.wake(start_millis);
                return;
            }
        }
        let image = wanted.spec.image.as_str();
        match self.observed.images.get(image) {
            Some(ImageSeen::Pulling { .. }) => {}
            // A pause longer than any is one of a clock that was set back since.
            Some(ImageSeen::Failed { not_before_millis, .. })
                if (1..=BACKOFF_MILLIS_MAX).contains(&not_before_millis.saturating_sub(self.now_millis)) =>
            {
                decision.wake(*not_before_millis);
            }
            Some(ImageSeen::Ready) => {
                if self.starts_left > 0 {
                    self.starts_left -= 1;
                    decision.actions.push(Action::Start { id: wanted.id.clone() });
                }
            }
            Some(ImageSeen::Failed { .. }) | None => {
                if self.pulls_left > 0 && self.asked_images.insert(image) {
                    self.pulls_left -= 1;
                    decision.actions.push(Action::Pull { image: image.to_owned() });
                }
            }
        }
    }
}

#[cfg(test)]
#[path = "reconcile_tests.rs"]
mod tests;
