//! `hyphae validate`: checks specs and policies without a server.

use crate::failure::{Failure, Outcome};
use crate::render::style::counted;
use crate::{files, output};
use hyphae_controlplane::plan::InputFile;
use hyphae_policy::{Policies, PolicySource};
use hyphae_specs::{Source, Sources};
use std::path::PathBuf;

/// Check specs and policies: every problem of every file at once, with file, line and help.
///
/// References are looked up among the files given, so name everything that belongs together. Needs no server; whether all of it fits
/// onto nodes is what `hyphae plan` tells.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  hyphae validate shop/
  generate-specs | hyphae validate -

Exit codes:
  0  good (warnings are shown, and are no error)
  1  there are problems")]
pub(crate) struct ValidateArgs {
    /// Specs (.kdl) and policies (.cedar); directories are read whole, "-" is KDL from standard input
    #[arg(required = true)]
    files: Vec<PathBuf>,
}

/// Reads everything, tells everything.
pub(crate) fn run(args: &ValidateArgs) -> Result<Outcome, Failure> {
    let files = files::read(&args.files)?;
    let checked = check(&files, output::stderr_colours());
    if !checked.warnings.is_empty() {
        output::note(&checked.warnings);
    }
    if checked.problems > 0 {
        output::note(&checked.errors);
        output::problem(&format!("{} in {}", counted(checked.problems, "problem"), counted(files.len(), "file")));
        return Ok(Outcome::Failed);
    }
    output::note(&format!("{}: {}", counted(files.len(), "file"), checked.contents));
    Ok(Outcome::Done)
}

/// What was found.
struct Checked {
    problems: usize,
    errors: String,
    warnings: String,
    /// "3 services, 1 policy": of good files.
    contents: String,
}

fn check(files: &[InputFile], colour: bool) -> Checked {
    let (cedar, kdl): (Vec<&InputFile>, Vec<&InputFile>) = files.iter().partition(|file| file.file.ends_with(".cedar"));
    let sources = Sources(kdl.into_iter().map(source).collect());
    let hyphae_specs::Checked { model, diagnostics, .. } = hyphae_specs::check(&sources);
    let policies = load_policies(&cedar);
    let policy_errors = policies.as_ref().err().map_or(&[] as &[_], |errors| errors.as_slice());
    Checked {
        problems: diagnostics.errors.len() + policy_errors.len(),
        errors: hyphae_specs::render(&diagnostics.errors, &sources, colour)
            + &hyphae_policy::render(policy_errors, colour),
        warnings: hyphae_specs::render(&diagnostics.warnings, &sources, colour),
        contents: contents(&model, policies.as_ref().map_or(0, |policies| policies.references().len())),
    }
}

/// Loads policies as one set.
pub(crate) fn load_policies(files: &[&InputFile]) -> Result<Policies, Vec<hyphae_policy::PolicyError>> {
    let source = |file: &&InputFile| PolicySource { name: file.file.clone(), text: file.text.clone(), first_line: 1 };
    let sources: Vec<PolicySource> = files.iter().map(source).collect();
    if sources.is_empty() { Ok(Policies::none()) } else { Policies::load(&sources) }
}

/// A whole file.
pub(crate) fn source(file: &InputFile) -> Source {
    Source { name: file.file.clone(), text: file.text.clone(), first_line: 1 }
}

fn contents(model: &hyphae_specs::Model, policies: usize) -> String {
    let of =
        |kind: hyphae_specs::WorkloadKind| model.workloads.values().filter(|workload| workload.kind == kind).count();
    let counts = [
        (of(hyphae_specs::WorkloadKind::Service), "service"),
        (of(hyphae_specs::WorkloadKind::Job), "job"),
        (of(hyphae_specs::WorkloadKind::Daemon), "daemon"),
        (model.teams.len(), "team"),
        (model.constraints.len(), "constraint"),
        (model.nodes.len(), "node"),
        (model.pools.len(), "pool"),
        (model.loads.len(), "load"),
        (policies, "policy"),
    ];
    let words: Vec<String> =
        counts.iter().filter(|(count, _)| *count > 0).map(|(count, noun)| counted(*count, noun)).collect();
    if words.is_empty() {
        "nothing in it, and nothing wrong".to_string()
    } else {
        format!("{}, no problems", words.join(", "))
    }
}
