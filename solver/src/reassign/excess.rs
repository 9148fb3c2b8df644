//! Room below zero, allowed at a price while a search is under way: strategic oscillation (Glover, "Heuristics for integer programming using
//! surrogate constraints", Decision Sciences 8, 1977).
//!
//! Where processes are few and large, and what they leave keeps its transient resources, hardly a swap fits, and the assignments that fit
//! are islands. A walk that may lack room, at a price that follows how much is lacking, passes between them. Each resource has its own price:
//! it rises while more machines lack that resource than wanted, and falls while fewer do. What is wanted falls to none before the walk ends.

use super::dense::{Dense, Row};

/// Of a hundred machines, how many may lack each resource at the start.
const LACKING_PERCENT: f64 = 4.0;
/// The share of a walk after which none may.
const END: f64 = 0.85;
/// How fast prices follow: per machine too many, and after the end per machine that lacks.
const GAIN: f64 = 0.02;
const GAIN_AT_END: f64 = 0.2;
const CHANGE_MAX: f64 = 0.3;
/// The least price of a process of mean need, in temperatures.
const LEAST: f64 = 0.1;

/// The prices of a walk.
#[derive(Debug, Clone)]
pub(super) struct Prices<const D: usize> {
    /// Of a unit of room below zero.
    pub(super) of_unit: Row<D>,
    /// One by the mean need of a process.
    per_mean: Row<D>,
    wanted: f64,
}

impl<const D: usize> Prices<D> {
    /// For a walk that starts at `temperature`.
    pub(super) fn new(dense: &Dense<D>, temperature: f64) -> Prices<D> {
        let per_mean = std::array::from_fn(|d| {
            let sum: f64 = dense.need.iter().map(|need| need[d]).sum();
            if sum > 0.0 { dense.processes as f64 / sum } else { 0.0 }
        });
        let wanted = LACKING_PERCENT / 100.0 * dense.machines as f64;
        Prices { of_unit: std::array::from_fn(|d| temperature * per_mean[d]), per_mean, wanted }
    }

    /// Prices for the next round: `done` is the share of the walk that is over, `lacking` how many machines lack each resource.
    pub(super) fn follow(&mut self, lacking: &[usize; D], done: f64, temperature: f64) {
        let wanted = self.wanted * (1.0 - done / END);
        for (d, lacking) in lacking.iter().enumerate() {
            let lacking = *lacking as f64;
            let off = if done < END { GAIN * (lacking - wanted) } else { GAIN_AT_END * lacking };
            let price = self.of_unit[d] * off.clamp(-CHANGE_MAX, CHANGE_MAX).exp();
            self.of_unit[d] = price.max(LEAST * temperature * self.per_mean[d]);
        }
    }
}

/// Σ price · max(0, −(room + more)).
#[inline]
pub(super) fn charge<const D: usize>(prices: &Row<D>, room: &Row<D>, more: &Row<D>) -> f64 {
    let of = |d: usize| {
        let lacks = -(room[d] + more[d]);
        prices[d] * if lacks > 0.0 { lacks } else { 0.0 }
    };
    let mut sums = [0.0; 2];
    for pair in 0..D / 2 {
        sums[0] += of(2 * pair);
        sums[1] += of(2 * pair + 1);
    }
    sums[0] + sums[1]
}
