//! Machine reassignment: every workload wants one replica and has one running, and the question is which of them to move where.
//!
//! Fed with a [`Problem`] of that shape, it returns a placement with a smaller [`crate::Tier::Soft`], all hard rules kept. It knows nothing
//! of the tiers after that, of shortage, and of broken states: it starts from what runs, which must keep every hard rule.
//!
//! # The problem
//!
//! With M(p) the machine of process p, U\[m,d\] = Σ over p on m of need\[p,d\], and h(p) where p runs now:
//!
//! | | |
//! |---|---|
//! | minimise | Σ_m Σ_d price\[d\] · max(0, empty\[m,d\] + U\[m,d\]) + Σ over p with M(p) ≠ h(p) of (move\[p\] + far\[h(p), M(p)\]) + most · max over groups of their moved |
//! | room | U\[m,r\] ≤ capacity\[m,r\]; for a transient resource also with what leaves m |
//! | counts | per group and domain: at most a limit; above zero in so many domains; above zero wherever another group's is |
//!
//! Safety capacity and balance are both of the form max(0, ·): a balance is one more dimension whose need may be negative.
//!
//! # The search
//!
//! ```text
//!  Problem --> dense --> state = what runs
//!                          |
//!                          v              each thread: its part of the machines,
//!                 divide the machines --> so many shifts and swaps at this temperature --+
//!                  at random     ^                                                       |
//!                                +--- a little colder <--- best so far? <--- join -------+
//! ```
//!
//! A step's change of cost takes two machines' dimensions to judge, 20 to 70 nanoseconds. Threads work on different machines of one
//! assignment instead of on two assignments ([`part`]), so that two of them make one walk twice as long.
//!
//! The answer depends on the seed, the number of threads and the number of steps, on nothing else, unless time ends the search.

mod anneal;
mod dense;
mod part;
mod random;
mod state;

use crate::deadline::Deadline;
use crate::{Placed, Problem, ProblemError, check};
use anneal::{Thresholds, Walk};
use dense::{Dense, dimensions};
use random::Random;
use state::State;
use std::time::Duration;

/// Steps of each thread between two divisions of the machines, for each process; and the fewest with one thread and with several.
const STEPS_PER_PROCESS: u64 = 8;
const STEPS_MIN: u64 = 1 << 10;
const STEPS_MIN_SHARED: u64 = 1 << 15;
/// Where the temperature starts, as a share of the largest size, and where it ends: in units of cost, or as a share of the start.
const HOT_SHARE: f64 = 0.3;
const COLD: f64 = 100.0;
const COLD_SHARE: f64 = 1e-3;
/// The share of the search after which only what is no worse is accepted.
const QUENCH: f64 = 0.97;
/// How much processes are attached to where they run ([`anneal`]): with many processes each of these is tried first, for so large a share.
/// Short trials favour much attachment more than long walks do.
const ATTACHMENTS: [f64; 2] = [0.3, 1.0];
const TRIAL: f64 = 0.12;
/// With fewer processes nothing is attached, and threads search each for itself.
const SHARED_PROCESSES_MIN: usize = 2_000;
/// A part has at least so many machines.
const PART_MACHINES_MIN: usize = 4;

/// How long [`reassign`] may search.
#[derive(Debug, Clone, Copy)]
pub struct ReassignLimits {
    /// Wall time.
    pub time: Duration,
    /// Steps tried by each thread. The answer is repeatable when they, not the time, end the search.
    pub steps_max: u64,
    /// Threads, at least 1. Fewer are used when there are few machines.
    pub threads: usize,
    /// Other seeds, other walks.
    pub seed: u64,
}

impl Default for ReassignLimits {
    fn default() -> Self {
        ReassignLimits { time: Duration::from_secs(10), steps_max: 100_000_000, threads: 1, seed: 1 }
    }
}

/// Searches for a placement of lower [`crate::Tier::Soft`] by moving replicas, starting from [`Problem::current`]. The result holds every
/// workload once and is never worse than what runs.
///
/// `None` when the problem is no reassignment problem: some workload wants other than one replica, or has other than one running; there are
/// devices or held amounts; the present state breaks a hard rule; a hard rule is none of [`crate::Rule::LimitPerDomain`],
/// [`crate::Rule::DistinctDomains`], [`crate::Rule::Near`], a soft one none of [`crate::Rule::Safety`], [`crate::Rule::Balance`],
/// [`crate::Rule::Moved`], [`crate::Rule::MovedMost`] (one, groups disjoint), [`crate::Rule::MovedFar`]; or amounts add up to 2^52 or more.
/// Units that are rounded up (`scale`, `unit` above 1) are searched as if they were not.
///
/// # Errors
///
/// What [`Problem::validate`] finds.
pub fn reassign(problem: &Problem, limits: &ReassignLimits) -> Result<Option<Vec<Placed>>, ProblemError> {
    let deadline = Deadline::after(limits.time);
    problem.validate()?;
    let Some(dimensions) = dimensions(problem) else { return Ok(None) };
    if !check(problem, &problem.current).is_empty() {
        return Ok(None);
    }
    // The number of dimensions is a constant of the innermost loops; resources and balances of the challenge are at most 30.
    let at = match dimensions {
        0..=4 => search::<4>(problem, limits, deadline),
        5..=6 => search::<6>(problem, limits, deadline),
        7..=8 => search::<8>(problem, limits, deadline),
        9..=12 => search::<12>(problem, limits, deadline),
        13..=14 => search::<14>(problem, limits, deadline),
        15..=20 => search::<20>(problem, limits, deadline),
        21..=32 => search::<32>(problem, limits, deadline),
        _ => None,
    };
    let placed = |(workload, node): (usize, u32)| Placed { workload, node: node as usize, count: 1 };
    Ok(at.map(|at| at.into_iter().enumerate().map(placed).collect()))
}

