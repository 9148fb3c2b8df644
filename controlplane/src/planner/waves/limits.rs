//! What must hold between replicas at every moment of a plan: limits per domain and per node, and workloads kept apart.
//!
//! A domain in which the present or the final placement has more than the rule allows may have as many on the way.

use hyphae_solver::{Placed, Problem, Rule};

/// The hard rules of these families with what they count.
pub(super) struct Limits {
    rules: Vec<Limit>,
    /// By workload: the rules that name it.
    of: Vec<Vec<usize>>,
}

struct Limit {
    /// By node.
    domain: Vec<Option<usize>>,
    kind: Kind,
}

enum Kind {
    /// At most so many of all in a domain: how many there are, and how many there may be.
    AtMost { counts: Vec<u32>, most: Vec<u32> },
    /// Of `a` and `b` together in a domain, at most `limit` of `b`; except where it is broken already.
    Apart { a: usize, b: usize, limit: u32, counts: Vec<(u32, u32)>, exempt: Vec<bool> },
}

impl Limits {
    pub(super) fn new(problem: &Problem, placed: &[Placed]) -> Self {
        let mut limits = Self { rules: Vec::new(), of: vec![Vec::new(); problem.workloads.len()] };
        for constraint in problem.constraints.iter().filter(|constraint| constraint.weight.is_none()) {
            let domains = |topology: usize| problem.topologies[topology].domains.len();
            let domain = |topology: usize| problem.nodes.iter().map(|node| node.domains[topology]).collect();
            match &constraint.rule {
                Rule::LimitPerDomain { workloads, topology, limit } => {
                    limits.at_most(problem, placed, workloads, (domain(*topology), domains(*topology)), *limit);
                }
                Rule::Survive { workload, topology, keep } => {
                    let wanted = problem.workloads[*workload].wanted;
                    let of_workload = placed.iter().filter(|entry| entry.workload == *workload);
                    let most = of_workload.map(|entry| entry.count).sum::<u32>().max(wanted);
                    let limit = most - (*keep).min(wanted);
                    limits.at_most(problem, placed, &[*workload], (domain(*topology), domains(*topology)), limit);
                }
                Rule::SeparateFrom { a, b, topology, limit } => {
                    limits.apart(problem, placed, (*a, *b), (domain(*topology), domains(*topology)), *limit);
                }
                _ => {}
            }
        }
        for (workload, spec) in problem.workloads.iter().enumerate() {
            if let Some(max) = spec.per_node_max {
                let nodes = (0..problem.nodes.len()).map(Some).collect();
                limits.at_most(problem, placed, &[workload], (nodes, problem.nodes.len()), max);
            }
        }
        limits
    }

    fn at_most(
        &mut self,
        problem: &Problem,
        placed: &[Placed],
        workloads: &[usize],
        (domain, domains): (Vec<Option<usize>>, usize),
        limit: u32,
    ) {
        let count = |placed: &[Placed]| {
            let mut counts = vec![0; domains];
            for entry in placed.iter().filter(|entry| workloads.contains(&entry.workload)) {
                if let Some(domain) = domain[entry.node] {
                    counts[domain] += entry.count;
                }
            }
            counts
        };
        let counts = count(&problem.current);
        let most = counts.iter().zip(count(placed)).map(|(now, then)| limit.max(*now).max(then)).collect();
        self.add(workloads, Limit { domain, kind: Kind::AtMost { counts, most } });
    }

    fn apart(
        &mut self,
        problem: &Problem,
        placed: &[Placed],
        (a, b): (usize, usize),
        (domain, domains): (Vec<Option<usize>>, usize),
        limit: u32,
    ) {
        let count = |placed: &[Placed]| {
            let mut counts = vec![(0, 0); domains];
            for entry in placed {
                let Some(domain) = domain[entry.node] else { continue };
                counts[domain].0 += if entry.workload == a { entry.count } else { 0 };
                counts[domain].1 += if entry.workload == b { entry.count } else { 0 };
            }
            counts
        };
        let broken = |(of_a, of_b): &(u32, u32)| *of_a > 0 && *of_b > limit;
        let counts = count(&problem.current);
        let exempt = counts.iter().zip(&count(placed)).map(|(now, then)| broken(now) || broken(then)).collect();
        let workloads = if a == b { vec![a] } else { vec![a, b] };
        self.add(&workloads, Limit { domain, kind: Kind::Apart { a, b, limit, counts, exempt } });
    }

    fn add(&mut self, workloads: &[usize], limit: Limit) {
        workloads.iter().for_each(|workload| self.of[*workload].push(self.rules.len()));
        self.rules.push(limit);
    }

    /// Whether one more of a workload may be on a node, beside all that is there.
    pub(super) fn allow(&self, workload: usize, node: usize) -> bool {
        self.of[workload].iter().all(|rule| {
            let Limit { domain, kind } = &self.rules[*rule];
            let Some(domain) = domain[node] else { return true };
            match kind {
                Kind::AtMost { counts, most } => counts[domain] < most[domain],
                Kind::Apart { a, b, limit, counts, exempt } => {
                    let of_a = counts[domain].0 + u32::from(*a == workload);
                    let of_b = counts[domain].1 + u32::from(*b == workload);
                    exempt[domain] || of_a == 0 || of_b <= *limit
                }
            }
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
            let Limit { domain, kind } = &mut self.rules[*rule];
            let Some(domain) = domain[node] else { continue };
            match kind {
                Kind::AtMost { counts, .. } => change(&mut counts[domain]),
                Kind::Apart { a, b, counts, .. } => {
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
}
