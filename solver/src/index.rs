//! Nodes in order, so that the best one for a replica is found without looking at all of them.
//!
//! Nodes that eligibility, preferences and the domains that rules look at do not tell apart form a *group*. Those of a group that hold something lie in
//! *cells*, each an ordered list:
//!
//! - to fill nodes tightly, one cell for each pair of levels of the two scarcest resources, a level being how many of the demands that occur would
//!   still fit. A node in a cell of higher levels than a replica needs has room for it, so that only cells that matter are opened, and in each the first
//!   node is the best;
//! - to spread, one cell for each capacity and fullest resource: within it, the order of what is used is the order of how full a node is after one more.
//!
//! A cell knows the most any of its nodes has left, so that cells full in any other resource are stepped over. Empty nodes wait apart, by capacity and
//! price: of like ones the first is as good as any.
//!
//! Topologies with many domains (the node itself, racks) split no groups: what their rules say is asked node by node on the way.

use crate::cells::{Cell, Key, LEVELS, Levels, Visitor, Wanted};
use crate::greedy::Fit;
use crate::instance::Instance;
use crate::layout::Layout;
use crate::watch::topology_of;
use crate::{Rule, Standing};
use std::collections::BTreeMap;

/// Topologies with more domains split no groups.
const COARSE_MAX: usize = 32;
/// Groups of fewer nodes have one level.
const LEVELLED_MIN: usize = 32;
/// Capacities of a group that have cells of their own.
const SIZES_MAX: usize = 32;

/// Per topology, whether it splits groups: it has few domains, and some rule looks at it.
pub(crate) fn coarse(instance: &Instance) -> Vec<bool> {
    let mut looked_at = vec![false; instance.problem.topologies.len()];
    let topologies = instance.problem.constraints.iter().filter_map(|constraint| topology_of(&constraint.rule));
    topologies.for_each(|topology| looked_at[topology] = true);
    let topologies = instance.problem.topologies.iter().zip(looked_at);
    topologies.map(|(topology, looked_at)| looked_at && topology.domains.len() <= COARSE_MAX).collect()
}

/// Nodes that no rule asked per group tells apart.
pub(crate) struct Group {
    /// Any of its nodes: what is alike for all is asked of this one.
    pub(crate) node: usize,
    /// Nodes in the same domains, as far as they split groups, are in one region.
    pub(crate) region: usize,
    cells: Vec<Cell>,
    /// Per pair of levels, the cell and 1, or 0: none yet. Empty where there are no levels, and the cells are those of sizes and resources.
    at_levels: Vec<u16>,
    /// Per level of the first resource, a bit for each level of the second at which there are nodes.
    occupied: Vec<u32>,
}

/// Empty nodes that nothing tells apart.
pub(crate) struct Vacancy {
    pub(crate) group: usize,
    /// The least that [`crate::greedy::Greedy::price`] can say.
    pub(crate) price_min: i64,
    /// Descending, so that the first is taken from the end.
    nodes: Vec<u32>,
}

/// The nodes of an instance, in order.
pub(crate) struct Index {
    fit: Fit,
    resources: usize,
    /// Per resource, what a unit left over weighs.
    weight: Vec<f64>,
    /// Which resources count towards the fullness of a node.
    shapes: Vec<usize>,
    levels: Vec<Levels>,
    /// Per workload, the levels that have room for one.
    levels_of: Vec<[u8; 2]>,
    /// How many regions there are.
    pub(crate) regions: usize,
    pub(crate) groups: Vec<Group>,
    pub(crate) vacancies: Vec<Vacancy>,
    /// Per set of nodes ([`crate::watch::NodeSets`]), the groups and the kinds of empty nodes in it.
    pub(crate) groups_of: Vec<Vec<usize>>,
    pub(crate) vacancies_of: Vec<Vec<usize>>,
    group_of: Vec<u32>,
    vacancy_of: Vec<u32>,
    /// Per node, the first of the cells for its capacity, where there are no levels.
    size_of: Vec<u32>,
    /// Per node, its cell, if it holds something, and its key there.
    cell: Vec<Option<u32>>,
    key: Vec<i64>,
    /// Per node and resource, what is free.
    free: Vec<u64>,
}

/// What tells groups apart: sets that hold the node, preferences that name it, domains.
type GroupKey = (Vec<u64>, Vec<Option<usize>>);
/// What tells empty nodes of a group apart: capacities, price, devices, whether bought, limits on filled nodes that name it.
type VacancyKey = (usize, Vec<u128>, u64, Vec<u32>, Standing, Vec<bool>);

