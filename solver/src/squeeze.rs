//! All replicas on a given set of open nodes, too much on some of them at first: simulated annealing over exchanges of up to
//! two replicas, or of a large one for many small ones, makes the overload go away (Kirkpatrick et al. 1983).
//!
//! Ruin and recreate fills nodes one by one and leaves a few per cent of each; here all nodes of the set fill up together, so that
//! resources run out on every node at once. What is minimised is only a sum of overloads, which costs some ten nanoseconds to look at, so
//! that millions of moves a second are tried. Hard rules are never broken further on the way; soft ones have their price.

use crate::Placed;
use crate::board::Board;
use crate::chance::Chance;
use crate::deadline::Deadline;
use crate::greedy::{Fit, Greedy};
use crate::prices::Worth;
use crate::prune::prune;
use crate::scan::Scan;

/// The temperature at the start and at the end of an annealing, in worths of a typical replica.
const HOT: f64 = 0.003;
const COLD: f64 = 0.0003;
/// Per cent of steps: from a node with an overload; a second replica of a node goes along.
const OVERLOADED: usize = 60;
const TWO: usize = 22;
/// Per cent of steps: one for as many as need be, but for no more than so many.
const TRADES: usize = 15;
const TRADED_MAX: usize = 24;
/// Per cent of steps, while soft rules are broken: whatever becomes of the overload.
const SOFTLY: usize = 25;
/// No resource's overload is cheaper than this part of a node's price for a whole node's capacity of it.
const CHEAPEST: f64 = 0.2;
/// Per cent of the time after which an annealing's temperature looks at the clock.
const LATE: usize = 20;
/// Steps between two looks at the clock.
const LOOK: u64 = 4096;

/// A unit of a soft rule, in prices of a node.
const SOFT: f64 = 3.0;

/// What changes places in a step, at most: some workloads, a replica of each.
type Few = [Option<usize>; 2];

/// All replicas on some nodes, with what that overloads.
#[derive(Clone)]
pub(crate) struct Squeeze<'i, 'p> {
    pub(crate) board: Board<'i, 'p>,
    /// Per resource: the price of a unit that is too much.
    prices: Vec<f64>,
    soft: f64,
    typical: f64,
    chance: Chance,
    /// Nodes that may hold anything.
    pub(crate) open: Vec<usize>,
    /// Per node: what its overload is worth.
    over: Vec<f64>,
    /// Nodes with an overload, and where each stands in the list.
    overloaded: Vec<usize>,
    at: Vec<usize>,
    /// Running replicas stay.
    pub(crate) pinned: bool,
    scan: Scan,
}

impl<'i, 'p> Squeeze<'i, 'p> {
    /// What is missing is placed on the `open` nodes at once, as far as rules and the time allow.
    pub(crate) fn new(
        board: Board<'i, 'p>,
        open: Vec<usize>,
        worth: &Worth,
        (pinned, seed): (bool, u64),
        deadline: Deadline,
    ) -> Self {
        let problem = board.instance.problem;
        let nodes = problem.nodes.len();
        let typical = worth.typical();
        let average = |r: usize| problem.nodes.iter().map(|n| n.capacity[r] as f64).sum::<f64>() / nodes.max(1) as f64;
        let least = |r: usize| CHEAPEST * worth.node.max(typical) / average(r).max(1.0);
        let prices = worth.prices.iter().enumerate().map(|(r, price)| price.max(least(r))).collect();
        let mut squeeze = Squeeze {
            board,
            prices,
            soft: SOFT * worth.node / worth.weight,
            typical,
            chance: Chance::new(seed),
            open,
            over: vec![0.0; nodes],
            overloaded: Vec::new(),
            at: vec![usize::MAX; nodes],
            pinned,
            scan: Scan::default(),
        };
        squeeze.scan = Scan::new(&squeeze.board, &squeeze.prices);
        (0..nodes).for_each(|node| squeeze.weigh(node));
        squeeze.place_all(deadline);
        squeeze
    }

