//! One replica at a time on the best node there is, with every check: the engine under the greedy stage, the incremental path, and
//! [`Placer`] for callers that place as requests come in.
//!
//! A step asks each group of the [`Index`] for its best node. What a rule says of a whole group is asked once; what it says of single
//! nodes, while walking along the group's order. The order of a group is that of how full its nodes are, so that the
//! first node that may take the replica is the best one, unless soft rules tell nodes apart: then a bounded stretch is compared.

use crate::greedy::{Fit, Greedy, Score};
use crate::index::{Asked, Continue, Index};
use crate::instance::{Instance, most_wanted};
use crate::layout::Layout;
use crate::{Placed, Rule};

/// Nodes of one group that are compared where soft rules or the direction of the order leave the best one open.
const COMPARED_MAX: usize = 64;
/// Replicas that others are drawn to are looked up as long as they lie on few nodes.
const DRAWN_MAX: usize = 256;

/// A placement that grows and shrinks a replica at a time. Every step keeps all hard rules, capacities, devices and eligibility;
/// rules that speak of the end (all-or-nothing, what must remain after a loss of a domain in a reserve) are left to [`crate::verify`].
pub struct Placer<'i, 'p> {
    greedy: Greedy<'i, 'p>,
    pub(crate) layout: Layout<'i, 'p>,
    /// `None` where devices, or soft rules about what is left on each node, make every node different: then all are looked at.
    index: Option<Index>,
    /// A node that takes nothing for now: something is moved off it.
    barred: Option<usize>,
    /// Per workload.
    asked: Vec<Asked>,
    /// Scratch: per group, what one more replica adds to the soft rules, or `None` where it may not go.
    softs: Vec<Option<i64>>,
}

impl<'i, 'p> Placer<'i, 'p> {
    /// Starts from a placement (indices must be in range), choosing nodes as the problem's objective asks.
    pub fn new(instance: &'i Instance<'p>, placed: &[Placed]) -> Placer<'i, 'p> {
        let fit = Greedy::natural_fit(instance.problem.objective.shape);
        Placer::with(Greedy::new(instance, fit), Layout::new(instance, placed))
    }

    pub(crate) fn with(greedy: Greedy<'i, 'p>, layout: Layout<'i, 'p>) -> Placer<'i, 'p> {
        let problem = layout.instance.problem;
        let indexed =
            problem.devices.is_empty()
                && layout.instance.node_rules.iter().all(|rule| {
                    matches!(problem.constraints[*rule].rule, Rule::NodesMost { .. } | Rule::Reserve { .. })
                });
        let index = indexed.then(|| Index::new(&layout, greedy.fit(), greedy.weight()));
        Placer { asked: Asked::all(layout.instance), barred: None, greedy, layout, index, softs: Vec::new() }
    }

    /// Places one more replica of a workload, if it is to have one and there is a node that may take it now.
    pub fn place(&mut self, workload: usize) -> Option<usize> {
        let spec = &self.layout.instance.problem.workloads[workload];
        if self.layout.total[workload] >= most_wanted(spec).min(self.layout.aim[workload]) {
            return None;
        }
        let node = self.best(workload, false)?;
        self.add(workload, node, 1);
        Some(node)
    }

    /// Takes away one replica, which must be there.
    pub fn remove(&mut self, workload: usize, node: usize) {
        self.layout.remove(workload, node, 1);
        self.touch(node);
    }

    /// The placement.
    pub fn placed(&self) -> Vec<Placed> {
        self.layout.placed()
    }

    /// Takes a replica off a node and places it elsewhere, or leaves it when there is no other place.
    pub(crate) fn move_off(&mut self, workload: usize, node: usize) -> bool {
        if self.layout.count(workload, node) == 0 {
            return false;
        }
        self.remove(workload, node);
        self.barred = Some(node);
        let target = self.best(workload, false);
        self.barred = None;
        self.add(workload, target.unwrap_or(node), 1);
        target.is_some()
    }

