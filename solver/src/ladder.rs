//! Which nodes to do without: down from what a guide needs and a little more, by a part of the way at a time, then move by move. Feeds
//! [`crate::fewer_nodes`].

use crate::classes::classes;
use crate::guided::Guide;
use crate::instance::Instance;
use crate::prices::Worth;
use crate::squeeze::Squeeze;
use std::collections::BTreeMap;

/// More of every class that a guide uses is open at first.
const MORE_OF_EACH: f64 = 0.01;

/// Which nodes to close: per class, how many a guide needs.
pub(crate) struct Ladder {
    class_of: Vec<usize>,
    classes: Vec<Vec<usize>>,
    least: Vec<usize>,
    /// Per class: how many nodes the guide fills, in fractions.
    filled: Vec<f64>,
    /// Per class: what a node costs, and what its resources are worth.
    price: Vec<f64>,
    capacity: Vec<f64>,
    failures: BTreeMap<Move, Failures>,
}

/// How often a move has failed, and how much was too much the last time, in typical replicas.
#[derive(Clone, Copy, Default)]
struct Failures {
    tries: u32,
    overload: f64,
}

impl Failures {
    /// Whether it is not worth another try.
    fn is_hopeless(&self) -> bool {
        self.tries >= TRIES_MAX || self.tries >= SOME_TRIES && self.overload > MUCH
    }

    /// How long success should still take, in shortest annealings, when every failure doubles them by this part.
    fn effort(&self, doubled: f64) -> f64 {
        (f64::from(self.tries) * doubled).exp2() * (1.0 + self.overload / SMALL)
    }
}

/// A node of one class is closed, and so many of another opened for it.
pub(crate) type Move = (usize, Option<(usize, usize)>);
/// At most so many nodes are opened for one.
const OPENED_MAX: usize = 3;
/// One failure of a move itself counts like so many of others that close a node of the same class.
const LIKE: f64 = 4.0;
/// Moves that failed so often are not tried again, nor those that still leave so much too much, in typical replicas, after some tries.
const TRIES_MAX: u32 = 8;
const SOME_TRIES: u32 = 3;
const MUCH: f64 = 1.0;
/// An annealing that leaves so much too much, in typical replicas, is half as likely to succeed the next time as one that leaves next to nothing.
const SMALL: f64 = 0.05;

impl Ladder {
    pub(crate) fn new(instance: &Instance, guide: &Guide, worth: &Worth) -> Ladder {
        let (problem, classes) = (instance.problem, classes(instance));
        let mut class_of = vec![0; problem.nodes.len()];
        for (class, nodes) in classes.iter().enumerate() {
            nodes.iter().for_each(|node| class_of[*node] = class);
        }
        let least: Vec<usize> = guide.filled.iter().map(|filled| (filled - 1e-6).ceil().max(0.0) as usize).collect();
        let capacity = |nodes: &Vec<usize>| {
            let amounts = problem.nodes[nodes[0]].capacity.iter().zip(&worth.prices);
            amounts.map(|(amount, price)| *amount as f64 * price).sum::<f64>()
        };
        let capacity: Vec<f64> = classes.iter().map(capacity).collect();
        let price: Vec<f64> = classes.iter().map(|nodes| problem.nodes[nodes[0]].price_micros as f64).collect();
        let failures = BTreeMap::new();
        Ladder { class_of, classes, least, filled: guide.filled.clone(), price, capacity, failures }
    }

    /// What is open at first: what the guide fills, a little more of every class that it uses, and `more` in all, in resources' worth, where they
    /// are cheapest.
    pub(crate) fn start(&self, instance: &Instance, worth: &Worth, more: f64) -> Vec<usize> {
        let of_each = |filled: &f64| (filled * (1.0 + MORE_OF_EACH) - 1e-6).ceil().max(0.0) as usize;
        let mut open: Vec<usize> =
            self.classes.iter().zip(&self.filled).map(|(nodes, filled)| of_each(filled).min(nodes.len())).collect();
        let (price, capacity) = (&self.price, &self.capacity);
        let mut by_price: Vec<usize> = (0..open.len()).filter(|class| capacity[*class] > 0.0).collect();
        by_price.sort_by(|a, b| (price[*a] / capacity[*a]).total_cmp(&(price[*b] / capacity[*b])).then(a.cmp(b)));
        let wanted: f64 =
            instance.problem.workloads.iter().zip(&worth.of).map(|(w, of)| f64::from(w.wanted) * of).sum();
        let opened = open.iter().zip(&self.filled).zip(capacity);
        let opened: f64 = opened.map(|((open, filled), capacity)| (*open as f64 - filled) * capacity).sum();
        let mut lacking = more * wanted - opened;
        for class in by_price {
            while lacking > 0.0 && open[class] < self.classes[class].len() {
                open[class] += 1;
                lacking -= capacity[class];
            }
        }
        self.classes.iter().zip(&open).flat_map(|(nodes, open)| nodes.iter().take(*open).copied()).collect()
    }

