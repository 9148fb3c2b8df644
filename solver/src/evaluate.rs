//! What a placement is worth: the exact cost vector, tier by tier, computed from the placement and nothing else.

use crate::check::{Tally, check_tally, rule_units, used_on, verdict, violation_units};
use crate::{Placed, Problem, Shape, Tier, Violation};
use std::cmp::Ordering;
use std::collections::BTreeSet;

/// The peaks above which [`Shape::Spread`] counts, in thousandths of a capacity.
pub(crate) const PEAK_STEPS: [u64; 3] = [250, 500, 750];

/// The tiers of a problem, most important first: the order of [`crate::Solution::tiers`].
pub fn tiers(problem: &Problem) -> Vec<Tier> {
    let priorities: BTreeSet<i32> = problem.workloads.iter().map(|w| w.priority).collect();
    let mut tiers: Vec<Tier> = priorities.into_iter().rev().map(Tier::Shortage).collect();
    tiers.extend([Tier::Repair, Tier::Soft]);
    if problem.workloads.iter().any(|workload| workload.surplus_max > 0) {
        tiers.push(Tier::Surplus);
    }
    match problem.objective.move_price_micros {
        Some(_) => tiers.push(Tier::PricedCost),
        None => tiers.extend([Tier::Disruption, Tier::Cost]),
    }
    tiers.push(Tier::Shape);
    tiers
}

/// The value of each of [`tiers`]. Smaller is better; vectors compare lexicographically. The placement should pass
/// [`crate::verify`]: whatever it breaks counts as [`Tier::Repair`], excused or not.
pub fn evaluate(problem: &Problem, placed: &[Placed]) -> Vec<(Tier, u64)> {
    let mut malformed = Vec::new();
    let tally = Tally::new(problem, placed, &mut malformed);
    let broken = check_tally(problem, &tally, malformed);
    evaluated(problem, &tally, &broken)
}

/// What a placement is worth if [`crate::verify`] lets it pass and it is better than `known`. It is checked once, and only when it leaves no more
/// out than what is known.
pub(crate) fn improvement(problem: &Problem, placed: &[Placed], known: &[(Tier, u64)]) -> Option<Vec<(Tier, u64)>> {
    let mut malformed = Vec::new();
    let tally = Tally::new(problem, placed, &mut malformed);
    for (tier, known) in known {
        let Tier::Shortage(priority) = tier else { break };
        match shortage(problem, &tally, *priority).cmp(&u128::from(*known)) {
            Ordering::Less => break,
            Ordering::Equal => {}
            Ordering::Greater => return None,
        }
    }
    let broken = check_tally(problem, &tally, malformed);
    let worth = evaluated(problem, &tally, &broken);
    let better = worth.iter().map(|(_, value)| value).lt(known.iter().map(|(_, value)| value));
    (better && verdict(problem, broken).is_ok()).then_some(worth)
}

fn evaluated(problem: &Problem, tally: &Tally, broken: &[Violation]) -> Vec<(Tier, u64)> {
    let value = |tier: Tier| -> u128 {
        match tier {
            Tier::Shortage(priority) => shortage(problem, tally, priority),
            Tier::Repair => broken.iter().map(|v| violation_units(problem, v)).sum(),
            Tier::Soft => soft(problem, tally),
            Tier::Surplus => surplus(problem, tally),
            Tier::Disruption => disruption(problem, tally),
            Tier::Cost => cost(problem, tally),
            Tier::PricedCost => {
                let price = u128::from(problem.objective.move_price_micros.unwrap_or(0));
                price.saturating_mul(disruption(problem, tally)).saturating_add(cost(problem, tally))
            }
            Tier::Shape => shape(problem, tally),
        }
    };
    tiers(problem).into_iter().map(|tier| (tier, u64::try_from(value(tier)).unwrap_or(u64::MAX))).collect()
}

fn shortage(problem: &Problem, tally: &Tally, priority: i32) -> u128 {
    let missing = |(index, wanted): (usize, u32)| u128::from(u64::from(wanted).saturating_sub(tally.total(index)));
    let of_priority = problem.workloads.iter().enumerate().filter(|(_, w)| w.priority == priority);
    of_priority.map(|(index, w)| missing((index, w.wanted))).sum()
}

fn soft(problem: &Problem, tally: &Tally) -> u128 {
    let weighted = |c: &crate::Constraint| c.weight.map(|w| u128::from(w) * rule_units(problem, tally, &c.rule));
    problem.constraints.iter().filter_map(weighted).sum()
}

fn surplus(problem: &Problem, tally: &Tally) -> u128 {
    let beyond = |(index, wanted): (usize, u32)| u128::from(tally.total(index).saturating_sub(u64::from(wanted)));
    problem.workloads.iter().enumerate().map(|(index, w)| beyond((index, w.wanted))).sum()
}

fn disruption(problem: &Problem, tally: &Tally) -> u128 {
    let lost = |running: &Placed| {
        let entries = &tally.by_workload[running.workload];
        let kept = entries.binary_search_by_key(&running.node, |(node, _)| *node).map_or(0, |at| entries[at].1);
        u128::from(u64::from(running.count).saturating_sub(kept))
            * u128::from(problem.workloads[running.workload].move_weight)
    };
    problem.current.iter().map(lost).sum()
}

fn cost(problem: &Problem, tally: &Tally) -> u128 {
    let filled = problem.nodes.iter().zip(&tally.by_node).filter(|(_, held)| !held.is_empty());
    filled.map(|(node, _)| u128::from(node.price_micros)).sum()
}

fn shape(problem: &Problem, tally: &Tally) -> u128 {
    match problem.objective.shape {
        Shape::Pack => tally.by_node.iter().filter(|held| !held.is_empty()).count() as u128,
        Shape::Spread => (0..problem.nodes.len()).map(|node| above_steps(peak(problem, tally, node))).sum(),
    }
}

fn peak(problem: &Problem, tally: &Tally, node: usize) -> u128 {
    let capacities = problem.nodes[node].capacity.iter().enumerate();
    capacities
        .filter(|(resource, capacity)| problem.resources[*resource].shapes && **capacity > 0)
        .map(|(resource, capacity)| {
            used_on(problem, tally, node, resource).saturating_mul(1000).div_ceil(u128::from(*capacity))
        })
        .max()
        .unwrap_or(0)
}

fn above_steps(peak: u128) -> u128 {
    PEAK_STEPS.iter().map(|step| peak.saturating_sub(u128::from(*step))).sum()
}
