//! Waiting for the outside world, with a bound.

use std::time::{Duration, Instant};

/// Asks every 25 ms until `ready` gives a value.
///
/// # Panics
/// When that has not happened within `limit`; `what` says what was waited for.
pub fn wait_until<T>(what: &str, limit: Duration, ready: impl FnMut() -> Option<T>) -> T {
    try_wait_until(limit, ready).unwrap_or_else(|| panic!("waited {limit:?} in vain: {what}"))
}

/// Like [`wait_until`]; `None` when the time is up.
pub fn try_wait_until<T>(limit: Duration, mut ready: impl FnMut() -> Option<T>) -> Option<T> {
    let begun = Instant::now();
    loop {
        if let Some(value) = ready() {
            return Some(value);
        }
        if begun.elapsed() > limit {
            return None;
        }
        std::thread::sleep(Duration::from_millis(25));
    }
}
