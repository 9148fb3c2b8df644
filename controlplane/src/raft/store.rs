//! The log, the vote and the snapshot on disk: one redb file in the data directory. Every write is synced before it is acknowledged.
//!
//! The first write that fails is remembered: openraft ends then, and its reason is told to people from here.

use super::TypeConfig;
use crate::state::{DecodeError, decode, encode};
use openraft::OptionalSend;
use openraft::alias::{EntryOf, LogIdOf, SnapshotMetaOf, VoteOf};
use openraft::entry::RaftEntry;
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use redb::{Database, DatabaseError, Durability, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::fmt::Debug;
use std::io;
use std::ops::RangeBounds;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio_util::sync::{CancellationToken, DropGuard};

const LOG: TableDefinition<u64, &[u8]> = TableDefinition::new("log");
const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");

/// Keys of META.
const FORMAT: &str = "format";
const VOTE: &str = "vote";
const COMMITTED: &str = "committed";
const PURGED: &str = "purged";
const SNAPSHOT: &str = "snapshot";

const CACHE_BYTES: usize = 64 << 20;
/// How often, and after which pause each, a file is tried that another process has locked.
const LOCK_TRIES: u32 = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(25);
/// How long `close` waits for the last handle.
const CLOSE_MAX: Duration = Duration::from_secs(5);

/// Why a data directory can not be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("{} is in use by another process: only one server may run on a data directory", file.display())]
    Locked { file: PathBuf },
    /// A newer program has written it.
    #[error("{} can not be read: {reason}", file.display())]
    Format { file: PathBuf, reason: DecodeError },
    /// It can not be made, opened or read.
    #[error("{} can not be opened: {reason}", file.display())]
    Unusable { file: PathBuf, reason: String },
    /// It was opened, and consensus could not start on it.
    #[error("the server could not start on {}: {problem}", dir.display())]
    Consensus { dir: PathBuf, problem: String },
}

/// A snapshot as it is stored.
#[derive(Serialize, Deserialize)]
pub(super) struct StoredSnapshot {
    pub(super) meta: SnapshotMetaOf<TypeConfig>,
    /// The state, with its own version byte.
    pub(super) state: Vec<u8>,
}

/// The open file. Dropped in this order: closed, then told.
struct File {
    db: Database,
    _tells: DropGuard,
}

/// A handle; all clones are the same file.
#[derive(Clone)]
pub(super) struct Store {
    file: Arc<File>,
    /// Cancelled when the file is closed.
    closed: CancellationToken,
    dir: Arc<Path>,
    failure: Arc<OnceLock<String>>,
}

impl Store {
    /// Opens the data directory, or makes it (mode 0700).
    pub(super) async fn open(dir: &Path) -> Result<Self, OpenError> {
        let owned = dir.to_owned();
        let opened = tokio::task::spawn_blocking(move || open_database(&owned)).await;
        let db = opened.unwrap_or_else(|join| {
            Err(OpenError::Unusable { file: dir.to_owned(), reason: format!("the database panicked: {join}") })
        })?;
        let closed = CancellationToken::new();
        let file = Arc::new(File { db, _tells: closed.clone().drop_guard() });
        Ok(Self { file, closed, dir: dir.into(), failure: Arc::default() })
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Why writing failed, if it did.
    pub(super) fn failure(&self) -> Option<String> {
        self.failure.get().cloned()
    }

    /// Free room for this user; `None` when the file system does not tell.
    pub(super) fn free_bytes(&self) -> Option<u64> {
        let stat = nix::sys::statvfs::statvfs(&*self.dir).ok()?;
        Some(stat.blocks_available().saturating_mul(stat.fragment_size()))
    }

    /// Waits until every other handle is gone and the file is closed, so that it is unlocked when this returns.
    pub(super) async fn close(self) {
        let closed = self.closed.clone();
        drop(self);
        if tokio::time::timeout(CLOSE_MAX, closed.cancelled()).await.is_err() {
            tracing::warn!("the database is still open: something holds a handle to it");
        }
    }

    pub(super) async fn save_snapshot(&self, snapshot: StoredSnapshot) -> Result<(), io::Error> {
        self.write(Durability::Immediate, move |transaction| {
            let bytes = encode(&snapshot);
            transaction.open_table(META)?.insert(SNAPSHOT, bytes.as_slice())?;
            Ok(())
        })
        .await
    }

    pub(super) async fn load_snapshot(&self) -> Result<Option<StoredSnapshot>, io::Error> {
        self.meta(SNAPSHOT).await
    }

    async fn meta<T: DeserializeOwned + Send + 'static>(&self, key: &'static str) -> Result<Option<T>, io::Error> {
        self.read(move |db| {
            let table = db.begin_read()?.open_table(META)?;
            let value = table.get(key)?;
            Ok(value.map(|value| decode(value.value())).transpose()?)
        })
        .await
    }

