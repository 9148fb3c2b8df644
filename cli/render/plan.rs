//! A plan document for people: summary, difference, what is denied or short, waves, cost, proof.
//!
//! Lists are grouped and cut, so that a plan of thousands of replicas still fits a screen or two; what is cut is counted, and
//! `--format json` shows it.

use crate::render::amounts::{millis, price};
use crate::render::style::{BAD, BOLD, DIM, GOOD, PLACE, WARN, clean, counted, paint};
use crate::render::{fleet, shortage, what_if};
use anstyle::Style;
use hyphae_controlplane::plan::{Action, Change, PlanDocument, Status, TierEntry};
use std::collections::BTreeMap;
use std::fmt::Write;

/// Workloads shown with their changes.
const WORKLOADS_MAX: usize = 40;
/// Places shown on one line of changes.
const PLACES_MAX: usize = 6;
/// Longest reason that stands on the line of its change; a longer one gets its own.
const WHY_CHARS_MAX: usize = 60;
/// Waves shown.
const WAVES_MAX: usize = 8;
/// Workloads named in one wave.
const WAVE_NAMES_MAX: usize = 4;

/// The whole plan.
pub(crate) fn plan(document: &PlanDocument) -> String {
    let sections = [
        summary(document),
        what_if::what_if(document),
        changes(document),
        fleet::scaling(document),
        fleet::traded(document),
        shortage::denied(document),
        shortage::unplaced(document),
        waves(document),
        notes(document),
        shortage::broken_soft(document),
        cost(document) + &fleet::cheapest(document) + &proof(document),
    ];
    sections.into_iter().filter(|section| !section.is_empty()).collect::<Vec<_>>().join("\n")
}

/// "… and 312 more nodes (--format json shows all)".
pub(crate) fn more(left_out: usize, noun: &str) -> String {
    format!("{} {}", more_within(left_out, noun), paint(DIM, "(--format json shows all)"))
}

/// "… and 312 more nodes": within a line.
pub(crate) fn more_within(left_out: usize, noun: &str) -> String {
    paint(DIM, format!("… and {left_out} more {noun}{}", if left_out == 1 { "" } else { "s" }))
}

/// What a plan does, in one line without styles: "start 6, move 2 replicas of 3 workloads".
pub(crate) fn summary_words(document: &PlanDocument) -> String {
    let totals = totals(document.changes.iter());
    if totals.is_empty() {
        return "no replica starts, stops, moves or changes".to_string();
    }
    let replicas: u64 = totals.values().sum();
    let what: Vec<String> = totals.iter().map(|(action, count)| format!("{} {count}", verb(*action))).collect();
    let mut names: Vec<&str> = document.changes.iter().map(|change| change.workload.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    format!(
        "{} replica{} of {}",
        what.join(", "),
        if replicas == 1 { "" } else { "s" },
        counted(names.len(), "workload")
    )
}

fn summary(document: &PlanDocument) -> String {
    let verdict = match document.status {
        Status::Optimal => paint(GOOD, "everything is placed, proven optimal"),
        Status::Feasible => paint(GOOD, "everything is placed"),
        Status::Shortage => {
            let missing: u64 = document.unplaced.iter().map(|unplaced| u64::from(unplaced.count)).sum();
            paint(BAD, format!("{} cannot be placed", counted(missing, "replica")))
        }
        Status::Denied => paint(BAD, "denied by policy, cannot be applied"),
    };
    let supposed = if document.what_if.is_some() { "What-if plan" } else { "Plan" };
    format!(
        "{} {}; {verdict}\n",
        paint(BOLD, format!("{supposed} at revision {}:", document.revision)),
        summary_words(document)
    )
}

fn totals<'a>(changes: impl Iterator<Item = &'a Change>) -> BTreeMap<Action, u64> {
    let mut totals = BTreeMap::new();
    for change in changes {
        *totals.entry(change.action).or_default() += u64::from(change.count);
    }
    totals
}

fn verb(action: Action) -> &'static str {
    match action {
        Action::Start => "start",
        Action::Stop => "stop",
        Action::Move => "move",
        Action::Update => "update",
    }
}

