//! Which walks are made, from where, how hot, how long, and on how many threads.

use super::ReassignLimits;
use super::anneal::{Thresholds, Walk};
use super::dense::Dense;
use super::excess::Prices;
use super::part;
use super::random::Random;
use super::state::State;
use crate::Problem;
use crate::deadline::Deadline;
use std::time::Duration;

/// Steps of each thread between two divisions of the machines, for each process; and the fewest with one thread and with several.
const STEPS_PER_PROCESS: u64 = 8;
const STEPS_MIN: u64 = 1 << 10;
const STEPS_MIN_SHARED: u64 = 1 << 15;
/// Where the temperature starts, as a share of the largest size, and where it ends: in units of cost, or as a share of the start.
const HOT_SHARE: f64 = 0.3;
const COLD: f64 = 20.0;
const COLD_SHARE: f64 = 1e-3;
/// A walk is frozen when its cost is above the lower bound by no more than so many times what it is in the end; later walks end at this
/// share of the temperature at which the best so far froze.
const FROZEN: f64 = 1.02;
const BELOW_FROZEN: f64 = 0.25;
/// The share of a walk after which only what is no worse is accepted.
const QUENCH: f64 = 0.97;
/// With so many processes threads work on parts of one assignment; with fewer, which have rules with each other across most of the machines,
/// they search each for itself.
const MANY: usize = 2_000;

/// How to walk. Each kind is tried from what runs, for so large a share of the search, before long walks are made.
#[derive(Debug, Clone, Copy)]
struct Kind {
    /// How much processes are attached to where they run ([`super::anneal`]).
    attachment: f64,
    /// Whether room may be lacking on the way ([`super::excess`]).
    may_lack: bool,
}

/// Short trials favour much attachment more than long walks do: it comes first, for later trials know better how cold to become.
const KINDS_OF_MANY: &[Kind] = &[Kind { attachment: 2.0, may_lack: false }, Kind { attachment: 1.0, may_lack: false }];
const KINDS_OF_FEW: &[Kind] = &[
    Kind { attachment: 0.3, may_lack: true },
    Kind { attachment: 0.0, may_lack: true },
    Kind { attachment: 0.0, may_lack: false },
    // Where little has to move at all.
    Kind { attachment: 1.0, may_lack: false },
];
const TRIAL: f64 = 0.06;
/// Walks of the best kind, one after the other, where processes are few: what the largest do while it is hot decides more than how slowly
/// it cools afterwards.
const WALKS_OF_FEW: usize = 4;
/// Time paces a search that is also limited in steps only when it is so much ahead of them: otherwise no two runs would be alike.
const AHEAD: f64 = 1.25;
const AHEAD_LEAST: f64 = 0.02;

/// How much of the time is over.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    deadline: Deadline,
    seconds: f64,
    /// The caller's clock, and what it showed at the start.
    own: Option<(fn() -> Duration, Duration)>,
}

impl Clock {
    pub(super) fn start(limits: &ReassignLimits, deadline: Deadline) -> Clock {
        let seconds = limits.time.as_secs_f64().max(f64::MIN_POSITIVE);
        Clock { deadline, seconds, own: limits.clock.map(|clock| (clock, clock())) }
    }

    fn share_gone(&self) -> f64 {
        match self.own {
            Some((clock, start)) => clock().saturating_sub(start).as_secs_f64() / self.seconds,
            None => 1.0 - self.deadline.remaining().as_secs_f64() / self.seconds,
        }
    }
}

/// The machine of each process.
pub(super) fn search<const D: usize>(problem: &Problem, limits: &ReassignLimits, clock: Clock) -> Option<Vec<u32>> {
    let dense: Dense<D> = Dense::new(problem)?;
    if limits.threads > 1 && dense.processes < MANY {
        return independent(&dense, limits, clock);
    }
    Some(alone(&dense, limits, clock).1)
}

/// Each thread searches for itself, from a seed of its own.
fn independent<const D: usize>(dense: &Dense<D>, limits: &ReassignLimits, clock: Clock) -> Option<Vec<u32>> {
    let found: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..limits.threads as u64)
            .map(|thread| {
                let own = ReassignLimits { threads: 1, seed: limits.seed.wrapping_add(thread << 32), ..*limits };
                scope.spawn(move || alone(dense, &own, clock))
            })
            .collect();
        threads.into_iter().filter_map(|thread| thread.join().ok()).collect()
    });
    found.into_iter().min_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, at)| at)
}

/// A short walk of each kind, which tells how cold it has to become, and then long ones: of every kind where processes are many, for a short walk does
/// not tell which is the best; several of the best one where they are few. The lowest cost, and the machine of each process there.
fn alone<const D: usize>(dense: &Dense<D>, limits: &ReassignLimits, clock: Clock) -> (f64, Vec<u32>) {
    let mut search = Search::new(dense, limits, clock);
    let is_many = dense.processes >= MANY;
    let kinds = if is_many { KINDS_OF_MANY } else { KINDS_OF_FEW };
    let mut tried: Vec<(Cooled, Kind)> = Vec::new();
    for (kind, so_many) in kinds.iter().zip(1u32..) {
        let best = tried.iter().map(|(cooled, _)| *cooled).min_by(|a, b| a.lowest.total_cmp(&b.lowest));
        let cold = best.map_or(search.cold, |best| search.below(best));
        tried.push((search.cool(*kind, cold, f64::from(so_many) * TRIAL), *kind));
    }
    let long = if is_many {
        tried
    } else {
        let best = tried.into_iter().min_by(|(a, _), (b, _)| a.lowest.total_cmp(&b.lowest));
        best.into_iter().cycle().take(WALKS_OF_FEW).collect()
    };
    let (begun, many) = (search.progress(), long.len() as f64);
    for ((cooled, kind), so_many) in long.into_iter().zip(1u32..) {
        let cold = search.below(cooled);
        search.cool(kind, cold, begun + (1.0 - begun) * f64::from(so_many) / many);
    }
    (search.best_cost, search.best)
}

