//! Why a workload is where it is, and why not elsewhere: every reason comes from the checker, asked about one more replica.

use super::program::Program;
use super::reasons;
use super::{PlanError, sources};
use crate::plan::{Conflict, Inputs};
use crate::state::State;
use hyphae_solver::{NodeIdx, Placed, Problem, Violation, WorkloadIdx};
use serde::{Deserialize, Serialize};

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

/// Explains where a stored workload is.
///
/// # Errors
/// The workload does not exist, or what is stored can not be read by this version.
pub fn explain(state: &State, workload: &str) -> Result<Explanation, PlanError> {
    let merged = sources::merge(state, &Inputs::default())?;
    let program = super::program::program(state, &merged);
    let known = || program.workloads.clone();
    let position = program.workloads.iter().position(|name| name == workload);
    let position = position.ok_or_else(|| PlanError::NoSuchWorkload { name: workload.to_owned(), known: known() })?;
    let current = &program.problem.current;
    let held = |node: NodeIdx| {
        current
            .iter()
            .find(|placed| (placed.workload, placed.node) == (position, node))
            .map_or(0, |placed| placed.count)
    };
    let probe = Probe::new(&program, position);
    let mut nodes: Vec<ExplainedNode> = (0..program.nodes.len())
        .map(|node| {
            let reasons = reasons_against(&program, &probe, position, node);
            let name = program.nodes[node].clone();
            ExplainedNode { node: name, replicas: held(node), fits: reasons.is_empty(), reasons }
        })
        .collect();
    nodes.sort_by(|a, b| (a.replicas == 0, !a.fits, &a.node).cmp(&(b.replicas == 0, !b.fits, &b.node)));
    Ok(Explanation {
        revision: state.revision,
        workload: workload.to_owned(),
        kind: merged.model.workloads[workload].kind.as_str().to_owned(),
        wanted: program.problem.workloads[position].wanted,
        placed: nodes.iter().map(|node| node.replicas).sum(),
        rules: reasons::rules(&program, position),
        nodes,
    })
}

/// What the checker says against one more replica on the node, beyond what is broken already.
fn reasons_against(program: &Program, probe: &Probe, workload: WorkloadIdx, node: NodeIdx) -> Vec<String> {
    let keeps_off: Vec<String> = program.ineligible[workload]
        .iter()
        .filter(|reason| reason.nodes.contains(&node))
        .map(|reason| match &reason.origin {
            Some(origin) => format!("{} ({}:{})", reason.text, origin.file, origin.line),
            None => reason.text.clone(),
        })
        .collect();
    if !keeps_off.is_empty() {
        return keeps_off;
    }
    let mut placed: Vec<Placed> = probe.problem.current.clone();
    match placed.iter_mut().find(|placed| (placed.workload, placed.node) == (workload, node)) {
        Some(placed) => placed.count += 1,
        None => placed.push(Placed { workload, node, count: 1 }),
    }
    placed.sort_unstable();
    let after = hyphae_solver::check(&probe.problem, &placed);
    after.iter().filter(|v| !probe.before.contains(v)).map(|v| super::verify::violation_text(program, v)).collect()
}

/// The problem with one more replica wanted, since whether it is wanted is not a node's fault; and what is broken already.
struct Probe {
    problem: Problem,
    before: Vec<Violation>,
}

impl Probe {
    fn new(program: &Program, workload: WorkloadIdx) -> Self {
        let mut problem = program.problem.clone();
        problem.workloads[workload].wanted = problem.workloads[workload].wanted.saturating_add(1);
        let before = hyphae_solver::check(&problem, &problem.current);
        Self { problem, before }
    }
}
