//! Everything placed, and then on ever fewer nodes: what is open is what the class program would open and a little more, all replicas go there,
//! annealing makes the overload go away ([`crate::squeeze`]), and when it is gone nodes are closed or changed for cheaper ones
//! ([`crate::ladder`]) as long as that succeeds; where the class program is small, from whole node counts ([`crate::node_counts`]). For problems in which nothing runs yet and which a board can hold.

use crate::board::Board;
use crate::chance::{Chance, SEED};
use crate::deadline::Deadline;
use crate::guided::Guide;
use crate::ladder::{Ladder, Move};
use crate::layout::Layout;
use crate::model::Model;
use crate::prices::Worth;
use crate::solve::{Search, THREADS};
use crate::squeeze::Squeeze;
use crate::{Placed, Tier};

/// More is open at first than what the guide fills, by this part of what all replicas are worth.
const MORE_IN_ALL: f64 = 0.03;
/// Where not even that is enough, doubled up to this, the search goes down from the best placement so far.
const MORE_MAX: f64 = 0.06;
/// What all replicas together ask for of a resource, at most.
const AMOUNT_MAX: u128 = 1 << 61;
/// Steps of the shortest annealing for each replica and node, where nodes hold no more than so many.
const STEPS: u64 = 50;
const FEW_ON_EACH: u64 = 10;
const MANY_ON_EACH: u64 = 100;
/// The part of the time after which soft rules that are still broken are left to other searches.
const EARLY: f64 = 0.6;
/// The descent to what a guide needs ends when it is to go by less than this part of the way.
const PART_MIN: f64 = 0.02;
/// How often the shortest annealing is doubled, one after the other, to place everything.
const PLACING: [u32; 5] = [0, 1, 2, 3, 4];
/// Whole node counts are tried first, for this part of the time, where the class program has no more columns than this.
const COLUMNS_MAX: usize = 5_000;
const WHOLE_PART: f64 = 0.75;
/// The part of what is left then that goes to closing nodes, as long as that succeeds.
const CLOSING_PART: f64 = 0.65;

/// A way to go on.
#[derive(Clone, Copy)]
enum Step {
    /// This part of the nodes that a guide does not need is closed.
    Part(f64),
    Move(Move),
}

impl<'i, 'p> Search<'i, 'p> {
    /// Room for everything that is short, or for all of it that the bounds allow, on any nodes, and soft rules kept as far as they can be.
    pub(crate) fn place_everything(&mut self, deadline: Deadline) {
        let problem = self.instance.problem;
        let pinned = !problem.current.is_empty();
        let (worth, open) = (Worth::new(problem, deadline), (0..problem.nodes.len()).collect());
        let Some(board) = self.board(&self.best) else { return };
        let mut squeeze = Squeeze::new(board, open, &worth, (pinned, SEED), deadline);
        let soft = self.least_soft();
        for longer in PLACING {
            squeeze.anneal(self.steps() << longer, soft, deadline);
            let placed = squeeze.relieved();
            if self.offer(placed) {
                self.stats.method = "annealing with class bounds".to_owned();
            }
            let all_that_can = squeeze.is_done() || !self.is_open(|tier| matches!(tier, Tier::Shortage(_)));
            if all_that_can && squeeze.board.soft <= soft || deadline.passed() {
                return;
            }
        }
    }

    /// Places everything on what the class program would open, in whole counts or with a little more, then goes down from there.
    pub(crate) fn squeeze(&mut self, model: &Model, guide: &Guide, deadline: Deadline) {
        let (instance, problem) = (self.instance, self.instance.problem);
        let cost = |tier| matches!(tier, Tier::Cost | Tier::PricedCost);
        if !problem.current.is_empty() || !self.is_open(cost) {
            return;
        }
        let (worth, mut chance) = (Worth::new(problem, deadline), Chance::new(SEED));
        let mut reached = None;
        if model.program.column_count() <= COLUMNS_MAX {
            reached = self.on_node_counts(model, &worth, deadline.within(deadline.remaining().mul_f64(WHOLE_PART)));
        }
        let deadline = deadline.within(deadline.remaining().mul_f64(CLOSING_PART));
        let early = deadline.within(deadline.remaining().mul_f64(EARLY));
        let mut ladder = Ladder::new(instance, guide, &worth);
        let part = if reached.is_some() { 0.0 } else { 1.0 };
        let Some(mut reached) = reached.or_else(|| self.beginning(guide, &ladder, &worth, early)) else { return };
        if self.is_open(cost) {
            self.go_down(&mut reached, &mut ladder, (part, early), &mut chance, deadline);
        }
    }

    /// Closes nodes as long as everything finds room: a part of what the guide does not need at a time, then move by move. Two ways to go on are
    /// tried at a time, each on a thread; the first in order that succeeds is taken.
    fn go_down(
        &mut self,
        reached: &mut Squeeze<'i, 'p>,
        ladder: &mut Ladder,
        (mut part, early): (f64, Deadline),
        chance: &mut Chance,
        deadline: Deadline,
    ) {
        while !deadline.passed() {
            // Soft rules come before the cost, and others mend them better.
            if early.passed() && self.is_open(|tier| tier == Tier::Soft) {
                return;
            }
            let steps = if part > PART_MIN {
                [part, part / 3.0].map(|part| (Step::Part(part), 1)).to_vec()
            } else {
                let moves = ladder.next(reached, THREADS).into_iter();
                moves.map(|(step, longer)| (Step::Move(step), longer)).collect()
            };
            let tried = self.tried_steps(reached, ladder, &steps, chance, deadline);
            let mut further = None;
            for ((step, _), tried) in steps.iter().zip(tried) {
                match (step, tried) {
                    (_, Some(tried)) if self.is_good(&tried) => {
                        further = Some(tried);
                        break;
                    }
                    (Step::Part(_), Some(_)) => part /= 3.0,
                    (Step::Part(_), None) => part = 0.0,
                    (Step::Move(step), tried) => ladder.failed(*step, tried.map_or(f64::MAX, |it| it.overload())),
                }
            }
            match further {
                Some(further) => {
                    self.take(&further);
                    *reached = further;
                }
                None if steps.is_empty() => return,
                None => {}
            }
        }
    }