    /// Whether nothing is overloaded.
    pub(crate) fn is_done(&self) -> bool {
        self.overloaded.is_empty()
    }

    /// What is too much on all nodes, in worths of a typical replica.
    pub(crate) fn overload(&self) -> f64 {
        self.overloaded.iter().map(|node| self.over[*node]).sum::<f64>() / self.typical.max(f64::MIN_POSITIVE)
    }

    /// Per resource: what is free on all open nodes together, less what is too much on some.
    pub(crate) fn slack(&self) -> Vec<i64> {
        let free = |r: usize| self.open.iter().map(move |node| self.board.free(*node)[r]);
        (0..self.prices.len()).map(|r| free(r).fold(0i64, i64::saturating_add)).collect()
    }

    /// Goes on with other random choices.
    pub(crate) fn reseed(&mut self, seed: u64) {
        self.chance = Chance::new(seed);
    }

    /// What is too much on a node when `with` comes and `without` goes.
    #[inline]
    fn overload_of(&self, node: usize, with: Option<usize>, without: Option<usize>) -> f64 {
        let (free, mut sum) = (self.board.free(node), 0.0);
        for (r, price) in self.prices.iter().enumerate() {
            let more = with.map_or(0, |w| self.board.demand(w)[r]) - without.map_or(0, |w| self.board.demand(w)[r]);
            let lack = more - free[r];
            if lack > 0 {
                sum += lack as f64 * price;
            }
        }
        sum
    }

    /// What is too much on two nodes when one gives some to the other and takes others back.
    #[inline]
    fn overload_after(&self, (from, to): (usize, usize), given: Few, taken: Few) -> f64 {
        let demand = |w: &Option<usize>, r: usize| w.map_or(0, |w| self.board.demand(w)[r]);
        let (left, right, mut sum) = (self.board.free(from), self.board.free(to), 0.0);
        for (r, price) in self.prices.iter().enumerate() {
            let more = demand(&given[0], r) + demand(&given[1], r) - demand(&taken[0], r) - demand(&taken[1], r);
            let lack = (-more - left[r]).max(0) + (more - right[r]).max(0);
            if lack > 0 {
                sum += lack as f64 * price;
            }
        }
        sum
    }

    /// Brings what is known of a node's overload up to date.
    fn weigh(&mut self, node: usize) {
        self.over[node] = self.overload_of(node, None, None);
        let at = self.at[node];
        if self.over[node] > 0.0 && at == usize::MAX {
            self.at[node] = self.overloaded.len();
            self.overloaded.push(node);
        } else if self.over[node] <= 0.0 && at != usize::MAX {
            self.at[node] = usize::MAX;
            self.overloaded.swap_remove(at);
            if let Some(moved) = self.overloaded.get(at) {
                self.at[*moved] = at;
            }
        }
    }

    /// What is missing goes where it overloads least, the largest first; again while that helps, since some may only be where others are.
    fn place_all(&mut self, deadline: Deadline) {
        let worth = |w: &usize| {
            let demand = self.board.demand(*w).iter().zip(&self.prices);
            demand.map(|(d, price)| *d as f64 * price).sum::<f64>()
        };
        let mut short: Vec<(f64, usize)> =
            self.board.short().iter().map(|w| (worth(&(*w as usize)), *w as usize)).collect();
        short.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        let mut progress = true;
        while progress && !deadline.passed() {
            progress = false;
            for (_, workload) in &short {
                while self.board.missing(*workload) > 0 && !deadline.passed() && self.place(*workload, self.board.hard)
                {
                    progress = true;
                }
            }
        }
        self.board.settle();
    }

