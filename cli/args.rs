//! The arguments: one list of subcommands, and the values that several of them take.

use crate::commands;
use crate::failure::{Failure, Outcome};
use clap::{Parser, Subcommand, ValueEnum};
use hyphae_policy::UserFacts;
use std::time::Duration;

/// Longest time that an option may name: an hour.
const DURATION_SECONDS_MAX: u64 = 3600;

/// A container orchestrator that places workloads by logic.
#[derive(Debug, Parser)]
#[command(
    name = "hyphae",
    version,
    max_term_width = 110,
    after_help = "Exit codes: 0 done; 1 error in the input or the connection; 2 there are changes (plan --detailed-exitcode); \
                  3 denied by a policy; 4 something wanted cannot be placed.",
    after_long_help = "\
Examples:
  hyphae validate shop/                       check specs and policies, all problems at once
  hyphae plan --inventory nodes.kdl shop/     plan offline: no server, no root, no containerd
  sudo hyphae dev                             a cluster of one: server and agent on this machine
  sudo hyphae apply shop/                     show the plan, ask, carry it out, watch it run
  sudo hyphae status                          what runs
  sudo hyphae logs storefront/web             what it says

Exit codes:
  0  done
  1  error in the input or the connection
  2  there are changes (plan --detailed-exitcode)
  3  denied by a policy
  4  something wanted cannot be placed

Data goes to stdout, everything else to stderr. NO_COLOR is respected; RUST_LOG sets what is logged."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Plan(commands::plan::PlanArgs),
    Apply(commands::apply::ApplyArgs),
    Diff(commands::diff::DiffArgs),
    Validate(commands::validate::ValidateArgs),
    Fmt(commands::fmt::FmtArgs),
    Policy(commands::policy::PolicyArgs),
    Status(commands::status::StatusArgs),
    Explain(commands::explain::ExplainArgs),
    Logs(commands::logs::LogsArgs),
    Events(commands::events::EventsArgs),
    Nodes(commands::nodes::NodesArgs),
    Cordon(commands::cordon::CordonArgs),
    Uncordon(commands::cordon::UncordonArgs),
    Delete(commands::delete::DeleteArgs),
    Dev(commands::dev::DevArgs),
    Server(commands::server::ServerCommandArgs),
    Agent(commands::agent::AgentArgs),
    Completions(commands::completions::CompletionsArgs),
}

impl Command {
    /// Whether it goes on until it is told to stop, and logs what it does.
    pub(crate) fn is_daemon(&self) -> bool {
        matches!(self, Self::Server(_) | Self::Agent(_) | Self::Dev(_))
    }

    /// Does it.
    pub(crate) fn run(self) -> Result<Outcome, Failure> {
        match self {
            Self::Plan(args) => commands::plan::run(&args),
            Self::Apply(args) => commands::asynchronously(commands::apply::run(args)),
            Self::Diff(args) => commands::asynchronously(commands::diff::run(args)),
            Self::Validate(args) => commands::validate::run(&args),
            Self::Fmt(args) => commands::fmt::run(&args),
            Self::Policy(args) => commands::policy::run(&args),
            Self::Status(args) => commands::asynchronously(commands::status::run(args)),
            Self::Explain(args) => commands::asynchronously(commands::explain::run(args)),
            Self::Logs(args) => commands::asynchronously(commands::logs::run(args)),
            Self::Events(args) => commands::asynchronously(commands::events::run(args)),
            Self::Nodes(args) => commands::asynchronously(commands::nodes::run(args)),
            Self::Cordon(args) => commands::asynchronously(commands::cordon::run(args)),
            Self::Uncordon(args) => commands::asynchronously(commands::cordon::run_uncordon(args)),
            Self::Delete(args) => commands::asynchronously(commands::delete::run(args)),
            Self::Dev(args) => commands::asynchronously(commands::dev::run(args)),
            Self::Agent(args) => commands::asynchronously(commands::agent::run(args)),
            Self::Server(args) => commands::asynchronously(commands::server::run(args)),
            Self::Completions(args) => commands::completions::run(&args),
        }
    }
}

/// For people or for programs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs: field names are stable, more may be added.
    Json,
}

/// "10s", "500ms", "2m 30s": more than nothing, at most an hour.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let hint = "write it with a unit, like \"10s\", \"500ms\" or \"2m\"";
    let signed: jiff::SignedDuration = text.parse().map_err(|_| hint.to_string())?;
    let duration = Duration::try_from(signed).map_err(|_| "a negative time makes no sense".to_string())?;
    match duration {
        Duration::ZERO => Err(format!("no time at all makes no sense; {hint}")),
        long if long.as_secs() > DURATION_SECONDS_MAX => Err("at most \"1h\"".to_string()),
        good => Ok(good),
    }
}

/// As [`duration`], or none at all: "0s".
pub(crate) fn duration_or_none(text: &str) -> Result<Duration, String> {
    if text == "0s" { Ok(Duration::ZERO) } else { duration(text) }
}

/// "team/user": a user who belongs to the team.
pub(crate) fn user(text: &str) -> Result<UserFacts, String> {
    match text.split_once('/') {
        Some((team, name)) if !team.is_empty() && !name.is_empty() && !name.contains('/') => {
            Ok(UserFacts { name: name.to_string(), teams: vec![team.to_string()] })
        }
        _ => Err("write it as TEAM/USER, like \"storefront/alice\"".to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_arguments_do_not_contradict_each_other() {
        Cli::command().debug_assert();
    }

    #[test]
    fn durations_need_a_unit_and_sense() {
        assert_eq!(duration("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("2m 30s"), Ok(Duration::from_secs(150)));
        for bad in ["10", "", "-3s", "0s", "2h", "99999999999999999999s", "soon"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_user_is_of_a_team() {
        let alice = UserFacts { name: "alice".into(), teams: vec!["storefront".into()] };
        assert_eq!(user("storefront/alice"), Ok(alice));
        for bad in ["alice", "/alice", "storefront/", "a/b/c", ""] {
            assert!(user(bad).is_err(), "{bad}");
        }
    }
}
