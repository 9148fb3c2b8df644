//! Machine reassignment: every workload wants one replica, has one running, and the question is which of them to move.
mod anneal;
mod dense;
mod journal;
mod random;
mod state;

use crate::deadline::Deadline;
use crate::{Placed, Problem, ProblemError, check};
use anneal::{Thresholds, Walk};
use dense::{Dense, dimensions};
use journal::Journal;
use random::Random;
use state::State;
use std::time::Duration;

/// How long [`reassign`] may search.
#[derive(Debug, Clone, Copy)]
pub struct ReassignLimits {
    /// Wall time.
    pub time: Duration,
    /// Steps tried by each thread. The answer is repeatable when they, not the time, end the search.
    pub steps_max: u64,
    /// Threads, at least 1.
    pub threads: usize,
    /// Other seeds, other walks.
    pub seed: u64,
}

pub fn reassign(problem: &Problem, limits: &ReassignLimits) -> Result<Option<Vec<Placed>>, ProblemError> {
    let deadline = Deadline::after(limits.time);
    problem.validate()?;
    let Some(dimensions) = dimensions(problem) else { return Ok(None) };
    if !check(problem, &problem.current).is_empty() {
        return Ok(None);
    }
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

fn env(name: &str, default: f64) -> f64 {
    std::env::var(name).ok().and_then(|t| t.parse().ok()).unwrap_or(default)
}

fn search<const D: usize>(problem: &Problem, limits: &ReassignLimits, deadline: Deadline) -> Option<Vec<u32>> {
    let dense: Dense<D> = Dense::new(problem)?;
    let thresholds = Thresholds::new();
    let mut state = State::at_home(&dense);
    let mut journal = Journal::new(&state);
    let mut random = Random::new(limits.seed);
    let whole = deadline.remaining().as_secs_f64();
    let (hot, cold) = (env("HOT", 1e6), env("COLD", 10.0));
    eprintln!("start {} D {D} counters {}", state.cost, dense.counters.len());
    let mut order: Vec<u32> = (0..dense.processes as u32).collect();
    let size = |p: u32| (0..D).map(|d| dense.price[d] * dense.need[p as usize][d].abs()).sum::<f64>();
    order.sort_by(|a, b| size(*b).total_cmp(&size(*a)));
    let sizes: Vec<f64> = order.iter().map(|p| size(*p)).collect();
    let k = (env("K0", 1.0), env("K1", 100.0), env("K2", 0.5), env("K3", 2.0) as u32);
    let mut walk =
        Walk { state: &mut state, journal: &mut journal, random: &mut random, thresholds: &thresholds, order, sizes, wide: 0, narrow: 0, k };
    let mut next = 0.0;
    let mut hist = Vec::new();
    let log = &mut hist;
    let steps = walk.cool(hot, cold, |steps| {
        let p = (steps as f64 / limits.steps_max as f64).max(1.0 - deadline.remaining().as_secs_f64() / whole);
        if p >= next { next += 0.05; log.push((p, steps)); }
        p
    });
    eprintln!("steps {steps} best {} cost {}", journal.best_cost, state.cost);
    Some(journal.best(&state))
}
