//! Room for what a loss would take: rows for "everything in a lost domain fits elsewhere".
//!
//! Small programs over single nodes state it in full, with a column for each way a lost replica could go (*recourse*). Larger ones state
//! what is necessary ([`crate::survival`]): what may go to a set of nodes fits on those of them that any loss leaves. The checker
//! simulates every loss on the final placement.
//!
//! A loss may shift shares from one device of a node to another, so that each refuge has columns of its own for how its devices are filled (see
//! [`super::devices`]). Where there are too many ways to fill one, parts alone are counted, which is necessary only.

use super::Model;
use super::devices::{Patterns, Takers};
use crate::backend::{Col, Linear};
use crate::{DeviceTake, Standing};
use std::collections::BTreeMap;

/// Recourse columns of one rule at most.
const RECOURSE_MAX: usize = 4_000;

/// A free workload's columns on some bins, or what is fixed there.
struct Recourse {
    /// (bin, column): replicas of the workload that would go there.
    to: Vec<(usize, Col)>,
}

impl Model<'_, '_> {
    /// The rows of one rule; the units are the replicas for which there is no room, when that is allowed.
    pub(super) fn reserve(&mut self, constraint: usize, topology: usize, except: &[usize], allowed: bool) -> Linear {
        let domains = self.instance.problem.topologies[topology].domains.len();
        let pairs: usize = self.counts.iter().map(Vec::len).sum();
        let whole = self.fixed.iter().all(Vec::is_empty) && self.bins.iter().all(|bin| bin.len() == 1);
        if whole && pairs * domains <= RECOURSE_MAX {
            self.has_choices = true;
            let patterns = self.refuge_patterns(domains);
            let mut units = Linear::default();
            for domain in 0..domains {
                let lacking = self.recourse(topology, domain, except, &patterns, allowed);
                units.add(1.0, &lacking);
            }
            return units;
        }
        let instance = self.instance;
        for bound in instance.survival.bounds.iter().filter(|bound| bound.constraint == constraint && !allowed) {
            let amounts: Vec<(u128, Linear)> =
                bound.amounts.iter().map(|(workload, amount)| (*amount, self.placed(*workload))).collect();
            self.at_most(&amounts, bound.most, None);
        }
        Linear::default()
    }

    /// Per kind of device, the ways to fill one of a refuge.
    fn refuge_patterns(&self, domains: usize) -> Vec<Option<Patterns>> {
        let problem = self.instance.problem;
        let of = |kind: usize| {
            let having = problem.nodes.iter().filter(|node| node.devices.get(kind).is_some_and(|devices| *devices > 0));
            let sizes = self.instance.shares[kind].iter().copied().collect();
            Patterns::of(sizes, problem.devices[kind].parts, having.count() * domains)
        };
        (0..problem.devices.len()).map(of).collect()
    }

    fn is_in(&self, bin: usize, topology: usize, domain: usize) -> bool {
        self.bins[bin].iter().all(|node| self.instance.problem.nodes[*node].domains[topology] == Some(domain))
    }

    /// With r[w,n] the replicas of w that go to n when the domain is lost, and s[w] those that find no room:
    /// `count[w, domain] ≤ Σ_n r[w,n] + s[w]` and, outside the domain, `Σ_w demand · (x[w,n] + r[w,n]) ≤ capacity` (· y, when n is on offer).
    fn recourse(
        &mut self,
        topology: usize,
        domain: usize,
        except: &[usize],
        patterns: &[Option<Patterns>],
        allowed: bool,
    ) -> Linear {
        let problem = self.instance.problem;
        let bins: Vec<usize> = (0..self.bins.len()).filter(|bin| !self.is_in(*bin, topology, domain)).collect();
        let mut recourses: BTreeMap<usize, Recourse> = BTreeMap::new();
        let mut units = Linear::default();
        for (workload, spec) in problem.workloads.iter().enumerate() {
            let mut lost = Linear::default();
            let inside = self.counts[workload].iter().filter(|(bin, _)| self.is_in(*bin, topology, domain));
            lost.terms.extend(inside.map(|(_, col)| (*col, 1.0)));
            if lost.terms.is_empty() || except.binary_search(&workload).is_ok() {
                continue;
            }
            let upper = self.program.greatest(&lost);
            let mut to = Vec::new();
            let refuges: Vec<usize> =
                bins.iter().copied().filter(|bin| self.instance.is_allowed(workload, self.bins[*bin][0])).collect();
            for bin in refuges {
                let most = spec.per_node_max.map_or(upper, |max| upper.min(f64::from(max)));
                let col = self.program.column(0.0, most, true);
                to.push((bin, col));
                if let Some(max) = spec.per_node_max {
                    let here = self.counts[workload].iter().filter(|(b, _)| *b == bin).map(|(_, x)| (*x, 1.0));
                    let here = Linear { terms: here.collect(), constant: 0.0 };
                    let running = self.instance.running_count(workload, self.bins[bin][0]);
                    let counts = vec![(1, here), (1, Linear::default().with(1.0, col))];
                    self.room_of(counts, u128::from(max), u128::from(max.max(running)), &[col]);
                }
            }
            let mut row = lost;
            row.terms.extend(to.iter().map(|(_, col)| (*col, -1.0)));
            if allowed {
                let s = self.program.column(0.0, upper, true);
                row.terms.push((s, -1.0));
                units.terms.push((s, 1.0));
            }
            self.program.at_most_zero(row);
            recourses.insert(workload, Recourse { to });
        }
        for bin in bins {
            self.room(bin, &recourses, patterns);
        }
        units
    }

