//! Annealing: what is too much goes away, shift by shift and swap by swap.

use super::is_reserve;
use super::rooms::{NOWHERE, Rooms};
use crate::Placed;
use crate::board::Board;
use crate::chance::Chance;
use crate::deadline::Deadline;
use crate::instance::Instance;
use crate::prices::Worth;
use crate::survival::Survival;
use std::cmp::Reverse;

/// The temperature at the start and at the end of an annealing, in worths of a typical replica.
const HOT: f64 = 0.02;
const COLD: f64 = 0.001;
/// Moves between two looks at the clock.
const LOOK: u64 = 1024;
/// Nodes looked at for one more replica.
const LOOKED_AT: usize = 48;
/// A unit of a soft rule, in prices of a node; a replica that is moved, in worths of a typical one.
const SOFT: f64 = 3.0;
const MOVED: f64 = 0.1;
/// What all replicas together ask for of a resource, at most.
const AMOUNT_MAX: u128 = 1 << 60;
/// Replicas times reserves, at most.
const GUESTS_MAX: u64 = 4_000_000;

/// An annealing under way.
pub(super) struct Refuges<'a, 'i, 'p> {
    pub(super) rooms: Rooms<'i, 'p>,
    hard: &'a Survival,
    pub(super) worth: &'a Worth,
    held_back: u128,
    soft: f64,
    moved: f64,
    typical: f64,
    pinned: bool,
    pub(super) chance: &'a mut Chance,
}

