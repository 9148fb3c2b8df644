//! The first placement: workload after workload, replica after replica, each on the best node at that moment.
//!
//! Order: priority, then what others must be near to, then what is large where it may go. Over the whole cluster the nodes lie in order
//! already ([`crate::placer`]). Over a few given nodes, or where soft rules make every node different, they lie in heaps, one for each
//! combination of the domains the workload's rules look at, so that a step compares the best node of each group; a node's
//! score is recomputed when it is taken from its heap.

use crate::device_room::DeviceScore;
use crate::instance::Instance;
use crate::layout::Layout;
use crate::placer::Placer;
use crate::prune::prune;
use crate::{Placed, Rule, Shape};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

/// How a node is chosen among those that may take a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fit {
    /// The one with least left over.
    Tightest,
    /// The one whose fullest resource is emptiest.
    Loosest,
    /// The same, even when the node is empty: the nodes to fill are decided already.
    Level,
}

/// What a node costs for one more replica; smaller is better: soft change, disruption, price, fit, node.
pub(crate) type Score = (i64, i64, i64, i64, usize);

/// The scores' constants, computed once.
#[derive(Clone)]
pub(crate) struct Greedy<'i, 'p> {
    instance: &'i Instance<'p>,
    fit: Fit,
    /// Per resource: what one unit left over weighs, by how scarce the resource is.
    weight: Vec<f64>,
    devices: DeviceScore,
    /// Per workload, what one replica takes, so weighted, in millionths.
    need: Vec<i64>,
    order: Vec<usize>,
}

impl<'i, 'p> Greedy<'i, 'p> {
    pub(crate) fn new(instance: &'i Instance<'p>, fit: Fit) -> Greedy<'i, 'p> {
        let problem = instance.problem;
        let total = |resource: usize| problem.nodes.iter().map(|n| n.capacity[resource] as f64).sum::<f64>();
        let wanted = |resource: usize| {
            problem.workloads.iter().map(|w| w.demand[resource] as f64 * f64::from(w.wanted)).sum::<f64>()
        };
        let weight: Vec<f64> = (0..problem.resources.len())
            .map(|resource| {
                let (total, wanted) = (total(resource), wanted(resource));
                if total > 0.0 {
                    (wanted / total).clamp(0.0, 1.5).powi(2) * problem.nodes.len() as f64 / total
                } else {
                    0.0
                }
            })
            .collect();
        let taken =
            |demand: &[u64]| demand.iter().zip(&weight).map(|(demand, weight)| *demand as f64 * weight).sum::<f64>();
        let need = problem.workloads.iter().map(|workload| (taken(&workload.demand) * 1e6) as i64).collect();
        let mut greedy = Greedy { instance, fit, weight, devices: DeviceScore::new(instance), need, order: Vec::new() };
        greedy.order = greedy.ordered();
        greedy
    }

    /// The fit that suits the objective.
    pub(crate) fn natural_fit(shape: Shape) -> Fit {
        if shape == Shape::Pack { Fit::Tightest } else { Fit::Loosest }
    }

    pub(crate) fn fit(&self) -> Fit {
        self.fit
    }

    pub(crate) fn weight(&self) -> &[f64] {
        &self.weight
    }

    pub(crate) fn need(&self, workload: usize) -> i64 {
        self.need[workload]
    }

    /// Workloads in the order in which they are placed.
    pub(crate) fn order(&self) -> &[usize] {
        &self.order
    }

    /// Finds the order in which workloads are placed.
    fn ordered(&self) -> Vec<usize> {
        let problem = self.instance.problem;
        let mut priority: Vec<i32> = problem.workloads.iter().map(|w| w.priority).collect();
        let mut depth = vec![0usize; problem.workloads.len()];
        let near: Vec<(usize, usize)> = problem
            .constraints
            .iter()
            .filter_map(|c| match &c.rule {
                Rule::Near { workloads, to, .. } => Some((workloads, to)),
                _ => None,
            })
            .flat_map(|(workloads, to)| workloads.iter().flat_map(move |w| to.iter().map(move |to| (*w, *to))))
            .filter(|(workload, to)| workload != to)
            .collect();
        // What others need goes with the highest of them, and before them; circles end after as many rounds as there are rules.
        for _ in 0..near.len().min(8) {
            for (workload, to) in &near {
                priority[*to] = priority[*to].max(priority[*workload]);
                depth[*to] = depth[*to].max((depth[*workload] + 1).min(8));
            }
        }
        let size = |w: usize| {
            let demand = problem.workloads[w].demand.iter().zip(&self.weight).map(|(d, weight)| *d as f64 * weight);
            let reach = self.instance.allowed[w].len().max(1) as f64 / problem.nodes.len().max(1) as f64;
            (demand.fold(self.devices.size(self.instance, w), f64::max) / reach.sqrt() * 1e6) as i64
        };
        let mut order: Vec<usize> = (0..problem.workloads.len()).collect();
        order.sort_by_key(|w| (Reverse(priority[*w]), Reverse(depth[*w]), Reverse(size(*w)), *w));
        order
    }

