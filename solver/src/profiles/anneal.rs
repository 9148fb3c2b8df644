//! Simulated annealing (Kirkpatrick, Gelatt, Vecchi, Science 1983) over two moves: two instances change places, or one goes elsewhere.
//!
//! The threshold that a move must stay below is drawn first (−T · ln u), then the tests follow by what they cost and how much they refuse:
//! a linear lower bound (the cost is convex), the cost itself, flat resources, limits, memory. Of every hundred proposals about fifty end at
//! the bound and thirty at the cost.

use super::bound::fluid_bound;
use super::closing::close_worst;
use super::random::Random;
use super::start::{by_size, start};
use super::state::State;
use super::{Fleet, FleetError};

/// Moves proposed between two looks at the clock, all among the same [`CIRCLE`] machines: what they touch stays in the cache.
const BATCH: usize = 16384;
/// See [`BATCH`].
const CIRCLE: usize = 64;
/// The least bound on how far apart, by rank, two instances that change places are; mostly it is larger. Closer, they are too much alike.
const REACH_MIN: usize = 8;
/// How many of a hundred proposals are shifts.
const SHIFTS_PERCENT: usize = 15;
/// Machines that are not worth it are closed in this part of the time: when groups have formed, and while they can form again.
const CLOSING: std::ops::Range<f64> = 0.1..0.6;
/// How often in that time.
const CLOSINGS: usize = 50;
/// Of how many machines at most one is closed at once.
const CLOSED_ONE_IN: usize = 1500;
/// Entries in the table of −ln u.
const DRAWS: usize = 4096;

/// How to anneal.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    /// Temperature at the beginning and at the end, in units of the cost; it falls geometrically.
    pub hot: f64,
    /// See `hot`.
    pub cold: f64,
    /// How many machines are on, the largest first; `None`: as many as the fluid bound would have, and some more.
    pub machines_on: Option<usize>,
    /// The same seed and the same answers of the clock give the same placement.
    pub seed: u64,
}

impl Default for Schedule {
    fn default() -> Schedule {
        Schedule { hot: 1e-2, cold: 2e-5, machines_on: None, seed: 1 }
    }
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// Moves proposed so far.
    pub proposed: u64,
    /// Moves made so far.
    pub accepted: u64,
    /// The cost, in the search's 32-bit floats, as of the last time it was summed (every 64 looks at the clock).
    pub cost: f64,
}

/// A placement of every instance, found within the time that `spent` (the fraction gone, 0 to 1) allows.
///
/// # Errors
/// When the fleet has no meaning, or no first placement was found.
pub fn anneal(
    fleet: &Fleet,
    schedule: &Schedule,
    spent: &mut dyn FnMut(&Step) -> f64,
) -> Result<Vec<Option<usize>>, FleetError> {
    let mut random = Random::new(schedule.seed);
    fleet.validate()?;
    let on = schedule.machines_on.unwrap_or_else(|| fluid_bound(fleet).machines * 104 / 100);
    let state = start(fleet, on, &mut random)?;
    let mut search = Search::new(state, on, random);
    let mut step = Step { proposed: 0, accepted: 0, cost: search.state.cost() };
    let mut looks = 0u32;
    let mut marks = 0;
    loop {
        if looks.is_multiple_of(64) {
            step.cost = search.state.cost();
        }
        looks = looks.wrapping_add(1);
        let gone = spent(&step).max(0.0);
        let due = (gone.clamp(CLOSING.start, CLOSING.end) - CLOSING.start) / (CLOSING.end - CLOSING.start);
        if (due * CLOSINGS as f64) as usize > marks {
            marks += 1;
            let most = search.open.len().div_ceil(CLOSED_ONE_IN);
            close_worst(&mut search.state, &mut search.open, most, &mut search.random);
        }
        search.draw_circle();
        if gone >= 1.0 || search.ranked.is_empty() {
            return Ok(search.state.placement());
        }
        let temperature = (schedule.hot * (schedule.cold / schedule.hot).powf(gone)) as f32;
        for _ in 0..BATCH {
            step.accepted += u64::from(search.propose(temperature));
        }
        step.proposed += BATCH as u64;
    }
}

