//! `hyphae apply`: shows a plan, asks, has the cluster carry it out, and watches until it is healthy.

use crate::args::{duration, duration_or_none};
use crate::client::{Client, ServerArgs, refusal};
use crate::confirm::confirm;
use crate::failure::{Failure, Outcome};
use crate::planning::{self, Planned};
use crate::progress::{RolloutDisplay, Spinner};
use crate::render::style::{BAD, GOOD, paint};
use crate::rollout::{Goal, Progress, Verdict, judge};
use crate::{files, output, render};
use hyphae_api::v1::{ApplyRequest, StatusRequest};
use hyphae_controlplane::plan::{Inputs, PlanDocument, Status, needs_buying};
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::Instant;

/// Shortest time between two looks at the cluster; a look that takes long is not repeated at once.
const LOOK_EVERY_MIN: Duration = Duration::from_millis(50);
/// A look may take this part of the time.
const LOOK_SHARE: u32 = 4;

/// Show a plan, ask, carry it out, and watch until everything runs.
///
/// Takes specs and policies, or one saved plan (`hyphae plan --out`). The server applies exactly the plan shown, and refuses it if the
/// cluster has moved since. Specs that are not named stay as they are; to remove workloads use `hyphae delete`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  hyphae apply shop/              show, ask, carry out, watch
  hyphae apply --yes shop/        do not ask
  hyphae apply plan.json          a plan saved by `hyphae plan --out plan.json`
  hyphae apply                    place what is stored once more (after nodes came or went)

Exit codes:
  0  applied, and everything runs (with --detach: applied)
  1  refused, or something does not run
  3  denied by a policy; nothing was applied
  4  applied, and what was placed runs; something else could not be placed")]
pub(crate) struct ApplyArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// Specs (.kdl) and policies (.cedar), directories of them, "-" for KDL from standard input; or one saved plan
    #[arg(value_name = "FILES|PLAN")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    consent: ConsentArgs,
    /// How long the solver may take [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    deadline: Option<Duration>,
}

/// How a plan is agreed to and watched; `apply` and `delete` share it.
#[derive(Debug, clap::Args)]
pub(crate) struct ConsentArgs {
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    /// Return as soon as the plan is accepted, without watching it being carried out
    #[arg(long)]
    detach: bool,
    /// How long to watch; what does not run by then is shown, and the exit code is 1
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "5m")]
    timeout: Duration,
    /// How long everything must have run without an exit before it counts; "0s": not at all
    #[arg(long, value_name = "TIME", value_parser = duration_or_none, default_value = "1s")]
    settle: Duration,
}

/// Plans or takes the saved plan, and goes on from there.
pub(crate) async fn run(args: ApplyArgs) -> Result<Outcome, Failure> {
    let saved = saved_plan(&args.files)?;
    let inputs = match &saved {
        Some(_) => Inputs::default(),
        None => Inputs { files: files::read(&args.files)?, delete: Vec::new() },
    };
    let mut client = args.server.connect().await?;
    let planned = match saved {
        Some(planned) => planned,
        None => planning::online(&mut client, inputs, args.deadline, &[]).await?,
    };
    carry_out(&mut client, &planned, &args.consent).await
}

/// A single file that holds a JSON document is a saved plan; anything else is not.
fn saved_plan(paths: &[PathBuf]) -> Result<Option<Planned>, Failure> {
    let [path] = paths else { return Ok(None) };
    if path.as_os_str() == "-" || !path.is_file() {
        return Ok(None);
    }
    let json = files::read_one(path)?;
    if !json.trim_start().starts_with('{') {
        return Ok(None);
    }
    let document = serde_json::from_str(&json)
        .map_err(|error| Failure::Files(vec![format!("{} is not a plan: {error}", path.display())]))?;
    Ok(Some(Planned { document, json }))
}

