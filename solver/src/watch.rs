//! What a placement has to count so that its rules can be asked in constant time: made once for each problem, shared by all layouts.
//!
//! A *slot* is a group of workloads over a topology that some rule looks at, alone or together. Topologies in which every domain is a
//! single node need no counts of their own: what is on the node says it.

use crate::instance::Instance;
use crate::{Problem, Rule};
use std::collections::BTreeMap;

/// A rule that counts nothing has this slot.
pub(crate) const NO_SLOT: usize = usize::MAX;

/// A group of workloads counted over the domains of a topology.
#[derive(Clone)]
pub(crate) struct Slot {
    pub(crate) topology: usize,
    pub(crate) members: Vec<usize>,
    /// Whether a layout keeps counts; otherwise each domain is a node, and they are read off it.
    pub(crate) counted: bool,
    /// The domains that a spread looks at, those with an eligible node; empty when no spread asks.
    pub(crate) spreads_over: Vec<bool>,
}

/// The slots, and who changes or asks which.
#[derive(Clone, Default)]
pub(crate) struct Watch {
    pub(crate) slots: Vec<Slot>,
    /// Per workload, the slots it counts in.
    pub(crate) of: Vec<Vec<usize>>,
    /// Per constraint, the slots of its workloads: the first and, where it has two groups, the second.
    pub(crate) of_rule: Vec<[usize; 2]>,
    /// Each quota's constraint and resource.
    pub(crate) quotas: Vec<(usize, usize)>,
    /// Per workload, the quotas it counts in, with what one replica takes.
    pub(crate) quota_of: Vec<Vec<(usize, u64)>>,
    /// Per constraint, the first of its quotas.
    pub(crate) quota_at: Vec<usize>,
    /// Per topology whose domains are single nodes, the node of each domain.
    pub(crate) node_of: Vec<Option<Vec<usize>>>,
}

impl Watch {
    pub(crate) fn new(problem: &Problem) -> Watch {
        let mut watch = Watch {
            of: vec![Vec::new(); problem.workloads.len()],
            of_rule: vec![[NO_SLOT; 2]; problem.constraints.len()],
            quota_of: vec![Vec::new(); problem.workloads.len()],
            quota_at: vec![NO_SLOT; problem.constraints.len()],
            node_of: (0..problem.topologies.len()).map(|topology| single_nodes(problem, topology)).collect(),
            ..Watch::default()
        };
        let mut known = BTreeMap::new();
        for (index, constraint) in problem.constraints.iter().enumerate() {
            let mut slot = |workloads: &[usize], topology: usize, counted: bool| {
                watch.slot(&mut known, workloads, topology, counted)
            };
            watch.of_rule[index] = match &constraint.rule {
                Rule::Spread { workload, topology, .. } => {
                    let slot = slot(&[*workload], *topology, true);
                    watch.spread(problem, slot);
                    [slot, NO_SLOT]
                }
                Rule::Survive { workload, topology, .. } => [slot(&[*workload], *topology, false), NO_SLOT],
                Rule::LimitPerDomain { workloads, topology, .. } => [slot(workloads, *topology, false), NO_SLOT],
                Rule::DistinctDomains { workloads, topology, .. } => [slot(workloads, *topology, true), NO_SLOT],
                Rule::SeparateFrom { a, b, topology, .. } => {
                    [slot(&[*a], *topology, false), slot(&[*b], *topology, false)]
                }
                Rule::Near { workloads, to, topology } => {
                    [slot(workloads, *topology, false), slot(to, *topology, false)]
                }
                Rule::Quota { workloads, max } => {
                    watch.quota(problem, index, workloads, max.iter().map(|(resource, _)| *resource));
                    continue;
                }
                Rule::Prefer { .. }
                | Rule::AllOrNothing { .. }
                | Rule::Reserve { .. }
                | Rule::NodesMost { .. }
                | Rule::Safety { .. }
                | Rule::Balance { .. }
                | Rule::Moved { .. }
                | Rule::MovedMost { .. }
                | Rule::MovedFar { .. } => continue,
            };
        }
        watch
    }

    fn slot(
        &mut self,
        known: &mut BTreeMap<(usize, Vec<usize>), usize>,
        workloads: &[usize],
        topology: usize,
        counted: bool,
    ) -> usize {
        let mut members = workloads.to_vec();
        members.sort_unstable();
        members.dedup();
        let counted = counted || self.node_of[topology].is_none();
        let next = self.slots.len();
        let slot = *known.entry((topology, members.clone())).or_insert(next);
        if slot == next {
            members.iter().for_each(|workload| self.of[*workload].push(slot));
            self.slots.push(Slot { topology, members, counted, spreads_over: Vec::new() });
        }
        self.slots[slot].counted |= counted;
        slot
    }

