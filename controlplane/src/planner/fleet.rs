//! What a placement means for the pools: machines bought and returned, what is paid, and what the cheapest fleet would cost.
//!
//! A pool's `max` is a row of the program; its `min` is not: nodes that hold nothing are kept, and the cheapest bought, until there are `min`.
//! Every node of a declared pool is paid for while it is there; any other node while it holds anything.

use super::pools::{self, Machine, Offer};
use super::program::Program;
use super::sources::Merged;
use crate::plan::{CheapestFleet, CostChange, Held, NodeReturned, NodesBought};
use crate::state::{NodeRecord, State};
use hyphae_solver::{Cancel, NodeIdx, Placed, Solution, SolveOptions, Tier};
use hyphae_specs::Pool;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// With less time than this the cheapest fleet is not looked for.
const CHEAPEST_MIN: Duration = Duration::from_millis(100);

/// What happens to the pools.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Fleet {
    pub(super) bought: Vec<NodesBought>,
    pub(super) returned: Vec<NodeReturned>,
}

/// Derives it from a placement.
pub(super) fn fleet(merged: &Merged, program: &Program, offer: &Offer<'_>, placed: &[Placed]) -> Fleet {
    let filled: BTreeSet<NodeIdx> = placed.iter().map(|placed| placed.node).collect();
    let mut bought: BTreeMap<Machine, NodesBought> = BTreeMap::new();
    for node in &filled {
        let name = &program.nodes[*node];
        let Some(machine) = offer.machines.get(name) else { continue };
        let entry =
            bought.entry(machine.clone()).or_insert_with(|| machine.bought(offer.state.nodes[name].price_micros));
        entry.count += 1;
        entry.nodes.push(name.clone());
        for placed in placed.iter().filter(|placed| placed.node == *node) {
            let workload = &program.workloads[placed.workload];
            match entry.holds.iter_mut().find(|held| held.workload == *workload) {
                Some(held) => held.count += placed.count,
                None => entry.holds.push(Held { workload: workload.clone(), count: placed.count }),
            }
        }
    }
    bought.values_mut().for_each(|entry| entry.holds.sort_by(|a, b| a.workload.cmp(&b.workload)));
    let filled: BTreeSet<&str> = filled.iter().map(|node| program.nodes[*node].as_str()).collect();
    let mut returned = Vec::new();
    for (name, pool) in &merged.model.pools {
        let min = pool.min.as_ref().map_or(0, |min| min.value) as usize;
        let mut stay: Vec<(&String, &NodeRecord)> = Vec::new();
        let mut empty: Vec<(&String, &NodeRecord)> = Vec::new();
        for (node, record) in offer.state.nodes.iter().filter(|(_, node)| node.pool == *name) {
            match (filled.contains(node.as_str()), pools::is_on_offer(record)) {
                (true, _) => stay.push((node, record)),
                (false, false) => empty.push((node, record)),
                (false, true) => {}
            }
        }
        // The cheapest stay, those that take new replicas before those that do not.
        empty.sort_by_key(|(name, node)| (!node.schedulable, node.price_micros, *name));
        let kept = min.saturating_sub(stay.len()).min(empty.len());
        returned.extend(empty.split_off(kept).into_iter().map(|(node, record)| leaving(node, record)));
        stay.extend(empty);
        let in_zone = |zone: &str| stay.iter().filter(|(_, node)| zone_of(node) == zone).count();
        let zones = pools::zones(pool).into_iter().map(|zone| (zone, in_zone(zone))).collect();
        top_up(pool, zones, min.saturating_sub(stay.len()), &mut bought);
    }
    returned.sort_by(|a, b| (&a.pool, &a.node).cmp(&(&b.pool, &b.node)));
    Fleet { bought: bought.into_values().collect(), returned }
}

/// Buys the cheapest type, each time in the zone of which the pool has the fewest.
fn top_up(pool: &Pool, mut zones: Vec<(&str, usize)>, missing: usize, bought: &mut BTreeMap<Machine, NodesBought>) {
    let price = |instance: &hyphae_specs::Instance| instance.price.as_ref().map_or(0, |price| price.value.0);
    let Some(cheapest) = pool.instances.iter().min_by_key(|instance| (price(instance), &instance.name.value)) else {
        return;
    };
    for _ in 0..missing {
        let Some((zone, count)) = zones.iter_mut().min_by_key(|(_, count)| *count) else { return };
        *count += 1;
        let machine =
            Machine { pool: pool.name.value.clone(), instance: cheapest.name.value.clone(), zone: (*zone).to_owned() };
        bought.entry(machine.clone()).or_insert_with(|| machine.bought(price(cheapest))).count += 1;
    }
}

