//! The question that an explanation answers, as a problem of its own: may a workload have all it wants while everything of its priority
//! or higher keeps as many replicas as it has, and everything lower may go?
//!
//! What it must place has priority 1, what may be there because a rule needs it (something to be near to) has priority 0; soft rules are
//! gone. The problem's indices stay what they were: a workload cut away wants nothing.

use super::ground::{Ground, Grounds, keep_only, may_widen, nothing};
use crate::backend::{Linear, Outcome, SolveLimits, Tag, Whole};
use crate::classes::classes;
use crate::deadline::Deadline;
use crate::greedy::{Fit, Greedy};
use crate::instance::Instance;
use crate::layout::Layout;
use crate::model::{Model, Scope};
use crate::prune::prune;
use crate::{Objective, Placed, Problem, Rule, Standing, Tier, verify};
use std::collections::BTreeSet;
use std::time::Duration;

/// No program of one test takes longer.
const TEST_MAX: Duration = Duration::from_millis(400);
/// The one relaxation of everything, on which all others build, may take as long as this.
const WHOLE_MAX: Duration = Duration::from_millis(1500);
/// A bound on missing replicas above this is more than the back-end's tolerances.
const MISSING_LEAST: f64 = 1e-3;

/// What must be placed.
pub(super) const REQUIRED: i32 = 1;
/// What may be placed.
const WELCOME: i32 = 0;

/// What a test has shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// A bound says so.
    Impossible,
    /// A placement was found, and it holds.
    Possible,
    /// Neither in time.
    Unknown,
}

/// A wish under all its grounds.
#[derive(Clone)]
pub(super) struct Wish {
    pub(super) problem: Problem,
    pub(super) workload: usize,
    pub(super) exact_pairs_max: usize,
}

impl Wish {
    /// The wish of `workload`, where `layout` is what there is.
    pub(super) fn new(layout: &Layout, workload: usize, exact_pairs_max: usize) -> Wish {
        let mut problem = layout.instance.problem.clone();
        let priority = problem.workloads[workload].priority;
        let needed = needed_by_others(&problem);
        let group = all_or_nothing_with(&problem, workload);
        for other in 0..problem.workloads.len() {
            let spec = &mut problem.workloads[other];
            if other == workload {
                spec.priority = REQUIRED;
            } else if group.contains(&other) || spec.priority < priority && needed.contains(&other) {
                spec.priority = WELCOME;
            } else if spec.priority < priority {
                (spec.priority, spec.wanted, spec.surplus_max) = (WELCOME, 0, 0);
            } else {
                spec.priority = REQUIRED;
                let has = spec.wanted - layout.missing(other);
                want(&mut problem, other, has);
            }
        }
        for constraint in problem.constraints.iter_mut().filter(|constraint| constraint.weight.is_some()) {
            constraint.rule = nothing();
            constraint.weight = None;
        }
        problem.objective = Objective::default();
        Wish { problem, workload, exact_pairs_max }
    }

    /// Every ground there is, what is likelier to be understood first: the wisher's own rules, what it takes, others' rules, what only
    /// others take, and that it may not be elsewhere.
    pub(super) fn grounds(&self) -> Vec<Ground> {
        let (problem, own) = (&self.problem, &self.problem.workloads[self.workload]);
        let says = |rule: &Rule| *rule != nothing() && (rule.is_about_nodes() || self.is_there(rule));
        let rules = (0..problem.constraints.len()).filter(|index| says(&problem.constraints[*index].rule));
        let (mine, theirs): (Vec<usize>, Vec<usize>) =
            rules.partition(|index| problem.constraints[*index].rule.workloads().contains(&self.workload));
        let taken = |resource: &usize| problem.workloads.iter().any(|w| w.wanted > 0 && w.demand[*resource] > 0);
        let resources = (0..problem.resources.len()).filter(taken);
        let (needs, others): (Vec<usize>, Vec<usize>) = resources.partition(|resource| own.demand[*resource] > 0);
        let kinds = (0..problem.devices.len())
            .filter(|kind| problem.workloads.iter().any(|w| w.wanted > 0 && w.device.is_some_and(|d| d.kind == *kind)));
        let mut grounds: Vec<Ground> = mine.into_iter().map(Ground::Rule).collect();
        grounds.extend(own.per_node_max.is_some().then_some(Ground::PerNodeMax));
        grounds.extend(needs.into_iter().map(Ground::Capacity));
        grounds.extend(kinds.map(Ground::Devices));
        grounds.extend(theirs.into_iter().map(Ground::Rule));
        grounds.extend(others.into_iter().map(Ground::Capacity));
        grounds.extend(may_widen(problem, self.workload).then_some(Ground::Eligibility));
        grounds
    }

    fn is_there(&self, rule: &Rule) -> bool {
        rule.workloads().iter().any(|workload| self.problem.workloads[*workload].wanted > 0)
    }

    /// The same wish with nothing left of the workloads outside `concerned`: easier to grant, as long as no rule about what is left needs
    /// what is cut (those rules must be taken away with it).
    pub(super) fn cut_to(&self, concerned: &BTreeSet<usize>) -> Wish {
        let mut wish = self.clone();
        for (index, spec) in wish.problem.workloads.iter_mut().enumerate() {
            if !concerned.contains(&index) {
                (spec.wanted, spec.surplus_max) = (0, 0);
                spec.eligible = Vec::new();
            }
        }
        wish
    }

