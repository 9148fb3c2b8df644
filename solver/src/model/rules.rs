//! The rows: one function for each family of constraints.
//!
//! Every family yields its *units* (by how much it is broken) as an expression. A hard rule that the present state keeps has none: its rows
//! leave no room. One that the present state breaks by `u` may be broken by at most `u`, and the units go to the repair tier;
//! a soft one's go, weighted, to the soft tier.

use super::{Model, PerDomain};
use crate::backend::{Col, Linear};
use crate::instance::most_wanted;
use crate::{Constraint, Rule};
use std::collections::{BTreeMap, BTreeSet};

/// What a skew leaves whole counts is said in programs of so many bins times workloads at most. In larger ones relaxations guide the search: those with
/// these rows, tried on 5,000 nodes, led it to placements 4.7 % above the bound, those without to 0.2 %.
const WHOLE_SPREAD_PAIRS_MAX: usize = 5_000;

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
            Rule::LimitPerDomain { workloads, topology, limit } => {
                let limit = Linear::constant(f64::from(*limit));
                self.limit(workloads, *topology, &limit, slack)
            }
            Rule::Survive { workload, topology, keep } => {
                let wanted = self.instance.problem.workloads[*workload].wanted;
                let mut limit = Linear::constant(f64::from(wanted.saturating_sub(*keep)));
                limit.terms.extend(self.surplus.get(workload).map(|beyond| (*beyond, 1.0)));
                self.limit(&[*workload], *topology, &limit, slack)
            }
            Rule::SeparateFrom { a, b, topology, limit } => self.separate(*a, *b, *topology, *limit, slack),
            Rule::Near { workloads, to, topology } => self.near(workloads, to, *topology, slack),
            Rule::DistinctDomains { workloads, topology, least } => self.distinct(workloads, *topology, *least, slack),
            Rule::Reserve { topology, except } => self.reserve(index, *topology, except, slack == Slack::Allowed),
            Rule::NodesMost { nodes, most } => self.nodes_most(nodes, *most, slack),
            Rule::Safety { resource, safe } => self.safety(*resource, safe),
            Rule::Balance { first, second, unit } => self.balance(*first, *second, *unit),
            Rule::Moved { workloads } => self.moved(workloads),
            Rule::MovedMost { groups } => self.moved_most(groups),
            Rule::MovedFar { units } => self.moved_far(units),
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
        let wanted = f64::from(most_wanted(&problem.workloads[workload]));
        let PerDomain { mut known, pooled, .. } = self.per_domain(&[workload], topology);
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
        counts.extend(pooled.iter().map(|(_, nodes, count)| Linear::default().plus(1.0 / nodes, count)));
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
        let units = self.bounded(skew, units);
        let pairs = self.bins.len().saturating_mul(problem.workloads.len());
        if pooled.is_empty() && pairs <= WHOLE_SPREAD_PAIRS_MAX {
            self.whole_spread(workload, max_skew, &counts, &units);
        }
        units
    }

    /// What a skew leaves to each of D domains when counts are whole. With T replicas in all of them, `D·M ≤ T + (D − 1)·(max_skew + s)` and
    /// `D·m ≥ T − (D − 1)·(max_skew + s)`; so with T ≤ wanted
    /// `count[d] ≤ ⌊(wanted + (D − 1)·max_skew) / D⌋ + s` and `count[d] ≥ ⌈(wanted − (D − 1)·max_skew) / D⌉ − (wanted − T) − s`.
    /// Three times as many replicas as zones, skew 1: fractions could leave k − ⅔ of them in a zone, whole ones leave k.
    fn whole_spread(&mut self, workload: usize, max_skew: u32, counts: &[Linear], units: &Linear) {
        let spec = &self.instance.problem.workloads[workload];
        let (domains, most) = (counts.len() as i64, i64::from(most_wanted(spec)));
        let play = (domains - 1).saturating_mul(i64::from(max_skew));
        let (high, low) = (most.saturating_add(play), most.saturating_sub(play));
        if high % domains != 0 {
            for count in counts {
                let row = count.clone().plus(-1.0, units).plus(-1.0, &Linear::constant((high / domains) as f64));
                self.program.at_most_zero(row);
            }
        }
        // Where more than wanted may be placed, the last is no bound.
        if low > 0 && low % domains != 0 && spec.surplus_max == 0 {
            let mut missing = Linear::constant(most as f64);
            counts.iter().for_each(|count| missing.add(-1.0, count));
            let least = Linear::constant((low / domains + 1) as f64).plus(-1.0, &missing).plus(-1.0, units);
            counts.iter().for_each(|count| self.program.at_most_zero(least.clone().plus(-1.0, count)));
        }
    }

    /// `count[d] ≤ limit + s[d]`.
    fn limit(&mut self, workloads: &[usize], topology: usize, limit: &Linear, slack: Slack) -> Linear {
        let PerDomain { known, pooled, .. } = self.per_domain(workloads, topology);
        let mut total = Linear::default();
        let pools = pooled.into_iter().map(|(_, nodes, count)| count.plus(-nodes, limit));
        let domains = known.into_values().map(|count| count.plus(-1.0, limit));
        for excess in domains.chain(pools).collect::<Vec<_>>() {
            let over = excess.clone();
            let units = self.slack(slack, move |v| over.value(v).max(0.0));
            total.add(1.0, &self.bounded(excess, units));
        }
        total
    }

    /// With z[d] = 1 when the domain is a's: `count_a[d] ≤ U·z[d] + s[d]`, `count_b[d] ≤ limit + U·(1 − z[d]) + s[d]`.
    fn separate(&mut self, a: usize, b: usize, topology: usize, limit: u32, slack: Slack) -> Linear {
        let problem = self.instance.problem;
        let most = |w: usize| f64::from(most_wanted(&problem.workloads[w]));
        let limit = f64::from(limit);
        let (of_a, mut of_b) = (self.per_domain(&[a], topology).known, self.per_domain(&[b], topology).known);
        let mut total = Linear::default();
        for (domain, count_a) in of_a {
            let Some(count_b) = of_b.remove(&domain) else { continue };
            let (left, right) = (count_a.clone(), count_b.clone());
            let holds = move |v: &[f64]| f64::from(left.value(v) >= right.value(v) - limit);
            let mine = self.program.defined((0.0, 1.0), true, holds);
            let (left, right) = (count_a.clone(), count_b.clone());
            let units = self.slack(slack, move |v| left.value(v).min((right.value(v) - limit).max(0.0)));
            self.bounded(count_a.with(-most(a), mine), units);
            let theirs = count_b.plus(-most(b) - limit, &Linear::constant(1.0)).with(most(b), mine);
            total.add(1.0, &self.bounded(theirs, units));
        }
        total
    }

    /// With u[d] ≤ count_to[d] and u[d] ≤ 1: `count[d] ≤ U·u[d] + s[d]`; replicas on nodes without a domain are units as they are.
    fn near(&mut self, workloads: &[usize], to: &[usize], topology: usize, slack: Slack) -> Linear {
        let problem = self.instance.problem;
        let PerDomain { known, outside, pooled } = self.per_domain(workloads, topology);
        let others = self.per_domain(to, topology);
        let most: f64 = workloads.iter().map(|w| f64::from(most_wanted(&problem.workloads[*w]))).sum();
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
                let there = self.some(&other);
                row = row.with(-most, there);
            }
            total.add(1.0, &self.bounded(row, units));
        }
        for (bin, _, count) in pooled {
            let on_one = |w: &usize| {
                let most = self.bins[bin].iter().map(|node| self.instance.most_on(*w, *node)).max();
                f64::from(most.unwrap_or(0))
            };
            let on_one: f64 = workloads.iter().map(on_one).sum();
            let mut row = count;
            if let Some((_, _, there)) = others.pooled.iter().find(|(other, _, _)| *other == bin) {
                row.add(-on_one, there);
            }
            let over = row.clone();
            let units = self.slack(slack, move |v| over.value(v).max(0.0));
            total.add(1.0, &self.bounded(row, units));
        }
        total
    }

    /// A column that is 1 when a count is at least 1, and 0 otherwise: `u ≤ count`, u binary.
    fn some(&mut self, count: &Linear) -> Col {
        let value = count.clone();
        let some = self.program.defined((0.0, 1.0), true, move |v| f64::from(value.value(v) > 0.5));
        self.program.at_most_zero(Linear::default().with(1.0, some).plus(-1.0, count));
        some
    }

    /// With u[d] ≤ count[d] for each domain and v[k] = 1 when k replicas are placed: `Σ_{k ≤ least} v[k] ≤ Σ_d u[d] + s`.
    fn distinct(&mut self, workloads: &[usize], topology: usize, least: u32, slack: Slack) -> Linear {
        let problem = self.instance.problem;
        let PerDomain { known, pooled, .. } = self.per_domain(workloads, topology);
        let mut held = Linear::default();
        for count in known.into_values() {
            if count.constant >= 1.0 {
                held.constant += 1.0;
            } else {
                let some = self.some(&count);
                held.terms.push((some, 1.0));
            }
        }
        for (_, nodes, count) in pooled {
            let value = count.clone();
            let some = self.program.defined((0.0, nodes), false, move |v| value.value(v).min(nodes));
            self.program.at_most_zero(Linear::default().with(1.0, some).plus(-1.0, &count));
            held.terms.push((some, 1.0));
        }
        let mut placed = Linear::default();
        workloads.iter().for_each(|workload| placed.add(1.0, &self.placed(*workload)));
        let most: u64 = workloads.iter().map(|w| u64::from(most_wanted(&problem.workloads[*w]))).sum();
        let mut lacking = Linear::default().plus(-1.0, &held);
        for k in 1..=u64::from(least).min(most) {
            let (count, before) = (placed.clone(), k as f64 - 1.0);
            let reached = self.program.defined((0.0, 1.0), true, move |v| f64::from(count.value(v) > before + 0.5));
            let row = placed.clone().plus(-before, &Linear::constant(1.0)).with(-(most as f64 - before), reached);
            self.program.at_most_zero(row);
            lacking.terms.push((reached, 1.0));
        }
        let over = lacking.clone();
        let units = self.slack(slack, move |v| over.value(v).max(0.0));
        self.bounded(lacking, units)
    }

    /// `Σ y ≤ most + s` over the bins of the nodes. (A class is wholly among them or not.)
    fn nodes_most(&mut self, nodes: &[usize], most: u32, slack: Slack) -> Linear {
        let among = |bin: &Vec<usize>| nodes.binary_search(&bin[0]).is_ok();
        let bins = self.bins.iter().zip(&self.filled).filter(|(bin, _)| among(bin));
        let terms: Vec<(Col, f64)> = bins.map(|(_, filled)| (*filled, 1.0)).collect();
        if terms.is_empty() {
            return Linear::default();
        }
        let mut elsewhere: BTreeSet<usize> = self.fixed.iter().flatten().map(|(node, _)| *node).collect();
        elsewhere.retain(|node| self.bin_of[*node].is_none() && nodes.binary_search(node).is_ok());
        let over = Linear { terms, constant: elsewhere.len() as f64 - f64::from(most) };
        let excess = over.clone();
        let units = self.slack(slack, move |v| excess.value(v).max(0.0));
        self.bounded(over, units)
    }

    /// `Σ demand · x ≤ safe + scale · s` on each node, s whole.
    fn safety(&mut self, resource: usize, safe: &[u64]) -> Linear {
        let scale = self.instance.problem.resources[resource].scale as f64;
        let mut total = Linear::default();
        for (bin, demands) in self.demands(resource).into_iter().enumerate() {
            let nodes = self.bins[bin].len() as f64;
            let mut over = Linear::constant(-(safe[self.bins[bin][0]] as f64) / scale * nodes);
            demands.iter().for_each(|(demand, count)| over.add(*demand as f64 / scale, count));
            total.add(1.0, &self.degrees(over, nodes == 1.0));
        }
        total
    }

    /// `factor₁ · (capacity₁ − used₁) − factor₂ · (capacity₂ − used₂) ≤ unit · s` on each node, s whole.
    fn balance(&mut self, first: (usize, u64), second: (usize, u64), unit: u64) -> Linear {
        let mut off: Vec<Linear> = vec![Linear::default(); self.bins.len()];
        for ((resource, factor), sign) in [(first, 1.0), (second, -1.0)] {
            let factor = sign * factor as f64 / unit as f64;
            for (bin, demands) in self.demands(resource).into_iter().enumerate() {
                let capacity = self.instance.problem.nodes[self.bins[bin][0]].capacity[resource] as f64;
                off[bin].constant += factor * capacity * self.bins[bin].len() as f64;
                demands.iter().for_each(|(demand, count)| off[bin].add(-factor * *demand as f64, count));
            }
        }
        let mut total = Linear::default();
        for (bin, off) in off.into_iter().enumerate() {
            let single = self.bins[bin].len() == 1;
            total.add(1.0, &self.degrees(off, single));
        }
        total
    }

    /// A column for max(0, over), rounded up when it is one node's.
    fn degrees(&mut self, over: Linear, single: bool) -> Linear {
        let most = self.program.greatest(&over);
        if most <= 0.0 {
            return Linear::default();
        }
        let excess = over.clone();
        let value = move |v: &[f64]| {
            let excess = excess.value(v).max(0.0);
            if single { (excess - 1e-7).ceil().max(0.0) } else { excess }
        };
        let units = self.program.defined((0.0, most.ceil()), single, value);
        self.program.at_most_zero(over.with(-1.0, units));
        Linear::default().with(1.0, units)
    }

    /// `Σ units · d[w]`.
    fn moved(&mut self, workloads: &[(usize, u32)]) -> Linear {
        let mut total = Linear::default();
        for (workload, units) in workloads {
            let lost = self.lost(*workload);
            total.add(f64::from(*units), &lost);
        }
        total
    }

    /// The largest of the groups' sums of d[w].
    fn moved_most(&mut self, groups: &[Vec<usize>]) -> Linear {
        let mut lost = Vec::new();
        for group in groups {
            let mut sum = Linear::default();
            for workload in group {
                let lost = self.lost(*workload);
                sum.add(1.0, &lost);
            }
            if !sum.terms.is_empty() || sum.constant > 0.0 {
                lost.push(sum);
            }
        }
        if lost.is_empty() {
            return Linear::default();
        }
        let all = lost.clone();
        let largest = move |v: &[f64]| all.iter().map(|lost| lost.value(v)).fold(0.0, f64::max);
        let most = self.program.defined((0.0, f64::from(u32::MAX)), false, largest);
        for lost in lost {
            self.program.at_most_zero(lost.with(-1.0, most));
        }
        Linear::default().with(1.0, most)
    }

    /// Running replicas of a workload that leave: `Σ_b d[b]` with `d[b] ≥ running[b] − x[b]`; of a class, a lower bound on its nodes' sum.
    fn lost(&mut self, workload: usize) -> Linear {
        let mut running: BTreeMap<usize, f64> = BTreeMap::new();
        let mut lost = Linear::default();
        for (node, count) in &self.instance.running[workload] {
            match self.bin_of[*node] {
                Some(bin) => *running.entry(bin).or_default() += f64::from(*count),
                None => {
                    let kept = self.fixed[workload].iter().find(|(n, _)| n == node).map_or(0, |(_, count)| *count);
                    lost.constant += u64::from(*count).saturating_sub(kept) as f64;
                }
            }
        }
        for (bin, running) in running {
            let here = |node: &usize| self.bin_of[*node] == Some(bin);
            let fixed: u64 = self.fixed[workload].iter().filter(|(node, _)| here(node)).map(|(_, count)| count).sum();
            let left = (running - fixed as f64).max(0.0);
            match self.counts[workload].binary_search_by_key(&bin, |(bin, _)| *bin) {
                Ok(at) => {
                    let gone = Linear::constant(left).with(-1.0, self.counts[workload][at].1);
                    let moved = gone.clone();
                    let d = self.program.defined((0.0, left), false, move |v| moved.value(v).max(0.0));
                    self.program.at_most_zero(gone.with(-1.0, d));
                    lost.terms.push((d, 1.0));
                }
                Err(_) => lost.constant += left,
            }
        }
        lost
    }

    /// `Σ units[from][b] · x[w,b]` over workloads with one replica that runs at `from`; of a class, the least of its nodes'.
    fn moved_far(&self, units: &[Vec<u32>]) -> Linear {
        let mut total = Linear::default();
        for (workload, spec) in self.instance.problem.workloads.iter().enumerate() {
            let [(from, 1)] = self.instance.running[workload].as_slice() else { continue };
            if spec.wanted != 1 || spec.surplus_max > 0 {
                continue;
            }
            for (bin, col) in &self.counts[workload] {
                let far = self.bins[*bin].iter().map(|node| units[*from][*node]).min().unwrap_or(0);
                total.terms.push((*col, f64::from(far)));
            }
            let fixed = self.fixed[workload].iter().map(|(node, _)| f64::from(units[*from][*node]));
            total.constant += fixed.sum::<f64>();
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
            placed.add(1.0, &self.served(*workload));
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