    /// One more replica on the open node that it overloads least, the first that has room for it if there is one, with hard rules broken by no
    /// more than `hard`; whether there is one.
    fn place(&mut self, workload: usize, hard: i64) -> bool {
        let mut best: Option<(f64, usize)> = None;
        let from = self.chance.below(self.open.len());
        for at in (from..self.open.len()).chain(0..from) {
            let node = self.open[at];
            let more = self.overload_of(node, Some(workload), None) - self.over[node];
            if best.is_some_and(|(least, _)| more >= least) || !self.board.may_go(workload, node) {
                continue;
            }
            let (soft, mark) = (self.board.soft, self.board.mark());
            self.board.change(workload, node, 1);
            let more = more + self.soft * (self.board.soft - soft) as f64;
            let holds = self.board.hard <= hard;
            if holds && more <= 0.0 {
                self.weigh(node);
                return true;
            }
            if holds && best.is_none_or(|(least, _)| more < least) {
                best = Some((more, node));
            }
            self.board.undo_to(mark);
        }
        if let Some((_, node)) = best {
            self.board.change(workload, node, 1);
            self.weigh(node);
        }
        best.is_some()
    }

    /// Closes a node and spreads what is on it; whether rules let everything go.
    pub(crate) fn close(&mut self, node: usize) -> bool {
        let (mark, hard) = (self.board.mark(), self.board.hard);
        self.open.retain(|open| *open != node);
        let held = self.board.on(node).to_vec();
        let mut gone = true;
        for (workload, count) in held {
            for _ in 0..count {
                self.board.change(workload as usize, node, -1);
                self.weigh(node);
                gone = gone && self.place(workload as usize, hard);
            }
        }
        if !gone {
            self.board.undo_to(mark);
            self.open.push(node);
            (0..self.over.len()).for_each(|node| self.weigh(node));
        }
        self.board.settle();
        gone
    }

    /// One annealing of at most so many steps; ends when nothing is overloaded and soft rules are broken by no more than `soft`. Where the time
    /// will not do for all steps it cools faster.
    pub(crate) fn anneal(&mut self, steps: u64, soft: i64, deadline: Deadline) {
        let heat = |done: f64| self.typical * HOT * (COLD / HOT).powf(done);
        let heats: Vec<f64> = (0..=100).map(|percent| heat(f64::from(percent) / 100.0)).collect();
        if self.open.len() < 2 {
            return;
        }
        let (time, mut late) = (deadline.remaining().as_secs_f64(), 0);
        for step in 0..steps {
            if self.overloaded.is_empty() && self.board.soft <= soft {
                break;
            }
            if step % LOOK == 0 {
                let left = deadline.remaining().as_secs_f64();
                let percent = (100.0 * (1.0 - left / time.max(f64::MIN_POSITIVE))) as usize;
                late = if percent > LATE { percent.min(100) } else { 0 };
                if deadline.passed() {
                    break;
                }
            }
            self.step(heats[late.max((step * 100 / steps) as usize)]);
        }
    }

    /// Up to two replicas of one node change places with up to two of another: of all such exchanges between the two, but for what goes along,
    /// the first that may be.
    fn step(&mut self, heat: f64) {
        let bad = !self.overloaded.is_empty() && self.chance.percent(OVERLOADED);
        let from = if bad {
            self.overloaded[self.chance.below(self.overloaded.len())]
        } else {
            self.open[self.chance.below(self.open.len())]
        };
        let to = self.open[self.chance.below(self.open.len())];
        if from == to || self.board.on(from).is_empty() {
            return;
        }
        if self.chance.percent(TRADES) {
            return self.trade((from, to), heat);
        }
        let along = [from, to].map(|node| self.along(node));
        let accept = -heat * self.chance.part().max(1e-12).ln();
        // What soft rules may gain is not known before, and mostly it is nothing.
        let softly = self.board.soft != 0 && self.chance.percent(SOFTLY);
        let gain = if softly { self.soft * self.board.soft as f64 } else { 0.0 };
        let Some((given, taken)) = self.exchange((from, to), along, accept + gain) else { return };
        let change = self.overload_after((from, to), given, taken) - self.over[from] - self.over[to];
        let (gives, takes) = (|| given.iter().flatten(), || taken.iter().flatten());
        let (hard, soft, mark) = (self.board.hard, self.board.soft, self.board.mark());
        gives().for_each(|w| self.board.change(*w, from, -1));
        takes().for_each(|w| self.board.change(*w, to, -1));
        takes().for_each(|w| self.board.change(*w, from, 1));
        gives().for_each(|w| self.board.change(*w, to, 1));
        let change = change + self.soft * (self.board.soft - soft) as f64;
        if self.board.hard > hard || change > accept {
            self.board.undo_to(mark);
            return;
        }
        self.board.settle();
        self.weigh(from);
        self.weigh(to);
    }