    fn spread(&mut self, problem: &Problem, slot: usize) {
        let Slot { topology, members, spreads_over, .. } = &mut self.slots[slot];
        if spreads_over.is_empty() {
            *spreads_over = vec![false; problem.topologies[*topology].domains.len()];
            for node in members.iter().flat_map(|workload| &problem.workloads[*workload].eligible) {
                if let Some(domain) = problem.nodes[*node].domains[*topology] {
                    spreads_over[domain] = true;
                }
            }
        }
    }

    fn quota(
        &mut self,
        problem: &Problem,
        constraint: usize,
        workloads: &[usize],
        resources: impl Iterator<Item = usize>,
    ) {
        self.quota_at[constraint] = self.quotas.len();
        for resource in resources {
            for workload in workloads {
                let demand = problem.workloads[*workload].demand[resource];
                if demand > 0 {
                    self.quota_of[*workload].push((self.quotas.len(), demand));
                }
            }
            self.quotas.push((constraint, resource));
        }
    }
}

/// The node of each domain, when no domain has two.
fn single_nodes(problem: &Problem, topology: usize) -> Option<Vec<usize>> {
    let mut node_of = vec![usize::MAX; problem.topologies[topology].domains.len()];
    for (node, machine) in problem.nodes.iter().enumerate() {
        if let Some(domain) = machine.domains[topology]
            && std::mem::replace(&mut node_of[domain], node) != usize::MAX
        {
            return None;
        }
    }
    Some(node_of)
}

/// What tells most lists of nodes apart: how many, and a sum over a sample of them.
type Print = (usize, u64);

/// Lists of nodes that are alike, found once: many workloads may go to the same nodes.
#[derive(Clone)]
pub(crate) struct NodeSets {
    /// Per set, a bit per node.
    bits: Vec<Vec<u64>>,
    /// Per workload, its set.
    pub(crate) of: Vec<usize>,
}

impl NodeSets {
    pub(crate) fn new<'a>(nodes: usize, lists: impl Iterator<Item = &'a [usize]>) -> NodeSets {
        let mut known: BTreeMap<Print, Vec<(usize, &'a [usize])>> = BTreeMap::new();
        let mut sets = NodeSets { bits: Vec::new(), of: Vec::new() };
        for list in lists {
            // Few positions tell most lists apart; equal ones are compared in full.
            let sample = list.iter().step_by(list.len() / 16 + 1);
            let print = sample.fold(0u64, |print, node| print.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ *node as u64);
            let alike = known.entry((list.len(), print)).or_default();
            let set = alike.iter().find(|(_, other)| *other == list).map(|(set, _)| *set);
            sets.of.push(set.unwrap_or_else(|| {
                let mut bits = vec![0; nodes.div_ceil(64)];
                list.iter().for_each(|node| bits[node / 64] |= 1 << (node % 64));
                alike.push((sets.bits.len(), list));
                sets.bits.push(bits);
                sets.bits.len() - 1
            }));
        }
        sets
    }

    pub(crate) fn len(&self) -> usize {
        self.bits.len()
    }

    pub(crate) fn holds(&self, set: usize, node: usize) -> bool {
        self.bits[set][node / 64] >> (node % 64) & 1 == 1
    }
}

/// Whether a rule, whatever it weighs, tells nodes apart by a topology.
pub(crate) fn topology_of(rule: &Rule) -> Option<usize> {
    match rule {
        Rule::Spread { topology, .. }
        | Rule::LimitPerDomain { topology, .. }
        | Rule::Survive { topology, .. }
        | Rule::SeparateFrom { topology, .. }
        | Rule::Near { topology, .. }
        | Rule::DistinctDomains { topology, .. } => Some(*topology),
        Rule::Reserve { .. }
        | Rule::NodesMost { .. }
        | Rule::Safety { .. }
        | Rule::Balance { .. }
        | Rule::Moved { .. }
        | Rule::MovedMost { .. }
        | Rule::MovedFar { .. }
        | Rule::Prefer { .. }
        | Rule::Quota { .. }
        | Rule::AllOrNothing { .. } => None,
    }
}

impl Instance<'_> {
    /// The slots of a constraint.
    pub(crate) fn slots(&self, constraint: usize) -> [usize; 2] {
        self.watch.of_rule[constraint]
    }
}