/// A search under way: what it was given, and what it has found and spent.
struct Search<'a, const D: usize> {
    dense: &'a Dense<D>,
    sized: Vec<(f64, u32)>,
    thresholds: Thresholds,
    limits: &'a ReassignLimits,
    clock: Clock,
    threads: usize,
    random: Random,
    bound: f64,
    /// The highest and the lowest temperature.
    hot: f64,
    cold: f64,
    steps: u64,
    best_cost: f64,
    best: Vec<u32>,
}

/// What a walk found.
#[derive(Debug, Clone, Copy)]
struct Cooled {
    /// The lowest cost on the way of what lacked no room.
    lowest: f64,
    /// The temperature at which it froze.
    frozen: f64,
}

/// What holds for one round.
#[derive(Clone, Copy)]
struct Round {
    temperature: f64,
    attachment: f64,
    steps: u64,
}

impl<'a, const D: usize> Search<'a, D> {
    fn new(dense: &'a Dense<D>, limits: &'a ReassignLimits, clock: Clock) -> Search<'a, D> {
        let sized = part::by_size(dense);
        let hot = HOT_SHARE * sized[0].0.max(1.0);
        Search {
            dense,
            sized,
            thresholds: Thresholds::new(),
            limits,
            clock,
            threads: limits.threads.clamp(1, (dense.machines / part::MACHINES_MIN).max(1)),
            random: Random::new(limits.seed),
            bound: dense.bound(),
            hot,
            cold: COLD.min(COLD_SHARE * hot),
            steps: 0,
            best_cost: State::new(dense, &dense.home).cost,
            best: dense.home.clone(),
        }
    }

    /// Where a walk ends that is like another one.
    fn below(&self, other: Cooled) -> f64 {
        self.cold.max(BELOW_FROZEN * other.frozen)
    }

    /// The share of the whole search that is over.
    fn progress(&self) -> f64 {
        let (time, steps) = (self.clock.share_gone(), self.steps as f64 / self.limits.steps_max.max(1) as f64);
        if time >= 1.0 || time > AHEAD * steps + AHEAD_LEAST { time } else { steps }
    }

    /// One walk from what runs now, from hot to `cold`, until `end` of the whole search is over.
    fn cool(&mut self, kind: Kind, cold: f64, end: f64) -> Cooled {
        let hot = self.hot;
        let mut costs = Vec::new();
        let fewest = if self.threads == 1 { STEPS_MIN } else { STEPS_MIN_SHARED };
        let per_round = fewest.max(STEPS_PER_PROCESS * self.dense.processes as u64);
        let mut prices = kind.may_lack.then(|| Prices::new(self.dense, hot));
        let mut state = State::new(self.dense, &self.dense.home);
        let mut lowest = state.cost;
        let begin = self.progress();
        loop {
            let done = (self.progress() - begin) / (end - begin);
            if done >= 1.0 || begin >= end {
                let is_high = |(_, cost): &&(f64, f64)| cost - self.bound > FROZEN * (lowest - self.bound);
                let frozen = costs.iter().rev().find(is_high).map_or(hot, |(temperature, _)| *temperature);
                return Cooled { lowest, frozen };
            }
            let temperature = if done < QUENCH { hot * (cold / hot).powf(done / QUENCH) } else { 0.0 };
            if let Some(prices) = &mut prices {
                prices.follow(&state.lacking(), done, temperature);
                state.price_excess(Some(prices.of_unit));
            }
            let steps = per_round.min(self.limits.steps_max - self.steps);
            state = self.round(state, Round { temperature, attachment: kind.attachment, steps });
            self.steps += steps;
            costs.push((temperature, state.cost));
            if state.cost < lowest && state.lacking() == [0; D] {
                lowest = state.cost;
                if lowest < self.best_cost {
                    self.best_cost = lowest;
                    self.best.clone_from(&state.at);
                }
            }
        }
    }

    /// The machines are divided, each part walks, and the moves of all parts are made in one assignment.
    fn round(&mut self, state: State<'a, D>, round: Round) -> State<'a, D> {
        let mut parts = part::divide(&state, &self.sized, self.threads, &mut self.random).into_iter();
        let random = &mut self.random;
        let mut seed = || Random::new(u64::from(random.bits()) << 32 | u64::from(random.bits()));
        let Some(first) = parts.next() else { return state };
        let others: Vec<_> = parts.map(|part| Walk::new(state.clone(), part, seed(), &self.thresholds)).collect();
        let mut first = Walk::new(state, first, seed(), &self.thresholds);
        let others: Vec<_> = std::thread::scope(|scope| {
            let running: Vec<_> = others
                .into_iter()
                .map(|mut walk| {
                    scope.spawn(move || {
                        walk.walk(round.temperature, round.attachment, round.steps);
                        walk
                    })
                })
                .collect();
            first.walk(round.temperature, round.attachment, round.steps);
            running.into_iter().filter_map(|thread| thread.join().ok()).collect()
        });
        let mut state = first.state;
        for other in &others {
            for process in &other.part.order {
                let machine = other.state.at[*process as usize];
                if machine != state.at[*process as usize] {
                    state.apply(*process as usize, machine as usize);
                }
            }
        }
        debug_assert!(state.is_consistent(), "what is kept up to date must equal what is computed anew");
        state
    }
}
