//! Everything placed, and then on ever fewer nodes: what is open is what the class program would open and a little more, all replicas go there,
//! annealing makes the overload go away ([`crate::squeeze`]), and when it is gone nodes are closed or changed for cheaper ones
//! ([`crate::ladder`]) as long as that succeeds. For problems in which nothing runs yet and which a board can hold.

use crate::board::Board;
use crate::chance::{Chance, SEED};
use crate::deadline::Deadline;
use crate::guided::Guide;
use crate::ladder::Ladder;
use crate::layout::Layout;
use crate::prices::Worth;
use crate::solve::Search;
use crate::squeeze::Squeeze;
use crate::{Placed, Tier};

/// More is open at first than what the guide fills, by this part of what all replicas are worth.
const MORE_IN_ALL: f64 = 0.03;
/// Where not even that is enough, doubled up to this, the search goes down from the best placement so far.
const MORE_MAX: f64 = 0.1;
/// What all replicas together ask for of a resource, at most.
const AMOUNT_MAX: u128 = 1 << 61;
/// Steps of the shortest annealing for each replica and node.
const STEPS: u64 = 50;
/// The part of the time after which soft rules that are still broken are left to other searches.
const EARLY: f64 = 0.6;
/// The descent to what a guide needs ends when it is to go by less than this part of the way.
const PART_MIN: f64 = 0.02;
/// How often the shortest annealing is doubled, one after the other, to place everything.
const PLACING: [u32; 4] = [1, 2, 3, 4];

impl<'i, 'p> Search<'i, 'p> {
    /// Room for everything that is short, on any nodes, and soft rules kept as far as they can be.
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
            let placed = squeeze.is_done() || !self.is_open(|tier| matches!(tier, Tier::Shortage(_)));
            if placed && squeeze.board.soft <= soft || deadline.passed() {
                return;
            }
        }
    }

    /// Places everything on what the class program would open and a little more, then closes nodes as long as everything finds room: many at
    /// once at first, one in the end.
    pub(crate) fn squeeze(&mut self, guide: &Guide, deadline: Deadline) {
        let (instance, problem) = (self.instance, self.instance.problem);
        if !problem.current.is_empty() || !self.is_open(|tier| matches!(tier, Tier::Cost | Tier::PricedCost)) {
            return;
        }
        let (worth, mut chance) = (Worth::new(problem, deadline), Chance::new(SEED));
        let mut ladder = Ladder::new(instance, guide, &worth);
        let (mut more, mut longer, mut part) = (MORE_IN_ALL, 2, 1.0);
        let mut reached: Option<(Vec<Placed>, Vec<usize>)> = None;
        let dealt = |search: &Self, open: Vec<usize>| {
            let mut board = search.board(&[])?;
            guide.deal(&mut board, &worth.order());
            Some(Squeeze::new(board, open, &worth, (false, SEED), deadline))
        };
        let Some(mut squeeze) = dealt(self, ladder.start(instance, &worth, more)) else { return };
        let early = deadline.within(deadline.remaining().mul_f64(EARLY));
        while !deadline.passed() {
            // Soft rules come before the cost, and others mend them better.
            if early.passed() && self.is_open(|tier| tier == Tier::Soft) {
                return;
            }
            let soft = if reached.is_none() { self.least_soft() } else { self.soft() };
            squeeze.anneal(self.steps() << longer, soft, deadline);
            // Soft rules come before the cost.
            if squeeze.is_done() && squeeze.board.soft <= self.soft() {
                let placed = squeeze.board.placed();
                if self.offer(placed.clone()) {
                    self.stats.method = "annealing on fewer nodes with class bounds".to_owned();
                }
                reached = Some((placed, squeeze.open.clone()));
            } else if let Some((placed, open)) = &reached {
                let Some(board) = self.board(placed) else { return };
                squeeze = Squeeze::new(board, open.clone(), &worth, (false, chance.roll()), deadline);
                part /= 3.0;
            } else if more < MORE_MAX {
                (more, longer) = (more * 2.0, longer + 1);
                let Some(again) = dealt(self, ladder.start(instance, &worth, more)) else { return };
                squeeze = again;
                continue;
            } else if !self.is_open(|tier| matches!(tier, Tier::Shortage(_))) {
                // Down from what there is.
                let Some(board) = self.board(&self.best) else { return };
                let open: Vec<usize> = board.filled().iter().map(|node| *node as usize).collect();
                reached = Some((self.best.clone(), open.clone()));
                squeeze = Squeeze::new(board, open, &worth, (false, chance.roll()), deadline);
            } else {
                return;
            }
            longer = 1;
            if part > PART_MIN && ladder.descend(&mut squeeze, part) > 0 {
                continue;
            }
            part = 0.0;
            // Until something can be done at all: a move that a rule forbids fails at once.
            loop {
                let Some(step) = ladder.next(&squeeze) else { return };
                longer = ladder.failed(step);
                if ladder.make(&mut squeeze, step) {
                    break;
                }
            }
        }
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

    /// Steps of the shortest annealing.
    fn steps(&self) -> u64 {
        let problem = self.instance.problem;
        let replicas: u64 = problem.workloads.iter().map(|w| u64::from(w.wanted)).sum();
        STEPS * (replicas + problem.nodes.len() as u64)
    }

    /// By how many units every placement breaks soft rules, as far as that is known.
    fn least_soft(&self) -> i64 {
        let bounds = self.worth.iter().zip(&self.bounds);
        bounds.filter(|((tier, _), _)| *tier == Tier::Soft).map(|(_, bound)| *bound as i64).sum()
    }

    /// By how many units the best placement breaks soft rules.
    fn soft(&self) -> i64 {
        self.worth.iter().filter(|(tier, _)| *tier == Tier::Soft).map(|(_, value)| *value as i64).sum()
    }
}
