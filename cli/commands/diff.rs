//! `hyphae diff`: how the specs in files differ from those the cluster has stored.

use crate::client::{ServerArgs, refusal};
use crate::commands::validate::source;
use crate::failure::{Failure, Outcome};
use crate::render::style::{DIM, counted, paint};
use crate::render::text_diff::text_diff;
use crate::{files, output};
use hyphae_api::v1::SourcesRequest;
use hyphae_controlplane::plan::InputFile;
use hyphae_specs::{ItemKey, Sources};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Show how specs in files differ from those the cluster has, as text; `hyphae plan` shows what that would do.
///
/// Specs are compared one by one, by kind and name, wherever they are written. What only the cluster has stays when the files are
/// applied, and is only listed. Policies are compared file by file.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  hyphae diff shop/
  hyphae diff --exit-code shop/ || echo 'not yet applied'")]
pub(crate) struct DiffArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// Specs (.kdl) and policies (.cedar); directories are read whole, "-" is KDL from standard input
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Exit with 2 when there are differences
    #[arg(long)]
    exit_code: bool,
}

/// Asks, compares, shows.
pub(crate) async fn run(args: DiffArgs) -> Result<Outcome, Failure> {
    let files = files::read(&args.files)?;
    let new = texts(&files)?;
    let mut client = args.server.connect().await?;
    let stored = client.sources(SourcesRequest {}).await.map_err(refusal)?.into_inner().files;
    let stored: Vec<InputFile> =
        stored.into_iter().map(|file| InputFile { file: file.name, text: file.text }).collect();
    let old = texts(&stored)?;
    let differences = differences(&old, &new);
    output::data(&differences)?;
    let only_stored = old.keys().filter(|key| !new.contains_key(*key)).count();
    if only_stored > 0 {
        output::note(&paint(
            DIM,
            format!("{} only in the cluster: applying these files leaves that as it is", counted(only_stored, "spec")),
        ));
    }
    if differences.is_empty() {
        output::note("no differences");
    }
    Ok(if args.exit_code && !differences.is_empty() { Outcome::Changes } else { Outcome::Done })
}

/// The differences of what the files have, each under the name of the spec.
fn differences(old: &BTreeMap<String, String>, new: &BTreeMap<String, String>) -> String {
    let difference = |(key, new): (&String, &String)| match old.get(key) {
        Some(old) => text_diff(&format!("cluster: {key}"), old, &format!("files: {key}"), new),
        None => text_diff("cluster: nothing", "", &format!("files: {key}"), new),
    };
    new.iter().map(difference).collect()
}

/// The text of each spec by kind and name, and of each policy file by its name.
fn texts(files: &[InputFile]) -> Result<BTreeMap<String, String>, Failure> {
    let (cedar, kdl): (Vec<&InputFile>, Vec<&InputFile>) = files.iter().partition(|file| file.file.ends_with(".cedar"));
    let sources = Sources(kdl.into_iter().map(source).collect());
    let (items, mut diagnostics) = hyphae_specs::parse(&sources);
    diagnostics.retain(hyphae_specs::Diagnostic::is_error);
    if !diagnostics.is_empty() {
        let problems = vec![hyphae_specs::render(&diagnostics, &sources, output::stderr_colours())];
        return Err(Failure::Problems { problems, outcome: "nothing was compared" });
    }
    let mut texts: BTreeMap<String, String> =
        items.iter().map(|item| (key_words(&item.key), with_newline(sources.slice(item.span)))).collect();
    texts.extend(cedar.iter().map(|file| (format!("policies {}", file.file), with_newline(&file.text))));
    Ok(texts)
}

fn with_newline(text: &str) -> String {
    format!("{}\n", text.trim_end_matches('\n'))
}

/// "workload storefront/web".
fn key_words(key: &ItemKey) -> String {
    match key {
        ItemKey::Node(name) => format!("node {name}"),
        ItemKey::Pool(name) => format!("pool {name}"),
        ItemKey::Team(name) => format!("team {name}"),
        ItemKey::Workload(name) => format!("workload {name}"),
        ItemKey::Constraint(name) => format!("constraint {name}"),
        ItemKey::Reserve(name) => format!("reserve {name}"),
        ItemKey::Safety => "safety".to_string(),
        ItemKey::Balance => "balance".to_string(),
        ItemKey::Objective => "objective".to_string(),
        ItemKey::Load(name) => format!("load {name}"),
    }
}
