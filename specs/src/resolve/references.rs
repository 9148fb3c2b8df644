//! Names that must lead somewhere.

use super::selection::Selection;
use crate::diagnostic::{PROBLEMS_MAX, did_you_mean, suggest};
use crate::{ConstraintRule, Diagnostic, Model, PlaceKind, PlaceRule, Spanned, Workload};
use std::collections::BTreeSet;

/// Checks every reference of a model and turns bare names of workloads into full ones.
pub(super) fn resolve(model: &mut Model, out: &mut Vec<Diagnostic>) {
    teams(model, out);
    pools(model, out);
    workload_names(model, out);
    for workload in model.workloads.values() {
        health_port(workload, out);
    }
    let selection = Selection::new(model);
    for rule in model.constraints.values() {
        if out.len() < PROBLEMS_MAX {
            applies_to_something(rule, &selection, out);
        }
    }
    extras_exist(model, out);
}

fn unknown(name: &Spanned<String>, what: &str, help: String) -> Diagnostic {
    Diagnostic::error(
        "hyphae::unknown_name",
        name.span,
        format!("there is no {what} \"{}\"", name.value),
        format!("unknown {what}"),
    )
    .help(help)
}

/// Where teams are declared at all, each team is declared.
fn teams(model: &Model, out: &mut Vec<Diagnostic>) {
    if model.teams.is_empty() {
        return;
    }
    for team in model.workloads.values().filter_map(|workload| workload.team.as_ref()) {
        if out.len() < PROBLEMS_MAX && team.value != "default" && !model.teams.contains_key(&team.value) {
            let known = suggest(&team.value, model.teams.keys().map(String::as_str));
            out.push(unknown(team, "team", format!("{known}; or declare it: `team \"{}\"`", team.value)));
        }
    }
}

/// Where pools are declared at all, each pool is declared.
fn pools(model: &Model, out: &mut Vec<Diagnostic>) {
    if model.pools.is_empty() {
        return;
    }
    for pool in model.nodes.values().filter_map(|node| node.pool.as_ref()) {
        if out.len() < PROBLEMS_MAX && !model.pools.contains_key(&pool.value) {
            out.push(unknown(pool, "pool", suggest(&pool.value, model.pools.keys().map(String::as_str))));
        }
    }
}

fn workload_names(model: &mut Model, out: &mut Vec<Diagnostic>) {
    let known: BTreeSet<String> = model.workloads.keys().cloned().collect();
    for workload in model.workloads.values_mut() {
        let (team, own) = (workload.team_name().to_owned(), workload.full_name());
        for rule in &mut workload.place {
            let Some(name) = other_workload(rule) else { continue };
            if !name.value.contains('/') {
                name.value = format!("{team}/{}", name.value);
            }
            if name.value == own {
                let help = "to bound how many lie together write `separate within=\"node\"`, without `from=`";
                let message = format!("\"{own}\" speaks of itself");
                out.push(Diagnostic::error("hyphae::contradiction", name.span, message, "its own name").help(help));
            } else if !known.contains(&name.value) && out.len() < PROBLEMS_MAX {
                out.push(unknown(name, "workload", suggest_workload(&name.value, &known)));
            }
        }
    }
    for rule in model.constraints.values_mut().flat_map(|rule| &mut rule.place) {
        let Some(name) = other_workload(rule) else { continue };
        if !name.value.contains('/') {
            let help = match known.iter().find(|full| full.ends_with(&format!("/{}", name.value))) {
                Some(full) => format!("did you mean \"{full}\"?"),
                None => format!("write \"team/{}\"", name.value),
            };
            let message = "a constraint belongs to no team: the full name is needed";
            out.push(Diagnostic::error("hyphae::unknown_name", name.span, message, "a bare name").help(help));
        } else if !known.contains(&name.value) && out.len() < PROBLEMS_MAX {
            out.push(unknown(name, "workload", suggest_workload(&name.value, &known)));
        }
    }
}

