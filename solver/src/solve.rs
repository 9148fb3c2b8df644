//! From a problem to its solution: which stages run, and what is claimed in the end.

use crate::backend::{Linear, Whole};
use crate::classes::{bounds, class_model};
use crate::deadline::Deadline;
use crate::evaluate::improvement;
use crate::explain::{Ask, Explainer};
use crate::greedy::{Fit, Greedy};
use crate::guided::Guide;
use crate::instance::Instance;
use crate::layout::Layout;
use crate::lexicographic::{Effort, minimise};
use crate::many_rules::too_many;
use crate::model::{Model, Scope};
use crate::prune::prune;
use crate::reassign::{ReassignLimits, reassign_until};
use crate::refuges::is_reserve;
use crate::{
    Cancel, Placed, Problem, ProblemError, Proof, Repair, Shortage, Solution, SolveStats, Tier, TierValue, evaluate,
    verify,
};
use std::time::Duration;

/// Which stages run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SolveEffort {
    /// A small change to a large cluster is planned incrementally; when that places everything and breaks nothing, the rest of the time
    /// goes to bounds only. Otherwise everything runs.
    #[default]
    Auto,
    /// Only what is missing or broken is looked at, and the bounds are those that need no program: an answer at once.
    Incremental,
    /// Every stage, whatever the change.
    Full,
}

/// How much may be spent on an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SolveOptions {
    /// When to stop; the best verified placement so far is then the answer.
    pub time_limit: Duration,
    /// Say why what is short is short, and what would help.
    pub explain: bool,
    /// At most so many (workload, node) pairs go into one exact program; above, classes and neighbourhoods carry the search.
    pub exact_pairs_max: usize,
    /// Ends the search early.
    pub cancel: Option<Cancel>,
    /// Which stages run.
    pub effort: SolveEffort,
}

impl Default for SolveOptions {
    fn default() -> SolveOptions {
        SolveOptions {
            time_limit: Duration::from_secs(10),
            explain: true,
            exact_pairs_max: 3_000,
            cancel: None,
            effort: SolveEffort::Auto,
        }
    }
}

/// The part of the search that classes have where a program of single nodes is small enough, but does not prove everything soon.
const LARGE_PART: f64 = 0.85;
/// The part of a search that goes to placements whose losses can be borne, as long as any cannot.
const RESERVES_PART: f64 = 0.7;
/// Threads of a search that takes several.
pub(crate) const THREADS: usize = 2;
/// Reasons take no longer than this.
const EXPLAIN_MAX: Duration = Duration::from_secs(2);

/// Finds the best placement it can before the time is out. Equal problems give equal answers, unless time ends the search.
pub fn solve(problem: &Problem, options: &SolveOptions) -> Result<Solution, ProblemError> {
    problem.validate()?;
    let mut instance = Instance::new(problem);
    let deadline = Deadline::after(options.time_limit).or_cancel(options.cancel);
    let start = prune(&instance, &problem.current);
    let reserved = if options.explain { (options.time_limit / 5).min(EXPLAIN_MAX) } else { Duration::ZERO };
    let searching = deadline.within(options.time_limit - reserved);
    instance.until = Some(searching);
    let mut search = Search::new(&instance, start);
    let small = instance.pairs() > options.exact_pairs_max && instance.is_small_change();
    if options.effort == SolveEffort::Incremental || options.effort == SolveEffort::Auto && small {
        let settled = search.incremental(searching);
        if options.effort == SolveEffort::Incremental || settled {
            if options.effort == SolveEffort::Auto && !too_many(problem) {
                search.bounds_of_classes(searching);
            }
            let explained = search.explained(options, deadline.within(EXPLAIN_MAX));
            return Ok(search.solution(explained));
        }
    }
    search.greedy();
    let large = instance.pairs() > options.exact_pairs_max;
    search.ensure_reserves(large, searching.within(searching.remaining().mul_f64(RESERVES_PART)));
    if too_many(problem) {
        search.without_programs(searching);
    } else if !large {
        // Most problems of this size are proven at once; for the others a good start is worth more than a longer search.
        let soon = options.time_limit / 8;
        search.exact(searching.within(soon), soon);
        if !search.is_proven() {
            search.ensure_reserves(true, searching.within(searching.remaining() / 4));
            // What a loss asks of single nodes, classes do not see.
            let has_reserve = problem.constraints.iter().any(is_reserve);
            let part = if has_reserve { 0.5 } else { LARGE_PART };
            search.large(searching.within(searching.remaining().mul_f64(part)));
            search.exact(searching, searching.remaining());
        }
    } else {
        search.large(searching);
    }
    let explained = search.explained(options, deadline.within(EXPLAIN_MAX));
    Ok(search.solution(explained))
}

