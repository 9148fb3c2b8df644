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
//! assignment instead of on two assignments ([`part`]), so that two of them make one walk twice as long. Where processes are few, each
//! thread has a walk of its own.
//!
//! How attached processes are to where they run ([`anneal`]), whether machines may lack room on the way ([`excess`]), and where walks freeze
//! differs between problems, so short walks try it ([`search`]) before the long one.
//!
//! The answer depends on the seed, the number of threads and the number of steps, on nothing else, unless time ends the search.

mod anneal;
mod dense;
mod excess;
mod part;
mod random;
mod search;
mod state;

use crate::deadline::Deadline;
use crate::{Placed, Problem, ProblemError, check};
use dense::dimensions;
use search::{Clock, search};
use std::time::Duration;

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
    /// A clock to count `time` by instead of the wall's: CPU time, to compare searches on a machine that has other things to do.
    pub clock: Option<fn() -> Duration>,
}

impl Default for ReassignLimits {
    fn default() -> Self {
        ReassignLimits { time: Duration::from_secs(10), steps_max: 100_000_000, threads: 1, seed: 1, clock: None }
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
    problem.validate()?;
    Ok(reassign_until(problem, limits, Deadline::after(limits.time)))
}

/// [`reassign`] for a problem that has been validated, until a deadline.
pub(crate) fn reassign_until(problem: &Problem, limits: &ReassignLimits, deadline: Deadline) -> Option<Vec<Placed>> {
    let clock = Clock::start(limits, deadline);
    let dimensions = dimensions(problem)?;
    if !check(problem, &problem.current).is_empty() {
        return None;
    }
    // The number of dimensions is a constant of the innermost loops; resources and balances of the challenge are at most 30.
    let at = match dimensions {
        0..=4 => search::<4>(problem, limits, clock),
        5..=6 => search::<6>(problem, limits, clock),
        7..=8 => search::<8>(problem, limits, clock),
        9..=12 => search::<12>(problem, limits, clock),
        13..=14 => search::<14>(problem, limits, clock),
        15..=20 => search::<20>(problem, limits, clock),
        21..=32 => search::<32>(problem, limits, clock),
        _ => None,
    };
    let placed = |(workload, node): (usize, u32)| Placed { workload, node: node as usize, count: 1 };
    at.map(|at| at.into_iter().enumerate().map(placed).collect())
}
