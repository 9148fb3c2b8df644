//! A placement as flat arrays of integers, for searches that change it millions of times: what is free, who is where, by how
//! much each rule is broken, all kept up to date replica by replica.
//!
//! It knows the families of rules that name workloads (not those about nodes, devices, moves or surplus): for other problems there is no
//! board, and other stages carry the search. What it finds is verified by the independent checker like everything else.

use crate::instance::Instance;
use crate::{Placed, Rule, Tier};
use std::collections::BTreeMap;

/// Counters of all rules together, at most.
const COUNTERS_MAX: usize = 60_000_000;
/// Amounts and prices, summed, stay below this.
const AMOUNT_MAX: u128 = 1 << 60;

/// Which of a rule's groups a workload is in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    First,
    Second,
    Both,
}

/// What a rule says, its groups resolved.
#[derive(Clone)]
enum Family {
    /// Over counted domains, largest − smallest count ≤ this.
    Spread(u32),
    Limit(u32),
    Separate(u32),
    Near,
    Distinct(u32),
    /// Per resource: (resource, most, scale).
    Quota(Vec<(usize, i128, i128)>),
    /// Nodes that are preferred.
    Prefer(Vec<bool>),
}

/// A rule and its counts.
#[derive(Clone)]
struct Watch {
    family: Family,
    topology: usize,
    weight: Option<i64>,
    /// Per domain (and one for nodes without), replicas of the first and of the second group.
    first: Vec<u32>,
    second: Vec<u32>,
    /// For spread: how many counted domains have each count, and the least count that any has.
    histogram: Vec<u32>,
    least: usize,
    counted: Vec<bool>,
    /// For distinct domains: how many hold any, and how many replicas there are. For prefer: replicas outside.
    held: u32,
    total: u32,
    used: Vec<i128>,
    /// Units by which the rule is broken.
    broken: i64,
}

/// A placement under change, with its energy's parts.
#[derive(Clone)]
pub(crate) struct Board<'i, 'p> {
    pub(crate) instance: &'i Instance<'p>,
    resources: usize,
    demand: Vec<i64>,
    free: Vec<i64>,
    /// Per node: (workload, count) in no order.
    on: Vec<Vec<(u32, u32)>>,
    missing: Vec<u32>,
    watches: Vec<Watch>,
    watching: Vec<Vec<(u32, Side)>>,
    allowed: Vec<u64>,
    words: usize,
    /// Units by which hard rules are broken, and weighted units of soft ones.
    pub(crate) hard: i64,
    pub(crate) soft: i64,
    /// Σ price of the nodes that hold anything.
    pub(crate) cost: i64,
    /// Σ weight of running replicas that are not where they run.
    pub(crate) disruption: i64,
    /// Σ worth of what is missing.
    pub(crate) lacking: i64,
    worth: Vec<i64>,
    filled: Members,
    empty: Members,
    short: Members,
    /// What was done since the last [`Board::settle`], for [`Board::undo`].
    log: Vec<(u32, u32, i32)>,
}

/// A set of small numbers from which one can be drawn at random.
#[derive(Clone)]
struct Members {
    list: Vec<u32>,
    at: Vec<u32>,
}

impl Members {
    fn new(size: usize) -> Members {
        Members { list: Vec::new(), at: vec![u32::MAX; size] }
    }

    fn insert(&mut self, member: usize) {
        if self.at[member] == u32::MAX {
            self.at[member] = self.list.len() as u32;
            self.list.push(member as u32);
        }
    }

    fn remove(&mut self, member: usize) {
        let at = self.at[member];
        if at != u32::MAX {
            self.at[member] = u32::MAX;
            self.list.swap_remove(at as usize);
            if let Some(moved) = self.list.get(at as usize) {
                self.at[*moved as usize] = at;
            }
        }
    }
}

