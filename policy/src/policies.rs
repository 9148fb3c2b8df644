//! A validated policy set, and the gates that ask it.

use crate::entities::{Cast, EntityType, deployment, plan};
use crate::load::{Loaded, applies_to, load, position, schema};
use crate::reason::failure_prefix;
use crate::{
    Decision, DeployAction, DeployFacts, NodeFacts, OperateAction, PolicyError, PolicyRef, PolicySource, UserFacts,
    WorkloadFacts,
};
use cedar_policy::{AuthorizationError, Authorizer, Context, Entities, EntityUid, PolicyId, PolicySet, Request};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The id of the one `Plan` and the one `Cluster` that questions are about.
const ONLY: &str = "hyphae";

/// Every action a gate asks about, with its group.
const ACTIONS: [(&str, Option<&str>); 12] = [
    ("create", Some("deploy")),
    ("update", Some("deploy")),
    ("scale", Some("deploy")),
    ("delete", Some("deploy")),
    ("place", None),
    ("read", Some("operate")),
    ("logs", Some("operate")),
    ("exec", Some("operate")),
    ("drain", Some("operate")),
    ("cordon", Some("operate")),
    ("apply", Some("operate")),
    ("change-policy", Some("operate")),
];

/// The policies in force, or none. Cheap to clone.
///
/// Once a set is loaded, what no policy permits is denied. Without a set everything is allowed.
#[derive(Debug, Clone, Default)]
pub struct Policies(Option<Arc<PolicyIndex>>);

#[derive(Debug)]
struct PolicyIndex {
    /// Every policy, in the order of its Cedar id.
    references: Vec<PolicyRef>,
    /// For each action the policies that could apply to it: a question evaluates no others.
    by_action: BTreeMap<&'static str, PolicySet>,
    named_nodes: BTreeSet<String>,
}

impl Policies {
    /// No policy set: everything is allowed.
    pub fn none() -> Self {
        Self(None)
    }

    /// Parses and validates the files. No file at all is [`Policies::none`]; a file without any policy is a set that permits nothing.
    ///
    /// # Errors
    /// Every problem of every file, by file and line.
    pub fn load(files: &[PolicySource]) -> Result<Self, Vec<PolicyError>> {
        if files.is_empty() {
            return Ok(Self::none());
        }
        let loaded = load(files)?;
        Ok(Self(Some(Arc::new(PolicyIndex::new(loaded)))))
    }

    /// No policy set is loaded.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Every policy, in the order of the files.
    pub fn references(&self) -> &[PolicyRef] {
        self.0.as_ref().map_or(&[], |index| &index.references)
    }

    /// Names of nodes that a policy tells apart from others (`Node::"n1"`): ask [`Policies::place`] for each of these by itself, and not
    /// by another node that is otherwise alike.
    pub fn named_nodes(&self) -> &BTreeSet<String> {
        static NONE: BTreeSet<String> = BTreeSet::new();
        self.0.as_ref().map_or(&NONE, |index| &index.named_nodes)
    }

    /// May this user do this to this workload, as it would be afterwards (of `delete`: as it is)?
    pub fn deploy(
        &self,
        user: &UserFacts,
        action: DeployAction,
        workload: &WorkloadFacts,
        facts: &DeployFacts,
    ) -> Decision {
        self.decide(action.as_str(), |cast| {
            Ok(Question {
                principal: cast.user(user)?,
                resource: cast.workload(workload)?,
                context: deployment(facts)?,
            })
        })
    }

    /// May a replica of this workload run on nodes like this one?
    pub fn place(&self, workload: &WorkloadFacts, node: &NodeFacts) -> Decision {
        self.decide("place", |cast| {
            Ok(Question { principal: cast.workload(workload)?, resource: cast.node(node)?, context: Context::empty() })
        })
    }

    /// May this user operate the cluster so?
    pub fn operate(&self, user: &UserFacts, action: &OperateAction) -> Decision {
        self.decide(action.as_str(), |cast| {
            let principal = cast.user(user)?;
            let mut context = Context::empty();
            let resource = match action {
                OperateAction::Read | OperateAction::ChangePolicy => cast.bare(EntityType::Cluster, ONLY),
                OperateAction::Logs(workload) | OperateAction::Exec(workload) => cast.workload(workload)?,
                OperateAction::Drain(node) | OperateAction::Cordon(node) => cast.node(node)?,
                OperateAction::Apply { disrupted, cost_change_micros } => {
                    context = plan(*disrupted, *cost_change_micros)?;
                    cast.bare(EntityType::Plan, ONLY)
                }
            };
            Ok(Question { principal, resource, context })
        })
    }

