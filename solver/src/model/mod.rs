//! The program over counts: one integer `x[w,b]` for each workload and bin, a row or a few for each condition, a linear
//! expression for each tier.
//!
//! A *bin* is a node, or a class of like nodes taken together. With single nodes the program is exact: its integer solutions are the
//! placements that [`crate::verify`] accepts. With classes it is a relaxation: every placement, summed over classes, satisfies it, so
//! that its bounds hold. A [`Scope`] may leave workloads and nodes out; what lies there is a constant, which makes the same
//! program a neighbourhood of a placement.
//!
//! [`rules`] holds one function for each family of constraints, [`objective`] one for each tier.

mod cuts;
mod devices;
mod objective;
mod reserve;
mod rules;

pub(crate) use rules::gcd;

use crate::backend::{Col, Linear, Program, Tag};
use crate::instance::{Instance, most_wanted};
use crate::{Placed, Rule, Tier};
use std::collections::BTreeMap;

/// What a program is about: the rest stays as it is.
pub(crate) struct Scope<'s> {
    /// The bins: single nodes, or classes whose nodes differ in nothing but topologies of one node per domain.
    pub(crate) bins: Vec<Vec<usize>>,
    /// Whether a workload's counts in the bins are variables.
    pub(crate) free: Vec<bool>,
    /// What does not move: everything on nodes outside the bins, and workloads that are not free.
    pub(crate) fixed: &'s [Placed],
    /// Whether counts are whole numbers; classes do with fractions.
    pub(crate) whole_counts: bool,
    /// The part of a class's capacity that is held back, so that its counts come apart into nodes more easily. A bound needs 0.
    pub(crate) deflation: f64,
}

impl<'s> Scope<'s> {
    /// Every workload free on every node, each node a bin: the exact program.
    pub(crate) fn whole(instance: &Instance) -> Scope<'s> {
        Scope {
            bins: (0..instance.problem.nodes.len()).map(|node| vec![node]).collect(),
            free: vec![true; instance.problem.workloads.len()],
            fixed: &[],
            whole_counts: true,
            deflation: 0.0,
        }
    }
}

/// A program with what its columns mean.
pub(crate) struct Model<'i, 'p> {
    pub(crate) instance: &'i Instance<'p>,
    pub(crate) program: Program,
    /// The tiers that the scope can change, in order, with their expressions (up to a constant outside the scope).
    pub(crate) tiers: Vec<(Tier, Linear)>,
    bins: Vec<Vec<usize>>,
    bin_of: Vec<Option<usize>>,
    /// Per workload: (bin, column), ascending by bin.
    counts: Vec<Vec<(usize, Col)>>,
    /// Per workload: (node, count) that is fixed.
    fixed: Vec<Vec<(usize, u64)>>,
    /// Per workload that may have replicas beyond what is wanted: how many it has, and what is fixed of them is counted in.
    surplus: BTreeMap<usize, Col>,
    /// Per bin: how many of its nodes hold anything.
    filled: Vec<Col>,
    /// Rows `x ≤ most · y` of a program without whole counts: there are many and few matter, so that they are added where a solution
    /// breaks them.
    seldom_broken: Vec<Linear>,
    repair: Linear,
    soft: Linear,
    deflation: f64,
    /// Counts are whole numbers.
    whole_counts: bool,
    /// How devices are filled.
    fillings: Vec<devices::Filling>,
    /// There are columns whose values do not follow from the counts (which device, which refuge): a placement alone is no start.
    pub(crate) has_choices: bool,
}

/// The counts of some workloads by domain, as expressions.
struct PerDomain {
    /// Domains that are known: exact counts.
    known: BTreeMap<usize, Linear>,
    /// On nodes without a domain.
    outside: Linear,
    /// Classes in which each node is a domain of its own: (bin, nodes, count).
    pooled: Vec<(usize, f64, Linear)>,
}