    /// Per class: its open nodes.
    fn open(&self, squeeze: &Squeeze) -> Vec<Vec<usize>> {
        let mut open: Vec<Vec<usize>> = vec![Vec::new(); self.least.len()];
        squeeze.open.iter().for_each(|node| open[self.class_of[*node]].push(*node));
        open
    }

    /// Of a class, the emptiest open node that nothing has to stay on.
    fn emptiest(&self, squeeze: &Squeeze, nodes: &[usize]) -> Option<usize> {
        let fixed = |node: &usize| squeeze.pinned && !squeeze.board.instance.running_on[*node].is_empty();
        nodes.iter().copied().filter(|node| !fixed(node)).min_by_key(|node| (squeeze.board.fullness(*node), *node))
    }

    /// Down to what the guide needs: closes a part of what is open beyond that, of each class the same part. How many were closed.
    pub(crate) fn descend(&self, squeeze: &mut Squeeze, part: f64) -> usize {
        let mut closed = 0;
        for (class, nodes) in self.open(squeeze).into_iter().enumerate() {
            let many = (nodes.len().saturating_sub(self.least[class]) as f64 * part).ceil() as usize;
            let mut nodes = nodes;
            for _ in 0..many {
                let Some(node) = self.emptiest(squeeze, &nodes) else { break };
                nodes.retain(|other| *other != node);
                closed += usize::from(squeeze.close(node));
            }
        }
        closed
    }

    /// So many moves that save something, those first that should succeed soonest, each with how often it has failed; of equals those that give up
    /// least for what they save.
    pub(crate) fn next(&self, squeeze: &Squeeze, many: usize) -> Vec<(Move, u32)> {
        let mut of_class = vec![Failures { tries: 0, overload: f64::MAX }; self.least.len()];
        for ((class, _), failures) in &self.failures {
            let all = &mut of_class[*class];
            *all = Failures { tries: all.tries + failures.tries, overload: all.overload.min(failures.overload) };
        }
        let open: Vec<usize> = self.open(squeeze).iter().map(Vec::len).collect();
        let slack = squeeze.slack();
        let mut moves: Vec<(f64, f64, Move)> = Vec::new();
        for class in (0..open.len()).filter(|class| open[*class] > 0) {
            let others = (0..open.len()).filter(|other| *other != class);
            let opened = others.flat_map(|other| (1..=OPENED_MAX).map(move |many| Some((other, many))));
            for instead in opened.chain([None]) {
                let (other, many) = instead.unwrap_or((class, 0));
                let saved = self.price[class] - many as f64 * self.price[other];
                let lost = self.capacity[class] - many as f64 * self.capacity[other];
                let effort = match (self.failures.get(&(class, instead)), &of_class[class]) {
                    (Some(failures), _) => failures.effort(1.0),
                    (None, Failures { tries: 0, .. }) => 1.0,
                    (None, others) => others.effort(1.0 / LIKE),
                };
                let possible = many == 0 || self.classes[other].len() - open[other] >= many;
                let hopeless = self.failures.get(&(class, instead)).is_some_and(Failures::is_hopeless);
                if saved > 0.0 && possible && !hopeless && self.suffices(squeeze, &slack, (class, instead)) {
                    moves.push((effort, lost / saved, (class, instead)));
                }
            }
        }
        moves.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)).then(a.2.cmp(&b.2)));
        let tries = |step: &Move| self.failures.get(step).map_or(0, |failures| failures.tries);
        moves.into_iter().take(many).map(|(_, _, step)| (step, tries(&step))).collect()
    }

    /// Whether a move leaves enough of every resource in all, `slack` being what is free in all before.
    fn suffices(&self, squeeze: &Squeeze, slack: &[i64], (class, instead): Move) -> bool {
        let ceiling = |class: usize, r: usize| squeeze.board.instance.ceiling[self.classes[class][0]][r] as i64;
        slack.iter().enumerate().all(|(r, slack)| {
            let opened = instead.map_or(0, |(other, many)| ceiling(other, r).saturating_mul(many as i64));
            slack.saturating_sub(ceiling(class, r)).saturating_add(opened) >= 0
        })
    }

    /// Counts a failure of a move, by how much was too much in the end, in typical replicas.
    pub(crate) fn failed(&mut self, step: Move, overload: f64) {
        let failures = self.failures.entry(step).or_default();
        *failures = Failures { tries: failures.tries + 1, overload };
    }

    /// Makes a move; whether rules let it be.
    pub(crate) fn make(&self, squeeze: &mut Squeeze, (class, instead): Move) -> bool {
        let open = self.open(squeeze);
        let Some(node) = self.emptiest(squeeze, &open[class]) else { return false };
        let before = squeeze.open.clone();
        if let Some((other, many)) = instead {
            let closed = self.classes[other].iter().filter(|node| !open[other].contains(node));
            squeeze.open.extend(closed.take(many));
        }
        let closed = squeeze.close(node);
        if !closed {
            squeeze.open = before;
        }
        closed
    }
}