/// The machine of each process.
fn search<const D: usize>(problem: &Problem, limits: &ReassignLimits, deadline: Deadline) -> Option<Vec<u32>> {
    let dense: Dense<D> = Dense::new(problem)?;
    if limits.threads > 1 && dense.processes < SHARED_PROCESSES_MIN {
        return independent(&dense, limits, deadline);
    }
    trials(&dense, limits, deadline).map(|(_, at)| at)
}

/// Each thread searches for itself, from a seed of its own: few processes have rules with each other across most of the machines.
fn independent<const D: usize>(dense: &Dense<D>, limits: &ReassignLimits, deadline: Deadline) -> Option<Vec<u32>> {
    let found: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..limits.threads as u64)
            .map(|thread| {
                let own = ReassignLimits { threads: 1, seed: limits.seed.wrapping_add(thread << 32), ..*limits };
                scope.spawn(move || trials(dense, &own, deadline))
            })
            .collect();
        threads.into_iter().filter_map(|thread| thread.join().ok().flatten()).collect()
    });
    found.into_iter().min_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, at)| at)
}

/// Short walks that try the attachments, and a long one with the best of them. The lowest cost, and the machine of each process there.
fn trials<const D: usize>(dense: &Dense<D>, limits: &ReassignLimits, deadline: Deadline) -> Option<(f64, Vec<u32>)> {
    let mut search = Search::new(dense, limits, deadline);
    if dense.processes < SHARED_PROCESSES_MIN {
        search.cool(0.0, 1.0);
    } else {
        let mut costs = Vec::new();
        for (trial, attachment) in (1u32..).zip(ATTACHMENTS) {
            costs.push((search.cool(attachment, f64::from(trial) * TRIAL), attachment));
        }
        let (_, attachment) = costs.into_iter().min_by(|a, b| a.0.total_cmp(&b.0))?;
        search.cool(attachment, 1.0);
    }
    Some((search.best_cost, search.best))
}

/// A search under way: what it was given, and what it has found and spent.
struct Search<'a, const D: usize> {
    dense: &'a Dense<D>,
    sized: Vec<(f64, u32)>,
    thresholds: Thresholds,
    limits: &'a ReassignLimits,
    deadline: Deadline,
    seconds: f64,
    threads: usize,
    random: Random,
    steps: u64,
    best_cost: f64,
    best: Vec<u32>,
}

/// What holds for one round.
#[derive(Clone, Copy)]
struct Round {
    temperature: f64,
    attachment: f64,
    steps: u64,
}

impl<'a, const D: usize> Search<'a, D> {
    fn new(dense: &'a Dense<D>, limits: &'a ReassignLimits, deadline: Deadline) -> Search<'a, D> {
        Search {
            dense,
            sized: part::by_size(dense),
            thresholds: Thresholds::new(),
            limits,
            deadline,
            seconds: deadline.remaining().as_secs_f64().max(f64::MIN_POSITIVE),
            threads: limits.threads.clamp(1, (dense.machines / PART_MACHINES_MIN).max(1)),
            random: Random::new(limits.seed),
            steps: 0,
            best_cost: State::at_home(dense).cost,
            best: dense.home.clone(),
        }
    }

    /// The share of the whole search that is over.
    fn progress(&self) -> f64 {
        let by_time = 1.0 - self.deadline.remaining().as_secs_f64() / self.seconds;
        by_time.max(self.steps as f64 / self.limits.steps_max.max(1) as f64)
    }

    /// One walk from what runs now, from hot to cold, until `end` of the whole search is over. Returns the lowest cost on the way.
    fn cool(&mut self, attachment: f64, end: f64) -> f64 {
        let hot = HOT_SHARE * self.sized[0].0.max(1.0);
        let cold = COLD.min(COLD_SHARE * hot);
        let fewest = if self.threads == 1 { STEPS_MIN } else { STEPS_MIN_SHARED };
        let per_round = fewest.max(STEPS_PER_PROCESS * self.dense.processes as u64);
        let mut state = State::at_home(self.dense);
        let mut lowest = state.cost;
        let begin = self.progress();
        loop {
            let done = (self.progress() - begin) / (end - begin);
            if done >= 1.0 || begin >= end {
                return lowest;
            }
            let temperature = if done < QUENCH { hot * (cold / hot).powf(done / QUENCH) } else { 0.0 };
            let steps = per_round.min(self.limits.steps_max - self.steps);
            state = self.round(state, Round { temperature, attachment, steps });
            self.steps += steps;
            lowest = lowest.min(state.cost);
            if state.cost < self.best_cost {
                self.best_cost = state.cost;
                self.best.clone_from(&state.at);
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
