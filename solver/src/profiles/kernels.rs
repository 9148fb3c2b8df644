//! The loops over the slots of a day. Everything else is bookkeeping around them.
//!
//! Curves are padded with zeros to a multiple of [`LANES`] (a zero costs and takes nothing), and every loop keeps [`LANES`] partial
//! results, which the compiler turns into vector instructions.

use super::{FREE_SHARE, STEEPNESS};

/// Partial results in each loop.
pub(super) const LANES: usize = 8;

/// Above this share of its CPU a machine is not filled by the search, so that rounding in 32-bit floats never hides an overload.
const FULL_SHARE: f32 = 0.999;

/// `slots` rounded up to a multiple of [`LANES`].
pub(super) fn padded(slots: usize) -> usize {
    slots.next_multiple_of(LANES)
}

/// exp(x) − 1 for 0 ≤ x ≤ 0.5 by its series to x⁵; at 0.15, where machines end up, the error is 2·10⁻⁸.
#[inline(always)]
fn exp_less_one(x: f32) -> f32 {
    x * (1.0 + x * (1.0 / 2.0 + x * (1.0 / 6.0 + x * (1.0 / 24.0 + x * (1.0 / 120.0)))))
}

/// The share of CPU beyond what is free, at least 0.
#[inline(always)]
fn excess(used: i32, per_unit: f32) -> f32 {
    let x = used as f32 * per_unit - FREE_SHARE as f32;
    if x > 0.0 { x } else { 0.0 }
}

/// In pairs, which do not wait for each other.
#[inline(always)]
fn total(sums: [f32; LANES]) -> f32 {
    let [a, b, c, d, e, f, g, h] = sums;
    ((a + e) + (c + g)) + ((b + f) + (d + h))
}

/// The extra cost (without the 1 of being on), times slots ÷ [`STEEPNESS`], of a machine that holds `used`, less `less`, and `more`;
/// infinite when it would be (nearly) overloaded. `per_unit` is 1 ÷ capacity.
#[inline]
pub(super) fn excess_cost(used: &[i32], less: &[i32], more: &[i32], per_unit: f32) -> f32 {
    let mut sums = [0f32; LANES];
    let mut peaks = [0f32; LANES];
    let chunks = used.chunks_exact(LANES).zip(less.chunks_exact(LANES)).zip(more.chunks_exact(LANES));
    for ((used, less), more) in chunks {
        for lane in 0..LANES {
            let x = excess(used[lane] - less[lane] + more[lane], per_unit);
            peaks[lane] = if x > peaks[lane] { x } else { peaks[lane] };
            sums[lane] += exp_less_one(x);
        }
    }
    if peaks.iter().fold(0.0, |all: f32, peak| all.max(*peak)) > FULL_SHARE - FREE_SHARE as f32 {
        return f32::INFINITY;
    }
    total(sums)
}

/// The derivative of [`excess_cost`] by each slot's use, times `unit`.
#[inline]
pub(super) fn slopes(used: &[i32], per_unit: f32, unit: f32, slopes: &mut [f32]) {
    for (used, slope) in used.iter().zip(slopes) {
        let x = excess(*used, per_unit);
        *slope = if x > 0.0 { (1.0 + exp_less_one(x)) * per_unit * unit } else { 0.0 };
    }
}

/// Σ slope · (more − less): as costs are convex, exchanging `less` for `more` costs at least this.
#[inline]
pub(super) fn least_change(slopes: &[f32], less: &[i32], more: &[i32]) -> f32 {
    let mut sums = [0f32; LANES];
    for ((slopes, less), more) in slopes.chunks_exact(LANES).zip(less.chunks_exact(LANES)).zip(more.chunks_exact(LANES))
    {
        for lane in 0..LANES {
            sums[lane] += slopes[lane] * (more[lane] - less[lane]) as f32;
        }
    }
    total(sums)
}

/// Whether `used − less + more` stays within `capacity` everywhere.
#[inline]
pub(super) fn fits(used: &[i32], less: &[i32], more: &[i32], capacity: i32) -> bool {
    let mut signs = [0i32; LANES];
    let chunks = used.chunks_exact(LANES).zip(less.chunks_exact(LANES)).zip(more.chunks_exact(LANES));
    for ((used, less), more) in chunks {
        for lane in 0..LANES {
            signs[lane] |= capacity - (used[lane] - less[lane] + more[lane]);
        }
    }
    signs.iter().fold(0, |all, sign| all | sign) >= 0
}

/// `used − less + more`, in place.
#[inline]
pub(super) fn exchange(used: &mut [i32], less: &[i32], more: &[i32]) {
    for ((used, less), more) in used.iter_mut().zip(less).zip(more) {
        *used += more - less;
    }
}

/// What [`excess_cost`] is to be multiplied by to be a cost.
pub(super) fn cost_unit(slots: usize) -> f32 {
    (STEEPNESS / slots.max(1) as f64) as f32
}

#[cfg(test)]
mod tests {
    use super::super::random::Random;
    use super::*;

    const CAPACITY: i32 = 92_000_000;

    fn curve(random: &mut Random, from: usize, to: usize) -> Vec<i32> {
        (0..2 * LANES).map(|_| (from + random.below(to - from)) as i32).collect()
    }

    #[test]
    fn costs_are_those_of_the_exponential_and_the_derivative_stays_below_and_near() {
        let (mut random, per_unit, nothing) = (Random::new(7), 1.0 / CAPACITY as f32, vec![0; 2 * LANES]);
        for case in 0..1000 {
            let used = curve(&mut random, 30_000_000, 70_000_000);
            let less = curve(&mut random, 0, 10_000_000);
            let more = curve(&mut random, 0, 10_000_000);
            let after = excess_cost(&used, &less, &more, per_unit);
            let exact = |used: i32| ((f64::from(used) / f64::from(CAPACITY) - FREE_SHARE).max(0.0)).exp() - 1.0;
            let sum: f64 = (0..used.len()).map(|slot| exact(used[slot] - less[slot] + more[slot])).sum();
            assert!((f64::from(after) - sum).abs() < 1e-5, "case {case}: {after} is not {sum}");

            let change = after - excess_cost(&used, &nothing, &nothing, per_unit);
            let mut derivative = vec![0.0; used.len()];
            slopes(&used, per_unit, 1.0, &mut derivative);
            let least = least_change(&derivative, &less, &more);
            assert!(least <= change + 1e-5, "case {case}: {least} is above {change}");
            // At most the second derivative's share, and what a slot gains by crossing the kink: |change of share|² each and |change| once.
            let shares: f32 = less.iter().zip(&more).map(|(less, more)| (more - less).abs() as f32 * per_unit).sum();
            assert!(change - least <= shares, "case {case}: {least} is far below {change}");
        }
    }

    #[test]
    fn a_full_slot_is_refused_wherever_it_is() {
        for slot in 0..2 * LANES {
            let (nothing, mut used) = (vec![0; 2 * LANES], vec![0; 2 * LANES]);
            used[slot] = CAPACITY;
            assert!(fits(&used, &nothing, &nothing, CAPACITY));
            assert_eq!(excess_cost(&used, &nothing, &nothing, 1.0 / CAPACITY as f32), f32::INFINITY);
            used[slot] += 1;
            assert!(!fits(&used, &nothing, &nothing, CAPACITY));
        }
    }
}
