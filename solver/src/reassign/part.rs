//! Parts of the machines that are searched at the same time, and what keeps their results compatible.
//!
//! Each part moves only processes that are on its machines, to its machines, and sees the other parts as they were when it began. Use and
//! cost are sums over machines, so results add up. Rules about counts per domain do not, where several parts have members of the group:
//!
//! | the rule | what a part may do, so that whatever it relies on in the others is still so in the end |
//! |---|---|
//! | needed above zero by members of another group in other parts | not take the part's last one out of a domain |
//! | above zero in so many domains | the first part: whatever keeps it so; others: not empty a domain |
//! | at most a limit in a domain | the first part: whatever keeps it so; others: not change domains |
//!
//! Machines are divided by the domains of a topology drawn at random, and for the rules over that topology no domain has several parts:
//! then only the second row is left, and parts other than the first need only have no fewer domains than before.

use super::dense::{Counter, Dense, NONE};
use super::random::Random;
use super::state::State;
use std::collections::BTreeMap;

/// A part has at least so many machines.
pub(super) const MACHINES_MIN: usize = 4;

/// What a part may do with a counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lock {
    /// Whatever the rules allow.
    Free,
    /// Not take a domain's last one of this part.
    Keep,
    /// Not leave fewer domains above zero.
    NoFewer,
    /// Not move any to another domain.
    Fixed,
}

/// A process leaves one of a counter's domains for another.
#[derive(Debug)]
pub(super) struct Change {
    /// The position of the count it leaves.
    pub(super) left: usize,
    /// That count before.
    pub(super) left_count: u32,
    /// The count it enters, before.
    pub(super) entered_count: u32,
}

/// Some of the machines, and the processes on them.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) machines: Vec<u32>,
    /// Its processes, largest first.
    pub(super) order: Vec<u32>,
    /// Their sizes.
    pub(super) sizes: Vec<f64>,
    holds: Vec<bool>,
    /// Per counter; empty when there is but one part.
    locks: Vec<Lock>,
    /// Per count, what the other parts have of it.
    foreign: Vec<u32>,
}

impl Part {
    pub(super) fn holds(&self, machine: usize) -> bool {
        self.holds[machine]
    }

    /// Whether a process may leave one of a counter's domains for another, as far as the other parts are concerned.
    #[inline]
    pub(super) fn may_change(&self, counter: usize, change: &Change) -> bool {
        match self.locks.get(counter) {
            None | Some(Lock::Free) => true,
            Some(Lock::Keep) => change.left_count - self.foreign[change.left] > 1,
            Some(Lock::NoFewer) => change.left_count > 1 || change.entered_count == 0,
            Some(Lock::Fixed) => false,
        }
    }
}

/// Every process with its size: the most that its use could cost. Largest first, ties by index.
pub(super) fn by_size<const D: usize>(dense: &Dense<D>) -> Vec<(f64, u32)> {
    let size = |p: usize| (0..D).map(|d| dense.price[d] * dense.need[p][d].abs()).sum::<f64>();
    let mut sized: Vec<(f64, u32)> = (0..dense.processes).map(|p| (size(p), p as u32)).collect();
    sized.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    sized
}

/// Divides the machines at random into `count` parts of about equal number.
pub(super) fn divide<const D: usize>(
    state: &State<'_, D>,
    sized: &[(f64, u32)],
    count: usize,
    random: &mut Random,
) -> Vec<Part> {
    let dense = state.dense;
    let topology = random.below(dense.domain.len() + 1);
    let part_of = if count == 1 { vec![0; dense.machines] } else { deal(dense, topology, count, random) };
    (0..count)
        .map(|part| {
            let holds: Vec<bool> = part_of.iter().map(|of| *of == part).collect();
            let mine = || sized.iter().filter(|(_, process)| holds[state.at[*process as usize] as usize]);
            let (locks, foreign) = if count > 1 { locks(state, &holds, part == 0) } else { Default::default() };
            Part {
                machines: (0..dense.machines as u32).filter(|machine| holds[*machine as usize]).collect(),
                order: mine().map(|(_, process)| *process).collect(),
                sizes: mine().map(|(size, _)| *size).collect(),
                holds,
                locks,
                foreign,
            }
        })
        .collect()
}

/// The part of each machine: whole domains of a topology (machines by themselves where it has none of them), shuffled and dealt so that
/// each goes to the part that has the fewest machines.
fn deal<const D: usize>(dense: &Dense<D>, topology: usize, count: usize, random: &mut Random) -> Vec<usize> {
    let mut domains: BTreeMap<(u32, usize), Vec<usize>> = BTreeMap::new();
    for machine in 0..dense.machines {
        let domain = dense.domain.get(topology).map_or(NONE, |domains| domains[machine]);
        domains.entry((domain, if domain == NONE { machine } else { 0 })).or_default().push(machine);
    }
    let mut domains: Vec<Vec<usize>> = domains.into_values().collect();
    if domains.len() < 2 * count {
        domains = (0..dense.machines).map(|machine| vec![machine]).collect();
    }
    (1..domains.len()).rev().for_each(|at| domains.swap(at, random.below(at + 1)));
    let (mut part_of, mut dealt) = (vec![0; dense.machines], vec![0; count]);
    for domain in domains {
        let fewest = (0..count).min_by_key(|part| dealt[*part]).unwrap_or(0);
        dealt[fewest] += domain.len();
        domain.into_iter().for_each(|machine| part_of[machine] = fewest);
    }
    part_of
}

fn locks<const D: usize>(state: &State<'_, D>, holds: &[bool], is_first: bool) -> (Vec<Lock>, Vec<u32>) {
    let dense = state.dense;
    let mut foreign = vec![0; dense.counts];
    let mut elsewhere = vec![false; dense.counters.len()];
    for (process, machine) in state.at.iter().enumerate().filter(|(_, machine)| !holds[**machine as usize]) {
        for &c in dense.counters_of(process) {
            let counter = &dense.counters[c as usize];
            foreign[counter.base + dense.domain[counter.topology][*machine as usize] as usize] += 1;
            elsewhere[c as usize] = true;
        }
    }
    let is_whole: Vec<bool> = dense.domain.iter().map(|domains| are_whole(domains, holds)).collect();
    let lock = |(c, counter): (usize, &Counter)| {
        let is_shared = elsewhere[c] && !is_first;
        if is_whole[counter.topology] {
            if is_shared && counter.least > 0 { Lock::NoFewer } else { Lock::Free }
        } else if is_shared && counter.limit < NONE {
            Lock::Fixed
        } else if is_shared && counter.least > 0 || counter.needed_by.iter().any(|a| elsewhere[*a as usize]) {
            Lock::Keep
        } else {
            Lock::Free
        }
    };
    (dense.counters.iter().enumerate().map(lock).collect(), foreign)
}

/// Whether every domain lies within the part or outside.
fn are_whole(domains: &[u32], holds: &[bool]) -> bool {
    let mut inside: BTreeMap<u32, bool> = BTreeMap::new();
    let machines = domains.iter().zip(holds).filter(|(domain, _)| **domain != NONE);
    machines.into_iter().all(|(domain, holds)| *inside.entry(*domain).or_insert(*holds) == *holds)
}
