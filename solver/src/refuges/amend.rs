//! Once nothing is overloaded: what is missing finds gaps, and what was moved without need goes back.

use super::rooms::NOWHERE;
use super::search::Refuges;
use crate::deadline::Deadline;

/// Rounds of bringing back what was moved that bring nothing back, and what is tried to make room for one replica.
const FRUITLESS_MAX: u32 = 4;
const TRIES: usize = 24;
/// Nodes drawn for one more replica that must not overload anything.
const DRAWS: usize = 40;

impl Refuges<'_, '_, '_> {
    /// Places what is missing wherever that overloads nothing, high priorities and small replicas first; whether there was such a place.
    pub(super) fn top_up(&mut self, deadline: Deadline) -> bool {
        let workloads = &self.rooms.board.instance.problem.workloads;
        let mut order: Vec<usize> = self.rooms.board.short().iter().map(|workload| *workload as usize).collect();
        order.sort_by(|a, b| {
            let higher = workloads[*b].priority.cmp(&workloads[*a].priority);
            higher.then(self.worth.of[*a].total_cmp(&self.worth.of[*b])).then(a.cmp(b))
        });
        let mut gained = false;
        for workload in order {
            while self.rooms.board.missing(workload) > 0 && !deadline.passed() && self.place_within(workload) {
                gained = true;
            }
        }
        gained
    }

    /// One more replica on one of a few nodes where it overloads nothing, neither there nor on its refuges.
    fn place_within(&mut self, workload: usize) -> bool {
        let allowed = &self.rooms.board.instance.allowed[workload];
        for _ in 0..DRAWS {
            let Some(node) = allowed.get(self.chance.below(allowed.len())).copied() else { return false };
            if !self.rooms.board.has_room(workload, node) || !self.rooms.may_go(workload, node) {
                continue;
            }
            let (hard, soft) = (self.rooms.board.hard, self.rooms.board.soft);
            self.rooms.add(workload, node, self.chance);
            for _ in 0..TRIES / 4 {
                let board = &self.rooms.board;
                if board.hard > hard || board.soft > soft {
                    break;
                }
                if self.rooms.growth() <= 0.0 {
                    self.rooms.keep();
                    return true;
                }
                self.rooms.redraw(self.rooms.replicas.len() - 1, self.chance);
            }
            self.rooms.dismiss();
        }
        false
    }

    /// What was moved without need goes back to where it runs, one replica after the other, guests making way for that.
    pub(super) fn bring_back(&mut self, deadline: Deadline) {
        self.rooms.factor = 1.0;
        self.rooms.reweigh();
        let (nodes, mut fruitless) = (self.rooms.board.instance.problem.nodes.len(), 0);
        while fruitless < FRUITLESS_MAX {
            let before = self.rooms.board.disruption;
            for replica in 0..self.rooms.replicas.len() {
                if deadline.passed() {
                    return;
                }
                self.homes(replica).into_iter().any(|home| self.try_move(replica, home));
            }
            fruitless = if self.rooms.board.disruption < before { 0 } else { fruitless + 1 };
            for _ in 0..self.rooms.replicas.len() {
                let node = self.chance.below(nodes);
                self.move_guest(node, 0.0);
            }
        }
    }

    /// Where a replica that was moved may have run.
    fn homes(&self, replica: usize) -> Vec<usize> {
        let (workload, node) = (self.rooms.replicas[replica].workload, self.rooms.replicas[replica].node);
        let (board, instance) = (&self.rooms.board, self.rooms.board.instance);
        let moved = |node: usize| board.count(workload, node) > instance.running_count(workload, node);
        if node == NOWHERE || !moved(node as usize) {
            return Vec::new();
        }
        let running = instance.running[workload].iter();
        running.filter(|(home, count)| board.count(workload, *home) < *count).map(|(home, _)| *home).collect()
    }

    /// Moves a replica, and its refuges if need be, if nothing gets worse by that.
    fn try_move(&mut self, replica: usize, to: usize) -> bool {
        let (workload, node) = (self.rooms.replicas[replica].workload, self.rooms.replicas[replica].node);
        let (hard, soft, refuges) = (self.rooms.board.hard, self.rooms.board.soft, self.rooms.refuges(replica));
        if !self.rooms.may_go(workload, to) {
            return false;
        }
        self.rooms.relocate(replica, to, self.chance);
        let mut evicted = Vec::new();
        for attempt in 0..TRIES {
            let board = &self.rooms.board;
            if board.hard <= hard && board.soft <= soft && self.rooms.growth() <= 0.0 {
                self.rooms.keep();
                return true;
            }
            if attempt % 4 == 3 {
                self.rooms.redraw(replica, self.chance);
            } else {
                evicted.extend(self.evict(to));
            }
        }
        for (guest, from) in evicted.into_iter().rev() {
            self.rooms.leave(guest);
            self.rooms.shelter(guest, from);
        }
        self.rooms.back(replica, node, &refuges);
        self.rooms.forget();
        false
    }

    /// A guest of a node goes elsewhere if that helps: which, and from where.
    fn evict(&mut self, node: usize) -> Option<(usize, usize)> {
        let guest = self.chance.of(self.rooms.guests(node))?;
        let allowed = &self.rooms.board.instance.allowed[self.rooms.about(guest).0];
        let to = allowed[self.chance.below(allowed.len())];
        if to == node || !self.rooms.may_host(guest, to) {
            return None;
        }
        let before = self.rooms.growth();
        self.rooms.leave(guest);
        self.rooms.shelter(guest, to);
        if self.rooms.growth() < before {
            return Some((guest, node));
        }
        self.rooms.leave(guest);
        self.rooms.shelter(guest, node);
        None
    }
}