    /// Nodes that may take one more replica now, up to so many of each group and of each kind of empty node, the best fitting first.
    pub(crate) fn candidates(&mut self, workload: usize, each: usize) -> Vec<usize> {
        let Some(index) = &mut self.index else { return Vec::new() };
        let instance = self.layout.instance;
        let demand = &instance.problem.workloads[workload].demand;
        let open =
            |node: usize| self.layout.fits(workload, node) && self.layout.forbidden_by(workload, node, false).is_none();
        let set = instance.sets.of[workload];
        let mut nodes = Vec::new();
        for at in 0..index.groups_of[set].len() {
            let mut left = each;
            index.walk(index.groups_of[set][at], i64::MIN, demand, |_, node| {
                if open(node) {
                    nodes.push(node);
                    left -= 1;
                }
                if left == 0 { Continue::No } else { Continue::Yes }
            });
        }
        for vacancy in &index.vacancies_of[set] {
            nodes.extend(index.first_vacant(*vacancy).filter(|node| open(*node)).take(each));
        }
        nodes
    }

    /// Reads the order again, after the layout was exchanged.
    pub(crate) fn reindex(&mut self) {
        if self.index.is_some() {
            self.index = Some(Index::new(&self.layout, self.greedy.fit(), self.greedy.weight()));
        }
    }

    pub(crate) fn add(&mut self, workload: usize, node: usize, many: u32) {
        self.layout.add(workload, node, many);
        self.touch(node);
    }

    fn touch(&mut self, node: usize) {
        if let Some(index) = &mut self.index {
            index.touch(&self.layout, node);
        }
    }

    /// Places what a workload lacks as far as it goes; where a rule about losses needs a surplus, that too.
    pub(crate) fn fill(&mut self, workload: usize, lenient: bool) {
        self.place_up_to(workload, self.layout.aim[workload], lenient);
        let problem = self.layout.instance.problem;
        let spec = &problem.workloads[workload];
        let survives = |rule: &usize| {
            let constraint = &problem.constraints[*rule];
            constraint.weight.is_none() && matches!(constraint.rule, Rule::Survive { .. })
        };
        if spec.surplus_max == 0
            || self.layout.missing(workload) == 0
            || !self.layout.instance.rules_of[workload].iter().any(survives)
        {
            return;
        }
        // One replica more raises what every domain may hold by one.
        let mut added = Vec::new();
        for aim in spec.wanted.saturating_add(1)..=most_wanted(spec) {
            self.layout.aim[workload] = aim;
            let before = self.layout.total[workload];
            while self.layout.total[workload] < aim {
                let Some(node) = self.best(workload, lenient) else { break };
                self.add(workload, node, 1);
                added.push(node);
            }
            if self.layout.total[workload] >= aim {
                return;
            }
            if self.layout.total[workload] == before {
                break;
            }
        }
        self.layout.aim[workload] = spec.wanted;
        added.into_iter().rev().for_each(|node| self.remove(workload, node));
    }

    fn place_up_to(&mut self, workload: usize, aim: u32, lenient: bool) {
        let missing = aim.saturating_sub(self.layout.total[workload]);
        if missing > 0 && self.index.is_none() {
            self.greedy.place(&mut self.layout, workload, missing, None, lenient);
            return;
        }
        let mut missing = missing;
        while missing > 0 {
            let Some(node) = self.best(workload, lenient) else { return };
            // Of very many replicas a few go together.
            for step in 0..=missing / 2048 {
                let fits = || self.layout.fits(workload, node);
                if step > 0 && !(fits() && self.layout.forbidden_by(workload, node, lenient).is_none()) {
                    break;
                }
                self.layout.add(workload, node, 1);
                missing -= 1;
            }
            self.touch(node);
        }
    }

