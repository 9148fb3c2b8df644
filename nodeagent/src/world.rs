//! What the agent knows: what it shall run, what it has seen, and what is under way. Events change it; `reconcile` reads it. Pure.

use crate::containerd::TaskState;
use crate::history::{Exit, History};
use crate::images::UnpackedImage;
use crate::reconcile::{
    Action, Container, Decision, Doing, HOLD_MILLIS, ImageSeen, JOB_LOGS_KEPT_MILLIS, LOGS_KEPT_MILLIS, Observed,
    Runtime, Seen, Stopping, Traces, reconcile,
};
use crate::replica::{Kind, ReplicaId, WantedShare};
use crate::store::Record;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;

/// A generation that no workload has: they begin with 1.
const PREDECESSOR: u64 = 0;

/// A container of ours, as containerd tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Which replica it is.
    pub id: ReplicaId,
    /// Of which generation.
    pub generation: u64,
    /// The address it was made with.
    pub address: Ipv6Addr,
    /// Between SIGTERM and SIGKILL.
    pub stop_grace_millis: u64,
    /// Its task; `None`: it has none.
    pub task: Option<TaskState>,
}

/// What collecting an ended container showed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Collected {
    /// How it ended.
    pub exit: Exit,
}

/// What starting a container showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Started {
    /// Its first process.
    pub pid: u32,
    /// The sizes of its output before.
    pub log_marks: (u64, u64),
}

/// An action that did not work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// For people.
    pub problem: String,
    /// Nobody can tell what has become of the container: containerd did not answer.
    pub is_unanswered: bool,
    /// The image or its layers are no longer here.
    pub is_image_gone: bool,
}

/// What became of an action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// `Action::Start`.
    Started { generation: u64, address: Ipv6Addr, stop_grace_millis: u64, result: Result<Started, Failed> },
    /// `Action::Terminate`.
    Terminated(Result<(), Failed>),
    /// `Action::Kill`.
    Killed(Result<(), Failed>),
    /// `Action::Collect`.
    Collected(Result<Collected, Failed>),
    /// `Action::Remove`.
    Removed(Result<(), Failed>),
    /// `Action::RemoveLogs`.
    LogsRemoved(Result<(), Failed>),
}

/// Identity of a container's run, and what changed since a listing was asked for.
#[derive(Debug, Clone, Default)]
struct Side {
    /// The number of its last change: a listing made before is not believed.
    epoch: u64,
    /// The first process of what runs.
    pid: Option<u32>,
    /// First processes that ended while a start was under way, and their exit codes.
    early_exits: Vec<(u32, i32)>,
}

/// Everything the agent knows.
#[derive(Debug)]
pub struct World {
    /// What shall run; `None`: not known, and nothing is touched.
    pub wanted: Option<WantedShare>,
    /// What is seen.
    pub observed: Observed,
    /// Images that are here.
    pub unpacked: BTreeMap<String, UnpackedImage>,
    sides: BTreeMap<ReplicaId, Side>,
    by_container: BTreeMap<String, ReplicaId>,
    /// Changes so far, of any replica. Numbers are never used again, also not for a replica that comes back.
    changes: u64,
    /// Somebody should list containers.
    pub listing_due: bool,
}

impl World {
    /// What is remembered, before anything is seen.
    pub fn new(wanted: Option<WantedShare>, records: Vec<Record>) -> Self {
        let mut world = Self {
            wanted,
            observed: Observed { runtime: Runtime::Unknown, replicas: BTreeMap::new(), images: BTreeMap::new() },
            unpacked: BTreeMap::new(),
            sides: BTreeMap::new(),
            by_container: BTreeMap::new(),
            changes: 0,
            listing_due: false,
        };
        for record in records {
            let seen = world.seen(&record.id);
            seen.container = Container::Unknown;
            seen.history = record.history;
            seen.traces = record.logs_until_millis.map_or(Traces::All, |until_millis| Traces::Logs { until_millis });
        }
        world
    }

    fn seen(&mut self, id: &ReplicaId) -> &mut Seen {
        self.by_container.entry(id.container_id()).or_insert_with(|| id.clone());
        self.observed.replicas.entry(id.clone()).or_insert_with(Seen::absent)
    }