fn sign(action: Action) -> (&'static str, Style) {
    match action {
        Action::Start => ("+", GOOD),
        Action::Stop => ("-", BAD),
        Action::Move => (">", PLACE),
        Action::Update => ("~", WARN),
    }
}

fn changes(document: &PlanDocument) -> String {
    let mut workloads: BTreeMap<&str, Vec<&Change>> = BTreeMap::new();
    for change in &document.changes {
        workloads.entry(change.workload.as_str()).or_default().push(change);
    }
    let mut text = String::new();
    for (name, changes) in workloads.iter().take(WORKLOADS_MAX) {
        let _ = writeln!(text, "{}", paint(BOLD, clean(name)));
        text.push_str(&changes_of(changes));
    }
    if workloads.len() > WORKLOADS_MAX {
        let _ = writeln!(text, "{}", more(workloads.len() - WORKLOADS_MAX, "workload"));
    } else if text.contains('…') {
        let _ = writeln!(text, "{}", paint(DIM, "(--format json shows all)"));
    }
    text
}

/// A line for each action and reason of one workload.
fn changes_of(changes: &[&Change]) -> String {
    let mut groups: BTreeMap<(Action, &str), Vec<&Change>> = BTreeMap::new();
    for change in changes {
        groups.entry((change.action, change.why.as_str())).or_default().push(change);
    }
    let mut text = String::new();
    for ((action, why), changes) in groups {
        let (sign, style) = sign(action);
        let count: u64 = changes.iter().map(|change| u64::from(change.count)).sum();
        let head = paint(style, format!("{sign} {} {count}", verb(action)));
        let _ = write!(text, "  {head} {}", places(action, &changes));
        match why.chars().count() {
            0 => {}
            1..=WHY_CHARS_MAX => text.push_str(&paint(DIM, format!("  ({})", clean(why)))),
            _ => text.push_str(&paint(DIM, format!("\n      {}", clean(why)))),
        }
        text.push('\n');
    }
    text
}

/// "on n1 (2), n2" or "n1 → n2, n3 → n4 (2)"; a count stands where it is not 1 and not all.
fn places(action: Action, changes: &[&Change]) -> String {
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for change in changes {
        let name =
            |node: &Option<String>| node.as_deref().map_or_else(|| "?".to_string(), |node| clean(node).into_owned());
        let place = match action {
            Action::Start => name(&change.to),
            Action::Stop => name(&change.from),
            Action::Update => name(if change.to.is_some() { &change.to } else { &change.from }),
            Action::Move => format!("{} → {}", name(&change.from), name(&change.to)),
        };
        *counts.entry(place).or_default() += u64::from(change.count);
    }
    let is_only = counts.len() == 1;
    let shown = counts.iter().take(PLACES_MAX).map(|(place, count)| match count {
        1 => place.clone(),
        _ if is_only => place.clone(),
        _ => format!("{place} ({count})"),
    });
    let mut text = shown.collect::<Vec<_>>().join(", ");
    if counts.len() > PLACES_MAX {
        let noun = if action == Action::Move { "move" } else { "node" };
        let _ = write!(text, " {}", more_within(counts.len() - PLACES_MAX, noun));
    }
    if action == Action::Move { text } else { format!("on {text}") }
}

fn waves(document: &PlanDocument) -> String {
    if document.waves.len() < 2 {
        return String::new();
    }
    let mut text = format!("{}\n", paint(BOLD, format!("In {}:", counted(document.waves.len(), "wave"))));
    for (number, wave) in document.waves.iter().enumerate().take(WAVES_MAX) {
        let _ = writeln!(text, "  {}. {}", number + 1, wave_words(document, wave));
    }
    if document.waves.len() > WAVES_MAX {
        let _ = writeln!(text, "  {}", more(document.waves.len() - WAVES_MAX, "wave"));
    }
    text
}

