//! Goes through finished waves with the solver's checker: at the fullest moment of each, does anything hold that did not before?
//!
//! It shares nothing with what orders the waves but the steps. The fullest moment of a wave is when all that starts is there and nothing
//! that stops is gone; a replica that is updated counts as the larger of what it was and what it becomes. That moment is checked twice:
//!
//! ```text
//! amounts   every (workload, generation) that runs is a workload of its own, since each generation holds what its own template says
//! rules     replicas count by their workloads, whatever their generation; a rule is broken by no more than now or in the end
//! ```
//!
//! Devices are not looked at: no agent hands any out yet, so nothing that holds one can be running.

use super::super::program::Program;
use super::Budget;
use crate::state::{ReplicaId, State, Step};
use hyphae_solver::{Constraint, Node, Placed, Problem, Rule, Violation, Workload};
use std::collections::BTreeMap;

/// The first thing that a wave breaks and that neither the present state nor the final placement does, or a disruption budget that is not
/// kept by a workload none of whose steps `may_break` it; for a bug report.
pub(in crate::planner) fn check(
    state: &State,
    program: &Program,
    waves: &[Vec<(usize, Step)>],
    placed: &[Placed],
    budgets: &BTreeMap<String, Budget>,
    may_break: impl Fn(usize) -> bool,
) -> Option<String> {
    let mut stage = Stage::new(state, program, placed);
    let excused = [stage.violations(), stage.violations_of(placed)].concat();
    let floors = stage.floors(budgets);
    for (number, wave) in waves.iter().enumerate() {
        let up = stage.up.clone();
        wave.iter().for_each(|(_, step)| stage.begin(step));
        let new =
            stage.violations().into_iter().find(|violation| !excused.iter().any(|known| covers(known, violation)));
        if let Some(violation) = new {
            return Some(format!("wave {number} breaks {violation:?}"));
        }
        let mut down = BTreeMap::<&str, (i64, bool)>::new();
        for (change, step) in wave.iter().filter(|(_, step)| disrupts(step)) {
            let (count, excepted) = down.entry(&step.replica().workload).or_default();
            *count += 1;
            *excepted |= may_break(*change);
        }
        for (workload, (down, excepted)) in down {
            let of = |counts: &BTreeMap<String, i64>| counts.get(workload).copied().unwrap_or(0);
            if of(&up) - down < of(&floors) && !excepted {
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
        (
            Violation::PerNodeMax { workload: w, node: n, count: before },
            Violation::PerNodeMax { workload, node, count },
        ) => (w, n) == (workload, node) && count <= before,
        _ => false,
    }
}

/// A replica that is there.
#[derive(Debug, Clone, Copy)]
struct Here {
    /// What stands for it in the amounts.
    stands: usize,
    /// Its workload's position in the program; nothing when that goes away.
    workload: Option<usize>,
    node: usize,
}

/// Replicas by workload and node.
type Counts = BTreeMap<(usize, usize), u32>;

/// What runs where, as the checker sees it.
struct Stage<'a> {
    program: &'a Program,
    /// Where amounts are checked, and what is placed there.
    amounts: (Problem, Counts),
    /// Where rules are.
    rules: (Problem, Counts),
    /// The workload of `amounts` that stands for one of a generation.
    stands_for: BTreeMap<(String, u64), usize>,
    /// The one that stands for replicas on their way from one to another.
    between: BTreeMap<(usize, usize), usize>,
    replicas: BTreeMap<ReplicaId, Here>,
    /// Replicas that have begun to become something else: what will stand for them.
    becoming: BTreeMap<ReplicaId, usize>,
    /// Replicas that are there, by workload.
    up: BTreeMap<String, i64>,
}

impl<'a> Stage<'a> {
    fn new(state: &State, program: &'a Program, placed: &[Placed]) -> Self {
        let amounts = Problem {
            resources: program.problem.resources.clone(),
            nodes: program.problem.nodes.clone(),
            ..Problem::default()
        };
        let mut stage = Self {
            program,
            amounts: (amounts, Counts::new()),
            rules: (rules(&program.problem, placed), Counts::new()),
            stands_for: BTreeMap::new(),
            between: BTreeMap::new(),
            replicas: BTreeMap::new(),
            becoming: BTreeMap::new(),
            up: BTreeMap::new(),
        };
        let generations = super::super::changes::generations(state, program);
        for (position, (name, generation)) in program.workloads.iter().zip(generations).enumerate() {
            let stands = stage.stand(program.problem.workloads[position].demand.clone());
            stage.stands_for.insert((name.clone(), generation), stands);
        }
        for (id, replica) in &state.replicas {
            let Ok(node) = program.nodes.binary_search(&replica.node) else { continue };
            let key = (id.workload.clone(), replica.generation);
            let stands = match stage.stands_for.get(&key) {
                Some(stands) => *stands,
                None => {
                    let stands = stage.stand(super::held(state, program, id));
                    stage.stands_for.insert(key, stands);
                    stands
                }
            };
            stage.arrive(id, stands, node);
        }
        stage
    }

    fn arrive(&mut self, id: &ReplicaId, stands: usize, node: usize) {
        let workload = self.program.workloads.binary_search(&id.workload).ok();
        *self.amounts.1.entry((stands, node)).or_default() += 1;
        if let Some(workload) = workload {
            *self.rules.1.entry((workload, node)).or_default() += 1;
        }
        self.replicas.insert(id.clone(), Here { stands, workload, node });
        *self.up.entry(id.workload.clone()).or_default() += 1;
    }

    fn leave(&mut self, id: &ReplicaId) {
        let Some(Here { stands, workload, node }) = self.replicas.remove(id) else { return };
        one_less(&mut self.amounts.1, (stands, node));
        if let Some(workload) = workload {
            one_less(&mut self.rules.1, (workload, node));
        }
        *self.up.entry(id.workload.clone()).or_default() -= 1;
    }

    /// A workload more in the amounts.
    fn stand(&mut self, demand: Vec<u64>) -> usize {
        let workloads = &mut self.amounts.0.workloads;
        workloads.push(Workload { demand, wanted: u32::MAX, ..Workload::default() });
        workloads.len() - 1
    }

    /// What is broken now.
    fn violations(&self) -> Vec<Violation> {
        self.broken(&placed(&self.amounts.1), &placed(&self.rules.1))
    }

    /// What a placement breaks in the end, when everything is of its newest generation: those stand first, in the order of the program.
    fn violations_of(&self, placed: &[Placed]) -> Vec<Violation> {
        self.broken(placed, placed)
    }

    fn broken(&self, amounts: &[Placed], rules: &[Placed]) -> Vec<Violation> {
        let mut broken = hyphae_solver::check(&self.amounts.0, amounts);
        broken.retain(|violation| matches!(violation, Violation::Capacity { .. }));
        let mut of_rules = hyphae_solver::check(&self.rules.0, rules);
        of_rules.retain(|violation| matches!(violation, Violation::Rule { .. } | Violation::PerNodeMax { .. }));
        broken.extend(of_rules);
        broken
    }

    fn floors(&self, budgets: &BTreeMap<String, Budget>) -> BTreeMap<String, i64> {
        let floor = |(name, budget): (&String, &Budget)| {
            let kept = i64::from(budget.placed).min(self.up.get(name).copied().unwrap_or(0));
            (name.clone(), (kept - i64::from(budget.unavailable_max.max(1))).max(0))
        };
        budgets.iter().map(floor).collect()
    }

    fn begin(&mut self, step: &Step) {
        match step {
            Step::Start { replica, node, generation } => {
                let stands = self.stands_for.get(&(replica.workload.clone(), *generation)).copied();
                if let (Some(stands), Ok(node)) = (stands, self.program.nodes.binary_search(node)) {
                    self.arrive(replica, stands, node);
                }
            }
            Step::Update { replica, generation } => {
                let new = self.stands_for.get(&(replica.workload.clone(), *generation)).copied();
                let (Some(new), Some(here)) = (new, self.replicas.get(replica).copied()) else { return };
                let between = self.between(here.stands, new);
                self.become_another(replica, between);
                self.becoming.insert(replica.clone(), new);
            }
            Step::Stop { .. } => {}
        }
    }

    fn finish(&mut self, step: &Step) {
        match step {
            Step::Start { .. } => {}
            Step::Stop { replica } => self.leave(replica),
            Step::Update { replica, .. } => {
                if let Some(new) = self.becoming.remove(replica) {
                    self.become_another(replica, new);
                }
            }
        }
    }

    fn become_another(&mut self, id: &ReplicaId, stands: usize) {
        if let Some(here) = self.replicas.get_mut(id) {
            one_less(&mut self.amounts.1, (here.stands, here.node));
            here.stands = stands;
            *self.amounts.1.entry((stands, here.node)).or_default() += 1;
        }
    }

    /// What stands for the larger of both.
    fn between(&mut self, old: usize, new: usize) -> usize {
        if let Some(both) = self.between.get(&(old, new)) {
            return *both;
        }
        let demand = |workload: usize| self.amounts.0.workloads[workload].demand.iter();
        let larger = demand(old).zip(demand(new)).map(|(old, new)| *old.max(new)).collect();
        let both = self.stand(larger);
        self.between.insert((old, new), both);
        both
    }
}

/// The program's workloads and nodes without amounts, under the rules that hold at every moment, each in its own position.
fn rules(problem: &Problem, placed: &[Placed]) -> Problem {
    let mut in_the_end = vec![0; problem.workloads.len()];
    placed.iter().for_each(|entry| in_the_end[entry.workload] += entry.count);
    let stated = |constraint: &Constraint| match &constraint.rule {
        rule @ (Rule::LimitPerDomain { .. } | Rule::SeparateFrom { .. }) if constraint.weight.is_none() => rule.clone(),
        // As many as a domain may hold in the end, it may hold on the way.
        Rule::Survive { workload, topology, keep } if constraint.weight.is_none() => {
            let wanted = problem.workloads[*workload].wanted;
            let limit = in_the_end[*workload].max(wanted) - wanted.min(*keep);
            Rule::LimitPerDomain { workloads: vec![*workload], topology: *topology, limit }
        }
        _ => Rule::AllOrNothing { workloads: Vec::new() },
    };
    let of_constraint = |constraint: &Constraint| Constraint { rule: stated(constraint), weight: None };
    let of_node = |node: &Node| Node { domains: node.domains.clone(), ..Node::default() };
    let of_workload =
        |workload: &Workload| Workload { wanted: u32::MAX, per_node_max: workload.per_node_max, ..Workload::default() };
    Problem {
        topologies: problem.topologies.clone(),
        nodes: problem.nodes.iter().map(of_node).collect(),
        workloads: problem.workloads.iter().map(of_workload).collect(),
        constraints: problem.constraints.iter().map(of_constraint).collect(),
        ..Problem::default()
    }
}

fn placed(counts: &Counts) -> Vec<Placed> {
    counts.iter().map(|(&(workload, node), &count)| Placed { workload, node, count }).collect()
}

fn one_less(counts: &mut Counts, pair: (usize, usize)) {
    match counts.get_mut(&pair) {
        Some(count) if *count > 1 => *count -= 1,
        _ => {
            counts.remove(&pair);
        }
    }
}
