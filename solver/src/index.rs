//! Nodes in order, so that the best one for a replica is found without looking at all of them.
//!
//! Nodes that eligibility, preferences and domains do not tell apart form a *group*. Those of a group that hold something lie in one
//! list, ordered by how full they are; the list is cut into chunks that know the most any of their nodes has left, so that full
//! stretches are stepped over. Empty nodes wait apart, by capacity and price: of like ones the first is as good as any.
//!
//! Topologies with many domains (the node itself, racks) split no groups: what their rules say is asked node by node on the way.

use crate::greedy::Fit;
use crate::instance::Instance;
use crate::layout::Layout;
use crate::watch::topology_of;
use crate::{Rule, Standing};
use std::collections::BTreeMap;

/// Topologies with more domains split no groups.
const COARSE_MAX: usize = 32;
/// Nodes in a chunk.
const CHUNK: usize = 32;

/// The rules of a workload, by what has to be looked at to ask them.
#[derive(Default)]
pub(crate) struct Asked {
    /// Hard rules that do not depend on the node (quotas).
    pub(crate) anywhere: Vec<usize>,
    /// Hard and soft rules over topologies that split groups: alike for a whole group.
    pub(crate) of_group: [Vec<usize>; 2],
    /// Hard and soft rules over the others.
    pub(crate) of_node: [Vec<usize>; 2],
    /// Workloads whose nodes a rule over such a topology draws this one to.
    pub(crate) drawn_to: Vec<usize>,
    /// The least that soft rules asked per node could add.
    pub(crate) floor: i64,
}

impl Asked {
    /// For each workload.
    pub(crate) fn all(instance: &Instance) -> Vec<Asked> {
        let coarse = coarse(instance);
        (0..instance.problem.workloads.len()).map(|workload| Asked::new(instance, &coarse, workload)).collect()
    }

    fn new(instance: &Instance, coarse: &[bool], workload: usize) -> Asked {
        let mut asked = Asked::default();
        for index in &instance.rules_of[workload] {
            let constraint = &instance.problem.constraints[*index];
            let hardness = usize::from(constraint.weight.is_some());
            match (&constraint.rule, topology_of(&constraint.rule)) {
                (Rule::Quota { .. }, _) => asked.anywhere.push(*index),
                (Rule::Prefer { .. }, _) => asked.of_group[hardness].push(*index),
                (_, Some(topology)) if coarse[topology] => asked.of_group[hardness].push(*index),
                (rule, Some(_)) => {
                    asked.of_node[hardness].push(*index);
                    let weight = i64::from(constraint.weight.unwrap_or(0));
                    match rule {
                        Rule::Near { workloads, to, .. } => {
                            let (from, unbounded) =
                                if to.contains(&workload) { (workloads, true) } else { (to, false) };
                            asked.drawn_to.extend(from.iter().filter(|other| **other != workload));
                            asked.floor = if unbounded && hardness == 1 { i64::MIN / 4 } else { asked.floor };
                        }
                        Rule::Spread { .. } | Rule::DistinctDomains { .. } => {
                            asked.floor = asked.floor.saturating_sub(weight)
                        }
                        _ => {}
                    }
                }
                _ => {}
            }
        }
        asked
    }
}

/// Per topology, whether it splits groups.
fn coarse(instance: &Instance) -> Vec<bool> {
    instance.problem.topologies.iter().map(|topology| topology.domains.len() <= COARSE_MAX).collect()
}

/// Nodes that no rule asked per group tells apart.
pub(crate) struct Group {
    /// Any of its nodes: what is alike for all is asked of this one.
    pub(crate) node: usize,
    /// The nodes that hold something: (fullness key, node), ascending.
    ranked: Vec<(i64, u32)>,
    /// Per chunk and resource, at least the most that any node in it has left.
    left_most: Vec<u64>,
    /// Per chunk, whether that is exactly the most.
    exact: Vec<bool>,
}

/// Empty nodes that nothing tells apart.
pub(crate) struct Vacancy {
    pub(crate) group: usize,
    /// Descending, so that the first is taken from the end.
    nodes: Vec<u32>,
}

