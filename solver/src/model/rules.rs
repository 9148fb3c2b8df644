//! The rows: one function for each family of constraints.
//!
//! Every family yields its *units* (by how much it is broken) as an expression. A hard rule that the present state keeps has none: its rows
//! leave no room. One that the present state breaks by `u` may be broken by at most `u`, and the units go to the repair tier;
//! a soft one's go, weighted, to the soft tier.

use super::{Model, PerDomain};
use crate::backend::{Col, Linear};
use crate::{Constraint, Rule};
use std::collections::BTreeSet;

/// Whether a family may break its rule.
#[derive(Clone, Copy, PartialEq)]
enum Slack {
    None,
    Allowed,
}

impl Model<'_, '_> {
    pub(super) fn add_rule(&mut self, index: usize, constraint: &Constraint) {
        let excess = self.instance.excess[index];
        let slack = if constraint.weight.is_some() || excess > 0 { Slack::Allowed } else { Slack::None };
        let units = match &constraint.rule {
            Rule::Spread { workload, topology, max_skew } => self.spread(*workload, *topology, *max_skew, slack),
            Rule::LimitPerDomain { workload, topology, limit } => self.limit(*workload, *topology, *limit, slack),
            Rule::SeparateFrom { a, b, topology } => self.separate(*a, *b, *topology, slack),
            Rule::Near { workload, to, topology } => self.near(*workload, *to, *topology, slack),
            Rule::Prefer { workload, nodes } => self.outside(*workload, nodes),
            Rule::Quota { workloads, max } => self.quota(workloads, max, slack),
            Rule::AllOrNothing { workloads } => self.all_or_nothing(workloads, slack),
        };
        match constraint.weight {
            Some(weight) => self.soft.add(f64::from(weight), &units),
            None if slack == Slack::Allowed => {
                self.program.at_most_zero(units.clone().plus(-1.0, &Linear::constant(excess as f64)));
                self.repair.add(1.0, &units);
            }
            None => {}
        }
    }

    /// A column for the units of one row, with its least value; nothing when the rule must hold.
    fn slack(&mut self, slack: Slack, definition: impl Fn(&[f64]) -> f64 + 'static) -> Option<Col> {
        (slack == Slack::Allowed).then(|| self.program.defined((0.0, f64::from(u32::MAX)), false, definition))
    }

    /// With M the largest and m the smallest count over the domains that hold an eligible node: `M − m ≤ max_skew + s`.
    fn spread(&mut self, workload: usize, topology: usize, max_skew: u32, slack: Slack) -> Linear {
        let problem = self.instance.problem;
        let wanted = f64::from(problem.workloads[workload].wanted);
        let PerDomain { mut known, pooled, .. } = self.per_domain(workload, topology);
        let pooled_bins: BTreeSet<usize> = pooled.iter().map(|(bin, _, _)| *bin).collect();
        let mut counted: BTreeSet<usize> = BTreeSet::new();
        for node in &problem.workloads[workload].eligible {
            if let Some(domain) = problem.nodes[*node].domains[topology]
                && !self.bin_of[*node].is_some_and(|bin| pooled_bins.contains(&bin))
            {
                counted.insert(domain);
            }
        }
        let mut counts: Vec<Linear> = counted.iter().map(|domain| known.remove(domain).unwrap_or_default()).collect();
        counts.extend(pooled.iter().map(|(_, nodes, col)| Linear::default().with(1.0 / nodes, *col)));
        if counts.len() < 2 && pooled.is_empty() {
            return Linear::default();
        }
        let (above, below) = (counts.clone(), counts.clone());
        let bounds = (0.0, wanted);
        let most = self.program.defined(bounds, false, move |v| above.iter().map(|c| c.value(v)).fold(0.0, f64::max));
        let least =
            self.program.defined(bounds, false, move |v| below.iter().map(|c| c.value(v)).fold(wanted, f64::min));
        for count in &counts {
            self.program.at_most_zero(count.clone().with(-1.0, most));
            self.program.at_most_zero(Linear::default().with(1.0, least).plus(-1.0, count));
        }
        let skew = Linear::constant(-f64::from(max_skew)).with(1.0, most).with(-1.0, least);
        let over = skew.clone();
        let units = self.slack(slack, move |v| over.value(v).max(0.0));
        self.bounded(skew, units)
    }