    /// The best node for one more replica.
    pub(crate) fn best(&mut self, workload: usize, lenient: bool) -> Option<usize> {
        let Some(index) = &mut self.index else {
            let nodes = self.layout.instance.allowed[workload].iter().copied();
            let strays = self.layout.instance.running[workload].iter().map(|(node, _)| *node);
            let (layout, greedy) = (&self.layout, &self.greedy);
            let open = nodes
                .chain(strays)
                .filter(|node| Some(*node) != self.barred)
                .filter(|node| layout.fits(workload, *node) && layout.forbidden_by(workload, *node, lenient).is_none());
            return open.map(|node| greedy.score(layout, workload, node)).min().map(|score| score.4);
        };
        let problem = self.layout.instance.problem;
        let choice = Choice {
            layout: &self.layout,
            greedy: &self.greedy,
            asked: &self.asked[workload],
            barred: self.barred,
            workload,
            lenient,
            need: self.greedy.need(workload),
        };
        if problem.nodes.is_empty()
            || self.layout.forbidden_by_loss(workload).is_some()
            || choice.forbids(&choice.asked.anywhere, 0)
        {
            return None;
        }
        let set = self.layout.instance.sets.of[workload];
        let named = choice.among_named();
        let used = choice.among_used(index, set, named, &mut self.softs);
        choice.among_empty(index, set, used, &self.softs).map(|score| score.4)
    }
}

/// One decision.
struct Choice<'a, 'i, 'p> {
    layout: &'a Layout<'i, 'p>,
    greedy: &'a Greedy<'i, 'p>,
    asked: &'a Asked,
    barred: Option<usize>,
    workload: usize,
    lenient: bool,
    /// The fullness key of what one replica takes.
    need: i64,
}

