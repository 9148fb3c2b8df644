//! Machines that can be had, as nodes of the state that is planned against.
//!
//! For each type and zone of a pool there are as many nodes on offer as could be of use: no more than the pool's `max`, and no more than
//! would hold everything if all of it went there. A node on offer is a [`NodeRecord`] with id 0, which no node that has registered bears; the
//! rest of the planner treats it like any other. What a daemon would take of it is set aside: daemons are placed once it is there.

use super::program::{Origin, Program, rules_of};
use super::resources::capacity_record;
use super::scaling::{scaling, surplus_max};
use super::sources::Merged;
use super::template::template;
use crate::state::{Capacity, NodeRecord, State, Template};
use hyphae_solver::{Cause, Constraint, NodeIdx, Placed, Rule, Standing, WorkloadIdx};
use hyphae_specs::{Instance, PlaceKind, Pool, Replicas, Workload, WorkloadKind};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;

/// Nodes on offer of one type in one zone, at most: what more there could be is said in a note.
const OFFERED_MAX: u32 = 250;

/// See [`counted_price`].
const BUYING_MICROS: u64 = 1;

/// A state with everything that can be had.
pub(super) struct Offer<'a> {
    pub(super) state: Cow<'a, State>,
    /// What each node on offer is, by its name.
    pub(super) machines: BTreeMap<String, Machine>,
    /// For people.
    pub(super) notes: Vec<String>,
}

/// A type in a zone of a pool.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Machine {
    pub(super) pool: String,
    pub(super) instance: String,
    /// "" where the pool names no zones.
    pub(super) zone: String,
}

/// Whether a node is not there yet.
pub(super) fn is_on_offer(node: &NodeRecord) -> bool {
    node.id == 0
}

/// What a node counts for in the cost tier. A machine to be bought for a pool that has some counts a little more than its price: none is to be
/// bought in the place of one that is there, at the same price. A pool that has none is exact.
pub(super) fn counted_price(state: &State, node: &NodeRecord) -> u64 {
    let pool_has_some = || state.nodes.values().any(|other| other.pool == node.pool && !is_on_offer(other));
    let extra = if is_on_offer(node) && pool_has_some() { BUYING_MICROS } else { 0 };
    node.price_micros.saturating_add(extra)
}

/// For [`hyphae_solver::Node::standing`].
pub(super) fn standing(node: &NodeRecord) -> Standing {
    if is_on_offer(node) { Standing::OnOffer } else { Standing::Here }
}

/// The zones of a pool; one without a name where it names none.
pub(super) fn zones(pool: &Pool) -> Vec<&str> {
    if pool.zones.is_empty() { vec![""] } else { pool.zones.iter().map(|zone| zone.value.as_str()).collect() }
}

/// The state with a node for each machine that may be bought.
pub(super) fn offer<'a>(state: &'a State, merged: &Merged) -> Offer<'a> {
    let mut offer = Offer { state: Cow::Borrowed(state), machines: BTreeMap::new(), notes: Vec::new() };
    if merged.model.pools.is_empty() {
        return offer;
    }
    let nodes = &mut offer.state.to_mut().nodes;
    for (pool_name, pool) in &merged.model.pools {
        let pool_max = pool.max.as_ref().map_or(u32::MAX, |max| max.value);
        for instance in &pool.instances {
            for zone in zones(pool) {
                let record = record(pool, instance, zone);
                let of_use = of_use(merged, &record);
                let count = of_use.min(pool_max).min(OFFERED_MAX);
                let machine =
                    Machine { pool: pool_name.clone(), instance: instance.name.value.clone(), zone: zone.to_owned() };
                if count < of_use.min(pool_max) {
                    let Machine { pool, instance, zone } = &machine;
                    let zone = if zone.is_empty() { String::new() } else { format!(" in zone {zone}") };
                    offer.notes.push(format!("pool {pool}: no more than {count} {instance}{zone} were considered"));
                }
                for number in 1..=count {
                    let name = machine.node_name(number);
                    offer.machines.insert(name.clone(), machine.clone());
                    nodes.insert(name, record.clone());
                }
            }
        }
    }
    offer
}

impl Machine {
    fn node_name(&self, number: u32) -> String {
        let Self { pool, instance, zone } = self;
        if zone.is_empty() {
            format!("{pool}/{instance}/{number}")
        } else {
            format!("{pool}/{instance}/{zone}/{number}")
        }
    }
}