impl<'i, 'p> Model<'i, 'p> {
    pub(crate) fn build(instance: &'i Instance<'p>, scope: &Scope) -> Model<'i, 'p> {
        let problem = instance.problem;
        let mut model = Model {
            instance,
            program: Program::default(),
            tiers: Vec::new(),
            bins: scope.bins.clone(),
            bin_of: vec![None; problem.nodes.len()],
            counts: vec![Vec::new(); problem.workloads.len()],
            fixed: vec![Vec::new(); problem.workloads.len()],
            surplus: BTreeMap::new(),
            filled: Vec::new(),
            seldom_broken: Vec::new(),
            repair: Linear::default(),
            soft: Linear::default(),
            deflation: scope.deflation,
            whole_counts: scope.whole_counts,
            fillings: Vec::new(),
            has_choices: false,
        };
        for (bin, nodes) in scope.bins.iter().enumerate() {
            nodes.iter().for_each(|node| model.bin_of[*node] = Some(bin));
        }
        for placed in scope.fixed {
            model.fixed[placed.workload].push((placed.node, u64::from(placed.count)));
        }
        model.add_counts(scope);
        model.add_filled();
        model.add_wanted();
        model.add_capacities();
        model.add_devices();
        model.add_pair_repairs();
        for (index, constraint) in problem.constraints.iter().enumerate() {
            // What a rule about moves counts is there even where nothing can be placed any more.
            let always = constraint.rule.is_about_nodes()
                || matches!(constraint.rule, Rule::Moved { .. } | Rule::MovedMost { .. });
            if always || constraint.rule.workloads().iter().any(|w| !model.counts[*w].is_empty()) {
                model.program.tag = Tag::Rule(index);
                model.add_rule(index, constraint);
            }
        }
        model.program.tag = Tag::Other;
        model.add_tiers();
        model
    }

    /// `x[w,b]`, between 0 and what the pair could hold, for every free workload.
    fn add_counts(&mut self, scope: &Scope) {
        for (workload, free) in scope.free.iter().enumerate() {
            if !free {
                continue;
            }
            let wanted = most_wanted(&self.instance.problem.workloads[workload]);
            let mut bins: BTreeMap<usize, u64> = BTreeMap::new();
            for (bin, nodes) in self.bins.iter().enumerate() {
                for node in nodes {
                    *bins.entry(bin).or_default() += u64::from(self.instance.most_on(workload, *node));
                }
            }
            for (bin, most) in bins {
                if most > 0 {
                    let upper = most.min(u64::from(wanted)) as f64;
                    let col = self.program.column(0.0, upper, scope.whole_counts);
                    self.counts[workload].push((bin, col));
                }
            }
        }
    }

    /// `y[b]`, the nodes of the bin that hold anything: `x[w,b] ≤ most(w) · y[b]`.
    fn add_filled(&mut self) {
        let mut held = vec![0.0; self.bins.len()];
        for (node, _) in self.fixed.iter().flatten() {
            if let Some(bin) = self.bin_of[*node] {
                held[bin] = 1.0;
            }
        }
        for (nodes, held) in self.bins.iter().zip(held) {
            self.filled.push(self.program.column(held, nodes.len() as f64, true));
        }
        for workload in 0..self.counts.len() {
            for (bin, col) in &self.counts[workload] {
                let most = self.bins[*bin].iter().map(|node| self.instance.most_on(workload, *node)).max().unwrap_or(0);
                let row = Linear::default().with(1.0, *col).with(-f64::from(most), self.filled[*bin]);
                if self.whole_counts { self.program.at_most_zero(row) } else { self.seldom_broken.push(row) }
            }
        }
    }

    /// `Σ_b x[w,b] ≤ wanted[w]`. Where more may be placed, with p the replicas beyond what is wanted and z = 1 when there are any:
    /// `p ≤ surplus_max · z` and `wanted · z ≤ Σ_b x[w,b] − p ≤ wanted`.
    fn add_wanted(&mut self) {
        for workload in 0..self.counts.len() {
            if self.counts[workload].is_empty() {
                continue;
            }
            let spec = &self.instance.problem.workloads[workload];
            let (wanted, most) = (f64::from(spec.wanted), f64::from(spec.surplus_max));
            if spec.surplus_max > 0 {
                let placed = self.placed(workload);
                let beyond = self.program.defined((0.0, most), true, move |v| (placed.value(v) - wanted).max(0.0));
                let any = self.program.defined((0.0, 1.0), true, move |v| f64::from(v[beyond] > 0.5));
                self.program.at_most_zero(Linear::default().with(1.0, beyond).with(-most, any));
                self.surplus.insert(workload, beyond);
                let row = Linear::default().with(wanted, any).plus(-1.0, &self.served(workload));
                self.program.at_most_zero(row);
            }
            let row = self.served(workload).plus(-1.0, &Linear::constant(wanted));
            self.program.tag = Tag::Wanted(workload);
            self.program.at_most_zero(row);
            self.program.tag = Tag::Other;
        }
    }

    /// What `workload` has placed of what is wanted.
    fn served(&self, workload: usize) -> Linear {
        let placed = self.placed(workload);
        match self.surplus.get(&workload) {
            Some(beyond) => placed.with(-1.0, *beyond),
            None => placed,
        }
    }