impl Choice<'_, '_, '_> {
    /// The best of the nodes that the problem names for this workload: where it runs, and where what draws it is.
    fn among_named(&self) -> Option<Score> {
        let (layout, workload) = (self.layout, self.workload);
        let mut best = None;
        let mut consider = |node: usize| {
            let open = !self.is_barred(node) && layout.fits(workload, node);
            if open && layout.forbidden_by(workload, node, self.lenient).is_none() {
                let score = self.greedy.score(layout, workload, node);
                best = Some(best.map_or(score, |best: Score| best.min(score)));
            }
        };
        if layout.away(workload) > 0 {
            let running = layout.instance.running[workload].iter();
            running.filter(|(node, count)| layout.count(workload, *node) < *count).for_each(|(n, _)| consider(*n));
        }
        for other in &self.asked.drawn_to {
            layout.nodes_of(*other).take(DRAWN_MAX).for_each(|(node, _)| consider(node));
        }
        best
    }

    /// While something is moved off a node, neither that node nor another broken one takes anything.
    fn is_barred(&self, node: usize) -> bool {
        self.barred.is_some_and(|barred| barred == node || self.layout.instance.broken_nodes[node])
    }

    /// Whether any of some hard rules forbids one more on a node.
    fn forbids(&self, rules: &[usize], node: usize) -> bool {
        let constraints = &self.layout.instance.problem.constraints;
        let breaks =
            |rule: &usize| self.layout.breaks(*rule, &constraints[*rule].rule, self.workload, node, self.lenient);
        rules.iter().any(breaks)
    }

    /// Whether a node that has the resources may take one more.
    fn may_take(&self, node: usize) -> bool {
        let spec = &self.layout.instance.problem.workloads[self.workload];
        let crowded = spec.per_node_max.is_some_and(|max| {
            let running = self.layout.instance.running_count(self.workload, node);
            self.layout.count(self.workload, node) >= max.max(running)
        });
        !crowded
            && !self.is_barred(node)
            && self.layout.has_devices(self.workload, node)
            && !self.forbids(&self.asked.of_node[0], node)
    }

    /// What one more on a node adds to some soft rules.
    fn soft(&self, rules: &[usize], node: usize) -> i64 {
        let weighted = rules.iter().map(|rule| {
            let constraint = &self.layout.instance.problem.constraints[*rule];
            let units = self.layout.units_change(*rule, &constraint.rule, self.workload, node);
            i64::from(constraint.weight.unwrap_or(0)) * units
        });
        weighted.sum()
    }

    /// The best of the nodes that hold something, and what each group's soft rules say.
    fn among_used(
        &self,
        index: &mut Index,
        set: usize,
        mut best: Option<Score>,
        softs: &mut Vec<Option<i64>>,
    ) -> Option<Score> {
        softs.clear();
        softs.resize(index.groups.len(), None);
        for at in 0..index.groups_of[set].len() {
            let group = index.groups_of[set][at];
            let node = index.groups[group].node;
            if self.forbids(&self.asked.of_group[0], node) {
                continue;
            }
            let soft = self.soft(&self.asked.of_group[1], node);
            softs[group] = Some(soft);
            if best.is_none_or(|best| soft.saturating_add(self.asked.floor) <= best.0) {
                best = self.among_group(index, group, soft, best);
            }
        }
        best
    }

    fn among_group(&self, index: &mut Index, group: usize, soft: i64, mut best: Option<Score>) -> Option<Score> {
        let demand = &self.layout.instance.problem.workloads[self.workload].demand;
        let tightest = self.greedy.fit() == Fit::Tightest;
        let of_node = &self.asked.of_node[1];
        let floor = soft.saturating_add(self.asked.floor);
        let from = if tightest { self.need.saturating_sub(2) } else { i64::MIN };
        let mut compared = 0;
        index.walk(group, from, demand, |key, node| {
            // No node from here on can be better than this.
            let fit = if tightest { key.saturating_sub(self.need) } else { key };
            if best.is_some_and(|best| (floor, 0, 0, fit, node) >= best) {
                return Continue::No;
            }
            if !self.may_take(node) {
                return Continue::Yes;
            }
            let plain = of_node.is_empty() && tightest && !self.layout.is_empty(node);
            let score = if plain {
                (soft, 0, 0, fit, node)
            } else {
                self.greedy.score_given(self.layout, self.workload, node, soft + self.soft(of_node, node))
            };
            best = Some(best.map_or(score, |best: Score| best.min(score)));
            compared += 1;
            if plain || compared >= COMPARED_MAX { Continue::No } else { Continue::Yes }
        });
        best
    }

    /// The best of the empty nodes, unless one that holds something is better anyway.
    fn among_empty(&self, index: &Index, set: usize, mut best: Option<Score>, softs: &[Option<i64>]) -> Option<Score> {
        let (layout, workload) = (self.layout, self.workload);
        let demand = &layout.instance.problem.workloads[workload].demand;
        for vacancy in &index.vacancies_of[set] {
            let Some(soft) = softs[index.vacancies[*vacancy].group] else { continue };
            let Some(first) = index.first_vacant(*vacancy).next() else { continue };
            let floor =
                soft.saturating_add(self.asked.floor).saturating_add(layout.soft_change_of_nodes(workload, first));
            if best.is_some_and(|best| (floor, 0, 0) > (best.0, best.1, best.2)) || !index.has(first, demand) {
                continue;
            }
            if best
                .is_some_and(|best| (floor, 0, self.greedy.price(layout, workload, first)) > (best.0, best.1, best.2))
                || layout.forbidden_by_pool(first).is_some()
            {
                continue;
            }
            let of_node = &self.asked.of_node[1];
            let open = index.first_vacant(*vacancy).filter(|node| self.may_take(*node));
            for node in open.take(if of_node.is_empty() { 1 } else { COMPARED_MAX }) {
                let soft = soft + self.soft(of_node, node) + layout.soft_change_of_nodes(workload, node);
                let score = self.greedy.score_given(layout, workload, node, soft);
                best = Some(best.map_or(score, |best: Score| best.min(score)));
                if soft <= floor {
                    break;
                }
            }
        }
        best
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Constraint, Node, Problem, Resource, Topology, Workload};

    struct Dice(u64);

    impl Dice {
        fn below(&mut self, n: u64) -> u64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) % n.max(1)
        }
    }

    /// Machines of three sizes in three zones and forty racks, with rules of every kind that the index knows.
    fn problem(seed: u64) -> Problem {
        let dice = &mut Dice(seed);
        let resource = |name: &str| Resource { name: name.into(), scale: 1, shapes: true, transient: false };
        let nodes = 120;
        let node = |n: usize| Node {
            name: format!("n{n:03}"),
            capacity: [vec![40, 80], vec![80, 80], vec![160, 400]][n % 3].clone(),
            price_micros: [10, 15, 35][n % 3],
            domains: vec![Some(n / 3 % 3), Some(n % 40), Some(n)],
            ..Node::default()
        };
        let service = |w: usize| Workload {
            name: format!("w{w:02}"),
            demand: vec![1 + dice.below(20), 1 + dice.below(30)],
            wanted: 4 + dice.below(20) as u32,
            move_weight: 1,
            eligible: (0..nodes).filter(|n| !w.is_multiple_of(4) || n % 3 == 2).collect(),
            per_node_max: w.is_multiple_of(5).then_some(2),
            ..Workload::default()
        };
        let workloads: Vec<Workload> = (0..20).map(service).collect();
        let mut constraints = Vec::new();
        for w in 0..workloads.len() {
            let (topology, other, weight) = (dice.below(3) as usize, (w + 1) % workloads.len(), dice.below(2));
            let rule = match dice.below(6) {
                0 => Rule::Spread { workload: w, topology, max_skew: 1 },
                1 => Rule::LimitPerDomain { workloads: vec![w, other], topology, limit: 3 },
                2 => Rule::SeparateFrom { a: w, b: other, topology, limit: 0 },
                3 => Rule::Near { workloads: vec![w], to: vec![other], topology },
                4 => Rule::DistinctDomains { workloads: vec![w], topology, least: 3 },
                _ => Rule::Survive { workload: w, topology, keep: 1 },
            };
            constraints.push(Constraint { rule, weight: (weight == 0).then_some(3) });
        }
        let domains = |many: usize| (0..many).map(|d| format!("d{d:03}")).collect();
        let topology = |key: &str, many| Topology { key: key.into(), domains: domains(many) };
        Problem {
            resources: vec![resource("cpu"), resource("memory")],
            topologies: vec![topology("zone", 3), topology("rack", 40), topology("node", nodes)],
            nodes: (0..nodes).map(node).collect(),
            workloads,
            constraints,
            ..Problem::default()
        }
    }

    /// The best score of all nodes, looking at each.
    fn scanned(placer: &Placer, workload: usize) -> Option<Score> {
        let layout = &placer.layout;
        let open = layout.instance.allowed[workload]
            .iter()
            .copied()
            .filter(|node| layout.fits(workload, *node) && layout.forbidden_by(workload, *node, false).is_none());
        open.map(|node| placer.greedy.score(layout, workload, node)).min()
    }

    #[test]
    fn the_index_finds_what_looking_at_every_node_finds() {
        for seed in 0..40 {
            let problem = problem(seed);
            assert_eq!(problem.validate(), Ok(()));
            let instance = Instance::new(&problem);
            for fit in [Fit::Tightest, Fit::Loosest] {
                let mut placer = Placer::with(Greedy::new(&instance, fit), Layout::new(&instance, &[]));
                let dice = &mut Dice(seed);
                let mut placed = Vec::new();
                for step in 0..600 {
                    let workload = dice.below(20) as usize;
                    let expected = scanned(&placer, workload);
                    let found = placer.best(workload, false);
                    let score = found.map(|node| placer.greedy.score(&placer.layout, workload, node));
                    // Soft rules over many domains are compared on a bounded stretch; the cluster is smaller than that.
                    assert_eq!(score, expected, "seed {seed}, {fit:?}, step {step}");
                    if let Some(node) = found {
                        placer.add(workload, node, 1);
                        placed.push((workload, node));
                    }
                    if dice.below(4) == 0 && !placed.is_empty() {
                        let (workload, node) = placed.swap_remove(dice.below(placed.len() as u64) as usize);
                        placer.remove(workload, node);
                    }
                }
            }
        }
    }
}