/// The nodes of an instance, in order.
pub(crate) struct Index {
    fit: Fit,
    resources: usize,
    /// Per resource, what a unit left over weighs.
    weight: Vec<f64>,
    pub(crate) groups: Vec<Group>,
    pub(crate) vacancies: Vec<Vacancy>,
    /// Per set of nodes ([`crate::watch::NodeSets`]), the groups and the kinds of empty nodes in it.
    pub(crate) groups_of: Vec<Vec<usize>>,
    pub(crate) vacancies_of: Vec<Vec<usize>>,
    group_of: Vec<u32>,
    vacancy_of: Vec<u32>,
    /// Per node, whether it lies in a vacancy, and its key otherwise.
    vacant: Vec<bool>,
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
            groups: Vec::new(),
            vacancies: Vec::new(),
            groups_of: vec![Vec::new(); instance.sets.len()],
            vacancies_of: vec![Vec::new(); instance.sets.len()],
            group_of: vec![0; nodes],
            vacancy_of: vec![0; nodes],
            vacant: vec![false; nodes],
            key: vec![0; nodes],
            free: vec![0; nodes * resources],
        };
        index.divide(instance, &coarse(instance));
        index.fill(layout);
        index
    }

    /// Finds groups and vacancies.
    fn divide(&mut self, instance: &Instance, coarse: &[bool]) {
        let problem = instance.problem;
        let preferred: Vec<&Vec<usize>> = problem.constraints.iter().filter_map(|c| preferred(&c.rule)).collect();
        let marks = marks(problem.nodes.len(), instance, &preferred);
        let (mut groups, mut vacancies): (BTreeMap<GroupKey, usize>, BTreeMap<VacancyKey, usize>) = Default::default();
        for (node, (machine, marks)) in problem.nodes.iter().zip(marks).enumerate() {
            let domains = machine.domains.iter().zip(coarse).filter(|(_, coarse)| **coarse).map(|(domain, _)| *domain);
            let next = self.groups.len();
            let group = *groups.entry((marks, domains.collect())).or_insert(next);
            if group == next {
                self.groups.push(Group { node, ranked: Vec::new(), left_most: Vec::new(), exact: Vec::new() });
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
                self.vacancies.push(Vacancy { group, nodes: Vec::new() });
            }
            (self.group_of[node], self.vacancy_of[node]) = (group as u32, vacancy as u32);
        }
        for (set, groups) in self.groups_of.iter().enumerate() {
            let mut holds = vec![false; self.groups.len()];
            groups.iter().for_each(|group| holds[*group] = true);
            let of_set = (0..self.vacancies.len()).filter(|vacancy| holds[self.vacancies[*vacancy].group]);
            self.vacancies_of[set] = of_set.collect();
        }
    }

    /// Puts every node where it belongs.
    fn fill(&mut self, layout: &Layout) {
        for node in (0..self.key.len()).rev() {
            self.refresh(layout, node);
            if self.vacant[node] {
                self.vacancies[self.vacancy_of[node] as usize].nodes.push(node as u32);
            } else {
                self.groups[self.group_of[node] as usize].ranked.push((self.key[node], node as u32));
            }
        }
        for group in &mut self.groups {
            group.ranked.sort_unstable();
            let chunks = group.ranked.len().div_ceil(CHUNK);
            group.left_most = vec![u64::MAX; chunks * self.resources];
            group.exact = vec![false; chunks];
        }
    }

    /// Reads a node's key and what is free from the layout.
    fn refresh(&mut self, layout: &Layout, node: usize) {
        let mut used_any = false;
        let (mut left, mut peak) = (0.0, 0.0f64);
        for resource in 0..self.resources {
            let (free, used) = (layout.free(node, resource), layout.used(node, resource));
            used_any |= used > 0;
            self.free[node * self.resources + resource] = u64::try_from(free).unwrap_or(u64::MAX);
            left += free as f64 * self.weight[resource];
            if layout.instance.problem.resources[resource].shapes {
                peak = peak.max(used as f64 / layout.instance.ceiling[node][resource].max(1) as f64);
            }
        }
        self.key[node] = (if self.fit == Fit::Tightest { left } else { peak } * 1e6) as i64;
        self.vacant[node] = layout.is_empty(node) && !used_any;
    }

    /// Puts a node in its new place after the layout changed there.
    pub(crate) fn touch(&mut self, layout: &Layout, node: usize) {
        let (was_vacant, old) = (self.vacant[node], self.key[node]);
        self.refresh(layout, node);
        let (is_vacant, new, id) = (self.vacant[node], self.key[node], node as u32);
        let group = &mut self.groups[self.group_of[node] as usize];
        let vacancy = &mut self.vacancies[self.vacancy_of[node] as usize].nodes;
        let from = if was_vacant {
            if is_vacant {
                return;
            }
            if let Ok(at) = vacancy.binary_search_by(|other| id.cmp(other)) {
                vacancy.remove(at);
            }
            group.ranked.push((i64::MAX, id));
            group.ranked.len() - 1
        } else {
            match group.ranked.binary_search(&(old, id)) {
                Ok(at) => at,
                Err(_) => return,
            }
        };
        let chunks = group.ranked.len().div_ceil(CHUNK);
        group.left_most.resize(chunks * self.resources, 0);
        group.exact.resize(chunks, false);
        if is_vacant {
            let last = group.ranked.len() - 1;
            group.shift(from, last, &self.free, self.resources);
            group.ranked.pop();
            let at = vacancy.partition_point(|other| *other > id);
            vacancy.insert(at, id);
            return;
        }
        let entry = (new, id);
        let to = if (old, id) <= entry && !was_vacant {
            from + group.ranked[from + 1..].partition_point(|other| *other < entry)
        } else {
            group.ranked[..from].partition_point(|other| *other < entry)
        };
        group.ranked[from] = entry;
        group.shift(from, to, &self.free, self.resources);
    }

    pub(crate) fn first_vacant(&self, vacancy: usize) -> impl Iterator<Item = usize> + '_ {
        self.vacancies[vacancy].nodes.iter().rev().map(|node| *node as usize)
    }

    /// Whether a node has as much left.
    pub(crate) fn has(&self, node: usize, demand: &[u64]) -> bool {
        let at = node * self.resources;
        self.free[at..at + self.resources].iter().zip(demand).all(|(free, demand)| free >= demand)
    }

    /// The nodes of a group that have `demand` left, from a key on, in order, until `visit` says stop.
    pub(crate) fn walk(
        &mut self,
        group: usize,
        from: i64,
        demand: &[u64],
        mut visit: impl FnMut(i64, usize) -> Continue,
    ) {
        let resources = self.resources;
        let Group { ranked, left_most, exact, .. } = &mut self.groups[group];
        let start = ranked.partition_point(|(key, _)| *key < from);
        for chunk in start / CHUNK..ranked.len().div_ceil(CHUNK) {
            let most = &mut left_most[chunk * resources..(chunk + 1) * resources];
            if most.iter().zip(demand).any(|(most, demand)| most < demand) {
                continue;
            }
            let nodes = &ranked[chunk * CHUNK..ranked.len().min((chunk + 1) * CHUNK)];
            let mut found = false;
            for (key, node) in &nodes[start.saturating_sub(chunk * CHUNK).min(nodes.len())..] {
                let free = &self.free[*node as usize * resources..][..resources];
                if free.iter().zip(demand).all(|(free, demand)| free >= demand) {
                    found = true;
                    if visit(*key, *node as usize) == Continue::No {
                        return;
                    }
                }
            }
            if !found && !exact[chunk] {
                exact[chunk] = true;
                most.fill(0);
                for (_, node) in nodes {
                    let free = &self.free[*node as usize * resources..][..resources];
                    most.iter_mut().zip(free).for_each(|(most, free)| *most = (*most).max(*free));
                }
            }
        }
    }
}