    /// `count[d] ≤ limit + s[d]`.
    fn limit(&mut self, workload: usize, topology: usize, limit: u32, slack: Slack) -> Linear {
        let PerDomain { known, pooled, .. } = self.per_domain(workload, topology);
        let limit = f64::from(limit);
        let mut total = Linear::default();
        let pools = pooled.into_iter().map(|(_, nodes, col)| Linear::constant(-limit * nodes).with(1.0, col));
        let domains = known.into_values().map(|count| count.plus(-limit, &Linear::constant(1.0)));
        for excess in domains.chain(pools).collect::<Vec<_>>() {
            let over = excess.clone();
            let units = self.slack(slack, move |v| over.value(v).max(0.0));
            total.add(1.0, &self.bounded(excess, units));
        }
        total
    }

    /// With z[d] = 1 when the domain is a's: `count_a[d] ≤ U·z[d] + s[d]`, `count_b[d] ≤ U·(1 − z[d]) + s[d]`.
    fn separate(&mut self, a: usize, b: usize, topology: usize, slack: Slack) -> Linear {
        let problem = self.instance.problem;
        let most = |w: usize| f64::from(problem.workloads[w].wanted);
        let (of_a, mut of_b) = (self.per_domain(a, topology).known, self.per_domain(b, topology).known);
        let mut total = Linear::default();
        for (domain, count_a) in of_a {
            let Some(count_b) = of_b.remove(&domain) else { continue };
            let (left, right) = (count_a.clone(), count_b.clone());
            let mine = self.program.defined((0.0, 1.0), true, move |v| f64::from(left.value(v) >= right.value(v)));
            let (left, right) = (count_a.clone(), count_b.clone());
            let units = self.slack(slack, move |v| left.value(v).min(right.value(v)));
            self.bounded(count_a.with(-most(a), mine), units);
            let theirs = count_b.plus(-most(b), &Linear::constant(1.0)).with(most(b), mine);
            total.add(1.0, &self.bounded(theirs, units));
        }
        total
    }

    /// With u[d] ≤ count_to[d] and u[d] ≤ 1: `count_w[d] ≤ U·u[d] + s[d]`; replicas on nodes without a domain are units as they are.
    fn near(&mut self, workload: usize, to: usize, topology: usize, slack: Slack) -> Linear {
        let PerDomain { known, outside, pooled } = self.per_domain(workload, topology);
        let others = self.per_domain(to, topology);
        let most = f64::from(self.instance.problem.workloads[workload].wanted);
        let mut total = outside;
        for (domain, count) in known {
            let other = others.known.get(&domain).cloned().unwrap_or_default();
            if other.constant >= 1.0 {
                continue;
            }
            let (mine, theirs) = (count.clone(), other.clone());
            let units = self.slack(slack, move |v| if theirs.value(v) > 0.5 { 0.0 } else { mine.value(v) });
            let mut row = count;
            if !other.terms.is_empty() {
                let theirs = other.clone();
                let there = self.program.defined((0.0, 1.0), true, move |v| f64::from(theirs.value(v) > 0.5));
                self.program.at_most_zero(Linear::default().with(1.0, there).plus(-1.0, &other));
                row = row.with(-most, there);
            }
            total.add(1.0, &self.bounded(row, units));
        }
        for (bin, _, col) in pooled {
            let on_one = self.bins[bin].iter().map(|node| self.instance.most_on(workload, *node)).max().unwrap_or(0);
            let mut row = Linear::default().with(1.0, col);
            if let Some((_, _, there)) = others.pooled.iter().find(|(other, _, _)| *other == bin) {
                row = row.with(-f64::from(on_one), *there);
            }
            let over = row.clone();
            let units = self.slack(slack, move |v| over.value(v).max(0.0));
            total.add(1.0, &self.bounded(row, units));
        }
        total
    }

    /// Replicas on nodes outside `nodes`. (A class is wholly inside or outside.)
    fn outside(&self, workload: usize, nodes: &[usize]) -> Linear {
        let is_outside = |node: &usize| nodes.binary_search(node).is_err();
        let counts = self.counts[workload].iter().filter(|(bin, _)| is_outside(&self.bins[*bin][0]));
        let fixed: u64 = self.fixed[workload].iter().filter(|(node, _)| is_outside(node)).map(|(_, c)| c).sum();
        Linear { terms: counts.map(|(_, col)| (*col, 1.0)).collect(), constant: fixed as f64 }
    }

