//! Releases the next wave of the rollout to the agents, or ends the rollout after its last one.

use super::{Effect, Refusal};
use crate::state::State;
use serde::{Deserialize, Serialize};

/// Names the rollout and the wave, so that it does nothing when it comes late or twice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdvanceRollout {
    /// `Rollout::revision`.
    pub rollout_revision: u64,
    /// Which wave to release, from 0; the number of waves: the last has succeeded, the rollout is over.
    pub wave: usize,
}

impl AdvanceRollout {
    /// Releasing a wave raises the revision. Ending the rollout does not: the replicas stay as they are.
    pub(super) fn apply(self, state: &mut State) -> Result<Effect, Refusal> {
        let Some(mut rollout) = state.rollout.take_if(|rollout| {
            rollout.revision == self.rollout_revision
                && rollout.released == self.wave
                && self.wave <= rollout.waves.len()
        }) else {
            return Err(Refusal::OutOfDate(format!(
                "wave {} of rollout {} is not the next one",
                self.wave, self.rollout_revision
            )));
        };
        if let Some(wave) = rollout.waves.get(self.wave) {
            state.release_wave(wave);
            rollout.released += 1;
            state.revision += 1;
            state.rollout = Some(rollout);
        }
        state.prune();
        Ok(Effect::Changed)
    }
}
