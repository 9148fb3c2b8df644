//! Turns an inventory of `node` blocks, pools and loads into a state, so that planning offline runs the very code that a server runs.

use super::PlanError;
use super::resources::capacity_record;
use crate::plan::{InputFile, Inputs};
use crate::state::{NodeRecord, State};
use hyphae_specs::{Diagnostic, IndexedSources, Item, ItemBody, ItemKey, Severity, Source, Sources};
use std::collections::BTreeMap;
use std::net::Ipv6Addr;

/// Addresses of an offline plan are of this prefix: the documentation's, since nothing will run there.
const OFFLINE_PREFIX: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0);

/// A state with the inventory's nodes, on which nothing runs. Its pools and loads are what a cluster would have stored.
///
/// # Errors
/// Every problem in the files, and anything in them that is not a `node`, `pool` or `load`.
pub fn offline_state(inventory: &[InputFile]) -> Result<State, PlanError> {
    let source = |file: &InputFile| Source { name: file.file.clone(), text: file.text.clone(), first_line: 1 };
    let sources = IndexedSources::from(Sources(inventory.iter().map(source).collect()));
    let (items, mut diagnostics) = hyphae_specs::parse(&sources);
    diagnostics.extend(hyphae_specs::unsupported(&items));
    diagnostics.extend(items.iter().filter_map(not_a_node));
    let stored = items.iter().filter(|item| matches!(item.key, ItemKey::Pool(_) | ItemKey::Load(_)));
    let objects = stored.cloned().collect::<Vec<_>>();
    let objects = super::sources::stored_texts(&objects, &sources);
    let machines = items.into_iter().filter(|item| not_a_node(item).is_none()).collect();
    let (model, found) = hyphae_specs::resolve(machines);
    diagnostics.extend(found);
    diagnostics.retain(|found| found.severity == Severity::Error);
    if !diagnostics.is_empty() {
        return Err(PlanError::Sources { diagnostics, policies: Vec::new(), sources: sources.into() });
    }
    let record = |(id, (name, node)): (usize, (&String, &hyphae_specs::Node))| {
        let id = id as u32 + 1;
        let record = NodeRecord {
            id,
            pool: node.pool.as_ref().map(|pool| pool.value.clone()).unwrap_or_default(),
            labels: node.labels.iter().map(|(key, value)| (key.clone(), value.value.clone())).collect(),
            taints: node.taints.iter().map(|taint| taint.value.clone()).collect(),
            capacity: capacity_record(&node.capacity),
            price_micros: node.price.as_ref().map_or(0, |price| price.value.0),
            prefix: crate::state::node_prefix(OFFLINE_PREFIX, id),
            schedulable: true,
            devices: node.devices.iter().map(|(kind, count)| (kind.clone(), count.value)).collect(),
        };
        (name.clone(), record)
    };
    let nodes: BTreeMap<String, NodeRecord> = model.nodes.iter().enumerate().map(record).collect();
    Ok(State { prefix: Some(OFFLINE_PREFIX), next_node_id: nodes.len() as u32 + 1, nodes, objects, ..State::default() })
}

/// What is wrong with the files to plan, as far as can be told without an inventory: where that is not good either, all is told at once.
pub fn problems_without_inventory(inputs: &Inputs) -> Option<PlanError> {
    let nothing_there = State { prefix: Some(OFFLINE_PREFIX), ..State::default() };
    super::sources::merge(&nothing_there, inputs).err()
}

/// Whether a state is that of an inventory: no cluster has the documentation's addresses.
pub(super) fn is_offline(state: &State) -> bool {
    state.prefix == Some(OFFLINE_PREFIX)
}

fn not_a_node(item: &Item) -> Option<Diagnostic> {
    let what = match &item.body {
        ItemBody::Node(_) | ItemBody::Pool(_) | ItemBody::Load(_) => return None,
        ItemBody::Workload(workload) => workload.kind.as_str(),
        ItemBody::Team(_) => "team",
        ItemBody::Constraint(_) => "constraint",
        ItemBody::Reserve(_) => "reserve",
        ItemBody::Safety(_) => "safety",
        ItemBody::Balance(_) => "balance",
        ItemBody::Objective(_) => "objective",
    };
    let message = format!("a `{what}` in the inventory");
    let help = "an inventory holds only `node`, `pool` and `load`; give this file among the FILES to plan";
    Some(Diagnostic::error("hyphae::not_a_node", item.span, message, "not a machine").help(help))
}