/// "start payments/api, storefront/web; stop storefront/old": a change may be spread over waves, so no counts.
fn wave_words(document: &PlanDocument, wave: &[usize]) -> String {
    let mut names: BTreeMap<Action, Vec<&str>> = BTreeMap::new();
    for change in wave.iter().filter_map(|&index| document.changes.get(index)) {
        names.entry(change.action).or_default().push(&change.workload);
    }
    let mut words = Vec::new();
    for (action, mut names) in names {
        names.sort_unstable();
        names.dedup();
        let shown = names.iter().take(WAVE_NAMES_MAX).map(|name| clean(name)).collect::<Vec<_>>().join(", ");
        let rest = names.len().saturating_sub(WAVE_NAMES_MAX);
        let rest = if rest == 0 { String::new() } else { format!(" and {rest} more") };
        words.push(format!("{} {shown}{rest}", verb(action)));
    }
    words.join("; ")
}

/// Warnings come with the lines they are about, so line breaks stay.
fn notes(document: &PlanDocument) -> String {
    let mut text = String::new();
    for note in &document.notes {
        for (number, line) in note.lines().filter(|line| !line.trim().is_empty()).enumerate() {
            let head = if number == 0 { paint(WARN, "note:") } else { "     ".to_string() };
            let _ = writeln!(text, "{head} {}", clean(line));
        }
    }
    text
}

fn cost(document: &PlanDocument) -> String {
    let (before, after) = (document.cost.before_micros, document.cost.after_micros);
    if before == 0 && after == 0 {
        return String::new();
    }
    let change = match after.cmp(&before) {
        std::cmp::Ordering::Equal => "unchanged".to_string(),
        std::cmp::Ordering::Greater => format!("+{}", price(after - before)),
        std::cmp::Ordering::Less => format!("−{}", price(before - after)),
    };
    format!("{} {} → {} per hour ({change})\n", paint(BOLD, "Cost:"), price(before), price(after))
}

fn proof(document: &PlanDocument) -> String {
    let solve = &document.solve;
    let mut text = format!("{} ", paint(BOLD, "Proof:"));
    let checked = if solve.checked { "every constraint verified by the independent checker" } else { "NOT CHECKED" };
    let _ = writeln!(
        text,
        "{checked}; {} in {} ({}, {})",
        clean(&solve.method),
        millis(solve.millis),
        counted(solve.variables, "variable"),
        counted(solve.constraints, "constraint")
    );
    let rows = proof_rows(document);
    let names = rows.iter().map(|row| row.0.chars().count()).max().unwrap_or(0);
    let values = rows.iter().map(|row| row.1.chars().count()).max().unwrap_or(0);
    for (name, value, proof) in rows {
        let _ = writeln!(text, "  {name:<names$}  {value:<values$}  {proof}");
    }
    text
}

/// Name, value and proof of each tier; priorities of which nothing is missing share a row.
fn proof_rows(document: &PlanDocument) -> Vec<(String, String, String)> {
    let is_whole = |tier: &&TierEntry| tier.priority.is_some() && tier.value == 0 && tier.proven;
    let whole = document.tiers.iter().filter(is_whole).count();
    let row =
        |tier: &TierEntry| (tier_name(&tier.tier, tier.priority), tier_value(&tier.tier, tier.value), tier_proof(tier));
    if whole < 2 {
        return document.tiers.iter().map(row).collect();
    }
    let name = format!("shortage ({whole} priorities)");
    let shared = (name, "0".to_string(), paint(GOOD, "proven optimal"));
    let others = document.tiers.iter().filter(|tier| !is_whole(tier)).map(row);
    std::iter::once(shared).chain(others).collect()
}

/// A tier for people: shortages say of which priority.
pub(crate) fn tier_name(tier: &str, priority: Option<i32>) -> String {
    match priority {
        Some(priority) => format!("{} (priority {priority})", clean(tier)),
        None => clean(tier).into_owned(),
    }
}

/// A tier's value for people: prices as prices.
pub(crate) fn tier_value(tier: &str, value: u64) -> String {
    match tier {
        "cost" | "priced-cost" => price(value),
        _ => value.to_string(),
    }
}

fn tier_proof(tier: &TierEntry) -> String {
    if tier.proven {
        return paint(GOOD, "proven optimal");
    }
    let distance = tier.value.saturating_sub(tier.bound);
    match distance {
        0 => paint(WARN, "at its bound; a tier above is not proven"),
        _ => paint(WARN, format!("at most {} from optimal", tier_value(&tier.tier, distance))),
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
