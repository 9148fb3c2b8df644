//! `hyphae status`: what is wanted and what is observed.

use crate::args::Format;
use crate::client::{ServerArgs, full_name, refusal};
use crate::commands::now_unix_millis;
use crate::failure::{Failure, Outcome};
use crate::{output, render, views};
use hyphae_api::v1::{StatusReply, StatusRequest};

/// Show what runs: every workload, or the replicas of some.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  hyphae status                       a row for each workload
  hyphae status storefront/web        its replicas: node, state, address, exits, last lines
  hyphae status --replicas            the replicas of all
  hyphae status --format json | jq '.workloads[] | select(.running < .wanted) | .name'")]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// Only these, with their replicas; a bare name is in the team "default"
    #[arg(value_name = "WORKLOAD")]
    workloads: Vec<String>,
    /// Show every replica
    #[arg(long)]
    replicas: bool,
    /// For people or for programs
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Asks and shows.
pub(crate) async fn run(args: StatusArgs) -> Result<Outcome, Failure> {
    let names: Vec<String> = args.workloads.iter().map(|name| full_name(name)).collect();
    let mut client = args.server.connect().await?;
    let request = StatusRequest { workloads: names.clone() };
    let reply = client.status(request).await.map_err(refusal)?.into_inner();
    known(&names, &reply)?;
    match args.format {
        Format::Json => output::json(&views::StatusView::of(&reply))?,
        Format::Text if reply.workloads.is_empty() && reply.rollout.is_none() => {
            output::note("nothing is deployed; `hyphae apply FILES` deploys what the files describe");
        }
        Format::Text => {
            let mut text = render::status::workloads(&reply.workloads);
            text.push_str(&reply.rollout.as_ref().map(render::status::rollout).unwrap_or_default());
            if args.replicas || !names.is_empty() {
                text.push('\n');
                text.push_str(&render::status::replicas(&reply.workloads, now_unix_millis()));
            }
            output::data(&text)?;
        }
    }
    Ok(Outcome::Done)
}

/// Every name asked for is in the answer.
fn known(names: &[String], reply: &StatusReply) -> Result<(), Failure> {
    let is_known = |name: &&String| reply.workloads.iter().any(|workload| workload.name == **name);
    match names.iter().find(|name| !is_known(name)) {
        None => Ok(()),
        Some(name) => Err(Failure::Server {
            message: format!("there is no workload {name}"),
            help: Some("`hyphae status` lists them all; a bare name is in the team \"default\"".to_string()),
        }),
    }
}
