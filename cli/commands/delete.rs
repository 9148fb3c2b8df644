//! `hyphae delete`: a plan without some workloads, applied like any other.

use crate::client::{ServerArgs, full_name};
use crate::commands::apply::{ConsentArgs, carry_out};
use crate::failure::{Failure, Outcome};
use crate::planning;
use hyphae_controlplane::plan::Inputs;

/// Remove workloads: show the plan that stops them, ask, carry it out.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  hyphae delete storefront/web storefront/cart
  hyphae delete --yes web                     the workload web of team default")]
pub(crate) struct DeleteArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// Names as `hyphae status` shows them; a bare name is in the team "default"
    #[arg(required = true, value_name = "WORKLOAD")]
    workloads: Vec<String>,
    #[command(flatten)]
    consent: ConsentArgs,
}

/// Plans the deletion and carries it out.
pub(crate) async fn run(args: DeleteArgs) -> Result<Outcome, Failure> {
    let mut delete: Vec<String> = args.workloads.iter().map(|name| full_name(name)).collect();
    delete.sort_unstable();
    delete.dedup();
    let mut client = args.server.connect().await?;
    let planned = planning::online(&mut client, Inputs { files: Vec::new(), delete }, None, &[]).await?;
    carry_out(&mut client, &planned, &args.consent).await
}
