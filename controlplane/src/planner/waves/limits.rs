//! What must hold between replicas at every moment of a plan: limits per domain and per node, and workloads kept apart.
//!
//! What the present state breaks is never made worse: nothing arrives that breaks a rule by more than the final placement does.

use hyphae_solver::{Placed, Problem, Rule};

/// The hard rules of these families with what they count.
pub(super) struct Limits {
    /// By topology, then by node: its domain. The last takes each node by itself.
    domains: Vec<Vec<Option<usize>>>,
    rules: Vec<Limit>,
    /// By workload: the rules that name it.
    of: Vec<Vec<usize>>,
}

struct Limit {
    topology: usize,
    kind: Kind,
    /// By how much it is broken, over all domains, in the checker's units.
    units: u64,
    /// By how much the final placement breaks it.
    units_in_the_end: u64,
}

enum Kind {
    /// At most so many of all in a domain.
    AtMost { counts: Vec<u32>, limit: u32 },
    /// Of `a` and `b` together in a domain, at most `limit` of `b`.
    Apart { a: usize, b: usize, limit: u32, counts: Vec<(u32, u32)> },
}

impl Kind {
    /// By how much the rule would be broken in a domain with `more` of a workload.
    fn units(&self, domain: usize, workload: usize, more: u32) -> u64 {
        match self {
            Self::AtMost { counts, limit } => u64::from(counts[domain] + more).saturating_sub(u64::from(*limit)),
            Self::Apart { a, b, limit, counts } => {
                let of_a = counts[domain].0 + if *a == workload { more } else { 0 };
                let of_b = counts[domain].1 + if *b == workload { more } else { 0 };
                u64::from(of_a.min(of_b.saturating_sub(*limit)))
            }
        }
    }

    fn change(&mut self, domain: usize, workload: usize, change: impl Fn(&mut u32)) {
        match self {
            Self::AtMost { counts, .. } => change(&mut counts[domain]),
            Self::Apart { a, b, counts, .. } => {
                if *a == workload {
                    change(&mut counts[domain].0);
                }
                if *b == workload {
                    change(&mut counts[domain].1);
                }
            }
        }
    }
}

impl Limits {
    /// With what runs counted.
    pub(super) fn new(problem: &Problem, placed: &[Placed]) -> Self {
        let topologies = 0..problem.topologies.len();
        let of_nodes = |topology: usize| problem.nodes.iter().map(|node| node.domains[topology]).collect();
        let each_node = (0..problem.nodes.len()).map(Some).collect();
        let domains = topologies.map(of_nodes).chain([each_node]).collect();
        let mut limits = Self { domains, rules: Vec::new(), of: vec![Vec::new(); problem.workloads.len()] };
        limits.state(problem, placed);
        limits.change_all(placed, Self::arrive);
        limits.rules.iter_mut().for_each(|limit| limit.units_in_the_end = limit.units);
        limits.change_all(placed, Self::leave);
        limits.change_all(&problem.current, Self::arrive);
        limits
    }

    fn state(&mut self, problem: &Problem, placed: &[Placed]) {
        let sizes = problem.topologies.iter().map(|topology| topology.domains.len());
        let sizes: Vec<usize> = sizes.chain([problem.nodes.len()]).collect();
        let mut in_the_end = vec![0; problem.workloads.len()];
        placed.iter().for_each(|entry| in_the_end[entry.workload] += entry.count);
        let at_most = |topology: usize, limit: u32| Kind::AtMost { counts: vec![0; sizes[topology]], limit };
        for constraint in problem.constraints.iter().filter(|constraint| constraint.weight.is_none()) {
            match &constraint.rule {
                Rule::LimitPerDomain { workloads, topology, limit } => {
                    self.add(workloads, *topology, at_most(*topology, *limit));
                }
                // As many as a domain may hold in the end, it may hold on the way.
                Rule::Survive { workload, topology, keep } => {
                    let wanted = problem.workloads[*workload].wanted;
                    let most = in_the_end[*workload].max(wanted);
                    self.add(&[*workload], *topology, at_most(*topology, most - (*keep).min(wanted)));
                }
                Rule::SeparateFrom { a, b, topology, limit } => {
                    let kind = Kind::Apart { a: *a, b: *b, limit: *limit, counts: vec![(0, 0); sizes[*topology]] };
                    let both = [*a, *b];
                    self.add(if a == b { &both[..1] } else { &both }, *topology, kind);
                }
                _ => {}
            }
        }
        for (workload, spec) in problem.workloads.iter().enumerate() {
            if let Some(max) = spec.per_node_max {
                self.add(&[workload], problem.topologies.len(), at_most(problem.topologies.len(), max));
            }
        }
    }

    fn add(&mut self, workloads: &[usize], topology: usize, kind: Kind) {
        workloads.iter().for_each(|workload| self.of[*workload].push(self.rules.len()));
        self.rules.push(Limit { topology, kind, units: 0, units_in_the_end: 0 });
    }

    fn change_all(&mut self, placed: &[Placed], change: impl Fn(&mut Self, usize, usize)) {
        for entry in placed {
            (0..entry.count).for_each(|_| change(self, entry.workload, entry.node));
        }
    }

    /// Whether one more of a workload may be on a node, beside all that is there.
    pub(super) fn allow(&self, workload: usize, node: usize) -> bool {
        self.of[workload].iter().all(|rule| {
            let Limit { topology, kind, units, units_in_the_end } = &self.rules[*rule];
            let Some(domain) = self.domains[*topology][node] else { return true };
            let more = kind.units(domain, workload, 1) - kind.units(domain, workload, 0);
            more == 0 || units + more <= *units_in_the_end
        })
    }

    pub(super) fn arrive(&mut self, workload: usize, node: usize) {
        self.change(workload, node, |count| *count += 1);
    }

    pub(super) fn leave(&mut self, workload: usize, node: usize) {
        self.change(workload, node, |count| *count = count.saturating_sub(1));
    }

    fn change(&mut self, workload: usize, node: usize, change: impl Fn(&mut u32)) {
        for rule in &self.of[workload] {
            let Limit { topology, kind, units, .. } = &mut self.rules[*rule];
            let Some(domain) = self.domains[*topology][node] else { continue };
            let before = kind.units(domain, workload, 0);
            kind.change(domain, workload, &change);
            *units = *units + kind.units(domain, workload, 0) - before;
        }
    }
}