    /// Notes that more is known of a replica than any listing under way can tell.
    fn changed(&mut self, id: &ReplicaId) -> &mut Side {
        self.changes += 1;
        let epoch = self.changes;
        let side = self.side(id);
        side.epoch = epoch;
        side
    }

    fn side(&mut self, id: &ReplicaId) -> &mut Side {
        self.sides.entry(id.clone()).or_default()
    }

    /// Which replica a container is.
    pub fn replica(&self, container_id: &str) -> Option<&ReplicaId> {
        self.by_container.get(container_id)
    }

    /// What to remember of a replica.
    pub fn record(&self, id: &ReplicaId) -> Option<Record> {
        let seen = self.observed.replicas.get(id)?;
        let logs_until_millis = match seen.traces {
            Traces::Logs { until_millis } => Some(until_millis),
            Traces::All | Traces::None => None,
        };
        Some(Record { id: id.clone(), history: seen.history.clone(), logs_until_millis })
    }

    /// Takes a share, unless a newer one was acted on. True if it is taken.
    pub fn want(&mut self, share: WantedShare) -> bool {
        if self.wanted.as_ref().is_some_and(|present| share.revision < present.revision) {
            return false;
        }
        let images: BTreeSet<&str> = share.images().collect();
        let before = self.wanted.take();
        for (id, replica) in &share.replicas {
            let before = before.as_ref().and_then(|before| before.replicas.get(id));
            if before.is_some_and(|before| before.address != replica.address) {
                self.predecessor(id);
            }
        }
        self.observed
            .images
            .retain(|image, seen| images.contains(image.as_str()) || matches!(seen, ImageSeen::Pulling { .. }));
        self.unpacked.retain(|image, _| images.contains(image.as_str()));
        self.wanted = Some(share);
        true
    }

    /// What is there belongs to a workload of the same name that was deleted and made again, unseen: addresses tell, they are never
    /// given twice, while generations begin anew.
    fn predecessor(&mut self, id: &ReplicaId) {
        let Some(seen) = self.observed.replicas.get_mut(id) else { return };
        if let Container::Running { generation } = &mut seen.container {
            *generation = PREDECESSOR;
        }
        seen.history = History { running: seen.history.running, ..History::new(PREDECESSOR) };
    }

    /// The generation of a container, or that it is a predecessor's.
    fn generation_of(&self, id: &ReplicaId, generation: u64, address: Ipv6Addr) -> u64 {
        let wanted = self.wanted.as_ref().and_then(|share| share.replicas.get(id));
        if wanted.is_some_and(|wanted| wanted.address != address) { PREDECESSOR } else { generation }
    }

    /// containerd is gone: what is known now is old.
    pub fn lost(&mut self) {
        self.observed.runtime = Runtime::Unknown;
    }

    /// Decides what to do, and marks it as being done.
    pub fn decide(&mut self, now_millis: u64) -> Decision {
        let decision = reconcile(self.wanted.as_ref(), &self.observed, now_millis);
        for action in &decision.actions {
            let (id, doing) = match action {
                Action::Pull { image } => {
                    let pulling = ImageSeen::Pulling { layers_done: 0, layers: 0 };
                    self.observed.images.insert(image.clone(), pulling);
                    continue;
                }
                Action::Start { id } => (id, Doing::Starting),
                Action::Terminate { id } | Action::Kill { id } => (id, Doing::Signalling),
                Action::Collect { id } => (id, Doing::Collecting),
                Action::Remove { id } | Action::RemoveLogs { id } => (id, Doing::Removing),
            };
            let wanted_generation =
                self.wanted.as_ref().and_then(|share| share.replicas.get(id)).map(|wanted| wanted.generation);
            let seen = self.seen(id);
            seen.doing = Some(doing);
            if let (Doing::Starting, Some(generation)) = (doing, wanted_generation) {
                if seen.history.generation != generation {
                    seen.history = History::new(generation);
                }
                seen.traces = Traces::All;
            }
            self.changed(id).early_exits.clear();
        }
        decision
    }

    /// To be taken before containers are listed, and handed to `listed`.
    pub fn epochs(&self) -> BTreeMap<ReplicaId, u64> {
        self.sides.iter().map(|(id, side)| (id.clone(), side.epoch)).collect()
    }

