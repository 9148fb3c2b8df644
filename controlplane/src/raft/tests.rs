//! The store against openraft's own suite, and what people see of a directory that can not be used.
#![expect(clippy::disallowed_methods, reason = "it makes a file that is no database")]

use super::machine::Machine;
use super::store::Store;
use super::*;
use crate::state::commands::{Initialise, RegisterNode};
use crate::state::{Capacity, encode};
use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use tempfile::TempDir;

struct InTempDir;

impl StoreBuilder<TypeConfig, Store, Machine, TempDir> for InTempDir {
    async fn build(&self) -> Result<(TempDir, Store, Machine), StorageError<TypeConfig>> {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).await.unwrap();
        let machine = Machine::new(store.clone());
        Ok((dir, store, machine))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_passes_openrafts_suite() {
    Suite::test_all(InTempDir).await.unwrap();
}

fn roomy() -> Options {
    Options { free_bytes_min: 0 }
}

async fn open(dir: &TempDir) -> Consensus {
    Consensus::open(dir.path(), roomy()).await.unwrap()
}

async fn initialise(consensus: &Consensus) {
    let prefix = "fd00:1:2::".parse().unwrap();
    consensus.write(Command::Initialise(Initialise { prefix })).await.unwrap();
}

fn register(name: &str) -> Command {
    Command::RegisterNode(RegisterNode {
        name: name.to_owned(),
        pool: String::new(),
        labels: BTreeMap::new(),
        capacity: Capacity::default(),
        taints: vec![],
        price_micros: 0,
        prefix: None,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_is_there_after_a_new_start() {
    let dir = tempfile::tempdir().unwrap();
    let consensus = open(&dir).await;
    initialise(&consensus).await;
    let outcome = consensus.write(register("n1")).await.unwrap();
    assert_eq!(outcome.revision, 1);
    assert!(matches!(consensus.write(register("N!")).await, Err(WriteError::Refused(Refusal::BadNode { .. }))));
    let state = consensus.read().await.unwrap();
    consensus.close().await;
    let consensus = open(&dir).await;
    assert_eq!(consensus.read().await.unwrap(), state);
    assert_eq!(consensus.write(register("n2")).await.unwrap().revision, 2);
    consensus.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_purged_behind_snapshots_and_the_state_comes_back_from_them() {
    let dir = tempfile::tempdir().unwrap();
    let consensus = open(&dir).await;
    initialise(&consensus).await;
    let many = 2 * SNAPSHOT_EVERY + 50;
    let writes = futures::stream::iter(0..many).map(|number| {
        let consensus = &consensus;
        async move { consensus.write(register(&format!("n{number}"))).await.unwrap() }
    });
    use futures::StreamExt;
    assert_eq!(writes.buffer_unordered(64).count().await as u64, many);
    let purged = consensus.raft.wait(Some(Duration::from_secs(10)));
    purged.metrics(|metrics| metrics.purged.is_some_and(|purged| purged.index() > 0), "purged").await.unwrap();
    let state = consensus.read().await.unwrap();
    assert_eq!(state.nodes.len() as u64, many);
    consensus.close().await;
    let consensus = open(&dir).await;
    assert_eq!(consensus.read().await.unwrap(), state);
    consensus.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_in_use_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let consensus = open(&dir).await;
    let Err(error) = Consensus::open(dir.path(), roomy()).await else { panic!("opened twice") };
    assert!(matches!(error, OpenError::Locked { .. }), "{error}");
    assert!(error.to_string().contains("in use by another process"), "{error}");
    consensus.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_of_a_newer_version_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    open(&dir).await.close().await;
    let db = redb::Database::open(dir.path().join("state.redb")).unwrap();
    let transaction = db.begin_write().unwrap();
    let mut format = encode(&());
    format[0] = 9;
    let meta: redb::TableDefinition<&str, &[u8]> = redb::TableDefinition::new("meta");
    transaction.open_table(meta).unwrap().insert("format", format.as_slice()).unwrap();
    transaction.commit().unwrap();
    drop(db);
    let Err(error) = Consensus::open(dir.path(), roomy()).await else { panic!("opened a newer format") };
    assert!(error.to_string().contains("format 9") && error.to_string().contains("newer hyphae"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_no_database_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("state.redb"), vec![7; 8192]).unwrap();
    let Err(error) = Consensus::open(dir.path(), roomy()).await else { panic!("opened rubbish") };
    assert!(matches!(error, OpenError::Unusable { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn too_little_room_refuses_writes_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let consensus = Consensus::open(dir.path(), Options { free_bytes_min: u64::MAX }).await.unwrap();
    let error = consensus.write(register("n1")).await.unwrap_err();
    assert!(matches!(error, WriteError::DiskFull { .. }), "{error}");
    assert!(error.to_string().contains("nothing was changed"), "{error}");
    assert!(consensus.read().await.unwrap().nodes.is_empty(), "reads go on");
    consensus.close().await;
}
