//! Loads that change nothing: warnings, because a load outlives its workload.

use crate::diagnostic::{PROBLEMS_MAX, suggest};
use crate::{Diagnostic, Model, Replicas};

/// Looks for each load at the workload it is about.
pub(super) fn find(model: &Model, out: &mut Vec<Diagnostic>) {
    // An inventory that is read by itself knows no workloads.
    if model.workloads.is_empty() {
        return;
    }
    for load in model.loads.values() {
        if out.len() >= PROBLEMS_MAX {
            return;
        }
        let name = load.workload.value.as_str();
        let (message, label, help) = match model.workloads.get(name) {
            None => (
                format!("there is no workload \"{name}\""),
                "its load changes nothing",
                suggest(name, model.workloads.keys().map(String::as_str)),
            ),
            Some(workload) if !matches!(workload.replicas, Replicas::Scale { .. }) => (
                format!("\"{name}\" does not scale"),
                "its load changes nothing",
                "write `scale min=3 max=40 { target cpu=0.6 }` in its block, or remove this line".to_owned(),
            ),
            Some(workload) if workload.resources.cpu.is_none() => (
                format!("\"{name}\" reserves no cpu"),
                "cannot be turned into replicas",
                "write `resources cpu=0.5` in its block: a load is divided by what one replica reserves".to_owned(),
            ),
            Some(_) => continue,
        };
        out.push(Diagnostic::warning("hyphae::unused", load.workload.span, message, label).help(help));
    }
}
