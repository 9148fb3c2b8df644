//! Rows that every placement satisfies and fractions do not: what the linear relaxation misses because replicas are whole.
//!
//! If f is a dual feasible function (Fekete, Schepers 2001: whatever fits one node has Σ f ≤ 1), then Σ_w f(demand / capacity) · x\[w,c\] ≤ y\[c\]
//! for a class c of like nodes, one resource at a time. Two families, for every k and every demand d that occurs:
//! u_k(s) = s where (k + 1)·s is whole, else ⌊(k + 1)·s⌋ / k; and ⌊demand / d⌋ / ⌊capacity / d⌋. There are many, so they are looked for
//! where a solution of the relaxation breaks them. So are the rows that are left out of the program at first because few of them matter.

use super::Model;
use crate::backend::{Col, Linear};
use std::collections::BTreeSet;

/// The first family goes up to this k.
const DIVISIONS_MAX: u128 = 40;
/// Demands tried as units, per class and resource.
const UNITS_MAX: usize = 96;
/// A row that is broken by less is not worth its place, in nodes.
const BROKEN_MIN: f64 = 0.02;

#[derive(Clone, Copy)]
enum Function {
    Division(u128),
    Unit(u128),
}

impl Function {
    /// `f(demand / capacity)`.
    fn of(self, demand: u128, capacity: u128) -> f64 {
        match self {
            Function::Division(k) => {
                let parts = (k + 1) * demand;
                if parts.is_multiple_of(capacity) {
                    demand as f64 / capacity as f64
                } else {
                    (parts / capacity) as f64 / k as f64
                }
            }
            Function::Unit(unit) => (demand / unit) as f64 / (capacity / unit) as f64,
        }
    }
}

/// A row left out of the program for its size counts as broken from here on.
const LEFT_OUT_MIN: f64 = 1e-4;

impl Model<'_, '_> {
    /// Rows that every placement satisfies and `values` do not: those left out of the program, and rounding cuts.
    pub(crate) fn broken_rows(&self, values: &[f64]) -> Vec<Linear> {
        let mut rows = self.rounding_cuts(values);
        rows.extend(self.seldom_broken.iter().filter(|row| row.value(values) > LEFT_OUT_MIN).cloned());
        rows
    }

    /// The rows of both families that `values` break most: one for each class and resource at most.
    fn rounding_cuts(&self, values: &[f64]) -> Vec<Linear> {
        let mut by_bin: Vec<Vec<(usize, Col)>> = vec![Vec::new(); self.bins.len()];
        for (workload, counts) in self.counts.iter().enumerate() {
            counts.iter().for_each(|(bin, col)| by_bin[*bin].push((workload, *col)));
        }
        let fixed: BTreeSet<usize> = self.fixed.iter().flatten().filter_map(|(node, _)| self.bin_of[*node]).collect();
        let mut cuts = Vec::new();
        for (bin, counts) in by_bin.iter().enumerate().filter(|(bin, _)| !fixed.contains(bin)) {
            for resource in 0..self.instance.problem.resources.len() {
                let capacity = self.instance.ceiling[self.bins[bin][0]][resource];
                if capacity > 0 && capacity < u128::from(u64::MAX) {
                    cuts.extend(self.worst_cut(values, counts, bin, resource, capacity));
                }
            }
        }
        cuts
    }

    fn worst_cut(
        &self,
        values: &[f64],
        counts: &[(usize, Col)],
        bin: usize,
        resource: usize,
        capacity: u128,
    ) -> Option<Linear> {
        let demand = |workload: usize| u128::from(self.instance.problem.workloads[workload].demand[resource]);
        let present: Vec<(u128, f64)> = counts
            .iter()
            .map(|(workload, col)| (demand(*workload), values[*col]))
            .filter(|(demand, count)| *demand > 0 && *demand <= capacity && *count > 1e-6)
            .collect();
        let units: BTreeSet<u128> = present.iter().map(|(demand, _)| *demand).collect();
        let step = units.len().div_ceil(UNITS_MAX).max(1);
        let units = units.into_iter().rev().step_by(step).map(Function::Unit);
        let nodes = values[self.filled[bin]];
        let broken_by = |function: &Function| {
            present.iter().map(|(demand, count)| function.of(*demand, capacity) * count).sum::<f64>() - nodes
        };
        let functions = (1..=DIVISIONS_MAX).map(Function::Division).chain(units);
        let (function, broken) =
            functions.map(|function| (function, broken_by(&function))).max_by(|a, b| a.1.total_cmp(&b.1))?;
        if broken < BROKEN_MIN {
            return None;
        }
        let mut row = Linear::default().with(-1.0, self.filled[bin]);
        for (workload, col) in counts {
            let demand = demand(*workload);
            let factor = if demand <= capacity { function.of(demand, capacity) } else { 0.0 };
            if factor > 0.0 {
                row.terms.push((*col, factor));
            }
        }
        Some(row)
    }
}
