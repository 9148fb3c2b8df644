//! A valid problem with what every stage looks up: who may be where, what the present state excuses, which rules name whom.

use crate::deadline::Deadline;
use crate::survival::Survival;
use crate::watch::{NodeSets, Watch};
use crate::{Constraint, DeviceDemand, DeviceTake, Problem, Rule, Violation, Workload, excused};
use std::borrow::Cow;

/// A [`Problem`] and its indices. Made once for each call of the solver.
#[derive(Clone)]
pub struct Instance<'p> {
    pub(crate) problem: &'p Problem,
    /// Per workload, the nodes it may be on: eligible and with the labels its hard rules divide by. Ascending.
    /// Borrowed from the problem where labels keep it off none.
    pub(crate) allowed: Vec<Cow<'p, [usize]>>,
    /// The same as bits, each distinct list once.
    pub(crate) sets: NodeSets,
    /// What layouts count.
    pub(crate) watch: Watch,
    /// Per workload, where it runs: (node, count), ascending.
    pub(crate) running: Vec<Vec<(usize, u32)>>,
    /// Per node, what runs on it: (workload, count), ascending.
    pub(crate) running_on: Vec<Vec<(usize, u32)>>,
    /// Per node and resource, how much may be used: the capacity, or what is used at present when that is more.
    pub(crate) ceiling: Vec<Vec<u128>>,
    /// Per constraint, the units by which the present state breaks it, when hard.
    pub(crate) excess: Vec<u64>,
    /// What the present state breaks, and a placement may go on breaking as much.
    pub(crate) excuses: Vec<Violation>,
    /// Per workload, the constraints that name it.
    pub(crate) rules_of: Vec<Vec<usize>>,
    /// The constraints about nodes and whatever lies on them ([`Rule::is_about_nodes`]).
    pub(crate) node_rules: Vec<usize>,
    /// Per node and kind of device, how many more may be needed than there are, because the present state needs them.
    pub(crate) devices_over: Vec<Vec<u32>>,
    /// Per kind of device, the shares that workloads take, ascending.
    pub(crate) shares: Vec<Vec<u32>>,
    /// Nodes on which the present state breaks something: no class may hold them.
    pub(crate) broken_nodes: Vec<bool>,
    /// What the reserves ask of sums.
    pub(crate) survival: Survival,
    /// What is not sound by then is given up ([`crate::prune`]).
    pub(crate) until: Option<Deadline>,
}

