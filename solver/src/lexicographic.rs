//! Tier after tier over one [`Model`]: minimise a tier, keep it from getting worse, go on to the next.
//!
//! A tier's bound is asked for under the rows `earlier tier ≤ its value`, which is what [`crate::TierValue::bound`] means. A tier that ran
//! out of time is not frozen: its row only says "no worse", so that later programs may still improve it, and what follows is
//! reported as unproven.

use crate::backend::{Linear, Outcome, SolveLimits, Whole};
use crate::deadline::Deadline;
use crate::model::Model;
use std::time::Duration;

/// How a search over the tiers ended.
pub(crate) struct Lexicographic {
    /// The best assignment of the columns found (at worst the start); nothing when there was none and none was found.
    pub(crate) values: Option<Vec<f64>>,
    /// For each of the model's tiers, a proven lower bound; 0 when nothing is known.
    pub(crate) bounds: Vec<u64>,
    pub(crate) timed_out: bool,
}

/// What a search may spend.
#[derive(Clone, Copy)]
pub(crate) struct Effort {
    pub(crate) deadline: Deadline,
    /// No single program takes longer.
    pub(crate) each: Duration,
    /// Stop a program at this relative gap.
    pub(crate) relative_gap: f64,
    /// Minimise only so many of the tiers.
    pub(crate) tiers: usize,
}

/// An objective divided so that its coefficients are whole and small.
pub(crate) struct Scaled {
    pub(crate) objective: Linear,
    /// Every value that a placement can have is `constant + unit · k`.
    pub(crate) unit: f64,
    /// What it was divided by.
    pub(crate) divisor: f64,
}

impl Scaled {
    pub(crate) fn new(tier: &Linear) -> Scaled {
        let whole = |factor: &f64| factor.abs().round() as u128;
        let unit = tier.terms.iter().map(|(_, factor)| whole(factor)).fold(0, crate::model::gcd).max(1) as f64;
        let largest = tier.terms.iter().map(|(_, factor)| factor.abs()).fold(1.0, f64::max);
        let divisor = unit.max(largest / 1e4);
        let mut objective = Linear::default();
        objective.add(1.0 / divisor, tier);
        Scaled { objective, unit, divisor }
    }

    /// The least value a placement can have, given a bound on the scaled objective: less a margin for the back-end's tolerances,
    /// then up to the next value that exists.
    pub(crate) fn bound(&self, tier: &Linear, scaled: f64) -> f64 {
        let free = scaled * self.divisor - tier.constant;
        let margin = (1e-6 * self.divisor).max(1e-9 * free.abs()).min(self.unit * 0.5).max(1e-7 * free.abs());
        tier.constant + ((free - margin) / self.unit).ceil() * self.unit
    }
}

/// Minimises the model's tiers in order from `start`, which must satisfy the model; without one, from nothing. `known` are bounds from elsewhere.
pub(crate) fn minimise(model: &Model, start: Option<Vec<f64>>, known: &[u64], effort: Effort) -> Lexicographic {
    let mut result = Lexicographic { values: start, bounds: known.to_vec(), timed_out: false };
    result.bounds.resize(model.tiers.len(), 0);
    let mut rows: Vec<Linear> = Vec::new();
    for (index, (_, tier)) in model.tiers.iter().enumerate().take(effort.tiers) {
        let scaled = Scaled::new(tier);
        let trivial = scaled.bound(tier, model.program.least(&scaled.objective));
        result.bounds[index] = result.bounds[index].max(trivial.max(0.0) as u64);
        let value = reached(&result, tier);
        if value > result.bounds[index] as f64 {
            let limits = SolveLimits {
                deadline: effort.deadline.within(effort.each),
                whole: Whole::All,
                gap: 0.9 * scaled.unit / scaled.divisor,
                relative_gap: effort.relative_gap,
            };
            // HiGHS has been seen to end with a bound below its own solution when it was given a start: then once more without.
            for start in [true, false] {
                let from = result.values.as_deref().filter(|_| start);
                let outcome = model.program.minimise(&scaled.objective, &rows, from, limits);
                result.timed_out |= outcome.timed_out;
                if let Some(bound) = outcome.bound {
                    let bound = scaled.bound(tier, bound).max(0.0).min(value) as u64;
                    result.bounds[index] = result.bounds[index].max(bound);
                }
                adopt(model, &mut result, &outcome, &rows);
                let done = reached(&result, tier) <= result.bounds[index] as f64;
                if done || outcome.timed_out || effort.relative_gap > 0.0 {
                    break;
                }
            }
        }
        let value = reached(&result, tier);
        if !value.is_finite() {
            break;
        }
        rows.extend(model.no_worse(index, value));
    }
    result
}

/// A tier's value so far; infinite while there is none.
fn reached(result: &Lexicographic, tier: &Linear) -> f64 {
    result.values.as_ref().map_or(f64::INFINITY, |values| tier.value(values).round())
}

/// Takes the back-end's values, rounded and completed, if they satisfy the model and are better.
fn adopt(model: &Model, result: &mut Lexicographic, outcome: &Outcome, rows: &[Linear]) {
    let Some(values) = &outcome.values else { return };
    let values = model.rounded(values);
    if model.program.broken_by(&values, rows).is_some() {
        return;
    }
    let worth =
        |values: &[f64]| model.tiers.iter().map(|(_, tier)| tier.value(values).round() as i64).collect::<Vec<_>>();
    if result.values.as_ref().is_none_or(|known| worth(&values) < worth(known)) {
        result.values = Some(values);
    }
}
