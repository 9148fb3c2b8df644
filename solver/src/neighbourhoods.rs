//! Exact search in small parts of a large placement: a handful of nodes and what lies on them becomes a program of its own, everything
//! else stays.
//!
//! Which nodes is decided by what is wrong: a workload that is short, a soft rule that is broken, a node that could be emptied. The
//! number of fruitless attempts is bounded, the chance is drawn from a fixed seed: equal problems give equal answers as long
//! as time does not end the search.

use crate::chance::{Chance, SEED};
use crate::deadline::Deadline;
use crate::greedy::{Fit, Greedy};
use crate::layout::Layout;
use crate::lexicographic::{Effort, minimise};
use crate::model::{Model, Scope};
use crate::solve::Search;
use crate::{Placed, Tier};
use std::collections::BTreeSet;
use std::time::Duration;

/// Nodes in one neighbourhood, to begin with and at most.
const NODES: [usize; 3] = [6, 9, 14];
/// Workloads that are variables in one neighbourhood at most, those on its nodes not counted.
const SHORT_WORKLOADS_MAX: usize = 12;

/// Nodes that are emptied in turn to make room for one replica.
const EMPTIED_MAX: usize = 64;

/// What a neighbourhood is meant to mend.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Aim {
    Shortage,
    Soft,
    Cost,
}

impl<'i, 'p> Search<'i, 'p> {
    /// Searches neighbourhoods until nothing has helped for a while or the time is out.
    pub(crate) fn neighbourhoods(&mut self, deadline: Deadline) {
        if deadline.passed() {
            return;
        }
        let mut chance = Chance::new(SEED);
        self.make_room(deadline);
        for aim in [Aim::Shortage, Aim::Soft, Aim::Cost] {
            let mut fruitless = 0;
            let patience = 20 + self.instance.problem.nodes.len().min(400) / 4;
            while fruitless < patience && !deadline.passed() && self.leaves_room(aim) {
                let size = NODES[(fruitless * NODES.len() / patience).min(NODES.len() - 1)];
                fruitless = if self.attempt(aim, size, &mut chance, deadline) { 0 } else { fruitless + 1 };
            }
        }
        self.make_room(deadline);
        self.stats.timed_out |= deadline.passed();
    }

    /// For what is short: empties a node that it nearly fits on, places it there, and what lay there wherever there is room. Finds
    /// what small neighbourhoods do not: room for a large replica out of crumbs on many nodes.
    fn make_room(&mut self, deadline: Deadline) {
        let greedy = Greedy::new(self.instance, Fit::Tightest);
        while self.leaves_room(Aim::Shortage) {
            let layout = Layout::new(self.instance, &self.best);
            let short = layout.short();
            if !short.into_iter().any(|workload| self.room_for(workload, &layout, &greedy, deadline)) {
                return;
            }
        }
    }

    /// One more replica of the workload, on the first of the nodes where that makes the placement better.
    fn room_for(&mut self, workload: usize, layout: &Layout, greedy: &Greedy<'_, '_>, deadline: Deadline) -> bool {
        let mut near = self.instance.allowed[workload].to_vec();
        near.sort_by_cached_key(|node| (self.lack(layout, workload, *node), *node));
        near.truncate(EMPTIED_MAX);
        near.into_iter().any(|node| {
            if deadline.passed() {
                return false;
            }
            let mut trial = layout.clone();
            let held: Vec<(usize, u32)> = trial.on_node(node).collect();
            held.iter().for_each(|(workload, count)| trial.remove(*workload, node, *count));
            greedy.place(&mut trial, workload, 1, Some(&[node]), false);
            if trial.missing(workload) >= layout.missing(workload) {
                return false;
            }
            for other in greedy.by_size() {
                if let Some((_, count)) = held.iter().find(|(held, _)| *held == other) {
                    greedy.place(&mut trial, other, *count, None, false);
                }
            }
            self.offer(trial.placed())
        })
    }

    /// Whether any of the aim's tiers is above its bound.
    fn leaves_room(&self, aim: Aim) -> bool {
        let open =
            self.worth.iter().zip(&self.bounds).filter(|((_, value), bound)| value > bound).map(|((tier, _), _)| *tier);
        open.into_iter().any(|tier| aim == aim_of(tier))
    }

