//! An assignment under change: use, counts and cost are kept up to date, and a step is judged in a time that depends on the number of
//! dimensions only (and on the rules of the processes that it moves).

use super::dense::{Dense, NONE, Row};
use super::excess::charge;
use super::part::{Change, Part};

/// A complete assignment that keeps every hard condition, save that machines may lack room while that has a price. Only [`State::apply`]
/// changes it.
#[derive(Debug, Clone)]
pub(super) struct State<'a, const D: usize> {
    pub(super) dense: &'a Dense<D>,
    /// The machine of each process.
    pub(super) at: Vec<u32>,
    over: Vec<Row<D>>,
    room: Vec<Row<D>>,
    /// What the use of each machine costs.
    pub(super) use_cost: Vec<f64>,
    counts: Vec<u32>,
    /// Per counter, its domains that are not empty.
    distinct: Vec<u32>,
    /// Per group of the rule about the most moved one, how many are moved.
    moved: Vec<u32>,
    /// How many groups have so many moved.
    groups_with: Vec<u32>,
    most_moved: usize,
    /// The whole cost, without what is paid for excess.
    pub(super) cost: f64,
    /// Price of a unit of room below zero; `None`: there must be none.
    excess_price: Option<Row<D>>,
    /// What the excess of each machine costs.
    excess_cost: Vec<f64>,
}

/// Σ price · max(0, over + sign · need).
#[inline]
fn cost_with<const D: usize>(price: &Row<D>, over: &Row<D>, sign: f64, need: &Row<D>) -> f64 {
    let charge = |d: usize| {
        let x = over[d] + sign * need[d];
        price[d] * if x > 0.0 { x } else { 0.0 }
    };
    let mut sums = [0.0; 2];
    for pair in 0..D / 2 {
        sums[0] += charge(2 * pair);
        sums[1] += charge(2 * pair + 1);
    }
    sums[0] + sums[1]
}

