//! Goes through finished waves with the solver's checker: at the fullest moment of each, does anything hold that did not before?
//!
//! It shares nothing with what orders the waves but the steps. The fullest moment of a wave is when all that starts is there and nothing
//! that stops is gone; a replica that is updated counts as the larger of what it was and what it becomes. So that old and
//! new templates can be told apart, every (workload, generation) that runs is a workload of its own in the problem that is checked, and
//! limits count them together.

use super::super::program::Program;
use super::Budget;
use crate::state::{ReplicaId, State, Step};
use hyphae_solver::{Constraint, Placed, Problem, Rule, Violation, Workload};
use std::collections::BTreeMap;

/// The first thing that a wave breaks and that neither the present state nor the final placement does, or a disruption budget that is not
/// kept by a workload that is not in `over_budget`; for a bug report.
pub(in crate::planner) fn check(
    state: &State,
    program: &Program,
    waves: &[Vec<(usize, Step)>],
    placed: &[Placed],
    budgets: &BTreeMap<String, Budget>,
    may_break: impl Fn(usize) -> bool,
) -> Option<String> {
    let mut stage = Stage::new(state, program, placed);
    let excused = [stage.violations(), hyphae_solver::check(&program.problem, placed)].concat();
    let floors = stage.floors(budgets);
    for (number, wave) in waves.iter().enumerate() {
        wave.iter().for_each(|(_, step)| stage.begin(step));
        let new =
            stage.violations().into_iter().find(|violation| !excused.iter().any(|known| covers(known, violation)));
        if let Some(violation) = new {
            return Some(format!("wave {number} breaks {violation:?}"));
        }
        let (up, mut down) = (stage.up(), BTreeMap::<&str, (i64, bool)>::new());
        for (change, step) in wave.iter().filter(|(_, step)| disrupts(step)) {
            let (count, excepted) = down.entry(&step.replica().workload).or_default();
            *count += 1;
            *excepted |= may_break(*change);
        }
        for (workload, floor) in &floors {
            let (down, excepted) = down.get(workload.as_str()).copied().unwrap_or_default();
            if up.get(workload.as_str()).copied().unwrap_or(0) - down < *floor && !excepted {
                return Some(format!("wave {number} takes down more of {workload} than its max-unavailable"));
            }
        }
        wave.iter().for_each(|(_, step)| stage.finish(step));
    }
    None
}

fn disrupts(step: &Step) -> bool {
    !matches!(step, Step::Start { .. })
}

/// Whether a violation is there before at least as badly.
fn covers(known: &Violation, violation: &Violation) -> bool {
    match (known, violation) {
        (
            Violation::Capacity { node: n, resource: r, used: before, .. },
            Violation::Capacity { node, resource, used, .. },
        ) => (n, r) == (node, resource) && used <= before,
        (Violation::Rule { constraint: c, units: before }, Violation::Rule { constraint, units }) => {
            c == constraint && units <= before
        }
        _ => false,
    }
}

/// What runs where, as the checker sees it.
struct Stage<'a> {
    program: &'a Program,
    problem: Problem,
    /// The workload that stands for one of a generation.
    stands_for: BTreeMap<(String, u64), usize>,
    /// Replicas: the workload that stands for them, and the node.
    replicas: BTreeMap<ReplicaId, (usize, usize)>,
    /// Replicas that have begun to become something else: what they will be.
    becoming: BTreeMap<ReplicaId, usize>,
}

impl<'a> Stage<'a> {
    fn new(state: &State, program: &'a Program, placed: &[Placed]) -> Self {
        let problem = Problem {
            resources: program.problem.resources.clone(),
            topologies: program.problem.topologies.clone(),
            nodes: program.problem.nodes.clone(),
            ..Problem::default()
        };
        let mut stage = Self {
            program,
            problem,
            stands_for: BTreeMap::new(),
            replicas: BTreeMap::new(),
            becoming: BTreeMap::new(),
        };
        let generations = super::super::changes::generations(state, program);
        for (position, (name, generation)) in program.workloads.iter().zip(generations).enumerate() {
            let demand = program.problem.workloads[position].demand.clone();
            stage.add(name, generation, demand);
        }
        for (id, replica) in &state.replicas {
            let Ok(node) = program.nodes.binary_search(&replica.node) else { continue };
            let key = (id.workload.clone(), replica.generation);
            let of = match stage.stands_for.get(&key) {
                Some(of) => *of,
                None => stage.add(&id.workload, replica.generation, super::held(state, program, id)),
            };
            stage.replicas.insert(id.clone(), (of, node));
        }
        stage.add_rules(placed);
        stage
    }

    fn add(&mut self, name: &str, generation: u64, demand: Vec<u64>) -> usize {
        let workload = Workload {
            name: format!("{name} {generation} {}", self.problem.workloads.len()),
            demand,
            wanted: u32::MAX / 2,
            move_weight: 1,
            eligible: (0..self.problem.nodes.len()).collect(),
            ..Workload::default()
        };
        self.problem.workloads.push(workload);
        self.stands_for.insert((name.to_owned(), generation), self.problem.workloads.len() - 1);
        self.problem.workloads.len() - 1
    }