    fn attempt(&mut self, aim: Aim, size: usize, chance: &mut Chance, deadline: Deadline) -> bool {
        let layout = Layout::new(self.instance, &self.best);
        let nodes = match aim {
            Aim::Shortage => self.around_shortage(&layout, size, chance),
            Aim::Soft => self.around_soft(&layout, size, chance),
            Aim::Cost => self.around_cost(&layout, size, chance),
        };
        if nodes.len() < 2 {
            return false;
        }
        let model = self.neighbourhood(&layout, &nodes, chance);
        let start = model.start_from(&self.best);
        if model.program.broken_by(&start, &[]).is_some() {
            return false;
        }
        let last = model.tiers.iter().rposition(|(tier, _)| aim_of(*tier) == aim).unwrap_or(0);
        let effort = Effort { deadline, each: Duration::from_millis(400), relative_gap: 0.0, tiers: last + 1 };
        let found = minimise(&model, Some(start), &[], effort);
        self.saw_program(&model);
        found.values.is_some_and(|values| self.offer(model.placement(&values)))
    }

    /// The program of some nodes: what is on them and some of what is short may change.
    fn neighbourhood(&self, layout: &Layout, nodes: &BTreeSet<usize>, chance: &mut Chance) -> Model<'i, 'p> {
        let mut free = vec![false; self.instance.problem.workloads.len()];
        nodes.iter().flat_map(|node| layout.on_node(*node)).for_each(|(workload, _)| free[workload] = true);
        let mut short = layout.short();
        short.retain(|workload| nodes.iter().any(|node| self.instance.most_on(*workload, *node) > 0));
        if short.len() > SHORT_WORKLOADS_MAX {
            chance.keep(&mut short, SHORT_WORKLOADS_MAX);
        }
        short.into_iter().for_each(|workload| free[workload] = true);
        let fixed: Vec<Placed> =
            self.best.iter().filter(|p| !free[p.workload] || !nodes.contains(&p.node)).copied().collect();
        let bins = nodes.iter().map(|node| vec![*node]).collect();
        Model::build(self.instance, &Scope { bins, free, fixed: &fixed, whole_counts: true, deflation: 0.0 })
    }

    /// Nodes on which a short workload almost fits.
    fn around_shortage(&self, layout: &Layout, size: usize, chance: &mut Chance) -> BTreeSet<usize> {
        let short = layout.short();
        if short.is_empty() {
            return BTreeSet::new();
        }
        let highest = short.iter().map(|w| self.instance.problem.workloads[*w].priority).max();
        let first: Vec<usize> =
            short.iter().copied().filter(|w| Some(self.instance.problem.workloads[*w].priority) == highest).collect();
        let from = if chance.below(3) == 0 { &short } else { &first };
        let workload = from[chance.below(from.len())];
        let mut near = self.instance.allowed[workload].to_vec();
        near.sort_by_cached_key(|node| (self.lack(layout, workload, *node), *node));
        near.truncate(4 * size);
        chance.keep(&mut near, size.saturating_sub(2));
        let mut anywhere = self.instance.allowed[workload].to_vec();
        chance.keep(&mut anywhere, 2);
        near.into_iter().chain(anywhere).collect()
    }

    /// How much a node lacks for one more replica, in millionths of its capacities.
    fn lack(&self, layout: &Layout, workload: usize, node: usize) -> u64 {
        let demand = self.instance.problem.workloads[workload].demand.iter().enumerate();
        let lack = demand.map(|(resource, demand)| {
            let missing = u128::from(*demand).saturating_sub(layout.free(node, resource));
            missing as f64 / self.instance.ceiling[node][resource].max(1) as f64
        });
        let lack = lack.sum::<f64>() + layout.lacks_devices(workload, node);
        let blocked = layout.forbidden_by(workload, node, true).is_some();
        ((lack * 1e6) as u64).saturating_add(if blocked { 500_000 } else { 0 })
    }

    /// Nodes of the workloads of a soft rule that is broken, and others they could go to.
    fn around_soft(&self, layout: &Layout, size: usize, chance: &mut Chance) -> BTreeSet<usize> {
        let problem = self.instance.problem;
        let broken: Vec<usize> = (0..problem.constraints.len())
            .filter(|index| problem.constraints[*index].weight.is_some_and(|weight| weight > 0))
            .filter(|index| crate::check::is_broken(problem, &self.best, &problem.constraints[*index].rule))
            .collect();
        if broken.is_empty() {
            return BTreeSet::new();
        }
        let rule = &problem.constraints[broken[chance.below(broken.len())]].rule;
        let mut nodes = BTreeSet::new();
        let workloads = rule.workloads();
        for workload in &workloads {
            let mut held: Vec<usize> = self.instance.allowed[*workload]
                .iter()
                .copied()
                .filter(|node| layout.count(*workload, *node) > 0)
                .collect();
            chance.keep(&mut held, size.div_ceil(2 * workloads.len()));
            nodes.extend(held);
            let mut others = self.instance.allowed[*workload].to_vec();
            others.sort_by_cached_key(|node| (self.lack(layout, *workload, *node), *node));
            others.truncate(others.len().div_ceil(2).max(size));
            chance.keep(&mut others, size.div_ceil(2 * workloads.len()));
            nodes.extend(others);
        }
        nodes
    }

