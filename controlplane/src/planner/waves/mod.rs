//! Orders a plan's steps into waves: within a wave everything may run at once, a wave begins when the one before is healthy.
//!
//! ```text
//! start   as soon as it fits beside everything that still runs
//! move    start the new replica; stop the old one in a later wave (make before break). Which of a workload's old replicas goes for which new
//!         one is decided on the way: the one whose room lets others begin
//! update  in place, as many at once as the workload lets be unavailable
//! stop    as many at once as the workload lets be unavailable; what is beyond the wanted number, at once
//! ```
//!
//! At every moment of a wave, whatever order its steps take, capacity holds (a move is charged at both ends until its stop is done), and so do
//! the limits per domain and `separate` ([`limits`]). What only takes room on a node leaves it to the moves that wait for that node. Where moves and
//! updates still wait for each other in a circle, one is made break before make, and says so. [`mod@check`] goes through the finished waves
//! once more with the solver's checker; `near`, `spread`, quotas and reserves are kept by the final placement only: no order of single
//! steps could keep the first two, and a move counts twice while it lasts.

mod check;
mod limits;
#[cfg(test)]
mod random_tests;
#[cfg(test)]
mod tests;

pub(super) use check::check;

use super::program::Program;
use crate::plan::{Action, Change};
use crate::state::{ReplicaId, State, Step};
use hyphae_solver::Placed;
use limits::Limits;
use std::collections::BTreeMap;

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
    /// Changes whose order had to be break before make: moves whose old replica stops first, updates that are a stop and, later, a start.
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
    /// What stopping its replica gives back: nothing for a start.
    frees: Vec<u64>,
    /// Takes a running replica down.
    disrupts: bool,
    /// The unit that has to be done in an earlier wave: a move's start.
    after: Option<usize>,
    /// Starts what stops elsewhere once this is done.
    of_move: bool,
}

