//! `hyphae nodes`: the machines, what they have and what is used of it.

use crate::args::Format;
use crate::client::{ServerArgs, refusal};
use crate::commands::now_unix_millis;
use crate::failure::{Failure, Outcome};
use crate::{output, render, views};
use hyphae_api::v1::NodesRequest;

/// List the nodes with state, used and whole capacity, prefix and labels.
#[derive(Debug, clap::Args)]
pub(crate) struct NodesArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// For people or for programs
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Asks and lists.
pub(crate) async fn run(args: NodesArgs) -> Result<Outcome, Failure> {
    let mut client = args.server.connect().await?;
    let reply = client.nodes(NodesRequest {}).await.map_err(refusal)?.into_inner();
    match args.format {
        Format::Text => output::data(&render::listing::nodes(&reply.nodes, now_unix_millis()))?,
        Format::Json => output::json(&views::NodesView::of(&reply))?,
    }
    Ok(Outcome::Done)
}
