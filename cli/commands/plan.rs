//! `hyphae plan`: what would be done, where exactly, and why; changes nothing.

use crate::args::{Format, duration, user};
use crate::client::ServerArgs;
use crate::commands::asynchronously;
use crate::failure::{Failure, Outcome};
use crate::files::{Kinds, Reader, replace};
use crate::planning::{self, DEADLINE};
use crate::{output, render};
use hyphae_controlplane::plan::{Inputs, PlanDocument, Status, needs_buying};
use hyphae_controlplane::planner::WhatIf;
use hyphae_policy::UserFacts;
use std::path::PathBuf;
use std::time::Duration;

/// Show what would be done: which replica on which node, and why.
///
/// Plans against the cluster or, with --inventory, offline against nodes in files; that needs no server, no root and no containerd.
/// Changes nothing. Every plan shown has passed the independent checker.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  hyphae plan shop/                          against the cluster
  hyphae plan                                the cluster as it is: would it be placed differently?
  hyphae plan --inventory nodes.kdl shop/    offline
  hyphae plan --inventory a.kdl --inventory b.kdl shop/
                                             offline, with nodes from two files
  hyphae plan --inventory nodes.kdl --as storefront/alice shop/
                                             what the policies say to alice of team storefront
  hyphae plan shop/ --out plan.json && hyphae apply plan.json
  hyphae plan --inventory nodes.kdl shop/ --what-if 'lose zone=a' --what-if 'without shop.kdl:14'
                                             what the plan would be, and how that differs

What may be supposed (--what-if, as often as wanted; such a plan is never applied):
  without FILE:LINE       the statement that begins there is gone: a rule of `place`, a quota,
                          all-or-nothing, a reserve
  replicas TEAM/NAME=N    so many replicas are wanted
  drop TEAM/NAME          none is wanted
  nodes +N like NODE      there are so many more nodes like that one
  lose node NODE          that node is gone
  lose KEY=VALUE          every node with that label is gone

Exit codes:
  0  planned
  1  error in the input or the connection
  2  there are changes (only with --detailed-exitcode)
  3  denied by a policy
  4  something wanted cannot be placed")]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// Specs (.kdl) and policies (.cedar); directories are read whole, "-" is KDL from standard input
    files: Vec<PathBuf>,
    /// Plan offline against the `node` blocks of this file or directory; may be given more than once
    #[arg(long, value_name = "FILE", num_args = 1)]
    inventory: Vec<PathBuf>,
    /// Whom the policies shall judge, offline [default: local of team admins]
    #[arg(long = "as", value_name = "TEAM/USER", requires = "inventory", value_parser = user)]
    user: Option<UserFacts>,
    /// Save the plan, for `hyphae apply PLAN`
    #[arg(long, value_name = "PLAN")]
    out: Option<PathBuf>,
    /// For people, or the plan document
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// How long the solver may take, for both plans of a --what-if together; the best found so far is shown with its bound [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    deadline: Option<Duration>,
    /// Plan for a world that is otherwise, and show the difference; may be given more than once (see --help)
    #[arg(long, value_name = "SUPPOSITION", num_args = 1)]
    what_if: Vec<WhatIf>,
    /// Exit with 2 when there are changes
    #[arg(long)]
    detailed_exitcode: bool,
}

/// Plans and shows.
pub(crate) fn run(args: &PlanArgs) -> Result<Outcome, Failure> {
    if args.out.is_some() && !args.what_if.is_empty() {
        return Err(Failure::Usage {
            message: "a plan made with --what-if can never be applied, so it is not saved with --out".to_string(),
            help: "leave one of the two out; --format json prints the document".to_string(),
        });
    }
    let mut reader = Reader::default();
    let inventory = reader.read(&args.inventory, Kinds::Kdl);
    let inputs = Inputs { files: reader.read(&args.files, Kinds::All), delete: Vec::new() };
    reader.finish()?;
    let document = if args.inventory.is_empty() {
        let planned = asynchronously(async {
            let mut client = args.server.connect().await?;
            planning::online(&mut client, inputs, args.deadline, &args.what_if).await
        });
        planned?.document
    } else {
        let local = || UserFacts { name: "local".to_string(), teams: vec!["admins".to_string()] };
        let user = args.user.clone().unwrap_or_else(local);
        planning::offline(&inventory, inputs, user, args.deadline.unwrap_or(DEADLINE), &args.what_if)?
    };
    show(&document, args.format)?;
    if let Some(out) = &args.out {
        save(&document, out, refused(&document, args.inventory.is_empty()))?;
    }
    Ok(planning::outcome(&document, args.detailed_exitcode))
}

fn show(document: &PlanDocument, format: Format) -> Result<(), Failure> {
    match format {
        Format::Text => output::data(&render::plan::plan(document)),
        Format::Json => output::json(document),
    }
}

/// Why no `apply` would carry the plan out, if so.
fn refused(document: &PlanDocument, of_cluster: bool) -> Option<&'static str> {
    match document.status {
        _ if !of_cluster => Some("made offline, so no cluster will apply it"),
        Status::Denied => Some("a policy denies it, so it cannot be applied"),
        _ if needs_buying(&document.nodes_bought).is_some() => {
            Some("it places replicas on machines that must be bought first, so it cannot be applied")
        }
        _ => None,
    }
}

fn save(document: &PlanDocument, out: &std::path::Path, refused: Option<&str>) -> Result<(), Failure> {
    let mut text = serde_json::to_string_pretty(document)
        .map_err(|source| Failure::Write { path: out.to_path_buf(), source: std::io::Error::other(source) })?;
    text.push('\n');
    replace(out, &text)?;
    let out = out.display();
    output::note(&match refused {
        None => format!("saved as {out}; carry it out with `hyphae apply {out}`"),
        Some(why) => format!("saved as {out}; {why}"),
    });
    Ok(())
}