    /// Workloads by the size of one replica, largest first.
    pub(crate) fn by_size(&self) -> Vec<usize> {
        let problem = self.instance.problem;
        let size = |w: &usize| {
            let demand = problem.workloads[*w].demand.iter().zip(&self.weight).map(|(d, weight)| *d as f64 * weight);
            (demand.fold(self.devices.size(self.instance, *w), f64::max) * 1e6) as i64
        };
        let mut order = self.order.clone();
        order.sort_by_key(|w| Reverse(size(w)));
        order
    }

    /// Keeps what `start` holds and adds what is missing.
    pub(crate) fn extend(&self, start: &[Placed]) -> Vec<Placed> {
        let mut placer = Placer::with(self.clone(), Layout::new(self.instance, start));
        self.order.iter().for_each(|workload| placer.fill(*workload, true));
        let placed = placer.placed();
        let pruned = prune(self.instance, &placed);
        if pruned == placed && placer.layout.short().is_empty() {
            return pruned;
        }
        // What pruning freed may serve others.
        let mut placer = Placer::with(self.clone(), Layout::new(self.instance, &pruned));
        for workload in &self.order {
            let grouped = self.instance.rules_of[*workload]
                .iter()
                .any(|rule| matches!(self.instance.problem.constraints[*rule].rule, Rule::AllOrNothing { .. }));
            if !grouped {
                placer.fill(*workload, false);
            }
        }
        prune(self.instance, &placer.placed())
    }

    /// Places up to `many` more of one workload as far as it goes, on `within` (or wherever it may be).
    pub(crate) fn place(
        &self,
        layout: &mut Layout,
        workload: usize,
        many: u32,
        within: Option<&[usize]>,
        lenient: bool,
    ) {
        let mut missing = many.min(layout.missing(workload));
        if missing == 0 {
            return;
        }
        let mut groups = self.groups(layout, workload, within);
        let mut waiting: Vec<Vec<usize>> = vec![Vec::new(); groups.len()];
        let mut progress = false;
        while missing > 0 {
            let best = (0..groups.len())
                .filter_map(|group| {
                    self.head(layout, workload, &mut groups[group], &mut waiting[group], lenient).map(|s| (s, group))
                })
                .min();
            match best {
                Some(((.., node), group)) => {
                    // Of very many replicas a few go together.
                    for step in 0..=missing / 2048 {
                        if step > 0
                            && !(layout.fits(workload, node) && layout.forbidden_by(workload, node, lenient).is_none())
                        {
                            break;
                        }
                        layout.add(workload, node, 1);
                        missing -= 1;
                    }
                    progress = true;
                    groups[group].pop();
                    if layout.fits(workload, node) {
                        let score = self.score(layout, workload, node);
                        groups[group].push(Reverse(score));
                    }
                }
                None if progress => {
                    // A rule that kept nodes back may let them go now that the others are fuller.
                    progress = false;
                    for (group, waiting) in groups.iter_mut().zip(&mut waiting) {
                        for node in waiting.drain(..).filter(|node| layout.fits(workload, *node)) {
                            group.push(Reverse(self.score(layout, workload, node)));
                        }
                    }
                }
                None => return,
            }
        }
    }