    /// Whether the wish can be granted when only `standing` stands in its way. `witness` asks for a placement when there is no proof.
    pub(super) fn decide(&self, standing: &Grounds, deadline: Deadline, witness: bool) -> Verdict {
        let problem = self.under(standing);
        let instance = Instance::new(&problem);
        let small = instance.pairs() <= self.exact_pairs_max;
        let model = model(&instance, small);
        let missing = missing(&model);
        let relaxed = minimum(&model, &missing, Whole::None, deadline, TEST_MAX);
        if relaxed.bound.is_some_and(|bound| bound > MISSING_LEAST) {
            return Verdict::Impossible;
        }
        if !small && witness && is_granted(&problem, &Greedy::new(&instance, Fit::Tightest).extend(&start(&instance))) {
            return Verdict::Possible;
        }
        let whole = minimum(&model, &missing, Whole::All, deadline, TEST_MAX);
        if whole.bound.is_some_and(|bound| bound > MISSING_LEAST) {
            return Verdict::Impossible;
        }
        let placed = whole.values.filter(|_| small).map(|values| model.placement(&model.rounded(&values)));
        match placed {
            Some(placed) if is_granted(&problem, &placed) => Verdict::Possible,
            _ => Verdict::Unknown,
        }
    }

    /// The linear relaxation under all grounds: a bound on what goes missing, and the rows that hold it up.
    pub(super) fn relaxed(&self, standing: &Grounds, deadline: Deadline) -> Support {
        let problem = self.under(standing);
        let instance = Instance::new(&problem);
        let bins = bins(&instance, instance.pairs() <= self.exact_pairs_max);
        let model = Model::build(&instance, &scope(&instance, bins.clone()));
        let outcome = minimum(&model, &missing(&model), Whole::None, deadline, WHOLE_MAX);
        let refused = outcome.bound.is_some_and(|bound| bound > MISSING_LEAST);
        Support { refused, duals: outcome.duals, bins }
    }

    fn under(&self, standing: &Grounds) -> Problem {
        let mut problem = self.problem.clone();
        keep_only(&mut problem, self.workload, standing);
        problem
    }
}

/// What holds a relaxation's value up.
#[derive(Default)]
pub(super) struct Support {
    /// The relaxation alone refuses the wish.
    pub(super) refused: bool,
    pub(super) duals: Vec<(Tag, f64)>,
    pub(super) bins: Vec<Vec<usize>>,
}

fn bins(instance: &Instance, single: bool) -> Vec<Vec<usize>> {
    if single { (0..instance.problem.nodes.len()).map(|node| vec![node]).collect() } else { classes(instance) }
}

fn scope<'s>(instance: &Instance, bins: Vec<Vec<usize>>) -> Scope<'s> {
    let whole_counts = bins.len() == instance.problem.nodes.len();
    let free = instance.problem.workloads.iter().map(|spec| spec.wanted > 0).collect();
    Scope { bins, free, whole_counts, ..Scope::whole(instance) }
}

fn model<'i, 'p>(instance: &'i Instance<'p>, single: bool) -> Model<'i, 'p> {
    Model::build(instance, &scope(instance, bins(instance, single)))
}

/// What goes missing of what must be placed.
fn missing(model: &Model) -> Linear {
    let required = model.tiers.iter().find(|(tier, _)| *tier == Tier::Shortage(REQUIRED));
    required.map(|(_, expression)| expression.clone()).unwrap_or_default()
}

fn minimum(model: &Model, missing: &Linear, whole: Whole, deadline: Deadline, longest: Duration) -> Outcome {
    let limits = SolveLimits { deadline: deadline.within(longest), whole, gap: 0.5, relative_gap: 0.0 };
    model.program.minimise(missing, &[], None, limits)
}

fn start(instance: &Instance) -> Vec<Placed> {
    prune(instance, &instance.problem.current)
}

fn is_granted(problem: &Problem, placed: &[Placed]) -> bool {
    let mut has = vec![0u64; problem.workloads.len()];
    placed.iter().for_each(|entry| has[entry.workload] += u64::from(entry.count));
    let whole = |(spec, has): (&crate::Workload, u64)| spec.priority != REQUIRED || has >= u64::from(spec.wanted);
    problem.workloads.iter().zip(has).all(whole) && verify(problem, placed).is_ok()
}

/// Wants `to` of a workload without binding it any more than before: what a loss may take stays as large as it was.
pub(super) fn want(problem: &mut Problem, workload: usize, to: u32) {
    let before = problem.workloads[workload].wanted;
    problem.workloads[workload].wanted = to;
    for constraint in &mut problem.constraints {
        if let Rule::Survive { workload: of, keep, .. } = &mut constraint.rule
            && *of == workload
            && to < before
        {
            let may_be_lost = before - before.min(*keep);
            *keep = to.saturating_sub(may_be_lost);
        }
    }
}

/// Workloads that others may need: taking them away may break something.
fn needed_by_others(problem: &Problem) -> BTreeSet<usize> {
    let mut needed = BTreeSet::new();
    for constraint in problem.constraints.iter().filter(|constraint| constraint.weight.is_none()) {
        match &constraint.rule {
            Rule::Near { to, .. } => needed.extend(to),
            Rule::AllOrNothing { workloads } | Rule::DistinctDomains { workloads, .. } if workloads.len() > 1 => {
                needed.extend(workloads);
            }
            // Of nodes on offer only those that hold something are room for what is lost.
            Rule::Reserve { .. } if problem.nodes.iter().any(|node| node.standing == Standing::OnOffer) => {
                needed.extend(0..problem.workloads.len());
            }
            _ => {}
        }
    }
    needed
}

/// The workloads that are placed all together with this one, or not at all.
fn all_or_nothing_with(problem: &Problem, workload: usize) -> BTreeSet<usize> {
    let groups = problem.constraints.iter().filter_map(|constraint| match &constraint.rule {
        Rule::AllOrNothing { workloads } if constraint.weight.is_none() && workloads.contains(&workload) => {
            Some(workloads)
        }
        _ => None,
    });
    groups.flatten().copied().filter(|other| *other != workload).collect()
}
