//! `hyphae events`: what happened, oldest first.

use crate::args::Format;
use crate::client::{ServerArgs, full_name, refusal};
use crate::failure::{Failure, Outcome};
use crate::{output, render, views};
use hyphae_api::v1::EventsRequest;

/// Show what happened in the cluster, oldest first.
#[derive(Debug, clap::Args)]
pub(crate) struct EventsArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// Only of this workload; a bare name is in the team "default"
    workload: Option<String>,
    /// Go on with what happens from now
    #[arg(long, short)]
    follow: bool,
    /// For people, or a JSON document on each line
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Asks and prints as they come.
pub(crate) async fn run(args: EventsArgs) -> Result<Outcome, Failure> {
    let mut client = args.server.connect().await?;
    let workload = args.workload.as_deref().map(full_name).unwrap_or_default();
    let request = EventsRequest { follow: args.follow, workload };
    let mut events = client.events(request).await.map_err(refusal)?.into_inner();
    while let Some(event) = events.message().await.map_err(refusal)? {
        match args.format {
            Format::Text => output::data(&render::listing::event(&event))?,
            Format::Json => output::json_line(&views::EventView::of(&event))?,
        }
    }
    Ok(Outcome::Done)
}
