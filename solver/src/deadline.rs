//! The only clock the solver reads: how long until it must answer, and whether anybody still wants the answer.
#![expect(clippy::disallowed_methods, reason = "a deadline is the one thing the solver wants from a clock")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A switch by which another thread ends a search early; the best so far is then the answer. Copies are the same switch.
///
/// It is one byte that lives as long as the process: make one for each thread that plans, and [`Cancel::reset`] it.
#[derive(Debug, Clone, Copy)]
pub struct Cancel(&'static AtomicBool);

impl Cancel {
    /// A switch that is off.
    #[expect(clippy::new_without_default, reason = "making one has a price, so it is asked for by name")]
    pub fn new() -> Cancel {
        Cancel(Box::leak(Box::new(AtomicBool::new(false))))
    }

    /// Ends the searches that were given this switch, within 100 ms.
    pub fn cancel(self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Off again, for the next search.
    pub fn reset(self) {
        self.0.store(false, Ordering::Relaxed);
    }

    /// Whether somebody has ended the search.
    pub fn is_on(self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl PartialEq for Cancel {
    fn eq(&self, other: &Cancel) -> bool {
        std::ptr::eq(self.0, other.0)
    }
}

impl Eq for Cancel {}

/// A moment after which only what has been found counts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline {
    at: Instant,
    cancel: Option<Cancel>,
}

impl Deadline {
    /// From now. Limits beyond a day are a day.
    pub(crate) fn after(limit: Duration) -> Deadline {
        Deadline { at: Instant::now() + limit.min(Duration::from_secs(86_400)), cancel: None }
    }

    /// The same, or as soon as the switch is on.
    pub(crate) fn or_cancel(self, cancel: Option<Cancel>) -> Deadline {
        Deadline { cancel, ..self }
    }

    pub(crate) fn remaining(self) -> Duration {
        if self.cancel.is_some_and(Cancel::is_on) {
            return Duration::ZERO;
        }
        self.at.saturating_duration_since(Instant::now())
    }

    pub(crate) fn passed(self) -> bool {
        self.remaining().is_zero()
    }

    /// The sooner of this one and `limit` from now.
    pub(crate) fn within(self, limit: Duration) -> Deadline {
        Deadline { at: self.at.min(Deadline::after(limit).at), cancel: self.cancel }
    }
}
