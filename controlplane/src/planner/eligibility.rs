//! Which nodes a workload may be on: its `require`s, the nodes' taints, and the `place` gate, asked once for each class of like nodes.

use super::program::{Origin, rules_of};
use super::sources::Merged;
use crate::state::{NodeRecord, State};
use hyphae_policy::{NodeFacts, WorkloadFacts};
use hyphae_solver::NodeIdx;
use hyphae_specs::{LabelTest, PlaceKind, PlaceRule, Workload, WorkloadKind};
use std::collections::BTreeMap;

/// Something that keeps a workload off nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ineligible {
    /// Where it is written, if it is: a `require`, or a policy (column 1).
    pub(super) origin: Option<Origin>,
    /// For people.
    pub(super) text: String,
    /// Which nodes, ascending.
    pub(super) nodes: Vec<NodeIdx>,
}

/// The nodes, in classes that no label test and no policy can tell apart.
pub(super) struct Eligibility<'a> {
    merged: &'a Merged,
    classes: Vec<Class<'a>>,
    /// Nodes that take nothing new, ascending.
    cordoned: Vec<NodeIdx>,
}

struct Class<'a> {
    node: &'a NodeRecord,
    /// With the implied "node" and "pool".
    labels: BTreeMap<String, String>,
    /// One of its nodes, as policies see it.
    facts: NodeFacts,
    members: Vec<NodeIdx>,
}

impl<'a> Eligibility<'a> {
    pub(super) fn new(state: &'a State, merged: &'a Merged) -> Self {
        let by_name = tests_name_nodes(merged);
        // A policy that names a node can tell it from its like: it is then a class of its own.
        let named = merged.policies.named_nodes();
        let mut classes: BTreeMap<_, Class<'a>> = BTreeMap::new();
        for (position, (name, node)) in state.nodes.iter().enumerate() {
            let key = (&node.pool, &node.labels, &node.taints, (by_name || named.contains(name)).then_some(name));
            let class =
                || Class { node, labels: implied(name, node), facts: node_facts(name, node), members: Vec::new() };
            classes.entry(key).or_insert_with(class).members.push(position);
        }
        let nodes = state.nodes.values().enumerate();
        let cordoned = nodes.filter(|(_, node)| !node.schedulable).map(|(position, _)| position).collect();
        Self { merged, classes: classes.into_values().collect(), cordoned }
    }

    /// The nodes whose labels pass every test, ascending.
    pub(super) fn matching(&self, tests: &[LabelTest]) -> Vec<NodeIdx> {
        let classes = self.classes.iter().filter(|class| tests.iter().all(|test| test.matches(&class.labels)));
        let mut nodes: Vec<NodeIdx> = classes.flat_map(|class| class.members.iter().copied()).collect();
        nodes.sort_unstable();
        nodes
    }

    /// The nodes the workload may be on, ascending, and what keeps it off the others. A cordoned node counts only where it `held` a replica
    /// already.
    pub(super) fn of(&self, workload: &Workload, held: impl Fn(NodeIdx) -> bool) -> (Vec<NodeIdx>, Vec<Ineligible>) {
        let facts = workload_facts(workload);
        let mut eligible = Vec::new();
        let mut reasons = Reasons::default();
        let mut required: Vec<Required<'_>> = rules_of(workload, self.merged).filter_map(Required::new).collect();
        for class in &self.classes {
            let before = reasons.count;
            let failed = required.iter_mut().map(|required| required.passes(class)).filter(|passes| !passes).count();
            let missing =
                class.node.taints.iter().filter(|taint| !workload.tolerates.iter().any(|t| t.value == **taint));
            for taint in missing {
                reasons.push(None, format!("taint \"{taint}\" is not tolerated"), &class.members);
            }
            if reasons.count == before && failed == 0 {
                self.place_gate(&facts, class, &mut reasons);
            }
            if reasons.count == before && failed == 0 {
                eligible.extend(class.members.iter().copied());
            }
        }
        for Required { rule, fails_on, .. } in required.into_iter().filter(|required| !required.fails_on.is_empty()) {
            let origin = Origin::new(&self.merged.sources, rule.span);
            reasons.push(Some(origin.clone()), origin.text, &fails_on);
        }
        eligible.sort_unstable();
        let closed = |node: &NodeIdx| eligible.binary_search(node).is_ok() && !held(*node);
        let closed: Vec<NodeIdx> = self.cordoned.iter().copied().filter(closed).collect();
        if !closed.is_empty() {
            eligible.retain(|node| closed.binary_search(node).is_err());
            reasons.push(None, "cordoned".to_owned(), &closed);
        }
        (eligible, reasons.sorted())
    }