    fn decide(&self, action: &str, ask: impl FnOnce(&mut Cast) -> Result<Question, QuestionError>) -> Decision {
        let Some(index) = &self.0 else {
            return Decision { allowed: true, policies: Vec::new(), errors: Vec::new() };
        };
        let mut cast = Cast::default();
        match ask(&mut cast).and_then(|question| index.answer(action, question, cast)) {
            Ok(decision) => decision,
            // A question that does not fit the schema is a mistake of ours; it must not open a gate.
            Err(QuestionError(error)) => Decision { allowed: false, policies: Vec::new(), errors: vec![error] },
        }
    }
}

/// What Cedar is asked, besides the action.
struct Question {
    principal: EntityUid,
    resource: EntityUid,
    context: Context,
}

/// Why a question could not be asked.
struct QuestionError(String);

impl<E: std::error::Error> From<E> for QuestionError {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

impl PolicyIndex {
    fn new(loaded: Vec<Loaded>) -> Self {
        let by_action = ACTIONS
            .into_iter()
            .map(|(action, group)| {
                let concerned = loaded.iter().filter(|one| applies_to(&one.policy, action, group));
                let set = PolicySet::from_policies(concerned.map(|one| one.policy.clone()));
                (action, set.expect("the ids are positions, so that none occurs twice"))
            })
            .collect();
        let node_type = EntityType::Node.uid("").type_name().clone();
        let named_nodes = loaded
            .iter()
            .flat_map(|one| one.policy.entity_literals())
            .filter(|uid| *uid.type_name() == node_type)
            .map(|uid| uid.id().unescaped().to_owned())
            .collect();
        Self { references: loaded.into_iter().map(|one| one.reference).collect(), by_action, named_nodes }
    }

    fn answer(&self, action: &str, question: Question, cast: Cast) -> Result<Decision, QuestionError> {
        let policies =
            self.by_action.get(action).ok_or_else(|| QuestionError(format!("no gate asks about action {action}")))?;
        let action = EntityType::Action.uid(action);
        let request = Request::new(question.principal, action, question.resource, question.context, Some(schema()))?;
        let entities = Entities::from_entities(cast.into_entities(), Some(schema()))?;
        let response = Authorizer::new().is_authorized(&request, policies, &entities);
        let diagnostics = response.diagnostics();
        let failed: Vec<(&PolicyRef, String)> = diagnostics.errors().filter_map(|error| self.failure(error)).collect();
        let errors_denied = diagnostics.errors().next().is_some();
        let allowed = response.decision() == cedar_policy::Decision::Allow;
        let mut decisive: BTreeSet<&PolicyRef> = failed.iter().map(|(reference, _)| *reference).collect();
        if !allowed || !errors_denied {
            decisive.extend(diagnostics.reason().filter_map(|id| self.reference(id)));
        }
        let mut policies: Vec<PolicyRef> = decisive.into_iter().cloned().collect();
        policies.sort_by(|a, b| (&a.file, a.line, &a.id).cmp(&(&b.file, b.line, &b.id)));
        let errors = failed.into_iter().map(|(_, error)| error).collect();
        Ok(Decision { allowed: allowed && !errors_denied, policies, errors })
    }

    fn reference(&self, id: &PolicyId) -> Option<&PolicyRef> {
        self.references.get(position(id)?)
    }

    fn failure(&self, error: &AuthorizationError) -> Option<(&PolicyRef, String)> {
        let AuthorizationError::PolicyEvaluationError(error) = error;
        let reference = self.reference(error.policy_id())?;
        Some((reference, failure_prefix(reference) + &error.inner().to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An action that is in the schema and not here would be denied always, whatever the policies say.
    #[test]
    fn the_gates_know_every_action_of_the_schema() {
        let groups: BTreeSet<String> = schema().action_groups().map(|uid| uid.id().unescaped().to_owned()).collect();
        let in_schema = schema().actions().map(|uid| uid.id().unescaped().to_owned());
        let asked: BTreeSet<String> =
            in_schema.filter(|action| !groups.contains(action) && action != "connect").collect();
        assert_eq!(asked, ACTIONS.iter().map(|(action, _)| (*action).to_owned()).collect());
        let entities = schema().action_entities().expect("the schema's own actions");
        for (action, group) in ACTIONS {
            let ancestors = entities.ancestors(&EntityType::Action.uid(action)).into_iter().flatten();
            let ancestors: Vec<&str> = ancestors.map(|uid| uid.id().unescaped()).collect();
            assert_eq!(ancestors, Vec::from_iter(group), "{action}");
        }
        assert_eq!(groups, ["deploy", "operate"].map(str::to_owned).into());
    }
}
