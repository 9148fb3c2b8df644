//! `hyphae completions`: what a shell needs to complete our words.

use crate::args::Cli;
use crate::failure::{Failure, Outcome};
use crate::output;
use clap::CommandFactory;
use clap_complete::Shell;

/// Write a shell's completion script to stdout.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  hyphae completions bash > /etc/bash_completion.d/hyphae
  hyphae completions zsh > \"${fpath[1]}/_hyphae\"")]
pub(crate) struct CompletionsArgs {
    /// Which shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Writes it.
pub(crate) fn run(args: &CompletionsArgs) -> Result<Outcome, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "hyphae", &mut script);
    output::raw(&script)?;
    Ok(Outcome::Done)
}
