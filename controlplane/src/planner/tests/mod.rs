//! The planner by values: sources and a state in, a plan out, the plan carried out on the real state machine.

mod carried_out;
mod displaced;
mod fleet;
mod gates;
mod refused;
mod room;
mod what_if;

use super::{PlanError, Request, offline_state, plan, verify};
use crate::plan::{InputFile, Inputs, PlanDocument};
use crate::state::commands::AdvanceRollout;
use crate::state::{Command, State};
use hyphae_policy::UserFacts;
use std::time::Duration;

pub(super) const NODES: &str = r#"
node "n1" price=0.1 { capacity cpu=4 memory="8GiB"; labels zone="a" arch="arm64" }
node "n2" price=0.1 { capacity cpu=4 memory="8GiB"; labels zone="b" arch="arm64" }
node "n3" price=0.1 { capacity cpu=4 memory="8GiB"; labels zone="c" arch="amd64" }
"#;

pub(super) fn file(name: &str, text: &str) -> InputFile {
    InputFile { file: name.to_owned(), text: text.to_owned() }
}

pub(super) fn state(inventory: &str) -> State {
    offline_state(&[file("inventory.kdl", inventory)]).unwrap_or_else(|error| panic!("{}", error.render(false)))
}

pub(super) fn admin() -> UserFacts {
    UserFacts { name: "local".to_owned(), teams: vec!["admins".to_owned()] }
}

pub(super) fn request<'a>(state: &'a State, files: &[(&str, &str)]) -> Request<'a> {
    let files = files.iter().map(|(name, text)| file(name, text)).collect();
    let inputs = Inputs { files, delete: Vec::new() };
    Request { state, inputs, user: admin(), deadline: Duration::from_secs(20), cancel: None }
}

pub(super) fn planned(state: &State, spec: &str) -> PlanDocument {
    try_planned(state, spec).unwrap_or_else(|error| panic!("{}", error.render(false)))
}

pub(super) fn try_planned(state: &State, spec: &str) -> Result<PlanDocument, PlanError> {
    plan(&request(state, &[("spec.kdl", spec)]))
}

/// Commits the plan and releases all its waves; after each, no node holds more than it has.
pub(super) fn carry_out(state: &mut State, document: &PlanDocument) {
    let release = verify(state, document, &admin()).unwrap_or_else(|error| panic!("{error}"));
    state.apply(Command::ApplyRelease(Box::new(release))).unwrap();
    assert_capacity(state);
    for _ in 0..10_000 {
        let Some(rollout) = &state.rollout else { return };
        let command = AdvanceRollout { rollout_revision: rollout.revision, wave: rollout.released };
        state.apply(Command::AdvanceRollout(command)).unwrap();
        assert_capacity(state);
    }
    panic!("the rollout does not end");
}

fn assert_capacity(state: &State) {
    for (name, node) in &state.nodes {
        let held = state.replicas.iter().filter(|(_, replica)| replica.node == *name);
        let templates = held.map(|(id, replica)| &state.workloads[&id.workload].templates[&replica.generation]);
        let (cpu, memory) = templates
            .fold((0, 0), |(cpu, memory), template| (cpu + template.cpu_millis, memory + template.memory_bytes));
        assert!(cpu <= node.capacity.cpu_millis && memory <= node.capacity.memory_bytes, "{name} holds too much");
    }
}

/// What runs where: "team/name@node" to count.
pub(super) fn running(state: &State) -> std::collections::BTreeMap<String, u32> {
    let mut running = std::collections::BTreeMap::new();
    for (id, replica) in &state.replicas {
        *running.entry(format!("{}@{}", id.workload, replica.node)).or_insert(0) += 1;
    }
    running
}

/// What the plan says should run where, in the same form.
pub(super) fn assigned(document: &PlanDocument) -> std::collections::BTreeMap<String, u32> {
    let key = |a: &crate::plan::Assignment| (format!("{}@{}", a.workload, a.node), a.count);
    document.assignments.iter().map(key).collect()
}
