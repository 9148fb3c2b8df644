//! What a node shall run: the server's `Share`, read once and checked, so that nothing behind this file meets malformed input.
//!
//! Also the names under which a replica appears on the node. They are derived, never stored: the same replica has the
//! same container id, network namespace and link after every restart of the agent.

use crate::host_ports::{HostPort, Target};
use hyphae_api::v1;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv6Addr;
use std::sync::Arc;

/// Which replica.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ReplicaId {
    /// Full name of the workload, `team/name`.
    pub workload: String,
    /// Unique among the workload's replicas.
    pub index: u32,
}

impl fmt::Display for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.workload, self.index)
    }
}

impl ReplicaId {
    /// The id of its container: for people a name, made unique by a hash. containerd allows 76 characters of `[A-Za-z0-9._-]`.
    pub fn container_id(&self) -> String {
        let readable: String = self
            .workload
            .chars()
            .map(|char| if char.is_ascii_alphanumeric() { char.to_ascii_lowercase() } else { '-' })
            .take(40)
            .collect();
        let readable = readable.split('-').filter(|part| !part.is_empty()).collect::<Vec<_>>().join("-");
        let hash = &hex_digest(&format!("{}\n{}", self.workload, self.index))[..10];
        if readable.is_empty() {
            format!("r-{}-{hash}", self.index)
        } else {
            format!("{readable}-{}-{hash}", self.index)
        }
    }

    /// `web` and `storefront` of `storefront/web`; a workload without a team belongs to `default`.
    pub fn name_and_team(&self) -> (&str, &str) {
        match self.workload.split_once('/') {
            Some((team, name)) => (name, team),
            None => (self.workload.as_str(), "default"),
        }
    }
}

/// Lower-case hexadecimal SHA-256.
pub(crate) fn hex_digest(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// How a replica is treated when it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// A service or a daemon: started again whenever it ends.
    Lasting,
    /// A job: done when it ends with 0, tried again as often as its spec says otherwise.
    Job,
}

/// One replica that shall run.
#[derive(Debug, Clone, PartialEq)]
pub struct Wanted {
    /// Which one.
    pub id: ReplicaId,
    /// Of the workload's spec.
    pub generation: u64,
    /// How it is treated when it ends.
    pub kind: Kind,
    /// Its address; unspecified when the share gave none that can be read (then `refused` says so).
    pub address: Ipv6Addr,
    /// Everything else, as the server said it.
    pub spec: v1::Replica,
    /// Why it can never run as it is written.
    pub refused: Option<String>,
}

/// What the node shall run, as of a revision.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct WantedShare {
    /// Shares of a lower revision than one acted on are ignored.
    pub revision: u64,
    /// The replicas.
    pub replicas: BTreeMap<ReplicaId, Arc<Wanted>>,
}

impl WantedShare {
    /// Reads a share. A replica that makes no sense is kept with the reason, so that its status can say it.
    pub fn read(share: &v1::Share) -> Self {
        let replicas = share
            .replicas
            .iter()
            .map(|replica| {
                let wanted = Wanted::read(replica);
                (wanted.id.clone(), Arc::new(wanted))
            })
            .collect();
        Self { revision: share.revision, replicas }
    }

    /// The images that are wanted, as written.
    pub fn images(&self) -> impl Iterator<Item = &str> {
        self.replicas.values().map(|wanted| wanted.spec.image.as_str())
    }
}

impl Wanted {
    fn read(replica: &v1::Replica) -> Self {
        let mut refused = None;
        let kind = match replica.kind.as_str() {
            "service" | "daemon" => Kind::Lasting,
            "job" => Kind::Job,
            other => {
                refused = Some(format!(
                    "this agent does not know workloads of kind {other:?}; it may be older than its server"
                ));
                Kind::Lasting
            }
        };
        let address = replica.address.parse().unwrap_or_else(|_| {
            refused =
                Some(format!("the server gave {:?} as its address, which is not an IPv6 address", replica.address));
            Ipv6Addr::UNSPECIFIED
        });
        if let Err(problem) = crate::reference::Reference::parse(&replica.image) {
            refused = Some(problem.to_string());
        }
        if let Some(port) = replica.ports.iter().find(|port| port.host > 0 && host_port(port).is_none()) {
            refused =
                Some(format!("host port {} cannot be given to {} port {}", port.host, port.protocol, port.number));
        }
        if let Some(variable) = replica.env.iter().find(|env| env.name.is_empty() || env.name.contains(['=', '\0'])) {
            refused = Some(format!("{:?} cannot be the name of an environment variable", variable.name));
        }
        Self {
            id: ReplicaId { workload: replica.workload.clone(), index: replica.index },
            generation: replica.generation,
            kind,
            address,
            spec: replica.clone(),
            refused,
        }
    }

    /// The node's ports that lead to it.
    pub fn host_ports(&self) -> impl Iterator<Item = (HostPort, Target)> {
        let address = self.address;
        self.spec.ports.iter().filter_map(host_port).map(move |(from, port)| (from, Target { address, port }))
    }

    /// Between SIGTERM and SIGKILL.
    pub fn stop_grace_millis(&self) -> u64 {
        self.spec.stop_grace_millis
    }
}

/// The node's port and the replica's, if the first is claimed and both can be.
fn host_port(port: &v1::Port) -> Option<(HostPort, u16)> {
    let number = u16::try_from(port.number).ok().filter(|number| *number > 0)?;
    Some((HostPort::new(&port.protocol, port.host)?, number))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(workload: &str, index: u32) -> ReplicaId {
        ReplicaId { workload: workload.into(), index }
    }

    #[test]
    fn container_ids_are_valid_and_distinct() {
        let long = format!("{}/{}", "t".repeat(63), "w".repeat(63));
        let ids: Vec<String> = [
            id("a/b-c", 0),
            id("a-b/c", 0),
            id("a/b-c", 10),
            id("ä/--", 1),
            id("", 0),
            id(&long, u32::MAX),
            id(&long, 1),
        ]
        .iter()
        .map(ReplicaId::container_id)
        .collect();
        for container_id in &ids {
            assert!(container_id.len() <= 76, "{container_id}");
            assert!(
                container_id.split('-').all(|part| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric()))
            );
        }
        assert_eq!(ids.iter().collect::<std::collections::BTreeSet<_>>().len(), ids.len());
    }

    #[test]
    fn nonsense_in_a_share_is_kept_with_its_reason() {
        let replica =
            v1::Replica { workload: "a/b".into(), image: "x".into(), kind: "service".into(), ..Default::default() };
        let share = v1::Share { revision: 7, replicas: vec![replica] };
        let read = WantedShare::read(&share);
        let refused = read.replicas[&id("a/b", 0)].refused.clone();
        assert_eq!(refused.as_deref(), Some("the server gave \"\" as its address, which is not an IPv6 address"));
    }
}
