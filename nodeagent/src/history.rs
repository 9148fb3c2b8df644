//! What has become of a replica so far, and what follows from it: when it may be started again, or that it never will.
//!
//! Pure; the clock comes in as Unix milliseconds. Kept on disk beside the replica's logs, so that a restarted agent neither
//! forgets that a job is done nor starts a crash loop at full speed again.

use crate::replica::Kind;
use serde::{Deserialize, Serialize};

/// The first pause after a crash.
pub const BACKOFF_MILLIS_MIN: u64 = 1_000;
/// The longest pause between two starts.
pub const BACKOFF_MILLIS_MAX: u64 = 5 * 60 * 1_000;
/// Having run so long, a replica that ends is not in a crash loop.
pub const STABLE_MILLIS: u64 = 10 * 60 * 1_000;

/// How a container ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// As a shell would show it: 137 is SIGKILL. `None`: nobody saw it end (the machine went down, say).
    pub code: Option<i32>,
    /// The kernel killed one of its processes because the memory limit was reached.
    pub oom_killed: bool,
    /// The last lines it wrote.
    pub last_lines: Vec<String>,
}

/// Why it will not be started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    /// A job that ended with 0.
    Completed,
    /// A job that failed more often than its retries allow.
    Failed,
}

/// The past of one replica in one generation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// The generation all of this is about.
    pub generation: u64,
    /// How often it was started again.
    pub restarts: u32,
    /// Failures in a row, of running or of starting, which decide the pause.
    pub failures: u32,
    /// How often it ended with a failure, which decides whether a job is tried again.
    pub crashes: u32,
    /// When it was last started.
    pub started_millis: Option<u64>,
    /// Started, and its end not recorded yet.
    pub running: bool,
    /// It has ended with this code, and the end is not recorded yet.
    pub ending: Option<i32>,
    /// The last end.
    pub exit: Option<Exit>,
    /// Why the last start did not come about.
    pub start_problem: Option<String>,
    /// Not to be started before.
    pub not_before_millis: u64,
    /// The pause that was decided when it ended, for people.
    pub pause_millis: u64,
    /// Never to be started again.
    pub end: Option<End>,
    /// Bytes of stdout and stderr that earlier runs had written when it was last started.
    pub log_marks: (u64, u64),
}

/// The pause after so many failures in a row: 1 s, 2 s, 4 s … 5 min.
pub fn pause_millis(failures: u32) -> u64 {
    match failures {
        0 => 0,
        _ => BACKOFF_MILLIS_MIN.checked_shl((failures - 1).min(20)).unwrap_or(u64::MAX).min(BACKOFF_MILLIS_MAX),
    }
}

impl History {
    /// The start of a generation.
    pub fn new(generation: u64) -> Self {
        Self { generation, ..Self::default() }
    }

    /// It was started.
    pub fn started(&mut self, now_millis: u64) {
        if self.started_millis.is_some() {
            self.restarts = self.restarts.saturating_add(1);
        }
        self.started_millis = Some(now_millis);
        (self.running, self.ending) = (true, None);
        self.start_problem = None;
    }

    /// It ended by itself.
    pub fn ended(&mut self, exit: Exit, kind: Kind, retries: u32, now_millis: u64) {
        let succeeded = exit.code == Some(0);
        let ran_millis = self.started_millis.map_or(0, |started| now_millis.saturating_sub(started));
        self.exit = Some(exit);
        (self.running, self.ending) = (false, None);
        self.start_problem = None;
        if kind == Kind::Job && succeeded {
            self.end = Some(End::Completed);
            return;
        }
        if ran_millis >= STABLE_MILLIS {
            self.failures = 0;
        }
        self.failures = self.failures.saturating_add(1);
        self.crashes = self.crashes.saturating_add(1);
        if kind == Kind::Job && self.crashes > retries {
            self.end = Some(End::Failed);
            return;
        }
        self.pause(now_millis);
    }

    /// It could not be started. Not counted against a job's retries: nothing of it has run.
    pub fn not_started(&mut self, problem: String, now_millis: u64) {
        self.start_problem = Some(problem);
        self.failures = self.failures.saturating_add(1);
        self.pause(now_millis);
    }

    /// When it may be started, given that the clock may have been set back since.
    pub fn start_millis(&self, now_millis: u64) -> u64 {
        self.not_before_millis.min(now_millis.saturating_add(BACKOFF_MILLIS_MAX))
    }

    fn pause(&mut self, now_millis: u64) {
        self.pause_millis = pause_millis(self.failures);
        self.not_before_millis = now_millis.saturating_add(self.pause_millis);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit(code: i32) -> Exit {
        Exit { code: Some(code), ..Exit::default() }
    }

    #[test]
    fn pauses_double_up_to_five_minutes() {
        let pauses: Vec<u64> = (0..12).map(pause_millis).collect();
        assert_eq!(pauses[..5], [0, 1_000, 2_000, 4_000, 8_000]);
        assert_eq!(pauses[9..], [256_000, 300_000, 300_000]);
        assert_eq!(pause_millis(u32::MAX), 300_000);
    }

    #[test]
    fn a_service_that_ran_long_begins_with_a_short_pause_again() {
        let mut history = History::new(1);
        for second in 0..5 {
            history.started(second * 1_000);
            history.ended(exit(1), Kind::Lasting, 0, second * 1_000 + 1);
        }
        assert_eq!((history.failures, history.pause_millis, history.restarts), (5, 16_000, 4));
        history.started(100_000);
        history.ended(exit(1), Kind::Lasting, 0, 100_000 + STABLE_MILLIS);
        assert_eq!((history.failures, history.pause_millis), (1, 1_000));
    }

    #[test]
    fn a_job_is_retried_as_often_as_allowed_and_then_never() {
        let mut history = History::new(1);
        history.ended(exit(3), Kind::Job, 2, 0);
        history.ended(exit(3), Kind::Job, 2, 0);
        assert_eq!(history.end, None);
        history.ended(exit(3), Kind::Job, 2, 0);
        assert_eq!(history.end, Some(End::Failed));
        let mut history = History::new(1);
        history.not_started("the registry is down".into(), 0);
        history.ended(exit(0), Kind::Job, 0, 0);
        assert_eq!(history.end, Some(End::Completed));
    }

    #[test]
    fn a_clock_set_back_does_not_keep_a_replica_down() {
        let mut history = History::new(1);
        history.ended(exit(1), Kind::Lasting, 0, 10_000_000_000);
        assert_eq!(history.start_millis(0), BACKOFF_MILLIS_MAX);
    }
}