    /// Containers were listed; `epochs` is from before.
    pub fn listed(&mut self, containers: Vec<Listed>, epochs: &BTreeMap<ReplicaId, u64>, now_millis: u64) {
        self.observed.runtime = Runtime::Listed;
        let mut listed: BTreeMap<ReplicaId, Listed> =
            containers.into_iter().map(|container| (container.id.clone(), container)).collect();
        let known: BTreeSet<ReplicaId> = self.observed.replicas.keys().chain(listed.keys()).cloned().collect();
        for id in known {
            let found = listed.remove(&id);
            let epoch = epochs.get(&id).copied().unwrap_or(0);
            if self.side(&id).epoch != epoch || self.seen(&id).doing.is_some() {
                // Changed meanwhile: what was listed is older than what is known.
                continue;
            }
            match found {
                Some(found) => self.found(&found),
                None => self.vanished(&id, now_millis),
            }
        }
    }

    /// A container is there.
    fn found(&mut self, found: &Listed) {
        let generation = self.generation_of(&found.id, found.generation, found.address);
        let seen = self.seen(&found.id);
        if seen.history.generation != generation {
            // Its past was lost.
            seen.history = History::new(generation);
        }
        seen.stop_grace_millis = found.stop_grace_millis;
        seen.traces = Traces::All;
        // That it runs is news when the answer to its start was lost.
        match found.task {
            Some(TaskState::Running { .. }) => {
                seen.container = Container::Running { generation };
                (seen.history.running, seen.history.ending) = (true, None);
            }
            Some(TaskState::Exited { code }) => {
                seen.container = Container::Exited { generation };
                (seen.history.running, seen.history.ending) = (true, Some(code));
            }
            Some(TaskState::NotStarted) | None => seen.container = Container::Incomplete { generation },
        }
        self.side(&found.id).pid = match found.task {
            Some(TaskState::Running { pid }) => Some(pid),
            _ => None,
        };
    }

    /// A container is not there (any more).
    fn vanished(&mut self, id: &ReplicaId, now_millis: u64) {
        self.side(id).pid = None;
        let seen = self.seen(id);
        seen.container = Container::Absent;
        let code = seen.history.ending;
        self.record_end(id, Exit { code, ..Exit::default() }, now_millis);
    }

    /// There is no container any more: what that means for the replica's past.
    fn record_end(&mut self, id: &ReplicaId, exit: Exit, now_millis: u64) {
        let wanted = self.wanted.as_ref().and_then(|share| share.replicas.get(id));
        let (kind, retries) = wanted.map_or((Kind::Lasting, 0), |wanted| (wanted.kind, wanted.spec.retries));
        let seen = self.seen(id);
        // What we ended ourselves, and what never came to run, tells nothing; but a job that ended well is done all the same.
        let is_done = kind == Kind::Job && exit.code == Some(0);
        if (seen.stopping.take().is_none() || is_done) && seen.history.running {
            seen.history.ended(exit, kind, retries, now_millis);
        }
        (seen.history.running, seen.history.ending) = (false, None);
    }

    /// The first process of a container ended. Which replica that was, if it is news.
    pub fn exited(&mut self, container_id: &str, pid: u32, code: i32) -> Option<ReplicaId> {
        let id = self.by_container.get(container_id)?.clone();
        let is_starting = self.seen(&id).doing == Some(Doing::Starting);
        let side = self.side(&id);
        if side.pid != Some(pid) {
            // Perhaps of the start that is under way; if it is of an earlier run, it will match nothing.
            if is_starting {
                side.early_exits.push((pid, code));
            }
            return None;
        }
        side.pid = None;
        self.changed(&id);
        let seen = self.seen(&id);
        if let Container::Running { generation } = seen.container {
            seen.container = Container::Exited { generation };
            seen.history.ending = Some(code);
        }
        Some(id)
    }

    /// How far a pull is.
    pub fn progress(&mut self, image: &str, layers_done: usize, layers: usize) {
        if let Some(seen @ ImageSeen::Pulling { .. }) = self.observed.images.get_mut(image) {
            *seen = ImageSeen::Pulling { layers_done, layers };
        }
    }

