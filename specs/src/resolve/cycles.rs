//! Circles of hard `near`.

use crate::{Diagnostic, Model, PlaceKind, Span};
use std::collections::{BTreeMap, BTreeSet};

/// Reports each circle of workloads that must each be near the next, once.
pub(super) fn find(model: &Model, out: &mut Vec<Diagnostic>) {
    let edges = edges(model);
    let mut done: BTreeSet<&str> = BTreeSet::new();
    for start in edges.keys().copied() {
        if !done.contains(start) {
            walk(start, &edges, &mut done, out);
        }
    }
}

/// Who must be near whom, and where that is written.
type Edges<'m> = BTreeMap<&'m str, Vec<(&'m str, Span)>>;

fn edges(model: &Model) -> Edges<'_> {
    let mut edges = Edges::new();
    for (name, workload) in &model.workloads {
        let hard = workload.place.iter().filter(|rule| rule.weight.is_none());
        for rule in hard {
            if let PlaceKind::Near { to, .. } = &rule.kind
                && to.value != *name
                && model.workloads.contains_key(&to.value)
            {
                edges.entry(name).or_default().push((&to.value, rule.span));
            }
        }
    }
    edges
}

/// Depth first, without recursion; a circle is reported when an edge leads back onto the path.
fn walk<'m>(start: &'m str, edges: &Edges<'m>, done: &mut BTreeSet<&'m str>, out: &mut Vec<Diagnostic>) {
    let none = Vec::new();
    let mut path: Vec<(&str, usize)> = vec![(start, 0)];
    while let Some((name, next)) = path.last_mut() {
        let name = *name;
        let Some((to, _)) = edges.get(name).unwrap_or(&none).get(*next).copied() else {
            done.insert(name);
            path.pop();
            continue;
        };
        *next += 1;
        if let Some(from) = path.iter().position(|(on_path, _)| *on_path == to) {
            out.push(circle(&path[from..], edges));
        } else if !done.contains(to) {
            path.push((to, 0));
        }
    }
}

/// Each of `path` has last followed its edge before `next`.
fn circle(path: &[(&str, usize)], edges: &Edges<'_>) -> Diagnostic {
    let taken: Vec<(&str, Span)> = path.iter().map(|(name, next)| edges[name][next - 1]).collect();
    let names: Vec<&str> = path.iter().map(|(name, _)| *name).chain([path[0].0]).collect();
    let message = format!("these must be near each other in a circle: {}", names.join(" → "));
    let (first, rest) = (taken[0], &taken[1..]);
    let mut diagnostic =
        Diagnostic::error("hyphae::cycle", first.1, message, format!("\"{}\" must be near \"{}\"", path[0].0, first.0))
            .help("make one of them soft with `weight=`: none of them could be the first to be placed");
    for ((name, _), (to, span)) in path[1..].iter().zip(rest) {
        diagnostic = diagnostic.other(*span, format!("\"{name}\" must be near \"{to}\""));
    }
    diagnostic
}
