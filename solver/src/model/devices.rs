//! Devices: whole ones, and shares of single ones.
//!
//! Whether shares fit is bin packing (cutting stock, seen from the devices). It is stated by patterns (Gilmore, Gomory 1961): a pattern p says that one device
//! holds a\[p,s\] shares of size s; with y\[b,p\] devices of bin b filled like that,
//! `Σ_w x[w,b] ≤ Σ_p a[p,s] · y[b,p]` for each size s over the workloads that take it, and `Σ_p y[b,p] + Σ_w whole[w] · x[w,b] ≤ devices[b]`.
//! With all maximal patterns this is exact for a node, and has the tightest linear relaxation known for a class.
//!
//! Where there are too many patterns the smallest sizes are left out of them, and rows of dual feasible functions (Fekete, Schepers 2001) say what is
//! necessary: replace each share s by f(s) such that whatever fits one device has Σ f ≤ 1; then `Σ f(s) · x + Σ whole · x ≤ devices`. A
//! placement that keeps these and still does not fit is refused by the checker.

use super::Model;
use crate::backend::{Col, Linear};
use crate::check::packing;
use crate::{DeviceTake, Problem};
use std::collections::{BTreeMap, BTreeSet};

/// Patterns of one kind of device, and columns for them in one program, at most.
const PATTERNS_MAX: usize = 512;
const PATTERN_COLUMNS_MAX: usize = 6_000;
/// Sizes in one pattern at most.
const SIZES_MAX: usize = 64;

/// The columns that say how the devices of a bin are filled.
pub(super) struct Filling {
    /// Per size of share: what there is of it in the bin.
    counts: BTreeMap<u32, Linear>,
    parts: u32,
    /// Each pattern (size, how many) with its column.
    patterns: Vec<(Vec<(u32, u32)>, Col)>,
    /// Devices in use beyond those there are, where the present state needs more: the units, and `used − devices`.
    excess: Option<(Col, Linear)>,
}

impl Model<'_, '_> {
    /// Which device holds what, for each kind of device.
    pub(super) fn add_devices(&mut self) {
        let problem = self.instance.problem;
        for kind in 0..problem.devices.len() {
            let parts = u128::from(problem.devices[kind].parts);
            if self.add_fillings(kind) {
                continue;
            }
            for function in functions(problem, kind) {
                for bin in 0..self.bins.len() {
                    self.add_device_row(bin, kind, &function, parts);
                }
            }
        }
    }

    /// The rows over patterns; whether they say all there is to say.
    fn add_fillings(&mut self, kind: usize) -> bool {
        let takers: Vec<Takers> = (0..self.bins.len()).map(|bin| self.takers(bin, kind)).collect();
        let sizes: BTreeSet<u32> = takers.iter().flat_map(|takers| takers.shares.keys().copied()).collect();
        let sharing = takers.iter().filter(|takers| takers.free && !takers.shares.is_empty()).count();
        let parts = self.instance.problem.devices[kind].parts;
        let Some(patterns) = Patterns::of(sizes, parts, sharing) else { return false };
        for (bin, takers) in takers.into_iter().enumerate().filter(|(_, takers)| takers.free) {
            self.add_filling(bin, kind, takers, &patterns);
        }
        patterns.are_all
    }

    /// What takes devices of a kind in a bin.
    fn takers(&self, bin: usize, kind: usize) -> Takers {
        let mut takers = Takers::default();
        for (workload, spec) in self.instance.problem.workloads.iter().enumerate() {
            let Some(demand) = spec.device.filter(|demand| demand.kind == kind) else { continue };
            let mut count = Linear::default();
            if let Ok(at) = self.counts[workload].binary_search_by_key(&bin, |(bin, _)| *bin) {
                count.terms.push((self.counts[workload][at].1, 1.0));
            }
            let here = self.fixed[workload].iter().filter(|(node, _)| self.bin_of[*node] == Some(bin));
            count.constant = here.map(|(_, count)| *count as f64).sum();
            takers.free |= !count.terms.is_empty();
            if count.terms.is_empty() && count.constant == 0.0 {
                continue;
            }
            takers.add(demand.take, &count);
        }
        takers
    }

    fn add_filling(&mut self, bin: usize, kind: usize, takers: Takers, patterns: &Patterns) {
        let node = self.bins[bin][0];
        let devices = f64::from(self.instance.devices(node, kind)) * self.bins[bin].len() as f64;
        let Filled { counts, mut used, columns } = self.filled_by(takers, devices, patterns);
        used.constant -= devices;
        let over = f64::from(self.instance.devices_over[node][kind]);
        let mut excess = None;
        if over > 0.0 {
            let units = self.program.column(0.0, over, true);
            let mut beyond = used.clone();
            beyond.constant += over;
            self.program.at_most_zero(beyond.clone().with(-1.0, units));
            self.repair.terms.push((units, 1.0));
            excess = Some((units, beyond));
        }
        self.program.at_most_zero(used);
        if !columns.is_empty() || excess.is_some() {
            self.has_choices = true;
            let parts = self.instance.problem.devices[kind].parts;
            self.fillings.push(Filling { counts, parts, patterns: columns, excess });
        }
    }