    /// One replica of a node for as many of another's as it needs room, any of them: the large change places with many small ones, which two for two
    /// never do.
    fn trade(&mut self, (from, to): (usize, usize), heat: f64) {
        let (workload, count) = self.board.on(from)[self.chance.below(self.board.on(from).len())];
        let workload = workload as usize;
        if self.stays(workload, from, count) || !self.board.may_go(workload, to) {
            return;
        }
        let before = self.over[from] + self.over[to];
        let (hard, soft, mark) = (self.board.hard, self.board.soft, self.board.mark());
        self.board.change(workload, from, -1);
        self.board.change(workload, to, 1);
        for _ in 0..TRADED_MAX {
            let held = self.board.on(to).len();
            if self.overload_of(to, None, None) <= self.over[to] {
                break;
            }
            let (taken, count) = self.board.on(to)[self.chance.below(held)];
            let taken = taken as usize;
            if taken != workload && !self.stays(taken, to, count) && self.board.may_go(taken, from) {
                self.board.change(taken, to, -1);
                self.board.change(taken, from, 1);
            }
        }
        let change = self.overload_of(from, None, None) + self.overload_of(to, None, None) - before;
        let change = change + self.soft * (self.board.soft - soft) as f64;
        if self.board.hard > hard || change > -heat * self.chance.part().max(1e-12).ln() {
            self.board.undo_to(mark);
            return;
        }
        self.board.settle();
        self.weigh(from);
        self.weigh(to);
    }

    /// Now and then, one of a node's replicas that goes along.
    fn along(&mut self, node: usize) -> Option<usize> {
        let here = self.board.on(node).len();
        if here == 0 || !self.chance.percent(TWO) {
            return None;
        }
        let (workload, count) = self.board.on(node)[self.chance.below(here)];
        (!self.stays(workload as usize, node, count)).then_some(workload as usize)
    }

    fn stays(&self, workload: usize, node: usize, count: u32) -> bool {
        self.pinned && self.board.instance.running_count(workload, node) >= count
    }

    /// A replica of `from` for one of `to` or none, with what goes `along`, after which no more than `limit` is too much beyond what is: the
    /// first in an order that begins anywhere.
    fn exchange(&mut self, (from, to): (usize, usize), along: Few, limit: f64) -> Option<(Few, Few)> {
        let (gives, takes) = (self.board.on(from).len(), self.board.on(to).len() + 1);
        let (first, offset) = (self.chance.below(gives), self.chance.below(takes));
        self.scan.look_at(&self.board, (from, to), along);
        let limit = (limit + self.over[from] + self.over[to]) as f32;
        for give in (first..gives).chain(0..first) {
            let (workload, count) = self.board.on(from)[give];
            let workload = workload as usize;
            if along[0] == Some(workload) || self.stays(workload, from, count) {
                continue;
            }
            self.scan.overloads_with(workload);
            for take in (offset..takes).chain(0..offset) {
                if self.scan.overloads[take] <= limit && self.may_take((from, to), (workload, take), along) {
                    let taken = self.board.on(to).get(take).map(|(workload, _)| *workload as usize);
                    return Some(([Some(workload), along[0]], [taken, along[1]]));
                }
            }
        }
        None
    }

