//! Orders a plan's steps into waves: within a wave everything may run at once, a wave begins when the one before is healthy.
//!
//! ```text
//! start   as soon as it fits beside everything that still runs
//! move    start the new replica; stop the old one in a later wave (make before break)
//! update  in place, as many at once as the workload lets be unavailable
//! stop    as many at once as the workload lets be unavailable; what is beyond the wanted number, at once
//! ```
//!
//! At every moment of a wave, whatever order its steps take, capacity holds (a move is charged at both ends until its stop is done), and so do
//! the limits per domain and `separate` ([`limits`]). Where moves wait for each other in a circle, one is made break before make, and
//! says so. [`check`] goes through the finished waves once more with the solver's checker; `near` and `spread` are kept by the final
//! placement only, since no order of single steps could.

mod check;
mod limits;
#[cfg(test)]
mod tests;

pub(super) use check::check;

use super::program::Program;
use crate::plan::{Action, Change};
use crate::state::{ReplicaId, State, Step};
use hyphae_solver::Placed;
use limits::Limits;
use std::collections::{BTreeMap, BTreeSet};

/// What the waves must know of a workload.
#[derive(Debug, Clone, Copy)]
pub(super) struct Budget {
    /// How many may be down at once because of us.
    pub(super) unavailable_max: u32,
    /// Running after the plan.
    pub(super) placed: u32,
    /// The generation to start.
    pub(super) generation: u64,
}

/// The steps in order, each with the position of its change.
pub(super) struct Waves {
    pub(super) steps: Vec<Vec<(usize, Step)>>,
    /// Changes whose order had to be break before make.
    pub(super) broken_first: Vec<usize>,
    /// Those among them for which the workload's `max-unavailable` could not be kept.
    pub(super) over_budget: Vec<usize>,
}

/// One replica's step, not yet in a wave.
struct Unit {
    change: usize,
    step: Step,
    workload: String,
    /// The workload's position in the program; nothing when it goes away.
    position: Option<usize>,
    node: usize,
    /// What it takes on the node when it begins, beyond what is held there: nothing for a stop.
    takes: Vec<u64>,
    /// What it gives back there when it is done.
    gives: Vec<u64>,
    /// Takes a running replica down.
    disrupts: bool,
    /// The unit that has to be done in an earlier wave: a move's start.
    after: Option<usize>,
}

/// Orders the changes that lead to `placed`.
pub(super) fn waves(
    state: &State,
    program: &Program,
    changes: &[Change],
    placed: &[Placed],
    budgets: &BTreeMap<String, Budget>,
) -> Waves {
    let mut units = units(state, program, changes, budgets);
    let mut ground = Ground::new(state, program, placed, budgets);
    let mut done = vec![false; units.len()];
    let mut waves = Waves { steps: Vec::new(), broken_first: Vec::new(), over_budget: Vec::new() };
    while done.contains(&false) {
        let mut wave = ground.wave(&units, &done);
        if wave.is_empty() {
            wave = match ground.cycle(&units, &done) {
                Some(stop) => {
                    units[stop].after = None;
                    waves.broken_first.push(units[stop].change);
                    if !ground.can_spare(&units[stop].workload) {
                        waves.over_budget.push(units[stop].change);
                    }
                    vec![stop]
                }
                // Only what breaks capacity already is left: the present state's fault, which the checker has excused.
                None => (0..units.len()).filter(|unit| !done[*unit]).collect(),
            };
            wave.iter().for_each(|unit| ground.begin(&units[*unit]));
        }
        wave.iter().for_each(|unit| ground.finish(&units[*unit]));
        wave.iter().for_each(|unit| done[*unit] = true);
        waves.steps.push(wave.iter().map(|unit| (units[*unit].change, units[*unit].step.clone())).collect());
    }
    for list in [&mut waves.broken_first, &mut waves.over_budget] {
        list.sort_unstable();
        list.dedup();
    }
    waves
}

fn units(state: &State, program: &Program, changes: &[Change], budgets: &BTreeMap<String, Budget>) -> Vec<Unit> {
    let mut units: Vec<Unit> = Vec::new();
    let node = |name: &Option<String>| {
        let name = name.as_deref().unwrap_or_default();
        program.nodes.binary_search_by(|node| node.as_str().cmp(name)).ok()
    };
    let nothing = vec![0; program.problem.resources.len()];
    for (position, change) in changes.iter().enumerate() {
        let new = new_demand(program, &change.workload);
        let generation = budgets.get(&change.workload).map_or(0, |budget| budget.generation);
        let unit = |step, node: usize, takes: &[u64], gives: &[u64], disrupts, after| Unit {
            change: position,
            step,
            workload: change.workload.clone(),
            position: program.workloads.binary_search(&change.workload).ok(),
            node,
            takes: takes.to_vec(),
            gives: gives.to_vec(),
            disrupts,
            after,
        };
        let start = |index: u32, to: usize| {
            let replica = ReplicaId { workload: change.workload.clone(), index };
            unit(Step::Start { replica, node: program.nodes[to].clone(), generation }, to, &new, &nothing, false, None)
        };
        for (nth, index) in change.replicas.iter().enumerate() {
            let replica = ReplicaId { workload: change.workload.clone(), index: *index };
            let old = held(state, program, &replica);
            match (change.action, node(&change.from), node(&change.to)) {
                (Action::Start, _, Some(to)) => units.push(start(*index, to)),
                (Action::Stop, Some(from), _) => {
                    units.push(unit(Step::Stop { replica }, from, &nothing, &old, true, None));
                }
                (Action::Update, Some(from), _) => {
                    let takes: Vec<u64> = new.iter().zip(&old).map(|(new, old)| new.saturating_sub(*old)).collect();
                    let gives: Vec<u64> = old.iter().zip(&new).map(|(old, new)| old.saturating_sub(*new)).collect();
                    units.push(unit(Step::Update { replica, generation }, from, &takes, &gives, true, None));
                }
                (Action::Move, Some(from), Some(to)) => {
                    units.push(start(change.new_replicas[nth], to));
                    let after = units.len() - 1;
                    units.push(unit(Step::Stop { replica }, from, &nothing, &old, true, Some(after)));
                }
                _ => {}
            }
        }
    }
    units
}

