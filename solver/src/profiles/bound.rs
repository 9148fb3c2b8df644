//! A lower bound that holds for every placement: CPU as a fluid, without memory, flat resources, limits, or whole instances.
//!
//! With k machines on, the k largest are the best (they give more room at every price), and in each slot the cheapest way to spread the
//! demand D over capacities C is the one in which each further core costs the same: a machine of capacity c takes c · max(½, …) where the
//! derivative exp(u − ½) · 10 / c is equal, so the large ones take what exceeds half of all. Found by bisection on that price;
//! the least over k is the bound.

use super::start::by_size;
use super::{FREE_SHARE, Fleet, STEEPNESS};

/// The bound and where it lies.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fluid {
    /// No placement costs less.
    pub cost: f64,
    /// With how many machines on it is reached, the largest first.
    pub machines: usize,
}

/// The least over the number of machines.
pub fn fluid_bound(fleet: &Fleet) -> Fluid {
    let mut demand = vec![0u64; fleet.slots];
    for app in &fleet.instances {
        demand.iter_mut().zip(&fleet.apps[*app].cpu).for_each(|(sum, cpu)| *sum += u64::from(*cpu));
    }
    let sizes: Vec<f64> = by_size(fleet).into_iter().map(|machine| f64::from(fleet.machines[machine].cpu)).collect();
    if fleet.instances.is_empty() {
        return Fluid { cost: 0.0, machines: 0 };
    }
    let cost = |on: usize| {
        let mut kinds: Vec<(f64, f64)> = Vec::new();
        for group in sizes[..on].chunk_by(|a, b| a == b) {
            kinds.push((group[0], group.len() as f64));
        }
        let extra: f64 = demand.iter().map(|demand| extra_cost(&kinds, *demand as f64)).sum();
        on as f64 + extra / fleet.slots.max(1) as f64
    };
    // Within machines of one size the cost is convex in their number (the perspective of a convex function).
    let mut best = Fluid { cost: f64::INFINITY, machines: 0 };
    let mut first = 1;
    for group in sizes.chunk_by(|a, b| a == b) {
        let last = first + group.len() - 1;
        let (mut low, mut high) = (first, last);
        while low < high {
            let middle = low.midpoint(high);
            let (here, next) = (cost(middle), cost(middle + 1));
            if here.is_infinite() || next < here { low = middle + 1 } else { high = middle }
        }
        if cost(low) < best.cost {
            best = Fluid { cost: cost(low), machines: low };
        }
        first = last + 1;
    }
    best
}

/// The least extra cost of a slot, on machines of `(capacity, count)`; infinite when they have not as much.
fn extra_cost(kinds: &[(f64, f64)], demand: f64) -> f64 {
    let total: f64 = kinds.iter().map(|(size, count)| size * count).sum();
    if demand > total {
        return f64::INFINITY;
    }
    if demand <= total * FREE_SHARE {
        return 0.0;
    }
    // The excess share of a machine when a further unit costs `price` (times 10): exp(x) / size = price.
    let excess = |size: f64, price: f64| (price * size).max(1.0).ln().min(1.0 - FREE_SHARE);
    let takes =
        |price: f64| kinds.iter().map(|(size, count)| count * size * (FREE_SHARE + excess(*size, price))).sum::<f64>();
    let largest = kinds.first().map_or(1.0, |(size, _)| *size);
    let smallest = kinds.last().map_or(1.0, |(size, _)| *size);
    let (mut low, mut high) = (1.0 / largest, 2.0 / smallest);
    for _ in 0..60 {
        let middle = (low + high) / 2.0;
        if takes(middle) < demand { low = middle } else { high = middle }
    }
    // At `low` the machines take a little less than the demand: still a lower bound.
    kinds.iter().map(|(size, count)| count * STEEPNESS * (excess(*size, low).exp() - 1.0)).sum()
}
