//! Gives a new cluster the /48 that all addresses are cut from.

use super::{Effect, Refusal};
use crate::state::State;
use serde::{Deserialize, Serialize};
use std::net::Ipv6Addr;

/// Once in a cluster's life. The prefix is drawn by whoever sends the command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Initialise {
    /// A /48: a random unique local one, or the provider's.
    pub prefix: Ipv6Addr,
}

impl Initialise {
    pub(super) fn apply(self, state: &mut State) -> Result<Effect, Refusal> {
        match state.prefix {
            Some(prefix) if prefix == self.prefix => Ok(Effect::Unchanged),
            Some(prefix) => Err(Refusal::Initialised(prefix)),
            None => {
                let segments = self.prefix.segments();
                let unicast = self.prefix.is_unique_local() || segments[0] & 0xe000 == 0x2000;
                if !unicast || segments[3..] != [0; 5] {
                    return Err(Refusal::BadPrefix(self.prefix));
                }
                state.prefix = Some(self.prefix);
                state.next_service_id = state.next_service_id.max(1);
                state.next_node_id = state.next_node_id.max(1);
                Ok(Effect::Changed)
            }
        }
    }
}