impl<'p> Instance<'p> {
    /// `problem` must be [valid](Problem::validate).
    pub fn new(problem: &'p Problem) -> Instance<'p> {
        let mut allowed: Vec<Cow<[usize]>> = problem.workloads.iter().map(|w| Cow::from(&w.eligible)).collect();
        let unlabelled: Vec<bool> = (0..problem.topologies.len())
            .map(|topology| problem.nodes.iter().any(|node| node.domains[topology].is_none()))
            .collect();
        let mut rules_of = vec![Vec::new(); problem.workloads.len()];
        for (index, constraint) in problem.constraints.iter().enumerate() {
            for workload in constraint.rule.workloads() {
                rules_of[workload].push(index);
            }
            for (workload, topology) in divided(constraint).into_iter().filter(|(_, topology)| unlabelled[*topology]) {
                allowed[workload].to_mut().retain(|node| problem.nodes[*node].domains[topology].is_some());
            }
        }
        let about_nodes = |index: &usize| problem.constraints[*index].rule.is_about_nodes();
        let node_rules = (0..problem.constraints.len()).filter(about_nodes).collect();
        let mut running = vec![Vec::new(); problem.workloads.len()];
        let mut running_on = vec![Vec::new(); problem.nodes.len()];
        for placed in &problem.current {
            running[placed.workload].push((placed.node, placed.count));
            running_on[placed.node].push((placed.workload, placed.count));
        }
        running.iter_mut().for_each(|list| list.sort_unstable());
        running_on.iter_mut().for_each(|list| list.sort_unstable());
        let mut instance = Instance {
            problem,
            sets: NodeSets::new(problem.nodes.len(), allowed.iter().map(Cow::as_ref)),
            watch: Watch::new(problem),
            allowed,
            running,
            running_on,
            ceiling: problem.nodes.iter().map(|n| n.capacity.iter().map(|c| u128::from(*c)).collect()).collect(),
            excess: vec![0; problem.constraints.len()],
            excuses: excused(problem),
            rules_of,
            node_rules,
            devices_over: vec![vec![0; problem.devices.len()]; problem.nodes.len()],
            shares: (0..problem.devices.len()).map(|kind| shares(problem, kind)).collect(),
            broken_nodes: vec![false; problem.nodes.len()],
            survival: Survival::default(),
            until: None,
        };
        instance.excuse();
        instance.survival = Survival::implied(&instance);
        instance
    }

    fn excuse(&mut self) {
        for violation in &self.excuses {
            match *violation {
                Violation::Capacity { node, resource, used, .. } => {
                    self.ceiling[node][resource] = used;
                    self.broken_nodes[node] = true;
                }
                Violation::NotEligible { node, .. } | Violation::PerNodeMax { node, .. } => {
                    self.broken_nodes[node] = true
                }
                Violation::Rule { constraint, units } => self.excess[constraint] = units,
                Violation::Devices { node, kind, lacking } => {
                    self.devices_over[node][kind] = lacking;
                    self.broken_nodes[node] = true;
                }
                Violation::TooMany { .. } | Violation::Malformed { .. } => {}
            }
        }
    }

    /// (workload, node) pairs that could be variables.
    pub(crate) fn pairs(&self) -> usize {
        self.allowed.iter().map(|nodes| nodes.len()).sum::<usize>() + self.problem.current.len()
    }

    pub(crate) fn is_allowed(&self, workload: usize, node: usize) -> bool {
        self.sets.holds(self.sets.of[workload], node)
    }

    pub(crate) fn running_count(&self, workload: usize, node: usize) -> u32 {
        let list = &self.running[workload];
        list.binary_search_by_key(&node, |(n, _)| *n).map_or(0, |at| list[at].1)
    }

    /// How many replicas of a workload a node could ever hold, looking at that pair alone.
    pub(crate) fn most_on(&self, workload: usize, node: usize) -> u32 {
        let spec = &self.problem.workloads[workload];
        let running = self.running_count(workload, node);
        if !self.is_allowed(workload, node) {
            return running.min(most_wanted(spec));
        }
        let mut most = u128::from(most_wanted(spec).min(spec.per_node_max.unwrap_or(u32::MAX).max(running)));
        for (demand, ceiling) in spec.demand.iter().zip(&self.ceiling[node]) {
            if *demand > 0 {
                most = most.min(ceiling / u128::from(*demand));
            }
        }
        if let Some(DeviceDemand { kind, take }) = spec.device {
            let device = &self.problem.devices[kind];
            let one = match take {
                DeviceTake::Whole(devices) => devices,
                DeviceTake::Share(_) => 1,
            };
            let together = match take {
                DeviceTake::Whole(_) => 1,
                DeviceTake::Share(share) => device.parts / share,
            };
            most = most.min(u128::from(self.devices(node, kind) / one) * u128::from(together));
        }
        u32::try_from(most).unwrap_or(u32::MAX)
    }

    /// How many devices of a kind may be needed on a node: those it has, or as many as are needed at present.
    pub(crate) fn devices(&self, node: usize, kind: usize) -> u32 {
        let there = self.problem.nodes[node].devices.get(kind).copied().unwrap_or(0);
        there.saturating_add(self.devices_over[node][kind])
    }
}

/// The shares of a kind of device that workloads take, each once, ascending.
fn shares(problem: &Problem, kind: usize) -> Vec<u32> {
    let share = |workload: &Workload| match workload.device {
        Some(DeviceDemand { kind: k, take: DeviceTake::Share(share) }) if k == kind => Some(share),
        _ => None,
    };
    let shares: std::collections::BTreeSet<u32> = problem.workloads.iter().filter_map(share).collect();
    shares.into_iter().collect()
}

/// The most replicas a workload may have, all together.
pub(crate) fn most_wanted(spec: &Workload) -> u32 {
    spec.wanted.saturating_add(spec.surplus_max)
}

/// The workloads that a hard rule keeps off nodes without a domain, with the topology.
fn divided(constraint: &Constraint) -> Vec<(usize, usize)> {
    if constraint.weight.is_some() {
        return Vec::new();
    }
    match &constraint.rule {
        Rule::Spread { workload, topology, .. } | Rule::Survive { workload, topology, .. } => {
            vec![(*workload, *topology)]
        }
        Rule::LimitPerDomain { workloads, topology, .. }
        | Rule::Near { workloads, topology, .. }
        | Rule::DistinctDomains { workloads, topology, .. } => workloads.iter().map(|w| (*w, *topology)).collect(),
        Rule::SeparateFrom { a, b, topology, .. } => vec![(*a, *topology), (*b, *topology)],
        Rule::Prefer { .. }
        | Rule::Quota { .. }
        | Rule::AllOrNothing { .. }
        | Rule::Reserve { .. }
        | Rule::NodesMost { .. }
        | Rule::Safety { .. }
        | Rule::Balance { .. }
        | Rule::Moved { .. }
        | Rule::MovedMost { .. }
        | Rule::MovedFar { .. } => Vec::new(),
    }
}
