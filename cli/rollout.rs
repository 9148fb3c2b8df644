//! How far a plan has come, judged from the plan and what the server observes. Pure: the caller asks, waits and shows.

use hyphae_api::v1::{ReplicaState, ReplicaStatus, StatusReply, WorkloadStatus};
use hyphae_controlplane::plan::PlanDocument;
use std::collections::{BTreeMap, BTreeSet};

/// So many exits, and a replica that keeps exiting counts as one that will not run.
pub(crate) const RESTARTS_MAX: u32 = 5;

/// What the plan wants of the workloads it changes: how many replicas on each node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Goal {
    workloads: BTreeMap<String, BTreeMap<String, u32>>,
}

impl Goal {
    /// Of a plan: only workloads that it changes.
    pub(crate) fn of(document: &PlanDocument) -> Self {
        let changed: BTreeSet<&str> = document.changes.iter().map(|change| change.workload.as_str()).collect();
        let mut workloads: BTreeMap<String, BTreeMap<String, u32>> =
            changed.iter().map(|name| ((*name).to_string(), BTreeMap::new())).collect();
        for assignment in &document.assignments {
            if let Some(nodes) = workloads.get_mut(&assignment.workload) {
                *nodes.entry(assignment.node.clone()).or_default() += assignment.count;
            }
        }
        Self { workloads }
    }

    /// Whether anything is to run.
    pub(crate) fn wants_replicas(&self) -> bool {
        self.workloads.values().any(|nodes| !nodes.is_empty())
    }

    /// Whether nothing is to be waited for.
    pub(crate) fn is_empty(&self) -> bool {
        self.workloads.is_empty()
    }
}

/// How far one workload has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Progress {
    /// `team/name`.
    pub(crate) workload: String,
    /// Replicas that run as wanted (or have completed), of the current generation, where they belong.
    pub(crate) ready: u32,
    /// Replicas wanted.
    pub(crate) wanted: u32,
    /// The other replicas, by state.
    pub(crate) others: BTreeMap<i32, u32>,
    /// Replicas that have exited or failed.
    pub(crate) failing: Vec<ReplicaStatus>,
    /// Nothing is left to do.
    pub(crate) settled: bool,
}

/// Whether to wait on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Everything runs as planned.
    Reached,
    /// Not yet.
    Waiting,
    /// Whatever is missing has failed and will not come by itself.
    Hopeless,
    /// Another plan, of this revision, is being carried out by now.
    Replaced(u64),
}

/// Compares the goal with what is observed. `applied` is the revision the plan became: while the server still carries it out, stopped
/// replicas of deleted workloads may be on their way, which no listing shows.
pub(crate) fn judge(goal: &Goal, applied: u64, observed: &StatusReply) -> (Vec<Progress>, Verdict) {
    let status = |name: &str| observed.workloads.iter().find(|workload| workload.name == name);
    let progress: Vec<Progress> =
        goal.workloads.iter().map(|(name, nodes)| progress(name, nodes, status(name))).collect();
    let unsettled: Vec<&Progress> = progress.iter().filter(|workload| !workload.settled).collect();
    let rollout = observed.rollout.as_ref().map(|rollout| rollout.revision);
    let verdict = match (unsettled.is_empty(), rollout) {
        (_, Some(other)) if other > applied => Verdict::Replaced(other),
        (true, Some(_)) => Verdict::Waiting,
        (true, None) => Verdict::Reached,
        (false, _) if unsettled.iter().all(|workload| hopeless(workload)) => Verdict::Hopeless,
        (false, _) => Verdict::Waiting,
    };
    (progress, verdict)
}

fn progress(name: &str, nodes: &BTreeMap<String, u32>, status: Option<&WorkloadStatus>) -> Progress {
    let wanted = nodes.values().sum();
    let mut progress = Progress {
        workload: name.to_string(),
        ready: 0,
        wanted,
        others: BTreeMap::new(),
        failing: Vec::new(),
        settled: wanted == 0,
    };
    let Some(status) = status else { return progress };
    let mut missing = nodes.clone();
    // Those of a job that have completed come last: some may have done so before this plan, and then count for nothing.
    let mut replicas: Vec<&ReplicaStatus> = status.replicas.iter().collect();
    replicas.sort_by_key(|replica| replica.state() == ReplicaState::Completed);
    for replica in replicas {
        let good = matches!(replica.state(), ReplicaState::Running | ReplicaState::Completed);
        match missing.get_mut(&replica.node).filter(|missing| **missing > 0) {
            Some(missing) if good && replica.generation == status.generation => {
                *missing -= 1;
                progress.ready += 1;
            }
            _ if matches!(replica.state(), ReplicaState::Stopped | ReplicaState::Completed) => {}
            _ => {
                *progress.others.entry(replica.state).or_default() += 1;
                if matches!(replica.state(), ReplicaState::Backoff | ReplicaState::Failed) {
                    progress.failing.push(replica.clone());
                }
            }
        }
    }
    progress.settled = progress.ready == wanted && progress.others.is_empty();
    progress
}

