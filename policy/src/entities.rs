//! Facts to Cedar's entities and contexts: only those a question is about, nothing of the rest of the cluster.

use crate::{DeployFacts, NodeFacts, UserFacts, WorkloadFacts, WorkloadKind};
use cedar_policy::{
    Context, Entity, EntityAttrEvaluationError, EntityId, EntityTypeName, EntityUid, RestrictedExpression,
};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::LazyLock;

/// The entity types of the schema, parsed once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum EntityType {
    User,
    Team,
    Service,
    Job,
    Daemon,
    Node,
    Pool,
    Secret,
    Plan,
    Cluster,
    Action,
}

impl EntityType {
    const ALL: [(Self, &str); 11] = [
        (Self::User, "User"),
        (Self::Team, "Team"),
        (Self::Service, "Service"),
        (Self::Job, "Job"),
        (Self::Daemon, "Daemon"),
        (Self::Node, "Node"),
        (Self::Pool, "Pool"),
        (Self::Secret, "Secret"),
        (Self::Plan, "Plan"),
        (Self::Cluster, "Cluster"),
        (Self::Action, "Action"),
    ];

    /// The uid of an entity of this type. Any string is an id.
    pub(crate) fn uid(self, id: &str) -> EntityUid {
        static NAMES: LazyLock<BTreeMap<EntityType, EntityTypeName>> = LazyLock::new(|| {
            let parsed = |name: &str| name.parse().expect("the names above are Cedar identifiers");
            EntityType::ALL.into_iter().map(|(of, name)| (of, parsed(name))).collect()
        });
        EntityUid::from_type_name_and_id(NAMES[&self].clone(), EntityId::new(id))
    }
}

/// Entities by uid: two facts may bring the same team.
#[derive(Debug, Default)]
pub(crate) struct Cast(HashMap<EntityUid, Entity>);

type Attributes = Vec<(String, RestrictedExpression)>;

impl Cast {
    /// What Cedar is handed.
    pub(crate) fn into_entities(self) -> impl Iterator<Item = Entity> {
        self.0.into_values()
    }

    /// The user, a member of each team.
    pub(crate) fn user(&mut self, user: &UserFacts) -> Result<EntityUid, EntityAttrEvaluationError> {
        let teams = user.teams.iter().map(|team| self.bare(EntityType::Team, team)).collect();
        self.full(EntityType::User.uid(&user.name), vec![string("name", &user.name)], teams, &BTreeMap::new())
    }

    /// The workload, a member of its team.
    pub(crate) fn workload(&mut self, workload: &WorkloadFacts) -> Result<EntityUid, EntityAttrEvaluationError> {
        let team = self.bare(EntityType::Team, &workload.team);
        let entity_type = match workload.kind {
            WorkloadKind::Service => EntityType::Service,
            WorkloadKind::Job => EntityType::Job,
            WorkloadKind::Daemon => EntityType::Daemon,
        };
        let owner = ("team".to_owned(), RestrictedExpression::new_entity_uid(team.clone()));
        let uid = entity_type.uid(&format!("{}/{}", workload.team, workload.name));
        self.full(uid, vec![owner, string("name", &workload.name)], HashSet::from([team]), &workload.labels)
    }

    /// The node, a member of its pool.
    pub(crate) fn node(&mut self, node: &NodeFacts) -> Result<EntityUid, EntityAttrEvaluationError> {
        let pools = node.pool.iter().map(|pool| self.bare(EntityType::Pool, pool)).collect();
        self.full(EntityType::Node.uid(&node.name), Vec::new(), pools, &node.labels)
    }

    /// An entity without anything but its name.
    pub(crate) fn bare(&mut self, entity_type: EntityType, id: &str) -> EntityUid {
        let uid = entity_type.uid(id);
        self.0.entry(uid.clone()).or_insert_with(|| Entity::with_uid(uid.clone()));
        uid
    }

    fn full(
        &mut self,
        uid: EntityUid,
        attributes: Attributes,
        parents: HashSet<EntityUid>,
        tags: &BTreeMap<String, String>,
    ) -> Result<EntityUid, EntityAttrEvaluationError> {
        let tags = tags.iter().map(|(key, value)| string(key, value));
        self.0.insert(uid.clone(), Entity::new_with_tags(uid.clone(), attributes, parents, tags)?);
        Ok(uid)
    }
}

/// The context of `create`, `update`, `scale` and `delete`.
pub(crate) fn deployment(facts: &DeployFacts) -> Result<Context, cedar_policy::ContextCreationError> {
    let mut image = vec![
        string("registry", &facts.image_registry),
        string("name", &facts.image_name),
        ("pinned".to_owned(), RestrictedExpression::new_bool(facts.image_pinned)),
    ];
    image.extend(facts.image_tag.iter().map(|tag| string("tag", tag)));
    let secrets = facts.secrets.iter().map(|name| RestrictedExpression::new_entity_uid(EntityType::Secret.uid(name)));
    let privileges = facts.privileges.iter().cloned().map(RestrictedExpression::new_string);
    Context::from_pairs([
        ("image".to_owned(), RestrictedExpression::new_record(image)?),
        long("replicas", facts.replicas),
        long("cpu_millis", facts.cpu_millis),
        long("memory_bytes", facts.memory_bytes),
        ports("ports", &facts.ports),
        ports("host_ports", &facts.host_ports),
        ("secrets".to_owned(), RestrictedExpression::new_set(secrets)),
        ("privileges".to_owned(), RestrictedExpression::new_set(privileges)),
        long("priority", facts.priority),
    ])
}

/// The context of `apply`.
pub(crate) fn plan(disrupted: i64, cost_change_micros: i64) -> Result<Context, cedar_policy::ContextCreationError> {
    Context::from_pairs([long("disrupted", disrupted), long("cost_change_micros", cost_change_micros)])
}

fn string(name: &str, value: &str) -> (String, RestrictedExpression) {
    (name.to_owned(), RestrictedExpression::new_string(value.to_owned()))
}

fn long(name: &str, value: i64) -> (String, RestrictedExpression) {
    (name.to_owned(), RestrictedExpression::new_long(value))
}

fn ports(name: &str, numbers: &[u16]) -> (String, RestrictedExpression) {
    let numbers = numbers.iter().map(|&number| RestrictedExpression::new_long(number.into()));
    (name.to_owned(), RestrictedExpression::new_set(numbers))
}
