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
    /// How often a move has failed.
    failures: BTreeMap<Move, u32>,
}

/// A node of one class is closed, and so many of another opened for it.
pub(crate) type Move = (usize, Option<(usize, usize)>);
/// At most so many nodes are opened for one.
const OPENED_MAX: usize = 3;
/// One failure of a move itself counts like so many of others that close a node of the same class.
const LIKE: u32 = 8;
/// Moves that failed so often are not tried again.
const FAILURES_MAX: u32 = 6;

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

    /// The move that saves something and has failed least often, itself and others like it; of those, the one that gives up least for what it
    /// saves.
    pub(crate) fn next(&self, squeeze: &Squeeze) -> Option<Move> {
        let mut of_class = vec![0; self.least.len()];
        self.failures.iter().for_each(|((class, _), failures)| of_class[*class] += failures);
        let open: Vec<usize> = self.open(squeeze).iter().map(Vec::len).collect();
        let mut best: Option<(u32, f64, Move)> = None;
        for class in (0..open.len()).filter(|class| open[*class] > 0) {
            let others = (0..open.len()).filter(|other| *other != class);
            let opened = others.flat_map(|other| (1..=OPENED_MAX).map(move |many| Some((other, many))));
            for instead in opened.chain([None]) {
                let (other, many) = instead.unwrap_or((class, 0));
                let saved = self.price[class] - many as f64 * self.price[other];
                let lost = self.capacity[class] - many as f64 * self.capacity[other];
                let failures = self.failures.get(&(class, instead)).copied().unwrap_or(0);
                let possible = many == 0 || self.classes[other].len() - open[other] >= many;
                if saved <= 0.0 || !possible || failures >= FAILURES_MAX {
                    continue;
                }
                let (failures, loss) = (failures * LIKE + of_class[class], lost / saved);
                if best.as_ref().is_none_or(|(f, l, _)| (failures, loss) < (*f, *l)) {
                    best = Some((failures, loss, (class, instead)));
                }
            }
        }
        best.map(|(_, _, step)| step)
    }

    /// Counts a failure of a move that is about to be tried: it stays unless the move succeeds, when the nodes are others anyway. How often it had
    /// failed before.
    pub(crate) fn failed(&mut self, step: Move) -> u32 {
        let failures = self.failures.entry(step).or_default();
        *failures += 1;
        *failures - 1
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