    fn groups(&self, layout: &Layout, workload: usize, within: Option<&[usize]>) -> Vec<BinaryHeap<Reverse<Score>>> {
        let problem = self.instance.problem;
        let mut watched = layout.watched(workload);
        watched.retain(|topology| 2 * problem.topologies[*topology].domains.len() <= problem.nodes.len() + 1);
        let mut groups: BTreeMap<Vec<Option<usize>>, Vec<Reverse<Score>>> = BTreeMap::new();
        let running = self.instance.running[workload].iter().map(|(node, _)| *node);
        let strays = running.filter(|node| !self.instance.is_allowed(workload, *node));
        let anywhere = self.instance.allowed[workload].iter().copied().chain(strays);
        let nodes: Vec<usize> = within.map_or_else(|| anywhere.collect(), <[usize]>::to_vec);
        for node in nodes {
            if layout.fits(workload, node) {
                let key = watched.iter().map(|topology| problem.nodes[node].domains[*topology]).collect();
                groups.entry(key).or_default().push(Reverse(self.score(layout, workload, node)));
            }
        }
        groups.into_values().map(BinaryHeap::from).collect()
    }

    /// The best node of a group that may take one more now, left on top of its heap with its present score.
    fn head(
        &self,
        layout: &Layout,
        workload: usize,
        group: &mut BinaryHeap<Reverse<Score>>,
        waiting: &mut Vec<usize>,
        lenient: bool,
    ) -> Option<Score> {
        while let Some(Reverse(old)) = group.peek().copied() {
            let node = old.4;
            if !layout.fits(workload, node) {
                group.pop();
            } else if layout.forbidden_by(workload, node, lenient).is_some() {
                group.pop();
                waiting.push(node);
            } else {
                let now = self.score(layout, workload, node);
                if now <= old || group.len() == 1 {
                    return Some(now);
                }
                group.pop();
                group.push(Reverse(now));
                if group.peek().is_some_and(|Reverse(top)| top.4 == node) {
                    return Some(now);
                }
            }
        }
        None
    }

    pub(crate) fn score(&self, layout: &Layout, workload: usize, node: usize) -> Score {
        self.score_given(layout, workload, node, layout.soft_change(workload, node))
    }

    /// The score, when the change of the soft rules is known.
    pub(crate) fn score_given(&self, layout: &Layout, workload: usize, node: usize, soft: i64) -> Score {
        let spec = &self.instance.problem.workloads[workload];
        let restores =
            layout.away(workload) > 0 && layout.count(workload, node) < self.instance.running_count(workload, node);
        let disruption = if restores { -i64::from(spec.move_weight) } else { 0 };
        let fit = match self.fit {
            Fit::Tightest => self.left_over(layout, workload, node),
            Fit::Loosest | Fit::Level => self.fullness(layout, workload, node),
        };
        let fit = fit.saturating_add(self.devices.change(layout, workload, node));
        (soft, disruption, self.price(layout, workload, node), fit, node)
    }

    /// What filling an empty node costs, for each replica of this workload that it could hold.
    pub(crate) fn price(&self, layout: &Layout, workload: usize, node: usize) -> i64 {
        if self.fit == Fit::Level || !layout.is_empty(node) {
            return 0;
        }
        let (spec, price) =
            (&self.instance.problem.workloads[workload], self.instance.problem.nodes[node].price_micros);
        let fit = f64::from(self.instance.most_on(workload, node).max(1));
        let each = ((price as f64 / fit.min(f64::from(spec.wanted.max(1)))) as i64).saturating_add(1);
        if self.fit == Fit::Loosest && price == 0 { 0 } else { each }
    }

    /// What is left on the node after one more, weighted by scarcity.
    fn left_over(&self, layout: &Layout, workload: usize, node: usize) -> i64 {
        let left = self.weight.iter().enumerate().map(|(r, weight)| layout.free(node, r) as f64 * weight);
        ((left.sum::<f64>() * 1e6) as i64).saturating_sub(self.need[workload])
    }

    /// The fullest resource of the node after one more, in millionths.
    fn fullness(&self, layout: &Layout, workload: usize, node: usize) -> i64 {
        let problem = self.instance.problem;
        let demand = &problem.workloads[workload].demand;
        let full = demand.iter().enumerate().filter(|(resource, _)| problem.resources[*resource].shapes);
        let ratio = full.map(|(resource, demand)| {
            let capacity = self.instance.ceiling[node][resource].max(1) as f64;
            (layout.used(node, resource) as f64 + *demand as f64) / capacity
        });
        (ratio.fold(0.0, f64::max) * 1e6) as i64
    }
}