impl<'a, const D: usize> State<'a, D> {
    /// Any assignment; it must keep the hard conditions for what follows to do so.
    pub(super) fn new(dense: &'a Dense<D>, at: &[u32]) -> State<'a, D> {
        let mut state = State {
            dense,
            at: at.to_vec(),
            over: dense.over_empty.clone(),
            room: dense.room_empty.clone(),
            use_cost: vec![0.0; dense.machines],
            counts: vec![0; dense.counts],
            distinct: vec![0; dense.counters.len()],
            moved: vec![0; dense.most_groups],
            groups_with: vec![0; dense.processes + 1],
            most_moved: 0,
            cost: 0.0,
            excess_price: None,
            excess_cost: vec![0.0; dense.machines],
        };
        for (process, machine) in at.iter().enumerate() {
            state.enter(process, *machine as usize);
            let home = dense.home[process];
            if home == *machine {
                continue;
            }
            state.cost += dense.moving(process, *machine as usize);
            for d in 0..D {
                state.room[home as usize][d] -= dense.need[process][d] * (1.0 - dense.gives_back[d]);
            }
            if dense.most_group[process] != NONE {
                state.moved[dense.most_group[process] as usize] += 1;
            }
        }
        state.moved.iter().for_each(|moved| state.groups_with[*moved as usize] += 1);
        state.most_moved = state.moved.iter().copied().max().unwrap_or(0) as usize;
        state.cost += dense.most_price * state.most_moved as f64;
        for machine in 0..dense.machines {
            state.use_cost[machine] = cost_with(&dense.price, &state.over[machine], 0.0, &[0.0; D]);
            state.cost += state.use_cost[machine];
        }
        state
    }

    fn enter(&mut self, process: usize, machine: usize) {
        for d in 0..D {
            self.over[machine][d] += self.dense.need[process][d];
            self.room[machine][d] -= self.dense.need[process][d];
        }
        for &c in self.dense.counters_of(process) {
            let counter = &self.dense.counters[c as usize];
            let domain = self.dense.domain[counter.topology][machine];
            if domain != NONE {
                let count = &mut self.counts[counter.base + domain as usize];
                *count += 1;
                self.distinct[c as usize] += u32::from(*count == 1);
            }
        }
    }

    /// What entering (or leaving) `machine` takes from (or gives to) its room, as a share of the need: nothing of a transient resource at
    /// home, where it is held all the same.
    #[inline]
    fn share(&self, process: usize, machine: usize) -> &Row<D> {
        if self.dense.home[process] as usize == machine { &self.dense.gives_back } else { &[1.0; D] }
    }

    /// From now on room may be lacking, at these prices; `None`: it may not, and is not.
    pub(super) fn price_excess(&mut self, prices: Option<Row<D>>) {
        self.excess_price = prices;
        for (cost, room) in self.excess_cost.iter_mut().zip(&self.room) {
            *cost = prices.map_or(0.0, |prices| charge(&prices, room, &[0.0; D]));
        }
    }

    /// Per dimension, the machines that lack room.
    pub(super) fn lacking(&self) -> [usize; D] {
        std::array::from_fn(|d| self.room.iter().filter(|room| room[d] < 0.0).count())
    }

    /// What excess would cost more if `machine` got `more` room: infinite where there would be excess that must not be.
    #[inline]
    fn excess_delta(&self, machine: usize, more: &Row<D>) -> f64 {
        let room = &self.room[machine];
        match &self.excess_price {
            Some(prices) => charge(prices, room, more) - self.excess_cost[machine],
            None if (0..D).fold(true, |fits, d| fits & (room[d] + more[d] >= 0.0)) => 0.0,
            None => f64::INFINITY,
        }
    }

    /// Change of what excess costs when `process` goes to `machine`; infinite when it does not fit and must.
    #[inline]
    pub(super) fn shift_excess(&self, process: usize, machine: usize) -> f64 {
        let (need, from) = (&self.dense.need[process], self.at[process] as usize);
        let taken = self.share(process, machine);
        let entered = self.excess_delta(machine, &std::array::from_fn(|d| -need[d] * taken[d]));
        if self.excess_cost[from] == 0.0 {
            return entered;
        }
        let given = self.share(process, from);
        entered + self.excess_delta(from, &std::array::from_fn(|d| need[d] * given[d]))
    }

    /// Change of what excess costs when two processes change places; infinite when they do not fit and must.
    #[inline]
    pub(super) fn swap_excess(&self, a: usize, b: usize) -> f64 {
        self.instead_excess(a, b, self.at[b] as usize) + self.instead_excess(b, a, self.at[a] as usize)
    }

    #[inline]
    fn instead_excess(&self, enters: usize, leaves: usize, machine: usize) -> f64 {
        let (need, share) = (&self.dense.need[enters], self.share(enters, machine));
        let (freed, freed_share) = (&self.dense.need[leaves], self.share(leaves, machine));
        self.excess_delta(machine, &std::array::from_fn(|d| freed[d] * freed_share[d] - need[d] * share[d]))
    }

    /// The most that a step could save of what excess costs on these machines.
    #[inline]
    pub(super) fn relief(&self, a: usize, b: usize) -> f64 {
        self.excess_cost[a] + self.excess_cost[b]
    }

    /// Change of cost when `process` goes to `machine`, save for the rule about the most moved group.
    #[inline]
    pub(super) fn shift_delta(&self, process: usize, machine: usize) -> f64 {
        let (dense, from) = (self.dense, self.at[process] as usize);
        let need = &dense.need[process];
        let left = cost_with(&dense.price, &self.over[from], -1.0, need) - self.use_cost[from];
        let entered = cost_with(&dense.price, &self.over[machine], 1.0, need) - self.use_cost[machine];
        left + entered + dense.moving(process, machine) - dense.moving(process, from)
    }

    /// Change of cost when two processes on different machines change places, save for the rule about the most moved group.
    #[inline]
    pub(super) fn swap_delta(&self, a: usize, b: usize) -> f64 {
        let (dense, at_a, at_b) = (self.dense, self.at[a] as usize, self.at[b] as usize);
        let more: Row<D> = std::array::from_fn(|d| dense.need[b][d] - dense.need[a][d]);
        let of_a = cost_with(&dense.price, &self.over[at_a], 1.0, &more) - self.use_cost[at_a];
        let of_b = cost_with(&dense.price, &self.over[at_b], -1.0, &more) - self.use_cost[at_b];
        let moves = dense.moving(a, at_b) - dense.moving(a, at_a) + dense.moving(b, at_a) - dense.moving(b, at_b);
        of_a + of_b + moves
    }

    /// Whether the rules about counts still hold when `process` goes to `machine`, both of `part`.
    pub(super) fn rules_allow(&self, process: usize, machine: usize, part: &Part) -> bool {
        let dense = self.dense;
        if !dense.may_enter(process, machine) {
            return false;
        }
        let mine = dense.counters_of(process);
        mine.iter().all(|&c| {
            let counter = &dense.counters[c as usize];
            let domains = &dense.domain[counter.topology];
            let (from, to) = (domains[self.at[process] as usize] as usize, domains[machine] as usize);
            if from == to {
                return true;
            }
            let (here, there) = (self.counts[counter.base + from], self.counts[counter.base + to]);
            let change = Change { left: counter.base + from, left_count: here, entered_count: there };
            let last = here == 1;
            let distinct = self.distinct[c as usize] + u32::from(there == 0) - u32::from(last);
            let is_served = |b: &u32| self.counts[dense.counters[*b as usize].base + to] > 0 || mine.contains(b);
            let leaves_none =
                |a: &u32| self.counts[dense.counters[*a as usize].base + from] == u32::from(mine.contains(a));
            there < counter.limit
                && part.may_change(c as usize, &change)
                && distinct >= counter.least
                && counter.needs.iter().all(is_served)
                && (!last || counter.needed_by.iter().all(leaves_none))
        })
    }

    /// Moves `process` to `machine`. The caller has asked whether that may be, or does so before the state is used.
    pub(super) fn apply(&mut self, process: usize, machine: usize) {
        let dense = self.dense;
        let from = self.at[process] as usize;
        let need = &dense.need[process];
        let (given, taken) = (*self.share(process, from), *self.share(process, machine));
        for d in 0..D {
            self.over[from][d] -= need[d];
            self.room[from][d] += need[d] * given[d];
            self.over[machine][d] += need[d];
            self.room[machine][d] -= need[d] * taken[d];
        }
        for changed in [from, machine] {
            let cost = cost_with(&dense.price, &self.over[changed], 0.0, &[0.0; D]);
            self.cost += cost - self.use_cost[changed];
            self.use_cost[changed] = cost;
            if let Some(prices) = &self.excess_price {
                self.excess_cost[changed] = charge(prices, &self.room[changed], &[0.0; D]);
            }
        }
        self.cost += dense.moving(process, machine) - dense.moving(process, from);
        for &c in dense.counters_of(process) {
            let counter = &dense.counters[c as usize];
            let domains = &dense.domain[counter.topology];
            let left = &mut self.counts[counter.base + domains[from] as usize];
            *left -= 1;
            self.distinct[c as usize] -= u32::from(*left == 0);
            let entered = &mut self.counts[counter.base + domains[machine] as usize];
            *entered += 1;
            self.distinct[c as usize] += u32::from(*entered == 1);
        }
        let home = dense.home[process] as usize;
        if (from == home) != (machine == home) && dense.most_group[process] != NONE {
            self.count_moved(dense.most_group[process] as usize, from == home);
        }
        self.at[process] = machine as u32;
    }

    fn count_moved(&mut self, group: usize, one_more: bool) {
        let before = self.moved[group] as usize;
        let after = if one_more { before + 1 } else { before - 1 };
        self.moved[group] = after as u32;
        self.groups_with[before] -= 1;
        self.groups_with[after] += 1;
        let most_before = self.most_moved;
        let was_the_last_with_most = before == self.most_moved && self.groups_with[before] == 0;
        if after > self.most_moved || was_the_last_with_most {
            self.most_moved = after;
        }
        self.cost += self.dense.most_price * (self.most_moved as f64 - most_before as f64);
    }

    /// Whether everything equals what a fresh computation gives: exactly, save for sums of fractional prices.
    pub(super) fn is_consistent(&self) -> bool {
        let fresh = State::new(self.dense, &self.at);
        let near = |a: f64, b: f64| (a - b).abs() <= 1e-9 * (1.0 + a.abs().max(b.abs()));
        self.over == fresh.over
            && self.room == fresh.room
            && self.counts == fresh.counts
            && self.distinct == fresh.distinct
            && self.moved == fresh.moved
            && self.groups_with == fresh.groups_with
            && self.most_moved == fresh.most_moved
            && near(self.cost, fresh.cost)
            && (self.excess_price.is_some() || self.lacking() == [0; D])
    }
}
