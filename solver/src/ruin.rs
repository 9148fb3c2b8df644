//! Ruin and recreate (Schrimpf et al. 2000): take what lies on a few nodes away, put it back in another way, keep the result when it is no
//! worse, or at random when it is a little worse (simulated annealing).
//!
//! A step touches two or three nodes on a [`Board`], so its price does not depend on the size of the cluster. What finds no room
//! waits aside, at somewhat more than its worth in resources; every now and then what waits is put wherever it costs least, and the
//! result offered. Rounds grow in length and each starts from the best placement; steps are counted, not timed, so that equal problems
//! give equal answers unless the deadline shortens a round.

use crate::board::Board;
use crate::chance::{Chance, SEED};
use crate::deadline::Deadline;
use crate::instance::Instance;
use crate::prices::Worth;
use crate::prune::prune;
use crate::solve::Search;
use crate::{Placed, Tier};
use std::cmp::Reverse;

/// What a replica that waits weighs, in its worth in resources, when cost is minimised.
const WAITING: f64 = 1.5;
/// The temperature at the start and at the end of a round, in worths of a typical replica.
const HOT: f64 = 0.25;
const COLD: f64 = 0.01;
/// How much a node gains from leaving all its room in one piece.
const GATHER: f64 = 0.3;
/// A round is late when so much more of the time than of its steps is gone.
const LATE_MIN: f64 = 0.05;
/// Replicas that one step takes away entirely; of more only some.
const TAKEN_MAX: u32 = 90;
/// What waits is placed for a trial when the energy has fallen by this part since the last time.
const TRY_MIN: f64 = 5e-4;
/// Rounds without any gain before the search gives up.
const PATIENCE: u32 = 4;
/// Steps of the first round, for each node.
const STEPS_PER_NODE: u64 = 100;
/// Rounds do not grow beyond the first one's length times this.
const GROWTH_MAX: u64 = 64;

/// What a search is after.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Aim {
    /// Place what is missing; nodes are free.
    Shortage,
    /// Everything is placed and stays so: rules, then cost.
    Cost,
}

impl Search<'_, '_> {
    /// Rounds of ruin and recreate until nothing has helped for a while or the time is out. Does nothing for problems without a board.
    pub(crate) fn ruin_and_recreate(&mut self, deadline: Deadline) {
        let (worth, mut chance) = (Worth::new(self.instance.problem, deadline), Chance::new(SEED));
        let first = STEPS_PER_NODE * (self.instance.problem.nodes.len() as u64 + 8);
        let (mut steps, mut fruitless) = (first, 0);
        while fruitless < PATIENCE && !deadline.passed() {
            let short = self.is_open(|tier| matches!(tier, Tier::Shortage(_)));
            let aim = if short && fruitless % 2 == 0 { Aim::Shortage } else { Aim::Cost };
            if !self.is_open(|tier| tier != Tier::Shape) {
                return;
            }
            let Some(mut ruin) = Ruin::new(self, &self.best, aim, &worth, chance.roll()) else { return };
            ruin.round(steps, deadline);
            self.stats.method = "ruin and recreate with class bounds".to_owned();
            let found = ruin.found.take();
            let better = found.is_some_and(|placed| self.offer(prune_groups(self.instance, placed)));
            fruitless = if better { 0 } else { fruitless + 1 };
            steps = (steps * 2).min(first * GROWTH_MAX);
        }
        self.stats.timed_out |= deadline.passed();
    }
}

/// A search on a board.
struct Ruin<'i, 'p> {
    board: Board<'i, 'p>,
    aim: Aim,
    chance: Chance,
    prices: Vec<f64>,
    /// Per workload: what a replica is worth in resources.
    worth: Vec<f64>,
    hard_weight: f64,
    soft_weight: f64,
    disruption_weight: f64,
    cost_weight: f64,
    typical: f64,
    /// Running replicas stay where they are.
    pinned: bool,
    tiers: Vec<(Tier, u64)>,
    /// What the best so far is worth, in the board's terms.
    best: Vec<i128>,
    found: Option<Vec<Placed>>,
    /// The least energy from which it was tried to place what waits.
    tried: f64,
    touched: Vec<usize>,
    gathered: f64,
    pool: Vec<usize>,
    zone: Option<usize>,
}

