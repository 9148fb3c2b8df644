//! Simulated annealing with shifts and swaps (Kirkpatrick, Gelatt, Vecchi 1983; for this problem: Portal, Ritt, Borba, Buriol, "Simulated
//! annealing for the machine reassignment problem", Annals of Operations Research 242, 2016).

use super::journal::Journal;
use super::random::Random;
use super::state::State;

/// Steps between two looks at the progress, after which the temperature changes.
const STEPS_PER_LOOK: usize = 2048;
const LOGARITHMS: usize = 4096;

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

/// One walk.
#[derive(Debug)]
pub(super) struct Walk<'s, 'a, const D: usize> {
    pub(super) state: &'s mut State<'a, D>,
    pub(super) journal: &'s mut Journal,
    pub(super) random: &'s mut Random,
    pub(super) thresholds: &'s Thresholds,
    pub(super) order: Vec<u32>,
    pub(super) sizes: Vec<f64>,
    pub(super) wide: usize,
    pub(super) narrow: usize,
    pub(super) k: (f64, f64, f64, u32),
}

impl<const D: usize> Walk<'_, '_, D> {
    /// Walks while `progress` (0 to 1, from the steps made) is below 1; the temperature falls from `hot` to `cold` geometrically. Returns
    /// the steps made.
    pub(super) fn cool(&mut self, hot: f64, cold: f64, mut progress: impl FnMut(u64) -> f64) -> u64 {
        let mut steps = 0;
        loop {
            let done = progress(steps);
            if done >= 1.0 {
                return steps;
            }
            let temperature = hot * (cold / hot).powf(done);
            self.wide = self.sizes.partition_point(|size| *size >= self.k.0 * temperature).max(16).min(self.sizes.len());
            self.narrow = self.sizes.partition_point(|size| *size >= self.k.1 * temperature).min(self.wide - 16);
            for _ in 0..STEPS_PER_LOOK {
                let accept = temperature * self.thresholds.draw(self.random);
                if self.random.bits() & 1 == 0 { self.shift(accept) } else { self.swap(accept) }
            }
            steps += STEPS_PER_LOOK as u64;
        }
    }

    fn pick(&mut self) -> usize {
        let low = if self.random.bits() & 3 < self.k.3 { self.narrow } else { 0 };
        low + self.random.below(self.wide - low)
    }

    fn shift(&mut self, accept: f64) {
        let rank = self.pick();
        let process = self.order[rank] as usize;
        let from = self.state.at[process];
        let home = self.state.dense.home[process];
        let machine = if from != home && self.random.bits() & 7 == 0 {
            home as usize
        } else {
            self.random.below(self.state.dense.machines)
        };
        if from as usize == machine
            || !self.state.fits(process, machine)
            || self.state.shift_delta(process, machine) > accept + self.state.dense.most_price
            || !self.state.rules_allow(process, machine)
        {
            return;
        }
        let before = self.state.cost;
        self.state.apply(process, machine);
        if self.state.cost - before > accept {
            self.state.apply(process, from as usize);
            return;
        }
        self.journal.stepped(self.state, process, from);
        self.journal.settled(self.state);
    }

    fn swap(&mut self, accept: f64) {
        let rank = self.pick();
        let reach = (rank as f64 * self.k.2) as usize + 16;
        let low = rank.saturating_sub(reach);
        let high = (rank + reach).min(self.wide - 1);
        let other = low + self.random.below(high - low + 1);
        let (a, b) = (self.order[rank] as usize, self.order[other] as usize);
        let (at_a, at_b) = (self.state.at[a], self.state.at[b]);
        if at_a == at_b
            || self.state.swap_delta(a, b) > accept + 2.0 * self.state.dense.most_price
            || !self.state.fits_instead(a, b, at_b as usize)
            || !self.state.fits_instead(b, a, at_a as usize)
            || !self.state.rules_allow(a, at_b as usize)
        {
            return;
        }
        let before = self.state.cost;
        self.state.apply(a, at_b as usize);
        if !self.state.rules_allow(b, at_a as usize) {
            self.state.apply(a, at_a as usize);
            return;
        }
        self.state.apply(b, at_a as usize);
        if self.state.cost - before > accept {
            self.state.apply(b, at_b as usize);
            self.state.apply(a, at_a as usize);
            return;
        }
        self.journal.stepped(self.state, a, at_a);
        self.journal.stepped(self.state, b, at_b);
        self.journal.settled(self.state);
    }
}
