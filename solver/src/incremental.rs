//! A small change to a large cluster: what runs and is sound stays where it is, only what is missing, misplaced or newly asked for is
//! looked at.
//!
//! ```text
//!  what runs --> repair what it breaks --> greedy for what is missing --> verify, evaluate --> small exact program, when the
//!                (a replica at a time,     (index, keeps the rest)                             greedy answer could be better
//!                 never worse)                                                                 --> bounds that need no program
//! ```
//!
//! The bounds come from sums: what must be stopped at least, which nodes must stay filled as long as no more is stopped, and the cheapest
//! way to buy room for the rest by the fraction. When the running replicas stay and no node was filled anew, they prove the answer
//! without any program. [`crate::TierValue::gain`] is what a full plan could still gain at most.

use crate::deadline::Deadline;
use crate::greedy::Greedy;
use crate::instance::{Instance, most_wanted};
use crate::layout::Layout;
use crate::lexicographic::{Effort, minimise};
use crate::model::{Model, Scope};
use crate::placer::Placer;
use crate::prune::prune;
use crate::solve::Search;
use crate::{Placed, Proof, Rule, Shape, Tier, Violation};
use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::time::Duration;

/// Replicas moved to repair what the present state breaks, at most.
const REPAIRS_MAX: usize = 10_000;
/// Services that the small exact program places again, at most.
const EXACT_SERVICES_MAX: usize = 20;
/// Candidates of each kind of node in it.
const CANDIDATES: usize = 20;
/// (service, node) pairs in it, at most.
const EXACT_PAIRS_MAX: usize = 6_000;
/// How long it may take.
const EXACT_MAX: Duration = Duration::from_millis(150);

impl Instance<'_> {
    /// Whether nearly all of what is wanted runs.
    pub(crate) fn is_small_change(&self) -> bool {
        let wanted: u64 = self.problem.workloads.iter().map(|w| u64::from(w.wanted)).sum();
        let running: u64 = self.problem.current.iter().map(|placed| u64::from(placed.count)).sum();
        running > 0 && running * 10 >= wanted * 9
    }
}

impl<'i, 'p> Search<'i, 'p> {
    /// Places what is missing and repairs what is broken, leaving everything else. Whether the answer needs no full search: all is
    /// placed, nothing is broken, and moves have no price that a better plan could be worth.
    pub(crate) fn incremental(&mut self, deadline: Deadline) -> bool {
        let instance = self.instance;
        let before = self.best.clone();
        let greedy = Greedy::new(instance, Greedy::natural_fit(instance.problem.objective.shape));
        let mut placer = Placer::with(greedy.clone(), Layout::new(instance, &before));
        repair(&mut placer);
        greedy.order().iter().for_each(|workload| placer.fill(*workload, true));
        self.offer(prune(instance, &placer.placed()));
        self.stats.method = "incremental".to_owned();
        self.cheap_bounds();
        if self.could_be_better() && !deadline.passed() {
            self.place_again(placer, &before, deadline.within(EXACT_MAX));
            self.cheap_bounds();
        }
        let settled = |(tier, value): &(Tier, u64)| match tier {
            Tier::Shortage(_) | Tier::Repair | Tier::Soft => *value == 0,
            _ => true,
        };
        self.worth.iter().all(settled) && instance.problem.objective.move_price_micros.is_none()
    }

    /// Whether a tier that new replicas decide is above its bound.
    fn could_be_better(&self) -> bool {
        let decided = |tier: &Tier| !matches!(tier, Tier::Disruption | Tier::Repair | Tier::Shape);
        self.worth.iter().zip(&self.bounds).any(|((tier, value), bound)| decided(tier) && value > bound)
    }

    /// The changed services as one exact program over the nodes they are on and some candidates of each kind; the rest is fixed.
    fn place_again(&mut self, mut placer: Placer<'i, 'p>, before: &[Placed], deadline: Deadline) {
        let instance = self.instance;
        let services = instance.problem.workloads.len();
        let mut change = vec![0i64; services];
        self.best.iter().for_each(|placed| change[placed.workload] += i64::from(placed.count));
        before.iter().for_each(|placed| change[placed.workload] -= i64::from(placed.count));
        let wanted = |w: usize| instance.problem.workloads[w].wanted;
        let layout = Layout::new(instance, &self.best);
        let changed = |w: &usize| change[*w] > 0 || wanted(*w) > layout.total[*w];
        let mut changed: Vec<usize> = (0..services).filter(changed).collect();
        changed.sort_by_key(|w| (Reverse(instance.problem.workloads[*w].priority), Reverse(change[*w]), *w));
        changed.truncate(EXACT_SERVICES_MAX);
        let mut nodes = BTreeSet::new();
        placer.layout = layout;
        placer.reindex();
        for workload in &changed {
            let kept = |node: usize| instance.running_count(*workload, node);
            nodes.extend(placer.layout.nodes_of(*workload).filter(|(n, count)| *count > kept(*n)).map(|(n, _)| n));
            nodes.extend(placer.candidates(*workload, CANDIDATES));
        }
        if changed.is_empty() || nodes.len() * changed.len() > EXACT_PAIRS_MAX {
            return;
        }
        let mut free = vec![false; services];
        changed.iter().for_each(|workload| free[*workload] = true);
        let fixed: Vec<Placed> =
            self.best.iter().filter(|p| !free[p.workload] || !nodes.contains(&p.node)).copied().collect();
        let bins = nodes.iter().map(|node| vec![*node]).collect();
        let model = Model::build(instance, &Scope { bins, free, fixed: &fixed, whole_counts: true, deflation: 0.0 });
        self.saw_program(&model);
        let start = model.start_from(&self.best);
        if !model.program.is_sound() || model.program.broken_by(&start, &[]).is_some() {
            return;
        }
        let effort = Effort { deadline, each: EXACT_MAX / 2, relative_gap: 0.0, tiers: usize::MAX };
        let found = minimise(&model, Some(start), &[], effort);
        self.stats.timed_out |= found.timed_out;
        if let Some(values) = &found.values
            && self.offer(model.placement(values))
        {
            self.stats.method = "incremental, exact for what changed".to_owned();
        }
    }

