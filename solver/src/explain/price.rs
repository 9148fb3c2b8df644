//! What a constraint costs: what the best plan would gain without it, tier by tier.

use super::changed::changed;
use crate::{ConstraintIdx, Problem, ProblemError, Repair, Solution, SolveOptions, Tier, evaluate, solve};
use serde::{Deserialize, Serialize};

/// A tier with a constraint and without it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TierGain {
    /// Which tier.
    pub tier: Tier,
    /// Its value in the solution at hand.
    pub with: u64,
    /// Its value in the best placement found without the constraint. In the first tier that differs it is smaller: what the constraint costs.
    pub without: u64,
    /// Both are proven: the difference is exact. Otherwise another search might find another.
    pub proven: bool,
}

/// Solves again without a constraint, within the options' time, and compares with `base`, a solution of `problem`. When nothing better is
/// found, the values are those of `base`, for its placement remains one.
///
/// # Errors
/// Whatever makes the problem unsound.
pub fn price_of(
    problem: &Problem,
    base: &Solution,
    constraint: ConstraintIdx,
    options: &SolveOptions,
) -> Result<Vec<TierGain>, ProblemError> {
    problem.validate()?;
    let without = changed(problem, &Repair::DropRule(constraint));
    let found = solve(&without, &SolveOptions { explain: false, ..options.clone() })?;
    // Of soft rules, what broke this one no longer counts.
    let kept: Vec<u64> = evaluate(&without, &base.placed).into_iter().map(|(_, value)| value).collect();
    let better = found.tiers.iter().map(|tier| tier.value).lt(kept.iter().copied());
    let gains = base.tiers.iter().zip(&found.tiers).zip(kept).map(|((base, found), kept)| TierGain {
        tier: base.tier,
        with: base.value,
        without: if better { found.value } else { kept },
        proven: base.proven && found.proven && (better || found.value == kept),
    });
    Ok(gains.collect())
}