impl Unit {
    fn takes_only(&self) -> bool {
        self.takes.iter().any(|amount| *amount > 0) && self.gives.iter().all(|amount| *amount == 0)
    }
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
        ground.match_anew(&mut units, &done);
        let mut wave = ground.wave(&units, &done);
        if wave.is_empty() {
            wave = match ground.cycle(&units, &done) {
                Some(first) => {
                    break_first(program, &mut units, first);
                    done.resize(units.len(), false);
                    waves.broken_first.push(units[first].change);
                    if !ground.can_spare(&units[first].workload) {
                        waves.over_budget.push(units[first].change);
                    }
                    vec![first]
                }
                // Nothing is known to lead here; the check has the last word.
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

/// Lets a replica stop that others wait for: a move's before its replacement starts, one to be updated until there is room to start it again.
fn break_first(program: &Program, units: &mut Vec<Unit>, first: usize) {
    let unit = &mut units[first];
    unit.after = None;
    if let Step::Update { replica, generation } = unit.step.clone() {
        let nothing = vec![0; program.problem.resources.len()];
        let node = program.nodes[unit.node].clone();
        unit.step = Step::Stop { replica: replica.clone() };
        unit.takes = nothing.clone();
        unit.gives = unit.frees.clone();
        let again = Unit {
            step: Step::Start { replica, node, generation },
            workload: unit.workload.clone(),
            takes: new_demand(program, &unit.workload),
            gives: nothing.clone(),
            frees: nothing,
            disrupts: false,
            after: Some(first),
            ..*unit
        };
        units.push(again);
    }
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
        let unit = |step, node: usize, takes: &[u64], (gives, frees): (&[u64], &[u64]), disrupts, after| Unit {
            change: position,
            step,
            workload: change.workload.clone(),
            position: program.workloads.binary_search(&change.workload).ok(),
            node,
            takes: takes.to_vec(),
            gives: gives.to_vec(),
            frees: frees.to_vec(),
            disrupts,
            after,
            of_move: false,
        };
        let start = |index: u32, to: usize| {
            let replica = ReplicaId { workload: change.workload.clone(), index };
            unit(
                Step::Start { replica, node: program.nodes[to].clone(), generation },
                to,
                &new,
                (&nothing, &nothing),
                false,
                None,
            )
        };
        for (nth, index) in change.replicas.iter().enumerate() {
            let replica = ReplicaId { workload: change.workload.clone(), index: *index };
            let old = held(state, program, &replica);
            match (change.action, node(&change.from), node(&change.to)) {
                (Action::Start, _, Some(to)) => units.push(start(*index, to)),
                (Action::Stop, Some(from), _) => {
                    units.push(unit(Step::Stop { replica }, from, &nothing, (&old, &old), true, None));
                }
                (Action::Update, Some(from), _) => {
                    let takes: Vec<u64> = new.iter().zip(&old).map(|(new, old)| new.saturating_sub(*old)).collect();
                    let gives: Vec<u64> = old.iter().zip(&new).map(|(old, new)| old.saturating_sub(*new)).collect();
                    units.push(unit(Step::Update { replica, generation }, from, &takes, (&gives, &old), true, None));
                }
                (Action::Move, Some(from), Some(to)) => {
                    units.push(Unit { of_move: true, ..start(change.new_replicas[nth], to) });
                    let after = units.len() - 1;
                    units.push(unit(Step::Stop { replica }, from, &nothing, (&old, &old), true, Some(after)));
                }
                // What ran on a node that is gone is gone.
                (Action::Move, None, Some(to)) => units.push(start(change.new_replicas[nth], to)),
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

/// What a stop lets begin, the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Opens {
    /// A start of its own workload, after which one more may stop.
    Own,
    Others,
    Nothing,
}

/// What is free and what runs. Within a wave, everything that begins counts at once and nothing that ends does.
struct Ground {
    /// By node, then resource: what is free of what it has, or of what the final placement holds if that is more. Below zero where the present
    /// state holds too much.
    free: Vec<Vec<i128>>,
    up: BTreeMap<String, i64>,
    floor: BTreeMap<String, i64>,
    limits: Limits,
}

impl Ground {
    fn new(state: &State, program: &Program, placed: &[Placed], budgets: &BTreeMap<String, Budget>) -> Self {
        let problem = &program.problem;
        let mut in_the_end = vec![vec![0; problem.resources.len()]; problem.nodes.len()];
        for entry in placed {
            let demand = &problem.workloads[entry.workload].demand;
            for (sum, amount) in in_the_end[entry.node].iter_mut().zip(demand) {
                *sum += i128::from(*amount) * i128::from(entry.count);
            }
        }
        let most = |(node, held): (&hyphae_solver::Node, &Vec<i128>)| {
            node.capacity.iter().zip(held).map(|(has, held)| i128::from(*has).max(*held)).collect()
        };
        let mut free: Vec<Vec<i128>> = problem.nodes.iter().zip(&in_the_end).map(most).collect();
        let mut up: BTreeMap<String, i64> = BTreeMap::new();
        for (id, replica) in &state.replicas {
            if let Ok(node) = program.nodes.binary_search(&replica.node) {
                *up.entry(id.workload.clone()).or_default() += 1;
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
        let waiting = |(unit, done): (&Unit, &bool)| (!done && unit.of_move).then_some(unit.node);
        let mut awaited: BTreeMap<usize, usize> = BTreeMap::new();
        units.iter().zip(done).filter_map(waiting).for_each(|node| *awaited.entry(node).or_default() += 1);
        let mut wave = Vec::new();
        // What only takes room comes last, and not where a move still waits for room.
        let (last, first): (Vec<usize>, Vec<usize>) =
            (0..units.len()).partition(|position| units[*position].takes_only() && !units[*position].of_move);
        for (position, is_last) in first.iter().map(|unit| (*unit, false)).chain(last.iter().map(|unit| (*unit, true)))
        {
            let unit = &units[position];
            let ready = !done[position] && unit.after.is_none_or(|before| done[before]);
            let yields = is_last && awaited.get(&unit.node).is_some_and(|moves| *moves > 0);
            if ready && !yields && self.has_room(unit) && (!unit.disrupts || self.can_spare(&unit.workload)) {
                self.begin(unit);
                wave.push(position);
                if let (true, Some(moves)) = (unit.of_move, awaited.get_mut(&unit.node)) {
                    *moves -= 1;
                }
            }
        }
        wave.sort_unstable();
        wave
    }

    /// For new replicas that are up, old ones of the same workload may stop: those that let something begin go first.
    fn match_anew(&mut self, units: &mut [Unit], done: &[bool]) {
        let mut stops: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for position in (0..units.len()).filter(|position| !done[*position]) {
            if matches!((&units[position].step, units[position].after), (Step::Stop { .. }, Some(_))) {
                stops.entry(&units[position].workload).or_default().push(position);
            }
        }
        let is_up = |stop: &usize| units[*stop].after.is_some_and(|start| done[start]);
        stops.retain(|_, stops| stops.iter().any(is_up) && !stops.iter().all(is_up));
        if stops.is_empty() {
            return;
        }
        let blocked = self.blocked(units, done);
        let mut matched: Vec<(usize, Option<usize>)> = Vec::new();
        for stops in stops.into_values() {
            let mut starts: Vec<Option<usize>> = stops.iter().map(|stop| units[*stop].after).collect();
            starts.sort_by_key(|start| !start.is_some_and(|start| done[start]));
            let mut order: Vec<_> =
                stops.iter().map(|stop| (self.opens(units, &blocked, *stop), !is_up(stop), *stop)).collect();
            order.sort_unstable();
            matched.extend(order.into_iter().map(|(.., stop)| stop).zip(starts));
        }
        matched.into_iter().for_each(|(stop, start)| units[stop].after = start);
    }

    /// What could begin if there were room.
    fn blocked(&self, units: &[Unit], done: &[bool]) -> Vec<usize> {
        let ready = |position: &usize| !done[*position] && units[*position].after.is_none_or(|before| done[before]);
        (0..units.len()).filter(ready).filter(|position| !self.has_room(&units[*position])).collect()
    }

    fn has_room(&self, unit: &Unit) -> bool {
        let arrives = matches!(unit.step, Step::Start { .. });
        fits(&self.free[unit.node], &unit.takes)
            && unit.position.filter(|_| arrives).is_none_or(|workload| self.limits.allow(workload, unit.node))
    }

    fn can_spare(&self, workload: &str) -> bool {
        self.up.get(workload).copied().unwrap_or(0) > self.floor.get(workload).copied().unwrap_or(0)
    }

    /// What to break when nothing can begin: a stop, so that something can. An update, which takes its replica down anyway, rather than a move;
    /// before all, one whose workload can spare a replica.
    fn cycle(&mut self, units: &[Unit], done: &[bool]) -> Option<usize> {
        let pending = || (0..units.len()).filter(|position| !done[*position]);
        let ready = |unit: &Unit| unit.after.is_none_or(|before| done[before]);
        let blocked = self.blocked(units, done);
        let waits = |position: &usize| !ready(&units[*position]) || blocked.binary_search(position).is_ok();
        let mut stops: Vec<usize> = pending().filter(|unit| units[*unit].disrupts).filter(waits).collect();
        stops.sort_by_key(|position| {
            let unit = &units[*position];
            (!self.can_spare(&unit.workload), unit.after.is_some(), *position)
        });
        let helps = stops.iter().find(|stop| self.opens(units, &blocked, **stop) != Opens::Nothing);
        helps.or(stops.first()).copied()
    }

    /// What of all that is blocked can begin when what `stop` stops is no longer there.
    fn opens(&mut self, units: &[Unit], blocked: &[usize], stop: usize) -> Opens {
        let Unit { node, position, frees, workload, .. } = &units[stop];
        self.free[*node].iter_mut().zip(frees).for_each(|(free, frees)| *free += i128::from(*frees));
        position.iter().for_each(|workload| self.limits.leave(*workload, *node));
        let (mut own, mut other) = (false, false);
        for unit in blocked.iter().filter(|unit| **unit != stop && self.has_room(&units[**unit])) {
            own |= units[*unit].of_move && units[*unit].workload == *workload;
            other = true;
        }
        position.iter().for_each(|workload| self.limits.arrive(*workload, *node));
        take(&mut self.free[*node], frees);
        match (own, other) {
            (true, _) => Opens::Own,
            (_, true) => Opens::Others,
            _ => Opens::Nothing,
        }
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
