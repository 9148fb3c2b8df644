//! Capacity, what the present state excuses there, and one expression for each tier.

use super::Model;
use crate::backend::{Linear, Tag};
use crate::evaluate::{PEAK_STEPS, tiers};
use crate::lexicographic::Scaled;
use crate::{Shape, Tier};
use std::collections::BTreeMap;

impl Model<'_, '_> {
    /// Demands in a bin, for one resource: (demand, count as an expression), the fixed ones among them.
    pub(super) fn demands(&self, resource: usize) -> Vec<Vec<(u128, Linear)>> {
        let mut demands: Vec<Vec<(u128, Linear)>> = vec![Vec::new(); self.bins.len()];
        for (workload, spec) in self.instance.problem.workloads.iter().enumerate() {
            let demand = u128::from(spec.demand[resource]);
            if demand == 0 {
                continue;
            }
            for (bin, col) in &self.counts[workload] {
                demands[*bin].push((demand, Linear::default().with(1.0, *col)));
            }
            for (node, count) in &self.fixed[workload] {
                if let Some(bin) = self.bin_of[*node] {
                    demands[bin].push((demand, Linear::constant(*count as f64)));
                }
            }
        }
        demands
    }

    /// The same for a transient resource: in place of a count max(count, running), that is running + t with t ≥ count − running. What
    /// leaves goes on being charged, so these never shrink below what runs.
    fn charges(&mut self, resource: usize) -> Vec<Vec<(u128, Linear)>> {
        let mut charges: Vec<Vec<(u128, Linear)>> = vec![Vec::new(); self.bins.len()];
        for (workload, spec) in self.instance.problem.workloads.iter().enumerate() {
            let demand = u128::from(spec.demand[resource]);
            if demand == 0 {
                continue;
            }
            let mut counts: BTreeMap<usize, (f64, Linear)> = BTreeMap::new();
            for (bin, col) in &self.counts[workload] {
                counts.entry(*bin).or_default().1.terms.push((*col, 1.0));
            }
            for (node, count) in &self.fixed[workload] {
                if let Some(bin) = self.bin_of[*node] {
                    counts.entry(bin).or_default().1.constant += *count as f64;
                }
            }
            for (node, count) in &self.instance.running[workload] {
                if let Some(bin) = self.bin_of[*node] {
                    counts.entry(bin).or_default().0 += f64::from(*count);
                }
            }
            for (bin, (running, count)) in counts {
                let charge = if count.terms.is_empty() {
                    Linear::constant(running.max(count.constant))
                } else if running == 0.0 {
                    count
                } else {
                    let more = count.plus(-1.0, &Linear::constant(running));
                    let excess = more.clone();
                    let upper = self.program.greatest(&more).max(0.0);
                    let t = self.program.defined((0.0, upper), false, move |v| excess.value(v).max(0.0));
                    self.program.at_most_zero(more.with(-1.0, t));
                    Linear::constant(running).with(1.0, t)
                };
                charges[bin].push((demand, charge));
            }
        }
        charges
    }

    /// What everything that runs in a bin is charged, by the demands of its workloads.
    fn charged_at_present(&self, bin: usize, resource: usize) -> u128 {
        let running = self.bins[bin].iter().flat_map(|node| &self.instance.running_on[*node]);
        let demand = |workload: usize| u128::from(self.instance.problem.workloads[workload].demand[resource]);
        running.map(|(workload, count)| demand(*workload) * u128::from(*count)).fold(0, u128::saturating_add)
    }

