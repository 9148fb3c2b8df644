//! The only clock the solver reads: how long until it must answer.
#![expect(clippy::disallowed_methods, reason = "a deadline is the one thing the solver wants from a clock")]

use std::time::{Duration, Instant};

/// A moment after which only what has been found counts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline(Instant);

impl Deadline {
    /// From now. Limits beyond a day are a day.
    pub(crate) fn after(limit: Duration) -> Deadline {
        Deadline(Instant::now() + limit.min(Duration::from_secs(86_400)))
    }

    pub(crate) fn remaining(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    pub(crate) fn passed(self) -> bool {
        self.remaining().is_zero()
    }

    /// The sooner of this one and `limit` from now.
    pub(crate) fn within(self, limit: Duration) -> Deadline {
        Deadline(self.0.min(Deadline::after(limit).0))
    }
}