impl<'a, 'i, 'p> Refuges<'a, 'i, 'p> {
    pub(super) fn new(
        plain: &'i Instance<'p>,
        placed: &[Placed],
        (hard, worth, pinned): (&'a Survival, &'a Worth, bool),
        chance: &'a mut Chance,
    ) -> Option<Refuges<'a, 'i, 'p>> {
        let problem = plain.problem;
        let in_all = |r: usize| problem.workloads.iter().map(move |w| u128::from(w.demand[r]) * u128::from(w.wanted));
        let reserves = problem.constraints.iter().filter(|c| is_reserve(c)).count() as u64;
        let replicas: u64 = problem.workloads.iter().map(|w| u64::from(w.wanted)).sum();
        if (0..problem.resources.len()).any(|r| in_all(r).fold(0, u128::saturating_add) > AMOUNT_MAX)
            || replicas.saturating_mul(reserves) > GUESTS_MAX
        {
            return None;
        }
        let board = Board::new(plain, placed, vec![1; problem.workloads.len()])?;
        let typical = worth.typical();
        let nodes = problem.nodes.len().max(1) as f64;
        let average = |r: usize| problem.nodes.iter().map(|n| n.capacity[r] as f64).sum::<f64>() / nodes;
        let least = |r: usize| 0.2 * worth.node.max(typical) / average(r).max(1.0);
        let prices = worth.prices.iter().enumerate().map(|(r, price)| price.max(least(r))).collect();
        let rooms = Rooms::new(board, prices, 1.0, chance);
        let (soft, moved) = (SOFT * worth.node / worth.weight, MOVED * typical);
        Some(Refuges { rooms, hard, worth, held_back: 0, soft, moved, typical, pinned, chance })
    }

    pub(super) fn hold_back(&mut self, thousandths: u128) {
        self.held_back = thousandths;
        self.rooms.factor = 1.0 + thousandths as f64 / 1000.0;
        self.rooms.reweigh();
    }

    /// Takes away what the sums of hard reserves have no room for, and places what they have room for, the largest first. Whether they keep
    /// anything out.
    pub(super) fn choose(&mut self, deadline: Deadline) -> bool {
        let aims = self.aims();
        for replica in 0..self.rooms.replicas.len() {
            let (workload, node) = (self.rooms.replicas[replica].workload, self.rooms.replicas[replica].node);
            if node != NOWHERE && self.placed(workload) > aims[workload] {
                self.rooms.lift(replica);
                self.rooms.keep();
            }
        }
        for workload in self.worth.order() {
            while self.placed(workload) < aims[workload] && !deadline.passed() && self.place(workload) {}
        }
        let workloads = &self.rooms.board.instance.problem.workloads;
        workloads.iter().zip(&aims).any(|(spec, aim)| spec.wanted > *aim)
    }

    fn placed(&self, workload: usize) -> u32 {
        self.rooms.board.instance.problem.workloads[workload].wanted - self.rooms.board.missing(workload)
    }

    /// How many of each workload the sums of hard reserves have room for: high priorities first, and of one as many replicas as can be.
    fn aims(&self) -> Vec<u32> {
        let tighter = self.hard.tightened(self.held_back);
        let workloads = &self.rooms.board.instance.problem.workloads;
        let mut left: Vec<u128> = tighter.bounds.iter().map(|bound| bound.most).collect();
        let size = |w: usize| {
            let parts = tighter.of_workload[w]
                .iter()
                .map(|(bound, amount)| amount * 1_000_000 / tighter.bounds[*bound].most.max(1));
            parts.max().unwrap_or(0)
        };
        let mut order: Vec<usize> = (0..workloads.len()).collect();
        order.sort_by_cached_key(|w| (Reverse(workloads[*w].priority), size(*w), *w));
        let mut aims = vec![0; workloads.len()];
        for workload in order {
            let bounds = &tighter.of_workload[workload];
            let most = bounds.iter().map(|(bound, amount)| left[*bound] / amount.max(&1)).min().unwrap_or(u128::MAX);
            let aim = u128::from(workloads[workload].wanted).min(most);
            bounds.iter().for_each(|(bound, amount)| left[*bound] -= amount * aim);
            aims[workload] = aim as u32;
        }
        aims
    }

    /// One more replica where it overloads least, of the nodes looked at, with no hard rule broken further; whether there is such a node.
    fn place(&mut self, workload: usize) -> bool {
        let allowed = &self.rooms.board.instance.allowed[workload];
        let from = self.chance.below(allowed.len().max(1));
        let mut best: Option<(f64, usize)> = None;
        let mut looked_at = 0;
        for node in allowed.iter().cycle().skip(from).take(allowed.len()).copied() {
            if !self.rooms.may_go(workload, node) {
                continue;
            }
            let (hard, soft) = (self.rooms.board.hard, self.rooms.board.soft);
            self.rooms.board.change(workload, node, 1);
            let holds = self.rooms.board.hard <= hard;
            let free = self.rooms.board.free(node).iter().zip(&self.worth.prices);
            let lack: f64 = free.map(|(free, price)| (-*free).max(0) as f64 * price).sum();
            let score = lack + self.soft * (self.rooms.board.soft - soft) as f64;
            self.rooms.board.undo();
            if holds && best.is_none_or(|(least, _)| score < least) {
                best = Some((score, node));
            }
            looked_at += 1;
            if best.is_some_and(|(least, _)| least <= 0.0) || best.is_some() && looked_at >= LOOKED_AT {
                break;
            }
        }
        if let Some((_, node)) = best {
            self.rooms.add(workload, node, self.chance);
            self.rooms.keep();
        }
        best.is_some()
    }

    /// One annealing of so many moves for each replica; whether nothing is overloaded in the end.
    pub(super) fn anneal(&mut self, moves: u64, deadline: Deadline) -> bool {
        let moves = moves * (self.rooms.replicas.len() as u64 + 8);
        let heats: Vec<f64> =
            (0..=100).map(|percent| self.typical * HOT * (COLD / HOT).powf(f64::from(percent) / 100.0)).collect();
        for done in 0..moves {
            if self.rooms.overloaded().is_empty() || done % LOOK == 0 && deadline.passed() {
                break;
            }
            self.step(heats[(done * 100 / moves) as usize]);
        }
        self.rooms.overloaded().is_empty()
    }

    fn step(&mut self, heat: f64) {
        let nodes = self.rooms.board.instance.problem.nodes.len();
        let node = if self.chance.percent(50) {
            self.chance.of(self.rooms.overloaded()).unwrap_or(0)
        } else {
            self.chance.below(nodes)
        };
        let accept = -heat * self.chance.part().max(1e-12).ln();
        let here = self.rooms.here(node).len();
        if self.chance.below(here + self.rooms.guests(node).len()) < here {
            self.move_replica(node, accept);
        } else {
            self.move_guest(node, accept);
        }
    }

    /// A guest of a node goes to another, now and then in exchange for one of the same loss.
    pub(super) fn move_guest(&mut self, node: usize, accept: f64) {
        let Some(guest) = self.chance.of(self.rooms.guests(node)) else { return };
        let (workload, _, loss) = self.rooms.about(guest);
        let allowed = &self.rooms.board.instance.allowed[workload];
        let to = allowed[self.chance.below(allowed.len())];
        if to == node || !self.rooms.may_host(guest, to) {
            return;
        }
        let other = if self.chance.percent(40) { self.chance.of(self.rooms.guests(to)) } else { None };
        let other = other.filter(|other| {
            let (theirs, _, their_loss) = self.rooms.about(*other);
            their_loss == loss && theirs != workload && self.rooms.may_host(*other, node)
        });
        self.rooms.leave(guest);
        self.rooms.shelter(guest, to);
        if let Some(other) = other {
            self.rooms.leave(other);
            self.rooms.shelter(other, node);
        }
        if self.rooms.growth() <= accept {
            self.rooms.keep();
            return;
        }
        self.rooms.leave(guest);
        self.rooms.shelter(guest, node);
        if let Some(other) = other {
            self.rooms.leave(other);
            self.rooms.shelter(other, to);
        }
        self.rooms.forget();
    }

    /// A replica of a node goes to another, now and then in exchange for one that lies there.
    fn move_replica(&mut self, node: usize, accept: f64) {
        let Some(replica) = self.chance.of(self.rooms.here(node)).filter(|replica| self.may_leave(*replica)) else {
            return;
        };
        let workload = self.rooms.replicas[replica].workload;
        let allowed = &self.rooms.board.instance.allowed[workload];
        if allowed.is_empty() {
            return;
        }
        let to = allowed[self.chance.below(allowed.len())];
        if to == node || !self.rooms.may_go(workload, to) {
            return;
        }
        let other = if self.chance.percent(50) { self.chance.of(self.rooms.here(to)) } else { None };
        let other = other.filter(|other| {
            let theirs = self.rooms.replicas[*other].workload;
            theirs != workload && self.may_leave(*other) && self.rooms.may_go(theirs, node)
        });
        let (hard, soft, moved) = (self.rooms.board.hard, self.rooms.board.soft, self.rooms.board.disruption);
        let before = self.rooms.refuges(replica);
        let theirs = other.map(|other| self.rooms.refuges(other));
        self.rooms.relocate(replica, to, self.chance);
        if let Some(other) = other {
            self.rooms.relocate(other, node, self.chance);
        }
        let board = &self.rooms.board;
        let worse = self.soft * (board.soft - soft) as f64 + self.moved * (board.disruption - moved) as f64;
        if board.hard <= hard && self.rooms.growth() + worse <= accept {
            self.rooms.keep();
            return;
        }
        self.rooms.back(replica, node as u32, &before);
        if let (Some(other), Some(theirs)) = (other, theirs) {
            self.rooms.back(other, to as u32, &theirs);
        }
        self.rooms.forget();
    }

    /// Nothing leaves a node on which something is broken, nor where it runs when that is to stay.
    fn may_leave(&self, replica: usize) -> bool {
        let (workload, node) = (self.rooms.replicas[replica].workload, self.rooms.replicas[replica].node as usize);
        let board = &self.rooms.board;
        let runs = || board.instance.running_count(workload, node) >= board.count(workload, node);
        !(self.rooms.still[node] || self.pinned && runs())
    }

    /// The placement without what is too much, replicas of the lowest priority and the largest first.
    pub(super) fn relieved(&mut self) -> Vec<Placed> {
        while let Some(node) = self.rooms.overloaded().first().map(|node| *node as usize) {
            let workloads = &self.rooms.board.instance.problem.workloads;
            let guests = self.rooms.guests(node).iter().map(|guest| self.rooms.replica_of(*guest as usize));
            let mut held: Vec<usize> =
                self.rooms.here(node).iter().map(|replica| *replica as usize).chain(guests).collect();
            held.sort_by_cached_key(|replica| (workloads[self.rooms.replicas[*replica].workload].priority, *replica));
            let mut best: Option<(i32, f64, usize)> = None;
            for replica in held {
                let at = self.rooms.replicas[replica];
                let priority = workloads[at.workload].priority;
                if best.is_some_and(|(least, ..)| priority > least) {
                    break;
                }
                let refuges = self.rooms.refuges(replica);
                self.rooms.lift(replica);
                let growth = self.rooms.growth();
                self.rooms.back(replica, at.node, &refuges);
                self.rooms.forget();
                if growth < 0.0 && best.is_none_or(|(_, least, _)| growth < least) {
                    best = Some((priority, growth, replica));
                }
            }
            let Some((.., replica)) = best else { break };
            self.rooms.lift(replica);
            self.rooms.keep();
        }
        self.rooms.board.placed()
    }
}