impl<'i, 'p> Board<'i, 'p> {
    /// `worth`: what a missing replica of each workload weighs. Nothing when the problem has what a board does not know.
    pub(crate) fn new(instance: &'i Instance<'p>, placed: &[Placed], worth: Vec<i64>) -> Option<Board<'i, 'p>> {
        let problem = instance.problem;
        let (nodes, workloads) = (problem.nodes.len(), problem.workloads.len());
        let strange = problem.workloads.iter().any(|w| w.device.is_some() || w.surplus_max > 0)
            || !instance.node_rules.is_empty()
            || problem.resources.iter().any(|r| r.transient) && !problem.current.is_empty();
        let prices = problem.nodes.iter().map(|node| u128::from(node.price_micros)).sum::<u128>();
        let moves: u128 = problem.current.iter().map(|p| weight_of(instance, p) as u128).sum();
        let amounts = problem.workloads.iter().flat_map(|w| &w.demand).map(|d| u128::from(*d));
        let largest = amounts.chain(instance.ceiling.iter().flatten().copied()).max().unwrap_or(0);
        if strange || [prices, moves, largest].into_iter().any(|sum| sum > AMOUNT_MAX) {
            return None;
        }
        let words = nodes.div_ceil(64);
        let mut allowed = vec![0; words * workloads];
        for (workload, list) in instance.allowed.iter().enumerate() {
            // What is too large for a node never goes there, not even on the way to somewhere else: no exchange would take it away again.
            let demand = &problem.workloads[workload].demand;
            let fits =
                |node: &&usize| demand.iter().zip(&instance.ceiling[**node]).all(|(d, most)| u128::from(*d) <= *most);
            list.iter().filter(fits).for_each(|node| allowed[workload * words + node / 64] |= 1 << (node % 64));
        }
        let mut board = Board {
            instance,
            resources: problem.resources.len(),
            demand: problem.workloads.iter().flat_map(|w| w.demand.iter().map(|d| *d as i64)).collect(),
            free: instance.ceiling.iter().flatten().map(|amount| *amount as i64).collect(),
            on: vec![Vec::new(); nodes],
            missing: problem.workloads.iter().map(|w| w.wanted).collect(),
            watches: Vec::new(),
            watching: vec![Vec::new(); workloads],
            allowed,
            words,
            hard: 0,
            soft: 0,
            cost: 0,
            disruption: moves as i64,
            lacking: problem.workloads.iter().zip(&worth).map(|(w, worth)| i64::from(w.wanted) * worth).sum(),
            worth,
            filled: Members::new(nodes),
            empty: Members::new(nodes),
            short: Members::new(workloads),
            log: Vec::new(),
        };
        board.watch()?;
        (0..nodes).for_each(|node| board.empty.insert(node));
        (0..workloads).filter(|w| board.missing[*w] > 0).for_each(|w| board.short.insert(w));
        placed.iter().for_each(|entry| board.change(entry.workload, entry.node, entry.count as i32));
        board.settle();
        Some(board)
    }

    fn watch(&mut self) -> Option<()> {
        let problem = self.instance.problem;
        let mut counters = 0;
        for constraint in &problem.constraints {
            let Some((family, topology, first, second)) = resolved(self.instance, &constraint.rule)? else { continue };
            let domains = problem.topologies.get(topology).map_or(0, |t| t.domains.len());
            counters += 3 * domains;
            if counters > COUNTERS_MAX {
                return None;
            }
            let index = self.watches.len() as u32;
            let mut sides: BTreeMap<usize, Side> = first.iter().map(|workload| (*workload, Side::First)).collect();
            for workload in &second {
                let both = sides.get(workload).is_some_and(|side| *side != Side::Second);
                let side = if both { Side::Both } else { Side::Second };
                sides.insert(*workload, side);
            }
            sides.into_iter().for_each(|(workload, side)| self.watching[workload].push((index, side)));
            let mut counted = vec![false; domains + 1];
            if let (Family::Spread(_), [workload]) = (&family, first.as_slice()) {
                let eligible = problem.workloads[*workload].eligible.iter();
                eligible.filter_map(|n| problem.nodes[*n].domains[topology]).for_each(|d| counted[d] = true);
            }
            let histogram = vec![counted.iter().filter(|c| **c).count() as u32];
            let second = if second.is_empty() { Vec::new() } else { vec![0; domains + 1] };
            let quotas = if let Family::Quota(max) = &family { max.len() } else { 0 };
            self.watches.push(Watch {
                family,
                topology,
                weight: constraint.weight.map(i64::from),
                first: vec![0; domains + 1],
                second,
                histogram,
                least: 0,
                counted,
                held: 0,
                total: 0,
                used: vec![0; quotas],
                broken: 0,
            });
        }
        Some(())
    }

    /// Places `many` more (or fewer) replicas, without asking whether they may be there.
    pub(crate) fn change(&mut self, workload: usize, node: usize, many: i32) {
        self.log.push((workload as u32, node as u32, many));
        self.apply(workload, node, many);
    }