impl Index {
    pub(crate) fn new(layout: &Layout, fit: Fit, weight: &[f64]) -> Index {
        let instance = layout.instance;
        let problem = instance.problem;
        let (nodes, resources) = (problem.nodes.len(), problem.resources.len());
        let mut index = Index {
            fit,
            resources,
            weight: weight.to_vec(),
            shapes: (0..resources).filter(|resource| problem.resources[*resource].shapes).collect(),
            levels: Vec::new(),
            levels_of: vec![[0; 2]; problem.workloads.len()],
            regions: 0,
            groups: Vec::new(),
            vacancies: Vec::new(),
            groups_of: vec![Vec::new(); instance.sets.len()],
            vacancies_of: vec![Vec::new(); instance.sets.len()],
            group_of: vec![0; nodes],
            vacancy_of: vec![0; nodes],
            size_of: vec![0; nodes],
            cell: vec![None; nodes],
            key: vec![0; nodes],
            free: vec![0; nodes * resources],
        };
        index.divide(instance, &coarse(instance));
        index.lay_out(layout);
        for node in (0..nodes).rev() {
            index.enter(layout, node);
        }
        index
    }

    /// Finds groups and vacancies.
    fn divide(&mut self, instance: &Instance, coarse: &[bool]) {
        let problem = instance.problem;
        let preferred: Vec<&Vec<usize>> = problem.constraints.iter().filter_map(|c| preferred(&c.rule)).collect();
        let marks = marks(problem.nodes.len(), instance, &preferred);
        let (mut groups, mut vacancies): (BTreeMap<GroupKey, usize>, BTreeMap<VacancyKey, usize>) = Default::default();
        let mut regions = BTreeMap::new();
        for (node, (machine, marks)) in problem.nodes.iter().zip(marks).enumerate() {
            let domains = machine.domains.iter().zip(coarse).filter(|(_, coarse)| **coarse).map(|(domain, _)| *domain);
            let domains: Vec<Option<usize>> = domains.collect();
            let next = regions.len();
            let region = *regions.entry(domains.clone()).or_insert(next);
            let next = self.groups.len();
            let group = *groups.entry((marks, domains)).or_insert(next);
            if group == next {
                let (cells, at_levels, occupied) = Default::default();
                self.groups.push(Group { node, region, cells, at_levels, occupied });
                (0..instance.sets.len())
                    .filter(|set| instance.sets.holds(*set, node))
                    .for_each(|set| self.groups_of[set].push(group));
            }
            let pools = instance.node_rules.iter().filter_map(|index| match &problem.constraints[*index].rule {
                Rule::NodesMost { nodes, .. } => Some(nodes.binary_search(&node).is_ok()),
                _ => None,
            });
            let key = (
                group,
                instance.ceiling[node].clone(),
                machine.price_micros,
                machine.devices.clone(),
                machine.standing,
                pools.collect(),
            );
            let next = self.vacancies.len();
            let vacancy = *vacancies.entry(key).or_insert(next);
            if vacancy == next {
                let costs = self.fit == Fit::Tightest || self.fit == Fit::Loosest && machine.price_micros > 0;
                self.vacancies.push(Vacancy { group, price_min: i64::from(costs), nodes: Vec::new() });
            }
            (self.group_of[node], self.vacancy_of[node]) = (group as u32, vacancy as u32);
        }
        self.regions = regions.len();
        for (set, groups) in self.groups_of.iter().enumerate() {
            let mut holds = vec![false; self.groups.len()];
            groups.iter().for_each(|group| holds[*group] = true);
            let of_set = (0..self.vacancies.len()).filter(|vacancy| holds[self.vacancies[*vacancy].group]);
            self.vacancies_of[set] = of_set.collect();
        }
    }

    /// Decides how each group is cut into cells.
    fn lay_out(&mut self, layout: &Layout) {
        if self.fit != Fit::Tightest {
            self.lay_out_by_size(layout);
            return;
        }
        let nodes = &layout.instance.problem.nodes;
        let load = |resource: usize| {
            let capacity: f64 = nodes.iter().map(|node| node.capacity[resource] as f64).sum();
            self.weight[resource] * capacity
        };
        let mut scarcest: Vec<(f64, usize)> = (0..self.resources).map(|resource| (load(resource), resource)).collect();
        scarcest.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        let levels =
            scarcest.iter().take(2).map(|(_, resource)| Levels::new(layout, *resource, self.weight[*resource]));
        self.levels = levels.collect();
        for (workload, of) in layout.instance.problem.workloads.iter().zip(&mut self.levels_of) {
            let levels = self.levels.iter().map(|levels| levels.of(workload.demand[levels.resource]) as u8);
            of.iter_mut().zip(levels).for_each(|(of, level)| *of = level);
        }
        let mut sizes = vec![0; self.groups.len()];
        self.group_of.iter().for_each(|group| sizes[*group as usize] += 1);
        for (group, size) in self.groups.iter_mut().zip(sizes) {
            if size < LEVELLED_MIN || self.levels.len() < 2 {
                group.cells.push(Cell::new(Key::Left, self.resources));
            } else {
                group.at_levels = vec![0; LEVELS * LEVELS];
                group.occupied = vec![0; LEVELS];
            }
        }
    }

