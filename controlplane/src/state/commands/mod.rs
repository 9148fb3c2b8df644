//! The only ways to change a [`State`]: one file for each.
//!
//! `apply` is a pure function of the state and the command, so every server that applies the same log holds the same state. A command that is
//! refused changes nothing. Time, ids of others and randomness come inside the command.

mod advance_rollout;
mod apply_release;
mod initialise;
mod job_finished;
mod register_node;
mod set_schedulable;

pub use advance_rollout::AdvanceRollout;
pub use initialise::Initialise;
pub use job_finished::JobFinished;
pub use register_node::RegisterNode;
pub use set_schedulable::SetSchedulable;

use super::{ReplicaId, ReplicaRecord, State, Step};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A change to the state, as it is written to the log. The order of the variants is part of the format on disk: add at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Gives a new cluster its prefix.
    Initialise(Initialise),
    /// A node has come, or has changed.
    RegisterNode(RegisterNode),
    /// Cordons or uncordons a node.
    SetSchedulable(SetSchedulable),
    /// Carries out a plan.
    ApplyRelease(Box<super::Release>),
    /// Releases the next wave of the rollout, or ends it.
    AdvanceRollout(AdvanceRollout),
    /// A job's replica has ended for good.
    JobFinished(JobFinished),
}

/// What a command that was not refused did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// The state's revision afterwards.
    pub revision: u64,
    /// Whether anything is different now.
    pub effect: Effect,
}

/// Whether a command changed the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Effect {
    Changed,
    /// Everything was so already.
    Unchanged,
}

/// Why a command changed nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// The plan was made of another state.
    #[error(
        "the plan was made at revision {made_at}, the cluster is at revision {now}: something has changed in between; plan again"
    )]
    Stale { made_at: u64, now: u64 },
    /// A release that does not fit the state it claims to be made of: a planner's bug.
    #[error("the plan contradicts itself or the cluster, nothing was changed: {0}")]
    Contradiction(String),
    /// No such node.
    #[error("no node is named \"{0}\"; `hyphae nodes` lists them")]
    UnknownNode(String),
    /// Not acceptable for a node.
    #[error("node \"{node}\" can not join: {problem}")]
    BadNode { node: String, problem: String },
    /// The cluster has a prefix.
    #[error("the cluster is initialised already, its prefix is {0}/48")]
    Initialised(std::net::Ipv6Addr),
    /// The prefix is none.
    #[error("{0} is not a /48 out of fc00::/7 or 2000::/3")]
    BadPrefix(std::net::Ipv6Addr),
    /// Not what the state is waiting for (any more).
    #[error("out of date: {0}")]
    OutOfDate(String),
    /// All ids are given; they are never reused.
    #[error("all {0} ids have been given, and ids are never reused")]
    Exhausted(String),
}

impl State {
    /// Carries out a command, or refuses it and changes nothing.
    pub fn apply(&mut self, command: Command) -> Result<Outcome, Refusal> {
        let effect = match command {
            Command::Initialise(command) => command.apply(self),
            Command::RegisterNode(command) => command.apply(self),
            Command::SetSchedulable(command) => command.apply(self),
            Command::ApplyRelease(release) => apply_release::apply(*release, self),
            Command::AdvanceRollout(command) => command.apply(self),
            Command::JobFinished(command) => command.apply(self),
        }?;
        if cfg!(debug_assertions) {
            let broken = self.check_invariants();
            assert!(broken.is_empty(), "the state breaks its invariants: {broken:#?}");
        }
        Ok(Outcome { revision: self.revision, effect })
    }

    /// The replicas that shall run of a workload.
    pub fn replicas_of<'a>(&'a self, workload: &str) -> impl Iterator<Item = (&'a ReplicaId, &'a ReplicaRecord)> {
        let first = ReplicaId { workload: workload.to_owned(), index: 0 };
        let last = ReplicaId { workload: workload.to_owned(), index: u32::MAX };
        self.replicas.range(first..=last)
    }

    /// Writes a wave's steps into `replicas`. What a step speaks of and is gone (a job's replica that has ended) is passed over.
    fn release_wave(&mut self, steps: &[Step]) {
        for step in steps {
            match step {
                Step::Start { replica, node, generation } => {
                    if let Some(workload) = self.workloads.get_mut(&replica.workload) {
                        workload.finished.remove(&replica.index);
                    }
                    let record = ReplicaRecord { node: node.clone(), generation: *generation };
                    self.replicas.insert(replica.clone(), record);
                }
                Step::Stop { replica } => {
                    self.replicas.remove(replica);
                }
                Step::Update { replica, generation } => {
                    if let Some(record) = self.replicas.get_mut(replica) {
                        record.generation = *generation;
                    }
                }
            }
        }
    }

    /// Forgets templates that no replica runs any more, removed workloads whose last replica has gone, and ends of jobs that have a new generation.
    fn prune(&mut self) {
        let mut used: BTreeMap<&str, BTreeSet<u64>> = BTreeMap::new();
        for (id, replica) in &self.replicas {
            used.entry(&id.workload).or_default().insert(replica.generation);
        }
        let pending: BTreeSet<&str> = self
            .rollout
            .iter()
            .flat_map(|rollout| rollout.waves.iter().skip(rollout.released).flatten())
            .map(|step| step.replica().workload.as_str())
            .collect();
        let retiring = &self.retiring;
        self.workloads.retain(|name, workload| {
            let running = used.get(name.as_str());
            workload.templates.retain(|generation, _| {
                *generation == workload.generation || running.is_some_and(|running| running.contains(generation))
            });
            running.is_some() || pending.contains(name.as_str()) || !retiring.contains(name)
        });
        self.retiring.retain(|name| self.workloads.contains_key(name));
        self.finished_on.retain(|id, _| {
            self.workloads.get(&id.workload).is_some_and(|workload| workload.finished.contains_key(&id.index))
        });
    }
}

impl Step {
    /// The replica it concerns.
    pub fn replica(&self) -> &ReplicaId {
        match self {
            Self::Start { replica, .. } | Self::Stop { replica } | Self::Update { replica, .. } => replica,
        }
    }
}

impl fmt::Display for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.workload, self.index)
    }
}

/// For traces: what, not the whole content.
impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Initialise(command) => write!(f, "initialise {}/48", command.prefix),
            Self::RegisterNode(command) => write!(f, "register node {}", command.name),
            Self::SetSchedulable(command) => write!(f, "set node {} schedulable={}", command.node, command.schedulable),
            Self::ApplyRelease(release) => {
                write!(f, "apply the plan made at {}, {} waves", release.expected_revision, release.waves.len())
            }
            Self::AdvanceRollout(command) => write!(f, "rollout {}, wave {}", command.rollout_revision, command.wave),
            Self::JobFinished(command) => write!(f, "{} ended with {}", command.replica, command.exit_code),
        }
    }
}
