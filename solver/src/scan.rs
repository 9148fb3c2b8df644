//! What is too much on two nodes after each of the exchanges between them, one replica of the first for each of the second's or for none: a row of
//! them at once, in single precision, which is good for choosing only.

use crate::board::Board;

/// What is looked at, resource by resource, so that one instruction serves several exchanges.
#[derive(Clone, Default)]
pub(crate) struct Scan {
    resources: usize,
    prices: Vec<f32>,
    /// Per workload and resource.
    demand: Vec<f32>,
    /// Per resource: the price, what the second node gets in any case beyond what it has free, and what the first does.
    base: Vec<(f32, f32, f32)>,
    /// Per resource, what each replica of the second node takes, and zero for none.
    takes: Vec<f32>,
    width: usize,
    /// What is too much on both after each exchange, as many as the second node has replicas, and one for none.
    pub(crate) overloads: Vec<f32>,
}

impl Scan {
    pub(crate) fn new(board: &Board, prices: &[f64]) -> Scan {
        let workloads = 0..board.instance.problem.workloads.len();
        let demand = workloads.flat_map(|workload| board.demand(workload)).map(|amount| *amount as f32).collect();
        let prices = prices.iter().map(|price| *price as f32).collect();
        Scan { resources: board.instance.problem.resources.len(), prices, demand, ..Scan::default() }
    }

    fn demand(&self, workload: usize) -> &[f32] {
        &self.demand[workload * self.resources..][..self.resources]
    }

    /// Turns to two nodes, between which these go in any case: one to the second, one to the first.
    pub(crate) fn look_at(&mut self, board: &Board, (first, second): (usize, usize), along: [Option<usize>; 2]) {
        self.width = board.on(second).len() + 1;
        self.takes.clear();
        self.takes.resize(self.width * self.resources, 0.0);
        for (at, (workload, _)) in board.on(second).iter().enumerate() {
            let demand = &self.demand[*workload as usize * self.resources..][..self.resources];
            for (resource, amount) in demand.iter().enumerate() {
                self.takes[resource * self.width + at] = *amount;
            }
        }
        let (left, right) = (board.free(first), board.free(second));
        self.base.clear();
        for resource in 0..self.resources {
            let goes = |side: usize| along[side].map_or(0.0, |workload| self.demand(workload)[resource]);
            let more = goes(0) - goes(1);
            let base = (self.prices[resource], more - right[resource] as f32, -more - left[resource] as f32);
            self.base.push(base);
        }
        self.overloads.resize(self.width, 0.0);
    }

    /// Fills [`Scan::overloads`] for a replica that the first node gives.
    pub(crate) fn overloads_with(&mut self, given: usize) {
        let demand = &self.demand[given * self.resources..][..self.resources];
        self.overloads.fill(0.0);
        for ((given, (price, right, left)), takes) in
            demand.iter().zip(&self.base).zip(self.takes.chunks_exact(self.width))
        {
            let (right, left) = (right + given, left - given);
            for (overload, taken) in self.overloads.iter_mut().zip(takes) {
                *overload += price * (at_least_zero(right - taken) + at_least_zero(left + taken));
            }
        }
    }
}

/// Without a care for what is no number, so that it is one instruction.
#[inline]
fn at_least_zero(number: f32) -> f32 {
    if number > 0.0 { number } else { 0.0 }
}