    fn apply(&mut self, workload: usize, node: usize, many: i32) {
        let problem = self.instance.problem;
        for resource in 0..self.resources {
            self.free[node * self.resources + resource] -=
                self.demand[workload * self.resources + resource] * i64::from(many);
        }
        let was_empty = self.on[node].is_empty();
        let here = &mut self.on[node];
        let before = match here.iter().position(|(w, _)| *w == workload as u32) {
            Some(at) => {
                let before = here[at].1;
                here[at].1 = before.wrapping_add_signed(many);
                if here[at].1 == 0 {
                    here.swap_remove(at);
                }
                before
            }
            None => {
                here.push((workload as u32, many as u32));
                0
            }
        };
        let is_empty = here.is_empty();
        if was_empty != is_empty {
            let price = problem.nodes[node].price_micros as i64;
            self.cost += if is_empty { -price } else { price };
            let (from, to) =
                if is_empty { (&mut self.filled, &mut self.empty) } else { (&mut self.empty, &mut self.filled) };
            from.remove(node);
            to.insert(node);
        }
        if !problem.current.is_empty() {
            let running = self.instance.running_count(workload, node);
            let kept = |count: u32| i64::from(count.min(running));
            let more = kept(before.wrapping_add_signed(many)) - kept(before);
            self.disruption -= more * i64::from(problem.workloads[workload].move_weight);
        }
        self.missing[workload] = self.missing[workload].wrapping_sub(many as u32);
        self.lacking -= i64::from(many) * self.worth[workload];
        if self.missing[workload] == 0 {
            self.short.remove(workload)
        } else {
            self.short.insert(workload)
        }
        for at in 0..self.watching[workload].len() {
            let (index, side) = self.watching[workload][at];
            let (units, weight) = self.bump(index as usize, side, workload, node, many);
            match weight {
                Some(weight) => self.soft += weight * units,
                None => self.hard += units,
            }
        }
    }

    /// Counts replicas for one rule; by how many units it is broken more, and its weight.
    fn bump(&mut self, index: usize, side: Side, workload: usize, node: usize, many: i32) -> (i64, Option<i64>) {
        let problem = self.instance.problem;
        let watch = &mut self.watches[index];
        let nowhere = watch.first.len() - 1;
        let domain = problem.nodes[node].domains.get(watch.topology).copied().flatten().unwrap_or(nowhere);
        let before = watch.units(domain);
        watch.total = watch.total.wrapping_add_signed(many);
        if side != Side::Second {
            let from = watch.first[domain];
            let to = from.wrapping_add_signed(many);
            watch.first[domain] = to;
            watch.recount(domain, from, to);
        }
        if side != Side::First {
            watch.second[domain] = watch.second[domain].wrapping_add_signed(many);
        }
        match &watch.family {
            Family::Prefer(preferred) if !preferred[node] => watch.held = watch.held.wrapping_add_signed(many),
            Family::Quota(max) => {
                for (used, (resource, ..)) in watch.used.iter_mut().zip(max) {
                    *used += i128::from(many) * i128::from(problem.workloads[workload].demand[*resource]);
                }
            }
            _ => {}
        }
        let units = watch.units(domain) - before;
        watch.broken += units;
        (units, watch.weight)
    }

    /// Whether one more has room and breaks no hard rule further; if so, the change of the soft tier.
    pub(crate) fn may_add(&mut self, workload: usize, node: usize) -> Option<i64> {
        if !self.has_room(workload, node) {
            return None;
        }
        let (mut hard, mut soft) = (0, 0);
        for at in 0..self.watching[workload].len() {
            let (index, side) = self.watching[workload][at];
            let (units, weight) = self.bump(index as usize, side, workload, node, 1);
            self.bump(index as usize, side, workload, node, -1);
            match weight {
                Some(weight) => soft += weight * units,
                None => hard += units,
            }
        }
        (hard <= 0).then_some(soft)
    }

    /// Whether one more may be on this node as far as capacity, eligibility and the workload's own maximum go.
    pub(crate) fn has_room(&self, workload: usize, node: usize) -> bool {
        if self.allowed[workload * self.words + node / 64] >> (node % 64) & 1 == 0 || self.missing[workload] == 0 {
            return false;
        }
        let demand = &self.demand[workload * self.resources..][..self.resources];
        let free = &self.free[node * self.resources..][..self.resources];
        if demand.iter().zip(free).any(|(demand, free)| *demand > 0 && demand > free) {
            return false;
        }
        let most = self.instance.problem.workloads[workload].per_node_max;
        most.is_none_or(|most| self.count(workload, node) < most)
    }

