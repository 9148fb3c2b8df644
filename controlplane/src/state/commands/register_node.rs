//! A node has come, or what it says of itself has changed.

use super::{Effect, Refusal};
use crate::state::address::{is_node_prefix, node_prefix};
use crate::state::{Capacity, NodeRecord, State};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::Ipv6Addr;

/// Names are DNS labels with dots; longer than this no host name is.
const NAME_BYTES_MAX: usize = 253;

/// What an agent says of its node. Saying it again changes nothing; saying something else updates the record, whose id stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegisterNode {
    /// Unique.
    pub name: String,
    /// Its pool, or "".
    pub pool: String,
    /// Its labels, without the implied "node" and "pool".
    pub labels: BTreeMap<String, String>,
    /// What it has.
    pub capacity: Capacity,
    /// Workloads keep off unless they tolerate each of these.
    pub taints: Vec<String>,
    /// Millionths per hour.
    pub price_micros: u64,
    /// The /80 that its provider routes to it; `None`: one is cut from the cluster's prefix.
    pub prefix: Option<Ipv6Addr>,
}

impl RegisterNode {
    /// Whether the state says exactly this of the node already: then there is nothing to write.
    pub fn is_known(&self, state: &State) -> bool {
        let known = state.nodes.get(&self.name);
        known.is_some_and(|known| self.record(state, known.id).is_ok_and(|record| record == *known))
    }

    pub(super) fn apply(self, state: &mut State) -> Result<Effect, Refusal> {
        self.check_name()?;
        let known = state.nodes.get(&self.name);
        let id = match known {
            Some(node) => node.id,
            None => state.next_node_id.max(1),
        };
        let record = self.record(state, id)?;
        if known == Some(&record) {
            return Ok(Effect::Unchanged);
        }
        if known.is_none() {
            state.next_node_id = id.checked_add(1).ok_or_else(|| Refusal::Exhausted("node".to_owned()))?;
        }
        state.nodes.insert(self.name, record);
        state.revision += 1;
        Ok(Effect::Changed)
    }

    fn record(&self, state: &State, id: u32) -> Result<NodeRecord, Refusal> {
        Ok(NodeRecord {
            id,
            pool: self.pool.clone(),
            labels: self.labels.clone(),
            taints: self.taints.clone(),
            capacity: self.capacity.clone(),
            price_micros: self.price_micros,
            prefix: self.choose_prefix(state, id)?,
            schedulable: state.nodes.get(&self.name).is_none_or(|node| node.schedulable),
            devices: BTreeMap::new(),
        })
    }

    fn check_name(&self) -> Result<(), Refusal> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-._".contains(&byte);
        if self.name.is_empty() || self.name.len() > NAME_BYTES_MAX || !self.name.bytes().all(plain) {
            let problem = format!(
                "a node's name is 1 to {NAME_BYTES_MAX} of the characters a to z, 0 to 9, \"-\", \".\" and \"_\""
            );
            return Err(self.bad(problem));
        }
        Ok(())
    }

    /// The node's own prefix, or the one it has, or the one that belongs to its id.
    fn choose_prefix(&self, state: &State, id: u32) -> Result<Ipv6Addr, Refusal> {
        let known = state.nodes.get(&self.name).map(|node| node.prefix);
        let prefix = match (self.prefix, known, state.prefix) {
            (Some(prefix), ..) if !is_node_prefix(prefix) => {
                return Err(self.bad(format!("{prefix} is not a /80: its last 48 bits are not zero")));
            }
            (Some(prefix), ..) => prefix,
            (None, Some(prefix), _) => prefix,
            (None, None, Some(cluster)) => node_prefix(cluster, id),
            (None, None, None) => return Err(self.bad("the cluster has no prefix yet; try again".to_owned())),
        };
        if let Some((other, _)) = state.nodes.iter().find(|(name, node)| **name != self.name && node.prefix == prefix) {
            return Err(self.bad(format!("the prefix {prefix}/80 is node \"{other}\"'s")));
        }
        let runs_here = || state.replicas.values().any(|replica| replica.node == self.name);
        if let Some(known) = known.filter(|known| *known != prefix)
            && runs_here()
        {
            return Err(self.bad(format!(
                "its prefix was {known}/80 and is {prefix}/80 now, while replicas with addresses out of the old one run on it; drain it first"
            )));
        }
        Ok(prefix)
    }

    fn bad(&self, problem: String) -> Refusal {
        Refusal::BadNode { node: self.name.clone(), problem }
    }
}