struct Search<'a> {
    state: State<'a>,
    random: Random,
    /// −ln u for evenly spaced u.
    draws: Vec<f32>,
    /// Of each app, its position by the sum of its CPU.
    rank: Vec<u32>,
    /// The machines that are on; those of the present circle come first.
    open: Vec<usize>,
    /// How many they are.
    circle: usize,
    /// The instances in the circle by their rank: neighbours are alike.
    ranked: Vec<u32>,
}

impl<'a> Search<'a> {
    fn new(state: State<'a>, on: usize, random: Random) -> Search<'a> {
        let fleet = state.fleet;
        let size = |app: &u32| -> u64 { fleet.apps[*app as usize].cpu.iter().map(|cpu| u64::from(*cpu)).sum() };
        let mut apps: Vec<u32> = (0..fleet.apps.len() as u32).collect();
        apps.sort_by_cached_key(|app| (size(app), *app));
        let mut rank = vec![0; apps.len()];
        apps.iter().enumerate().for_each(|(position, app)| rank[*app as usize] = position as u32);
        let draws = (0..DRAWS).map(|at| -((at as f32 + 0.5) / DRAWS as f32).ln()).collect();
        let used = |(at, machine): (usize, usize)| (at < on || !state.on(machine).is_empty()).then_some(machine);
        let open = by_size(fleet).into_iter().enumerate().filter_map(used).collect();
        Search { state, random, draws, rank, open, circle: 0, ranked: Vec::new() }
    }

    /// Other machines to work on.
    fn draw_circle(&mut self) {
        self.circle = CIRCLE.min(self.open.len());
        for at in 0..self.circle {
            let other = at + self.random.below(self.open.len() - at);
            self.open.swap(at, other);
        }
        let (state, rank) = (&self.state, &self.rank);
        self.ranked.clear();
        self.open[..self.circle].iter().for_each(|machine| self.ranked.extend(state.on(*machine)));
        self.ranked.sort_unstable_by_key(|instance| (rank[state.app(*instance as usize)], *instance));
    }

    /// Proposes a move; whether it was made.
    fn propose(&mut self, temperature: f32) -> bool {
        let limit = temperature * self.draws[self.random.below(DRAWS)];
        let rank = self.random.below(self.ranked.len());
        if self.random.below(100) < SHIFTS_PERCENT {
            self.propose_shift(rank, limit)
        } else {
            self.propose_swap(rank, limit)
        }
    }

    /// With an instance whose rank is up to a random power of two away: mostly one much like it.
    fn propose_swap(&mut self, rank: usize, limit: f32) -> bool {
        let length = self.ranked.len();
        let doublings = (length / REACH_MIN).max(1).ilog2() as usize;
        let reach = (REACH_MIN << self.random.below(doublings + 1)).min(length);
        let other = (rank + length + self.random.below(2 * reach + 1) - reach) % length;
        let (first, second) = (self.ranked[rank] as usize, self.ranked[other] as usize);
        let state = &self.state;
        let (less, more) = (state.app(first), state.app(second));
        let (Some(one), Some(two)) = (state.machine(first), state.machine(second)) else { return false };
        if one == two || less == more {
            return false;
        }
        let least_two = state.change_least(two, more, less);
        if state.change_least(one, less, more) + least_two > limit {
            return false;
        }
        let change = state.change(one, less, more);
        if change + least_two > limit
            || change + state.change(two, more, less) > limit
            || !state.allows(one, less, more)
            || !state.allows(two, more, less)
        {
            return false;
        }
        self.state.swap(first, second);
        true
    }

    fn propose_shift(&mut self, rank: usize, limit: f32) -> bool {
        let instance = self.ranked[rank] as usize;
        let to = self.open[self.random.below(self.circle)];
        let state = &self.state;
        let (app, nothing) = (state.app(instance), state.nothing());
        let Some(from) = state.machine(instance) else { return false };
        let opened = f32::from(u8::from(state.on(to).is_empty())) - f32::from(u8::from(state.on(from).len() == 1));
        if from == to {
            return false;
        }
        let least_to = state.change_least(to, nothing, app);
        if opened + state.change_least(from, app, nothing) + least_to > limit {
            return false;
        }
        let change = opened + state.change(from, app, nothing);
        if change + least_to > limit
            || change + state.change(to, nothing, app) > limit
            || !state.allows(to, nothing, app)
        {
            return false;
        }
        self.state.relocate(instance, to);
        true
    }
}