    /// Everything on what a guide fills and a little more, or else on the nodes of the best placement.
    fn beginning(
        &mut self,
        guide: &Guide,
        ladder: &Ladder,
        worth: &Worth,
        deadline: Deadline,
    ) -> Option<Squeeze<'i, 'p>> {
        let (mut more, mut longer) = (MORE_IN_ALL, 2);
        while more <= MORE_MAX && !deadline.passed() {
            let mut board = self.board(&[])?;
            guide.deal(&mut board, &worth.order());
            let open = ladder.start(self.instance, worth, more);
            let mut squeeze = Squeeze::new(board, open, worth, (false, SEED), deadline);
            squeeze.anneal(self.steps() << longer, self.least_soft(), deadline);
            if self.is_good(&squeeze) {
                self.take(&squeeze);
                return Some(squeeze);
            }
            (more, longer) = (more * 2.0, longer + 1);
        }
        if self.is_open(|tier| matches!(tier, Tier::Shortage(_))) {
            return None;
        }
        let board = self.board(&self.best)?;
        let open = board.filled().iter().map(|node| *node as usize).collect();
        Some(Squeeze::new(board, open, worth, (false, SEED), deadline))
    }

    /// What becomes of ways to go on from what is reached, each with the shortest annealing doubled so many times; nothing where rules forbid it or
    /// there is nothing to close.
    fn tried_steps(
        &self,
        reached: &Squeeze<'i, 'p>,
        ladder: &Ladder,
        steps: &[(Step, u32)],
        chance: &mut Chance,
        deadline: Deadline,
    ) -> Vec<Option<Squeeze<'i, 'p>>> {
        let (shortest, soft) = (self.steps(), self.soft());
        std::thread::scope(|scope| {
            let threads = steps.iter().map(|(step, longer)| {
                let seed = chance.roll();
                scope.spawn(move || {
                    let mut squeeze = reached.clone();
                    squeeze.reseed(seed);
                    let made = match step {
                        Step::Part(part) => ladder.descend(&mut squeeze, *part) > 0,
                        Step::Move(step) => ladder.make(&mut squeeze, *step),
                    };
                    made.then(|| squeeze.anneal(shortest << longer, soft, deadline))?;
                    Some(squeeze)
                })
            });
            let threads: Vec<_> = threads.collect();
            threads.into_iter().map(|thread| thread.join().unwrap_or_default()).collect()
        })
    }

    /// Whether nothing is overloaded, and soft rules are kept as well as in the best placement: they come before the cost.
    pub(crate) fn is_good(&self, squeeze: &Squeeze) -> bool {
        squeeze.is_done() && squeeze.board.soft <= self.soft()
    }

    /// Whether it is better than the best so far, and now is the best.
    pub(crate) fn take(&mut self, squeeze: &Squeeze) -> bool {
        let better = self.offer(squeeze.board.placed());
        if better {
            self.stats.method = "annealing on fewer nodes with class bounds".to_owned();
        }
        better
    }

    /// A board that may hold all replicas on one node; nothing where that is too much for its numbers. Once it is proven how many must stay
    /// out, those that the best placement leaves out are not looked at any more.
    pub(crate) fn board(&self, placed: &[Placed]) -> Option<Board<'i, 'p>> {
        let problem = self.instance.problem;
        let in_all = |r: usize| problem.workloads.iter().map(move |w| u128::from(w.demand[r]) * u128::from(w.wanted));
        let most = (0..problem.resources.len()).map(|r| in_all(r).fold(0, u128::saturating_add)).max().unwrap_or(0);
        if most > AMOUNT_MAX {
            return None;
        }
        let mut board = Board::new(self.instance, placed, vec![1; problem.workloads.len()])?;
        if self.is_short() && !self.is_open(|tier| matches!(tier, Tier::Shortage(_))) {
            let layout = Layout::new(self.instance, &self.best);
            (0..problem.workloads.len()).for_each(|workload| board.forgo(workload, layout.missing(workload)));
        }
        Some(board)
    }

    /// Steps of the shortest annealing: fewer where nodes hold many replicas, since a step looks at all pairs of two nodes.
    pub(crate) fn steps(&self) -> u64 {
        let problem = self.instance.problem;
        let replicas: u64 = problem.workloads.iter().map(|w| u64::from(w.wanted)).sum();
        let nodes = problem.nodes.len() as u64;
        let on_each = (replicas / nodes.max(1)).clamp(FEW_ON_EACH, MANY_ON_EACH);
        STEPS.saturating_mul(replicas + nodes).saturating_mul(FEW_ON_EACH * FEW_ON_EACH) / (on_each * on_each)
    }

    /// By how many units every placement breaks soft rules, as far as that is known.
    fn least_soft(&self) -> i64 {
        let bounds = self.worth.iter().zip(&self.bounds);
        bounds.filter(|((tier, _), _)| *tier == Tier::Soft).map(|(_, bound)| *bound as i64).sum()
    }

    /// By how many units the best placement breaks soft rules.
    pub(crate) fn soft(&self) -> i64 {
        self.worth.iter().filter(|(tier, _)| *tier == Tier::Soft).map(|(_, value)| *value as i64).sum()
    }
}
