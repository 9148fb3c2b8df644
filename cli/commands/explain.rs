//! `hyphae explain`: why a workload is where it is, and why not elsewhere.

use crate::args::Format;
use crate::client::{ServerArgs, full_name, refusal};
use crate::failure::{Failure, Outcome};
use crate::{output, render};
use hyphae_api::v1::ExplainRequest;
use hyphae_controlplane::planner::Explanation;

/// Explain where a workload's replicas are, what binds it, and what keeps it off the other nodes.
#[derive(Debug, clap::Args)]
pub(crate) struct ExplainArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// Whose placement; a bare name is in the team "default"
    workload: String,
    /// For people or for programs
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Asks and shows.
pub(crate) async fn run(args: ExplainArgs) -> Result<Outcome, Failure> {
    let mut client = args.server.connect().await?;
    let request = ExplainRequest { workload: full_name(&args.workload) };
    let reply = client.explain(request).await.map_err(refusal)?.into_inner();
    let explanation: Explanation = serde_json::from_str(&reply.explanation_json).map_err(|error| Failure::Server {
        message: format!("the server's explanation cannot be read: {error}"),
        help: Some("are the server and this command line of the same version?".to_string()),
    })?;
    match args.format {
        Format::Text => output::data(&render::explain::explanation(&explanation))?,
        Format::Json => output::json(&explanation)?,
    }
    Ok(Outcome::Done)
}
