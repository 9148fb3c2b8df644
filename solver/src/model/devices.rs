//! Devices: what any packing of shares into whole devices must satisfy.
//!
//! Whether shares fit is bin packing, which no single row states. The rows are those of dual feasible functions (Fekete, Schepers 2001):
//! replace each share s by f(s) such that whatever fits one device has Σ f ≤ 1; then Σ f(s) · x + Σ whole · x ≤ devices. They are necessary;
//! a placement that keeps them and still does not fit is refused by the checker.

use super::Model;
use crate::backend::{Col, Linear};
use crate::instance::{Instance, most_wanted};
use crate::{DeviceDemand, DeviceTake, Problem};
use std::collections::BTreeSet;

impl Model<'_, '_> {
    /// For each bin, kind of device and dual feasible function: `Σ f(share) · x + Σ whole · x ≤ devices · parts`; where the present state
    /// needs more devices than there are, every one too many is a unit of repair.
    pub(super) fn add_devices(&mut self) {
        let problem = self.instance.problem;
        for kind in 0..problem.devices.len() {
            let parts = u128::from(problem.devices[kind].parts);
            self.add_slots(kind);
            for function in functions(problem, kind) {
                for bin in 0..self.bins.len() {
                    self.add_device_row(bin, kind, &function, parts);
                }
            }
        }
    }

    /// In small programs over single nodes, which device takes which share: with o[g] = 1 when device g is shared,
    /// `x[w] ≤ Σ_g z[w,g]`, `Σ_w share · z[w,g] ≤ parts · o[g]`, `Σ_g o[g] + Σ_w whole · x[w] ≤ devices`. Then the program is exact.
    fn add_slots(&mut self, kind: usize) {
        let problem = self.instance.problem;
        let share_of = |w: usize| match problem.workloads[w].device {
            Some(DeviceDemand { kind: k, take: DeviceTake::Share(share) }) if k == kind => Some(share),
            _ => None,
        };
        let mut sharing: Vec<Vec<(usize, u32, Col)>> = vec![Vec::new(); self.bins.len()];
        for (workload, counts) in self.counts.iter().enumerate() {
            let Some(share) = share_of(workload) else { continue };
            counts.iter().for_each(|(bin, col)| sharing[*bin].push((workload, share, *col)));
        }
        let devices = |bin: usize| self.instance.devices(self.bins[bin][0], kind);
        let columns: usize = sharing.iter().enumerate().map(|(bin, list)| list.len() * devices(bin) as usize).sum();
        let plain = self.bins.iter().all(|bin| bin.len() == 1) && self.fixed.iter().all(Vec::is_empty);
        let trivial = sharing.iter().all(|list| list.len() < 2);
        if !plain || trivial || columns > SLOTS_MAX {
            return;
        }
        self.has_choices = true;
        let parts = f64::from(problem.devices[kind].parts);
        for (bin, sharing) in sharing.into_iter().enumerate().filter(|(_, list)| !list.is_empty()) {
            let devices = self.instance.devices(self.bins[bin][0], kind);
            let mut placed: Vec<Linear> = sharing.iter().map(|(_, _, col)| Linear::default().with(1.0, *col)).collect();
            let mut taken = Linear::constant(-f64::from(devices));
            for _ in 0..devices {
                let open = self.program.column(0.0, 1.0, true);
                taken.terms.push((open, 1.0));
                let mut held = Linear::default().with(-parts, open);
                for ((workload, share, _), placed) in sharing.iter().zip(&mut placed) {
                    let most = (problem.devices[kind].parts / share).min(most_wanted(&problem.workloads[*workload]));
                    let here = self.program.column(0.0, f64::from(most), true);
                    held.terms.push((here, f64::from(*share)));
                    placed.terms.push((here, -1.0));
                }
                self.program.at_most_zero(held);
            }
            placed.into_iter().for_each(|row| self.program.at_most_zero(row));
            for (workload, spec) in problem.workloads.iter().enumerate() {
                let Some(DeviceDemand { kind: k, take: DeviceTake::Whole(whole) }) = spec.device else { continue };
                let here = self.counts[workload].iter().filter(|(b, _)| k == kind && *b == bin);
                taken.terms.extend(here.map(|(_, col)| (*col, f64::from(whole))));
            }
            let over = self.instance.devices_over[self.bins[bin][0]][kind];
            if over > 0 {
                let mut excess = taken.clone();
                excess.constant += f64::from(over);
                let units = self.program.column(0.0, f64::from(over), true);
                self.program.at_most_zero(excess.with(-1.0, units));
                self.repair.terms.push((units, 1.0));
            }
            self.program.at_most_zero(taken);
        }
    }