/// Shows the plan, asks, applies, watches.
pub(crate) async fn carry_out(
    client: &mut Client,
    planned: &Planned,
    consent: &ConsentArgs,
) -> Result<Outcome, Failure> {
    let document = &planned.document;
    // With --yes the plan is carried out whether or not somebody reads it to its end.
    match output::data(&render::plan::plan(document)) {
        Err(Failure::ClosedPipe) if consent.yes => {}
        shown => shown?,
    }
    if document.status == Status::Denied {
        return Ok(Outcome::Denied);
    }
    if let Some(message) = needs_buying(&document.nodes_bought) {
        let help = "add the nodes to the cluster (an agent on each) and plan again; `count max=` of a pool bounds what is bought";
        return Err(Failure::Usage { message, help: help.to_string() });
    }
    if !consent.yes && !confirm(&format!("\nApply this: {}?", render::plan::summary_words(document)))? {
        output::note("nothing was applied");
        return Ok(Outcome::Failed);
    }
    let request = ApplyRequest { plan_json: planned.json.clone() };
    let applied = {
        let _spinner = Spinner::start("applying");
        client.apply(request).await.map_err(refusal)?.into_inner()
    };
    output::note(&format!("applied as revision {}", applied.revision));
    let outcome = planning::outcome(document, false);
    let goal = Goal::of(document);
    if consent.detach || goal.is_empty() {
        return Ok(outcome);
    }
    match watch(client, &goal, applied.revision, consent).await? {
        Ending::Reached => {
            output::note(&paint(GOOD, done_words(document, &goal)));
            Ok(outcome)
        }
        Ending::NotReached => Ok(Outcome::Failed),
        Ending::LeftAlone => Ok(outcome),
    }
}

fn done_words(document: &PlanDocument, goal: &Goal) -> &'static str {
    match document.status {
        _ if !goal.wants_replicas() => "what was to go is gone",
        Status::Shortage => "everything that could be placed runs",
        _ => "everything runs as planned",
    }
}

enum Ending {
    Reached,
    /// What failed has been shown.
    NotReached,
    /// The user does not want to watch any longer.
    LeftAlone,
}

async fn watch(client: &mut Client, goal: &Goal, applied: u64, consent: &ConsentArgs) -> Result<Ending, Failure> {
    let mut last = Vec::new();
    let settle = if goal.wants_replicas() { consent.settle } else { Duration::ZERO };
    let ending = tokio::select! {
        ending = tokio::time::timeout(consent.timeout, follow(client, goal, applied, settle, &mut last)) => ending,
        _ = tokio::signal::ctrl_c() => {
            output::note("no longer watching; the plan is carried out all the same: see `hyphae status`");
            return Ok(Ending::LeftAlone);
        }
    };
    let why = match ending {
        Ok(Ok(Verdict::Reached)) => return Ok(Ending::Reached),
        Ok(Ok(Verdict::Replaced(revision))) => {
            format!("another plan has been applied since (revision {revision}), before everything of this one ran")
        }
        Ok(Ok(Verdict::Hopeless | Verdict::Waiting)) => {
            "what is missing has failed and will not run by itself".to_string()
        }
        Ok(Err(failure)) => return Err(failure),
        Err(_) => format!("not everything runs after {}", render::amounts::millis(millis(consent.timeout))),
    };
    output::note(&format!("{} {why}:", paint(BAD, "error:")));
    for workload in last.iter().filter(|workload| !workload.settled) {
        output::note(&render::progress::line(workload));
        output::note(&render::progress::failing(workload));
    }
    output::note(&format!(
        "{} the plan stays applied, and its replicas are tried again; see `hyphae status --replicas`, `hyphae logs`, `hyphae events`",
        paint(GOOD, "help:")
    ));
    Ok(Ending::NotReached)
}

/// Looks until the goal is reached or hopeless. A server that is away is waited for: it may be starting again.
async fn follow(
    client: &mut Client,
    goal: &Goal,
    applied: u64,
    settle: Duration,
    last: &mut Vec<Progress>,
) -> Result<Verdict, Failure> {
    let mut display = RolloutDisplay::new();
    let mut away = false;
    let mut reached_at = None;
    loop {
        let asked_at = Instant::now();
        // All workloads: a name that is gone by now would be an error.
        match client.status(StatusRequest::default()).await {
            Ok(reply) => {
                away = false;
                let (progress, verdict) = judge(goal, applied, &reply.into_inner());
                display.show(&progress);
                *last = progress;
                match verdict {
                    Verdict::Waiting => reached_at = None,
                    Verdict::Reached if reached_at.get_or_insert(asked_at).elapsed() < settle => {}
                    decided => return Ok(decided),
                }
            }
            Err(status) if status.code() == tonic::Code::Unavailable => {
                if !away {
                    output::warn("the server does not answer; still waiting for it");
                }
                away = true;
            }
            Err(status) => return Err(refusal(status)),
        }
        tokio::time::sleep(LOOK_EVERY_MIN.max(asked_at.elapsed() * LOOK_SHARE)).await;
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