    /// Capacity and devices of a bin that takes in what is lost elsewhere.
    fn room(&mut self, bin: usize, recourses: &BTreeMap<usize, Recourse>, patterns: &[Option<Patterns>]) {
        let problem = self.instance.problem;
        let node = &problem.nodes[self.bins[bin][0]];
        let taken = |workload: usize| {
            let recourse = recourses.get(&workload).into_iter().flat_map(|recourse| &recourse.to);
            let columns = recourse.chain(&self.counts[workload]).filter(|(b, _)| *b == bin);
            Linear { terms: columns.map(|(_, col)| (*col, 1.0)).collect(), constant: 0.0 }
        };
        let any = recourses.values().flat_map(|recourse| &recourse.to).any(|(b, _)| *b == bin);
        if !any {
            return;
        }
        let counts: Vec<Linear> = (0..problem.workloads.len()).map(taken).collect();
        if node.standing == Standing::OnOffer {
            // Nobody buys it to leave it empty.
            let mut empty = Linear::default().with(1.0, self.filled[bin]);
            let here = self.counts.iter().flatten().filter(|(b, _)| *b == bin);
            empty.terms.extend(here.map(|(_, col)| (*col, -1.0)));
            self.program.at_most_zero(empty);
            for col in arrivals_of(recourses, bin, |_| true) {
                let most = self.program.greatest(&Linear::default().with(1.0, col));
                self.program.at_most_zero(Linear::default().with(1.0, col).with(-most, self.filled[bin]));
            }
        }
        for (resource, capacity) in node.capacity.iter().enumerate() {
            let demand = |w: usize| u128::from(problem.workloads[w].demand[resource]);
            let amounts: Vec<(u128, Linear)> =
                counts.iter().enumerate().map(|(w, count)| (demand(w), count.clone())).collect();
            let ceiling = self.instance.ceiling[self.bins[bin][0]][resource];
            let uses = |w: usize| problem.workloads[w].demand[resource] > 0;
            self.room_of(amounts, u128::from(*capacity), ceiling, &arrivals_of(recourses, bin, uses));
        }
        for (kind, patterns) in patterns.iter().enumerate() {
            self.device_room(bin, kind, (&counts, recourses), patterns.as_ref());
        }
    }

    /// Devices of one kind, filled anew: `Σ_p y[p] + Σ_w whole · (x + r) ≤ devices`, or by parts.
    fn device_room(
        &mut self,
        bin: usize,
        kind: usize,
        (counts, recourses): (&[Linear], &BTreeMap<usize, Recourse>),
        patterns: Option<&Patterns>,
    ) {
        let problem = self.instance.problem;
        let demand = |w: usize| problem.workloads[w].device.filter(|demand| demand.kind == kind);
        let arrivals = arrivals_of(recourses, bin, |w| demand(w).is_some());
        if arrivals.is_empty() {
            return;
        }
        let node = self.bins[bin][0];
        let there = problem.nodes[node].devices.get(kind).copied().unwrap_or(0);
        let most = self.instance.devices(node, kind);
        if let Some(patterns) = patterns {
            let mut takers = Takers::default();
            for (workload, count) in counts.iter().enumerate().filter(|(_, count)| !count.terms.is_empty()) {
                demand(workload).into_iter().for_each(|demand| takers.add(demand.take, count));
            }
            let used = self.filled_by(takers, f64::from(most), patterns).used;
            self.room_of(vec![(1, used)], u128::from(there), u128::from(most), &arrivals);
            if patterns.are_all {
                return;
            }
        }
        let parts = u128::from(problem.devices[kind].parts);
        let amount = |w: usize| match demand(w).map(|demand| demand.take) {
            Some(DeviceTake::Whole(devices)) => u128::from(devices) * parts,
            Some(DeviceTake::Share(share)) => u128::from(share),
            None => 0,
        };
        let amounts: Vec<(u128, Linear)> =
            counts.iter().enumerate().map(|(w, count)| (amount(w), count.clone())).collect();
        self.room_of(amounts, u128::from(there) * parts, u128::from(most) * parts, &arrivals);
    }

    /// `Σ amount · count ≤ capacity`. A node that may stay overloaded, up to `ceiling`, takes in nothing then: with b = 1 when it takes in
    /// anything, `Σ amount · count + (ceiling − capacity) · b ≤ ceiling`.
    fn room_of(&mut self, mut amounts: Vec<(u128, Linear)>, capacity: u128, ceiling: u128, arrivals: &[Col]) {
        if ceiling > capacity {
            let takes = self.program.column(0.0, 1.0, true);
            for col in arrivals {
                let most = self.program.greatest(&Linear::default().with(1.0, *col));
                self.program.at_most_zero(Linear::default().with(1.0, *col).with(-most, takes));
            }
            amounts.push((ceiling - capacity, Linear::default().with(1.0, takes)));
        }
        self.at_most(&amounts, ceiling.max(capacity), None);
    }
}

/// The columns of what goes to a bin, of the workloads that match.
fn arrivals_of(recourses: &BTreeMap<usize, Recourse>, bin: usize, of: impl Fn(usize) -> bool) -> Vec<Col> {
    let matching = recourses.iter().filter(|(workload, _)| of(**workload));
    let columns = matching.flat_map(|(_, recourse)| &recourse.to).filter(|(b, _)| *b == bin);
    columns.map(|(_, col)| *col).collect()
}