    /// Runs a read on a thread that may block.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Database) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, io::Error> {
        let file = self.file.clone();
        tokio::task::spawn_blocking(move || read(&file.db)).await.map_err(io::Error::other)?.map_err(io::Error::from)
    }

    /// Runs a write in one transaction on a thread that may block; on disk when it returns, unless durability says otherwise.
    async fn write(
        &self,
        durability: Durability,
        write: impl FnOnce(&WriteTransaction) -> Result<(), StoreError> + Send + 'static,
    ) -> Result<(), io::Error> {
        let file = self.file.clone();
        let written = tokio::task::spawn_blocking(move || -> Result<(), StoreError> {
            let mut transaction = file.db.begin_write()?;
            transaction.set_durability(durability)?;
            write(&transaction)?;
            Ok(transaction.commit()?)
        });
        let result = written.await.map_err(io::Error::other).and_then(|result| result.map_err(io::Error::from));
        if let Err(error) = &result {
            tracing::error!(%error, dir = %self.dir.display(), "the database could not be written");
            // Only the first says what is wrong; the following ones are its consequences.
            self.failure.get_or_init(|| error.to_string());
        }
        result
    }
}

fn open_database(dir: &Path) -> Result<Database, OpenError> {
    let unusable = |file: &Path, reason: String| OpenError::Unusable { file: file.to_owned(), reason };
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|error| unusable(dir, error.to_string()))?;
    let file = dir.join("state.redb");
    let mut tries_left = LOCK_TRIES;
    let db = loop {
        match Database::builder().set_cache_size(CACHE_BYTES).create(&file) {
            Ok(db) => break db,
            // A server that is just ending lets go of it soon; so does a process that is being started by one (between fork and exec).
            Err(DatabaseError::DatabaseAlreadyOpen) if tries_left > 0 => {
                tries_left -= 1;
                std::thread::sleep(LOCK_PAUSE);
            }
            Err(DatabaseError::DatabaseAlreadyOpen) => return Err(OpenError::Locked { file }),
            Err(error) => return Err(unusable(&file, error.to_string())),
        }
    };
    match prepare(&db) {
        Ok(()) => Ok(db),
        Err(StoreError::Format(reason)) => Err(OpenError::Format { file, reason }),
        Err(error) => Err(unusable(&file, error.to_string())),
    }
}

/// Makes the tables of a new file; looks whether an old one is of a format we know.
fn prepare(db: &Database) -> Result<(), StoreError> {
    let transaction = db.begin_write()?;
    {
        transaction.open_table(LOG)?;
        let mut meta = transaction.open_table(META)?;
        let known = match meta.get(FORMAT)? {
            Some(format) => Some(decode::<()>(format.value())?),
            None => None,
        };
        if known.is_none() {
            meta.insert(FORMAT, encode(&()).as_slice())?;
        }
    }
    Ok(transaction.commit()?)
}

