//! A valid problem with what every stage looks up: who may be where, what the present state excuses, which rules name whom.

use crate::{Constraint, Problem, Rule, Violation, excused};

/// A [`Problem`] and its indices. Made once for each call of the solver.
pub(crate) struct Instance<'p> {
    pub(crate) problem: &'p Problem,
    /// Per workload, the nodes it may be on: eligible and with the labels its hard rules divide by. Ascending.
    pub(crate) allowed: Vec<Vec<usize>>,
    /// Per workload, where it runs: (node, count), ascending.
    pub(crate) running: Vec<Vec<(usize, u32)>>,
    /// Per node, what runs on it: (workload, count), ascending.
    pub(crate) running_on: Vec<Vec<(usize, u32)>>,
    /// Per node and resource, how much may be used: the capacity, or what is used at present when that is more.
    pub(crate) ceiling: Vec<Vec<u128>>,
    /// Per constraint, the units by which the present state breaks it, when hard.
    pub(crate) excess: Vec<u64>,
    /// Per workload, the constraints that name it.
    pub(crate) rules_of: Vec<Vec<usize>>,
    /// Nodes on which the present state breaks something: no class may hold them.
    pub(crate) broken_nodes: Vec<bool>,
}

impl<'p> Instance<'p> {
    pub(crate) fn new(problem: &'p Problem) -> Instance<'p> {
        let mut allowed: Vec<Vec<usize>> = problem.workloads.iter().map(|w| w.eligible.clone()).collect();
        let mut rules_of = vec![Vec::new(); problem.workloads.len()];
        for (index, constraint) in problem.constraints.iter().enumerate() {
            for workload in named(&constraint.rule) {
                rules_of[workload].push(index);
            }
            for (workload, topology) in divided(constraint) {
                allowed[workload].retain(|node| problem.nodes[*node].domains[topology].is_some());
            }
        }
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
            allowed,
            running,
            running_on,
            ceiling: problem.nodes.iter().map(|n| n.capacity.iter().map(|c| u128::from(*c)).collect()).collect(),
            excess: vec![0; problem.constraints.len()],
            rules_of,
            broken_nodes: vec![false; problem.nodes.len()],
        };
        instance.excuse();
        instance
    }

    fn excuse(&mut self) {
        for violation in excused(self.problem) {
            match violation {
                Violation::Capacity { node, resource, used, .. } => {
                    self.ceiling[node][resource] = used;
                    self.broken_nodes[node] = true;
                }
                Violation::NotEligible { node, .. } | Violation::PerNodeMax { node, .. } => {
                    self.broken_nodes[node] = true
                }
                Violation::Rule { constraint, units } => self.excess[constraint] = units,
                Violation::TooMany { .. } | Violation::Malformed { .. } => {}
            }
        }
    }

    /// (workload, node) pairs that could be variables.
    pub(crate) fn pairs(&self) -> usize {
        self.allowed.iter().map(Vec::len).sum::<usize>() + self.problem.current.len()
    }

    pub(crate) fn is_allowed(&self, workload: usize, node: usize) -> bool {
        self.allowed[workload].binary_search(&node).is_ok()
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
            return running.min(spec.wanted);
        }
        let mut most = u128::from(spec.wanted.min(spec.per_node_max.unwrap_or(u32::MAX).max(running)));
        for (demand, ceiling) in spec.demand.iter().zip(&self.ceiling[node]) {
            if *demand > 0 {
                most = most.min(ceiling / u128::from(*demand));
            }
        }
        u32::try_from(most).unwrap_or(u32::MAX)
    }
}

/// The workloads a rule names, each once.
pub(crate) fn named(rule: &Rule) -> Vec<usize> {
    match rule {
        Rule::Spread { workload, .. } | Rule::LimitPerDomain { workload, .. } | Rule::Prefer { workload, .. } => {
            vec![*workload]
        }
        Rule::SeparateFrom { a, b, .. } | Rule::Near { workload: a, to: b, .. } if a == b => vec![*a],
        Rule::SeparateFrom { a, b, .. } | Rule::Near { workload: a, to: b, .. } => vec![*a, *b],
        Rule::Quota { workloads, .. } | Rule::AllOrNothing { workloads } => workloads.clone(),
    }
}

/// The workloads that a hard rule keeps off nodes without a domain, with the topology.
fn divided(constraint: &Constraint) -> Vec<(usize, usize)> {
    if constraint.weight.is_some() {
        return Vec::new();
    }
    match constraint.rule {
        Rule::Spread { workload, topology, .. }
        | Rule::LimitPerDomain { workload, topology, .. }
        | Rule::Near { workload, topology, .. } => vec![(workload, topology)],
        Rule::SeparateFrom { a, b, topology } => vec![(a, topology), (b, topology)],
        Rule::Prefer { .. } | Rule::Quota { .. } | Rule::AllOrNothing { .. } => Vec::new(),
    }
}
