//! Two places for every replica: where it lies, and where it would go when that is lost.
//!
//! For a reserve over a topology let p be the node of a replica and q its *refuge*, outside the domain of p. In the loss of a domain d a node n
//! outside d holds what lay there and what comes, so that everything finds room if for every n and every d that does not hold n
//!
//! ```text
//! Σ_{replicas with p = n} demand + Σ_{replicas with q = n, p in d} demand ≤ capacity[n]
//! ```
//!
//! Simulated annealing over p and q together (shifts, swaps, and p and q exchanged) makes what is too much go away, as [`crate::squeeze`] does for capacity alone.
//! The refuges are forgotten in the end: the checker finds some of its own. Since it does so in one pass, what comes counts a few per cent more
//! than it takes as long as that can be had. Devices, and rules that a board does not know, leave the search to others.

mod amend;
mod rooms;
mod search;

use crate::chance::{Chance, SEED};
use crate::check::homeless_of;
use crate::deadline::Deadline;
use crate::prices::Worth;
use crate::solve::Search;
use crate::survival::{Survival, relieved};
use crate::{Constraint, Rule};
use search::Refuges;

/// The part of the room that is held back from what is placed, and that guests count more, in thousandths: at first, at most, and a step worth
/// taking.
const HELD_BACK: u128 = 80;
const HELD_BACK_MAX: u128 = 320;
const HELD_BACK_STEP: u128 = 3;
/// Moves of one annealing, for each replica, to begin with and after doubling.
const MOVES: [u64; 2] = [200, 400];

impl Search<'_, '_> {
    /// Looks for a placement in which every loss can be borne, with as little left out as the sums allow; whether a board can hold the problem.
    pub(crate) fn find_refuges(&mut self, deadline: Deadline) -> bool {
        let mut plain = self.instance.clone();
        plain.node_rules.retain(|rule| !is_reserve(&plain.problem.constraints[*rule]));
        let (hard, worth) =
            (Survival::nearly_binding(self.instance, HELD_BACK_MAX), Worth::new(plain.problem, deadline));
        let pins: &[bool] = if plain.problem.current.is_empty() { &[false] } else { &[true, false] };
        for (at, pinned) in pins.iter().enumerate() {
            let deadline = deadline.within(deadline.remaining() / (pins.len() - at) as u32);
            let mut chance = Chance::new(SEED);
            let Some(mut refuges) = Refuges::new(&plain, &self.best, (&hard, &worth, *pinned), &mut chance) else {
                return false;
            };
            let mut ladder = HeldBack::default();
            while let Some(held_back) = ladder.next {
                refuges.hold_back(held_back);
                let binding = refuges.choose(deadline);
                // Some time is left for taking away what is too much.
                let annealing = deadline.within(deadline.remaining().mul_f64(0.9));
                let done = MOVES.iter().any(|moves| refuges.anneal(*moves, annealing));
                self.offer_refuges(&mut refuges, deadline);
                if done && refuges.rooms.board.disruption > 0 {
                    refuges.bring_back(deadline);
                    self.offer(refuges.rooms.board.placed());
                }
                if deadline.passed() || !self.is_unkept() {
                    break;
                }
                ladder.climb(done, binding);
                if !done {
                    let Some(again) = Refuges::new(&plain, &self.best, (&hard, &worth, *pinned), &mut chance) else {
                        break;
                    };
                    refuges = again;
                }
            }
            if !self.is_unkept() {
                break;
            }
        }
        true
    }

    /// Whether a reserve is broken, or keeps something out.
    pub(crate) fn is_unkept(&self) -> bool {
        let problem = self.instance.problem;
        let unkept = |constraint: &Constraint| match &constraint.rule {
            Rule::Reserve { topology, except } => {
                let hard = constraint.weight.is_none();
                hard && self.is_short() || !homeless_of(problem, &self.best, *topology, except).is_empty()
            }
            _ => false,
        };
        problem.constraints.iter().any(unkept)
    }

    /// Everything as it is (a reserve may be soft, or broken at present), else without what is too much, else without what the checker
    /// finds no room for.
    fn offer_refuges(&mut self, refuges: &mut Refuges, deadline: Deadline) {
        let mut gained = self.offer(refuges.rooms.board.placed());
        if !gained && !deadline.passed() {
            let placed = refuges.relieved();
            gained = self.offer(placed.clone());
            if !gained && !deadline.passed() {
                gained = self.offer(relieved(self.instance, &placed, deadline));
            }
        }
        if refuges.top_up(deadline) && !deadline.passed() {
            gained |= self.offer(refuges.rooms.board.placed());
        }
        if gained {
            self.stats.method = "annealing of refuges with class bounds".to_owned();
        }
    }
}

/// How much to hold back next, in thousandths: bisection between what could be done and what could not.
struct HeldBack {
    next: Option<u128>,
    could: Option<u128>,
    could_not: Option<u128>,
}

impl Default for HeldBack {
    fn default() -> HeldBack {
        HeldBack { next: Some(HELD_BACK), could: None, could_not: None }
    }
}

impl HeldBack {
    /// After an attempt; `binding`: less was placed because of what was held back.
    fn climb(&mut self, done: bool, binding: bool) {
        let Some(tried) = self.next else { return };
        let side = if done { &mut self.could } else { &mut self.could_not };
        *side = Some(tried);
        let next = match (self.could, self.could_not) {
            (Some(could), could_not) => could.midpoint(could_not.unwrap_or(0)),
            (None, _) if binding => tried * 2,
            (None, _) => tried / 2,
        };
        let gap = next.abs_diff(tried);
        self.next = (gap >= HELD_BACK_STEP && next <= HELD_BACK_MAX).then_some(next);
    }
}

/// Whether it is a rule about what must be able to be lost.
pub(crate) fn is_reserve(constraint: &Constraint) -> bool {
    matches!(constraint.rule, Rule::Reserve { .. })
}
