//! What a what-if plan supposes, and what it changes: "now" is the plan without the suppositions, "then" the one shown.

use crate::render::amounts::price;
use crate::render::plan::{tier_name, tier_value};
use crate::render::style::{BAD, BOLD, DIM, GOOD, WARN, clean, paint};
use hyphae_controlplane::plan::{PlanDocument, TierChange, WhatIfEntry};
use std::fmt::Write;

/// The difference; nothing when nothing is supposed.
pub(crate) fn what_if(document: &PlanDocument) -> String {
    let Some(entry) = &document.what_if else { return String::new() };
    let mut text = String::new();
    for supposition in &entry.suppositions {
        let _ = writeln!(text, "{} {}", paint(WARN, "what if:"), clean(supposition));
    }
    let _ = writeln!(text, "{}", paint(BOLD, "Now -> then:"));
    let changes = changes(entry);
    let width = changes.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    for (name, change) in &changes {
        let _ = writeln!(text, "  {name:<width$}  {change}");
    }
    if changes.is_empty() {
        let _ = writeln!(text, "  nothing is better or worse");
    }
    let _ = writeln!(text, "{}", paint(DIM, "This plan cannot be applied: what it supposes is not so."));
    text
}

/// What differs: tiers, who is short, the cost.
fn changes(entry: &WhatIfEntry) -> Vec<(String, String)> {
    let differs = |tier: &&TierChange| tier.now.unwrap_or(0) != tier.then.unwrap_or(0);
    let tiers = entry.tiers.iter().filter(differs).filter(|tier| !is_price(tier)).map(|tier| {
        let value = |value: Option<u64>| value.map_or_else(|| "none".to_string(), |v| tier_value(&tier.tier, v));
        let change = format!("{} -> {}", value(tier.now), value(tier.then));
        (tier_name(&tier.tier, tier.priority), better(tier.then < tier.now, change))
    });
    let unplaced = entry.unplaced.iter().filter(|unplaced| unplaced.now != unplaced.then).map(|unplaced| {
        let change = format!("{} -> {}", unplaced.now, unplaced.then);
        (format!("unplaced of {}", clean(&unplaced.workload)), better(unplaced.then < unplaced.now, change))
    });
    let (now, then) = (entry.cost_now_micros, entry.cost_then_micros);
    let change = format!("{} -> {} per hour", price(now), price(then));
    let cost = (now != then).then(|| ("cost".to_string(), better(then < now, change)));
    tiers.chain(unplaced).chain(cost).collect()
}

/// The price of the nodes has a line of its own.
fn is_price(tier: &TierChange) -> bool {
    tier.tier == "cost"
}

fn better(is_better: bool, change: String) -> String {
    paint(if is_better { GOOD } else { BAD }, change)
}
