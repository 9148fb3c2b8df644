//! Which workloads a constraint speaks of.

use crate::{ConstraintRule, Model, Workload};
use std::collections::BTreeMap;

impl Workload {
    /// The labels that `applies-to` tests: its own, and "team", "kind" and "name".
    pub fn selectable_labels(&self) -> impl Iterator<Item = (&str, &str)> {
        let own = self.labels.iter().map(|(key, value)| (key.as_str(), value.value.as_str()));
        own.chain([("team", self.team_name()), ("kind", self.kind.as_str()), ("name", self.name.value.as_str())])
    }
}

impl ConstraintRule {
    /// Whether the constraint speaks of this workload.
    pub fn applies(&self, workload: &Workload) -> bool {
        self.applies_to
            .iter()
            .all(|(key, value)| workload.selectable_labels().any(|label| label == (key, &value.value)))
    }
}

/// All workloads of a model by their labels: key, then value.
pub(super) struct Selection<'m> {
    by_label: BTreeMap<&'m str, BTreeMap<&'m str, Vec<&'m Workload>>>,
}

impl<'m> Selection<'m> {
    pub(super) fn new(model: &'m Model) -> Self {
        let mut by_label: BTreeMap<&str, BTreeMap<&str, Vec<&Workload>>> = BTreeMap::new();
        for workload in model.workloads.values() {
            for (key, value) in workload.selectable_labels() {
                by_label.entry(key).or_default().entry(value).or_default().push(workload);
            }
        }
        Self { by_label }
    }

    fn with(&self, key: &str, value: &str) -> &[&'m Workload] {
        self.by_label.get(key).and_then(|values| values.get(value)).map(Vec::as_slice).unwrap_or_default()
    }

    /// The workloads that have all labels of a constraint, by name.
    pub(super) fn of(&self, rule: &ConstraintRule) -> Vec<&'m Workload> {
        let candidates = rule.applies_to.iter().map(|(key, value)| self.with(key, &value.value));
        let fewest = candidates.min_by_key(|workloads| workloads.len()).unwrap_or_default();
        fewest.iter().copied().filter(|workload| rule.applies(workload)).collect()
    }

    /// The values some workload has for a label.
    pub(super) fn values(&self, key: &str) -> Vec<&'m str> {
        self.by_label.get(key).map(|values| values.keys().copied().collect()).unwrap_or_default()
    }
}