    fn lay_out_by_size(&mut self, layout: &Layout) {
        let ceiling = &layout.instance.ceiling;
        let mut sizes: Vec<BTreeMap<&[u128], usize>> = vec![BTreeMap::new(); self.groups.len()];
        for (node, group) in self.group_of.iter().enumerate() {
            let sizes = &mut sizes[*group as usize];
            let next = sizes.len() * self.shapes.len();
            self.size_of[node] = *sizes.entry(&ceiling[node]).or_insert(next) as u32;
        }
        for (group, sizes) in self.groups.iter_mut().zip(&sizes) {
            let mut by_first: Vec<(usize, &[u128])> = sizes.iter().map(|(size, first)| (*first, *size)).collect();
            by_first.sort_unstable();
            let known = sizes.keys().all(|size| size.iter().all(|amount| i64::try_from(*amount).is_ok()));
            if self.shapes.is_empty() || sizes.len() > SIZES_MAX || !known {
                group.cells.push(Cell::new(Key::Peak, self.resources));
                continue;
            }
            for (_, size) in by_first {
                let key = |resource: usize| {
                    let capacity = size[resource].max(1) as f64;
                    Key::Used { resource, capacity, millionths: 1e6 / capacity }
                };
                group.cells.extend(self.shapes.iter().map(|resource| Cell::new(key(*resource), self.resources)));
            }
        }
    }

    /// Reads from the layout what is free on a node, and puts the node where it belongs.
    fn enter(&mut self, layout: &Layout, node: usize) {
        let mut used_any = false;
        for resource in 0..self.resources {
            used_any |= layout.used(node, resource) > 0;
            let free = u64::try_from(layout.free(node, resource)).unwrap_or(u64::MAX);
            self.free[node * self.resources + resource] = free;
        }
        if layout.is_empty(node) && !used_any {
            self.cell[node] = None;
            let (vacancy, id) = (&mut self.vacancies[self.vacancy_of[node] as usize].nodes, node as u32);
            let at = vacancy.partition_point(|other| *other > id);
            vacancy.insert(at, id);
            return;
        }
        let (at, key) =
            if self.fit == Fit::Tightest { self.by_levels(layout, node) } else { self.by_size(layout, node) };
        (self.cell[node], self.key[node]) = (Some(at as u32), key);
        let Index { groups, free, resources, .. } = self;
        let cell = &mut groups[self.group_of[node] as usize].cells[at];
        cell.insert((key, node as u32), &free[node * *resources..][..*resources]);
    }

    /// The cell of a node that is to be filled tightly, made when it is the first one there; and its key.
    fn by_levels(&mut self, layout: &Layout, node: usize) -> (usize, i64) {
        let free = &self.free[node * self.resources..][..self.resources];
        let weighted = free.iter().zip(&self.weight).enumerate().map(|(resource, (free, weight))| {
            // More than 64 bits hold is rare, and counts in full.
            let free = if *free < u64::MAX { *free as f64 } else { layout.free(node, resource) as f64 };
            free * weight
        });
        let key = (weighted.sum::<f64>() * 1e6) as i64;
        let group = &mut self.groups[self.group_of[node] as usize];
        if group.at_levels.is_empty() {
            return (0, key);
        }
        let [first, second] = [0, 1].map(|at| self.levels[at].of(free[self.levels[at].resource]));
        group.occupied[first] |= 1 << second;
        let at = &mut group.at_levels[first * LEVELS + second];
        if *at == 0 {
            group.cells.push(Cell::new(Key::Left, self.resources));
            *at = group.cells.len() as u16;
        }
        (usize::from(*at) - 1, key)
    }

    /// The cell and the key of a node in a group that is to be filled evenly.
    fn by_size(&self, layout: &Layout, node: usize) -> (usize, i64) {
        let (mut fullest, mut peak) = (0, 0.0f64);
        for (at, resource) in self.shapes.iter().enumerate() {
            let ratio = layout.used(node, *resource) as f64 / layout.instance.ceiling[node][*resource].max(1) as f64;
            if ratio > peak {
                (fullest, peak) = (at, ratio);
            }
        }
        let cells = &self.groups[self.group_of[node] as usize].cells;
        let at = self.size_of[node] as usize + fullest;
        match cells.get(at).or(cells.first()).map(Cell::key) {
            Some(Key::Used { resource, .. }) => (at, i64::try_from(layout.used(node, resource)).unwrap_or(i64::MAX)),
            _ => (0, (peak * 1e6) as i64),
        }
    }