/// The other workload a statement speaks of.
fn other_workload(rule: &mut PlaceRule) -> Option<&mut Spanned<String>> {
    match &mut rule.kind {
        PlaceKind::SeparateFrom { from: name, .. } | PlaceKind::Near { to: name, .. } => Some(name),
        PlaceKind::Require(_)
        | PlaceKind::Prefer(_)
        | PlaceKind::Spread { .. }
        | PlaceKind::SeparateWithin { .. }
        | PlaceKind::Survive { .. } => None,
    }
}

/// A workload of that bare name in another team is the likeliest.
fn suggest_workload(full: &str, known: &BTreeSet<String>) -> String {
    let bare = full.rsplit('/').next().unwrap_or(full);
    match known.iter().find(|other| other.rsplit('/').next() == Some(bare)) {
        Some(other) => format!("did you mean \"{other}\"? A bare name means one's own team"),
        None => {
            let own = full.strip_suffix(bare).unwrap_or("");
            let neighbours = || known.iter().filter_map(|other| other.strip_prefix(own));
            match did_you_mean(bare, neighbours()) {
                Some(likely) => format!("did you mean \"{own}{likely}\"?"),
                None if known.len() <= 24 => {
                    format!("known here: {}", known.iter().cloned().collect::<Vec<_>>().join(", "))
                }
                None => "no workload has a name like it".to_owned(),
            }
        }
    }
}

fn health_port(workload: &Workload, out: &mut Vec<Diagnostic>) {
    let Some(health) = &workload.health else { return };
    if !workload.ports.iter().any(|port| port.name.value == health.port.value) {
        let help = match workload.ports.is_empty() {
            true => format!("declare it: `port \"{}\" 8080`", health.port.value),
            false => suggest(&health.port.value, workload.ports.iter().map(|port| port.name.value.as_str())),
        };
        out.push(unknown(&health.port, "port", help));
    }
}

fn applies_to_something(rule: &ConstraintRule, selection: &Selection<'_>, out: &mut Vec<Diagnostic>) {
    let Some(first) = rule.applies_to.values().next() else { return };
    if !selection.of(rule).is_empty() {
        return;
    }
    let message = format!("the constraint \"{}\" applies to no workload", rule.name.value);
    // The label whose value nobody has, if it is one alone.
    let unmatched = rule.applies_to.iter().find(|(key, value)| !selection.values(key).contains(&value.value.as_str()));
    let (span, help) = match unmatched {
        None => (first.span, "no workload has all these labels together".to_owned()),
        Some((key, value)) => {
            let values = selection.values(key);
            let help = match values.is_empty() {
                true => format!("no workload has a label `{key}`"),
                false => format!("no workload has this `{key}`; {}", suggest(&value.value, values)),
            };
            (value.span, help)
        }
    };
    out.push(Diagnostic::warning("hyphae::unused", span, message, "matches nothing").help(help));
}

/// Where the nodes are known, some node has what a workload asks for.
fn extras_exist(model: &Model, out: &mut Vec<Diagnostic>) {
    if model.nodes.is_empty() {
        return;
    }
    let instances = model.pools.values().flat_map(|pool| &pool.instances).map(|instance| &instance.capacity);
    let machines = model.nodes.values().map(|node| &node.capacity).chain(instances);
    let offered: BTreeSet<&str> = machines.flat_map(|capacity| capacity.extras.keys()).map(String::as_str).collect();
    for workload in model.workloads.values() {
        for (name, amount) in &workload.resources.extras {
            if out.len() < PROBLEMS_MAX && !offered.contains(name.as_str()) {
                let message = format!("no node has any `{name}`");
                let help = suggest(name, offered.iter().copied());
                out.push(Diagnostic::warning("hyphae::unused", amount.span, message, "cannot be placed").help(help));
            }
        }
    }
}
