//! `hyphae policy`: what security teams do with their Cedar files.

use crate::commands::validate::load_policies;
use crate::failure::{Failure, Outcome};
use crate::render::style::counted;
use crate::{files, output};
use hyphae_controlplane::plan::InputFile;
use std::path::PathBuf;

/// Check policies.
#[derive(Debug, clap::Args)]
pub(crate) struct PolicyArgs {
    #[command(subcommand)]
    command: PolicyCommand,
}

#[derive(Debug, clap::Subcommand)]
enum PolicyCommand {
    Check(CheckArgs),
}

/// Check Cedar policies against hyphae's schema: every problem of every file at once.
///
/// All files together are one policy set, as `hyphae apply` takes them. KDL files are passed over.
#[derive(Debug, clap::Args)]
struct CheckArgs {
    /// Policies (.cedar), or directories that hold some
    #[arg(required = true)]
    files: Vec<PathBuf>,
}

/// Does what is asked.
pub(crate) fn run(args: &PolicyArgs) -> Result<Outcome, Failure> {
    match &args.command {
        PolicyCommand::Check(args) => check(args),
    }
}

fn check(args: &CheckArgs) -> Result<Outcome, Failure> {
    let files = files::read(&args.files)?;
    let cedar: Vec<&InputFile> = files.iter().filter(|file| file.file.ends_with(".cedar")).collect();
    if cedar.is_empty() {
        return Err(Failure::Files(vec!["there is no .cedar file among the files named".to_string()]));
    }
    match load_policies(&cedar) {
        Ok(policies) => {
            let policies = counted(policies.references().len(), "policy");
            output::note(&format!("{}: {policies}, no problems", counted(cedar.len(), "file")));
            Ok(Outcome::Done)
        }
        Err(errors) => {
            output::note(&hyphae_policy::render(&errors, output::stderr_colours()));
            output::problem(&format!("{} in {}", counted(errors.len(), "problem"), counted(cedar.len(), "file")));
            Ok(Outcome::Failed)
        }
    }
}