    /// Columns for what of `devices` is filled by each pattern, enough of them for all shares.
    pub(super) fn filled_by(&mut self, takers: Takers, devices: f64, patterns: &Patterns) -> Filled {
        let Patterns { sizes, fillings, .. } = patterns;
        let counts: BTreeMap<u32, Linear> =
            takers.shares.into_iter().filter(|(size, _)| sizes.contains(size)).collect();
        let mut used = takers.whole;
        let mut columns = Vec::new();
        for pattern in fillings.iter().filter(|_| !counts.is_empty()) {
            let col = self.program.column(0.0, devices, self.whole_counts);
            used.terms.push((col, 1.0));
            let held = sizes.iter().zip(pattern).filter(|(_, many)| **many > 0).map(|(size, many)| (*size, *many));
            columns.push((held.collect::<Vec<_>>(), col));
        }
        for (size, count) in &counts {
            let mut row = count.clone();
            // One device never holds more than there can be.
            let most = self.program.greatest(count).max(1.0);
            for (held, col) in &columns {
                if let Some((_, many)) = held.iter().find(|(s, _)| s == size) {
                    row.terms.push((*col, -f64::from(*many).min(most)));
                }
            }
            self.program.at_most_zero(row);
        }
        Filled { counts, used, columns }
    }

    /// Fills the devices as the checker would, so that the counts alone are a start.
    pub(super) fn start_fillings(&self, values: &mut [f64]) {
        for Filling { counts, parts, patterns, excess } in &self.fillings {
            let count = |(size, count): (&u32, &Linear)| (*size, count.value(values).round().max(0.0) as u64);
            let shares: Vec<(u32, u64)> = counts.iter().map(count).collect();
            for (held, alike) in packing(&shares, *parts).fillings {
                let covers = |pattern: &[(u32, u32)]| {
                    let of =
                        |size: u32| pattern.iter().find(|(s, _)| *s == size).map_or(0, |(_, many)| u64::from(*many));
                    held.iter().all(|(size, many)| of(*size) >= *many)
                };
                if let Some((_, col)) = patterns.iter().find(|(pattern, _)| covers(pattern)) {
                    values[*col] += alike as f64;
                }
            }
            if let Some((units, beyond)) = excess {
                values[*units] = beyond.value(values).max(0.0);
            }
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
        let there = u128::from(self.instance.devices(node, kind)) * self.bins[bin].len() as u128;
        self.at_most(&amounts, there * parts, None);
    }
}

/// What takes devices of a kind in a bin: whole ones in all, and how many shares of each size.
#[derive(Default)]
pub(super) struct Takers {
    whole: Linear,
    shares: BTreeMap<u32, Linear>,
    /// Any of it may change.
    free: bool,
}

impl Takers {
    pub(super) fn add(&mut self, take: DeviceTake, count: &Linear) {
        match take {
            DeviceTake::Whole(devices) => self.whole.add(f64::from(devices), count),
            DeviceTake::Share(share) => self.shares.entry(share).or_default().add(1.0, count),
        }
    }
}

/// The devices of a bin as columns.
pub(super) struct Filled {
    /// Per size of share that the patterns know: what there is of it.
    counts: BTreeMap<u32, Linear>,
    /// Devices in use.
    pub(super) used: Linear,
    /// Each pattern (size, how many) with its column.
    columns: Vec<(Vec<(u32, u32)>, Col)>,
}

/// Ways to fill one device.
pub(super) struct Patterns {
    /// The sizes they are made of, descending.
    sizes: Vec<u32>,
    /// How many of each.
    fillings: Vec<Vec<u32>>,
    /// No size is left out.
    pub(super) are_all: bool,
}

impl Patterns {
    /// All maximal patterns of as many of `sizes`, the largest first, as `bins` can have columns for.
    pub(super) fn of(sizes: BTreeSet<u32>, parts: u32, bins: usize) -> Option<Patterns> {
        let mut sizes: Vec<u32> = sizes.into_iter().rev().collect();
        let most = PATTERNS_MAX.min(PATTERN_COLUMNS_MAX / bins.max(1));
        let few = |many: usize| Some((many, patterns(&sizes[..many], parts, most)?));
        let (many, fillings) = (0..=sizes.len().min(SIZES_MAX)).rev().find_map(few)?;
        let are_all = many == sizes.len();
        sizes.truncate(many);
        Some(Patterns { sizes, fillings, are_all })
    }
}

/// All maximal ways to fill one device with shares of these sizes (descending): how many of each; nothing when there are more than `most`.
fn patterns(sizes: &[u32], parts: u32, most: usize) -> Option<Vec<Vec<u32>>> {
    fn extend(sizes: &[u32], free: u32, held: &mut Vec<u32>, most: usize, found: &mut Vec<Vec<u32>>) -> Option<()> {
        let [size, rest @ ..] = sizes else {
            found.push(held.clone());
            return (found.len() <= most).then_some(());
        };
        let many = free / size;
        // The smallest size takes all that is left: what could hold one more is not maximal.
        let least = if rest.is_empty() { many } else { 0 };
        for many in (least..=many).rev() {
            held.push(many);
            let all = extend(rest, free - many * size, held, most, found);
            held.pop();
            all?;
        }
        Some(())
    }
    let mut found = Vec::new();
    extend(sizes, parts, &mut Vec::new(), most, &mut found)?;
    Some(found)
}

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

#[cfg(test)]
mod tests {
    use super::patterns;

    #[test]
    fn patterns_are_the_maximal_fillings() {
        assert_eq!(
            patterns(&[6, 4, 3], 10, 99),
            Some(vec![vec![1, 1, 0], vec![1, 0, 1], vec![0, 2, 0], vec![0, 1, 2], vec![0, 0, 3]])
        );
        assert_eq!(patterns(&[], 10, 99), Some(vec![vec![]]));
        assert_eq!(patterns(&[6, 4, 3], 10, 4), None);
        assert_eq!(patterns(&[1_000, 1], 1_000_000, 10), None);
    }
}
