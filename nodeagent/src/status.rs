//! How a replica's state is told: to the server, and through it to people. Pure.

use crate::history::{End, Exit, History};
use crate::reconcile::{Container, Doing, ImageSeen, Runtime, Seen};
use crate::replica::{ReplicaId, Wanted};
use hyphae_api::v1::{ReplicaState, ReplicaStatus};

/// Everything a status is made of.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// Which replica.
    pub id: &'a ReplicaId,
    /// This node's name.
    pub node: &'a str,
    /// What is wanted of it, if it is.
    pub wanted: Option<&'a Wanted>,
    /// What is seen of it, if anything.
    pub seen: Option<&'a Seen>,
    /// What is seen of its image.
    pub image: Option<&'a ImageSeen>,
    /// Whether containerd answers.
    pub runtime: Runtime,
}

/// The status as it is reported; `changed_unix_millis` is left to the caller, who knows the one before.
pub fn status(subject: &Subject) -> ReplicaStatus {
    let past = History::default();
    let history = subject.seen.map_or(&past, |seen| &seen.history);
    let wanted_generation = subject.wanted.map(|wanted| wanted.generation);
    let (state, reason) = state(subject);
    // Of an older generation only what runs is worth telling.
    let history =
        if wanted_generation.is_some_and(|generation| generation != history.generation) { &past } else { history };
    let exit = history.exit.clone().unwrap_or_default();
    ReplicaStatus {
        workload: subject.id.workload.clone(),
        index: subject.id.index,
        node: subject.node.to_owned(),
        generation: shown_generation(subject).or(wanted_generation).unwrap_or(history.generation),
        state: state.into(),
        address: subject.wanted.map(|wanted| wanted.spec.address.clone()).unwrap_or_default(),
        reason,
        restarts: history.restarts,
        exit_code: exit.code,
        oom_killed: exit.oom_killed,
        last_lines: exit.last_lines,
        changed_unix_millis: 0,
    }
}

/// The generation of the container that is there.
fn shown_generation(subject: &Subject) -> Option<u64> {
    match subject.seen?.container {
        Container::Running { generation } => Some(generation),
        _ => None,
    }
}

fn state(subject: &Subject) -> (ReplicaState, String) {
    let is_absent = subject.seen.is_none_or(|seen| seen.container == Container::Absent);
    if let (true, Some(reason)) = (is_absent, subject.wanted.and_then(|wanted| wanted.refused.clone())) {
        return (ReplicaState::Failed, reason);
    }
    // What has ended for good is known whether or not containerd answers.
    let is_over = |wanted: &Wanted| {
        subject.seen.is_some_and(|seen| seen.history.end.is_some() && seen.history.generation == wanted.generation)
    };
    if subject.runtime == Runtime::Unknown && !(is_absent && subject.wanted.is_some_and(is_over)) {
        return (ReplicaState::Unknown, "containerd does not answer; what runs goes on running".into());
    }
    let Some(seen) = subject.seen else { return waiting(subject, &History::default()) };
    match (seen.container, seen.doing) {
        (_, Some(Doing::Starting)) => (ReplicaState::Starting, "creating network and container".into()),
        (Container::Unknown, _) => (ReplicaState::Unknown, "being looked at again".into()),
        (Container::Running { generation }, _) => match subject.wanted {
            Some(wanted) if wanted.generation == generation => (ReplicaState::Running, String::new()),
            Some(wanted) => {
                (ReplicaState::Stopping, format!("generation {generation} makes room for {}", wanted.generation))
            }
            None => (ReplicaState::Stopping, "no longer wanted here".into()),
        },
        (Container::Exited { .. } | Container::Incomplete { .. }, _)
            if subject.wanted.is_none() || seen.stopping.is_some() =>
        {
            (ReplicaState::Stopping, "ended, being removed".into())
        }
        (Container::Exited { .. } | Container::Incomplete { .. }, _) => {
            (ReplicaState::Backoff, "ended, being collected".into())
        }
        (Container::Absent, Some(_)) if subject.wanted.is_none() => {
            (ReplicaState::Stopping, "ended, being removed".into())
        }
        (Container::Absent, _) if subject.wanted.is_none() => (ReplicaState::Stopped, String::new()),
        (Container::Absent, _) => waiting(subject, &seen.history),
    }
}

/// Wanted, and there is no container.
fn waiting(subject: &Subject, history: &History) -> (ReplicaState, String) {
    let Some(wanted) = subject.wanted else { return (ReplicaState::Stopped, String::new()) };
    let past = History::default();
    let history = if history.generation == wanted.generation { history } else { &past };
    let memory_limit = wanted.spec.limit_memory_bytes;
    let ended = history.exit.as_ref().map(|exit| exit_text(exit, memory_limit));
    match (history.end, &ended) {
        (Some(End::Completed), _) => return (ReplicaState::Completed, String::new()),
        (Some(End::Failed), ended) => {
            let tries = history.crashes;
            let times = if tries == 1 { "once".to_owned() } else { format!("{tries} times") };
            return (
                ReplicaState::Failed,
                format!("tried {times}, the last time: {}", ended.as_deref().unwrap_or("unknown")),
            );
        }
        (None, _) => {}
    }
    let image = &wanted.spec.image;
    match subject.image {
        Some(ImageSeen::Pulling { layers: 0, .. }) => return (ReplicaState::Pulling, format!("pulling {image}")),
        Some(ImageSeen::Pulling { layers_done, layers }) => {
            return (ReplicaState::Pulling, format!("pulling {image} ({layers_done} of {layers} layers)"));
        }
        Some(ImageSeen::Failed { problem, failures, .. }) => {
            let pause = seconds(crate::history::pause_millis(*failures));
            return (ReplicaState::Backoff, format!("{problem}; next try in {pause}"));
        }
        Some(ImageSeen::Ready) | None => {}
    }
    let pause = seconds(history.pause_millis);
    match (&history.start_problem, ended) {
        (Some(problem), _) => (ReplicaState::Backoff, format!("{problem}; next try in {pause}")),
        (None, Some(ended)) if history.failures > 1 => {
            (ReplicaState::Backoff, format!("crash loop: {ended}, next start in {pause}"))
        }
        (None, Some(ended)) => (ReplicaState::Backoff, format!("{ended}, next start in {pause}")),
        (None, None) => (ReplicaState::Pending, String::new()),
    }
}