/// The best placement so far, with what has been proven.
#[derive(Clone)]
pub(crate) struct Search<'i, 'p> {
    pub(crate) instance: &'i Instance<'p>,
    pub(crate) best: Vec<Placed>,
    pub(crate) worth: Vec<(Tier, u64)>,
    pub(crate) bounds: Vec<u64>,
    /// Per bound, what gave it.
    proofs: Vec<Proof>,
    /// Rows that every placement keeps and the class program's relaxation broke so far.
    pub(crate) cuts: Vec<Linear>,
    pub(crate) stats: SolveStats,
}

impl<'i, 'p> Search<'i, 'p> {
    pub(crate) fn new(instance: &'i Instance<'p>, start: Vec<Placed>) -> Search<'i, 'p> {
        let worth = evaluate(instance.problem, &start);
        let (bounds, proofs) = (vec![0; worth.len()], vec![Proof::Trivial; worth.len()]);
        let stats = SolveStats { method: "greedy".to_owned(), variables: 0, constraints: 0, timed_out: false };
        Search { instance, best: start, worth, bounds, proofs, cuts: Vec::new(), stats }
    }

    /// Takes a placement if it is sound and better than the best. The only way in.
    pub(crate) fn offer(&mut self, placed: Vec<Placed>) -> bool {
        let Some(worth) = improvement(self.instance.problem, &placed, &self.worth) else { return false };
        let before: Vec<u64> = self.worth.iter().map(|(_, value)| *value).collect();
        (self.best, self.worth) = (placed, worth);
        self.keep_valid_bounds(&before);
        true
    }

    /// Bounds were found for placements that are no worse than `at` in the tiers before: those of tiers behind one that is worse now say
    /// nothing any more.
    fn keep_valid_bounds(&mut self, at: &[u64]) {
        let worse = self.worth.iter().zip(at).position(|((_, value), at)| value > at);
        if let Some(worse) = worse {
            self.bounds[worse + 1..].fill(0);
            self.proofs[worse + 1..].fill(Proof::Trivial);
        }
    }

