//! Surviving losses: what a [`Rule::Reserve`] asks of sums, and how a placement comes to keep it.
//!
//! # What sums must satisfy
//!
//! Let N be a set of nodes, and W the workloads that may be nowhere else. When a domain d is lost, every replica of W lies on N outside d, whether
//! it stayed or was placed again. So for each resource, and for parts of devices, the same over all domains,
//!
//! ```text
//! Σ_{w ∈ W} demand[w] · placed[w] ≤ min_d Σ_{n ∈ N \ d} capacity[n]
//! ```
//!
//! One row for each distinct set of eligible nodes (a *signature*), one for all nodes, and for a workload with a per-node maximum one that counts. They are
//! necessary only, so that bounds found under them hold; the checker simulates every loss.
//!
//! # How a placement comes to keep it
//!
//! What satisfies the sums to the brim never packs. [`Search::ensure_reserves`] places from the start under the same rows with more and more held
//! back (a *ladder*, as the class guide climbs one); what the simulation still finds no room for is relieved in bulk ([`make_rooms`]).
//! These tighter rows guide the search, and no bound is ever derived from them.

use crate::check::{Homeless, homeless_of};
use crate::deadline::Deadline;
use crate::greedy::{Fit, Greedy};
use crate::instance::{Instance, most_wanted};
use crate::layout::Layout;
use crate::prune::{Counts, counted, least_loss, listed, take};
use crate::solve::Search;
use crate::{Constraint, DeviceTake, Placed, Problem, Rule};
use std::collections::{BTreeMap, BTreeSet};

/// Signatures that get rows of their own, those of the fewest nodes first.
const SIGNATURES_MAX: usize = 128;
/// The part of the room that is held back, in thousandths, step by step.
const LADDER: [u128; 9] = [0, 10, 20, 35, 50, 70, 100, 140, 200];
/// Steps without gain after which the ladder ends.
const FRUITLESS_MAX: usize = 3;
/// Rounds of [`relieved`].
const ROUNDS_MAX: usize = 12;

/// `Σ amount · placed ≤ most` over some workloads, because of a rule.
#[derive(Debug, Clone)]
pub(crate) struct Bound {
    /// The [`Rule::Reserve`] that implies it.
    pub(crate) constraint: usize,
    pub(crate) amounts: Vec<(usize, u128)>,
    pub(crate) most: u128,
}

/// What the reserves of a problem ask of sums.
#[derive(Debug, Clone, Default)]
pub(crate) struct Survival {
    pub(crate) bounds: Vec<Bound>,
    /// Per workload, the bounds that name it, with what one replica adds.
    pub(crate) of_workload: Vec<Vec<(usize, u128)>>,
}

impl Survival {
    /// The rows that every sound placement satisfies: of hard reserves that the present state keeps.
    pub(crate) fn implied(instance: &Instance) -> Survival {
        Survival::nearly_binding(instance, 0)
    }

    /// The same, and those that would keep something out if so many thousandths were held back.
    pub(crate) fn nearly_binding(instance: &Instance, thousandths: u128) -> Survival {
        let holds = |index: usize| instance.problem.constraints[index].weight.is_none() && instance.excess[index] == 0;
        Survival::of(instance, thousandths, holds)
    }

    fn of(instance: &Instance, thousandths: u128, wanted: impl Fn(usize) -> bool) -> Survival {
        let mut bounds = Vec::new();
        for index in instance.node_rules.iter().copied().filter(|index| wanted(*index)) {
            if let Rule::Reserve { topology, except } = &instance.problem.constraints[index].rule {
                add_bounds(instance, index, (*topology, except), thousandths, &mut bounds);
            }
        }
        let mut of_workload = vec![Vec::new(); instance.problem.workloads.len()];
        for (index, bound) in bounds.iter().enumerate() {
            bound.amounts.iter().for_each(|(workload, amount)| of_workload[*workload].push((index, *amount)));
        }
        Survival { bounds, of_workload }
    }