    /// Whether one more may be on this node as far as eligibility and the workload's own maximum go.
    pub(crate) fn may_go(&self, workload: usize, node: usize) -> bool {
        let most = self.instance.problem.workloads[workload].per_node_max;
        self.allowed[workload * self.words + node / 64] >> (node % 64) & 1 == 1
            && most.is_none_or(|most| self.count(workload, node) < most)
    }

    pub(crate) fn count(&self, workload: usize, node: usize) -> u32 {
        self.on[node].iter().find(|(w, _)| *w == workload as u32).map_or(0, |(_, count)| *count)
    }

    pub(crate) fn on(&self, node: usize) -> &[(u32, u32)] {
        &self.on[node]
    }

    pub(crate) fn free(&self, node: usize) -> &[i64] {
        &self.free[node * self.resources..][..self.resources]
    }

    pub(crate) fn demand(&self, workload: usize) -> &[i64] {
        &self.demand[workload * self.resources..][..self.resources]
    }

    /// The fullest resource of a node, in millionths.
    pub(crate) fn fullness(&self, node: usize) -> u64 {
        let ceiling = self.instance.ceiling[node].iter();
        let part = |(free, all): (&i64, &u128)| if *all == 0 { 0.0 } else { 1.0 - *free as f64 / *all as f64 };
        (self.free(node).iter().zip(ceiling).map(part).fold(0.0, f64::max) * 1e6) as u64
    }

    /// So many of a workload's missing replicas are not to be placed.
    pub(crate) fn forgo(&mut self, workload: usize, many: u32) {
        let many = many.min(self.missing[workload]);
        self.missing[workload] -= many;
        self.lacking -= i64::from(many) * self.worth[workload];
        if self.missing[workload] == 0 {
            self.short.remove(workload);
        }
    }

    pub(crate) fn missing(&self, workload: usize) -> u32 {
        self.missing[workload]
    }

    /// Nodes that hold something, nodes that hold nothing, workloads that are short: in no order.
    pub(crate) fn filled(&self) -> &[u32] {
        &self.filled.list
    }

    pub(crate) fn empty(&self) -> &[u32] {
        &self.empty.list
    }

    pub(crate) fn short(&self) -> &[u32] {
        &self.short.list
    }

    /// A workload whose soft rule is broken, at or after the `from`th rule.
    pub(crate) fn softly_broken(&self, from: usize) -> Option<usize> {
        let count = self.watches.len();
        let broken = (0..count).map(|step| (from + step) % count.max(1)).find(|index| {
            let watch = &self.watches[*index];
            watch.weight.is_some_and(|weight| weight > 0) && watch.broken > 0
        })?;
        let named = |list: &Vec<(u32, Side)>| list.iter().any(|(index, _)| *index as usize == broken);
        self.watching.iter().position(named)
    }

    /// What was changed so far stays.
    pub(crate) fn settle(&mut self) {
        self.log.clear();
    }

    /// Back to the last [`Board::settle`].
    pub(crate) fn undo(&mut self) {
        self.undo_to(0);
    }

    /// How much was changed since the last [`Board::settle`]: a point to go back to.
    pub(crate) fn mark(&self) -> usize {
        self.log.len()
    }

    pub(crate) fn undo_to(&mut self, mark: usize) {
        while self.log.len() > mark {
            if let Some((workload, node, many)) = self.log.pop() {
                self.apply(workload as usize, node as usize, -many);
            }
        }
    }

    /// Replicas missing, by tier of shortage.
    pub(crate) fn shortage(&self, tiers: &[(Tier, u64)]) -> Vec<u64> {
        let problem = self.instance.problem;
        let of = |priority: i32| {
            let short = self.short.list.iter().filter(|w| problem.workloads[**w as usize].priority == priority);
            short.map(|w| u64::from(self.missing[*w as usize])).sum()
        };
        tiers.iter().filter_map(|(tier, _)| if let Tier::Shortage(p) = tier { Some(of(*p)) } else { None }).collect()
    }

    pub(crate) fn placed(&self) -> Vec<Placed> {
        let entry =
            |node: usize, (workload, count): &(u32, u32)| Placed { workload: *workload as usize, node, count: *count };
        let mut placed: Vec<Placed> =
            self.on.iter().enumerate().flat_map(|(node, here)| here.iter().map(move |e| entry(node, e))).collect();
        placed.sort_unstable();
        placed
    }
}

