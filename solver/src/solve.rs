//! From a problem to its solution: which stages run, and what is claimed in the end.

use crate::backend::{Linear, Whole};
use crate::classes::{bounds, class_model};
use crate::deadline::Deadline;
use crate::explain::Explainer;
use crate::greedy::{Fit, Greedy};
use crate::guided::Guide;
use crate::instance::Instance;
use crate::layout::Layout;
use crate::lexicographic::{Effort, minimise};
use crate::model::{Model, Scope};
use crate::prune::prune;
use crate::{Placed, Problem, ProblemError, Shortage, Solution, SolveStats, Tier, TierValue, evaluate, verify};
use std::time::Duration;

/// How much may be spent on an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SolveOptions {
    /// When to stop; the best verified placement so far is then the answer.
    pub time_limit: Duration,
    /// Say why what is short is short, and what would help.
    pub explain: bool,
    /// At most so many (workload, node) pairs go into one exact program; above, classes and neighbourhoods carry the search.
    pub exact_pairs_max: usize,
}

impl Default for SolveOptions {
    fn default() -> SolveOptions {
        SolveOptions { time_limit: Duration::from_secs(10), explain: true, exact_pairs_max: 3_000 }
    }
}

/// Reasons take no longer than this.
const EXPLAIN_MAX: Duration = Duration::from_secs(2);

/// Finds the best placement it can before the time is out. Equal problems give equal answers, unless time ends the search.
pub fn solve(problem: &Problem, options: &SolveOptions) -> Result<Solution, ProblemError> {
    problem.validate()?;
    let instance = Instance::new(problem);
    let deadline = Deadline::after(options.time_limit);
    let reserved = if options.explain { (options.time_limit / 5).min(EXPLAIN_MAX) } else { Duration::ZERO };
    let searching = Deadline::after(options.time_limit - reserved);
    let mut search = Search::new(&instance, prune(&instance, &problem.current));
    search.greedy();
    if instance.pairs() <= options.exact_pairs_max {
        // Most problems of this size are proven at once; for the others a good start is worth more than a longer search.
        search.exact(searching, options.time_limit / 8);
        if !search.is_proven() {
            search.large(searching.within(searching.remaining() / 2));
            search.exact(searching, searching.remaining());
        }
    } else {
        search.large(searching);
    }
    let shortages = search.shortages(options, deadline.within(EXPLAIN_MAX));
    Ok(search.solution(shortages))
}

/// The best placement so far, with what has been proven.
pub(crate) struct Search<'i, 'p> {
    pub(crate) instance: &'i Instance<'p>,
    pub(crate) best: Vec<Placed>,
    pub(crate) worth: Vec<(Tier, u64)>,
    pub(crate) bounds: Vec<u64>,
    pub(crate) stats: SolveStats,
}

impl<'i, 'p> Search<'i, 'p> {
    pub(crate) fn new(instance: &'i Instance<'p>, start: Vec<Placed>) -> Search<'i, 'p> {
        let worth = evaluate(instance.problem, &start);
        let bounds = vec![0; worth.len()];
        let stats = SolveStats { method: "greedy".to_owned(), variables: 0, constraints: 0, timed_out: false };
        Search { instance, best: start, worth, bounds, stats }
    }

    /// Takes a placement if it is sound and better than the best. The only way in.
    pub(crate) fn offer(&mut self, placed: Vec<Placed>) -> bool {
        if verify(self.instance.problem, &placed).is_err() {
            return false;
        }
        let worth = evaluate(self.instance.problem, &placed);
        let better = worth.iter().map(|(_, v)| v).lt(self.worth.iter().map(|(_, v)| v));
        if better {
            let before: Vec<u64> = self.worth.iter().map(|(_, value)| *value).collect();
            (self.best, self.worth) = (placed, worth);
            self.keep_valid_bounds(&before);
        }
        better
    }

    /// Bounds were found for placements that are no worse than `at` in the tiers before: those of tiers behind one that is worse now say
    /// nothing any more.
    fn keep_valid_bounds(&mut self, at: &[u64]) {
        let worse = self.worth.iter().zip(at).position(|((_, value), at)| value > at);
        if let Some(worse) = worse {
            self.bounds[worse + 1..].fill(0);
        }
    }

    fn is_proven(&self) -> bool {
        self.worth.iter().zip(&self.bounds).all(|((_, value), bound)| value <= bound)
    }

    pub(crate) fn saw_program(&mut self, model: &Model) {
        self.stats.variables = self.stats.variables.max(model.program.column_count());
        self.stats.constraints = self.stats.constraints.max(model.program.row_count());
    }

