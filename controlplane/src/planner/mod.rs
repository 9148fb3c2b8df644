//! The planner: files and a state in, an exact and proven plan out. Pure but for the solver's deadline; offline and server run this code.
//!
//! ```text
//! State + files --sources--> Merged --pools, program--> Problem --solver--> placement --changes--> Change --waves--> Step
//!                                \--gates--> Denied                        \-- reasons --> Unplaced
//! verify: the same pipeline with the plan's own assignments in place of the solver's
//! ```

mod changes;
mod eligibility;
mod explain;
mod fleet;
mod gates;
mod offline;
mod pools;
mod probe;
mod program;
mod reasons;
mod repairs;
mod reserves;
mod resources;
mod scaling;
mod soft;
mod sources;
mod template;
mod verify;
mod waves;
mod whatif;

pub use explain::{
    ExplainRequest, ExplainedCost, ExplainedNode, ExplainedRoom, ExplainedRule, Explanation, explain, explain_planned,
};
pub use offline::{offline_state, problems_without_inventory};
pub use verify::{VerifyError, verify};
pub use whatif::{WhatIf, WhatIfError};

use crate::plan::{
    Action, Assignment, Change, CostChange, Denied, Inputs, PlanDocument, SolveEntry, Status, TierEntry,
};
use crate::state::{State, Step, WorkloadRecord};
use hyphae_policy::UserFacts;
use hyphae_solver::{Cancel, Placed, Solution, SolveOptions, Tier};
use hyphae_specs::{CountOrPercent, Diagnostic, Sources};
use program::Program;
use sources::Merged;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};
use waves::{Budget, Waves};