    /// A pull ended; `failures` counts those in a row.
    pub fn pulled(&mut self, image: &str, result: Result<UnpackedImage, Failed>, failures: u32, now_millis: u64) {
        let seen = match result {
            Ok(unpacked) => {
                self.unpacked.insert(image.to_owned(), unpacked);
                ImageSeen::Ready
            }
            Err(failed) => ImageSeen::Failed {
                problem: failed.problem,
                failures,
                not_before_millis: now_millis.saturating_add(crate::history::pause_millis(failures)),
            },
        };
        self.observed.images.insert(image.to_owned(), seen);
    }

    /// An action on a replica ended.
    pub fn done(&mut self, id: &ReplicaId, outcome: Outcome, now_millis: u64) {
        self.changed(id);
        self.seen(id).doing = None;
        match outcome {
            Outcome::Started { generation, address, stop_grace_millis, result: Ok(started) } => {
                let generation = self.generation_of(id, generation, address);
                let side = self.side(id);
                let ending = side.early_exits.iter().find(|(pid, _)| *pid == started.pid).map(|(_, code)| *code);
                side.pid = if ending.is_none() { Some(started.pid) } else { None };
                let seen = self.seen(id);
                seen.stop_grace_millis = stop_grace_millis;
                seen.stopping = None;
                seen.history.started(now_millis);
                seen.history.log_marks = started.log_marks;
                seen.history.ending = ending;
                seen.container = match ending {
                    Some(_) => Container::Exited { generation },
                    None => Container::Running { generation },
                };
            }
            Outcome::Started { result: Err(failed), .. } => {
                if failed.is_image_gone {
                    let image =
                        self.wanted.as_ref().and_then(|share| share.replicas.get(id)).map(|wanted| &wanted.spec.image);
                    if let Some(image) = image {
                        self.observed.images.remove(image);
                        self.unpacked.remove(image);
                    }
                }
                if failed.is_unanswered {
                    self.uncertain(id);
                } else {
                    self.seen(id).history.not_started(failed.problem, now_millis);
                }
            }
            Outcome::Terminated(Ok(())) => {
                self.seen(id).stopping = Some(Stopping { since_millis: now_millis, killed_millis: None });
            }
            Outcome::Killed(Ok(())) => {
                if let Some(stopping) = &mut self.seen(id).stopping {
                    stopping.killed_millis = Some(now_millis);
                }
            }
            Outcome::Collected(Ok(collected)) => {
                self.side(id).pid = None;
                let seen = self.seen(id);
                seen.container = Container::Absent;
                let code = seen.history.ending.or(collected.exit.code);
                self.record_end(id, Exit { code, ..collected.exit }, now_millis);
            }
            Outcome::Removed(Ok(())) => {
                let seen = self.seen(id);
                let kept_millis = if seen.history.end.is_some() { JOB_LOGS_KEPT_MILLIS } else { LOGS_KEPT_MILLIS };
                seen.traces = Traces::Logs { until_millis: now_millis.saturating_add(kept_millis) };
                // Should one of this name be wanted again, it is another: a deleted job's end says nothing of the next.
                seen.history = History::default();
            }
            Outcome::LogsRemoved(Ok(())) => {
                self.observed.replicas.remove(id);
                self.by_container.remove(&id.container_id());
                self.sides.remove(id);
            }
            Outcome::Terminated(Err(failed))
            | Outcome::Killed(Err(failed))
            | Outcome::Collected(Err(failed))
            | Outcome::Removed(Err(failed))
            | Outcome::LogsRemoved(Err(failed)) => {
                tracing::warn!(replica = %id, problem = failed.problem, "an action failed and will be tried again");
                self.seen(id).hold_until_millis = now_millis.saturating_add(HOLD_MILLIS);
                if !matches!(self.seen(id).container, Container::Absent) {
                    self.uncertain(id);
                }
            }
        }
    }

    /// What has become of the replica is not known until containers are listed.
    fn uncertain(&mut self, id: &ReplicaId) {
        self.seen(id).container = Container::Unknown;
        self.listing_due = true;
    }
}

#[cfg(test)]
#[path = "world_tests.rs"]
mod tests;