impl Machine {
    fn bought(&self, price_micros: u64) -> NodesBought {
        let Self { pool, instance, zone } = self.clone();
        NodesBought { pool, instance, zone, count: 0, price_micros, holds: Vec::new(), nodes: Vec::new() }
    }
}

fn zone_of(node: &NodeRecord) -> &str {
    node.labels.get("zone").map_or("", String::as_str)
}

fn leaving(name: &str, node: &NodeRecord) -> NodeReturned {
    NodeReturned {
        pool: node.pool.clone(),
        node: name.to_owned(),
        zone: zone_of(node).to_owned(),
        price_micros: node.price_micros,
    }
}

/// Price of what is paid for, before and after.
pub(super) fn cost(state: &State, merged: &Merged, program: &Program, fleet: &Fleet, placed: &[Placed]) -> CostChange {
    let of_pool: BTreeSet<&str> = in_pools(state, merged).collect();
    let running = state.replicas.values().map(|replica| replica.node.as_str());
    let before: BTreeSet<&str> = running.chain(of_pool.iter().copied()).collect();
    let returned: BTreeSet<&str> = fleet.returned.iter().map(|node| node.node.as_str()).collect();
    let filled = placed.iter().map(|placed| program.nodes[placed.node].as_str());
    let after: BTreeSet<&str> = filled.chain(of_pool.difference(&returned).copied()).collect();
    let price = |nodes: BTreeSet<&str>| -> u64 {
        nodes.iter().filter_map(|node| state.nodes.get(*node)).map(|node| node.price_micros).sum()
    };
    let bought: u64 = fleet.bought.iter().map(|bought| bought.price_micros * u64::from(bought.count)).sum();
    CostChange { before_micros: price(before), after_micros: price(after) + bought }
}

/// The nodes that belong to a declared pool.
fn in_pools<'a>(state: &'a State, merged: &'a Merged) -> impl Iterator<Item = &'a str> {
    let of_pool = state.nodes.iter().filter(|(_, node)| merged.model.pools.contains_key(&node.pool));
    of_pool.map(|(name, _)| name.as_str())
}

/// What the same load would cost if no node of a pool were there, by solving once more; `None` where there are no pools, no time, or less
/// would be placed.
pub(super) fn cheapest(
    state: &State,
    merged: &Merged,
    plan: (&Solution, &Fleet, CostChange),
    (time_left, cancel): (Duration, Option<Cancel>),
) -> Option<CheapestFleet> {
    let (solution, fleet, cost) = plan;
    if merged.model.pools.is_empty() {
        return None;
    }
    if state.replicas.is_empty() && in_pools(state, merged).next().is_none() {
        return Some(bounded(solution, cost.after_micros, fleet.bought.clone()));
    }
    if time_left < CHEAPEST_MIN {
        return None;
    }
    let outside = state.nodes.iter().filter(|(_, node)| !merged.model.pools.contains_key(&node.pool));
    let nodes = outside.map(|(name, node)| (name.clone(), node.clone())).collect();
    let bare = State { nodes, replicas: BTreeMap::new(), ..state.clone() };
    let offer = pools::offer(&bare, merged);
    let program = super::program::program(&offer.state, merged);
    let options = SolveOptions { time_limit: time_left, explain: false, cancel, ..SolveOptions::default() };
    let anew = hyphae_solver::solve(&program.problem, &options).ok()?;
    if shortages(&anew) > shortages(solution) {
        return None;
    }
    let fleet = self::fleet(merged, &program, &offer, &anew.placed);
    let cost = self::cost(&bare, merged, &program, &fleet, &anew.placed);
    Some(bounded(&anew, cost.after_micros, fleet.bought))
}

/// Replicas missing, the highest priority first: compared lexicographically.
fn shortages(solution: &Solution) -> Vec<u64> {
    let tiers = solution.tiers.iter().filter(|tier| matches!(tier.tier, Tier::Shortage(_)));
    tiers.map(|tier| tier.value).collect()
}

/// With nothing running, a priced tier is the cost alone. What is bought for a `min` only adds to it, so the bound stays one.
fn bounded(solution: &Solution, cost_micros: u64, nodes: Vec<NodesBought>) -> CheapestFleet {
    let tier = solution.tiers.iter().find(|tier| matches!(tier.tier, Tier::Cost | Tier::PricedCost));
    let bound_micros = tier.map_or(0, |tier| tier.bound).min(cost_micros);
    let proven = bound_micros == cost_micros && tier.is_some_and(|tier| tier.proven);
    CheapestFleet { cost_micros, bound_micros, proven, nodes }
}