impl<'i, 'p> Ruin<'i, 'p> {
    fn new(search: &Search<'i, 'p>, start: &[Placed], aim: Aim, known: &Worth, seed: u64) -> Option<Ruin<'i, 'p>> {
        let problem = search.instance.problem;
        let mean = known.node.max(1e4);
        let worth = &known.of;
        let mut priorities: Vec<i32> = problem.workloads.iter().map(|w| w.priority).collect();
        priorities.sort_unstable();
        priorities.dedup();
        let dear = aim == Aim::Shortage || search.is_short();
        let waiting = |w: usize| {
            let level = priorities.binary_search(&problem.workloads[w].priority).unwrap_or(0).min(8) as i32;
            // As long as anything is short, nothing may wait for the sake of cost.
            let weight = if dear { 20.0 * mean * 3f64.powi(level) + worth[w] } else { WAITING * worth[w] };
            let most = 1e15 / f64::from(problem.workloads[w].wanted.max(1)) / problem.workloads.len() as f64;
            weight.min(most).max(1.0) as i64
        };
        let board = Board::new(search.instance, start, (0..worth.len()).map(waiting).collect())?;
        let price_of_move = problem.objective.move_price_micros;
        let zones = (0..problem.topologies.len()).filter(|t| problem.topologies[*t].domains.len() > 1);
        let mut ruin = Ruin {
            board,
            aim,
            chance: Chance::new(seed),
            prices: known.prices.clone(),
            typical: known.typical(),
            worth: worth.clone(),
            hard_weight: 30.0 * mean,
            soft_weight: 3.0 * mean / known.weight,
            disruption_weight: price_of_move.map_or(0.3 * mean, |price| price as f64),
            cost_weight: if aim == Aim::Cost { 1.0 } else { 0.0 },
            pinned: aim == Aim::Cost && price_of_move.is_none() && !problem.current.is_empty(),
            tiers: search.worth.clone(),
            best: Vec::new(),
            found: None,
            tried: f64::INFINITY,
            touched: Vec::new(),
            gathered: 0.0,
            pool: Vec::new(),
            zone: zones.min_by_key(|t| problem.topologies[*t].domains.len()),
        };
        ruin.best = ruin.value();
        if ruin.board.lacking == 0 {
            ruin.tried = ruin.energy();
        }
        Some(ruin)
    }

    /// The tiers a board knows, most important first.
    fn value(&self) -> Vec<i128> {
        let board = &self.board;
        let mut value: Vec<i128> = board.shortage(&self.tiers).into_iter().map(i128::from).collect();
        value.extend([i128::from(board.hard), i128::from(board.soft)]);
        match board.instance.problem.objective.move_price_micros {
            Some(price) => value.push(i128::from(price) * i128::from(board.disruption) + i128::from(board.cost)),
            None => value.extend([i128::from(board.disruption), i128::from(board.cost)]),
        }
        value.push(board.filled().len() as i128);
        value
    }

    /// One annealing. A round that the deadline is going to cut short cools as fast as the time passes.
    fn round(&mut self, steps: u64, deadline: Deadline) {
        let look = (self.board.instance.problem.nodes.len() as u64 / 8).clamp(8, 512);
        let time = deadline.remaining().as_secs_f64();
        let mut late = 0.0;
        for step in 0..steps {
            let done = step as f64 / steps as f64;
            if step % 32 == 0 {
                let left = deadline.remaining().as_secs_f64();
                if left <= 0.0 {
                    break;
                }
                let passed = 1.0 - left / time;
                late = if passed > done + LATE_MIN { passed } else { 0.0 };
            }
            let heat = HOT * (COLD / HOT).powf(f64::max(done, late));
            self.step(heat * self.typical);
            if step % look == 0 {
                self.look();
            }
        }
        self.look();
        if self.aim == Aim::Cost {
            self.finish();
        }
    }

    /// Keeps what the board holds if it is the best so far; when something waits, tries to place it first.
    fn look(&mut self) {
        if self.aim == Aim::Cost && self.board.lacking > 0 {
            let promise = self.energy();
            if promise < self.tried * (1.0 - TRY_MIN) {
                self.tried = promise;
                self.finish();
            }
        } else {
            self.keep();
        }
    }

    fn keep(&mut self) {
        let value = self.value();
        if value < self.best {
            self.best = value;
            self.found = Some(self.board.placed());
        }
    }

    /// Puts what waits where it fits best, on empty nodes if it must, keeps the result if it is the best, and takes it back.
    fn finish(&mut self) {
        self.board.settle();
        let mut waiting: Vec<usize> = self.board.short().iter().map(|w| *w as usize).collect();
        waiting.sort_by(|a, b| self.worth[*b].total_cmp(&self.worth[*a]).then(a.cmp(b)));
        for workload in waiting {
            while self.board.missing(workload) > 0 {
                let instance = self.board.instance;
                let nodes = instance.allowed[workload].iter();
                let mut best: Option<(f64, usize)> = None;
                for node in nodes.copied() {
                    if best.is_some() && self.board.on(node).is_empty() && self.chance.percent(90) {
                        continue;
                    }
                    if let Some(score) = self.score(workload, node)
                        && best.is_none_or(|(least, _)| score < least)
                    {
                        best = Some((score, node));
                    }
                }
                let Some((_, node)) = best else { break };
                self.board.change(workload, node, 1);
            }
        }
        self.keep();
        self.board.undo();
    }