    /// Whether these are different workloads that may be where they would go.
    fn may_take(&self, (from, to): (usize, usize), (given, take): (usize, usize), along: Few) -> bool {
        let given = [Some(given), along[0]];
        let taken = self.board.on(to).get(take);
        if let Some((workload, count)) = taken
            && (along[1] == Some(*workload as usize) || self.stays(*workload as usize, to, *count))
        {
            return false;
        }
        let taken = [taken.map(|(workload, _)| *workload as usize), along[1]];
        let may_go = |what: &Few, other: &Few, node: usize| {
            what.iter().flatten().all(|w| !other.contains(&Some(*w)) && self.board.may_go(*w, node))
        };
        may_go(&given, &taken, to) && may_go(&taken, &given, from)
    }

    /// The placement without what is too much, replicas of the lowest priority and the largest first, and with what then finds room.
    pub(crate) fn relieved(&mut self) -> Vec<Placed> {
        let mark = self.board.mark();
        while let Some(node) = self.overloaded.first().copied() {
            let workloads = &self.board.instance.problem.workloads;
            let held: Vec<usize> = self.board.on(node).iter().map(|(workload, _)| *workload as usize).collect();
            let relief = |w: usize| self.over[node] - self.overload_of(node, None, Some(w));
            let helps = held.into_iter().filter(|w| relief(*w) > 0.0);
            let least = helps.min_by(|a, b| {
                workloads[*a]
                    .priority
                    .cmp(&workloads[*b].priority)
                    .then(relief(*b).total_cmp(&relief(*a)))
                    .then(a.cmp(b))
            });
            let Some(workload) = least else { break };
            self.board.change(workload, node, -1);
            self.weigh(node);
        }
        self.give_way();
        let (instance, placed) = (self.board.instance, self.board.placed());
        self.board.undo_to(mark);
        (0..self.over.len()).for_each(|node| self.weigh(node));
        Greedy::new(instance, Fit::Tightest).extend(&prune(instance, &placed))
    }

    /// What is out takes the place of replicas of lower priority, the highest first.
    fn give_way(&mut self) {
        let workloads = &self.board.instance.problem.workloads;
        let lowest = workloads.iter().map(|w| w.priority).min();
        let mut out: Vec<usize> = self.board.short().iter().map(|w| *w as usize).collect();
        out.retain(|w| Some(workloads[*w].priority) > lowest);
        out.sort_by_key(|w| (std::cmp::Reverse(workloads[*w].priority), *w));
        for workload in out {
            while self.board.missing(workload) > 0 && self.displace(workload) {}
        }
    }

    /// One more replica where one of the lowest priority makes room for it; whether there is such a place.
    fn displace(&mut self, workload: usize) -> bool {
        let workloads = &self.board.instance.problem.workloads;
        let mut best: Option<(i32, usize, usize)> = None;
        for at in 0..self.open.len() {
            let node = self.open[at];
            if !self.board.may_go(workload, node) {
                continue;
            }
            for at in 0..self.board.on(node).len() {
                let lower = self.board.on(node)[at].0 as usize;
                let least = best.map_or(workloads[workload].priority, |(priority, ..)| priority);
                if workloads[lower].priority < least && self.overload_of(node, Some(workload), Some(lower)) <= 0.0 {
                    let (hard, mark) = (self.board.hard, self.board.mark());
                    self.board.change(lower, node, -1);
                    self.board.change(workload, node, 1);
                    if self.board.hard <= hard {
                        best = Some((workloads[lower].priority, node, lower));
                    }
                    self.board.undo_to(mark);
                }
            }
        }
        if let Some((_, node, lower)) = best {
            self.board.change(lower, node, -1);
            self.board.change(workload, node, 1);
        }
        best.is_some()
    }
}

#[cfg(test)]
#[path = "squeeze_tests.rs"]
mod tests;
