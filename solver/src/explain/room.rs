//! How many more replicas of a workload would fit, everybody else keeping as many as they have.

use super::Explainer;
use super::ground::nothing;
use super::wish::want;
use crate::backend::{SolveLimits, Whole};
use crate::classes::classes;
use crate::deadline::Deadline;
use crate::greedy::{Fit, Greedy};
use crate::instance::Instance;
use crate::layout::Layout;
use crate::model::{Model, Scope};
use crate::prune::prune;
use crate::{
    Constraint, Objective, Placed, Problem, ProblemError, Rule, Shortage, SolveOptions, Tier, WorkloadIdx, verify,
};

/// The priorities of the question: what others have comes first.
const OTHERS: i32 = 1;
const WISHER: i32 = 0;
/// Nobody asks for more replicas than this.
const MORE_MAX: u32 = 1_000_000;
/// Rounds in which the number wanted is brought down to the number placed.
const ROUNDS_MAX: usize = 8;

/// How many more replicas fit: at least `low`, for which a placement was found and verified; at most `high`, which is proven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Room {
    /// So many do.
    pub low: u32,
    /// More do not.
    pub high: u32,
    /// Why not one more than `low`; as far as it can be said.
    pub stops: Option<Shortage>,
}

/// How many more replicas of `workload` fit than `placed` holds, when everybody else keeps at least as many and may move. Exact
/// (`low == high`) for problems of up to `exact_pairs_max` pairs when time suffices.
///
/// # Errors
/// Whatever makes the problem unsound.
pub fn room(
    problem: &Problem,
    placed: &[Placed],
    workload: WorkloadIdx,
    options: &SolveOptions,
) -> Result<Room, ProblemError> {
    problem.validate()?;
    let deadline = Deadline::after(options.time_limit).or_cancel(options.cancel);
    let asked = Asked { problem, placed, workload, has: count(placed, workload) };
    let (mut low, mut best) = (0, placed.to_vec());
    let mut high = asked.most();
    // With fewer wanted some rules bind more (what a loss may take), so the number asked for is brought down to the number that fits,
    // until the two are one: a bound found for asking more holds for asking less.
    for _ in 0..ROUNDS_MAX {
        if high <= low || deadline.passed() {
            break;
        }
        let (found, most) = asked.fill(high, options.exact_pairs_max, deadline);
        let more = count(&found, workload).saturating_sub(asked.has);
        if more > low && verify(&asked.with(more), &found).is_ok() {
            (low, best) = (more, found);
        }
        if most >= high {
            break;
        }
        high = most;
    }
    let high = high.max(low);
    let stops = options.explain.then(|| asked.stops(&best, low, options.exact_pairs_max, deadline));
    Ok(Room { low, high, stops: stops.flatten() })
}

struct Asked<'a> {
    problem: &'a Problem,
    placed: &'a [Placed],
    workload: usize,
    has: u32,
}

impl Asked<'_> {
    /// More than this fit nowhere, looking at each node alone.
    fn most(&self) -> u32 {
        let mut alone = self.problem.clone();
        alone.workloads[self.workload].wanted = self.has.saturating_add(MORE_MAX);
        let instance = Instance::new(&alone);
        let nodes = 0..alone.nodes.len();
        let all: u64 = nodes.map(|node| u64::from(instance.most_on(self.workload, node))).sum();
        u32::try_from(all).unwrap_or(u32::MAX).saturating_sub(self.has).min(MORE_MAX)
    }

    /// The problem in which the workload wants `more` (or what it wants already, when that is more still), after what others have.
    fn with(&self, more: u32) -> Problem {
        let mut problem = self.problem.clone();
        for other in (0..problem.workloads.len()).filter(|other| *other != self.workload) {
            let has = count(self.placed, other).min(problem.workloads[other].wanted);
            want(&mut problem, other, has);
            problem.workloads[other].priority = OTHERS;
        }
        let spec = &mut problem.workloads[self.workload];
        (spec.wanted, spec.priority) = (self.has.saturating_add(more).max(spec.wanted), WISHER);
        problem.constraints.iter_mut().for_each(|constraint| {
            let own =
                matches!(&constraint.rule, Rule::AllOrNothing { workloads } if workloads.contains(&self.workload));
            if constraint.weight.is_some() || own {
                *constraint = Constraint { rule: nothing(), weight: None };
            }
        });
        problem.objective = Objective::default();
        problem
    }

    /// A placement with as many of `more` as could be found, and a proven bound on how many there can be.
    fn fill(&self, more: u32, exact_pairs_max: usize, deadline: Deadline) -> (Vec<Placed>, u32) {
        let problem = self.with(more);
        let instance = Instance::new(&problem);
        let single = instance.pairs() <= exact_pairs_max;
        let whole = Scope::whole(&instance);
        let scope = if single { whole } else { Scope { bins: classes(&instance), whole_counts: false, ..whole } };
        let model = Model::build(&instance, &scope);
        let missing = |priority: i32| {
            let mut tiers = model.tiers.iter().filter(|(tier, _)| *tier == Tier::Shortage(priority));
            tiers.next().map(|(_, missing)| missing.clone()).unwrap_or_default()
        };
        let whole = if single { Whole::All } else { Whole::None };
        let limits =
            SolveLimits { deadline: deadline.within(deadline.remaining() / 2), whole, gap: 0.5, relative_gap: 0.0 };
        let outcome = model.program.minimise(&missing(WISHER), &[missing(OTHERS)], None, limits);
        let least = outcome.bound.map_or(0, |bound| (bound - 1e-6 * bound.abs().max(1.0)).ceil().max(0.0) as u32);
        let start = prune(&instance, self.placed);
        let greedy = Greedy::new(&instance, Fit::Tightest).extend(&start);
        let exact = outcome.values.filter(|_| single).map(|values| model.placement(&model.rounded(&values)));
        let holds = |placed: &Vec<Placed>| {
            let others = (0..problem.workloads.len()).filter(|other| *other != self.workload);
            verify(&problem, placed).is_ok() && { others }.all(|o| count(placed, o) >= problem.workloads[o].wanted)
        };
        let found = [Some(greedy), exact].into_iter().flatten().filter(holds);
        let found = found.max_by_key(|placed| count(placed, self.workload)).unwrap_or_else(|| self.placed.to_vec());
        let wanted = problem.workloads[self.workload].wanted;
        (found, wanted.saturating_sub(least).saturating_sub(self.has).min(more))
    }

    /// Why one more than `low` does not fit.
    fn stops(&self, best: &[Placed], low: u32, exact_pairs_max: usize, deadline: Deadline) -> Option<Shortage> {
        let mut problem = self.problem.clone();
        for other in (0..problem.workloads.len()).filter(|other| *other != self.workload) {
            let has = count(best, other).min(problem.workloads[other].wanted);
            want(&mut problem, other, has);
            problem.workloads[other].priority = problem.workloads[self.workload].priority;
        }
        problem.workloads[self.workload].wanted = self.has.checked_add(low)?.checked_add(1)?;
        let instance = Instance::new(&problem);
        let placed = prune(&instance, best);
        let explainer = Explainer { instance: &instance, placed: &placed, exact_pairs_max, deadline };
        let layout = Layout::new(&instance, &placed);
        (layout.missing(self.workload) > 0).then(|| explainer.reasons(&layout, self.workload))
    }
}

fn count(placed: &[Placed], workload: usize) -> u32 {
    placed.iter().filter(|entry| entry.workload == workload).map(|entry| entry.count).sum()
}