/// Nothing of it is still coming: every replica that is missing has failed for good, or exits again and again.
fn hopeless(progress: &Progress) -> bool {
    let lost = |replica: &ReplicaStatus| replica.state() == ReplicaState::Failed || replica.restarts >= RESTARTS_MAX;
    let missing = progress.wanted.saturating_sub(progress.ready);
    let lost = progress.failing.iter().filter(|replica| lost(replica)).count();
    let others: u32 = progress.others.values().sum();
    missing > 0 && lost >= missing as usize && lost == others as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use ReplicaState::{Backoff, Completed, Failed, Pulling, Running, Stopped, Stopping};
    use hyphae_api::v1::RolloutStatus;

    fn goal(workload: &str, nodes: &[(&str, u32)]) -> Goal {
        let nodes = nodes.iter().map(|(node, count)| ((*node).to_string(), *count)).collect();
        Goal { workloads: BTreeMap::from([(workload.to_string(), nodes)]) }
    }

    fn replica(index: u32, node: &str, generation: u64, state: ReplicaState, restarts: u32) -> ReplicaStatus {
        ReplicaStatus { index, node: node.into(), generation, state: state.into(), restarts, ..Default::default() }
    }

    fn observed(replicas: Vec<ReplicaStatus>) -> StatusReply {
        let workload = WorkloadStatus { name: "a/b".into(), generation: 2, replicas, ..Default::default() };
        StatusReply { revision: 9, workloads: vec![workload], rollout: None }
    }

    fn verdict(nodes: &[(&str, u32)], replicas: Vec<ReplicaStatus>) -> Verdict {
        judge(&goal("a/b", nodes), 9, &observed(replicas)).1
    }

    #[test]
    fn reached_when_all_run_where_planned_at_the_current_generation() {
        let two = [("n1", 1), ("n2", 1)];
        assert_eq!(
            verdict(&two, vec![replica(0, "n1", 2, Running, 0), replica(1, "n2", 2, Running, 0)]),
            Verdict::Reached
        );
        let old_generation = vec![replica(0, "n1", 2, Running, 0), replica(1, "n2", 1, Running, 0)];
        assert_eq!(verdict(&two, old_generation), Verdict::Waiting);
        let elsewhere = vec![replica(0, "n1", 2, Running, 0), replica(1, "n1", 2, Running, 0)];
        assert_eq!(verdict(&two, elsewhere), Verdict::Waiting);
    }

    #[test]
    fn waits_until_what_is_to_go_is_gone() {
        let one = [("n1", 1)];
        let with = |state| verdict(&one, vec![replica(0, "n1", 2, Running, 0), replica(1, "n2", 2, state, 0)]);
        assert_eq!(with(Stopping), Verdict::Waiting);
        assert_eq!(with(Stopped), Verdict::Reached);
    }

    #[test]
    fn a_deleted_workload_is_reached_when_nothing_of_it_is_left() {
        assert_eq!(judge(&goal("a/gone", &[]), 9, &observed(vec![])).1, Verdict::Reached);
        assert_eq!(verdict(&[], vec![replica(0, "n1", 1, Running, 0)]), Verdict::Waiting);
    }

    #[test]
    fn a_plan_is_not_through_while_the_server_carries_it_out() {
        let with = |revision| {
            let rollout = Some(RolloutStatus { revision, ..Default::default() });
            let running = vec![replica(0, "n1", 2, Running, 0)];
            judge(&goal("a/b", &[("n1", 1)]), 9, &StatusReply { rollout, ..observed(running) }).1
        };
        assert_eq!(with(9), Verdict::Waiting);
        assert_eq!(with(11), Verdict::Replaced(11));
    }

    #[test]
    fn a_job_is_reached_when_it_has_completed() {
        assert_eq!(verdict(&[("n1", 1)], vec![replica(0, "n1", 2, Completed, 0)]), Verdict::Reached);
    }

    #[test]
    fn what_a_job_has_completed_before_counts_for_nothing() {
        let before = replica(0, "n1", 2, Completed, 0);
        assert_eq!(verdict(&[("n1", 1)], vec![before.clone(), replica(1, "n1", 2, Pulling, 0)]), Verdict::Waiting);
        assert_eq!(verdict(&[("n1", 1)], vec![before.clone(), replica(1, "n1", 2, Running, 0)]), Verdict::Reached);
        assert_eq!(verdict(&[("n1", 1)], vec![before, replica(1, "n1", 2, Completed, 0)]), Verdict::Reached);
    }

    #[test]
    fn hopeless_only_when_nothing_else_is_coming() {
        let two = [("n1", 2)];
        let failed = |state, restarts| vec![replica(0, "n1", 2, Failed, 0), replica(1, "n1", 2, state, restarts)];
        assert_eq!(verdict(&two, failed(Pulling, 0)), Verdict::Waiting);
        assert_eq!(verdict(&two, failed(Running, 0)), Verdict::Hopeless);
        assert_eq!(verdict(&two, failed(Backoff, 1)), Verdict::Waiting);
        assert_eq!(verdict(&two, failed(Backoff, RESTARTS_MAX)), Verdict::Hopeless);
    }

    #[test]
    fn a_replica_that_is_not_released_yet_is_waited_for() {
        assert_eq!(verdict(&[("n1", 2)], vec![replica(0, "n1", 2, Failed, 0)]), Verdict::Waiting);
        assert_eq!(judge(&goal("a/new", &[("n1", 1)]), 9, &observed(vec![])).1, Verdict::Waiting);
    }
}
