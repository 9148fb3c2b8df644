//! Consensus: commands go in, every server comes to hold the same [`State`]. The only module that knows openraft and the database.
//!
//! ```text
//! Command --write--> openraft --> store (redb: log, vote; fsync) --committed--> machine: State::apply --> Outcome | Refusal
//!                                    \--- every SNAPSHOT_EVERY entries a snapshot; the log before it is purged ---/
//! ```
//!
//! What [`Consensus::write`] has acknowledged is on disk and survives `kill -9`. At start the state is rebuilt from the snapshot and the log
//! after it before anybody may read it. Every value on disk begins with a version byte.
//!
//! When the disk fails: a write is refused beforehand while less than [`Options::free_bytes_min`] is free, and works again when there is room.
//! Should a write of the log fail all the same, consensus ends for good (what is on disk is then known only after a new start): the write and all
//! later ones get an error that says so, and [`Consensus::failed`] wakes up the server, which ends itself. A new start finds everything acknowledged.
//!
//! In this version a cluster has one server; there is no network between servers yet.

mod machine;
mod network;
mod store;
#[cfg(test)]
mod tests;

use crate::state::{Command, Outcome, Refusal, State};
use machine::Machine;
use openraft::async_runtime::watch::WatchReceiver as _;
use openraft::errors::{ClientWriteError, Fatal, LinearizableReadError, RaftError};
use openraft::{BasicNode, Config, Raft, ReadPolicy, SnapshotPolicy};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use store::Store;
use tokio::sync::watch;

pub use store::OpenError;

openraft::declare_raft_types!(pub(crate) TypeConfig: D = Command, R = Reply, Node = BasicNode);

/// What the state machine answers to a command.
pub(crate) type Reply = Result<Outcome, Refusal>;

/// The one server's id.
const SERVER_ID: u64 = 1;
/// Log entries between snapshots.
const SNAPSHOT_EVERY: u64 = 500;
/// Log entries that are kept though a snapshot holds them.
const LOG_KEPT: u64 = 50;
/// Longest time from start to a leader and a state that is whole.
const START_MAX: Duration = Duration::from_secs(30);
/// Longest time for one write or one linearizable read.
const CALL_MAX: Duration = Duration::from_secs(20);
/// How often a call is tried again while there is no leader.
const CALL_RETRY: Duration = Duration::from_millis(20);

/// How to run.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Refuse writes while the data directory's file system has less than this free. Room for a few of the largest commands.
    pub free_bytes_min: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { free_bytes_min: 64 << 20 }
    }
}

/// Why a command was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The state refused it; nothing was changed.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Not tried, for want of room.
    #[error("the disk under {} is full ({free_bytes} bytes free, {needed_bytes} are kept in reserve): nothing was changed; make room and try again", dir.display())]
    DiskFull { dir: PathBuf, free_bytes: u64, needed_bytes: u64 },
    /// The log could not be written: consensus has ended.
    #[error(
        "the log could not be written: {0}; the change is not acknowledged and the server ends, everything acknowledged before is on disk"
    )]
    Storage(String),
    /// No answer in time; it may still happen.
    #[error("no answer within {} s: the change may or may not have happened, look at `hyphae status`", CALL_MAX.as_secs())]
    TimedOut,
    /// The server is ending.
    #[error("the server is ending; the change was not acknowledged")]
    Ended,
}

/// Why the state could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The log could not be written: consensus has ended.
    #[error("the server's storage has failed and it ends: {0}")]
    Storage(String),
    /// This server could not make sure in time that nobody else leads.
    #[error("no leader within {} s", CALL_MAX.as_secs())]
    TimedOut,
    /// The server is ending.
    #[error("the server is ending")]
    Ended,
}

/// This server's part in the consensus.
#[derive(Clone)]
pub struct Consensus {
    raft: Raft<TypeConfig, Machine>,
    machine: Machine,
    store: Store,
    options: Options,
}

impl Consensus {
    /// Opens (or creates) a data directory, and returns when everything in it has been applied and commands can be written.
    pub async fn open(dir: &Path, options: Options) -> Result<Self, OpenError> {
        let store = Store::open(dir).await?;
        let machine = Machine::new(store.clone());
        let starting = |problem: String| OpenError::Consensus { dir: dir.to_owned(), problem };
        let config = config().validate().map_err(|error| starting(error.to_string()))?;
        let raft = Raft::new(SERVER_ID, Arc::new(config), network::NoPeers, store.clone(), machine.clone())
            .await
            .map_err(|error| starting(error.to_string()))?;
        let consensus = Self { raft, machine, store, options };
        match consensus.become_leader().await {
            Ok(()) => Ok(consensus),
            Err(problem) => {
                let problem = consensus.store.failure().unwrap_or(problem);
                consensus.close().await;
                Err(starting(problem))
            }
        }
    }

