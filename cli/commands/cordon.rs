//! `hyphae cordon` and `hyphae uncordon`: keep new replicas off a node, and let them on again.

use crate::client::{ServerArgs, refusal};
use crate::failure::{Failure, Outcome};
use crate::output;
use hyphae_api::v1::SetNodeSchedulableRequest;

/// Keep new replicas off a node; what runs there stays.
#[derive(Debug, clap::Args)]
pub(crate) struct CordonArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// The node's name as `hyphae nodes` shows it
    node: String,
}

/// Let replicas onto a node again.
#[derive(Debug, clap::Args)]
pub(crate) struct UncordonArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// The node's name as `hyphae nodes` shows it
    node: String,
}

/// Cordons.
pub(crate) async fn run(args: CordonArgs) -> Result<Outcome, Failure> {
    set(&args.server, args.node, false).await
}

/// Uncordons.
pub(crate) async fn run_uncordon(args: UncordonArgs) -> Result<Outcome, Failure> {
    set(&args.server, args.node, true).await
}

async fn set(server: &ServerArgs, node: String, schedulable: bool) -> Result<Outcome, Failure> {
    let mut client = server.connect().await?;
    let request = SetNodeSchedulableRequest { node: node.clone(), schedulable };
    let revision = client.set_node_schedulable(request).await.map_err(refusal)?.into_inner().revision;
    let what =
        if schedulable { "takes replicas again" } else { "is cordoned: it keeps what it has and gets nothing new" };
    output::note(&format!("{node} {what} (revision {revision})"));
    Ok(Outcome::Done)
}