    /// `Σ_w demand · x[w,b] ≤ ceiling · y[b]`; on a node that is overloaded at present the ceiling is what is used, and every
    /// started `scale` above the capacity is a unit of repair.
    pub(super) fn add_capacities(&mut self) {
        let problem = self.instance.problem;
        for resource in 0..problem.resources.len() {
            let demands = self.demands(resource);
            let unit = problem.workloads.iter().map(|w| u128::from(w.demand[resource])).fold(0, super::gcd).max(1);
            let charges = if problem.resources[resource].transient { self.charges(resource) } else { demands.clone() };
            for (bin, (demands, charges)) in demands.iter().zip(&charges).enumerate() {
                if demands.iter().all(|(_, count)| count.terms.is_empty()) {
                    continue;
                }
                let node = self.bins[bin][0];
                let (ceiling, capacity) =
                    (self.instance.ceiling[node][resource], problem.nodes[node].capacity[resource]);
                let held_back = if self.bins[bin].len() > 1 { (ceiling as f64 * self.deflation) as u128 } else { 0 };
                // Of what is taken in large units, whole ones: three of four devices are no part of a per cent less.
                let ceiling = (ceiling - held_back.min(ceiling)).next_multiple_of(unit).min(ceiling);
                let fixed = charges.iter().any(|(_, count)| count.terms.is_empty() || count.constant > 0.0);
                let per = (!fixed).then_some(self.filled[bin]);
                let nodes = if per.is_some() { 1 } else { self.bins[bin].len() as u128 };
                // What leaves goes on being charged: that breaks nothing new.
                let at_present =
                    if problem.resources[resource].transient { self.charged_at_present(bin, resource) } else { 0 };
                self.program.tag = Tag::Capacity { resource, bin };
                self.at_most(charges, ceiling.saturating_mul(nodes).max(at_present), per);
                if problem.resources[resource].transient {
                    self.at_most(demands, ceiling.saturating_mul(self.bins[bin].len() as u128), None);
                }
                self.program.tag = Tag::Other;
                if ceiling > u128::from(capacity) {
                    let scale = problem.resources[resource].scale as f64;
                    let mut over = Linear::constant(-(capacity as f64) / scale);
                    demands.iter().for_each(|(demand, count)| over.add(*demand as f64 / scale, count));
                    let most = (ceiling - u128::from(capacity)).div_ceil(u128::from(problem.resources[resource].scale));
                    let excess = over.clone();
                    let units = self
                        .program
                        .defined((0.0, most as f64), true, move |v| (excess.value(v) - 1e-7).ceil().max(0.0));
                    self.program.at_most_zero(over.with(-1.0, units));
                    self.repair.terms.push((units, 1.0));
                }
            }
        }
    }

    /// Replicas that run where they may not, or more than a node's maximum: units of repair, pair by pair.
    pub(super) fn add_pair_repairs(&mut self) {
        for workload in 0..self.counts.len() {
            let max = self.instance.problem.workloads[workload].per_node_max;
            for (bin, col) in self.counts[workload].clone() {
                let node = self.bins[bin][0];
                if !self.instance.broken_nodes[node] {
                    continue;
                }
                if !self.instance.is_allowed(workload, node) {
                    self.repair.terms.push((col, 1.0));
                }
                if let Some(max) = max.filter(|max| self.instance.running_count(workload, node) > *max) {
                    let over = Linear::constant(-f64::from(max)).with(1.0, col);
                    let excess = over.clone();
                    let bounds = (0.0, f64::from(u32::MAX));
                    let units = self.program.defined(bounds, false, move |v| excess.value(v).max(0.0));
                    self.program.at_most_zero(over.with(-1.0, units));
                    self.repair.terms.push((units, 1.0));
                }
            }
        }
    }

    pub(super) fn add_tiers(&mut self) {
        for tier in tiers(self.instance.problem) {
            let expression = match tier {
                Tier::Shortage(priority) => self.shortage(priority),
                Tier::Repair => std::mem::take(&mut self.repair),
                Tier::Soft => std::mem::take(&mut self.soft),
                Tier::Surplus => {
                    Linear { terms: self.surplus.values().map(|col| (*col, 1.0)).collect(), constant: 0.0 }
                }
                Tier::Disruption => self.disruption(),
                Tier::Cost => self.cost(),
                Tier::PricedCost => {
                    let price = self.instance.problem.objective.move_price_micros.unwrap_or(0) as f64;
                    self.cost().plus(price, &self.disruption())
                }
                Tier::Shape => self.shape(),
            };
            self.tiers.push((tier, merged(expression)));
        }
    }

    fn shortage(&self, priority: i32) -> Linear {
        let mut shortage = Linear::default();
        self.missing(priority).for_each(|missing| shortage.add(1.0, &missing));
        shortage
    }

    /// What each workload of a priority lacks, as expressions that are never negative.
    fn missing(&self, priority: i32) -> impl Iterator<Item = Linear> {
        let of_priority =
            self.instance.problem.workloads.iter().enumerate().filter(move |(_, w)| w.priority == priority);
        of_priority.map(|(workload, spec)| Linear::constant(f64::from(spec.wanted)).plus(-1.0, &self.served(workload)))
    }

    /// Rows that keep a tier from exceeding `value`. Where that is the least it can be each of its parts is at its least, row by row: a back-end
    /// takes such rows out of the program, and is many times as fast as with their sum.
    pub(crate) fn no_worse(&self, index: usize, value: f64) -> Vec<Linear> {
        let (tier, expression) = &self.tiers[index];
        match tier {
            Tier::Shortage(priority) if value <= 0.0 => self.missing(*priority).collect(),
            _ if value <= self.program.least(expression) => {
                let at_least = |(col, factor): &(usize, f64)| {
                    let alone = Linear::default().with(factor.signum(), *col);
                    let least = self.program.least(&alone);
                    alone.plus(-1.0, &Linear::constant(least))
                };
                expression.terms.iter().map(at_least).collect()
            }
            _ => {
                let scaled = Scaled::new(expression);
                let mut row = scaled.objective;
                row.constant -= value / scaled.divisor;
                vec![row]
            }
        }
    }