/// "exit code 3", "out of memory (limit 64MiB)".
pub fn exit_text(exit: &Exit, memory_limit_bytes: u64) -> String {
    match (exit.oom_killed, exit.code) {
        (true, _) if memory_limit_bytes > 0 => format!("out of memory (limit {})", bytes_text(memory_limit_bytes)),
        (true, _) => "out of memory".into(),
        (false, Some(code @ 129..=192)) => format!("exit code {code} (signal {})", code - 128),
        (false, Some(code)) => format!("exit code {code}"),
        (false, None) => "nobody saw how it ended".into(),
    }
}

/// The largest binary unit that divides it.
pub fn bytes_text(bytes: u64) -> String {
    let units = [(1u64 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match units.iter().find(|(size, _)| bytes >= *size && bytes.is_multiple_of(*size)) {
        Some((size, unit)) => format!("{}{unit}", bytes / size),
        None => format!("{bytes}B"),
    }
}

fn seconds(millis: u64) -> String {
    match millis / 1_000 {
        whole if whole >= 120 => format!("{} min", whole / 60),
        whole => format!("{whole} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reconcile::Traces;
    use crate::replica::{Kind, WantedShare};
    use hyphae_api::v1;

    fn wanted(kind: &str) -> WantedShare {
        WantedShare::read(&v1::Share {
            revision: 1,
            replicas: vec![v1::Replica {
                workload: "shop/web".into(),
                generation: 2,
                kind: kind.into(),
                image: "registry.example/web:1".into(),
                address: "fd00::1".into(),
                limit_memory_bytes: 64 << 20,
                ..Default::default()
            }],
        })
    }

    fn told(kind: &str, seen: Option<Seen>, image: Option<ImageSeen>) -> (ReplicaState, String) {
        let share = wanted(kind);
        let (id, wanted) = share.replicas.first_key_value().expect("one replica");
        let subject = Subject {
            id,
            node: "n1",
            wanted: Some(wanted),
            seen: seen.as_ref(),
            image: image.as_ref(),
            runtime: Runtime::Listed,
        };
        let status = status(&subject);
        (status.state(), status.reason)
    }

    fn ended(kind: Kind, codes: &[i32], oom_killed: bool) -> Seen {
        let mut history = History::new(2);
        for code in codes {
            history.started(0);
            history.ended(Exit { code: Some(*code), oom_killed, last_lines: vec![] }, kind, 1, 0);
        }
        Seen { history, traces: Traces::All, ..Seen::absent() }
    }

    #[test]
    fn each_state_is_told_with_its_reason() {
        let image = "registry.example/web:1";
        let pulling = |layers_done, layers| Some(ImageSeen::Pulling { layers_done, layers });
        let failed = ImageSeen::Failed { problem: "no such image".into(), failures: 4, not_before_millis: 9 };
        for (told, state, reason) in [
            (told("service", None, None), ReplicaState::Pending, String::new()),
            (told("service", None, pulling(0, 0)), ReplicaState::Pulling, format!("pulling {image}")),
            (told("service", None, pulling(3, 5)), ReplicaState::Pulling, format!("pulling {image} (3 of 5 layers)")),
            (told("service", None, Some(failed)), ReplicaState::Backoff, "no such image; next try in 8 s".into()),
            (
                told("service", Some(ended(Kind::Lasting, &[3], false)), Some(ImageSeen::Ready)),
                ReplicaState::Backoff,
                "exit code 3, next start in 1 s".into(),
            ),
            (
                told("service", Some(ended(Kind::Lasting, &[3, 3, 3, 3], false)), Some(ImageSeen::Ready)),
                ReplicaState::Backoff,
                "crash loop: exit code 3, next start in 8 s".into(),
            ),
            (
                told("service", Some(ended(Kind::Lasting, &[137], true)), Some(ImageSeen::Ready)),
                ReplicaState::Backoff,
                "out of memory (limit 64MiB), next start in 1 s".into(),
            ),
            (told("job", Some(ended(Kind::Job, &[0], false)), None), ReplicaState::Completed, String::new()),
            (
                told("job", Some(ended(Kind::Job, &[3, 143], false)), None),
                ReplicaState::Failed,
                "tried 2 times, the last time: exit code 143 (signal 15)".into(),
            ),
        ] {
            assert_eq!(told, (state, reason));
        }
    }

    #[test]
    fn the_past_of_an_older_generation_is_not_told() {
        let mut seen = ended(Kind::Lasting, &[3, 3], false);
        seen.history.generation = 1;
        assert_eq!(told("service", Some(seen), None), (ReplicaState::Pending, String::new()));
    }
}
