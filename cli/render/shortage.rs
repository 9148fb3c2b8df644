//! "No" as prose: what a policy denies, and what cannot be placed because of what, and what would help.

use crate::render::plan::more;
use crate::render::style::{BAD, BOLD, DIM, GOOD, PLACE, clean, counted, paint};
use hyphae_controlplane::plan::{Conflict, Denied, PlanDocument, RepairEntry, Unplaced};
use std::fmt::Write;

/// Workloads explained.
const UNPLACED_MAX: usize = 20;
/// Denials shown.
const DENIED_MAX: usize = 20;
/// Soft statements shown.
const SOFT_MAX: usize = 8;
/// Statements shown of one conflict.
const CAUSES_MAX: usize = 12;

/// What policies forbid, one line and a message each.
pub(crate) fn denied(document: &PlanDocument) -> String {
    if document.denied.is_empty() {
        return String::new();
    }
    let mut text = format!("{}\n", paint(BOLD, "Denied by policy:"));
    for denied in document.denied.iter().take(DENIED_MAX) {
        text.push_str(&denial(denied));
    }
    if document.denied.len() > DENIED_MAX {
        let _ = writeln!(text, "  {}", more(document.denied.len() - DENIED_MAX, "denial"));
    }
    text
}

fn denial(denied: &Denied) -> String {
    let what = format!("{} {}", clean(&denied.action), clean(&denied.workload));
    let by = match &denied.policy {
        Some(policy) => format!("the policy \"{}\" forbids it", clean(policy)),
        None => "no policy permits it".to_string(),
    };
    let mut text = format!("  {}: {by}{}\n", paint(BAD, what), at(denied.file.as_deref(), denied.line, None));
    if !denied.message.is_empty() {
        let _ = writeln!(text, "      {}", clean(&denied.message));
    }
    text
}

/// What cannot be placed: because … and …, therefore …, and what would help.
pub(crate) fn unplaced(document: &PlanDocument) -> String {
    if document.unplaced.is_empty() {
        return String::new();
    }
    let mut text = format!("{}\n", paint(BOLD, "Cannot be placed:"));
    for unplaced in document.unplaced.iter().take(UNPLACED_MAX) {
        text.push_str(&shortage(unplaced));
    }
    if document.unplaced.len() > UNPLACED_MAX {
        let _ = writeln!(text, "  {}", more(document.unplaced.len() - UNPLACED_MAX, "workload"));
    }
    if !document.repairs_together.is_empty() {
        let _ = writeln!(text, "  {}", paint(BOLD, "To place all of them:"));
        document.repairs_together.iter().for_each(|repair| text.push_str(&help(repair)));
    }
    text
}

fn shortage(unplaced: &Unplaced) -> String {
    let missing = format!("{} of {}", counted(unplaced.count, "replica"), clean(&unplaced.workload));
    let mut text = format!("  {}\n", paint(BAD, &missing));
    for (index, conflict) in unplaced.conflict.iter().enumerate().take(CAUSES_MAX) {
        let word = if index == 0 { "because" } else { "and    " };
        let _ = writeln!(text, "    {word} {}", cause(conflict));
    }
    if unplaced.conflict.len() > CAUSES_MAX {
        let _ = writeln!(text, "    {}", more(unplaced.conflict.len() - CAUSES_MAX, "reason"));
    }
    if let Some(certificate) = &unplaced.certificate {
        let word = if unplaced.conflict.is_empty() { "because" } else { "       " };
        let _ = writeln!(text, "    {word} {}", paint(DIM, clean(certificate)));
    }
    let verb = if unplaced.count == 1 { "has" } else { "have" };
    let therefore = match (unplaced.proven, unplaced.conflict.is_empty() && unplaced.certificate.is_none()) {
        (true, false) => format!("therefore {missing} {verb} no place."),
        (true, true) => format!("{missing} {verb} no place; no single reason could be singled out."),
        (false, false) => {
            format!("therefore no place was found for {missing}; that there is none is not proven.")
        }
        (false, true) => format!("no place was found for {missing}, and no reason could be singled out."),
    };
    let _ = writeln!(text, "    {therefore}");
    unplaced.repairs.iter().for_each(|repair| text.push_str(&help(repair)));
    text
}

fn help(repair: &RepairEntry) -> String {
    let adds = repair.adds.as_deref().filter(|adds| !repair.text.contains(*adds));
    let adds = adds.map_or(String::new(), |adds| format!(" (adds {})", clean(adds)));
    format!("    {} {}{adds}\n", paint(GOOD, "help:"), clean(&repair.text))
}

/// The soft statements that are broken, with what each costs.
pub(crate) fn broken_soft(document: &PlanDocument) -> String {
    let broken = &document.broken_soft;
    if broken.is_empty() {
        return String::new();
    }
    let mut text = format!("{}\n", paint(BOLD, "Soft statements broken, at what cost:"));
    let shown = broken.iter().take(SOFT_MAX);
    let width = shown.clone().map(|soft| soft.cost.to_string().len()).max().unwrap_or(0);
    for soft in shown {
        let _ = writeln!(text, "  {:>width$}  {}", soft.cost, cause(&soft.rule));
    }
    if broken.len() > SOFT_MAX {
        let _ = writeln!(text, "  {}", more(broken.len() - SOFT_MAX, "statement"));
    }
    text
}

/// A statement and where it is written.
pub(crate) fn cause(conflict: &Conflict) -> String {
    format!("{}{}", clean(&conflict.constraint), at(conflict.file.as_deref(), conflict.line, conflict.column))
}

/// " (shop.kdl:14:9)", or nothing when it is written nowhere.
fn at(file: Option<&str>, line: Option<usize>, column: Option<usize>) -> String {
    let Some(file) = file else { return String::new() };
    let mut place = clean(file).into_owned();
    for number in [line, line.and(column)].into_iter().flatten() {
        let _ = write!(place, ":{number}");
    }
    format!(" ({})", paint(PLACE, place))
}