    /// The same with so many thousandths held back.
    pub(crate) fn tightened(&self, thousandths: u128) -> Survival {
        let mut tighter = self.clone();
        tighter.bounds.iter_mut().for_each(|bound| bound.most = less(bound.most, thousandths));
        tighter
    }
}

/// An amount without so many thousandths of it.
fn less(amount: u128, thousandths: u128) -> u128 {
    amount.saturating_sub(amount.saturating_mul(thousandths) / 1000)
}

/// What a replica takes of a resource, or (positions after those) of a kind of device, in parts.
fn amount(problem: &Problem, workload: usize, kind: usize) -> u128 {
    let spec = &problem.workloads[workload];
    let Some(device) = kind.checked_sub(problem.resources.len()) else { return u128::from(spec.demand[kind]) };
    match spec.device.filter(|demand| demand.kind == device).map(|demand| demand.take) {
        Some(DeviceTake::Whole(devices)) => u128::from(devices) * u128::from(problem.devices[device].parts),
        Some(DeviceTake::Share(share)) => u128::from(share),
        None => 0,
    }
}

fn room(instance: &Instance, node: usize, kind: usize) -> u128 {
    let problem = instance.problem;
    match kind.checked_sub(problem.resources.len()) {
        None => instance.ceiling[node][kind].max(u128::from(problem.nodes[node].capacity[kind])),
        Some(device) => u128::from(instance.devices(node, device)) * u128::from(problem.devices[device].parts),
    }
}

fn kinds(problem: &Problem) -> usize {
    problem.resources.len() + problem.devices.len()
}

/// The least that any loss leaves of what nodes have together.
fn least_left(instance: &Instance, topology: usize, parts: impl Iterator<Item = (usize, u128)>) -> u128 {
    let (mut total, mut of_domain) = (0u128, BTreeMap::<usize, u128>::new());
    for (node, part) in parts {
        total = total.saturating_add(part);
        if let Some(domain) = instance.problem.nodes[node].domains[topology] {
            let sum = of_domain.entry(domain).or_default();
            *sum = sum.saturating_add(part);
        }
    }
    total.saturating_sub(of_domain.into_values().max().unwrap_or(0))
}

/// The bounds that keep something out when so many thousandths are held back.
fn add_bounds(
    instance: &Instance,
    constraint: usize,
    (topology, except): (usize, &[usize]),
    thousandths: u128,
    bounds: &mut Vec<Bound>,
) {
    let problem = instance.problem;
    let member =
        |workload: &usize| except.binary_search(workload).is_err() && most_wanted(&problem.workloads[*workload]) > 0;
    let members: Vec<usize> = (0..problem.workloads.len()).filter(member).collect();
    for (nodes, workloads) in confined(instance, &members) {
        for kind in 0..kinds(problem) {
            let left = least_left(instance, topology, nodes.iter().map(|node| (*node, room(instance, *node, kind))));
            let amounts: Vec<(usize, u128)> =
                workloads.iter().map(|w| (*w, amount(problem, *w, kind))).filter(|(_, amount)| *amount > 0).collect();
            // Replicas that run where they may not be may stay there.
            let stray = |(workload, amount): &(usize, u128)| {
                let running = instance.running[*workload].iter();
                let outside = running.filter(|(node, _)| nodes.binary_search(node).is_err());
                outside.map(|(_, count)| amount.saturating_mul(u128::from(*count))).fold(0, u128::saturating_add)
            };
            let strays = amounts.iter().map(stray).fold(0, u128::saturating_add);
            let most = left.saturating_add(strays);
            let wanted =
                |(w, amount): &(usize, u128)| amount.saturating_mul(u128::from(most_wanted(&problem.workloads[*w])));
            if amounts.iter().map(wanted).fold(0, u128::saturating_add) > less(most, thousandths) {
                bounds.push(Bound { constraint, amounts, most });
            }
        }
    }
    for workload in members.into_iter().filter(|w| problem.workloads[*w].per_node_max.is_some()) {
        let mut nodes: BTreeSet<usize> = instance.allowed[workload].iter().copied().collect();
        nodes.extend(instance.running[workload].iter().map(|(node, _)| *node));
        let on = |node: &usize| (*node, u128::from(instance.most_on(workload, *node)));
        let most = least_left(instance, topology, nodes.iter().map(on));
        if u128::from(most_wanted(&problem.workloads[workload])) > less(most, thousandths) {
            bounds.push(Bound { constraint, amounts: vec![(workload, 1)], most });
        }
    }
}

