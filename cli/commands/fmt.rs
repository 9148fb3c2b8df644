//! `hyphae fmt`: writes specs the way they are written.

use crate::commands::validate::source;
use crate::failure::{Failure, Outcome};
use crate::files::{Kinds, Reader, STDIN_NAME, replace};
use crate::output;
use crate::render::style::counted;
use crate::render::text_diff::text_diff;
use hyphae_controlplane::plan::InputFile;
use hyphae_specs::Sources;
use std::path::{Path, PathBuf};

/// Format specs in place; comments stay.
///
/// Of directories only .kdl files are formatted. "-" formats standard input to standard output. If any file cannot be read as KDL,
/// nothing is written.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  hyphae fmt shop/
  hyphae fmt --check shop/        for CI: show what is not formatted, exit with 1
  hyphae fmt - < web.kdl")]
pub(crate) struct FmtArgs {
    /// Specs (.kdl), or directories that hold some
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Write nothing; show what would change, and exit with 1 if anything would
    #[arg(long)]
    check: bool,
}

/// A file and how it should be.
struct Formatted {
    file: InputFile,
    text: String,
}

/// Formats, checks, or passes through.
pub(crate) fn run(args: &FmtArgs) -> Result<Outcome, Failure> {
    let mut reader = Reader::default();
    let files = reader.read(&args.files, Kinds::Kdl);
    reader.finish()?;
    let count = files.len();
    let mut formatted = format_all(files)?;
    if args.check {
        return check(&formatted);
    }
    let stdin = args.files.iter().any(|path| path.as_os_str() == "-");
    if let Some(position) = formatted.iter().position(|it| stdin && it.file.file == STDIN_NAME) {
        output::raw(formatted.remove(position).text.as_bytes())?;
        if formatted.is_empty() {
            return Ok(Outcome::Done);
        }
    }
    let mut changed = 0u32;
    for it in formatted.iter().filter(|it| it.file.text != it.text) {
        replace(Path::new(&it.file.file), &it.text)?;
        output::note(&format!("formatted {}", it.file.file));
        changed += 1;
    }
    output::note(&format!("{changed} of {} changed", counted(count, "file")));
    Ok(Outcome::Done)
}

fn check(formatted: &[Formatted]) -> Result<Outcome, Failure> {
    let different: Vec<&Formatted> = formatted.iter().filter(|it| it.file.text != it.text).collect();
    for it in &different {
        let name = &it.file.file;
        output::data(&text_diff(name, &it.file.text, &format!("{name} (formatted)"), &it.text))?;
    }
    if different.is_empty() {
        output::note(&format!("{} formatted already", counted(formatted.len(), "file")));
        return Ok(Outcome::Done);
    }
    output::problem(&format!("{} of {} would change", different.len(), counted(formatted.len(), "file")));
    Ok(Outcome::Failed)
}

/// All files, or all that is wrong with them.
fn format_all(files: Vec<InputFile>) -> Result<Vec<Formatted>, Failure> {
    let mut problems = Vec::new();
    let mut formatted = Vec::new();
    for file in files {
        match hyphae_specs::format(&file.text) {
            Ok(text) => formatted.push(Formatted { file, text }),
            Err(problem) => {
                let sources = Sources(vec![source(&file)]);
                problems.push(hyphae_specs::render(&[problem], &sources, output::stderr_colours()));
            }
        }
    }
    if problems.is_empty() {
        Ok(formatted)
    } else {
        Err(Failure::Problems { problems, outcome: "nothing was formatted" })
    }
}
