//! Why a workload is where it is, and why not elsewhere: every reason comes from the checker, asked about one more replica.

use super::probe::Probe;
use super::program::Program;
use super::reasons;
use super::sources::Merged;
use super::{PlanError, pools, sources};
use crate::plan::{Conflict, Inputs};
use crate::state::{NodeRecord, State};
use hyphae_solver::{Cancel, NodeIdx, Placed, Problem, SolveOptions, WorkloadIdx};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::time::Duration;

/// What `hyphae explain` shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// The state's revision.
    pub revision: u64,
    /// `team/name`.
    pub workload: String,
    /// "service", "job" or "daemon".
    pub kind: String,
    /// Replicas wanted.
    pub wanted: u32,
    /// Replicas that have a node.
    pub placed: u32,
    /// Where a plan would put it, not where it is.
    #[serde(default)]
    pub planned: bool,
    /// How many more would fit; not of a daemon.
    #[serde(default)]
    pub room: Option<ExplainedRoom>,
    /// What binds it, as written.
    pub rules: Vec<ExplainedRule>,
    /// Every node, those that hold a replica first.
    pub nodes: Vec<ExplainedNode>,
}

/// A rule that concerns the workload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainedRule {
    /// Where it is written.
    #[serde(flatten)]
    pub rule: Conflict,
    /// Must hold; otherwise it costs.
    pub hard: bool,
    /// Of a hard rule, when asked: the tiers that would be otherwise without it, the first of them better.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub costs: Option<Vec<ExplainedCost>>,
}

/// What speaks about one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainedNode {
    /// Its name.
    pub node: String,
    /// Replicas it holds.
    pub replicas: u32,
    /// One more replica could go there as things are.
    pub fits: bool,
    /// Why not.
    pub reasons: Vec<String>,
}

/// How many more replicas would fit, everybody else keeping as many as they have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainedRoom {
    /// At least so many: a placement was found and checked.
    pub low: u32,
    /// Not more than so many: proven.
    pub high: u32,
    /// What stops the next one.
    pub stops: Vec<Conflict>,
    /// That this stops it is proven.
    pub proven: bool,
}

/// What a hard rule costs: a tier that would be better without it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainedCost {
    /// As in a plan's tiers.
    pub tier: String,
    /// Of shortage: which priority.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub priority: Option<i32>,
    /// In the best plan found.
    pub with: u64,
    /// In the best plan found without the rule.
    pub without: u64,
    /// Both are proven best.
    pub proven: bool,
}

/// What to explain.
#[derive(Debug, Clone)]
pub struct ExplainRequest<'a> {
    /// The cluster as it is.
    pub state: &'a State,
    /// What to change about it first.
    pub inputs: Inputs,
    /// `team/name`.
    pub workload: String,
    /// Solve again without each hard rule of the workload, to say what it costs.
    pub costs: bool,
    /// How long all of it may take.
    pub deadline: Duration,
    /// Ends it early, when nobody waits for it any more.
    pub cancel: Option<Cancel>,
}

/// Explains where a stored workload is.
///
/// # Errors
/// The workload does not exist, or what is stored can not be read by this version.
pub fn explain(request: &ExplainRequest<'_>) -> Result<Explanation, PlanError> {
    explained(request, false)
}

/// Explains where a plan would put a workload, as if the plan had been carried out.
///
/// # Errors
/// Those of [`super::plan`].
pub fn explain_planned(request: &ExplainRequest<'_>) -> Result<Explanation, PlanError> {
    explained(request, true)
}

fn explained(request: &ExplainRequest<'_>, as_planned: bool) -> Result<Explanation, PlanError> {
    let ExplainRequest { state, inputs, workload, costs, deadline, cancel } = request;
    let merged = sources::merge(state, inputs)?;
    let world = if as_planned { pools::offer(state, &merged).state } else { Cow::Borrowed(*state) };
    let mut program = super::program::program(&world, &merged);
    let known = || program.workloads.clone();
    let position = program.workloads.iter().position(|name| name == workload);
    let position = position.ok_or_else(|| PlanError::NoSuchWorkload { name: workload.clone(), known: known() })?;
    // A quarter each for the plan, the costs, the nodes and the room.
    let options =
        SolveOptions { time_limit: *deadline / 4, explain: false, cancel: *cancel, ..SolveOptions::default() };
    if as_planned {
        program.problem.current = hyphae_solver::solve(&program.problem, &options)?.placed;
        program.problem.held = Vec::new();
    }
    let mut rules = reasons::rules(&program, position);
    if *costs {
        add_costs(&program, position, &mut rules, &options)?;
    }
    let program = when_bought(&world, &merged, program);
    let nodes = explained_nodes(&program, position, options.time_limit);
    Ok(Explanation {
        revision: state.revision,
        workload: workload.clone(),
        kind: merged.model.workloads[workload].kind.as_str().to_owned(),
        planned: as_planned,
        wanted: program.problem.workloads[position].wanted,
        placed: nodes.iter().map(|node| node.replicas).sum(),
        room: room(&merged, &program, position, &options)?,
        rules,
        nodes,
    })
}

