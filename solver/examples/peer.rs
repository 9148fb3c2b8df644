//! `target/release/examples/peer PROBLEM.json kube least|most` or `… PROBLEM.json judge PLACED.json` or `… PROBLEM.json solve SECONDS`
//!
//! Other ways to place the same written-out problem (`synthetic --write PROBLEM.json`), judged alike: what `check` refuses is taken
//! away first, then every tier is shown. `kube` is a filter-and-score in the manner of kube-scheduler: pods by priority, each on the node
//! that scores best of all that pass the filters, looking at every node. `judge` reads what another program placed.
#![expect(clippy::disallowed_methods, reason = "an example measures time and reads files")]

use hyphae_solver::*;
use std::error::Error;
use std::time::{Duration, Instant};

/// Counts that the filters ask.
struct Cluster<'a> {
    problem: &'a Problem,
    /// Per node and resource.
    used: Vec<Vec<u64>>,
    /// Per workload and node.
    on: Vec<Vec<u32>>,
    /// Per workload, topology and domain.
    within: Vec<Vec<Vec<u32>>>,
    /// Per workload, the rules that name it.
    rules: Vec<Vec<usize>>,
}

impl<'a> Cluster<'a> {
    fn new(problem: &'a Problem) -> Cluster<'a> {
        let mut rules = vec![Vec::new(); problem.workloads.len()];
        for (index, constraint) in problem.constraints.iter().enumerate() {
            constraint.rule.workloads().into_iter().for_each(|w| rules[w].push(index));
        }
        let domains: Vec<Vec<u32>> = problem.topologies.iter().map(|t| vec![0; t.domains.len()]).collect();
        Cluster {
            problem,
            used: vec![vec![0; problem.resources.len()]; problem.nodes.len()],
            on: vec![vec![0; problem.nodes.len()]; problem.workloads.len()],
            within: vec![domains; problem.workloads.len()],
            rules,
        }
    }

    fn total(&self, workload: usize) -> u64 {
        self.on[workload].iter().map(|count| u64::from(*count)).sum()
    }

    /// NodeResourcesFit, node affinity, then the hard rules.
    fn passes(&self, workload: usize, node: usize) -> bool {
        let spec = &self.problem.workloads[workload];
        let demands = spec.demand.iter().zip(&self.used[node]).zip(&self.problem.nodes[node].capacity);
        demands.into_iter().all(|((demand, used), capacity)| used + demand <= *capacity)
            && spec.per_node_max.is_none_or(|max| self.on[workload][node] < max)
            && self.rules[workload].iter().all(|rule| {
                let Constraint { rule, weight } = &self.problem.constraints[*rule];
                weight.is_some() || self.units(rule, workload, node) == 0
            })
    }

    /// By how much one more breaks a rule.
    fn units(&self, rule: &Rule, added: usize, node: usize) -> u64 {
        let domain = |topology: usize| self.problem.nodes[node].domains[topology].unwrap_or(0);
        let within = |w: usize, topology: usize| u64::from(self.within[w][topology][domain(topology)]);
        match rule {
            Rule::Spread { workload, topology, max_skew } => {
                let least = self.within[*workload][*topology].iter().min().copied().unwrap_or(0);
                (within(*workload, *topology) + 1).saturating_sub(u64::from(least + max_skew))
            }
            Rule::LimitPerDomain { workloads, topology, limit } => {
                let held: u64 = workloads.iter().map(|w| within(*w, *topology)).sum();
                (held + 1).saturating_sub(u64::from(*limit))
            }
            Rule::SeparateFrom { a, b, topology, .. } => within(if *a == added { *b } else { *a }, *topology),
            Rule::Near { workloads, to, topology } if workloads.contains(&added) => {
                u64::from(to.iter().all(|w| within(*w, *topology) == 0))
            }
            Rule::Quota { workloads, max } => max
                .iter()
                .map(|(resource, max)| {
                    let demand = |w: usize| self.problem.workloads[w].demand[*resource];
                    let used: u64 = workloads.iter().map(|w| demand(*w) * self.total(*w)).sum();
                    (used + demand(added)).saturating_sub(*max)
                })
                .sum(),
            _ => 0,
        }
    }

    /// NodeResourcesFit's score over cpu and memory, less what soft rules are broken by.
    fn score(&self, workload: usize, node: usize, most: bool) -> i64 {
        let spec = &self.problem.workloads[workload];
        let share = |resource: usize| {
            let capacity = self.problem.nodes[node].capacity[resource].max(1);
            (self.used[node][resource] + spec.demand[resource]) * 100 / capacity
        };
        let used = ((share(0) + share(1)) / 2) as i64;
        let soft: i64 = self.rules[workload]
            .iter()
            .filter_map(|rule| {
                let Constraint { rule, weight } = &self.problem.constraints[*rule];
                weight.map(|weight| i64::from(weight) * self.units(rule, workload, node) as i64)
            })
            .sum();
        (if most { used } else { 100 - used }) - 2 * soft
    }

    fn place(&mut self, workload: usize, most: bool) -> bool {
        let eligible = self.problem.workloads[workload].eligible.iter().copied();
        let open = eligible.filter(|node| self.passes(workload, *node));
        let Some(node) = open.max_by_key(|node| (self.score(workload, *node, most), std::cmp::Reverse(*node))) else {
            return false;
        };
        self.on[workload][node] += 1;
        for (used, demand) in self.used[node].iter_mut().zip(&self.problem.workloads[workload].demand) {
            *used += demand;
        }
        for (topology, domain) in self.problem.nodes[node].domains.iter().enumerate() {
            self.within[workload][topology][domain.unwrap_or(0)] += 1;
        }
        true
    }
}

/// Pods by priority; what waits for another is tried again as long as something was placed.
fn kube(problem: &Problem, most: bool) -> Vec<Placed> {
    let mut cluster = Cluster::new(problem);
    let mut queue: Vec<(usize, u32)> = problem.workloads.iter().enumerate().map(|(w, spec)| (w, spec.wanted)).collect();
    queue.sort_by_key(|(w, _)| (-problem.workloads[*w].priority, *w));
    let mut progress = true;
    while std::mem::take(&mut progress) {
        for (workload, left) in &mut queue {
            while *left > 0 && cluster.place(*workload, most) {
                *left -= 1;
                progress = true;
            }
        }
    }
    let on = &cluster.on;
    let of = |workload: usize| {
        let counts = on[workload].iter().enumerate().filter(|(_, count)| **count > 0);
        counts.map(move |(node, count)| Placed { workload, node, count: *count })
    };
    (0..problem.workloads.len()).flat_map(of).collect()
}

/// Without the workloads of rules that are broken: groups that are not complete.
fn sound(problem: &Problem, mut placed: Vec<Placed>) -> Vec<Placed> {
    while let Err(violations) = verify(problem, &placed) {
        let mut dropped = Vec::new();
        for violation in violations {
            match violation {
                Violation::Rule { constraint, .. } => dropped.extend(problem.constraints[constraint].rule.workloads()),
                other => {
                    println!("  refused: {other:?}");
                    return Vec::new();
                }
            }
        }
        println!("  not sound: {} workloads taken away", dropped.len());
        placed.retain(|p| !dropped.contains(&p.workload));
    }
    placed
}

fn show(problem: &Problem, name: &str, placed: &[Placed], seconds: f64) {
    let worth = evaluate(problem, placed);
    let unplaced: u64 = worth.iter().filter(|(t, _)| matches!(t, Tier::Shortage(_))).map(|(_, v)| v).sum();
    let value = |tier: Tier| worth.iter().find(|(t, _)| *t == tier).map_or(0, |(_, v)| *v);
    let cost = value(Tier::Cost) as f64 / 1e6;
    println!("| {name} | {unplaced} | {} | {cost:.2} | {seconds:.1} |", value(Tier::Soft));
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [file, how, what] = arguments.as_slice() else { return Err("PROBLEM.json kube|judge|solve WHAT".into()) };
    let problem: Problem = serde_json::from_str(&std::fs::read_to_string(file)?)?;
    problem.validate()?;
    let start = Instant::now();
    let placed = match how.as_str() {
        "kube" => kube(&problem, what == "most"),
        "solve" => {
            let time_limit = Duration::from_secs_f64(what.parse()?);
            solve(&problem, &SolveOptions { time_limit, explain: false, ..SolveOptions::default() })?.placed
        }
        _ => serde_json::from_str(&std::fs::read_to_string(what)?)?,
    };
    let seconds = start.elapsed().as_secs_f64();
    show(&problem, &format!("{how} {}", what.rsplit('/').next().unwrap_or(what)), &sound(&problem, placed), seconds);
    Ok(())
}