    /// For each resource: `Σ_w demand[w] · placed[w] ≤ max + scale · s`.
    fn quota(&mut self, workloads: &[usize], max: &[(usize, u64)], slack: Slack) -> Linear {
        let problem = self.instance.problem;
        let mut total = Linear::default();
        for (resource, max) in max {
            let demands: Vec<(u128, Linear)> = workloads
                .iter()
                .map(|w| (u128::from(problem.workloads[*w].demand[*resource]), self.placed(*w)))
                .collect();
            if slack == Slack::None {
                self.at_most(&demands, u128::from(*max), None);
                continue;
            }
            let scale = problem.resources[*resource].scale as f64;
            let mut over = Linear::constant(-(*max as f64) / scale);
            demands.iter().for_each(|(demand, placed)| over.add(*demand as f64 / scale, placed));
            let units_over = over.clone();
            let units = self
                .program
                .defined((0.0, f64::from(u32::MAX)), true, move |v| (units_over.value(v) - 1e-7).ceil().max(0.0));
            total.add(1.0, &self.bounded(over, Some(units)));
        }
        total
    }

    /// With z = 1 for all, 0 for nothing: `Σ placed ≤ W·z + s`, `Σ missing ≤ W·(1 − z) + s`.
    fn all_or_nothing(&mut self, workloads: &[usize], slack: Slack) -> Linear {
        let mut placed = Linear::default();
        let mut wanted = 0.0;
        for workload in workloads {
            placed.add(1.0, &self.placed(*workload));
            wanted += f64::from(self.instance.problem.workloads[*workload].wanted);
        }
        let count = placed.clone();
        let all = self.program.defined((0.0, 1.0), true, move |v| f64::from(count.value(v) * 2.0 >= wanted));
        let count = placed.clone();
        let units = self.slack(slack, move |v| count.value(v).min(wanted - count.value(v)));
        self.bounded(placed.clone().with(-wanted, all), units);
        let missing = Linear::default().with(wanted, all).plus(-1.0, &placed);
        self.bounded(missing, units)
    }

    /// The row `excess ≤ units` (or ≤ 0), and the units as an expression.
    fn bounded(&mut self, excess: Linear, units: Option<Col>) -> Linear {
        match units {
            Some(units) => {
                self.program.at_most_zero(excess.with(-1.0, units));
                Linear::default().with(1.0, units)
            }
            None => {
                self.program.at_most_zero(excess);
                Linear::default()
            }
        }
    }

    /// `Σ amount · count ≤ limit` (times `per`, when given), divided by what all amounts share, so that the program sees small whole
    /// numbers and no rounding can blur the limit.
    pub(super) fn at_most(&mut self, amounts: &[(u128, Linear)], limit: u128, per: Option<Col>) {
        let shared = amounts.iter().map(|(amount, _)| *amount).fold(0, gcd);
        if shared == 0 {
            return;
        }
        let limit = (limit / shared) as f64;
        // A limit beyond all that could come says nothing, and its size would spoil the program's numbers.
        let most = |(amount, count): &(u128, Linear)| (amount / shared) as f64 * self.program.greatest(count);
        if amounts.iter().map(most).sum::<f64>() <= limit {
            return;
        }
        let largest = amounts.iter().map(|(amount, _)| amount / shared).max().unwrap_or(1) as f64;
        let scale = 1.0 / (largest / 1024.0).max(1.0).log2().ceil().exp2();
        let mut row = Linear::default();
        for (amount, count) in amounts.iter().filter(|(amount, _)| *amount > 0) {
            row.add((amount / shared) as f64 * scale, count);
        }
        match per {
            Some(col) => row.terms.push((col, -limit * scale)),
            None => row.constant -= limit * scale,
        }
        self.program.at_most_zero(row);
    }
}

pub(crate) fn gcd(a: u128, b: u128) -> u128 {
    let (mut a, mut b) = (a, b);
    while b > 0 {
        (a, b) = (b, a % b);
    }
    a
}
