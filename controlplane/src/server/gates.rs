//! The `operate` gate for what the server does itself: read, logs, cordon. (`deploy`, `apply` and `change-policy` are the planner's to ask.)
//!
//! Without a policy set everything is allowed; with one, what no policy permits is denied. Decisions go to the audit log; of reading only
//! denials do.

use crate::state::{NodeRecord, State, StoredSource, WorkloadRecord};
use hyphae_policy::{
    Decision, NodeFacts, OperateAction, Policies, PolicySource, UserFacts, WorkloadFacts, WorkloadKind,
};
use std::sync::Mutex;
use tonic::Status;

/// The policies in force, parsed once.
#[derive(Default)]
pub(super) struct Gates {
    parsed: Mutex<Option<(Vec<StoredSource>, Policies)>>,
}

impl Gates {
    /// Passes, or says who is denied what, and by which policy.
    pub(super) fn operate(&self, state: &State, user: &UserFacts, action: &OperateAction) -> Result<(), Status> {
        let decision = self.policies(state)?.operate(user, action);
        let ids: Vec<&str> = decision.policies.iter().map(|policy| policy.id.as_str()).collect();
        let word = if decision.allowed { "allowed" } else { "denied" };
        if !decision.allowed || !matches!(action, OperateAction::Read) {
            tracing::info!(target: "audit", user = user.name, action = action.as_str(), decision = word, policies = ?ids, resource = resource(action), "operate");
        }
        match decision.allowed {
            true => Ok(()),
            false => Err(Status::permission_denied(denial(user, action, &decision))),
        }
    }

    fn policies(&self, state: &State) -> Result<Policies, Status> {
        let mut parsed = self.parsed.lock().expect("nothing panics while it holds the lock");
        if let Some((sources, policies)) = parsed.as_ref()
            && *sources == state.policies
        {
            return Ok(policies.clone());
        }
        let files: Vec<PolicySource> = state
            .policies
            .iter()
            .map(|source| PolicySource {
                name: source.file.clone(),
                text: source.text.clone(),
                first_line: source.line,
            })
            .collect();
        let policies = Policies::load(&files).map_err(|problems| {
            let text = hyphae_policy::render(&problems, false);
            Status::internal(format!(
                "the policies in force can not be read by this version, so nothing is allowed:\n{text}"
            ))
        })?;
        *parsed = Some((state.policies.clone(), policies.clone()));
        Ok(policies)
    }
}

fn denial(user: &UserFacts, action: &OperateAction, decision: &Decision) -> String {
    let place =
        decision.policies.first().map(|policy| format!(" ({}:{}, policy \"{}\")", policy.file, policy.line, policy.id));
    format!("denied to {}: {}{}", user.name, decision.reason(action.as_str()), place.unwrap_or_default())
}

fn resource(action: &OperateAction) -> &str {
    match action {
        OperateAction::Logs(workload) | OperateAction::Exec(workload) => &workload.name,
        OperateAction::Drain(node) | OperateAction::Cordon(node) => &node.name,
        OperateAction::Read | OperateAction::Apply { .. } | OperateAction::ChangePolicy => "cluster",
    }
}

/// What a policy may know of a workload.
pub(super) fn workload_facts(full_name: &str, workload: &WorkloadRecord) -> WorkloadFacts {
    let (team, name) = full_name.split_once('/').unwrap_or(("default", full_name));
    let kind = match workload.kind.as_str() {
        "job" => WorkloadKind::Job,
        "daemon" => WorkloadKind::Daemon,
        _ => WorkloadKind::Service,
    };
    let template = workload.templates.get(&workload.generation);
    let labels = template.map(|template| template.labels.clone()).unwrap_or_default();
    WorkloadFacts { kind, team: team.to_owned(), name: name.to_owned(), labels }
}

/// What a policy may know of a node.
pub(super) fn node_facts(name: &str, node: &NodeRecord) -> NodeFacts {
    let pool = (!node.pool.is_empty()).then(|| node.pool.clone());
    NodeFacts { name: name.to_owned(), pool, labels: node.labels.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(policy: &str) -> State {
        let source = StoredSource { file: "a.cedar".to_owned(), line: 1, text: policy.to_owned() };
        State { policies: vec![source], ..State::default() }
    }

    fn user() -> UserFacts {
        UserFacts { name: "ann".to_owned(), teams: vec!["web".to_owned()] }
    }

    #[test]
    fn a_change_of_policies_is_seen_at_once_and_a_denial_names_the_policy() {
        let gates = Gates::default();
        assert!(gates.operate(&State::default(), &user(), &OperateAction::Read).is_ok(), "no set: all is allowed");
        assert!(gates.operate(&state("permit (principal, action, resource);"), &user(), &OperateAction::Read).is_ok());
        let forbids = state("@id(\"closed\") forbid (principal, action, resource);");
        let denied = gates.operate(&forbids, &user(), &OperateAction::Read).unwrap_err();
        assert_eq!(denied.code(), tonic::Code::PermissionDenied);
        assert!(denied.message().contains("denied to ann") && denied.message().contains("a.cedar:1"), "{denied}");
    }
}
