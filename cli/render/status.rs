//! Workloads and their replicas for people.

use crate::render::amounts::age;
use crate::render::style::{BAD, BOLD, DIM, GOOD, WARN, clean, paint};
use crate::render::table::{Cell, table};
use anstyle::Style;
use hyphae_api::v1::{ReplicaState, ReplicaStatus, RolloutStatus, WorkloadStatus};
use std::fmt::Write;

/// One row for each workload.
pub(crate) fn workloads(workloads: &[WorkloadStatus]) -> String {
    let rows: Vec<Vec<Cell>> = workloads.iter().map(workload_row).collect();
    table(&["WORKLOAD", "KIND", "RUNNING", "STATE", "GENERATION", "IMAGE"], &rows)
}

fn workload_row(workload: &WorkloadStatus) -> Vec<Cell> {
    let (style, state) = condition(workload);
    vec![
        Cell::plain(&workload.name),
        Cell::plain(&workload.kind),
        Cell::styled(style, format!("{}/{}", workload.running, workload.wanted)),
        Cell::styled(style, state),
        Cell::plain(workload.generation.to_string()),
        Cell::plain(&workload.image),
    ]
}

/// "revision 7 is being carried out: wave 2 of 3, waiting for …".
pub(crate) fn rollout(rollout: &RolloutStatus) -> String {
    let waves = format!("wave {} of {}", rollout.released, rollout.waves);
    let waiting: Vec<_> = rollout.waiting_for.iter().map(|what| clean(what)).collect();
    let waiting = if waiting.is_empty() { String::new() } else { format!(", waiting for {}", waiting.join(", ")) };
    format!("\n{} {waves}{waiting}\n", paint(WARN, format!("revision {} is being carried out:", rollout.revision)))
}

/// A workload's condition in a few words: the worst thing about it first.
fn condition(workload: &WorkloadStatus) -> (Style, String) {
    let count = |state: ReplicaState| workload.replicas.iter().filter(|replica| replica.state() == state).count();
    let worst_first = [
        (BAD, ReplicaState::Failed),
        (BAD, ReplicaState::Backoff),
        (WARN, ReplicaState::Unknown),
        (WARN, ReplicaState::Stopping),
        (WARN, ReplicaState::Pulling),
        (WARN, ReplicaState::Starting),
        (WARN, ReplicaState::Pending),
    ];
    let mut style = GOOD;
    let mut words = Vec::new();
    if workload.unplaced > 0 {
        words.push(format!("{} unplaced", workload.unplaced));
        style = BAD;
    }
    for (its_style, state) in worst_first {
        if count(state) > 0 {
            style = if words.is_empty() { its_style } else { style };
            words.push(format!("{} {}", count(state), state_name(state)));
        }
    }
    if workload.completed > 0 {
        words.push(format!("{} completed", workload.completed));
    }
    if words.is_empty() {
        let missing = workload.running < workload.wanted;
        return if missing { (WARN, "waiting".to_string()) } else { (GOOD, "ok".to_string()) };
    }
    (style, words.join(", "))
}

/// A state as people write it.
pub(crate) fn state_name(state: ReplicaState) -> &'static str {
    match state {
        ReplicaState::Unknown => "unknown",
        ReplicaState::Pending => "pending",
        ReplicaState::Pulling => "pulling",
        ReplicaState::Starting => "starting",
        ReplicaState::Running => "running",
        ReplicaState::Backoff => "backoff",
        ReplicaState::Stopping => "stopping",
        ReplicaState::Completed => "completed",
        ReplicaState::Failed => "failed",
        ReplicaState::Stopped => "stopped",
    }
}

fn state_style(state: ReplicaState) -> Style {
    match state {
        ReplicaState::Running | ReplicaState::Completed => GOOD,
        ReplicaState::Backoff | ReplicaState::Failed => BAD,
        ReplicaState::Stopped => DIM,
        _ => WARN,
    }
}