    /// Bounds from sums alone, for the tiers whose tiers before allow them.
    fn cheap_bounds(&mut self) {
        let problem = self.instance.problem;
        let all_placed = self.worth.iter().all(|(tier, value)| !matches!(tier, Tier::Shortage(_)) || *value == 0);
        let must_stop = Stops::new(self.instance);
        let disruption = self.worth.iter().find(|(tier, _)| *tier == Tier::Disruption).map(|(_, value)| *value);
        // With no more stopped than must be, what need not stop stays, and its nodes with it.
        let stays = disruption.is_some_and(|value| u128::from(value) == must_stop.weighted);
        let filled = if stays { must_stop.filled(self.instance) } else { vec![false; problem.nodes.len()] };
        let price = problem.objective.move_price_micros.unwrap_or(0);
        let bounds = self.worth.iter().map(|(tier, value)| {
            let bound = match tier {
                Tier::Disruption => must_stop.weighted,
                Tier::Cost if all_placed => room(self.instance, &filled, |node| problem.nodes[node].price_micros),
                Tier::PricedCost if all_placed => {
                    let cost = room(self.instance, &filled, |node| problem.nodes[node].price_micros);
                    cost.saturating_add(u128::from(price).saturating_mul(must_stop.weighted))
                }
                Tier::Shape if all_placed && problem.objective.shape == Shape::Pack => {
                    room(self.instance, &filled, |_| 1)
                }
                _ => 0,
            };
            u64::try_from(bound).unwrap_or(u64::MAX).min(*value)
        });
        self.learn(bounds.collect(), Proof::Sums);
    }
}

/// What any placement must stop, because more runs than may be placed.
struct Stops {
    /// Per workload.
    many: Vec<u64>,
    /// In units of the disruption tier.
    weighted: u128,
}

impl Stops {
    fn new(instance: &Instance) -> Stops {
        let workloads = instance.problem.workloads.iter().zip(&instance.running);
        let many = workloads.map(|(spec, running)| {
            let running: u64 = running.iter().map(|(_, count)| u64::from(*count)).sum();
            running.saturating_sub(u64::from(most_wanted(spec)))
        });
        let many: Vec<u64> = many.collect();
        let weights = instance.problem.workloads.iter().map(|spec| u128::from(spec.move_weight));
        let weighted = many.iter().zip(weights).map(|(many, weight)| u128::from(*many) * weight).sum();
        Stops { many, weighted }
    }

    /// Per node, whether a placement that stops no more leaves something on it.
    fn filled(&self, instance: &Instance) -> Vec<bool> {
        let mut filled = vec![false; instance.problem.nodes.len()];
        let staying = instance.problem.current.iter().filter(|placed| self.many[placed.workload] == 0);
        staying.for_each(|placed| filled[placed.node] = true);
        filled
    }
}

