//! The state machine: the [`State`] in memory, its snapshots in the store.

use super::store::{Store, StoredSnapshot};
use super::{Reply, TypeConfig};
use crate::state::commands::Effect;
use crate::state::{Command, Outcome, State, decode, encode};
use futures::{Stream, TryStreamExt};
use openraft::alias::{LogIdOf, SnapshotMetaOf, SnapshotOf, StoredMembershipOf};
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use openraft::{BasicNode, EntryPayload, OptionalSend};
use std::io;
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};
use tokio::sync::watch;

/// What has been applied so far.
#[derive(Default)]
struct Applied {
    /// Shared with readers; copied on the next change if one still holds it.
    state: Arc<State>,
    last: Option<LogIdOf<TypeConfig>>,
    membership: StoredMembershipOf<TypeConfig>,
}

/// A handle; all clones are the same machine.
#[derive(Clone)]
pub(super) struct Machine {
    applied: Arc<RwLock<Applied>>,
    changes: watch::Sender<u64>,
    store: Store,
}

impl Machine {
    pub(super) fn new(store: Store) -> Self {
        Self { applied: Arc::default(), changes: watch::Sender::new(0), store }
    }

    pub(super) fn state(&self) -> Arc<State> {
        self.read().state.clone()
    }

    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn read(&self) -> RwLockReadGuard<'_, Applied> {
        self.applied.read().expect("only a broken invariant panics while it writes, and consensus ends then")
    }

    fn write(&self) -> RwLockWriteGuard<'_, Applied> {
        self.applied.write().expect("only a broken invariant panics while it writes, and consensus ends then")
    }

    fn apply_entry(&self, log_id: LogIdOf<TypeConfig>, payload: EntryPayload<Command, u64, BasicNode>) -> Reply {
        let mut applied = self.write();
        applied.last = Some(log_id);
        let reply = match payload {
            EntryPayload::Blank => Ok(unchanged(&applied.state)),
            EntryPayload::Membership(membership) => {
                applied.membership = StoredMembershipOf::<TypeConfig>::new(Some(log_id), membership);
                Ok(unchanged(&applied.state))
            }
            EntryPayload::Normal(command) => Arc::make_mut(&mut applied.state).apply(command),
        };
        drop(applied);
        if matches!(reply, Ok(Outcome { effect: Effect::Changed, .. })) {
            self.changes.send_modify(|changes| *changes += 1);
        }
        reply
    }
}

fn unchanged(state: &State) -> Outcome {
    Outcome { revision: state.revision, effect: Effect::Unchanged }
}

impl RaftSnapshotBuilder<TypeConfig> for Machine {
    type SnapshotData = Vec<u8>;

    async fn build_snapshot(&mut self) -> Result<SnapshotOf<TypeConfig, Vec<u8>>, io::Error> {
        let (state, meta) = {
            let applied = self.read();
            let meta =
                SnapshotMetaOf::<TypeConfig> { last_log_id: applied.last, last_membership: applied.membership.clone() };
            (applied.state.clone(), meta)
        };
        let bytes = tokio::task::spawn_blocking(move || encode(&*state)).await.map_err(io::Error::other)?;
        self.store.save_snapshot(StoredSnapshot { meta: meta.clone(), state: bytes.clone() }).await?;
        Ok(SnapshotOf::<TypeConfig, Vec<u8>> { meta, snapshot: bytes })
    }
}

impl RaftStateMachine<TypeConfig> for Machine {
    type SnapshotData = Vec<u8>;
    type SnapshotBuilder = Self;

    async fn applied_state(
        &mut self,
    ) -> Result<(Option<LogIdOf<TypeConfig>>, StoredMembershipOf<TypeConfig>), io::Error> {
        let applied = self.read();
        Ok((applied.last, applied.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        while let Some((entry, responder)) = entries.try_next().await? {
            let reply = self.apply_entry(entry.log_id, entry.payload);
            if let Some(responder) = responder {
                responder.send(reply);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMetaOf<TypeConfig>,
        snapshot: Vec<u8>,
    ) -> Result<(), io::Error> {
        let state: State = decode(&snapshot).map_err(io::Error::other)?;
        self.store.save_snapshot(StoredSnapshot { meta: meta.clone(), state: snapshot }).await?;
        {
            let mut applied = self.write();
            applied.state = Arc::new(state);
            applied.last = meta.last_log_id;
            applied.membership = meta.last_membership.clone();
        }
        self.changes.send_modify(|changes| *changes += 1);
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<SnapshotOf<TypeConfig, Vec<u8>>>, io::Error> {
        let stored = self.store.load_snapshot().await?;
        Ok(stored.map(|stored| SnapshotOf::<TypeConfig, Vec<u8>> { meta: stored.meta, snapshot: stored.state }))
    }
}
