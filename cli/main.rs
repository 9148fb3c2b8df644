//! The command line: reads arguments, files and answers of a server; the only place that renders for people.
//!
//! `main` only maps the result of [`run`] to an exit code (DESIGN §5). Each subcommand is a file of `commands`; text for people is
//! made by the pure functions of `render`; what touches the outside is `files`, `client`, `output`, `confirm` and `progress`.

mod args;
mod client;
mod commands;
mod confirm;
mod failure;
mod files;
mod output;
mod planning;
mod progress;
mod render;
mod rollout;
mod views;

use args::Cli;
use clap::Parser;
use failure::{Failure, Outcome};
use std::process::ExitCode;

fn main() -> ExitCode {
    match run() {
        Ok(outcome) => ExitCode::from(outcome.code()),
        Err(Failure::ClosedPipe) => ExitCode::from(Outcome::Done.code()),
        Err(failure) => {
            output::report(&failure);
            ExitCode::from(Outcome::Failed.code())
        }
    }
}

fn run() -> Result<Outcome, Failure> {
    // Fails only where a provider is installed already, and then there is one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(message) => {
            // Not clap's own exit code 2: that one means "there are changes".
            let _ = message.print();
            return Ok(if message.use_stderr() { Outcome::Failed } else { Outcome::Done });
        }
    };
    output::log(if cli.command.is_daemon() { "info,openraft=error" } else { "warn" });
    cli.command.run()
}
