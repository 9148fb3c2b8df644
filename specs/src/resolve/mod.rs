//! Items to a model: what can only be said when all of them are known.

mod contradictions;
mod cycles;
mod loads;
mod references;
mod selection;

use crate::{Diagnostic, Item, ItemBody, ItemKey, Model, Span};
use std::collections::BTreeMap;

/// Joins items into a model: names are unique, references lead somewhere, bare names of workloads become full ones, nothing is near itself in
/// a circle, nothing contradicts itself.
///
/// The model is always returned, holding what could be resolved; it is only to be trusted when no diagnostic is an error.
pub fn resolve(items: Vec<Item>) -> (Model, Vec<Diagnostic>) {
    let mut out = Vec::new();
    let mut model = Model::default();
    let mut seen: BTreeMap<ItemKey, Span> = BTreeMap::new();
    for item in items {
        let at = name_span(&item);
        if let Some(first) = seen.get(&item.key) {
            out.push(twice(&item.key, at, *first));
            continue;
        }
        seen.insert(item.key.clone(), at);
        add(&mut model, item);
    }
    references::resolve(&mut model, &mut out);
    contradictions::find(&model, &mut out);
    loads::find(&model, &mut out);
    cycles::find(&model, &mut out);
    out.sort_by_key(|diagnostic| diagnostic.span);
    (model, out)
}

fn add(model: &mut Model, item: Item) {
    match item.body {
        ItemBody::Node(node) => drop(model.nodes.insert(node.name.value.clone(), node)),
        ItemBody::Pool(pool) => drop(model.pools.insert(pool.name.value.clone(), pool)),
        ItemBody::Team(team) => drop(model.teams.insert(team.name.value.clone(), team)),
        ItemBody::Workload(workload) => drop(model.workloads.insert(workload.full_name(), *workload)),
        ItemBody::Constraint(rule) => drop(model.constraints.insert(rule.name.value.clone(), rule)),
        ItemBody::Reserve(reserve) => model.reserves.push(reserve),
        ItemBody::Safety(safety) => model.safety = Some(safety),
        ItemBody::Balance(balance) => model.balance = Some(balance),
        ItemBody::Objective(objective) => model.objective = Some(objective),
        ItemBody::Load(load) => drop(model.loads.insert(load.workload.value.clone(), load)),
    }
}

/// Where an item says its name.
fn name_span(item: &Item) -> Span {
    match &item.body {
        ItemBody::Node(node) => node.name.span,
        ItemBody::Pool(pool) => pool.name.span,
        ItemBody::Team(team) => team.name.span,
        ItemBody::Workload(workload) => workload.name.span,
        ItemBody::Constraint(rule) => rule.name.span,
        ItemBody::Reserve(reserve) => reserve.loss_of.span,
        ItemBody::Load(load) => load.workload.span,
        ItemBody::Safety(safety) => Span { len: safety.span.len.min("safety".len()), ..safety.span },
        ItemBody::Balance(balance) => Span { len: balance.span.len.min("balance".len()), ..balance.span },
        ItemBody::Objective(objective) => Span { len: objective.span.len.min("objective".len()), ..objective.span },
    }
}

fn twice(key: &ItemKey, again: Span, first: Span) -> Diagnostic {
    let (message, help) = match key {
        ItemKey::Node(name) => (format!("there are two nodes \"{name}\""), "rename one of them"),
        ItemKey::Pool(name) => (format!("there are two pools \"{name}\""), "rename one of them"),
        ItemKey::Team(name) => (format!("there are two teams \"{name}\""), "keep one of them, with both quotas in it"),
        ItemKey::Workload(name) => (
            format!("there are two workloads \"{name}\""),
            "services, jobs and daemons of one team share their names: rename one, or give it another team",
        ),
        ItemKey::Constraint(name) => (format!("there are two constraints \"{name}\""), "rename one of them"),
        ItemKey::Reserve(label) => (format!("the loss of any {label} is reserved for twice"), "keep one of them"),
        ItemKey::Load(name) => (format!("the load of \"{name}\" is given twice"), "keep one of them"),
        ItemKey::Safety => ("how full machines should be is said twice".to_owned(), "keep one of the two"),
        ItemKey::Balance => ("what is left is to be balanced twice".to_owned(), "keep one of the two"),
        ItemKey::Objective => ("there are two objectives".to_owned(), "keep one: there is one cluster"),
    };
    Diagnostic::error("hyphae::duplicate", again, message, "given again here")
        .other(first, "first given here")
        .help(help)
}