    /// Greedy placements, keeping what runs and starting from nothing (so that what matters more may displace what runs).
    pub(crate) fn greedy(&mut self) {
        let natural = Greedy::natural_fit(self.instance.problem.objective.shape);
        let kept = self.best.clone();
        for (fit, start) in [(natural, kept.as_slice()), (natural, &[]), (Fit::Tightest, &[]), (Fit::Loosest, &[])] {
            if self.is_short() || fit == natural && !start.is_empty() || self.best.is_empty() {
                self.offer(Greedy::new(self.instance, fit).extend(start));
            }
        }
    }

    /// Classes, neighbourhoods, bounds.
    fn large(&mut self, deadline: Deadline) {
        let model = class_model(self.instance, 0.0);
        self.saw_program(&model);
        self.stats.method = "greedy with class bounds".to_owned();
        // What runs stays by default: then there is nothing to guide as long as all is placed.
        let settled = self.worth.iter().all(|(tier, value)| *value == 0 || matches!(tier, Tier::Cost | Tier::Shape));
        let free_to_move = self.instance.problem.current.len() * 2 < self.best.len();
        let steps: &[(f64, bool)] =
            if settled && !free_to_move { &[] } else { &[(0.02, true), (0.0, true), (0.04, false), (0.01, false)] };
        for step in steps.iter().copied() {
            if !step.1 && !self.is_short() {
                break;
            }
            let Some(guide) = Guide::new(self.instance, step, deadline, Duration::from_secs(1)) else { continue };
            self.offer(guide.follow(self.instance));
        }
        bounds(&model, &self.worth, &mut self.bounds, Whole::None, deadline, Duration::from_secs(2));
        self.empty_nodes(deadline);
        self.neighbourhoods(deadline.within(deadline.remaining().mul_f64(0.9)));
        self.empty_nodes(deadline);
        bounds(&model, &self.worth, &mut self.bounds, Whole::None, deadline, Duration::from_secs(2));
    }

    pub(crate) fn is_short(&self) -> bool {
        self.worth.iter().any(|(tier, value)| matches!(tier, Tier::Shortage(_)) && *value > 0)
    }

    /// The whole problem as one program per tier, each node by itself.
    fn exact(&mut self, deadline: Deadline, each: Duration) {
        let model = Model::build(self.instance, &Scope::whole(self.instance));
        self.saw_program(&model);
        if !model.program.is_sound() {
            return;
        }
        let start = model.start_from(&self.best);
        let broken = model.program.broken_by(&start, &[] as &[Linear]);
        debug_assert!(broken.is_none() || model.has_choices, "a sound placement satisfies the model: {broken:?}");
        let start = Some(start).filter(|_| broken.is_none());
        let effort = Effort { deadline, each, relative_gap: 0.0, tiers: usize::MAX };
        let found = minimise(&model, start, &self.bounds, effort);
        if let Some(values) = &found.values {
            let reached =
                model.tiers.iter().map(|(_, tier)| tier.value(values).round().max(0.0) as u64).collect::<Vec<_>>();
            self.offer(model.placement(values));
            self.bounds = found.bounds;
            self.keep_valid_bounds(&reached);
        } else {
            self.bounds = found.bounds;
        }
        self.stats.timed_out |= found.timed_out;
        self.stats.method = "exact per node".to_owned();
    }

    /// What is short, with reasons when they are asked for.
    fn shortages(&self, options: &SolveOptions, deadline: Deadline) -> Vec<Shortage> {
        if options.explain && self.is_short() {
            let (instance, placed, exact_pairs_max) = (self.instance, self.best.as_slice(), options.exact_pairs_max);
            return Explainer { instance, placed, exact_pairs_max, deadline }.shortages();
        }
        let layout = Layout::new(self.instance, &self.best);
        let bare = |workload: usize| Shortage {
            workload,
            missing: layout.missing(workload),
            conflict: Vec::new(),
            repairs: Vec::new(),
            proven: false,
        };
        layout.short().into_iter().map(bare).collect()
    }

    fn solution(self, shortages: Vec<Shortage>) -> Solution {
        let problem = self.instance.problem;
        let mut proven = true;
        let tiers = self.worth.iter().zip(&self.bounds).map(|((tier, value), bound)| {
            let bound = *bound.min(value);
            proven &= bound == *value;
            TierValue { tier: *tier, value: *value, bound, proven }
        });
        let tiers = tiers.collect();
        let unrepaired = verify(problem, &self.best).unwrap_or_default();
        Solution { tiers, shortages, unrepaired, placed: self.best, stats: self.stats }
    }
}