    /// Puts a node in its new place after the layout changed there.
    pub(crate) fn touch(&mut self, layout: &Layout, node: usize) {
        let group = &mut self.groups[self.group_of[node] as usize];
        match self.cell[node] {
            None => {
                let (vacancy, id) = (&mut self.vacancies[self.vacancy_of[node] as usize].nodes, node as u32);
                if let Ok(at) = vacancy.binary_search_by(|other| id.cmp(other)) {
                    vacancy.remove(at);
                }
            }
            Some(at) => {
                let cell = &mut group.cells[at as usize];
                let is_empty = cell.remove((self.key[node], node as u32));
                if is_empty && !group.at_levels.is_empty() {
                    let free = &self.free[node * self.resources..][..self.resources];
                    let [first, second] = [0, 1].map(|at| self.levels[at].of(free[self.levels[at].resource]));
                    group.occupied[first] &= !(1 << second);
                }
            }
        }
        self.enter(layout, node);
    }

    /// The fit of a node that holds something for what is wanted, where nodes are filled tightly.
    pub(crate) fn fit_of(&self, wanted: &Wanted, node: usize) -> i64 {
        self.key[node].saturating_sub(wanted.need)
    }

    pub(crate) fn first_vacant(&self, vacancy: usize) -> impl Iterator<Item = usize> + '_ {
        self.vacancies[vacancy].nodes.iter().rev().map(|node| *node as usize)
    }

    /// Whether a node has as much left.
    pub(crate) fn has(&self, node: usize, demand: &[u64]) -> bool {
        let at = node * self.resources;
        self.free[at..at + self.resources].iter().zip(demand).all(|(free, demand)| free >= demand)
    }

    /// What is asked for a workload, of which one replica makes so much of a key.
    pub(crate) fn wanted<'d>(&self, workload: usize, demand: &'d [u64], need: i64) -> Wanted<'d> {
        Wanted { demand, need, levels: self.levels_of[workload] }
    }

    /// Shows the nodes of a group that have what is wanted, each cell in order of fit.
    pub(crate) fn walk(&mut self, group: usize, wanted: &Wanted, visitor: &mut impl Visitor) {
        if self.groups[group].at_levels.is_empty() {
            for cell in 0..self.groups[group].cells.len() {
                self.groups[group].cells[cell].walk(&self.free, wanted, visitor);
            }
            return;
        }
        let [first, second] = wanted.levels.map(usize::from);
        for row in first..self.levels[0].key_min.len() {
            if !visitor.wants(self.fit_min(wanted, row, second), 0) {
                return;
            }
            let mut columns = self.groups[group].occupied[row] >> second << second;
            while columns != 0 {
                let column = columns.trailing_zeros() as usize;
                columns &= columns - 1;
                if !visitor.wants(self.fit_min(wanted, row, column), 0) {
                    break;
                }
                let cell = usize::from(self.groups[group].at_levels[row * LEVELS + column]) - 1;
                self.groups[group].cells[cell].walk(&self.free, wanted, visitor);
            }
        }
    }

    /// The least fit of any node at two levels.
    fn fit_min(&self, wanted: &Wanted, first: usize, second: usize) -> i64 {
        let key = self.levels[0].key_min[first].saturating_add(self.levels[1].key_min[second]);
        // Sums of floats, cut to integers.
        key.saturating_sub(2).saturating_sub(wanted.need)
    }
}

fn preferred(rule: &Rule) -> Option<&Vec<usize>> {
    match rule {
        Rule::Prefer { nodes, .. } => Some(nodes),
        _ => None,
    }
}

/// Per node, a bit for each set that holds it and each preference that names it.
fn marks(nodes: usize, instance: &Instance, preferred: &[&Vec<usize>]) -> Vec<Vec<u64>> {
    let sets = instance.sets.len();
    let mut marks = vec![vec![0u64; (sets + preferred.len()).div_ceil(64)]; nodes];
    for (node, marks) in marks.iter_mut().enumerate() {
        for set in (0..sets).filter(|set| instance.sets.holds(*set, node)) {
            marks[set / 64] |= 1 << (set % 64);
        }
    }
    for (at, list) in preferred.iter().enumerate() {
        let bit = sets + at;
        list.iter().for_each(|node| marks[*node][bit / 64] |= 1 << (bit % 64));
    }
    marks
}
