//! One replica at a time on the best node there is, with every check: the engine under the greedy stage, the incremental path, and
//! [`Placer`] for callers that place as requests come in.
//!
//! A step asks each group of the [`Index`] for its best node. What a rule says of a region is asked once, what it says of a node alone is
//! kept as a mark ([`Marks`]), and the rest is asked while walking along an order. The order is that of how full nodes are, so that the
//! first node that may take the replica is the best one, unless soft rules tell nodes apart: then a bounded stretch is compared.

use crate::asked::Asked;
use crate::cells::{COMPARED_MAX, Seen, Visitor, Wanted};
use crate::greedy::{Fit, Greedy, Score};
use crate::index::{Group, Index};
use crate::instance::{Instance, most_wanted};
use crate::layout::Layout;
use crate::marks::Marks;
use crate::{Placed, Rule};

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
    marks: Marks,
    /// Scratch: what the rules say of each region.
    said: Vec<Said>,
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
        let (asked, marks) = (Asked::all(layout.instance), Marks::new(&layout));
        Placer { asked, marks, barred: None, greedy, layout, index, said: Vec::new() }
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
        self.touch(workload, node);
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
        let (set, wanted) = (instance.sets.of[workload], index.wanted(workload, demand, self.greedy.need(workload)));
        let mut nodes = Vec::new();
        for at in 0..index.groups_of[set].len() {
            let mut gathering = Gathering { open: &open, each, left: 0, nodes: Vec::new() };
            index.walk(index.groups_of[set][at], &wanted, &mut gathering);
            gathering.nodes.sort_unstable();
            nodes.extend(gathering.nodes.iter().take(each).map(|(_, node)| *node));
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
            self.marks = Marks::new(&self.layout);
        }
    }

    pub(crate) fn add(&mut self, workload: usize, node: usize, many: u32) {
        self.layout.add(workload, node, many);
        self.touch(workload, node);
    }

    fn touch(&mut self, workload: usize, node: usize) {
        if let Some(index) = &mut self.index {
            index.touch(&self.layout, node);
            self.marks.touch(&self.layout, workload, node);
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
            self.touch(workload, node);
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
            marks: &self.marks,
            barred: self.barred,
            workload,
            lenient,
            tightest: self.greedy.fit() == Fit::Tightest,
            wanted: index.wanted(workload, &problem.workloads[workload].demand, self.greedy.need(workload)),
        };
        if problem.nodes.is_empty()
            || self.layout.forbidden_by_loss(workload).is_some()
            || choice.forbids(&choice.asked.anywhere, 0)
        {
            return None;
        }
        if let Some(others) = choice.beside() {
            return choice.among_beside(index, others).map(|score| score.4);
        }
        self.said.clear();
        self.said.resize(index.regions, None);
        let set = self.layout.instance.sets.of[workload];
        let named = choice.among_named();
        let used = choice.among_used(index, set, named, &mut self.said);
        choice.among_empty(index, set, used, &mut self.said).map(|score| score.4)
    }
}

/// What one more in a region adds to the soft rules, or that it may not go there; nothing until that was asked.
type Said = Option<Option<i64>>;

