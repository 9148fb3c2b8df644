#![expect(clippy::disallowed_methods, reason = "an edge: the agent's memory is files")]
//! What the agent remembers across its own restarts, in files. The outside.
//!
//! ```text
//!   lock                              held while an agent runs on this directory
//!   share                             the last share acted on (protobuf)
//!   prefix                            the node's prefix
//!   replicas/<container>/record.json  which replica, its past
//!   replicas/<container>/{hosts,stdout,stderr,stdout.1,stderr.1}
//! ```
//!
//! Files are replaced by renaming. A file that cannot be read counts as missing: without a share nothing is stopped.

use crate::history::History;
use crate::replica::ReplicaId;
use hyphae_api::v1;
use nix::fcntl::{Flock, FlockArg};
use prost::Message;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::{self, Write};
use std::net::Ipv6Addr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// Something about the agent's directory that did not work.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another agent works on it.
    #[error("another agent already works in {}; give each its own state directory", .0.display())]
    Locked(PathBuf),
    /// Files.
    #[error("cannot {what} {}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// What is remembered of one replica.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Which one.
    pub id: ReplicaId,
    /// Its past.
    pub history: History,
    /// Only its output is left, and until when.
    pub logs_until_millis: Option<u64>,
}

/// The agent's directory.
#[derive(Debug)]
pub struct Store {
    directory: PathBuf,
    _lock: Flock<fs::File>,
}

impl Store {
    /// Opens the directory, making it if need be. Nobody else can while this value lives.
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        let error = |what, path: &Path| {
            let path = path.to_owned();
            move |source| StoreError::Io { what, path, source }
        };
        let replicas = directory.join("replicas");
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&replicas);
        made.map_err(error("make the directory", &replicas))?;
        // containerd hands the paths to its shims, which run elsewhere.
        let directory = fs::canonicalize(directory).map_err(error("find", directory))?;
        let path = directory.join("lock");
        let file = fs::File::create(&path).map_err(error("open", &path))?;
        let lock =
            Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|_| StoreError::Locked(directory.clone()))?;
        Ok(Self { directory, _lock: lock })
    }

    /// Where a replica's files are.
    pub fn replica_directory(&self, id: &ReplicaId) -> PathBuf {
        self.directory.join("replicas").join(id.container_id())
    }

    /// The last share acted on.
    pub fn share(&self) -> Option<v1::Share> {
        let bytes = fs::read(self.directory.join("share")).ok()?;
        let share = v1::Share::decode(bytes.as_slice());
        share
            .inspect_err(|error| tracing::error!(%error, "the last share cannot be read; waiting for the server's"))
            .ok()
    }

    /// Remembers a share, on disk before this returns.
    pub fn save_share(&self, share: &v1::Share) -> Result<(), StoreError> {
        self.replace(&self.directory.join("share"), &share.encode_to_vec(), Durability::Disk)
    }

    /// The node's prefix, if it is known.
    pub fn prefix(&self) -> Option<Ipv6Addr> {
        fs::read_to_string(self.directory.join("prefix")).ok()?.trim().parse().ok()
    }

    /// Remembers the node's prefix.
    pub fn save_prefix(&self, prefix: Ipv6Addr) -> Result<(), StoreError> {
        self.replace(&self.directory.join("prefix"), prefix.to_string().as_bytes(), Durability::Disk)
    }

    /// Everything remembered of replicas. A directory without a readable record is left alone.
    pub fn records(&self) -> Vec<Record> {
        let entries = fs::read_dir(self.directory.join("replicas")).into_iter().flatten().flatten();
        entries
            .filter_map(|entry| {
                let bytes = fs::read(entry.path().join("record.json")).ok()?;
                let record: Record = serde_json::from_slice(&bytes).ok()?;
                // A record somewhere else than where it belongs would be two replicas in one.
                (*record.id.container_id() == *entry.file_name()).then_some(record)
            })
            .collect()
    }

    /// Remembers a replica. What ended for good is on disk before this returns; the rest can be told again by containerd.
    pub fn save_record(&self, record: &Record) -> Result<(), StoreError> {
        let directory = self.replica_directory(&record.id);
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory);
        made.map_err(|source| StoreError::Io { what: "make the directory", path: directory.clone(), source })?;
        let text = serde_json::to_vec(record).unwrap_or_default();
        let is_end = record.history.end.is_some() || record.history.ending.is_some();
        let durability = if is_end { Durability::Disk } else { Durability::Cache };
        self.replace(&directory.join("record.json"), &text, durability)
    }

    /// Forgets a replica, its output included.
    pub fn forget(&self, id: &ReplicaId) -> Result<(), StoreError> {
        let path = self.replica_directory(id);
        match fs::remove_dir_all(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(StoreError::Io { what: "remove", path, source })
            }
            _ => Ok(()),
        }
    }

    fn replace(&self, path: &Path, bytes: &[u8], durability: Durability) -> Result<(), StoreError> {
        let new = path.with_extension("new");
        let written = (|| {
            let mut file = fs::File::create(&new)?;
            file.write_all(bytes)?;
            if durability == Durability::Disk {
                file.sync_all()?;
            }
            fs::rename(&new, path)?;
            match (durability, path.parent()) {
                (Durability::Disk, Some(directory)) => fs::File::open(directory)?.sync_all(),
                _ => Ok(()),
            }
        })();
        written.map_err(|source| StoreError::Io { what: "write", path: path.to_owned(), source })
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Durability {
    Cache,
    Disk,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replica::Kind;

    #[test]
    fn what_is_saved_is_there_after_a_restart() {
        let directory = tempfile::tempdir().expect("a directory");
        let id = ReplicaId { workload: "a/b".into(), index: 7 };
        let mut history = History::new(3);
        history.ended(crate::history::Exit { code: Some(0), ..Default::default() }, Kind::Job, 0, 5);
        let record = Record { id: id.clone(), history, logs_until_millis: None };
        let share =
            v1::Share { revision: 9, replicas: vec![v1::Replica { workload: "a/b".into(), ..Default::default() }] };
        {
            let store = Store::open(directory.path()).expect("opened");
            assert_eq!((store.share(), store.prefix(), store.records()), (None, None, vec![]));
            store.save_share(&share).expect("saved");
            store.save_record(&record).expect("saved");
            store.save_prefix("fd00::".parse().expect("address")).expect("saved");
            let second = Store::open(directory.path());
            assert!(matches!(second, Err(StoreError::Locked(_))));
        }
        let store = Store::open(directory.path()).expect("opened again");
        assert_eq!((store.share(), store.records()), (Some(share), vec![record]));
        store.forget(&id).expect("forgotten");
        assert_eq!(store.records(), vec![]);
    }

    #[test]
    fn a_torn_share_counts_as_missing() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = Store::open(directory.path()).expect("opened");
        fs::write(directory.path().join("share"), [0xff, 0xff, 0x01]).expect("written");
        assert_eq!(store.share(), None);
    }
}
