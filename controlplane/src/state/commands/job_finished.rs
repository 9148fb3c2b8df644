//! A job's replica has ended for good: it completed, or failed and is not tried again.

use super::{Effect, Refusal};
use crate::state::{ReplicaId, State, Step};
use serde::{Deserialize, Serialize};

/// What its agent saw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobFinished {
    /// Which.
    pub replica: ReplicaId,
    /// The generation that ended.
    pub generation: u64,
    /// 0: completed.
    pub exit_code: i32,
}

impl JobFinished {
    pub(super) fn apply(self, state: &mut State) -> Result<Effect, Refusal> {
        let late = |what: &str| Err(Refusal::OutOfDate(format!("{} {what}", self.replica)));
        let Some(workload) = state.workloads.get_mut(&self.replica.workload) else { return late("is unknown") };
        if workload.kind != "job" {
            return late("is not of a job");
        }
        let Some(record) = state.replicas.get(&self.replica) else { return late("shall not run any more") };
        if record.generation != self.generation {
            return late("shall run another generation");
        }
        let node = record.node.clone();
        state.replicas.remove(&self.replica);
        if workload.generation == self.generation {
            workload.finished.insert(self.replica.index, self.exit_code);
            state.finished_on.insert(self.replica.clone(), node.clone());
        }
        // A later wave may have meant to replace it where it was: the new generation has yet to run there.
        for step in
            state.rollout.iter_mut().flat_map(|rollout| rollout.waves.iter_mut().skip(rollout.released).flatten())
        {
            if let Step::Update { replica, generation } = step
                && *replica == self.replica
            {
                *step = Step::Start { replica: replica.clone(), node: node.clone(), generation: *generation };
            }
        }
        state.revision += 1;
        state.prune();
        Ok(Effect::Changed)
    }
}