/// Whether a walk goes on.
#[derive(PartialEq, Eq)]
pub(crate) enum Continue {
    Yes,
    No,
}

impl Group {
    /// Moves an entry from one position to another; chunks that gain an entry know what it has left.
    fn shift(&mut self, from: usize, to: usize, free: &[u64], resources: usize) {
        let entry = self.ranked[from];
        if from < to {
            self.ranked.copy_within(from + 1..=to, from);
            for chunk in from / CHUNK..to / CHUNK {
                self.gain(chunk, self.ranked[(chunk + 1) * CHUNK - 1].1, free, resources);
            }
        } else {
            self.ranked.copy_within(to..from, to + 1);
            for chunk in to / CHUNK + 1..=from / CHUNK {
                self.gain(chunk, self.ranked[chunk * CHUNK].1, free, resources);
            }
        }
        self.ranked[to] = entry;
        self.gain(to / CHUNK, entry.1, free, resources);
        self.exact[from / CHUNK] = false;
    }

    fn gain(&mut self, chunk: usize, node: u32, free: &[u64], resources: usize) {
        self.exact[chunk] = false;
        let free = &free[node as usize * resources..][..resources];
        let most = &mut self.left_most[chunk * resources..][..resources];
        most.iter_mut().zip(free).for_each(|(most, free)| *most = (*most).max(*free));
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