    /// Bounds that are better than those known.
    pub(crate) fn learn(&mut self, bounds: Vec<u64>, proof: Proof) {
        for (index, bound) in bounds.into_iter().enumerate() {
            if bound > self.bounds[index] {
                (self.bounds[index], self.proofs[index]) = (bound, proof);
            }
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
        let passes = [(natural, kept.as_slice()), (natural, &[]), (Fit::Tightest, &[]), (Fit::Loosest, &[])];
        for (pass, (fit, start)) in passes.into_iter().enumerate() {
            // One is made whatever the time; others only as long as there is some.
            if pass > 0 && !self.best.is_empty() && self.instance.until.is_some_and(Deadline::passed) {
                return;
            }
            if self.is_short() || fit == natural && !start.is_empty() || self.best.is_empty() {
                self.offer(Greedy::new(self.instance, fit).extend(start));
            }
        }
    }

    /// The bounds of the class program alone, where something is open that it could close.
    fn bounds_of_classes(&mut self, deadline: Deadline) {
        let open = |((tier, value), bound): (&(Tier, u64), &u64)| *tier != Tier::Shape && value > bound;
        if self.worth.iter().zip(&self.bounds).any(open) && !deadline.passed() {
            let model = class_model(self.instance, 0.0);
            self.saw_program(&model);
            let known = (&mut self.bounds[..], &mut self.proofs[..]);
            bounds(&model, &self.worth, known, &mut self.cuts, (None, |_| true), deadline);
        }
    }

    /// Classes, neighbourhoods, bounds.
    fn large(&mut self, deadline: Deadline) {
        let model = class_model(self.instance, 0.0);
        self.saw_program(&model);
        self.stats.method = "greedy with class bounds".to_owned();
        let short = |tier: Tier| matches!(tier, Tier::Shortage(_));
        if self.is_open(short) {
            // What must stay out whatever is done is worth knowing before room is looked for.
            let known = (&mut self.bounds[..], &mut self.proofs[..]);
            bounds(
                &model,
                &self.worth,
                known,
                &mut self.cuts,
                (None, short),
                deadline.within(deadline.remaining() / 4),
            );
        }
        if self.is_open(short) {
            self.place_everything(deadline.within(deadline.remaining() / 4));
        }
        let guide = self.relaxed(&model, deadline.within(deadline.remaining() / 3));
        if guide.is_none() {
            self.guided(deadline);
            self.reassigned(deadline.within(deadline.remaining() / 2));
        }
        let searching = deadline.within(deadline.remaining().mul_f64(0.97));
        if let Some(guide) = &guide {
            self.squeeze(&model, guide, searching);
        }
        self.bounded_meanwhile(searching, |search| {
            search.ruin_and_recreate(searching);
            search.repack_devices(searching.within(searching.remaining().mul_f64(0.9)));
            search.neighbourhoods(searching);
            search.empty_nodes(searching);
        });
        bounds(
            &model,
            &self.worth,
            (&mut self.bounds, &mut self.proofs),
            &mut self.cuts,
            (None, |_| true),
            deadline.within(Duration::from_secs(2)),
        );
    }

    /// Moves single replicas that run for the sake of soft rules, where the problem is one of machine reassignment.
    fn reassigned(&mut self, deadline: Deadline) {
        if !self.is_open(|tier| tier == Tier::Soft) || deadline.passed() {
            return;
        }
        let limits = ReassignLimits { time: deadline.remaining(), threads: THREADS, ..ReassignLimits::default() };
        let found = reassign_until(self.instance.problem, &limits, deadline);
        if found.is_some_and(|placed| self.offer(placed)) {
            self.stats.method = "machine reassignment with class bounds".to_owned();
        }
    }

    /// Bounds of the class program's relaxation, and what it would like where everything is free to go anywhere and a board can hold it.
    fn relaxed(&mut self, model: &Model, deadline: Deadline) -> Option<Guide> {
        // Soft rules and shape may wait.
        let needed = |tier| matches!(tier, Tier::Shortage(_) | Tier::Repair | Tier::Cost | Tier::PricedCost);
        let most = deadline.within(deadline.remaining().mul_f64(0.75));
        let relaxed =
            bounds(model, &self.worth, (&mut self.bounds, &mut self.proofs), &mut self.cuts, (None, needed), most);
        if !self.instance.problem.current.is_empty() || self.board(&[]).is_none() {
            return None;
        }
        match relaxed {
            Some(values) => Some(Guide::from_values(model, &values, true)),
            None => Guide::new(self.instance, (0.0, true), (&self.cuts, Whole::None, &[]), None, deadline),
        }
    }

    /// Placements along what the class program would like, with some capacity held back so that its counts come apart into nodes.
    fn guided(&mut self, deadline: Deadline) {
        let (instance, each) = (self.instance, deadline.remaining() / 10);
        let cuts = self.cuts.clone();
        let guide =
            |step: (f64, bool)| Guide::new(instance, step, (&cuts, Whole::None, &[]), None, deadline.within(each));
        // What runs stays by default: then there is nothing to guide as long as all is placed.
        let settled = self.worth.iter().all(|(tier, value)| *value == 0 || matches!(tier, Tier::Cost | Tier::Shape));
        let free_to_move = instance.problem.current.len() * 2 < self.best.len();
        let steps: &[(f64, bool)] =
            if settled && !free_to_move { &[] } else { &[(0.02, true), (0.0, true), (0.04, false), (0.01, false)] };
        for step in steps.iter().copied() {
            if !step.1 && !self.is_short() {
                break;
            }
            if let Some(guide) = guide(step) {
                self.offer(guide.follow(instance));
            }
        }
    }

    /// Searches on this thread while the class program, in the end with whole node counts from the best placement, is worked at for bounds on
    /// another. The two know nothing of each other until both are done.
    fn bounded_meanwhile(&mut self, deadline: Deadline, search: impl FnOnce(&mut Self)) {
        let (at, before) = (self.worth.clone(), self.clone());
        let found = std::thread::scope(|scope| {
            let bounding = scope.spawn(move || before.bounded(deadline));
            search(self);
            bounding.join()
        });
        // They hold as far as the tiers before are no worse now than they were then.
        let Ok((bounds, proofs, _)) = found else { return };
        let worse = self.worth.iter().zip(&at).position(|((_, now), (_, then))| now > then);
        let hold = worse.map_or(bounds.len(), |worse| worse + 1);
        self.learn_all(bounds[..hold].to_vec(), proofs);
    }

    /// Bounds of the class program, with whole node counts from the best placement, with what gave them; and, if it came to the cost, its values.
    pub(crate) fn bounded(&self, deadline: Deadline) -> (Vec<u64>, Vec<Proof>, Option<Vec<f64>>) {
        let (mut known, mut proofs, mut cuts) = (self.bounds.clone(), self.proofs.clone(), self.cuts.clone());
        let model = class_model(self.instance, 0.0);
        let start = model.start_from(&self.best);
        let which = (Some(start.as_slice()), (|tier| tier != Tier::Shape) as fn(Tier) -> bool);
        let values = bounds(&model, &self.worth, (&mut known, &mut proofs), &mut cuts, which, deadline);
        (known, proofs, values)
    }

    /// Bounds that are better than those known, each with what gave it.
    pub(crate) fn learn_all(&mut self, bounds: Vec<u64>, proofs: Vec<Proof>) {
        for (index, (bound, proof)) in bounds.into_iter().zip(proofs).enumerate() {
            if bound > self.bounds[index] {
                (self.bounds[index], self.proofs[index]) = (bound, proof);
            }
        }
    }

    /// Whether any of these tiers is above its bound.
    pub(crate) fn is_open(&self, which: impl Fn(Tier) -> bool) -> bool {
        self.worth.iter().zip(&self.bounds).any(|((tier, value), bound)| value > bound && which(*tier))
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
            self.learn(found.bounds, Proof::ExactProgram);
            self.keep_valid_bounds(&reached);
        } else {
            self.learn(found.bounds, Proof::ExactProgram);
        }
        self.stats.timed_out |= found.timed_out;
        self.stats.method = "exact per node".to_owned();
    }