    /// What `workload` has placed in all.
    fn placed(&self, workload: usize) -> Linear {
        let fixed: u64 = self.fixed[workload].iter().map(|(_, count)| count).sum();
        let mut placed = Linear::constant(fixed as f64);
        placed.terms.extend(self.counts[workload].iter().map(|(_, col)| (*col, 1.0)));
        placed
    }

    fn per_domain(&self, workloads: &[usize], topology: usize) -> PerDomain {
        let mut all = PerDomain { known: BTreeMap::new(), outside: Linear::default(), pooled: Vec::new() };
        workloads.iter().for_each(|workload| self.add_per_domain(*workload, topology, &mut all));
        all
    }

    fn add_per_domain(&self, workload: usize, topology: usize, all: &mut PerDomain) {
        let nodes = &self.instance.problem.nodes;
        let PerDomain { known, outside, pooled } = all;
        for (bin, col) in &self.counts[workload] {
            let members = &self.bins[*bin];
            match nodes[members[0]].domains[topology] {
                None => outside.terms.push((*col, 1.0)),
                Some(domain) if members.iter().all(|n| nodes[*n].domains[topology] == Some(domain)) => {
                    known.entry(domain).or_default().terms.push((*col, 1.0));
                }
                Some(_) => match pooled.iter_mut().find(|(known, _, _)| known == bin) {
                    Some((_, _, count)) => count.terms.push((*col, 1.0)),
                    None => pooled.push((*bin, members.len() as f64, Linear::default().with(1.0, *col))),
                },
            }
        }
        for (node, count) in &self.fixed[workload] {
            match nodes[*node].domains[topology] {
                None => outside.constant += *count as f64,
                Some(domain) => known.entry(domain).or_default().constant += *count as f64,
            }
        }
    }

    /// A whole assignment of the columns from a placement (what it places outside the scope is ignored).
    pub(crate) fn start_from(&self, placed: &[Placed]) -> Vec<f64> {
        let mut values = vec![0.0; self.program.column_count()];
        let mut holds = vec![false; self.bin_of.len()];
        for entry in placed {
            if let Some(bin) = self.bin_of[entry.node] {
                holds[entry.node] = true;
                if let Ok(at) = self.counts[entry.workload].binary_search_by_key(&bin, |(bin, _)| *bin) {
                    values[self.counts[entry.workload][at].1] += f64::from(entry.count);
                }
            }
        }
        for (bin, nodes) in self.bins.iter().enumerate() {
            values[self.filled[bin]] = nodes.iter().filter(|node| holds[**node]).count() as f64;
        }
        self.start_fillings(&mut values);
        self.program.complete(&mut values);
        values
    }

    /// The same values with counts rounded and everything that follows from them recomputed.
    pub(crate) fn rounded(&self, values: &[f64]) -> Vec<f64> {
        let mut rounded: Vec<f64> = values.iter().map(|value| value.round()).collect();
        let mut holds: Vec<f64> = self.filled.iter().map(|col| self.program.lower(*col)).collect();
        for (bin, col) in self.counts.iter().flatten() {
            rounded[*col] = values[*col].round();
            if rounded[*col] > 0.0 {
                holds[*bin] = f64::max(holds[*bin], 1.0);
            }
        }
        for (bin, col) in self.filled.iter().enumerate() {
            rounded[*col] = if self.bins[bin].len() == 1 { holds[bin] } else { values[*col].round() };
        }
        self.program.complete(&mut rounded);
        rounded
    }

    /// The placement in the scope, when every bin is one node: counts rounded, everything else recomputed.
    pub(crate) fn placement(&self, values: &[f64]) -> Vec<Placed> {
        let mut placed = Vec::new();
        for (workload, counts) in self.counts.iter().enumerate() {
            for (bin, col) in counts {
                let count = values[*col].round().clamp(0.0, f64::from(u32::MAX)) as u32;
                if count > 0 {
                    placed.push(Placed { workload, node: self.bins[*bin][0], count });
                }
            }
            let fixed = self.fixed[workload].iter();
            let count = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
            placed.extend(fixed.map(|(node, c)| Placed { workload, node: *node, count: count(*c) }));
        }
        placed.sort_unstable();
        placed
    }

    /// Per workload and bin, how many the values place there.
    pub(crate) fn bin_counts(&self, values: &[f64]) -> Vec<Vec<(usize, f64)>> {
        let of = |counts: &Vec<(usize, Col)>| counts.iter().map(|(bin, col)| (*bin, values[*col])).collect();
        self.counts.iter().map(of).collect()
    }

    /// Per bin, how many of its nodes the values fill.
    pub(crate) fn filled_counts(&self, values: &[f64]) -> Vec<f64> {
        self.filled.iter().map(|col| values[*col]).collect()
    }
}