/// The least that can be paid so that there is room for all that is wanted, each resource by itself: some nodes are paid for anyway,
/// the others may be had by the fraction. When every node is worth 1 it is a number of nodes.
fn room(instance: &Instance, filled: &[bool], price: impl Fn(usize) -> u64) -> u128 {
    let problem = instance.problem;
    let nodes = 0..problem.nodes.len();
    let paid: u128 = nodes.clone().filter(|node| filled[*node]).map(|node| u128::from(price(node))).sum();
    let bound = |resource: usize| {
        let wanted = problem.workloads.iter().map(|w| u128::from(w.demand[resource]) * u128::from(w.wanted));
        let there = nodes.clone().filter(|node| filled[*node]).map(|node| instance.ceiling[node][resource]);
        let mut lacking = wanted.fold(0, u128::saturating_add).saturating_sub(there.fold(0, u128::saturating_add));
        // Beyond this the products below would leave 128 bits.
        if lacking == 0 || lacking >= 1 << 64 {
            return 0;
        }
        let mut others: Vec<(u128, u128)> = nodes
            .clone()
            .filter(|node| !filled[*node])
            .map(|node| (u128::from(price(node)), instance.ceiling[node][resource].min(u128::from(u64::MAX))))
            .filter(|(_, amount)| *amount > 0)
            .collect();
        others.sort_unstable_by(|(price, amount), (other_price, other_amount)| {
            (price * other_amount).cmp(&(other_price * amount))
        });
        let mut cost = 0u128;
        for (price, amount) in others {
            if lacking == 0 {
                break;
            }
            let part = amount.min(lacking);
            cost += price * part / amount;
            lacking -= part;
        }
        cost
    };
    paid + (0..problem.resources.len()).map(bound).max().unwrap_or(0)
}

/// Moves replicas out of what the present state breaks, one at a time, as long as there is a sound place for each.
fn repair(placer: &mut Placer) {
    let mut left = REPAIRS_MAX;
    for violation in placer.layout.instance.excuses.clone() {
        while left > 0 && step(placer, &violation) {
            left -= 1;
        }
    }
}

/// Moves one replica that a violation names; whether it is mended by that much.
fn step(placer: &mut Placer, violation: &Violation) -> bool {
    let layout = &placer.layout;
    let problem = layout.instance.problem;
    match *violation {
        Violation::NotEligible { workload, node, .. } => placer.move_off(workload, node),
        Violation::PerNodeMax { workload, node, .. } => {
            let max = problem.workloads[workload].per_node_max.unwrap_or(u32::MAX);
            layout.count(workload, node) > max && placer.move_off(workload, node)
        }
        Violation::Capacity { node, resource, capacity, .. } => {
            let over = layout.used(node, resource).saturating_sub(u128::from(capacity));
            let enough = |w: usize| u128::from(problem.workloads[w].demand[resource]) >= over;
            let mut held: Vec<(usize, u32)> =
                layout.on_node(node).filter(|(w, _)| problem.workloads[*w].demand[resource] > 0).collect();
            held.sort_by_key(|(w, _)| {
                let (spec, enough) = (&problem.workloads[*w], enough(*w));
                let size = spec.demand[resource];
                (!enough, spec.move_weight, if enough { size } else { u64::MAX - size }, *w)
            });
            over > 0 && held.into_iter().any(|(workload, _)| placer.move_off(workload, node))
        }
        Violation::Rule { constraint, .. } => step_of_rule(placer, constraint),
        Violation::Devices { .. } | Violation::TooMany { .. } | Violation::Malformed { .. } => false,
    }
}

/// Moves one replica so that a rule is broken by a unit less.
fn step_of_rule(placer: &mut Placer, constraint: usize) -> bool {
    let layout = &placer.layout;
    let instance = layout.instance;
    let rule = &instance.problem.constraints[constraint].rule;
    let [slot, other] = instance.slots(constraint);
    let domain = |topology: usize, node: usize| instance.problem.nodes[node].domains[topology];
    let spot = |workloads: &[usize]| -> Vec<(usize, usize)> {
        workloads.iter().flat_map(|w| layout.nodes_of(*w).map(move |(node, _)| (*w, node))).collect()
    };
    let (mut pairs, topology) = match rule {
        Rule::Spread { workload, topology, .. } | Rule::Survive { workload, topology, .. } => {
            (spot(&[*workload]), *topology)
        }
        Rule::LimitPerDomain { workloads, topology, .. } => (spot(workloads), *topology),
        Rule::Near { workloads, topology, .. } => {
            let mut pairs = spot(workloads);
            pairs.retain(|(_, node)| domain(*topology, *node).is_none_or(|d| layout.in_slot(other, d) == 0));
            (pairs, *topology)
        }
        Rule::SeparateFrom { a, b, topology, .. } => {
            let mut pairs = spot(&[*a, *b]);
            pairs.retain(|(_, node)| {
                domain(*topology, *node).is_some_and(|d| layout.in_slot(slot, d) > 0 && layout.in_slot(other, d) > 0)
            });
            (pairs, *topology)
        }
        _ => return false,
    };
    // Out of the fullest domain, what is moved most easily.
    pairs.sort_by_cached_key(|(workload, node)| {
        let held = domain(topology, *node).map_or(0, |domain| layout.in_slot(slot, domain));
        let spec = &instance.problem.workloads[*workload];
        (Reverse(held), spec.move_weight, spec.priority, *workload, *node)
    });
    let allowed = placer.layout.excess[constraint];
    if allowed == 0 {
        return false;
    }
    placer.layout.excess[constraint] = allowed - 1;
    let moved = pairs.into_iter().take(CANDIDATES).any(|(workload, node)| placer.move_off(workload, node));
    if !moved {
        placer.layout.excess[constraint] = allowed;
    }
    moved
}