/// A machine as it will announce itself.
fn record(pool: &Pool, instance: &Instance, zone: &str) -> NodeRecord {
    let mut labels: BTreeMap<String, String> =
        pool.labels.iter().map(|(key, value)| (key.clone(), value.value.clone())).collect();
    if !zone.is_empty() {
        labels.insert("zone".to_owned(), zone.to_owned());
    }
    NodeRecord {
        id: 0,
        pool: pool.name.value.clone(),
        labels,
        taints: Vec::new(),
        capacity: sustained(instance),
        price_micros: instance.price.as_ref().map_or(0, |price| price.value.0),
        prefix: Ipv6Addr::UNSPECIFIED,
        schedulable: true,
        devices: BTreeMap::new(),
    }
}

/// What a machine has for good: of a burstable type, the share of its cpu that it sustains.
fn sustained(instance: &Instance) -> Capacity {
    let mut capacity = capacity_record(&instance.capacity);
    if let Some(baseline) = &instance.burst_baseline_permille {
        capacity.cpu_millis = capacity.cpu_millis * u64::from(baseline.value) / 1000;
    }
    capacity
}

/// So many machines like this one hold everything that may be on them. Policies are not asked: this is an upper bound.
fn of_use(merged: &Merged, node: &NodeRecord) -> u32 {
    let may_be_on = |workload: &Workload| {
        let mut labels = node.labels.clone();
        labels.insert("pool".to_owned(), node.pool.clone());
        rules_of(workload, merged).all(|rule| match &rule.kind {
            PlaceKind::Require(tests) => tests.iter().all(|test| test.key.value == "node" || test.matches(&labels)),
            _ => true,
        })
    };
    let workloads = || merged.model.workloads.iter().filter(|(_, workload)| may_be_on(workload));
    let (daemons, others): (Vec<_>, Vec<_>) =
        workloads().partition(|(_, workload)| matches!(workload.kind, WorkloadKind::Daemon));
    let mut beside_daemons = node.capacity.clone();
    for (_, daemon) in daemons {
        take(&mut beside_daemons, &template(daemon));
    }
    let machines = |(name, workload): (&String, &Workload)| {
        let template = template(workload);
        let on_one = match room(&beside_daemons, &template) {
            0 => room(&node.capacity, &template),
            room => room,
        };
        let on_one = on_one.min(within_node(merged, workload));
        let replicas = match &workload.replicas {
            Replicas::Fixed(count) => u64::from(count.value),
            _ => scaling(merged, name, workload)
                .map_or(0, |scaling| u64::from(scaling.wanted) + u64::from(surplus_max(merged, name, workload))),
        };
        if on_one == 0 { 0 } else { replicas.div_ceil(on_one) }
    };
    u32::try_from(others.into_iter().map(machines).sum::<u64>()).unwrap_or(u32::MAX)
}

/// How many replicas the workload's own hard rules let one node hold.
fn within_node(merged: &Merged, workload: &Workload) -> u64 {
    let limits = rules_of(workload, merged).filter(|rule| rule.weight.is_none()).map(|rule| match &rule.kind {
        PlaceKind::SeparateWithin { within, limit } if within.value == "node" => {
            limit.as_ref().map_or(1, |limit| u64::from(limit.value))
        }
        // What one node may hold then depends on how many there are: one each is always enough.
        PlaceKind::Survive { loss_of, .. } if loss_of.value == "node" => 1,
        PlaceKind::Spread { over, .. } if over.value == "node" => 1,
        _ => u64::MAX,
    });
    limits.min().unwrap_or(u64::MAX).max(1)
}

/// How many replicas of a template an empty machine holds.
fn room(capacity: &Capacity, template: &Template) -> u64 {
    let extras =
        template.extras.iter().map(|(name, demand)| (capacity.extras.get(name).copied().unwrap_or(0), *demand));
    let fixed = [
        (capacity.cpu_millis, template.cpu_millis),
        (capacity.memory_bytes, template.memory_bytes),
        (capacity.disk_bytes, template.disk_bytes),
        (capacity.replicas, 1),
        (1, u64::from(template.ports.iter().any(|port| port.host.is_some()))),
    ];
    let demanded = fixed.into_iter().chain(extras).filter(|(_, demand)| *demand > 0);
    demanded.map(|(capacity, demand)| capacity / demand).min().unwrap_or(0)
}

