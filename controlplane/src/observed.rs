//! What agents have told of their nodes, in memory only: a server that starts knows nothing, and learns it again as the agents connect.
//!
//! *Unknown* is a state of its own: a replica on a node that has not been heard of for [`CONNECTED_MAX_MS`] may well be running. Times are
//! milliseconds of a monotonic clock that is passed in.

use crate::state::ReplicaId;
use hyphae_api::v1::{ReplicaReport, ReplicaState, ReplicaStatus};
use std::collections::BTreeMap;

/// A node that has been silent for longer is not connected, and nothing is known of its replicas.
pub const CONNECTED_MAX_MS: u64 = 5_000;
/// A node that has been silent for longer is given up as far as waiting for its stops is concerned.
pub const LOST_AFTER_MS: u64 = 30_000;
/// More replicas than this an agent can not have; what it reports beyond them is not kept.
const REPLICAS_MAX: usize = 10_000;
/// Of a replica that has failed, at most so many lines of output are kept.
const LAST_LINES_MAX: usize = 50;
/// A reason or a line is cut after so many characters.
const TEXT_CHARS_MAX: usize = 2_000;

/// What is known of all nodes.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    /// When the server began to listen.
    started_ms: u64,
    nodes: BTreeMap<String, NodeObserved>,
}

/// What is known of a node.
#[derive(Debug, Clone, Default)]
pub struct NodeObserved {
    /// When its agent was last heard.
    pub heard_ms: u64,
    /// The same in wall time, for people.
    pub heard_unix_millis: u64,
    /// Its agent has told of every replica it has since it connected to this server.
    reported: bool,
    /// Its loss has been told.
    lost_told: bool,
    replicas: BTreeMap<ReplicaId, Seen>,
}

/// A replica as its agent last saw it.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// In the agent's words; `node` is filled in.
    pub status: ReplicaStatus,
    /// Since when it has been in this state and generation.
    pub since_ms: u64,
}

/// A replica has entered another state.
#[derive(Debug, Clone, PartialEq)]
pub struct Transition {
    /// Before; `Unknown` when it was not known.
    pub from: ReplicaState,
    /// Now.
    pub status: ReplicaStatus,
}

impl Observed {
    /// Nothing is known.
    pub fn new(started_ms: u64) -> Self {
        Self { started_ms, nodes: BTreeMap::new() }
    }

    /// A node's agent has said something.
    pub fn heard(&mut self, node: &str, now_ms: u64, unix_millis: u64) {
        let observed = self.nodes.entry(node.to_owned()).or_default();
        observed.heard_ms = now_ms;
        observed.heard_unix_millis = unix_millis;
        observed.lost_told = false;
    }

    /// A node's agent has connected: what it had told before is out of date until it reports all again.
    pub fn attached(&mut self, node: &str, now_ms: u64, unix_millis: u64) {
        self.heard(node, now_ms, unix_millis);
        if let Some(observed) = self.nodes.get_mut(node) {
            observed.reported = false;
        }
    }

    /// Takes a report in; returns what has changed.
    pub fn report(&mut self, node: &str, report: ReplicaReport, now_ms: u64) -> Vec<Transition> {
        let observed = self.nodes.entry(node.to_owned()).or_default();
        let mut old = BTreeMap::new();
        if report.complete {
            observed.reported = true;
            old = std::mem::take(&mut observed.replicas);
        }
        let mut transitions = Vec::new();
        for mut status in report.replicas {
            node.clone_into(&mut status.node);
            bound_texts(&mut status);
            let id = ReplicaId { workload: status.workload.clone(), index: status.index };
            let before = old.remove(&id).or_else(|| observed.replicas.remove(&id));
            let same = before.as_ref().is_some_and(|before| {
                before.status.state == status.state && before.status.generation == status.generation
            });
            if !same {
                let from = before.as_ref().map_or(ReplicaState::Unknown, |before| before.status.state());
                transitions.push(Transition { from, status: status.clone() });
            }
            if status.state() != ReplicaState::Stopped && observed.replicas.len() < REPLICAS_MAX {
                let since_ms = before.filter(|_| same).map_or(now_ms, |before| before.since_ms);
                observed.replicas.insert(id, Seen { status, since_ms });
            }
        }
        for (_, gone) in old {
            let from = gone.status.state();
            let mut status = gone.status;
            status.set_state(ReplicaState::Stopped);
            transitions.push(Transition { from, status });
        }
        transitions
    }

    /// A node, if its agent has ever been heard.
    pub fn node(&self, node: &str) -> Option<&NodeObserved> {
        self.nodes.get(node)
    }

    /// Whether a node's agent is there.
    pub fn is_connected(&self, node: &str, now_ms: u64) -> bool {
        self.nodes.get(node).is_some_and(|node| now_ms.saturating_sub(node.heard_ms) <= CONNECTED_MAX_MS)
    }

    /// Whether nobody need wait for a node: silent for long, or never heard since long ago.
    pub fn is_given_up(&self, node: &str, now_ms: u64) -> bool {
        let heard_ms = self.nodes.get(node).map_or(self.started_ms, |node| node.heard_ms);
        now_ms.saturating_sub(heard_ms) > LOST_AFTER_MS
    }

