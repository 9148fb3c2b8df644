//! Why a workload is short, what would help, and what would be if things were otherwise.
//!
//! ```text
//! short workload --wish--> may it have all it wants, others keeping what they have?
//!     conflict: relaxation --duals--> candidates --quickxplain--> minimal set   (proven by bounds)
//!               certificate: these workloads on these nodes need more than there is (exact integers)
//!     not refused: barred, node by node                                          (not proven)
//!     repairs: each idea solved from the present placement, kept when the workload is whole and nobody loses
//! all that are short --together--> what helps each, tried at once, kept when everything is placed
//! ```
//!
//! [`ground`] says what a conflict can name, [`wish`] what is asked, [`room`] and [`price`] answer "how many more" and "what does this rule cost".
//! Given as they are, and never named: where others may be, others' maxima on one node, and what others want.

mod barred;
mod certificate;
mod changed;
mod conflict;
mod ground;
mod price;
mod quickxplain;
mod repairs;
mod room;
mod together;
mod wish;

pub use price::{TierGain, price_of};
pub use room::{Room, room};

use crate::deadline::Deadline;
use crate::greedy::Greedy;
use crate::instance::Instance;
use crate::layout::Layout;
use crate::lexicographic::{Effort, minimise};
use crate::many_rules::too_many;
use crate::model::{Model, Scope};
use crate::prune::prune;
use crate::solve::Search;
use crate::{Cause, Placed, Problem, ProblemError, Repair, Shortage, SolveOptions, Tier};
use conflict::Conflict;
use ground::Ground;
use repairs::Repairs;
use std::time::Duration;
use wish::Wish;

/// No single try of a changed problem takes longer.
const TRY_MAX: Duration = Duration::from_millis(300);
/// The part of the time that is kept for what helps all, where several are short.
const TOGETHER_PART: f64 = 0.25;

/// How much is asked of an explanation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// Why.
    Reasons,
    /// Why, and what would help.
    Repairs,
}

/// Why a placement leaves what it leaves short, and what would help, within the options' time. [`crate::solve`] does this by itself.
///
/// # Errors
/// Whatever makes the problem unsound.
pub fn explain(
    problem: &Problem,
    placed: &[Placed],
    ask: Ask,
    options: &SolveOptions,
) -> Result<Vec<Shortage>, ProblemError> {
    problem.validate()?;
    let instance = Instance::new(problem);
    let (exact_pairs_max, deadline) =
        (options.exact_pairs_max, Deadline::after(options.time_limit).or_cancel(options.cancel));
    Ok(Explainer { instance: &instance, placed, exact_pairs_max, deadline }.shortages(ask))
}

/// Explains every shortage of a placement, the highest priority first, until the time is out.
pub(crate) struct Explainer<'i, 'p> {
    pub(crate) instance: &'i Instance<'p>,
    pub(crate) placed: &'i [Placed],
    pub(crate) exact_pairs_max: usize,
    pub(crate) deadline: Deadline,
}

impl Explainer<'_, '_> {
    pub(crate) fn shortages(&self, ask: Ask) -> Vec<Shortage> {
        let layout = Layout::new(self.instance, self.placed);
        let problem = self.instance.problem;
        let mut short = layout.short();
        short.sort_by_key(|workload| (std::cmp::Reverse(problem.workloads[*workload].priority), *workload));
        let explained = short.into_iter().map(|workload| {
            let mut shortage = self.reasons(&layout, workload);
            if ask == Ask::Repairs {
                shortage.repairs = Repairs { explainer: self, layout: &layout, workload }.found(&shortage.conflict);
            }
            shortage
        });
        let mut shortages: Vec<Shortage> = explained.collect();
        shortages.sort_by_key(|shortage| shortage.workload);
        shortages
    }