fn take(capacity: &mut Capacity, template: &Template) {
    capacity.cpu_millis = capacity.cpu_millis.saturating_sub(template.cpu_millis);
    capacity.memory_bytes = capacity.memory_bytes.saturating_sub(template.memory_bytes);
    capacity.disk_bytes = capacity.disk_bytes.saturating_sub(template.disk_bytes);
    capacity.replicas = capacity.replicas.saturating_sub(1);
    for (name, demand) in &template.extras {
        if let Some(extra) = capacity.extras.get_mut(name) {
            *extra = extra.saturating_sub(*demand);
        }
    }
}

/// A daemon is not placed on a node that is not there: what it will take there is set aside instead. Returns its eligible nodes that are there.
pub(super) fn only_here(state: &State, eligible: &[NodeIdx]) -> Vec<NodeIdx> {
    let on_offer: Vec<bool> = state.nodes.values().map(is_on_offer).collect();
    eligible.iter().copied().filter(|node| !on_offer[*node]).collect()
}

/// Takes from the nodes on offer what the daemons will take that may be there: `daemons` are demands with eligible nodes.
pub(super) fn set_aside(nodes: &mut [hyphae_solver::Node], daemons: &[(Vec<u64>, Vec<NodeIdx>)]) {
    for (demand, eligible) in daemons {
        for node in eligible {
            let node = &mut nodes[*node];
            if node.standing == Standing::OnOffer {
                node.capacity.iter_mut().zip(demand).for_each(|(has, takes)| *has = has.saturating_sub(*takes));
            }
        }
    }
}

/// At most `max` nodes of a pool hold anything, those there already included.
pub(super) fn limits(state: &State, merged: &Merged) -> Vec<(Constraint, Origin)> {
    let mut limits = Vec::new();
    for (name, pool) in &merged.model.pools {
        let (Some(max), Some(span)) = (&pool.max, pool.count) else { continue };
        let nodes = state.nodes.values().enumerate().filter(|(_, node)| node.pool == *name);
        let nodes: Vec<NodeIdx> = nodes.map(|(position, _)| position).collect();
        let rule = Rule::NodesMost { nodes, most: max.value };
        limits.push((Constraint { rule, weight: None }, Origin::new(&merged.sources, span)));
    }
    limits
}

/// The pools' limits that are reached and stand in the way of a workload: constraint indices.
pub(super) fn reached(program: &Program, placed: &[Placed], workload: WorkloadIdx) -> Vec<usize> {
    let eligible = &program.problem.workloads[workload].eligible;
    let filled: BTreeSet<NodeIdx> = placed.iter().map(|placed| placed.node).collect();
    let is_reached = |constraint: &Constraint| match &constraint.rule {
        Rule::NodesMost { nodes, most } => {
            nodes.iter().any(|node| eligible.binary_search(node).is_ok())
                && nodes.iter().filter(|node| filled.contains(node)).count() >= *most as usize
        }
        _ => false,
    };
    let constraints = program.problem.constraints.iter().enumerate();
    constraints.filter(|(_, constraint)| is_reached(constraint)).map(|(position, _)| position).collect()
}

/// Corrects what a cause says is free: the empty nodes of pools that have reached their limit are no room.
pub(super) fn without_offers(program: &Program, placed: &[Placed], workload: WorkloadIdx, cause: &mut Cause) {
    let Cause::Capacity { resource, free, fragmented, .. } = cause else { return };
    let problem = &program.problem;
    let mut used: BTreeMap<NodeIdx, u64> = BTreeMap::new();
    for placed in placed {
        let demand = problem.workloads[placed.workload].demand[*resource];
        let used = used.entry(placed.node).or_default();
        *used = used.saturating_add(demand.saturating_mul(u64::from(placed.count)));
    }
    let full = reached(program, placed, workload);
    let is_no_room = |node: &NodeIdx| {
        let in_full = |constraint: &usize| match &problem.constraints[*constraint].rule {
            Rule::NodesMost { nodes, .. } => nodes.binary_search(node).is_ok(),
            _ => false,
        };
        !used.contains_key(node) && full.iter().any(in_full)
    };
    let of_use = problem.workloads[workload].eligible.iter().filter(|node| !is_no_room(node));
    let left = of_use.map(|node| {
        problem.nodes[*node].capacity[*resource].saturating_sub(used.get(node).copied().unwrap_or_default())
    });
    let left: Vec<u64> = left.collect();
    let demand = problem.workloads[workload].demand[*resource];
    *free = left.iter().copied().fold(0, u64::saturating_add);
    *fragmented = *free >= demand && left.iter().all(|left| *left < demand);
}