/// Anything the database may answer.
#[derive(Debug, thiserror::Error)]
enum StoreError {
    #[error(transparent)]
    Database(Box<redb::Error>),
    #[error(transparent)]
    Format(#[from] DecodeError),
}

macro_rules! from_redb {
    ($($error:ty),*) => { $(
        impl From<$error> for StoreError {
            fn from(error: $error) -> Self {
                Self::Database(Box::new(error.into()))
            }
        }
    )* };
}
from_redb!(redb::TransactionError, redb::TableError, redb::StorageError, redb::CommitError, redb::SetDurabilityError);

impl From<StoreError> for io::Error {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Database(error) => match *error {
                redb::Error::Io(error) => error,
                other => Self::other(other),
            },
            StoreError::Format(error) => Self::other(error),
        }
    }
}

impl RaftLogReader<TypeConfig> for Store {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<EntryOf<TypeConfig>>, io::Error> {
        let bounds = (range.start_bound().cloned(), range.end_bound().cloned());
        self.read(move |db| {
            let table = db.begin_read()?.open_table(LOG)?;
            let mut entries = Vec::new();
            for entry in table.range::<u64>(bounds)? {
                entries.push(decode(entry?.1.value())?);
            }
            Ok(entries)
        })
        .await
    }

    async fn read_vote(&mut self) -> Result<Option<VoteOf<TypeConfig>>, io::Error> {
        self.meta(VOTE).await
    }
}

impl RaftLogStorage<TypeConfig> for Store {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        self.read(|db| {
            let transaction = db.begin_read()?;
            let purged = transaction.open_table(META)?.get(PURGED)?;
            let last_purged_log_id: Option<LogIdOf<TypeConfig>> =
                purged.map(|purged| decode(purged.value())).transpose()?;
            let last_log_id = match transaction.open_table(LOG)?.last()? {
                Some((_, entry)) => Some(decode::<EntryOf<TypeConfig>>(entry.value())?.log_id()),
                None => last_purged_log_id,
            };
            Ok(LogState { last_purged_log_id, last_log_id })
        })
        .await
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &VoteOf<TypeConfig>) -> Result<(), io::Error> {
        let bytes = encode(vote);
        self.write(Durability::Immediate, move |transaction| {
            transaction.open_table(META)?.insert(VOTE, bytes.as_slice())?;
            Ok(())
        })
        .await
    }

    /// Not synced: losing it costs nothing but applying later. It reaches the disk with the next entry.
    async fn save_committed(&mut self, committed: Option<LogIdOf<TypeConfig>>) -> Result<(), io::Error> {
        let bytes = encode(&committed);
        self.write(Durability::None, move |transaction| {
            transaction.open_table(META)?.insert(COMMITTED, bytes.as_slice())?;
            Ok(())
        })
        .await
    }

    async fn read_committed(&mut self) -> Result<Option<LogIdOf<TypeConfig>>, io::Error> {
        Ok(self.meta::<Option<LogIdOf<TypeConfig>>>(COMMITTED).await?.flatten())
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = EntryOf<TypeConfig>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<(u64, Vec<u8>)> = entries.into_iter().map(|entry| (entry.index(), encode(&entry))).collect();
        let result = self
            .write(Durability::Immediate, move |transaction| {
                let mut table = transaction.open_table(LOG)?;
                for (index, bytes) in &entries {
                    table.insert(*index, bytes.as_slice())?;
                }
                Ok(())
            })
            .await;
        let told = result.as_ref().copied().map_err(|error| io::Error::new(error.kind(), error.to_string()));
        callback.io_completed(told);
        result
    }

    async fn truncate_after(&mut self, last: Option<LogIdOf<TypeConfig>>) -> Result<(), io::Error> {
        let first_removed = last.map_or(0, |last| last.index() + 1);
        self.write(Durability::Immediate, move |transaction| {
            transaction.open_table(LOG)?.retain_in(first_removed.., |_, _| false)?;
            Ok(())
        })
        .await
    }

    async fn purge(&mut self, last: LogIdOf<TypeConfig>) -> Result<(), io::Error> {
        let bytes = encode(&last);
        self.write(Durability::Immediate, move |transaction| {
            transaction.open_table(META)?.insert(PURGED, bytes.as_slice())?;
            transaction.open_table(LOG)?.retain_in(..=last.index(), |_, _| false)?;
            Ok(())
        })
        .await
    }
}
