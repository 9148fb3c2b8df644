//! A plan from files: offline against an inventory, or by a server. Both run the same planner.

use crate::client::{Client, refusal};
use crate::failure::{Failure, Outcome};
use crate::output;
use crate::progress::Spinner;
use crate::render::style::counted;
use hyphae_api::v1::{PlanRequest, SourceFile};
use hyphae_controlplane::plan::{InputFile, Inputs, PlanDocument, Status};
use hyphae_controlplane::planner::{self, Explanation, PlanError, WhatIf};
use hyphae_controlplane::state::{State, StoredSource};
use hyphae_policy::UserFacts;
use std::time::Duration;

/// How long the solver may take when the user does not say.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);

/// A plan and the very text a server made of it, which `apply` sends back.
pub(crate) struct Planned {
    /// The plan.
    pub(crate) document: PlanDocument,
    /// Its JSON as the server wrote it.
    pub(crate) json: String,
}

/// Plans against the nodes of an inventory.
pub(crate) fn offline(
    inventory: &[InputFile],
    inputs: Inputs,
    user: UserFacts,
    deadline: Duration,
    suppositions: &[WhatIf],
) -> Result<PlanDocument, Failure> {
    let _spinner = Spinner::start(format!("planning {} offline", counted(inputs.files.len(), "file")));
    let state = offline_state(inventory, &inputs)?;
    let request = planner::Request { state: &state, inputs, user, deadline, cancel: None };
    let planned = match suppositions {
        [] => planner::plan(&request),
        some => planner::plan_what_if(&request, some),
    };
    planned.map_err(|error| problems(&error))
}

/// Explains a workload where a plan would put it on the nodes of an inventory.
pub(crate) fn explain_offline(
    inventory: &[InputFile],
    inputs: Inputs,
    workload: String,
    costs: bool,
    deadline: Duration,
) -> Result<Explanation, Failure> {
    let _spinner = Spinner::start(format!("explaining {workload} offline"));
    let state = offline_state(inventory, &inputs)?;
    let request = planner::ExplainRequest { state: &state, inputs, workload, costs, deadline, cancel: None };
    planner::explain_planned(&request).map_err(|error| problems(&error))
}

fn offline_state(inventory: &[InputFile], inputs: &Inputs) -> Result<State, Failure> {
    let mut state = planner::offline_state(inventory).map_err(|error| {
        let others = planner::problems_without_inventory(inputs);
        all_problems(&[Some(error), others].into_iter().flatten().collect::<Vec<_>>())
    })?;
    // The policies among the files are those in force: what they say to the user is asked, not whether the user may replace them.
    let policies = inputs.files.iter().filter(|file| file.file.ends_with(".cedar"));
    state.policies =
        policies.map(|file| StoredSource { file: file.file.clone(), line: 1, text: file.text.clone() }).collect();
    Ok(state)
}

/// Has the server plan. Without a deadline the server takes its own.
pub(crate) async fn online(
    client: &mut Client,
    inputs: Inputs,
    deadline: Option<Duration>,
    suppositions: &[WhatIf],
) -> Result<Planned, Failure> {
    let _spinner = Spinner::start("planning");
    let files = inputs.files.into_iter().map(|file| SourceFile { name: file.file, text: file.text }).collect();
    let deadline_millis = deadline.map_or(0, |deadline| u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX));
    let what_if = suppositions.iter().map(ToString::to_string).collect();
    let request = PlanRequest { files, deadline_millis, delete: inputs.delete, what_if };
    let reply = client.plan(request).await.map_err(refusal)?.into_inner();
    if !reply.problems.is_empty() {
        return Err(Failure::Problems { problems: reply.problems, outcome: "nothing was planned" });
    }
    let document = serde_json::from_str(&reply.plan_json).map_err(|error| Failure::Server {
        message: format!("the server's plan cannot be read: {error}"),
        help: Some("are the server and this command line of the same version?".to_string()),
    })?;
    Ok(Planned { document, json: reply.plan_json })
}

/// How the command ends that made this plan.
pub(crate) fn outcome(document: &PlanDocument, detailed: bool) -> Outcome {
    match document.status {
        Status::Denied => Outcome::Denied,
        Status::Shortage => Outcome::Shortage,
        Status::Optimal | Status::Feasible if detailed && !document.changes.is_empty() => Outcome::Changes,
        Status::Optimal | Status::Feasible => Outcome::Done,
    }
}

fn problems(error: &PlanError) -> Failure {
    all_problems(std::slice::from_ref(error))
}

fn all_problems(errors: &[PlanError]) -> Failure {
    let problems = errors.iter().map(|error| error.render(output::stderr_colours())).collect();
    Failure::Problems { problems, outcome: "nothing was planned" }
}
