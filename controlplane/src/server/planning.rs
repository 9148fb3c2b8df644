//! Planning is long and pure: it runs on threads that may block, a couple at once; a bounded number of others wait their turn.

use std::time::Duration;
use tokio::sync::Semaphore;
use tonic::Status;

/// Plans made at once.
const RUNNING_MAX: usize = 2;
/// Plans made and waiting.
const WAITING_MAX: usize = 16;
/// Longest wait for a turn.
const WAIT_MAX: Duration = Duration::from_secs(120);
/// When no deadline is asked for.
const DEADLINE_DEFAULT: Duration = Duration::from_secs(10);
/// Longer ones are cut.
const DEADLINE_MAX: Duration = Duration::from_secs(60);

/// The turns.
pub(super) struct Planning {
    running: Semaphore,
    waiting: Semaphore,
}

impl Default for Planning {
    fn default() -> Self {
        Self { running: Semaphore::new(RUNNING_MAX), waiting: Semaphore::new(WAITING_MAX) }
    }
}

impl Planning {
    /// Runs it when its turn has come.
    pub(super) async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Status> {
        let busy =
            || Status::resource_exhausted(format!("{WAITING_MAX} plans are being made already; try again later"));
        let _waiting = self.waiting.try_acquire().map_err(|_| busy())?;
        let turn = tokio::time::timeout(WAIT_MAX, self.running.acquire()).await;
        let _turn = turn.map_err(|_| busy())?.map_err(|_| Status::unavailable("the server is ending"))?;
        tokio::task::spawn_blocking(work).await.map_err(|error| {
            tracing::error!(%error, "the planner panicked");
            Status::internal("the planner panicked: a bug; nothing was changed")
        })
    }
}

/// The time a plan may take.
pub(super) fn deadline(asked_millis: u64) -> Duration {
    match asked_millis {
        0 => DEADLINE_DEFAULT,
        asked => Duration::from_millis(asked).min(DEADLINE_MAX),
    }
}