    async fn become_leader(&self) -> Result<(), String> {
        // Either way an election begins at once, without waiting for the time-out.
        if self.raft.is_initialized().await.map_err(|error| error.to_string())? {
            self.raft.trigger().elect(false).await.map_err(|error| error.to_string())?;
        } else {
            let members = BTreeMap::from([(SERVER_ID, BasicNode::new(""))]);
            self.raft.initialize(members).await.map_err(|error| error.to_string())?;
        }
        self.raft.wait_for_recovery(Some(START_MAX)).await.map_err(|error| error.to_string())?;
        self.read().await.map_err(|error| error.to_string())?;
        Ok(())
    }

    /// Commits a command and applies it. When this returns `Ok`, it is on disk.
    pub async fn write(&self, command: Command) -> Result<Outcome, WriteError> {
        self.check_room()?;
        let written = async {
            loop {
                match self.raft.client_write(command.clone()).await {
                    Ok(response) => return Ok(response.data?),
                    // Refused before it was appended: there is no leader yet, or not any more.
                    Err(RaftError::APIError(ClientWriteError::ForwardToLeader(_))) => {
                        tokio::time::sleep(CALL_RETRY).await
                    }
                    Err(RaftError::APIError(error)) => {
                        tracing::warn!(%error, "a write was given up");
                        return Err(WriteError::TimedOut);
                    }
                    Err(RaftError::Fatal(fatal)) => {
                        return Err(self.fatal(&fatal).map_or(WriteError::Ended, WriteError::Storage));
                    }
                }
            }
        };
        tokio::time::timeout(CALL_MAX, written).await.unwrap_or(Err(WriteError::TimedOut))
    }

    /// The state, no older than any change that was acknowledged before this call (ReadIndex).
    pub async fn read(&self) -> Result<Arc<State>, ReadError> {
        let confirmed = async {
            loop {
                match self.raft.ensure_linearizable(ReadPolicy::ReadIndex).await {
                    Ok(_) => return Ok(self.applied()),
                    Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(_))) => {
                        tokio::time::sleep(CALL_RETRY).await;
                    }
                    Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(_))) => {
                        tokio::time::sleep(CALL_RETRY).await;
                    }
                    Err(RaftError::Fatal(fatal)) => {
                        return Err(self.fatal(&fatal).map_or(ReadError::Ended, ReadError::Storage));
                    }
                }
            }
        };
        tokio::time::timeout(CALL_MAX, confirmed).await.unwrap_or(Err(ReadError::TimedOut))
    }

    /// The state as this server has applied it; may be behind.
    pub fn applied(&self) -> Arc<State> {
        self.machine.state()
    }

    /// Wakes up whenever the state has changed. The number is that of changes, for nobody's use.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.machine.changes()
    }

    /// Returns when consensus has ended for good because of the disk (or a bug), with the reason.
    pub async fn failed(&self) -> String {
        let mut metrics = self.raft.metrics();
        loop {
            let state = metrics.borrow_watched().running_state.clone();
            if let Err(fatal) = state
                && let Some(reason) = self.fatal(&fatal)
            {
                return reason;
            }
            if metrics.changed().await.is_err() {
                match self.store.failure() {
                    Some(reason) => return reason,
                    None => return std::future::pending().await, // closed
                }
            }
        }
    }

    /// Ends consensus and lets go of the data directory. Another handle to it keeps the directory open.
    pub async fn close(self) {
        let Self { raft, machine, store, .. } = self;
        if let Err(error) = raft.shutdown().await {
            tracing::warn!(%error, "consensus did not end properly");
        }
        drop((raft, machine));
        store.close().await;
    }

    /// The reason of a failure; `None`: an ordinary end.
    fn fatal(&self, fatal: &Fatal<TypeConfig>) -> Option<String> {
        match fatal {
            Fatal::Stopped => self.store.failure(),
            Fatal::StorageError(error) => Some(self.store.failure().unwrap_or_else(|| error.to_string())),
            Fatal::Panicked => Some(self.store.failure().unwrap_or_else(|| "consensus panicked: a bug".to_owned())),
        }
    }

    fn check_room(&self) -> Result<(), WriteError> {
        let Some(free_bytes) = self.store.free_bytes() else { return Ok(()) };
        if free_bytes < self.options.free_bytes_min {
            let dir = self.store.dir().to_owned();
            return Err(WriteError::DiskFull { dir, free_bytes, needed_bytes: self.options.free_bytes_min });
        }
        Ok(())
    }
}

fn config() -> Config {
    Config {
        cluster_name: "hyphae".to_owned(),
        heartbeat_interval: 100,
        election_timeout_min: 300,
        election_timeout_max: 600,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(SNAPSHOT_EVERY),
        max_in_snapshot_log_to_keep: LOG_KEPT,
        purge_batch_size: 1,
        enable_pre_vote: Some(true),
        ..Config::default()
    }
}
