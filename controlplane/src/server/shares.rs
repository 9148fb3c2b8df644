//! Every node's share of the newest state. All agents' tasks ask at every change; which replicas are whose is found out once.

use crate::state::{ReplicaId, State, replicas_by_node, share_of};
use hyphae_api::v1::Share;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// The replicas of every node.
type ByNode = Arc<BTreeMap<String, Vec<ReplicaId>>>;

/// What was found out, and at which revision: `replicas` changes only together with it.
#[derive(Default)]
pub(super) struct Shares {
    newest: Mutex<Option<(u64, ByNode)>>,
}

impl Shares {
    pub(super) fn of(&self, state: &State, node: &str) -> Share {
        let by_node = self.by_node(state);
        share_of(state, node, by_node.get(node).into_iter().flatten())
    }

    fn by_node(&self, state: &State) -> ByNode {
        let mut newest = self.newest.lock().expect("nothing panics while it holds the lock");
        match newest.as_ref() {
            Some((revision, by_node)) if *revision == state.revision => by_node.clone(),
            _ => {
                let by_node = ByNode::new(replicas_by_node(state));
                *newest = Some((state.revision, by_node.clone()));
                by_node
            }
        }
    }
}