    fn penalties(&self) -> f64 {
        let board = &self.board;
        self.hard_weight * board.hard as f64
            + self.soft_weight * board.soft as f64
            + self.disruption_weight * board.disruption as f64
    }

    fn energy(&self) -> f64 {
        self.penalties() + self.board.lacking as f64 + self.cost_weight * self.board.cost as f64
    }

    /// The waste of a node, in the worth of its free resources, squared: more for room in one piece.
    fn gathers(&self, node: usize) -> f64 {
        if self.board.on(node).is_empty() && self.aim == Aim::Cost {
            return 0.0;
        }
        let idle: f64 = self.board.free(node).iter().zip(&self.prices).map(|(free, price)| *free as f64 * price).sum();
        let price = (self.board.instance.problem.nodes[node].price_micros as f64).max(self.typical);
        GATHER * idle * idle / price
    }

    fn touch(&mut self, node: usize) {
        if !self.touched.contains(&node) {
            self.touched.push(node);
            self.gathered += self.gathers(node);
        }
    }

    /// One ruin, one recreation, kept or taken back.
    fn step(&mut self, heat: f64) {
        self.board.settle();
        self.touched.clear();
        self.gathered = 0.0;
        let before = self.energy();
        let mut targets = self.targets();
        if targets.is_empty() {
            return;
        }
        self.ruin(&targets);
        self.fill_pool();
        if self.chance.percent(50) {
            for at in (1..targets.len()).rev() {
                targets.swap(at, self.chance.below(at + 1));
            }
            targets.sort_by_key(|node| self.board.on(*node).is_empty());
            targets.iter().for_each(|node| self.fill_node(*node));
        } else {
            self.spread_pool(&targets);
        }
        self.scatter();
        let after = self.energy();
        let gathered: f64 = self.touched.iter().map(|node| self.gathers(*node)).sum();
        let change = after - before - (gathered - self.gathered);
        if change > 0.0 && change >= -heat * self.chance.part().max(1e-12).ln() {
            self.board.undo();
        }
    }

    /// The nodes of a step: one with a reason, others near it, now and then an empty one.
    fn targets(&mut self) -> Vec<usize> {
        let instance = self.board.instance;
        let mut targets = Vec::with_capacity(4);
        let short = self.board.short().len();
        let seed = if short > 0 && self.chance.percent(40) {
            let workload = self.chance.of(self.board.short()).unwrap_or(0);
            let allowed = &instance.allowed[workload];
            (!allowed.is_empty()).then(|| allowed[self.chance.below(allowed.len())])
        } else if self.board.soft > 0 && self.chance.percent(25) {
            let from = self.chance.below(instance.problem.constraints.len());
            let workload = self.board.softly_broken(from);
            workload.and_then(|workload| {
                let allowed = &instance.allowed[workload];
                let draws: Vec<usize> = (0..12).map(|_| self.chance.below(allowed.len().max(1))).collect();
                let nodes = draws.into_iter().filter_map(|at| allowed.get(at).copied());
                nodes.max_by_key(|node| self.board.count(workload, *node))
            })
        } else {
            self.chance.of(self.board.filled())
        };
        let Some(seed) = seed.filter(|node| !instance.broken_nodes[*node]) else { return targets };
        targets.push(seed);
        let zone_of = |node: usize| self.zone.and_then(|zone| instance.problem.nodes[node].domains[zone]);
        let same_zone = self.chance.percent(60);
        let others = 1 + usize::from(self.chance.percent(60)) + usize::from(self.chance.percent(20));
        for _ in 0..others {
            for _ in 0..4 {
                let Some(node) = self.chance.of(self.board.filled()) else { break };
                let fits = !same_zone || zone_of(node) == zone_of(seed);
                if fits && !targets.contains(&node) && !instance.broken_nodes[node] {
                    targets.push(node);
                    break;
                }
            }
        }
        if self.chance.percent(if self.aim == Aim::Cost { 30 } else { 50 })
            && let Some(node) = self.chance.of(self.board.empty())
            && !targets.contains(&node)
        {
            targets.push(node);
        }
        targets
    }