impl Watch {
    /// Units in a domain (of the whole, for families that look at all domains together).
    fn units(&self, domain: usize) -> i64 {
        let outside = domain + 1 == self.first.len();
        match &self.family {
            Family::Spread(skew) => {
                let most = self.histogram.len().saturating_sub(1);
                ((most - self.least.min(most)) as i64 - i64::from(*skew)).max(0)
            }
            Family::Limit(_) | Family::Separate(_) if outside => 0,
            Family::Limit(limit) => i64::from(self.first[domain].saturating_sub(*limit)),
            Family::Separate(limit) => i64::from(self.first[domain].min(self.second[domain].saturating_sub(*limit))),
            Family::Near if !outside && self.second[domain] > 0 => 0,
            Family::Near => i64::from(self.first[domain]),
            Family::Distinct(least) => i64::from(self.total.min(*least).saturating_sub(self.held)),
            Family::Quota(max) => {
                let over = self.used.iter().zip(max).filter(|(used, (_, most, _))| used > &most);
                let over = over.map(|(used, (_, most, scale))| (used - most + scale - 1) / scale);
                i64::try_from(over.sum::<i128>()).unwrap_or(i64::MAX / 4)
            }
            Family::Prefer(_) => i64::from(self.held),
        }
    }

    fn recount(&mut self, domain: usize, from: u32, to: u32) {
        match self.family {
            Family::Spread(_) if self.counted[domain] => {
                if self.histogram.len() <= to as usize {
                    self.histogram.resize(to as usize + 1, 0);
                }
                self.histogram[from as usize] -= 1;
                self.histogram[to as usize] += 1;
                while self.histogram.last() == Some(&0) {
                    self.histogram.pop();
                }
                self.least = self.least.min(to as usize);
                while self.histogram.get(self.least) == Some(&0) {
                    self.least += 1;
                }
            }
            Family::Distinct(_) if domain + 1 < self.first.len() => {
                self.held = self.held + u32::from(from == 0 && to > 0) - u32::from(from > 0 && to == 0);
            }
            _ => {}
        }
    }
}

/// Family, topology, first and second group.
type Resolved = (Family, usize, Vec<usize>, Vec<usize>);

/// A rule in the board's terms. Outer nothing: a board does not know it. Inner: it has nothing to count on the way.
fn resolved(instance: &Instance, rule: &Rule) -> Option<Option<Resolved>> {
    let problem = instance.problem;
    Some(Some(match rule {
        Rule::Spread { workload, topology, max_skew } => {
            (Family::Spread(*max_skew), *topology, vec![*workload], Vec::new())
        }
        Rule::LimitPerDomain { workloads, topology, limit } => {
            (Family::Limit(*limit), *topology, workloads.clone(), Vec::new())
        }
        Rule::Survive { workload, topology, keep } => {
            let wanted = problem.workloads[*workload].wanted;
            (Family::Limit(wanted.saturating_sub(*keep)), *topology, vec![*workload], Vec::new())
        }
        Rule::SeparateFrom { a, b, topology, limit } => (Family::Separate(*limit), *topology, vec![*a], vec![*b]),
        Rule::Near { workloads, to, topology } => (Family::Near, *topology, workloads.clone(), to.clone()),
        Rule::DistinctDomains { workloads, topology, least } => {
            (Family::Distinct(*least), *topology, workloads.clone(), Vec::new())
        }
        Rule::Quota { workloads, max } => {
            let scale = |resource: usize| i128::from(problem.resources[resource].scale.max(1));
            let max = max.iter().map(|(resource, most)| (*resource, i128::from(*most), scale(*resource))).collect();
            (Family::Quota(max), usize::MAX, workloads.clone(), Vec::new())
        }
        Rule::Prefer { workload, nodes } => {
            let preferred = (0..problem.nodes.len()).map(|node| nodes.binary_search(&node).is_ok()).collect();
            (Family::Prefer(preferred), usize::MAX, vec![*workload], Vec::new())
        }
        // Holds in the end or not at all: what is left of a group is pruned before anybody sees it.
        Rule::AllOrNothing { .. } => return Some(None),
        // What a loss leaves is the business of [`crate::refuges`].
        Rule::Reserve { .. } => return Some(None),
        Rule::NodesMost { .. }
        | Rule::Safety { .. }
        | Rule::Balance { .. }
        | Rule::Moved { .. }
        | Rule::MovedMost { .. }
        | Rule::MovedFar { .. } => return None,
    }))
}

fn weight_of(instance: &Instance, running: &Placed) -> u64 {
    u64::from(running.count) * u64::from(instance.problem.workloads[running.workload].move_weight)
}
