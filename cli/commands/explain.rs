//! `hyphae explain`: why a workload is where it is, why not elsewhere, how many more would fit, and what its rules cost.

use crate::args::{Format, duration};
use crate::client::{ServerArgs, full_name, refusal};
use crate::failure::{Failure, Outcome};
use crate::files::{Kinds, Reader};
use crate::planning::{self, DEADLINE};
use crate::{output, render};
use hyphae_api::v1::ExplainRequest;
use hyphae_controlplane::plan::Inputs;
use hyphae_controlplane::planner::Explanation;
use std::path::PathBuf;
use std::time::Duration;

/// Explain where a workload's replicas are, what binds it, what keeps it off the other nodes, and how many more would fit.
///
/// Asks the cluster where it is or, with --inventory, explains where a plan would put it on the nodes of those files.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  hyphae explain storefront/web                     where it is
  hyphae explain storefront/web --costs             and what each of its hard rules costs
  hyphae explain storefront/web --inventory nodes.kdl shop/
                                                    where a plan would put it, offline")]
pub(crate) struct ExplainArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// Whose placement; a bare name is in the team "default"
    workload: String,
    /// Specs (.kdl) and policies (.cedar) to plan with, offline
    #[arg(requires = "inventory")]
    files: Vec<PathBuf>,
    /// Explain a plan against the `node` blocks of this file or directory; may be given more than once
    #[arg(long, value_name = "FILE", num_args = 1)]
    inventory: Vec<PathBuf>,
    /// Say what each hard rule costs: plans again without it
    #[arg(long)]
    costs: bool,
    /// How long it may take [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    deadline: Option<Duration>,
    /// For people or for programs
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Asks and shows.
pub(crate) async fn run(args: ExplainArgs) -> Result<Outcome, Failure> {
    let explanation = if args.inventory.is_empty() { online(&args).await? } else { offline(&args)? };
    match args.format {
        Format::Text => output::data(&render::explain::explanation(&explanation))?,
        Format::Json => output::json(&explanation)?,
    }
    Ok(Outcome::Done)
}

fn offline(args: &ExplainArgs) -> Result<Explanation, Failure> {
    let mut reader = Reader::default();
    let inventory = reader.read(&args.inventory, Kinds::Kdl);
    let inputs = Inputs { files: reader.read(&args.files, Kinds::All), delete: Vec::new() };
    reader.finish()?;
    let deadline = args.deadline.unwrap_or(DEADLINE);
    planning::explain_offline(&inventory, inputs, full_name(&args.workload), args.costs, deadline)
}

async fn online(args: &ExplainArgs) -> Result<Explanation, Failure> {
    let mut client = args.server.connect().await?;
    let deadline_millis = args.deadline.map_or(0, |deadline| u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX));
    let request = ExplainRequest { workload: full_name(&args.workload), costs: args.costs, deadline_millis };
    let reply = client.explain(request).await.map_err(refusal)?.into_inner();
    serde_json::from_str(&reply.explanation_json).map_err(|error| Failure::Server {
        message: format!("the server's explanation cannot be read: {error}"),
        help: Some("are the server and this command line of the same version?".to_string()),
    })
}
