//! Simulated annealing with shifts and swaps (Kirkpatrick, Gelatt, Vecchi 1983; for this problem: Portal, Ritt, Borba, Buriol, "Simulated
//! annealing for the machine reassignment problem", Annals of Operations Research 242, 2016), with one addition: which processes are
//! tried depends on the temperature.
//!
//! Sizes (what a process would cost if all its use were over) are spread over four powers of ten. At temperature t a process much smaller
//! than t does nothing but diffuse, paying for moves that nobody wants, and one much larger is frozen. So a step picks from those of at
//! least `WIDE · t`, every other time only from those of at most `NARROW · t`, and exchanges processes of similar rank.
//!
//! Away from home there are many machines and at home one, so at any temperature most processes that can move are away, and what they still
//! hold of transient resources at home is lost to the others. *Attachment* weighs against that: being away costs
//! attachment · t · ln(machines) more, which at 1 makes home as likely as all other machines together, and vanishes as t falls.

use super::part::Part;
use super::random::Random;
use super::state::State;

const LOGARITHMS: usize = 4096;
/// The smallest size that takes part, in temperatures.
const WIDE: f64 = 3.0;
/// The largest size that is preferred, in temperatures.
const NARROW: f64 = 1000.0;
/// So many of the largest processes always take part.
const FEWEST: usize = 16;

/// −ln of evenly spaced numbers: the threshold of acceptance is drawn before a step is judged, so that most are rejected early.
#[derive(Debug)]
pub(super) struct Thresholds(Vec<f64>);

impl Thresholds {
    pub(super) fn new() -> Thresholds {
        Thresholds((0..LOGARITHMS).map(|k| -((k as f64 + 0.5) / LOGARITHMS as f64).ln()).collect())
    }

    #[inline]
    fn draw(&self, random: &mut Random) -> f64 {
        self.0[random.below(LOGARITHMS)]
    }
}

/// A walk over the processes of one part of the machines.
#[derive(Debug)]
pub(super) struct Walk<'t, 'a, const D: usize> {
    pub(super) state: State<'a, D>,
    pub(super) part: Part,
    pub(super) random: Random,
    pub(super) thresholds: &'t Thresholds,
    /// Ranks `..wide` take part; those from `narrow` on are preferred.
    narrow: usize,
    wide: usize,
    /// What being away from home costs beyond the objective.
    away_price: f64,
}

impl<'t, 'a, const D: usize> Walk<'t, 'a, D> {
    pub(super) fn new(state: State<'a, D>, part: Part, random: Random, thresholds: &'t Thresholds) -> Walk<'t, 'a, D> {
        Walk { state, part, random, thresholds, narrow: 0, wide: 0, away_price: 0.0 }
    }

    /// Tries so many steps.
    pub(super) fn walk(&mut self, temperature: f64, attachment: f64, steps: u64) {
        let sizes = &self.part.sizes;
        if sizes.is_empty() || self.part.machines.len() < 2 {
            return;
        }
        let larger = |than: f64| sizes.partition_point(|size| *size >= than);
        self.wide = larger(WIDE * temperature).max(FEWEST).min(sizes.len());
        self.narrow = larger(NARROW * temperature).min(self.wide.saturating_sub(FEWEST));
        if temperature == 0.0 {
            self.narrow = 0;
        }
        self.away_price = attachment * temperature * (self.state.dense.machines as f64).ln();
        for _ in 0..steps {
            let accept = temperature * self.thresholds.draw(&mut self.random);
            if self.random.bits() & 1 == 0 { self.shift(accept) } else { self.swap(accept) }
        }
    }

    #[inline]
    fn pick(&mut self) -> usize {
        let low = if self.random.bits() & 1 == 0 { self.narrow } else { 0 };
        low + self.random.below(self.wide - low)
    }

    /// What the attachment adds to the cost of `process` going to `machine`.
    #[inline]
    fn detaching(&self, process: usize, machine: usize) -> f64 {
        let (home, from) = (self.state.dense.home[process], self.state.at[process]);
        let is_away = |machine: u32| f64::from(u8::from(machine != home));
        self.away_price * (is_away(machine as u32) - is_away(from))
    }

    /// One process to another machine; if it is away from home, one time in eight back.
    fn shift(&mut self, accept: f64) {
        let rank = self.pick();
        let process = self.part.order[rank] as usize;
        let (from, home) = (self.state.at[process], self.state.dense.home[process]);
        let machine = if from != home && self.random.bits() & 7 == 0 && self.part.holds(home as usize) {
            home as usize
        } else {
            self.part.machines[self.random.below(self.part.machines.len())] as usize
        };
        if from as usize == machine {
            return;
        }
        let accept = accept - self.detaching(process, machine);
        let most = accept + self.state.dense.most_price;
        let delta = self.state.shift_delta(process, machine);
        if delta > most + self.state.relief(from as usize, machine) {
            return;
        }
        let excess = self.state.shift_excess(process, machine);
        if delta + excess > most || !self.state.rules_allow(process, machine, &self.part) {
            return;
        }
        let before = self.state.cost;
        self.state.apply(process, machine);
        if self.state.cost - before + excess > accept {
            self.state.apply(process, from as usize);
        }
    }

    /// Two processes of similar rank change places.
    fn swap(&mut self, accept: f64) {
        let rank = self.pick();
        let reach = rank / 2 + FEWEST;
        let (low, high) = (rank.saturating_sub(reach), (rank + reach).min(self.wide - 1));
        let other = low + self.random.below(high - low + 1);
        let (a, b) = (self.part.order[rank] as usize, self.part.order[other] as usize);
        let (at_a, at_b) = (self.state.at[a] as usize, self.state.at[b] as usize);
        if at_a == at_b {
            return;
        }
        let accept = accept - self.detaching(a, at_b) - self.detaching(b, at_a);
        let most = accept + 2.0 * self.state.dense.most_price;
        let delta = self.state.swap_delta(a, b);
        if delta > most + self.state.relief(at_a, at_b) {
            return;
        }
        let excess = self.state.swap_excess(a, b);
        if delta + excess > most {
            return;
        }
        // Of a counter that has both, nothing changes; where all have both, there is nothing to ask.
        let is_alike = self.state.dense.counters_of(a) == self.state.dense.counters_of(b)
            && self.state.dense.may_enter(a, at_b)
            && self.state.dense.may_enter(b, at_a);
        if !is_alike && !self.state.rules_allow(a, at_b, &self.part) {
            return;
        }
        let before = self.state.cost;
        self.state.apply(a, at_b);
        if !is_alike && !self.state.rules_allow(b, at_a, &self.part) {
            self.state.apply(a, at_a);
            return;
        }
        self.state.apply(b, at_a);
        if self.state.cost - before + excess > accept {
            self.state.apply(b, at_b);
            self.state.apply(a, at_a);
        }
    }
}
