//! Turns an inventory of `node` blocks into a state, so that planning offline runs the very code that a server runs.

use super::PlanError;
use super::resources::capacity_record;
use crate::plan::InputFile;
use crate::state::{NodeRecord, State};
use hyphae_specs::{Diagnostic, Item, ItemBody, ItemKey, Severity, Source, Sources};
use std::collections::BTreeMap;
use std::net::Ipv6Addr;

/// Addresses of an offline plan are of this prefix: the documentation's, since nothing will run there.
const OFFLINE_PREFIX: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0);

/// A state with the inventory's nodes, on which nothing runs.
///
/// # Errors
/// Every problem in the files, and anything in them that is not a `node`.
pub fn offline_state(inventory: &[InputFile]) -> Result<State, PlanError> {
    let source = |file: &InputFile| Source { name: file.file.clone(), text: file.text.clone(), first_line: 1 };
    let sources = Sources(inventory.iter().map(source).collect());
    let (items, mut diagnostics) = hyphae_specs::parse(&sources);
    diagnostics.extend(hyphae_specs::unsupported(&items));
    diagnostics.extend(items.iter().filter(|item| !matches!(item.key, ItemKey::Node(_))).map(not_a_node));
    let nodes: Vec<Item> = items.into_iter().filter(|item| matches!(item.key, ItemKey::Node(_))).collect();
    let (model, found) = hyphae_specs::resolve(nodes);
    diagnostics.extend(found);
    diagnostics.retain(|found| found.severity == Severity::Error);
    if !diagnostics.is_empty() {
        return Err(PlanError::Sources { diagnostics, policies: Vec::new(), sources });
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
    Ok(State { prefix: Some(OFFLINE_PREFIX), next_node_id: nodes.len() as u32 + 1, nodes, ..State::default() })
}

/// Whether a state is that of an inventory: no cluster has the documentation's addresses.
pub(super) fn is_offline(state: &State) -> bool {
    state.prefix == Some(OFFLINE_PREFIX)
}

fn not_a_node(item: &Item) -> Diagnostic {
    let what = match &item.body {
        ItemBody::Workload(workload) => workload.kind.as_str(),
        ItemBody::Team(_) => "team",
        ItemBody::Pool(_) => "pool",
        ItemBody::Constraint(_) => "constraint",
        ItemBody::Reserve(_) => "reserve",
        ItemBody::Safety(_) => "safety",
        ItemBody::Balance(_) => "balance",
        ItemBody::Objective(_) => "objective",
        ItemBody::Node(_) => "node",
    };
    Diagnostic::error("hyphae::not_a_node", item.span, format!("a `{what}` in the inventory"), "not a machine")
        .help("an inventory holds only `node` blocks; give this file among the FILES to plan")
}