/// What to plan.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// The cluster as it is.
    pub state: &'a State,
    /// What to change about it.
    pub inputs: Inputs,
    /// Who asks.
    pub user: UserFacts,
    /// How long the solver may take.
    pub deadline: Duration,
    /// Ends the solver early, when nobody waits for the plan any more.
    pub cancel: Option<Cancel>,
}

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The specs or policies are not good; every problem of every file.
    #[error("the sources have problems")]
    Sources {
        /// Problems in KDL files.
        diagnostics: Vec<Diagnostic>,
        /// Problems in Cedar files.
        policies: Vec<hyphae_policy::PolicyError>,
        /// What they are in.
        sources: Sources,
    },
    /// A workload that is named does not exist.
    #[error("there is no workload {name:?}")]
    NoSuchWorkload {
        /// As named.
        name: String,
        /// Those that exist.
        known: Vec<String>,
    },
    /// The solver refuses the problem: numbers beyond what it can add up.
    #[error("the problem can not be solved: {0}")]
    Problem(#[from] hyphae_solver::ProblemError),
    /// The order of the steps does not hold when it is gone through once more: a bug of ours, never the user's.
    #[error("the steps of the plan do not hold ({0}); this is a bug of hyphae: please report it")]
    Waves(String),
    /// A supposition makes no sense.
    #[error(transparent)]
    WhatIf(#[from] WhatIfError),
}

impl PlanError {
    /// Every problem, rendered for people without colour.
    pub fn problems(&self) -> Vec<String> {
        vec![self.render(false)]
    }

    /// Everything that is wrong, with file, line, underlined text and help.
    pub fn render(&self, color: bool) -> String {
        match self {
            Self::Sources { diagnostics, policies, sources } => {
                let mut text = hyphae_specs::render(diagnostics, sources, color);
                text.push_str(&hyphae_policy::render(policies, color));
                text
            }
            Self::NoSuchWorkload { name, known } => {
                let near = hyphae_specs::did_you_mean(name, known.iter().map(String::as_str));
                let help = near.map(|near| format!("; did you mean {near:?}?")).unwrap_or_default();
                format!("there is no workload {name:?}{help}\n")
            }
            Self::Problem(_) | Self::Waves(_) | Self::WhatIf(_) => format!("{self}\n"),
        }
    }
}

/// Makes a plan. It has passed the independent checker, whatever its status.
///
/// # Errors
/// Sources that are not good, workloads that do not exist, numbers the solver can not add up.
pub fn plan(request: &Request<'_>) -> Result<PlanDocument, PlanError> {
    planned(request.state, request, sources::merge(request.state, &request.inputs)?)
}

/// Makes the plan for a world that is supposed to be otherwise, with what it differs in from the plan for the world as it is. It says that it
/// is one, and can not be applied.
///
/// # Errors
/// Those of [`plan`], and suppositions that make no sense.
#[expect(clippy::disallowed_methods, reason = "the two plans share the time")]
pub fn plan_what_if(request: &Request<'_>, suppositions: &[WhatIf]) -> Result<PlanDocument, PlanError> {
    let begun = Instant::now();
    let state = whatif::state_if(request.state, suppositions)?;
    let mut merged = sources::merge(&state, &request.inputs)?;
    whatif::suppose(request.state, &mut merged, suppositions)?;
    let now = plan(&Request { deadline: request.deadline / 2, ..request.clone() })?;
    let rest = Request { deadline: request.deadline.saturating_sub(begun.elapsed()), ..request.clone() };
    let mut then = planned(&state, &rest, merged)?;
    then.what_if = Some(whatif::difference(suppositions, &now, &then));
    Ok(then)
}

#[expect(clippy::disallowed_methods, reason = "how long planning took is part of the plan")]
fn planned(state: &State, request: &Request<'_>, merged: Merged) -> Result<PlanDocument, PlanError> {
    let begun = Instant::now();
    let Request { inputs, user, deadline, cancel, .. } = request;
    let offer = pools::offer(state, &merged);
    let program = program::program(&offer.state, &merged);
    let mut denied = gates::deploy(state, &merged, &program, user);
    // What the cheapest fleet costs is asked afterwards, in the rest of the time.
    let time_limit = if merged.model.pools.is_empty() { *deadline } else { *deadline * 3 / 4 };
    let options = SolveOptions { time_limit, explain: true, cancel: *cancel, ..SolveOptions::default() };
    let solution = hyphae_solver::solve(&program.problem, &options)?;
    let steps = Ordered::new(state, &merged, &program, &solution.placed)?;
    let fleet = fleet::fleet(&merged, &program, &offer, &solution.placed);
    let cost = fleet::cost(state, &merged, &program, &fleet, &solution.placed);
    if denied.is_empty() && !steps.changes.is_empty() {
        denied = gates::apply(&merged, user, disrupted(&steps.changes), cost_change(cost));
    }
    let mut document = document(state, inputs, &merged, &program, &solution, steps, cost, denied);
    let time_left = deadline.saturating_sub(begun.elapsed());
    document.cheapest_fleet = fleet::cheapest(state, &merged, (&solution, &fleet, cost), (time_left, *cancel));
    document.scaling = scaling::scaled(&merged, &program, &solution.placed);
    document.notes.extend(offer.notes);
    document.notes.extend(reasons::idle_reserves(&program));
    document.notes.extend(solution.unrepaired.iter().map(|broken| {
        let what = verify::violation_text(&program, broken);
        format!("broken now, and not repaired by this plan, which makes it no worse: {what}")
    }));
    (document.nodes_bought, document.nodes_returned) = (fleet.bought, fleet.returned);
    document.solve.millis = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(document)
}

/// Changes in their order.
struct Ordered {
    changes: Vec<Change>,
    waves: Vec<Vec<(usize, Step)>>,
}

impl Ordered {
    /// Orders the changes, and goes through the order once more with the checker.
    fn new(state: &State, merged: &Merged, program: &Program, placed: &[Placed]) -> Result<Self, PlanError> {
        let mut changes = changes::changes(state, program, placed);
        let budgets = budgets(state, merged, program, placed);
        let Waves { steps, broken_first, over_budget } = waves::waves(state, program, &changes, placed, &budgets);
        let may_break = |change: usize| over_budget.contains(&change);
        if let Some(broken) = waves::check(state, program, &steps, placed, &budgets, may_break) {
            return Err(PlanError::Waves(broken));
        }
        for position in broken_first {
            let text = match changes[position].action {
                Action::Update => {
                    "; stopped in an earlier wave than it starts again: updates wait for each other's room"
                }
                _ => "; stopped before its replacement starts: there is no room for both",
            };
            changes[position].why.push_str(text);
        }
        for position in over_budget {
            changes[position].why.push_str(", and more are down meanwhile than max-unavailable says");
        }
        Ok(Self { changes, waves: steps })
    }

    /// By wave, the changes that have a step in it.
    fn change_indices(&self) -> Vec<Vec<usize>> {
        let indices = |wave: &Vec<(usize, Step)>| {
            let changes: BTreeSet<usize> = wave.iter().map(|(change, _)| *change).collect();
            changes.into_iter().collect()
        };
        self.waves.iter().map(indices).collect()
    }
}

fn budgets(state: &State, merged: &Merged, program: &Program, placed: &[Placed]) -> BTreeMap<String, Budget> {
    let generations = changes::generations(state, program);
    let placed_of = placed_of(program, placed);
    let workloads = merged.model.workloads.iter().enumerate();
    let budget = |(position, (name, workload)): (usize, (&String, &hyphae_specs::Workload))| {
        let wanted = program.problem.workloads[position].wanted.max(placed_of[position]);
        let unavailable = workload.update.max_unavailable.as_ref().map_or(CountOrPercent::Count(1), |max| max.value);
        let unavailable_max = unavailable.of(wanted).max(1);
        (name.clone(), Budget { unavailable_max, placed: placed_of[position], generation: generations[position] })
    };
    workloads.map(budget).collect()
}

fn disrupted(changes: &[Change]) -> u64 {
    let stops = changes.iter().filter(|change| change.action != Action::Start);
    stops.map(|change| u64::from(change.count)).sum()
}

fn cost_change(cost: CostChange) -> i64 {
    let signed = |micros: u64| i64::try_from(micros).unwrap_or(i64::MAX);
    signed(cost.after_micros).saturating_sub(signed(cost.before_micros))
}

#[expect(clippy::too_many_arguments, reason = "the document is put together from everything")]
fn document(
    state: &State,
    inputs: &Inputs,
    merged: &Merged,
    program: &Program,
    solution: &Solution,
    steps: Ordered,
    cost: CostChange,
    denied: Vec<Denied>,
) -> PlanDocument {
    let status = match solution {
        _ if !denied.is_empty() => Status::Denied,
        solution if !solution.shortages.is_empty() => Status::Shortage,
        solution if solution.tiers.iter().all(|tier| tier.proven) => Status::Optimal,
        _ => Status::Feasible,
    };
    PlanDocument {
        revision: state.revision,
        status,
        tiers: solution.tiers.iter().map(tier_entry).collect(),
        assignments: assignments(program, &solution.placed),
        nodes_bought: Vec::new(),
        nodes_returned: Vec::new(),
        cheapest_fleet: None,
        scaling: Vec::new(),
        waves: steps.change_indices(),
        changes: steps.changes,
        unplaced: solution
            .shortages
            .iter()
            .map(|shortage| reasons::unplaced(merged, program, &solution.placed, shortage))
            .collect(),
        repairs_together: solution.together.iter().map(|repair| repairs::repair_entry(program, repair)).collect(),
        denied,
        broken_soft: soft::broken(program, &solution.placed),
        cost,
        solve: SolveEntry {
            millis: 0,
            method: solution.stats.method.clone(),
            variables: solution.stats.variables,
            constraints: solution.stats.constraints,
            checked: true,
        },
        notes: notes(state, merged),
        what_if: None,
        inputs: inputs.clone(),
    }
}

fn notes(state: &State, merged: &Merged) -> Vec<String> {
    let mut notes = merged.warnings.clone();
    if merged.policies_changed {
        let files = |count: usize| if count == 1 { "1 file".to_owned() } else { format!("{count} files") };
        notes.push(match state.policies.len() {
            0 => format!("policies: a set of {} comes into force", files(merged.policy_files.len())),
            old => format!(
                "policies: the set of {} is replaced by one of {}",
                files(old),
                files(merged.policy_files.len())
            ),
        });
    }
    notes
}

fn tier_entry(tier: &hyphae_solver::TierValue) -> TierEntry {
    let (name, priority) = tier_name(tier.tier);
    TierEntry { tier: name.to_owned(), priority, value: tier.value, bound: tier.bound, proven: tier.proven }
}

fn tier_name(tier: Tier) -> (&'static str, Option<i32>) {
    match tier {
        Tier::Shortage(priority) => ("shortage", Some(priority)),
        Tier::Repair => ("repair", None),
        Tier::Soft => ("soft", None),
        Tier::Surplus => ("surplus", None),
        Tier::Disruption => ("disruption", None),
        Tier::Cost => ("cost", None),
        Tier::PricedCost => ("priced-cost", None),
        Tier::Shape => ("shape", None),
    }
}

fn assignments(program: &Program, placed: &[Placed]) -> Vec<Assignment> {
    let assignment = |placed: &Placed| Assignment {
        workload: program.workloads[placed.workload].clone(),
        node: program.nodes[placed.node].clone(),
        count: placed.count,
    };
    let mut assignments: Vec<Assignment> = placed.iter().map(assignment).collect();
    assignments.sort();
    assignments
}

/// Replicas placed, by workload.
fn placed_of(program: &Program, placed: &[Placed]) -> Vec<u32> {
    let mut placed_of = vec![0; program.workloads.len()];
    placed.iter().for_each(|placed| placed_of[placed.workload] += placed.count);
    placed_of
}

/// The workloads as the state will know them.
fn records(state: &State, merged: &Merged, program: &Program, placed: &[Placed]) -> BTreeMap<String, WorkloadRecord> {
    let generations = changes::generations(state, program);
    let placed_of = placed_of(program, placed);
    let workloads = merged.model.workloads.iter().enumerate();
    let record = |(position, (name, workload)): (usize, (&String, &hyphae_specs::Workload))| {
        let (wanted, placed) = (program.problem.workloads[position].wanted, placed_of[position]);
        let generation = generations[position];
        let record = WorkloadRecord {
            service_id: state.workloads.get(name).map_or(0, |record| record.service_id),
            kind: workload.kind.as_str().to_owned(),
            // More than wanted are placed where a `survive` needs them: then these should run.
            wanted: wanted.max(placed),
            unplaced: wanted.saturating_sub(placed),
            generation,
            templates: BTreeMap::from([(generation, program.templates[position].clone())]),
            finished: BTreeMap::new(),
        };
        (name.clone(), record)
    };
    workloads.map(record).collect()
}

#[cfg(test)]
mod tests;