    /// Why everything that is short is, what would help each, and what would help all together.
    pub(crate) fn helped(&self) -> (Vec<Shortage>, Vec<Repair>) {
        let several = Layout::new(self.instance, self.placed).short().len() > 1;
        let part = if several { 1.0 - TOGETHER_PART } else { 1.0 };
        let each = Explainer { deadline: self.deadline.within(self.deadline.remaining().mul_f64(part)), ..*self };
        let shortages = each.shortages(Ask::Repairs);
        let together = together::together(self, &shortages);
        (shortages, together)
    }

    /// Why a workload is short, without what would help.
    fn reasons(&self, layout: &Layout, workload: usize) -> Shortage {
        let shortage = Shortage { workload, missing: layout.missing(workload), ..Shortage::default() };
        let spec = &self.instance.problem.workloads[workload];
        // What runs where it may not may stay.
        let stay: u32 = self.instance.running[workload].iter().map(|(_, count)| count).sum();
        if spec.eligible.is_empty() && stay < spec.wanted {
            return Shortage { conflict: vec![Cause::NotEligible], proven: true, minimal: true, ..shortage };
        }
        let Conflict { grounds, proven, minimal, certificate } =
            if self.deadline.passed() || too_many(self.instance.problem) {
                Conflict::default()
            } else {
                conflict::conflict(&Wish::new(layout, workload, self.exact_pairs_max), self.deadline)
            };
        let cause = |ground: Ground| match ground {
            Ground::Rule(rule) => Cause::Rule(rule),
            Ground::PerNodeMax => Cause::PerNodeMax,
            Ground::Capacity(resource) => self.capacity(layout, workload, resource),
            Ground::Devices(kind) => Cause::Devices(kind),
            Ground::Eligibility => Cause::Eligibility,
        };
        let mut conflict: Vec<Cause> = grounds.into_iter().map(cause).collect();
        conflict.sort_unstable();
        let mut barred = Vec::new();
        if !proven {
            barred = barred::barred(layout, workload, |resource| self.capacity(layout, workload, resource));
            conflict = barred.iter().map(|barred| barred.cause.clone()).collect();
        }
        Shortage { conflict, proven, minimal, certificate, barred, ..shortage }
    }

    fn capacity(&self, layout: &Layout, workload: usize, resource: usize) -> Cause {
        let demand = self.instance.problem.workloads[workload].demand[resource];
        let free = |node: &usize| layout.free(*node, resource);
        let allowed = &self.instance.allowed[workload];
        let total: u128 = allowed.iter().map(free).fold(0, u128::saturating_add);
        Cause::Capacity {
            resource,
            needed: demand.saturating_mul(u64::from(layout.missing(workload))),
            free: u64::try_from(total).unwrap_or(u64::MAX),
            fragmented: total >= u128::from(demand.max(1))
                && demand > 0
                && !allowed.iter().any(|node| free(node) >= u128::from(demand)),
        }
    }

    /// The least shortage found quickly for a changed problem, from the present placement.
    pub(super) fn solved(&self, instance: &Instance) -> Vec<Placed> {
        let mut search = Search::new(instance, prune(instance, self.placed));
        let natural = Greedy::natural_fit(instance.problem.objective.shape);
        search.offer(Greedy::new(instance, natural).extend(&search.best));
        let deadline = self.deadline.within(TRY_MAX);
        if search.is_short() && instance.pairs() <= self.exact_pairs_max {
            search.greedy();
            let model = Model::build(instance, &Scope::whole(instance));
            let start =
                Some(model.start_from(&search.best)).filter(|start| model.program.broken_by(start, &[]).is_none());
            let tiers = model.tiers.iter().filter(|(tier, _)| matches!(tier, Tier::Shortage(_))).count();
            let found = minimise(&model, start, &[], Effort { deadline, each: TRY_MAX, relative_gap: 0.0, tiers });
            if let Some(values) = found.values {
                search.offer(model.placement(&values));
            }
        } else if search.is_short() {
            search.neighbourhoods(deadline);
        }
        search.best
    }
}
