//! What a unit of each resource is worth: the dual of "buy nodes so that their capacities sum up to all demands, at least cost".
//!
//! With prices μ on resources and rents ν on node types of which there are only so many, it is
//! max Σ μ\[r\] · demand\[r\] − Σ count\[t\] · ν\[t\] where Σ_r μ\[r\] · capacity\[t,r\] ≤ price\[t\] + ν\[t\]. A node filled to its price is well
//! used; what lies idle on it, valued at μ, is its waste. Searches are guided by it; nothing is claimed from it.

use crate::backend::{Linear, Program, SolveLimits, Whole};
use crate::deadline::Deadline;
use crate::{Problem, Workload};
use std::collections::BTreeMap;

/// The worth of a unit of each resource, in millionths of currency per hour; where nodes cost nothing or the program found nothing, by
/// how scarce the resource is.
fn resource_prices(problem: &Problem, deadline: Deadline) -> Vec<f64> {
    let nodes = problem.nodes.len().max(1) as f64;
    let mean_price = problem.nodes.iter().map(|n| n.price_micros as f64).sum::<f64>() / nodes;
    let resources = 0..problem.resources.len();
    let average: Vec<f64> =
        resources.clone().map(|r| problem.nodes.iter().map(|n| n.capacity[r] as f64).sum::<f64>() / nodes).collect();
    let wanted: Vec<f64> = resources
        .clone()
        .map(|r| problem.workloads.iter().map(|w| w.demand[r] as f64 * f64::from(w.wanted)).sum::<f64>() / nodes)
        .collect();
    let share = |amount: f64, r: usize| if average[r] > 0.0 { amount / average[r] } else { 0.0 };
    let scarcity: Vec<f64> = resources.clone().map(|r| share(wanted[r], r).min(1.5).powi(2).max(1e-3)).collect();
    let by_scarcity = || -> Vec<f64> {
        let sum: f64 = scarcity.iter().sum();
        let price = if mean_price > 0.0 { mean_price } else { 1e6 };
        resources.clone().map(|r| if average[r] > 0.0 { price * scarcity[r] / sum / average[r] } else { 0.0 }).collect()
    };
    if mean_price <= 0.0 {
        return by_scarcity();
    }
    let mut types: BTreeMap<(&[u64], u64), usize> = BTreeMap::new();
    problem.nodes.iter().for_each(|n| *types.entry((&n.capacity, n.price_micros)).or_default() += 1);
    let mut program = Program::default();
    let mut objective = Linear::default();
    let prices: Vec<usize> = resources.clone().map(|_| program.column(0.0, 1e4, false)).collect();
    for r in resources.clone() {
        // A little worth for all keeps what is plenty from looking free.
        objective.terms.push((prices[r], -(share(wanted[r], r) + 1e-4)));
    }
    for ((capacity, price), count) in types {
        let rent = program.column(0.0, 1e6, false);
        objective.terms.push((rent, count as f64 / nodes));
        let mut row = Linear::constant(-(price as f64) / mean_price).with(-1.0, rent);
        row.terms.extend(resources.clone().map(|r| (prices[r], share(capacity[r] as f64, r))));
        program.at_most_zero(row);
    }
    let limits = SolveLimits { deadline, whole: Whole::None, gap: 0.0, relative_gap: 0.0 };
    let Some(values) = program.minimise(&objective, &[], None, limits).values else { return by_scarcity() };
    let price = |r: usize| if average[r] > 0.0 { values[prices[r]] * mean_price / average[r] } else { 0.0 };
    resources.map(price).collect()
}

/// What replicas are worth in resources.
pub(crate) struct Worth {
    /// Per resource: that of a unit.
    pub(crate) prices: Vec<f64>,
    /// Per workload: that of a replica.
    pub(crate) of: Vec<f64>,
    /// A node's price, and a soft rule's weight, on average.
    pub(crate) node: f64,
    pub(crate) weight: f64,
}

impl Worth {
    pub(crate) fn new(problem: &Problem, deadline: Deadline) -> Worth {
        let prices = resource_prices(problem, deadline);
        let of = |w: &Workload| w.demand.iter().zip(&prices).map(|(d, price)| *d as f64 * price).sum();
        let of = problem.workloads.iter().map(of).collect();
        let nodes = problem.nodes.len().max(1) as f64;
        let mean = problem.nodes.iter().map(|n| n.price_micros as f64).sum::<f64>() / nodes;
        let weights: Vec<f64> = problem.constraints.iter().filter_map(|c| c.weight.map(f64::from)).collect();
        let mean_weight = (weights.iter().sum::<f64>() / weights.len().max(1) as f64).max(1.0);
        Worth { prices, of, node: mean, weight: mean_weight }
    }

    /// Workloads, the largest replicas first.
    pub(crate) fn order(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.of.len()).collect();
        order.sort_by(|a, b| self.of[*b].total_cmp(&self.of[*a]).then(a.cmp(b)));
        order
    }

    /// That of a replica of the workload in the middle.
    pub(crate) fn typical(&self) -> f64 {
        let mut sorted: Vec<f64> = self.of.iter().copied().filter(|worth| *worth > 0.0).collect();
        sorted.sort_unstable_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied().unwrap_or(self.node.max(1e4) / 100.0)
    }
}
