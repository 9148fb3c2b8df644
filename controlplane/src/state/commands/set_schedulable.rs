//! Cordons a node (it keeps what it has and gets nothing new), or takes that back.

use super::{Effect, Refusal};
use crate::state::State;
use serde::{Deserialize, Serialize};

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetSchedulable {
    /// The node's name.
    pub node: String,
    /// False: cordoned.
    pub schedulable: bool,
}

impl SetSchedulable {
    pub(super) fn apply(self, state: &mut State) -> Result<Effect, Refusal> {
        let Some(node) = state.nodes.get_mut(&self.node) else { return Err(Refusal::UnknownNode(self.node)) };
        if node.schedulable == self.schedulable {
            return Ok(Effect::Unchanged);
        }
        node.schedulable = self.schedulable;
        state.revision += 1;
        Ok(Effect::Changed)
    }
}