    /// What is short, with reasons and what would help all of it when they are asked for.
    fn explained(&self, options: &SolveOptions, deadline: Deadline) -> (Vec<Shortage>, Vec<Repair>) {
        if options.explain && self.is_short() {
            let (instance, placed, exact_pairs_max) = (self.instance, self.best.as_slice(), options.exact_pairs_max);
            let explainer = Explainer { instance, placed, exact_pairs_max, deadline };
            // What helps is found by solving again.
            let many_rules = too_many(instance.problem);
            return if many_rules { (explainer.shortages(Ask::Reasons), Vec::new()) } else { explainer.helped() };
        }
        let layout = Layout::new(self.instance, &self.best);
        let bare = |workload: usize| Shortage { workload, missing: layout.missing(workload), ..Shortage::default() };
        (layout.short().into_iter().map(bare).collect(), Vec::new())
    }

    fn solution(self, (shortages, together): (Vec<Shortage>, Vec<Repair>)) -> Solution {
        let problem = self.instance.problem;
        let mut proven = true;
        let tiers = self.worth.iter().zip(&self.bounds).zip(&self.proofs).map(|(((tier, value), bound), proof)| {
            let proof = if *bound == 0 { Proof::Trivial } else { *proof };
            let bound = *bound.min(value);
            proven &= bound == *value;
            TierValue { tier: *tier, value: *value, bound, proven, proof }
        });
        let tiers = tiers.collect();
        // What is not broken at present is not broken by a placement that was let pass.
        let sound = self.instance.excuses.is_empty();
        let unrepaired = if sound { Vec::new() } else { verify(problem, &self.best).unwrap_or_default() };
        Solution { tiers, shortages, together, unrepaired, placed: self.best, stats: self.stats }
    }
}
