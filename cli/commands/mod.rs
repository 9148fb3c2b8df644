//! A file for each subcommand: its arguments and what it does.

pub(crate) mod agent;
pub(crate) mod apply;
pub(crate) mod completions;
pub(crate) mod cordon;
pub(crate) mod delete;
pub(crate) mod dev;
pub(crate) mod diff;
pub(crate) mod events;
pub(crate) mod explain;
pub(crate) mod fmt;
pub(crate) mod logs;
pub(crate) mod nodes;
pub(crate) mod plan;
pub(crate) mod policy;
pub(crate) mod server;
pub(crate) mod status;
pub(crate) mod validate;

use crate::failure::Failure;

/// Runs a command that waits for others.
pub(crate) fn asynchronously<T>(command: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|source| Failure::Part {
        what: "cannot start the threads this needs".to_string(),
        help: None,
        source: source.into(),
    })?;
    runtime.block_on(command)
}

/// Milliseconds since 1970, for ages in listings.
#[expect(clippy::disallowed_methods, reason = "listings show how long ago things happened, by this machine's clock")]
pub(crate) fn now_unix_millis() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Returns when the process is asked to end, with the signal's name. Handlers that cannot be installed never return: then a signal
/// ends the process at once, as it does by default.
pub(crate) async fn told_to_end() -> &'static str {
    use tokio::signal::unix::{SignalKind, signal};
    let received = |kind: SignalKind| async move {
        match signal(kind) {
            Ok(mut signals) => {
                signals.recv().await;
            }
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        () = received(SignalKind::interrupt()) => "SIGINT",
        () = received(SignalKind::terminate()) => "SIGTERM",
    }
}