/// One row for each replica of all the workloads, then what the failing ones said last.
pub(crate) fn replicas(workloads: &[WorkloadStatus], now_unix_millis: u64) -> String {
    let all = || workloads.iter().flat_map(|workload| workload.replicas.iter().map(move |replica| (workload, replica)));
    let rows: Vec<Vec<Cell>> =
        all().map(|(workload, replica)| replica_row(workload, replica, now_unix_millis)).collect();
    let mut text =
        table(&["REPLICA", "NODE", "STATE", "FOR", "RESTARTS", "LAST EXIT", "GENERATION", "ADDRESS", "REASON"], &rows);
    for (workload, replica) in all().filter(|(_, replica)| !replica.last_lines.is_empty()) {
        let head = format!("last lines of {}", replica_name(workload, replica));
        let _ = write!(text, "\n{}\n{}", paint(BOLD, head), last_lines(replica));
    }
    text
}

/// `storefront/web[2]`.
pub(crate) fn replica_name(workload: &WorkloadStatus, replica: &ReplicaStatus) -> String {
    format!("{}[{}]", clean(&workload.name), replica.index)
}

fn replica_row(workload: &WorkloadStatus, replica: &ReplicaStatus, now_unix_millis: u64) -> Vec<Cell> {
    let state = replica.state();
    vec![
        Cell::plain(replica_name(workload, replica)),
        Cell::plain(&replica.node),
        Cell::styled(state_style(state), state_name(state)),
        Cell::plain(age(now_unix_millis, replica.changed_unix_millis)),
        Cell::plain(replica.restarts.to_string()),
        Cell::plain(last_exit(replica)),
        Cell::plain(replica.generation.to_string()),
        Cell::plain(&replica.address),
        Cell::plain(&replica.reason),
    ]
}

/// "out of memory", "3", or nothing.
pub(crate) fn last_exit(replica: &ReplicaStatus) -> String {
    match (replica.oom_killed, replica.exit_code) {
        (true, Some(code)) => format!("{code} (out of memory)"),
        (true, None) => "out of memory".to_string(),
        (false, Some(code)) => code.to_string(),
        (false, None) => String::new(),
    }
}

/// The last lines of output, indented.
pub(crate) fn last_lines(replica: &ReplicaStatus) -> String {
    replica.last_lines.iter().map(|line| format!("    {}\n", clean(line))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replica(index: u32, state: ReplicaState) -> ReplicaStatus {
        ReplicaStatus {
            index,
            node: "n1".into(),
            generation: 2,
            state: state.into(),
            address: format!("fd00::{index}"),
            changed_unix_millis: 1_000,
            ..Default::default()
        }
    }

    fn crashing() -> WorkloadStatus {
        let backoff = ReplicaStatus {
            reason: "crash loop: exit code 3, next start in 8 s".into(),
            restarts: 4,
            exit_code: Some(3),
            last_lines: vec!["cannot open /etc/web.toml".into(), "\u{1b}[2Jbye".into()],
            ..replica(1, ReplicaState::Backoff)
        };
        let oom = ReplicaStatus { oom_killed: true, exit_code: Some(137), ..replica(2, ReplicaState::Failed) };
        WorkloadStatus {
            name: "storefront/web".into(),
            kind: "service".into(),
            wanted: 3,
            running: 1,
            generation: 2,
            image: "registry.example/web:1.4.2".into(),
            replicas: vec![replica(0, ReplicaState::Running), backoff, oom],
            ..Default::default()
        }
    }

    fn job() -> WorkloadStatus {
        WorkloadStatus {
            name: "a/b".into(),
            kind: "job".into(),
            wanted: 1,
            completed: 1,
            unplaced: 1,
            ..Default::default()
        }
    }

    #[test]
    fn workloads_show_the_worst_about_them() {
        let text = anstream::adapter::strip_str(&workloads(&[crashing(), job()])).to_string();
        insta::assert_snapshot!(text);
    }

    #[test]
    fn replicas_show_exits_and_last_lines() {
        let text = anstream::adapter::strip_str(&replicas(&[crashing()], 61_000)).to_string();
        insta::assert_snapshot!(text);
    }
}