    /// The limits, over all that stands for their workloads.
    fn add_rules(&mut self, placed: &[Placed]) {
        let mut standing_of: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for ((of, _), workload) in &self.stands_for {
            standing_of.entry(of).or_default().push(*workload);
        }
        let standing = |position: usize| {
            let name = self.program.workloads[position].as_str();
            standing_of.get(name).cloned().unwrap_or_default()
        };
        let nothing = || Rule::Quota { workloads: Vec::new(), max: Vec::new() };
        let mut constraints = Vec::new();
        let mut more = Vec::new();
        for constraint in &self.program.problem.constraints {
            let rule = match &constraint.rule {
                Rule::LimitPerDomain { workloads, topology, limit } if constraint.weight.is_none() => {
                    let workloads = workloads.iter().flat_map(|workload| standing(*workload)).collect();
                    Rule::LimitPerDomain { workloads, topology: *topology, limit: *limit }
                }
                // As many as a domain may hold in the end, it may hold on the way.
                Rule::Survive { workload, topology, keep } if constraint.weight.is_none() => {
                    let wanted = self.program.problem.workloads[*workload].wanted;
                    let in_the_end: u32 =
                        placed.iter().map(|entry| if entry.workload == *workload { entry.count } else { 0 }).sum();
                    let limit = in_the_end.max(wanted) - wanted.min(*keep);
                    Rule::LimitPerDomain { workloads: standing(*workload), topology: *topology, limit }
                }
                Rule::SeparateFrom { a, b, topology, limit: 0 } if constraint.weight.is_none() && a != b => {
                    let pairs = standing(*a).into_iter().flat_map(|a| standing(*b).into_iter().map(move |b| (a, b)));
                    more.extend(pairs.map(|(a, b)| Rule::SeparateFrom { a, b, topology: *topology, limit: 0 }));
                    nothing()
                }
                _ => nothing(),
            };
            constraints.push(Constraint { rule, weight: None });
        }
        constraints.extend(more.into_iter().map(|rule| Constraint { rule, weight: None }));
        self.problem.constraints = constraints;
    }

    fn violations(&self) -> Vec<Violation> {
        let mut counts: BTreeMap<(usize, usize), u32> = BTreeMap::new();
        self.replicas.values().for_each(|pair| *counts.entry(*pair).or_default() += 1);
        let placed: Vec<Placed> =
            counts.into_iter().map(|((workload, node), count)| Placed { workload, node, count }).collect();
        let mut violations = hyphae_solver::check(&self.problem, &placed);
        // Where a node has no label, the final placement and eligibility have the last word.
        violations.retain(|violation| matches!(violation, Violation::Capacity { .. } | Violation::Rule { .. }));
        violations
    }

    /// Replicas that are there, by workload.
    fn up(&self) -> BTreeMap<&str, i64> {
        let mut up = BTreeMap::new();
        self.replicas.keys().for_each(|id| *up.entry(id.workload.as_str()).or_default() += 1);
        up
    }

    fn floors(&self, budgets: &BTreeMap<String, Budget>) -> BTreeMap<String, i64> {
        let up = self.up();
        let floor = |(name, budget): (&String, &Budget)| {
            let kept = i64::from(budget.placed).min(up.get(name.as_str()).copied().unwrap_or(0));
            (name.clone(), (kept - i64::from(budget.unavailable_max.max(1))).max(0))
        };
        budgets.iter().map(floor).collect()
    }

    fn begin(&mut self, step: &Step) {
        match step {
            Step::Start { replica, node, generation } => {
                let of = self.stands_for.get(&(replica.workload.clone(), *generation)).copied();
                if let (Some(of), Ok(node)) = (of, self.program.nodes.binary_search(node)) {
                    self.replicas.insert(replica.clone(), (of, node));
                }
            }
            Step::Update { replica, generation } => {
                let new = self.stands_for.get(&(replica.workload.clone(), *generation)).copied();
                let (Some(new), Some((old, node))) = (new, self.replicas.get(replica).copied()) else { return };
                let demand = |workload: usize| self.problem.workloads[workload].demand.iter();
                let larger = demand(old).zip(demand(new)).map(|(old, new)| *old.max(new)).collect();
                // A generation of its own, once for each pair of old and new.
                let both = match self.stands_for.get(&(format!("{} {old} to {new}", replica.workload), 0)) {
                    Some(both) => *both,
                    None => {
                        let both = self.add(&format!("{} {old} to {new}", replica.workload), 0, larger);
                        self.join_limits(new, both);
                        both
                    }
                };
                self.replicas.insert(replica.clone(), (both, node));
                self.becoming.insert(replica.clone(), new);
            }
            Step::Stop { .. } => {}
        }
    }

    /// What stands for a replica on its way to `new` counts where `new` does.
    fn join_limits(&mut self, new: usize, both: usize) {
        for constraint in &mut self.problem.constraints {
            if let Rule::LimitPerDomain { workloads, .. } = &mut constraint.rule
                && workloads.contains(&new)
                && !workloads.contains(&both)
            {
                workloads.push(both);
            }
        }
    }

    fn finish(&mut self, step: &Step) {
        match step {
            Step::Start { .. } => {}
            Step::Stop { replica } => {
                self.replicas.remove(replica);
            }
            Step::Update { replica, .. } => {
                if let (Some(new), Some((of, _))) = (self.becoming.remove(replica), self.replicas.get_mut(replica)) {
                    *of = new;
                }
            }
        }
    }
}