fn new_demand(program: &Program, workload: &str) -> Vec<u64> {
    match program.workloads.binary_search_by(|name| name.as_str().cmp(workload)) {
        Ok(position) => program.problem.workloads[position].demand.clone(),
        Err(_) => vec![0; program.problem.resources.len()],
    }
}

/// What a running replica holds, by the template it runs.
fn held(state: &State, program: &Program, replica: &ReplicaId) -> Vec<u64> {
    let template = state.replicas.get(replica).and_then(|record| {
        state.workloads.get(&replica.workload).and_then(|workload| workload.templates.get(&record.generation))
    });
    match template {
        Some(template) => program.resources.demand(&replica.workload, template),
        None => vec![0; program.problem.resources.len()],
    }
}

/// What is free and what runs. Within a wave, everything that begins counts at once and nothing that ends does.
struct Ground {
    /// By node, then resource; below zero where the present state holds too much.
    free: Vec<Vec<i128>>,
    up: BTreeMap<String, i64>,
    floor: BTreeMap<String, i64>,
    limits: Limits,
}

impl Ground {
    fn new(state: &State, program: &Program, placed: &[Placed], budgets: &BTreeMap<String, Budget>) -> Self {
        let capacity = |node: &hyphae_solver::Node| node.capacity.iter().map(|amount| i128::from(*amount)).collect();
        let mut free: Vec<Vec<i128>> = program.problem.nodes.iter().map(capacity).collect();
        let mut up: BTreeMap<String, i64> = BTreeMap::new();
        for (id, replica) in &state.replicas {
            *up.entry(id.workload.clone()).or_default() += 1;
            if let Ok(node) = program.nodes.binary_search(&replica.node) {
                take(&mut free[node], &held(state, program, id));
            }
        }
        let floor = |(name, up): (&String, &i64)| {
            let floor = budgets.get(name).map_or(0, |budget| {
                (i64::from(budget.placed).min(*up) - i64::from(budget.unavailable_max.max(1))).max(0)
            });
            (name.clone(), floor)
        };
        let limits = Limits::new(&program.problem, placed);
        Self { free, floor: up.iter().map(floor).collect(), up, limits }
    }

    /// Every unit that can run now, all at once; they have begun.
    fn wave(&mut self, units: &[Unit], done: &[bool]) -> Vec<usize> {
        let mut wave = Vec::new();
        for (position, unit) in units.iter().enumerate() {
            let ready = !done[position] && unit.after.is_none_or(|before| done[before]);
            if ready && self.has_room(unit) && (!unit.disrupts || self.can_spare(&unit.workload)) {
                self.begin(unit);
                wave.push(position);
            }
        }
        wave
    }

    fn has_room(&self, unit: &Unit) -> bool {
        let arrives = matches!(unit.step, Step::Start { .. });
        fits(&self.free[unit.node], &unit.takes)
            && unit.position.filter(|_| arrives).is_none_or(|workload| self.limits.allow(workload, unit.node))
    }

    fn can_spare(&self, workload: &str) -> bool {
        self.up.get(workload).copied().unwrap_or(0) > self.floor.get(workload).copied().unwrap_or(0)
    }

    /// A move's stop that lets something go on: one on a node where a start waits for room before others, one whose workload can spare a
    /// replica before others.
    fn cycle(&self, units: &[Unit], done: &[bool]) -> Option<usize> {
        let waits = |unit: &Unit| matches!(unit.step, Step::Start { .. });
        let wanted: BTreeSet<usize> =
            units.iter().zip(done).filter(|(unit, done)| !**done && waits(unit)).map(|(unit, _)| unit.node).collect();
        let stops = (0..units.len()).filter(|position| !done[*position] && units[*position].after.is_some());
        stops.min_by_key(|position| {
            let unit = &units[*position];
            (!self.can_spare(&unit.workload), !wanted.contains(&unit.node), *position)
        })
    }

    fn begin(&mut self, unit: &Unit) {
        take(&mut self.free[unit.node], &unit.takes);
        if unit.disrupts {
            *self.up.entry(unit.workload.clone()).or_default() -= 1;
        }
        if let (Step::Start { .. }, Some(workload)) = (&unit.step, unit.position) {
            self.limits.arrive(workload, unit.node);
        }
    }

    fn finish(&mut self, unit: &Unit) {
        for (free, gives) in self.free[unit.node].iter_mut().zip(&unit.gives) {
            *free += i128::from(*gives);
        }
        match unit.step {
            Step::Start { .. } | Step::Update { .. } => *self.up.entry(unit.workload.clone()).or_default() += 1,
            Step::Stop { .. } => {
                if let Some(workload) = unit.position {
                    self.limits.leave(workload, unit.node);
                }
            }
        }
    }
}

fn fits(free: &[i128], takes: &[u64]) -> bool {
    free.iter().zip(takes).all(|(free, takes)| *takes == 0 || i128::from(*takes) <= *free)
}

fn take(free: &mut [i128], takes: &[u64]) {
    for (free, takes) in free.iter_mut().zip(takes) {
        *free -= i128::from(*takes);
    }
}