/// Sets of nodes with the workloads that may be nowhere else: the distinct sets of eligible nodes, and all nodes.
fn confined(instance: &Instance, members: &[usize]) -> Vec<(Vec<usize>, Vec<usize>)> {
    let digest = |nodes: &[usize]| {
        nodes
            .iter()
            .fold(0u64, |digest, node| (digest ^ *node as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(23))
    };
    let mut alike: BTreeMap<(usize, u64, &[usize]), Vec<usize>> = BTreeMap::new();
    for workload in members {
        let nodes: &[usize] = &instance.allowed[*workload];
        alike.entry((nodes.len(), digest(nodes), nodes)).or_default().push(*workload);
    }
    let all = instance.problem.nodes.len();
    let smaller = alike.keys().map(|(_, _, nodes)| *nodes).filter(|nodes| !nodes.is_empty() && nodes.len() < all);
    let mut confined = Vec::new();
    let mut inside = vec![false; all];
    for nodes in smaller.take(SIGNATURES_MAX) {
        nodes.iter().for_each(|node| inside[*node] = true);
        let within = alike.iter().filter(|((_, _, own), _)| own.iter().all(|node| inside[*node]));
        let mut workloads: Vec<usize> = within.flat_map(|(_, workloads)| workloads).copied().collect();
        workloads.sort_unstable();
        confined.push((nodes.to_vec(), workloads));
        nodes.iter().for_each(|node| inside[*node] = false);
    }
    confined.push(((0..all).collect(), members.to_vec()));
    confined
}

impl Search<'_, '_> {
    /// Looks for placements that keep every reserve, hard or soft, with as little left out as possible: by annealing ([`crate::refuges`]) when
    /// the problem is `large` and a board can hold it; else greedy ones under the rows of all reserves, with more and more held back.
    pub(crate) fn ensure_reserves(&mut self, large: bool, deadline: Deadline) {
        if !self.is_unkept() || large && self.find_refuges(deadline) {
            return;
        }
        let problem = self.instance.problem;
        let all = Survival::of(self.instance, 0, |_| true);
        let natural = Greedy::natural_fit(problem.objective.shape);
        let mut fruitless = 0;
        for held_back in LADDER {
            let mut tighter = self.instance.clone();
            tighter.survival = all.tightened(held_back);
            let mended = relieved(&tighter, &self.best, deadline);
            let mut gained = false;
            for (fit, start) in [(natural, mended.as_slice()), (natural, &[]), (Fit::Loosest, &[])] {
                if deadline.passed() {
                    return;
                }
                gained |= self.offer(Greedy::new(&tighter, fit).extend(start));
            }
            fruitless = if gained { 0 } else { fruitless + 1 };
            if fruitless == FRUITLESS_MAX {
                return;
            }
        }
    }
}

/// The hard reserves for which there would be one replica of a workload too many, wherever it went, although nodes have room for it: what sums
/// do not show.
pub(crate) fn in_the_way(layout: &Layout, workload: usize) -> Vec<usize> {
    let instance = layout.instance;
    let problem = instance.problem;
    let mut roomy = instance.allowed[workload].iter().filter(|node| layout.fits(workload, **node));
    let Some(node) = roomy.next() else { return Vec::new() };
    let mut with_one_more = layout.clone();
    with_one_more.add(workload, *node, 1);
    let placed = with_one_more.placed();
    let broken = |index: &usize| match &problem.constraints[*index] {
        Constraint { rule: Rule::Reserve { topology, except }, weight: None } => {
            let homeless = homeless_of(problem, &placed, *topology, except);
            homeless.iter().map(|homeless| homeless.count).sum::<u64>() > instance.excess[*index]
        }
        _ => false,
    };
    instance.node_rules.iter().copied().filter(broken).collect()
}

/// A placement without what stands in the way of the reserves it breaks, as far as a few rounds reach.
pub(crate) fn relieved(instance: &Instance, placed: &[Placed], deadline: Deadline) -> Vec<Placed> {
    let mut counts = counted(placed);
    for round in 0..ROUNDS_MAX {
        if deadline.passed() {
            break;
        }
        let mut homeless = Vec::new();
        for constraint in &instance.problem.constraints {
            if let Rule::Reserve { topology, except } = &constraint.rule {
                homeless.extend(homeless_of(instance.problem, &listed(&counts), *topology, except));
            }
        }
        if homeless.is_empty() {
            break;
        }
        make_rooms(instance, &mut counts, &homeless, (1 + round as u128, 1));
    }
    listed(&counts)
}

/// Takes replicas away, those that are missed least first, until what they free is what the homeless ones take, times `part`. Takes at
/// least one.
pub(crate) fn make_rooms(instance: &Instance, counts: &mut Counts, homeless: &[Homeless], part: (u128, u128)) {
    let problem = instance.problem;
    let mut needs = needs(problem, homeless);
    needs.iter_mut().for_each(|need| *need = need.saturating_mul(part.0).div_ceil(part.1.max(1)));
    let largest = needs.clone();
    let (mut welcome, mut lacks) = (vec![false; problem.nodes.len()], vec![false; problem.workloads.len()]);
    for entry in homeless {
        if !std::mem::replace(&mut lacks[entry.workload], true) {
            instance.allowed[entry.workload].iter().for_each(|node| welcome[*node] = true);
        }
    }
    // Of equal rank, those that free most of what is needed: fewer replicas go.
    let frees = |workload: usize| {
        let parts = largest.iter().enumerate().filter(|(_, need)| **need > 0);
        let part = |(kind, need): (usize, &u128)| amount(problem, workload, kind).saturating_mul(1_000_000) / need;
        parts.map(part).fold(0, u128::saturating_add)
    };
    let mut pairs: Vec<(usize, usize)> = counts.keys().copied().filter(|(w, n)| welcome[*n] || lacks[*w]).collect();
    pairs.sort_by_cached_key(|pair| {
        let spec = &problem.workloads[pair.0];
        let runs = counts[pair] <= instance.running_count(pair.0, pair.1);
        (spec.priority, runs, spec.move_weight, std::cmp::Reverse(frees(pair.0)), *pair)
    });
    let mut taken = 0;
    for pair in pairs {
        let some = |(kind, need): (usize, &u128)| {
            let amount = amount(problem, pair.0, kind);
            (amount > 0 && *need > 0).then(|| need.div_ceil(amount))
        };
        let Some(many) = needs.iter().enumerate().filter_map(some).max() else { continue };
        let gone = take(counts, pair, u64::try_from(many).unwrap_or(u64::MAX));
        for (kind, need) in needs.iter_mut().enumerate() {
            *need = need.saturating_sub(amount(problem, pair.0, kind).saturating_mul(u128::from(gone)));
        }
        taken += gone;
    }
    let own = counts.keys().copied().filter(|(workload, _)| lacks[*workload]);
    if let (0, Some(pair)) = (taken, least_loss(instance, counts, own)) {
        take(counts, pair, 1);
    }
}

/// Per kind, what the homeless replicas of any one loss take together: the most of any loss.
fn needs(problem: &Problem, homeless: &[Homeless]) -> Vec<u128> {
    let mut needs = vec![0u128; kinds(problem)];
    for of_loss in homeless.chunk_by(|one, other| one.domain == other.domain) {
        for (kind, need) in needs.iter_mut().enumerate() {
            let of = |entry: &Homeless| amount(problem, entry.workload, kind).saturating_mul(u128::from(entry.count));
            *need = (*need).max(of_loss.iter().map(of).fold(0, u128::saturating_add));
        }
    }
    needs
}
