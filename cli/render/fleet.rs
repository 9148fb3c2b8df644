//! Machines bought and returned, replicas that follow a load, and what the cheapest fleet would cost.

use crate::render::amounts::{cores, price};
use crate::render::plan::more_within;
use crate::render::style::{BAD, BOLD, GOOD, clean, paint};
use hyphae_controlplane::plan::{CheapestFleet, NodesBought, PlanDocument, Scaled};
use std::fmt::Write;

/// Workloads named for one kind of machine.
const HELD_MAX: usize = 5;
/// Machines returned that are named.
const RETURNED_MAX: usize = 8;
/// Workloads shown that scale.
const SCALED_MAX: usize = 20;

/// "storefront/web: 12 replicas for a load of 7.2 cores at 0.6 (min 3, max 40)", a line each.
pub(crate) fn scaling(document: &PlanDocument) -> String {
    let mut text = String::new();
    for scaled in document.scaling.iter().take(SCALED_MAX) {
        let _ = writeln!(text, "{}: {}", paint(BOLD, clean(&scaled.workload)), scaled_words(scaled));
    }
    if document.scaling.len() > SCALED_MAX {
        let _ = writeln!(text, "{}", more_within(document.scaling.len() - SCALED_MAX, "workload that scales"));
    }
    text
}

fn scaled_words(scaled: &Scaled) -> String {
    let Scaled { load_cpu_millis, target_cpu_permille, min, max, wanted, placed, survives, .. } = scaled;
    let replicas = |count: u32| if count == 1 { "1 replica".to_string() } else { format!("{count} replicas") };
    let load = match load_cpu_millis {
        Some(load) => {
            format!(" for a load of {} cores at {}", cores(*load), cores(u64::from(*target_cpu_permille)))
        }
        None => ", no load is known".to_string(),
    };
    let mut text = format!("{}{load} (min {min}, max {max})", replicas(*wanted));
    if placed > wanted {
        let losses: Vec<String> = survives.iter().map(|label| format!("any {}", clean(label))).collect();
        let _ = write!(text, ", {placed} to survive the loss of {}", losses.join(" and of "));
    }
    text
}

/// What is bought and returned.
pub(crate) fn traded(document: &PlanDocument) -> String {
    let mut text = String::new();
    for bought in &document.nodes_bought {
        let _ = writeln!(text, "{}", buy(bought));
    }
    let mut returned: Vec<(&str, Vec<&str>, u64)> = Vec::new();
    for node in &document.nodes_returned {
        match returned.iter_mut().find(|(pool, _, _)| *pool == node.pool) {
            Some((_, nodes, saved)) => {
                nodes.push(&node.node);
                *saved += node.price_micros;
            }
            None => returned.push((&node.pool, vec![&node.node], node.price_micros)),
        }
    }
    for (pool, nodes, saved) in returned {
        let shown: Vec<String> = nodes.iter().take(RETURNED_MAX).map(|node| clean(node).into_owned()).collect();
        let head = paint(BAD, format!("return {}", shown.join(", ")));
        let _ = write!(text, "{head}");
        if nodes.len() > RETURNED_MAX {
            let _ = write!(text, " {}", more_within(nodes.len() - RETURNED_MAX, "node"));
        }
        let _ = writeln!(text, " (pool {}), saving {} per hour: nothing is left there", clean(pool), price(saved));
    }
    text
}

/// "buy 2 c7g.large in zone a (pool general) for 0.145 per hour: 4 storefront/web".
fn buy(bought: &NodesBought) -> String {
    let cost = bought.price_micros.saturating_mul(u64::from(bought.count));
    let head = paint(GOOD, format!("buy {}", machines(bought)));
    let held = bought.holds.iter().take(HELD_MAX).map(|held| format!("{} {}", held.count, clean(&held.workload)));
    let mut why = held.collect::<Vec<_>>().join(", ");
    if bought.holds.is_empty() {
        why = "the pool's `min` asks for them".to_string();
    }
    if bought.holds.len() > HELD_MAX {
        let _ = write!(why, " {}", more_within(bought.holds.len() - HELD_MAX, "workload"));
    }
    format!("{head} (pool {}) for {} per hour: {why}", clean(&bought.pool), price(cost))
}

fn machines(bought: &NodesBought) -> String {
    let zone = if bought.zone.is_empty() { String::new() } else { format!(" in zone {}", clean(&bought.zone)) };
    format!("{} {}{zone}", bought.count, clean(&bought.instance))
}

/// What the same load would cost if every pool were bought anew; said where that differs from what the plan leads to.
pub(crate) fn cheapest(document: &PlanDocument) -> String {
    let Some(CheapestFleet { cost_micros, bound_micros, proven, nodes }) = &document.cheapest_fleet else {
        return String::new();
    };
    let now = document.cost.after_micros;
    let proof = match cost_micros.saturating_sub(*bound_micros) {
        _ if *proven => paint(GOOD, "proven cheapest"),
        distance => format!("at most {} from the cheapest", price(distance)),
    };
    if *cost_micros == now && (document.nodes_bought == *nodes || *proven) {
        return format!("  no fleet for the same load costs less: {proof}\n");
    }
    let nodes = nodes.iter().map(machines).collect::<Vec<_>>().join(", ");
    let nodes = if nodes.is_empty() { "no machine of a pool".to_string() } else { nodes };
    format!(
        "  the cheapest fleet for the same load would cost {} ({} now): {nodes}; {proof}\n",
        price(*cost_micros),
        price(now)
    )
}