/// One decision.
struct Choice<'a, 'i, 'p> {
    layout: &'a Layout<'i, 'p>,
    greedy: &'a Greedy<'i, 'p>,
    asked: &'a Asked,
    marks: &'a Marks,
    barred: Option<usize>,
    workload: usize,
    lenient: bool,
    tightest: bool,
    wanted: Wanted<'a>,
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

    /// The workloads beside which alone this one may lie, if a rule says so now.
    fn beside(&self) -> Option<&[usize]> {
        let rule = &self.layout.instance.problem.constraints[self.asked.beside?].rule;
        let Rule::Near { to, .. } = rule else { return None };
        let waits = self.lenient && to.iter().any(|other| self.layout.missing(*other) > 0);
        (!waits).then_some(to)
    }

    /// The best of the nodes on which some of `others` lies.
    fn among_beside(&self, index: &Index, others: &[usize]) -> Option<Score> {
        let (layout, workload, asked) = (self.layout, self.workload, self.asked);
        let none_soft = [&asked.of_region[1], &asked.of_group, &asked.of_node[1], &asked.local];
        // Then a score is known without asking any rule.
        let plain = layout.away(workload) == 0 && none_soft.into_iter().all(Vec::is_empty);
        let mut best: Option<Score> = None;
        for (node, _) in others.iter().flat_map(|other| layout.nodes_of(*other)) {
            if layout.away(workload) == 0 && !index.has(node, self.wanted.demand) {
                continue;
            }
            let score = match (plain, self.tightest) {
                (true, true) => (0, 0, 0, index.fit_of(&self.wanted, node), node),
                (true, false) => self.greedy.score_given(layout, workload, node, 0),
                _ => self.greedy.score(layout, workload, node),
            };
            if best.is_none_or(|best| score < best)
                && !self.is_barred(node)
                && layout.fits(workload, node)
                && layout.forbidden_by(workload, node, self.lenient).is_none()
            {
                best = Some(score);
            }
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

    /// Whether a node that has the resources may take one more, in a region where that is allowed.
    fn may_take(&self, node: usize) -> bool {
        !self.marks.is_closed(self.workload, node)
            && !self.is_barred(node)
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

    /// What one more in a group adds to the soft rules that are alike for all of it, unless a hard one forbids it.
    fn says(&self, group: &Group, said: &mut [Said]) -> Option<i64> {
        let asked = self.asked;
        let region = *said[group.region].get_or_insert_with(|| {
            let open = !self.forbids(&asked.of_region[0], group.node);
            open.then(|| self.soft(&asked.of_region[1], group.node))
        });
        region.map(|soft| soft + self.soft(&asked.of_group, group.node))
    }

    /// The best of the nodes that hold something.
    fn among_used(&self, index: &mut Index, set: usize, best: Option<Score>, said: &mut [Said]) -> Option<Score> {
        let mut seeking = Seeking { choice: self, soft: 0, floor: 0, dear: false, best };
        for dear in [false, true] {
            if dear && (self.asked.local.is_empty() || !self.marks.any_dear(self.workload)) {
                break;
            }
            seeking.dear = dear;
            for at in 0..index.groups_of[set].len() {
                let group = index.groups_of[set][at];
                let Some(soft) = self.says(&index.groups[group], said) else { continue };
                seeking.soft = soft;
                seeking.floor = soft.saturating_add(self.asked.floor).saturating_add(i64::from(dear));
                if seeking.best.is_none_or(|best| seeking.floor <= best.0) {
                    index.walk(group, &self.wanted, &mut seeking);
                }
            }
        }
        seeking.best
    }

    /// The best of the empty nodes, unless one that holds something is better anyway.
    fn among_empty(&self, index: &Index, set: usize, mut best: Option<Score>, said: &mut [Said]) -> Option<Score> {
        let (layout, workload) = (self.layout, self.workload);
        for vacancy in &index.vacancies_of[set] {
            let kind = &index.vacancies[*vacancy];
            let Some(soft) = self.says(&index.groups[kind.group], said) else { continue };
            let floor = soft.saturating_add(self.asked.floor);
            let beaten = |floor: i64, price: i64| best.is_some_and(|best| (floor, 0, price) > (best.0, best.1, best.2));
            // Filling a node never mends a soft rule about nodes that the index knows.
            if beaten(floor, kind.price_min) {
                continue;
            }
            let Some(first) = index.first_vacant(*vacancy).next() else { continue };
            let floor = floor.saturating_add(layout.soft_change_of_nodes(workload, first));
            if !index.has(first, self.wanted.demand)
                || beaten(floor, self.greedy.price(layout, workload, first))
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

/// The best node so far, while those of groups are shown.
struct Seeking<'c, 'a, 'i, 'p> {
    choice: &'c Choice<'a, 'i, 'p>,
    /// What the group's soft rules say, and the least that any node in it can come to.
    soft: i64,
    floor: i64,
    /// Whether the nodes are looked at that local soft rules make dearer, or the others.
    dear: bool,
    best: Option<Score>,
}

impl Visitor for Seeking<'_, '_, '_, '_> {
    fn wants(&self, fit: i64, node: usize) -> bool {
        self.best.is_none_or(|best| (self.floor, 0, 0, fit, node) < best)
    }

    fn see(&mut self, fit: i64, node: usize) -> Seen {
        let Choice { layout, greedy, asked, marks, workload, .. } = self.choice;
        if !self.choice.may_take(node) || marks.is_dear(*workload, node) != self.dear {
            return Seen::PassedOver;
        }
        let of_node = &asked.of_node[1];
        let plain = self.choice.tightest && of_node.is_empty() && !self.dear && !layout.is_empty(node);
        let score = if plain {
            (self.soft, 0, 0, fit, node)
        } else {
            let local = if self.dear { self.choice.soft(&asked.local, node) } else { 0 };
            let soft = self.soft + self.choice.soft(of_node, node) + local;
            greedy.score_given(layout, *workload, node, soft)
        };
        self.best = Some(self.best.map_or(score, |best| best.min(score)));
        if plain { Seen::Enough } else { Seen::Compared }
    }
}

/// The first few open nodes of each cell.
struct Gathering<'o> {
    open: &'o dyn Fn(usize) -> bool,
    each: usize,
    left: usize,
    nodes: Vec<(i64, usize)>,
}

impl Visitor for Gathering<'_> {
    fn wants(&self, _: i64, _: usize) -> bool {
        true
    }

    fn begin(&mut self) {
        self.left = self.each;
    }

    fn see(&mut self, fit: i64, node: usize) -> Seen {
        if !(self.open)(node) {
            return Seen::PassedOver;
        }
        self.nodes.push((fit, node));
        self.left -= 1;
        if self.left == 0 { Seen::Enough } else { Seen::Compared }
    }
}

#[cfg(test)]
#[path = "placer_tests.rs"]
mod tests;