/// Of the machines on offer, only those are there that the plan buys.
fn when_bought(world: &State, merged: &Merged, planned: Program) -> Program {
    let filled = planned.problem.current.iter().map(|placed| planned.nodes[placed.node].as_str());
    let filled: BTreeSet<&str> = filled.collect();
    let is_there = |name: &str, node: &NodeRecord| !pools::is_on_offer(node) || filled.contains(name);
    if world.nodes.iter().all(|(name, node)| is_there(name, node)) {
        return planned;
    }
    let mut bought = world.clone();
    bought.nodes.retain(|name, node| is_there(name, node));
    let mut program = super::program::program(&bought, merged);
    let there = |placed: &Placed| {
        let node = program.nodes.binary_search(&planned.nodes[placed.node]).ok()?;
        Some(Placed { node, ..*placed })
    };
    let current = planned.problem.current.iter().filter_map(there).collect();
    (program.problem.current, program.problem.held) = (current, Vec::new());
    program
}

fn explained_nodes(program: &Program, position: WorkloadIdx, time_limit: Duration) -> Vec<ExplainedNode> {
    let probe = Probe::new(program, position, time_limit);
    let node = |node: NodeIdx| {
        let (reasons, replicas) = (probe.reasons(node), probe.replicas(node));
        ExplainedNode { node: program.nodes[node].clone(), replicas, fits: reasons.is_empty(), reasons }
    };
    let mut nodes: Vec<ExplainedNode> = (0..program.nodes.len()).map(node).collect();
    nodes.sort_by(|a, b| (a.replicas == 0, !a.fits, &a.node).cmp(&(b.replicas == 0, !b.fits, &b.node)));
    nodes
}

/// How many more would fit; a daemon has one on each node anyway.
fn room(
    merged: &Merged,
    program: &Program,
    position: WorkloadIdx,
    options: &SolveOptions,
) -> Result<Option<ExplainedRoom>, PlanError> {
    let problem = &program.problem;
    if problem.workloads[position].per_node_max.is_some() {
        return Ok(None);
    }
    let options = SolveOptions { explain: true, ..options.clone() };
    let hyphae_solver::Room { low, high, stops } = hyphae_solver::room(problem, &problem.current, position, &options)?;
    let told = stops.map(|shortage| reasons::unplaced(merged, program, &problem.current, &shortage));
    let proven = told.as_ref().is_some_and(|told| told.proven);
    Ok(Some(ExplainedRoom { low, high, stops: told.map(|told| told.conflict).unwrap_or_default(), proven }))
}

/// Solves again without each hard rule, the time shared out among them. Everything is placed afresh: otherwise what runs already would
/// hide behind the price of moving it what a rule costs for good.
fn add_costs(
    program: &Program,
    position: WorkloadIdx,
    rules: &mut [ExplainedRule],
    options: &SolveOptions,
) -> Result<(), PlanError> {
    let problem = &Problem { current: Vec::new(), held: Vec::new(), ..program.problem.clone() };
    let positions: Vec<usize> = reasons::rules_naming(program, position).collect();
    let hard = rules.iter().filter(|rule| rule.hard).count();
    let time_limit = options.time_limit / u32::try_from(hard + 1).unwrap_or(u32::MAX);
    let options = SolveOptions { time_limit, ..options.clone() };
    let base = hyphae_solver::solve(problem, &options)?;
    for (rule, constraint) in rules.iter_mut().zip(positions).filter(|(rule, _)| rule.hard) {
        let gains = hyphae_solver::price_of(problem, &base, constraint, &options)?;
        let cost = |gain: &hyphae_solver::TierGain| {
            let (tier, priority) = super::tier_name(gain.tier);
            let tier = tier.to_owned();
            ExplainedCost { tier, priority, with: gain.with, without: gain.without, proven: gain.proven }
        };
        rule.costs = Some(gains.iter().filter(|gain| gain.with != gain.without).map(cost).collect());
    }
    Ok(())
}
