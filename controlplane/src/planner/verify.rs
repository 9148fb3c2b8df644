//! Verifies a plan again before it is committed: the same pipeline, with the plan's own assignments in place of the solver's.
//!
//! Nothing in the document is believed: what its sources and assignments lead to has to be what it says.

use super::program::Program;
use super::{Ordered, PlanError};
use crate::plan::PlanDocument;
use crate::state::{Release, State, Step};
use hyphae_policy::UserFacts;
use hyphae_solver::{Placed, Violation};

/// Why a plan is not committed.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The cluster has moved.
    #[error("the plan was made at revision {planned}, the cluster is at revision {current}: plan again")]
    Moved {
        /// The document's.
        planned: u64,
        /// The state's.
        current: u64,
    },
    /// It is made for a world that is not.
    #[error("the plan supposes what is not so (--what-if): plan again without")]
    WhatIf,
    /// Its sources are not good.
    #[error("{}", .0.render(false).trim_end())]
    Sources(#[from] PlanError),
    /// A policy forbids it.
    #[error("denied: {0}")]
    Denied(String),
    /// It names a workload or a node that its sources or the cluster do not have.
    #[error("the plan places {workload} on {node}, and one of the two does not exist: plan again")]
    Unknown {
        /// As the document says.
        workload: String,
        /// As the document says.
        node: String,
    },
    /// The checker finds constraints broken.
    #[error("the plan breaks constraints: {}", .0.join("; "))]
    Broken(Vec<String>),
    /// It places replicas on machines that have to be bought first.
    #[error("{0}; add the nodes to the cluster and plan again")]
    NotThere(String),
    /// Its changes or waves are not those its assignments lead to.
    #[error(
        "the plan's {0} are not what its assignments lead to; it was altered or made by another version: plan again"
    )]
    Altered(&'static str),
}

/// What committing the plan writes.
///
/// # Errors
/// See [`VerifyError`]; nothing is changed by a plan that is refused.
pub fn verify(state: &State, document: &PlanDocument, user: &UserFacts) -> Result<Release, VerifyError> {
    if document.revision != state.revision {
        return Err(VerifyError::Moved { planned: document.revision, current: state.revision });
    }
    if document.what_if.is_some() {
        return Err(VerifyError::WhatIf);
    }
    let merged = super::sources::merge(state, &document.inputs)?;
    let offer = super::pools::offer(state, &merged);
    let program = super::program::program(&offer.state, &merged);
    let placed = placed(&program, document)?;
    hyphae_solver::verify(&program.problem, &placed)
        .map_err(|violations| VerifyError::Broken(violations.iter().map(|v| violation_text(&program, v)).collect()))?;
    let steps = Ordered::new(state, &merged, &program, &placed)?;
    let mut denied = super::gates::deploy(state, &merged, &program, user);
    let fleet = super::fleet::fleet(&merged, &program, &offer, &placed);
    let cost_change = super::cost_change(super::fleet::cost(state, &merged, &program, &fleet, &placed));
    denied.extend(super::gates::apply(&merged, user, super::disrupted(&steps.changes), cost_change));
    if let Some(first) = denied.first() {
        let policy = first.policy.as_ref().map(|policy| format!(" (policy \"{policy}\")")).unwrap_or_default();
        return Err(VerifyError::Denied(format!("{}{policy}", first.message)));
    }
    if let Some(why) = crate::plan::needs_buying(&fleet.bought) {
        return Err(VerifyError::NotThere(why));
    }
    if steps.changes != document.changes {
        return Err(VerifyError::Altered("changes"));
    }
    if steps.change_indices() != document.waves {
        return Err(VerifyError::Altered("waves"));
    }
    let waves: Vec<Vec<Step>> =
        steps.waves.into_iter().map(|wave| wave.into_iter().map(|(_, step)| step).collect()).collect();
    Ok(Release {
        expected_revision: state.revision,
        workloads: super::records(state, &merged, &program, &placed),
        objects_put: merged.objects.into_iter().filter(|(key, text)| state.objects.get(key) != Some(text)).collect(),
        objects_removed: merged.removed,
        policies: merged.policies_changed.then_some(merged.policy_files),
        waves,
    })
}

fn placed(program: &Program, document: &PlanDocument) -> Result<Vec<Placed>, VerifyError> {
    let placed = document.assignments.iter().map(|assignment| {
        match (program.workloads.binary_search(&assignment.workload), program.nodes.binary_search(&assignment.node)) {
            (Ok(workload), Ok(node)) => Ok(Placed { workload, node, count: assignment.count }),
            _ => Err(VerifyError::Unknown { workload: assignment.workload.clone(), node: assignment.node.clone() }),
        }
    });
    let mut placed: Vec<Placed> = placed.collect::<Result<_, _>>()?;
    placed.sort_unstable();
    Ok(placed)
}

/// A violation in the words of those who wrote the constraint.
pub(super) fn violation_text(program: &Program, violation: &Violation) -> String {
    let node = |node: usize| program.nodes.get(node).map_or("?", String::as_str);
    let workload = |workload: usize| program.workloads.get(workload).map_or("?", String::as_str);
    match violation {
        Violation::Capacity { node: at, resource, used, capacity } => {
            let amount = |amount| program.resources.amount_text(*resource, amount);
            let used = u64::try_from(*used).unwrap_or(u64::MAX);
            let name = program.resources.name_text(*resource);
            format!("{name} of {}: {} needed in all, it has {}", node(*at), amount(used), amount(*capacity))
        }
        Violation::NotEligible { workload: of, node: at, .. } => {
            format!("{} may not be on {}", workload(*of), node(*at))
        }
        Violation::PerNodeMax { workload: of, node: at, count } => {
            format!("{count} replicas of daemon {} on {}", workload(*of), node(*at))
        }
        Violation::Devices { node: at, kind, lacking } => {
            let device = program.problem.devices.get(*kind).map_or("?", |device| device.name.as_str());
            format!("{lacking} more {device} would be needed on {}", node(*at))
        }
        Violation::TooMany { workload: of, placed, wanted } => {
            format!("{placed} replicas of {}, {wanted} wanted", workload(*of))
        }
        Violation::Rule { constraint, .. } => {
            let origin = &program.origins[*constraint];
            format!("{} ({}:{})", origin.text, origin.file, origin.line)
        }
        Violation::Malformed { workload: of, node: at } => {
            format!("a malformed entry for {} on {}", workload(*of), node(*at))
        }
    }
}