    fn ruin(&mut self, targets: &[usize]) {
        let instance = self.board.instance;
        let held: u32 = targets.iter().flat_map(|node| self.board.on(*node)).map(|(_, count)| count).sum();
        let part = (100 * TAKEN_MAX / held.max(1)).min(100) as usize;
        for (at, node) in targets.iter().enumerate() {
            self.touch(*node);
            let whole = at == 0 || self.chance.percent(70);
            let percent = if whole { part } else { part.min(50) };
            for (workload, count) in self.board.on(*node).to_vec() {
                let workload = workload as usize;
                let stay = if self.pinned { instance.running_count(workload, *node).min(count) } else { 0 };
                let taken = count - stay;
                if taken > 0 && self.chance.percent(percent) {
                    self.board.change(workload, *node, -(taken as i32));
                }
            }
        }
    }

    /// The workloads to place, the largest first, with some noise.
    fn fill_pool(&mut self) {
        let noise = if self.chance.percent(50) { 0.0 } else { 0.6 };
        let mut keyed: Vec<(Reverse<u64>, usize)> = Vec::with_capacity(self.board.short().len());
        for at in 0..self.board.short().len() {
            let workload = self.board.short()[at] as usize;
            let factor = 1.0 + noise * (self.chance.part() - 0.5);
            keyed.push((Reverse((self.worth[workload] * factor) as u64), workload));
        }
        keyed.sort_unstable();
        self.pool.clear();
        self.pool.extend(keyed.into_iter().take(64).map(|(_, workload)| workload));
    }

    /// How badly one more fits on a node: smaller is better; nothing when it may not be there. What is left over, squared
    /// per resource (Panigrahy et al. 2011), so that nodes fill up in all of them together.
    fn score(&mut self, workload: usize, node: usize) -> Option<f64> {
        let soft = self.board.may_add(workload, node)?;
        let left = self.board.free(node).iter().zip(self.board.demand(workload)).zip(&self.prices);
        let left: f64 = left.map(|((free, demand), price)| ((free - demand) as f64 * price).powi(2)).sum();
        let open = if self.board.on(node).is_empty() && self.aim == Aim::Cost {
            self.board.instance.problem.nodes[node].price_micros as f64
        } else {
            0.0
        };
        Some(left.sqrt() + open + soft as f64 * self.soft_weight)
    }

    /// Fills one node from the pool, each time with what leaves least; takes it back when it was not worth opening.
    fn fill_node(&mut self, node: usize) {
        let (mark, before) = (self.board.mark(), self.energy());
        let was_empty = self.board.on(node).is_empty();
        let noise = if self.chance.percent(50) { 0.0 } else { 0.15 };
        loop {
            let mut best: Option<(f64, usize)> = None;
            for at in 0..self.pool.len() {
                let workload = self.pool[at];
                if self.board.missing(workload) == 0 {
                    continue;
                }
                if let Some(score) = self.score(workload, node) {
                    let score = score * (1.0 + noise * self.chance.part());
                    if best.is_none_or(|(least, _)| score < least) {
                        best = Some((score, workload));
                    }
                }
            }
            let Some((_, workload)) = best else { break };
            self.board.change(workload, node, 1);
        }
        if was_empty && self.aim == Aim::Cost && self.energy() > before {
            self.board.undo_to(mark);
        }
    }

    /// Places the pool workload after workload, each replica on the target where it fits best.
    fn spread_pool(&mut self, targets: &[usize]) {
        for at in 0..self.pool.len() {
            let workload = self.pool[at];
            while self.board.missing(workload) > 0 {
                let mut best: Option<(f64, usize)> = None;
                for node in targets {
                    if self.chance.percent(5) {
                        continue;
                    }
                    if let Some(score) = self.score(workload, *node)
                        && best.is_none_or(|(least, _)| score < least)
                    {
                        best = Some((score, *node));
                    }
                }
                let Some((_, node)) = best else { break };
                self.board.change(workload, node, 1);
            }
        }
    }

    /// Tries what is still in the pool on a few other nodes in use.
    fn scatter(&mut self) {
        for at in 0..self.pool.len() {
            let workload = self.pool[at];
            for _ in 0..4 {
                if self.board.missing(workload) == 0 {
                    break;
                }
                let Some(node) = self.chance.of(self.board.filled()) else { return };
                if !self.board.instance.broken_nodes[node] && self.board.may_add(workload, node).is_some_and(|s| s <= 0)
                {
                    self.touch(node);
                    self.board.change(workload, node, 1);
                }
            }
        }
    }
}

/// Groups that are all or nothing, made so.
fn prune_groups(instance: &Instance, placed: Vec<Placed>) -> Vec<Placed> {
    let grouped = |c: &crate::Constraint| matches!(c.rule, crate::Rule::AllOrNothing { .. });
    if instance.problem.constraints.iter().any(grouped) { prune(instance, &placed) } else { placed }
}
