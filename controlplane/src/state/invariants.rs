//! What always holds of a state. Checked after every command in builds with debug assertions.

use super::address::is_node_prefix;
use super::{INDEX_MAX, ReplicaId, State, Step};
use std::collections::BTreeSet;

impl State {
    /// Everything that should hold and does not, for people. Empty, unless there is a bug.
    pub fn check_invariants(&self) -> Vec<String> {
        let mut broken = Vec::new();
        self.check_workloads(&mut broken);
        self.check_nodes(&mut broken);
        self.check_replicas(&mut broken);
        self.check_rollout(&mut broken);
        broken
    }

    fn check_workloads(&self, broken: &mut Vec<String>) {
        let mut service_ids = BTreeSet::new();
        for (name, workload) in &self.workloads {
            if workload.service_id == 0 || workload.service_id >= self.next_service_id {
                broken.push(format!("{name}: service id {} was never given", workload.service_id));
            }
            if !service_ids.insert(workload.service_id) {
                broken.push(format!("{name}: service id {} is another workload's too", workload.service_id));
            }
            if !workload.templates.contains_key(&workload.generation) {
                broken.push(format!("{name}: no template of the current generation {}", workload.generation));
            }
            for generation in workload.templates.keys() {
                if *generation != workload.generation && !self.runs_generation(name, *generation) {
                    broken.push(format!("{name}: the template of generation {generation} is kept for no replica"));
                }
            }
            for index in workload.finished.keys() {
                let id = ReplicaId { workload: name.clone(), index: *index };
                if self.replicas.contains_key(&id) {
                    broken.push(format!("{id} has ended and shall run"));
                }
                if !self.finished_on.contains_key(&id) {
                    broken.push(format!("{id} has ended nowhere"));
                }
            }
        }
        let finished: usize = self.workloads.values().map(|workload| workload.finished.len()).sum();
        if finished != self.finished_on.len() {
            broken.push(format!(
                "{} replicas have ended somewhere, of {finished} that have ended",
                self.finished_on.len()
            ));
        }
        for name in &self.retiring {
            if !self.workloads.contains_key(name) {
                broken.push(format!("{name}: retiring, and not known"));
            }
        }
    }

    fn check_nodes(&self, broken: &mut Vec<String>) {
        let mut ids = BTreeSet::new();
        let mut prefixes = BTreeSet::new();
        for (name, node) in &self.nodes {
            if node.id == 0 || node.id >= self.next_node_id {
                broken.push(format!("node {name}: id {} was never given", node.id));
            }
            if !ids.insert(node.id) {
                broken.push(format!("node {name}: id {} is another node's too", node.id));
            }
            if !prefixes.insert(node.prefix) || !is_node_prefix(node.prefix) {
                broken.push(format!("node {name}: {} is not a /80 of its own", node.prefix));
            }
        }
    }

    fn check_replicas(&self, broken: &mut Vec<String>) {
        for (id, replica) in &self.replicas {
            let name = format!("replica {}[{}]", id.workload, id.index);
            match self.workloads.get(&id.workload) {
                None => broken.push(format!("{name}: of no known workload")),
                Some(workload) if !workload.templates.contains_key(&replica.generation) => {
                    broken.push(format!("{name}: no template of its generation {}", replica.generation));
                }
                Some(_) => {}
            }
            if !self.nodes.contains_key(&replica.node) {
                broken.push(format!("{name}: on no known node ({})", replica.node));
            }
            if id.index > INDEX_MAX {
                broken.push(format!("{name}: has no address"));
            }
        }
    }

    fn check_rollout(&self, broken: &mut Vec<String>) {
        let Some(rollout) = &self.rollout else { return };
        if rollout.released == 0 || rollout.released > rollout.waves.len() || rollout.revision > self.revision {
            broken.push(format!("rollout {}: {} waves released", rollout.revision, rollout.released));
        }
        for step in rollout.waves.iter().skip(rollout.released).flatten() {
            let known = match step {
                Step::Start { replica, node, generation } => {
                    self.nodes.contains_key(node) && self.has_template(&replica.workload, *generation)
                }
                Step::Update { replica, generation } => self.has_template(&replica.workload, *generation),
                Step::Stop { replica } => self.workloads.contains_key(&replica.workload),
            };
            if !known {
                broken.push(format!("rollout {}: {step:?} names something unknown", rollout.revision));
            }
        }
    }

    fn runs_generation(&self, workload: &str, generation: u64) -> bool {
        self.replicas_of(workload).any(|(_, replica)| replica.generation == generation)
    }

    fn has_template(&self, workload: &str, generation: u64) -> bool {
        self.workloads.get(workload).is_some_and(|workload| workload.templates.contains_key(&generation))
    }
}