    /// A replica as a node's agent last saw it, whether or not the node is still connected.
    pub fn replica(&self, node: &str, id: &ReplicaId) -> Option<&Seen> {
        self.nodes.get(node)?.replicas.get(id)
    }

    /// Everything seen of a workload's replicas, with the nodes.
    pub fn replicas_of(&self, workload: &str) -> impl Iterator<Item = (&str, &ReplicaId, &Seen)> {
        let first = ReplicaId { workload: workload.to_owned(), index: 0 };
        let last = ReplicaId { workload: workload.to_owned(), index: u32::MAX };
        self.nodes.iter().flat_map(move |(name, node)| {
            node.replicas.range(first.clone()..=last.clone()).map(|(id, seen)| (name.as_str(), id, seen))
        })
    }

    /// Nodes whose agents have fallen silent since this was last asked.
    pub fn newly_lost(&mut self, now_ms: u64) -> Vec<String> {
        let mut lost = Vec::new();
        for (name, node) in &mut self.nodes {
            if !node.lost_told && now_ms.saturating_sub(node.heard_ms) > CONNECTED_MAX_MS {
                node.lost_told = true;
                lost.push(name.clone());
            }
        }
        lost
    }
}

/// What is for people stays short.
fn bound_texts(status: &mut ReplicaStatus) {
    status.last_lines.truncate(LAST_LINES_MAX);
    for text in status.last_lines.iter_mut().chain([&mut status.reason]) {
        if let Some((end, _)) = text.char_indices().nth(TEXT_CHARS_MAX) {
            text.truncate(end);
        }
    }
}

impl NodeObserved {
    /// What it last told that is there.
    pub fn replicas(&self) -> impl Iterator<Item = &ReplicaId> {
        self.replicas.keys()
    }

    /// Whether all its replicas are known.
    pub fn has_reported(&self) -> bool {
        self.reported
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(index: u32, state: ReplicaState) -> ReplicaStatus {
        ReplicaStatus {
            workload: "default/web".to_owned(),
            index,
            generation: 1,
            state: state.into(),
            ..ReplicaStatus::default()
        }
    }

    fn id(index: u32) -> ReplicaId {
        ReplicaId { workload: "default/web".to_owned(), index }
    }

    #[test]
    fn a_state_is_as_old_as_its_first_report() {
        let mut observed = Observed::new(0);
        let running = || ReplicaReport { complete: false, replicas: vec![status(0, ReplicaState::Running)] };
        assert_eq!(observed.report("n1", running(), 100).len(), 1);
        assert_eq!(observed.report("n1", running(), 200), vec![]);
        assert_eq!(observed.replica("n1", &id(0)).unwrap().since_ms, 100);
        assert_eq!(observed.replica("n1", &id(0)).unwrap().status.node, "n1");
    }

    #[test]
    fn what_a_complete_report_does_not_list_is_gone() {
        let mut observed = Observed::new(0);
        let both = vec![status(0, ReplicaState::Running), status(1, ReplicaState::Running)];
        observed.report("n1", ReplicaReport { complete: true, replicas: both }, 0);
        let one = ReplicaReport { complete: true, replicas: vec![status(1, ReplicaState::Running)] };
        let transitions = observed.report("n1", one, 10);
        assert_eq!(transitions.len(), 1);
        assert_eq!(transitions[0].status.state(), ReplicaState::Stopped);
        assert!(observed.replica("n1", &id(0)).is_none());
        assert_eq!(observed.replica("n1", &id(1)).unwrap().since_ms, 0);
    }

    #[test]
    fn texts_are_bounded() {
        let mut observed = Observed::new(0);
        let mut long = status(0, ReplicaState::Backoff);
        long.last_lines = vec!["ü".repeat(TEXT_CHARS_MAX + 1); LAST_LINES_MAX + 1];
        observed.report("n1", ReplicaReport { complete: false, replicas: vec![long] }, 0);
        let seen = &observed.replica("n1", &id(0)).unwrap().status;
        assert_eq!((seen.last_lines.len(), seen.last_lines[0].chars().count()), (LAST_LINES_MAX, TEXT_CHARS_MAX));
    }

    #[test]
    fn silence_disconnects_then_gives_up_and_is_told_once() {
        let mut observed = Observed::new(0);
        assert!(!observed.is_connected("n1", 0) && !observed.is_given_up("n1", LOST_AFTER_MS));
        observed.heard("n1", 1_000, 0);
        assert!(observed.is_connected("n1", 6_000) && !observed.is_connected("n1", 6_001));
        assert_eq!(observed.newly_lost(6_000), Vec::<String>::new());
        assert_eq!(observed.newly_lost(6_001), ["n1"]);
        assert_eq!(observed.newly_lost(6_002), Vec::<String>::new());
        assert!(!observed.is_given_up("n1", 31_000) && observed.is_given_up("n1", 31_001));
    }
}