    fn place_gate(&self, workload: &WorkloadFacts, class: &Class<'_>, reasons: &mut Reasons) {
        let decision = self.merged.policies.place(workload, &class.facts);
        if decision.allowed {
            return;
        }
        if decision.policies.is_empty() {
            let text = decision.reason("place");
            reasons.push(None, text, &class.members);
        }
        for policy in &decision.policies {
            let message = decision.failure_of(policy).or(policy.message.as_deref());
            let message = message.map(|message| format!(": {message}")).unwrap_or_default();
            let text = format!("policy \"{}\"{message}", policy.id);
            let origin = Origin { file: policy.file.clone(), line: policy.line, column: 1, text: text.clone() };
            reasons.push(Some(origin), text, &class.members);
        }
    }
}

/// A `require` of a workload, and the nodes that fail it. It is told apart and told of once, not for each class: there may be thousands.
struct Required<'a> {
    rule: &'a PlaceRule,
    tests: &'a [LabelTest],
    fails_on: Vec<NodeIdx>,
}

impl<'a> Required<'a> {
    fn new(rule: &'a PlaceRule) -> Option<Self> {
        match &rule.kind {
            PlaceKind::Require(tests) => Some(Self { rule, tests, fails_on: Vec::new() }),
            _ => None,
        }
    }

    /// Whether a class passes it; notes the nodes if not.
    fn passes(&mut self, class: &Class<'_>) -> bool {
        let passes = self.tests.iter().all(|test| test.matches(&class.labels));
        if !passes {
            self.fails_on.extend_from_slice(&class.members);
        }
        passes
    }
}

#[derive(Default)]
struct Reasons {
    list: BTreeMap<(Option<Origin>, String), Ineligible>,
    count: usize,
}

impl Reasons {
    fn push(&mut self, origin: Option<Origin>, text: String, nodes: &[NodeIdx]) {
        self.count += 1;
        let key = (origin.clone(), text.clone());
        let entry = self.list.entry(key).or_insert_with(|| Ineligible { origin, text, nodes: Vec::new() });
        entry.nodes.extend_from_slice(nodes);
    }

    fn sorted(self) -> Vec<Ineligible> {
        let mut list: Vec<Ineligible> = self.list.into_values().collect();
        list.iter_mut().for_each(|reason| reason.nodes.sort_unstable());
        list
    }
}

fn implied(name: &str, node: &NodeRecord) -> BTreeMap<String, String> {
    let mut labels = node.labels.clone();
    labels.insert("node".to_owned(), name.to_owned());
    if !node.pool.is_empty() {
        labels.insert("pool".to_owned(), node.pool.clone());
    }
    labels
}

fn tests_name_nodes(merged: &Merged) -> bool {
    let rules = merged.model.workloads.values().flat_map(|workload| rules_of(workload, merged));
    rules.into_iter().any(|rule| match &rule.kind {
        PlaceKind::Require(tests) | PlaceKind::Prefer(tests) => tests.iter().any(|test| test.key.value == "node"),
        _ => false,
    })
}

/// A workload as policies see it.
pub(super) fn workload_facts(workload: &Workload) -> WorkloadFacts {
    WorkloadFacts {
        kind: match workload.kind {
            WorkloadKind::Service => hyphae_policy::WorkloadKind::Service,
            WorkloadKind::Job => hyphae_policy::WorkloadKind::Job,
            WorkloadKind::Daemon => hyphae_policy::WorkloadKind::Daemon,
        },
        team: workload.team_name().to_owned(),
        name: workload.name.value.clone(),
        labels: workload.labels.iter().map(|(key, value)| (key.clone(), value.value.clone())).collect(),
    }
}

fn node_facts(name: &str, node: &NodeRecord) -> NodeFacts {
    NodeFacts {
        name: name.to_owned(),
        pool: (!node.pool.is_empty()).then(|| node.pool.clone()),
        labels: node.labels.clone(),
    }
}
