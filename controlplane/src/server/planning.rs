//! Planning is long and pure: it runs on threads that may block, a couple at once; a bounded number of others wait their turn. A plan that
//! nobody waits for any more is ended.

use hyphae_solver::Cancel;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
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
    running: Arc<Semaphore>,
    waiting: Semaphore,
    /// Switches that nobody uses. There are as many as there have been turns at once.
    switches: Arc<Mutex<Vec<Cancel>>>,
}

impl Default for Planning {
    fn default() -> Self {
        let (running, waiting) = (Arc::new(Semaphore::new(RUNNING_MAX)), Semaphore::new(WAITING_MAX));
        Self { running, waiting, switches: Arc::default() }
    }
}

/// A turn, held by the work and by whoever waits for it: it is over when both are done with it.
struct Turn {
    cancel: Cancel,
    switches: Arc<Mutex<Vec<Cancel>>>,
    _permit: OwnedSemaphorePermit,
}

impl Turn {
    fn new(permit: OwnedSemaphorePermit, switches: &Arc<Mutex<Vec<Cancel>>>) -> Self {
        let free = switches.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Self { cancel: free.unwrap_or_else(Cancel::new), switches: switches.clone(), _permit: permit }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.cancel.reset();
        self.switches.lock().unwrap_or_else(PoisonError::into_inner).push(self.cancel);
    }
}

/// Whoever waits: gone, with an answer or without, nobody wants one any more.
struct Waits(Arc<Turn>);

impl Drop for Waits {
    fn drop(&mut self) {
        self.0.cancel.cancel();
    }
}

impl Planning {
    /// Runs it when its turn has come. The switch it is given goes on when the returned future is dropped before it is done, as it is when
    /// the client has gone away.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(Cancel) -> T + Send + 'static,
    ) -> Result<T, Status> {
        let busy =
            || Status::resource_exhausted(format!("{WAITING_MAX} plans are being made already; try again later"));
        let _waiting = self.waiting.try_acquire().map_err(|_| busy())?;
        let turn = tokio::time::timeout(WAIT_MAX, self.running.clone().acquire_owned()).await;
        let permit = turn.map_err(|_| busy())?.map_err(|_| Status::unavailable("the server is ending"))?;
        let turn = Arc::new(Turn::new(permit, &self.switches));
        let _waits = Waits(turn.clone());
        tokio::task::spawn_blocking(move || work(turn.cancel)).await.map_err(|error| {
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[tokio::test(flavor = "multi_thread")]
    async fn what_nobody_waits_for_is_ended_and_keeps_its_turn_until_then() {
        let planning = Planning::default();
        for _ in 0..3 * RUNNING_MAX {
            let (ended, ends) = mpsc::channel();
            let (begun, begins) = tokio::sync::oneshot::channel();
            let endless = planning.run(move |cancel| {
                let _told = begun.send(cancel.is_on());
                while !cancel.is_on() {
                    std::thread::yield_now();
                }
                ended.send(()).unwrap();
            });
            tokio::select! {
                _ = endless => panic!("it waits to be ended"),
                was_on = begins => assert!(!was_on.unwrap(), "the switch of the one before is off again"),
            }
            ends.recv_timeout(Duration::from_secs(60)).expect("it is told that nobody waits");
        }
        assert!(planning.switches.lock().unwrap().len() <= RUNNING_MAX);
        assert!(!planning.run(Cancel::is_on).await.unwrap(), "what somebody waits for is not ended");
    }
}