    /// `Σ weight · d[w,b]` with `d[w,b] ≥ running[w,b] − x[w,b]`: of a class, a lower bound on its nodes' sum.
    fn disruption(&mut self) -> Linear {
        let mut disruption = Linear::default();
        for workload in 0..self.counts.len() {
            let weight = f64::from(self.instance.problem.workloads[workload].move_weight);
            let mut running: BTreeMap<usize, f64> = BTreeMap::new();
            for (node, count) in &self.instance.running[workload] {
                if let Some(bin) = self.bin_of[*node] {
                    *running.entry(bin).or_default() += f64::from(*count);
                }
            }
            for (bin, running) in running {
                match self.counts[workload].binary_search_by_key(&bin, |(bin, _)| *bin) {
                    Ok(at) => {
                        let lost = Linear::constant(running).with(-1.0, self.counts[workload][at].1);
                        let moved = lost.clone();
                        let d = self.program.defined((0.0, running), false, move |v| moved.value(v).max(0.0));
                        self.program.at_most_zero(lost.with(-1.0, d));
                        disruption.terms.push((d, weight));
                    }
                    Err(_) if self.fixed[workload].is_empty() => disruption.constant += weight * running,
                    Err(_) => {}
                }
            }
        }
        disruption
    }

    fn cost(&self) -> Linear {
        let price = |nodes: &Vec<usize>| self.instance.problem.nodes[nodes[0]].price_micros as f64;
        let terms = self.bins.iter().zip(&self.filled).map(|(nodes, col)| (*col, price(nodes)));
        Linear { terms: terms.collect(), constant: 0.0 }
    }

    fn shape(&mut self) -> Linear {
        match self.instance.problem.objective.shape {
            Shape::Pack => Linear { terms: self.filled.iter().map(|col| (*col, 1.0)).collect(), constant: 0.0 },
            Shape::Spread => self.peaks(),
        }
    }

    /// `P[b] ≥ 1000 · used / capacity` for every resource that shapes, `e[b,t] ≥ P[b] − t`.
    fn peaks(&mut self) -> Linear {
        let problem = self.instance.problem;
        let mut ratios: Vec<Vec<Linear>> = vec![Vec::new(); self.bins.len()];
        let mut highest = vec![0.0f64; self.bins.len()];
        for resource in (0..problem.resources.len()).filter(|r| problem.resources[*r].shapes) {
            for (bin, demands) in self.demands(resource).into_iter().enumerate() {
                let node = self.bins[bin][0];
                let capacity = problem.nodes[node].capacity[resource] as f64;
                if capacity > 0.0 && !demands.is_empty() {
                    let mut ratio = Linear::default();
                    demands.iter().for_each(|(demand, count)| ratio.add(1000.0 * *demand as f64 / capacity, count));
                    let ceiling = 1000.0 * self.instance.ceiling[node][resource] as f64 / capacity;
                    highest[bin] = highest[bin].max(ceiling * self.bins[bin].len() as f64 + 1.0);
                    ratios[bin].push(ratio);
                }
            }
        }
        let mut shape = Linear::default();
        for (bin, ratios) in ratios.into_iter().enumerate().filter(|(_, ratios)| !ratios.is_empty()) {
            let nodes = self.bins[bin].len() as f64;
            let all = ratios.clone();
            let single = self.bins[bin].len() == 1;
            let peak = self.program.defined((0.0, highest[bin]), single, move |v| {
                let peak = all.iter().map(|ratio| ratio.value(v)).fold(0.0, f64::max);
                if single { (peak - 1e-7).ceil() } else { peak }
            });
            for ratio in ratios {
                self.program.at_most_zero(ratio.with(-1.0, peak));
            }
            for step in PEAK_STEPS {
                let over = Linear::constant(-(step as f64) * nodes).with(1.0, peak);
                let excess = over.clone();
                let above = self.program.defined((0.0, highest[bin]), false, move |v| excess.value(v).max(0.0));
                self.program.at_most_zero(over.with(-1.0, above));
                shape.terms.push((above, 1.0));
            }
        }
        shape
    }
}

/// The same expression with each column once.
fn merged(linear: Linear) -> Linear {
    let mut terms: BTreeMap<usize, f64> = BTreeMap::new();
    for (col, factor) in &linear.terms {
        *terms.entry(*col).or_default() += factor;
    }
    Linear { terms: terms.into_iter().filter(|(_, factor)| *factor != 0.0).collect(), constant: linear.constant }
}