    /// A lightly used node, others with room, and one that is empty.
    fn around_cost(&self, layout: &Layout, size: usize, chance: &mut Chance) -> BTreeSet<usize> {
        let problem = self.instance.problem;
        let emptied = |node: &usize| {
            !layout.is_empty(*node)
                && (problem.objective.move_price_micros.is_some() || self.instance.running_on[*node].is_empty())
        };
        let mut sources: Vec<usize> = (0..problem.nodes.len()).filter(emptied).collect();
        sources.sort_by_cached_key(|node| (self.fullness(layout, *node), *node));
        sources.truncate((sources.len() / 2).max(8));
        let Some(source) = (!sources.is_empty()).then(|| sources[chance.below(sources.len())]) else {
            return BTreeSet::new();
        };
        let mut others: Vec<usize> =
            (0..problem.nodes.len()).filter(|node| !layout.is_empty(*node) && *node != source).collect();
        others.sort_by_cached_key(|node| (self.fullness(layout, *node), *node));
        others.truncate((others.len() / 2).max(2 * size));
        chance.keep(&mut others, size - 2);
        let mut empty: Vec<usize> = (0..problem.nodes.len()).filter(|node| layout.is_empty(*node)).collect();
        chance.keep(&mut empty, 1);
        others.into_iter().chain(empty).chain([source]).collect()
    }

    /// The sum of a node's utilisations, in thousandths.
    fn fullness(&self, layout: &Layout, node: usize) -> u64 {
        let resources = 0..self.instance.problem.resources.len();
        let part = |r: usize| layout.used(node, r) as f64 / self.instance.ceiling[node][r].max(1) as f64;
        (resources.map(part).sum::<f64>() * 1e3) as u64
    }

    /// Empties nodes one after the other where everything on them fits on others that are in use, the worst used first.
    pub(crate) fn empty_nodes(&mut self, deadline: Deadline) {
        if deadline.passed() {
            return;
        }
        let mut layout = Layout::new(self.instance, &self.best);
        let problem = self.instance.problem;
        let greedy = Greedy::new(self.instance, Fit::Tightest);
        let movable =
            |node: &usize| problem.objective.move_price_micros.is_some() || self.instance.running_on[*node].is_empty();
        let mut sources: Vec<usize> =
            (0..problem.nodes.len()).filter(|node| !layout.is_empty(*node)).filter(movable).collect();
        sources.sort_by_cached_key(|node| {
            let price = problem.nodes[*node].price_micros.max(1);
            (u128::from(self.fullness(&layout, *node)) * 1_000_000 / u128::from(price), *node)
        });
        for source in sources {
            if deadline.passed() {
                break;
            }
            let others: Vec<usize> =
                (0..problem.nodes.len()).filter(|node| *node != source && !layout.is_empty(*node)).collect();
            let mut trial = layout.clone();
            let held: Vec<(usize, u32)> = trial.on_node(source).collect();
            held.iter().for_each(|(workload, count)| trial.remove(*workload, source, *count));
            let moved = greedy.by_size().into_iter().all(|workload| {
                let Some((_, count)) = held.iter().find(|(w, _)| *w == workload) else { return true };
                let before = trial.missing(workload);
                greedy.place(&mut trial, workload, *count, Some(&others), false);
                before - trial.missing(workload) == *count
            });
            if moved && self.offer(trial.placed()) {
                layout = trial;
            }
        }
    }
}

fn aim_of(tier: Tier) -> Aim {
    match tier {
        Tier::Shortage(_) => Aim::Shortage,
        Tier::Repair | Tier::Soft => Aim::Soft,
        Tier::Surplus | Tier::Disruption | Tier::Cost | Tier::PricedCost | Tier::Shape => Aim::Cost,
    }
}
