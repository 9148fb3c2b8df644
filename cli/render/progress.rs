//! How far a rollout has come, for people.

use crate::render::status::{last_exit, last_lines, state_name};
use crate::render::style::{BAD, GOOD, WARN, clean, paint};
use crate::rollout::Progress;
use hyphae_api::v1::ReplicaState;
use std::fmt::Write;

/// "storefront/web: 2 of 3 running, 1 pulling".
pub(crate) fn line(progress: &Progress) -> String {
    let style = match (progress.settled, progress.failing.is_empty()) {
        (true, _) => GOOD,
        (false, true) => WARN,
        (false, false) => BAD,
    };
    let head = match (progress.wanted, progress.settled) {
        (0, true) => "gone".to_string(),
        (0, false) => "going".to_string(),
        (wanted, _) => format!("{} of {wanted} running", progress.ready),
    };
    let others = progress.others.iter().map(|(state, count)| {
        let state = ReplicaState::try_from(*state).unwrap_or(ReplicaState::Unknown);
        match state {
            ReplicaState::Running => format!("{count} to be replaced"),
            _ => format!("{count} {}", state_name(state)),
        }
    });
    let words: Vec<String> = std::iter::once(head).chain(others).collect();
    format!("{}: {}", clean(&progress.workload), paint(style, words.join(", ")))
}

/// The line, with why the first of those that fail does; for as long as nothing runs, that is what one wants to know.
pub(crate) fn line_with_reason(progress: &Progress) -> String {
    match progress.failing.first().filter(|replica| !replica.reason.is_empty()) {
        Some(replica) => format!("{} ({})", line(progress), clean(&replica.reason)),
        None => line(progress),
    }
}

/// What has failed of a workload, with reasons and last lines.
pub(crate) fn failing(progress: &Progress) -> String {
    let mut text = String::new();
    for replica in &progress.failing {
        let name = format!("{}[{}]", clean(&progress.workload), replica.index);
        let mut words = vec![state_name(replica.state()).to_string()];
        words.extend([clean(&replica.reason).into_owned()].into_iter().filter(|reason| !reason.is_empty()));
        let exit = last_exit(replica);
        if !exit.is_empty() && replica.reason.is_empty() {
            words.push(format!("exit code {exit}"));
        }
        let _ = writeln!(text, "  {} on {}: {}", paint(BAD, name), clean(&replica.node), words.join(", "));
        text.push_str(&last_lines(replica));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyphae_api::v1::ReplicaStatus;

    #[test]
    fn progress_names_what_is_missing_and_why() {
        let backoff = ReplicaStatus {
            index: 2,
            node: "n1".into(),
            state: ReplicaState::Backoff.into(),
            reason: "crash loop: exit code 3, next start in 8 s".into(),
            exit_code: Some(3),
            last_lines: vec!["no such file".into()],
            ..Default::default()
        };
        let progress = Progress {
            workload: "storefront/web".into(),
            ready: 1,
            wanted: 3,
            others: [(ReplicaState::Backoff.into(), 1), (ReplicaState::Running.into(), 1)].into(),
            failing: vec![backoff],
            settled: false,
        };
        let text = format!("{}\n{}", line(&progress), failing(&progress));
        assert_eq!(
            anstream::adapter::strip_str(&text).to_string(),
            "storefront/web: 1 of 3 running, 1 to be replaced, 1 backoff\n  storefront/web[2] on n1: backoff, \
             crash loop: exit code 3, next start in 8 s\n    no such file\n"
        );
    }
}