    fn add_device_row(&mut self, bin: usize, kind: usize, function: &Function, parts: u128) {
        let problem = self.instance.problem;
        let mut amounts: Vec<(u128, Linear)> = Vec::new();
        for (workload, spec) in problem.workloads.iter().enumerate() {
            let Some(demand) = spec.device.filter(|demand| demand.kind == kind) else { continue };
            let amount = match demand.take {
                DeviceTake::Whole(devices) => u128::from(devices) * parts,
                DeviceTake::Share(share) => function.of(u128::from(share), parts),
            };
            if amount == 0 {
                continue;
            }
            for (_, col) in self.counts[workload].iter().filter(|(b, _)| *b == bin) {
                amounts.push((amount, Linear::default().with(1.0, *col)));
            }
            let here = |node: &usize| self.bin_of[*node] == Some(bin);
            let fixed: u64 = self.fixed[workload].iter().filter(|(node, _)| here(node)).map(|(_, count)| count).sum();
            if fixed > 0 {
                amounts.push((amount, Linear::constant(fixed as f64)));
            }
        }
        if amounts.iter().all(|(_, count)| count.terms.is_empty()) {
            return;
        }
        let node = self.bins[bin][0];
        let devices = |instance: &Instance| u128::from(instance.devices(node, kind)) * self.bins[bin].len() as u128;
        let there = devices(self.instance);
        self.at_most(&amounts, there * parts, None);
        let over = self.instance.devices_over[node][kind];
        if over > 0 && !self.has_choices && *function == Function::Identity {
            // The identity alone cannot tell how many devices a packing needs; the checker has the last word.
            let own = there - u128::from(over);
            let mut excess = Linear::constant(-(own as f64));
            amounts.iter().for_each(|(amount, count)| excess.add(*amount as f64 / parts as f64, count));
            let least = excess.clone();
            let bounds = (0.0, f64::from(over));
            let units = self.program.defined(bounds, true, move |v| (least.value(v) - 1e-7).ceil().max(0.0));
            self.program.at_most_zero(excess.with(-1.0, units));
            self.repair.terms.push((units, 1.0));
        }
    }
}

/// Columns for which device takes which share, at most.
const SLOTS_MAX: usize = 2_000;

/// A dual feasible function on shares of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Function {
    /// f(s) = s.
    Identity,
    /// Large shares exclude small ones: 1 above `parts − t`, 0 below `t`, s between (t ≤ parts / 2).
    Threshold(u128),
}

impl Function {
    fn of(self, share: u128, parts: u128) -> u128 {
        match self {
            Function::Identity => share,
            Function::Threshold(t) if share > parts - t => parts,
            Function::Threshold(t) if share < t => 0,
            Function::Threshold(_) => share,
        }
    }
}

/// The functions worth a row: one for each distinct share up to half a device, and one that counts shares above half.
fn functions(problem: &Problem, kind: usize) -> Vec<Function> {
    let parts = u128::from(problem.devices[kind].parts);
    let mut thresholds = BTreeSet::new();
    let demands = problem.workloads.iter().filter_map(|workload| workload.device);
    for demand in demands.filter(|demand| demand.kind == kind) {
        let DeviceTake::Share(share) = demand.take else { continue };
        let share = u128::from(share);
        thresholds.insert(if share * 2 <= parts { share } else { parts - share + 1 });
    }
    let thresholds = thresholds.into_iter().filter(|t| *t * 2 <= parts && *t > 1);
    [Function::Identity].into_iter().chain(thresholds.map(Function::Threshold)).collect()
}
