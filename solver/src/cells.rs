//! Cells: nodes of a group in one order, walked from the best fit on; and levels, which tell which cells have room at all.
//!
//! Fed by the [`crate::index`], which decides which node lies in which cell. A cell knows nothing of rules: a [`Visitor`] does.

use crate::layout::Layout;
use crate::ordered::Ordered;

/// Nodes of one cell that are compared where soft rules leave the best one open.
pub(crate) const COMPARED_MAX: usize = 64;
/// Levels of a resource: a bit for each in 32.
pub(crate) const LEVELS: usize = 32;
/// A full resource, in the millionths of a key.
const FULL: i64 = 1_000_000;

/// How the key of a node tells its fit for a replica.
#[derive(Clone, Copy)]
pub(crate) enum Key {
    /// What is left over, weighted: less what the replica takes.
    Left,
    /// How full the fullest resource is, in millionths: no less with one more.
    Peak,
    /// What is used of the fullest resource of nodes of one size; and how many millionths of it one is.
    Used { resource: usize, capacity: f64, millionths: f64 },
}

/// Nodes of a group that hold something.
pub(crate) struct Cell {
    key: Key,
    nodes: Ordered,
    /// The first of them.
    first: Option<(i64, u32)>,
    /// Per resource, at least the most that any of its nodes has left.
    most: Vec<u64>,
    /// Whether that is exactly the most.
    exact: bool,
}

impl Cell {
    pub(crate) fn new(key: Key, resources: usize) -> Cell {
        Cell { key, nodes: Ordered::default(), first: None, most: vec![0; resources], exact: false }
    }

    pub(crate) fn key(&self) -> Key {
        self.key
    }

    /// Takes in a node with so much left.
    pub(crate) fn insert(&mut self, entry: (i64, u32), free: &[u64]) {
        self.nodes.insert(entry);
        self.first = Some(self.first.map_or(entry, |first| first.min(entry)));
        self.exact = false;
        self.most.iter_mut().zip(free).for_each(|(most, free)| *most = (*most).max(*free));
    }

    /// Takes out a node; whether none is left.
    pub(crate) fn remove(&mut self, entry: (i64, u32)) -> bool {
        self.nodes.remove(entry);
        self.first = self.nodes.first();
        self.exact = false;
        if self.first.is_none() {
            self.most.fill(0);
        }
        self.first.is_none()
    }

    /// The fit that a key means.
    fn fit(&self, key: i64, wanted: &Wanted) -> i64 {
        match self.key {
            Key::Left => key.saturating_sub(wanted.need),
            Key::Peak => key,
            Key::Used { resource, capacity, .. } => {
                ((key as f64 + wanted.demand[resource] as f64) / capacity * 1e6) as i64
            }
        }
    }

    /// Shows the nodes that have what is wanted, in order of fit. `free`: per node and resource.
    pub(crate) fn walk(&mut self, free: &[u64], wanted: &Wanted, visitor: &mut impl Visitor) {
        let Some((first, node)) = self.first else { return };
        let resources = self.most.len();
        // Whoever has less than what one takes cannot have room for it.
        let from = if matches!(self.key, Key::Left) { wanted.need.saturating_sub(2) } else { i64::MIN };
        let wanting = match self.key {
            Key::Left if first < from => visitor.wants(self.fit(from, wanted), 0),
            // A division is slow: the product may be a millionth off.
            Key::Used { resource, millionths, .. } => {
                let fit = (first as f64 + wanted.demand[resource] as f64) * millionths;
                visitor.wants(fit as i64 - 1, node as usize)
            }
            _ => visitor.wants(self.fit(first, wanted), node as usize),
        };
        if !wanting || self.most.iter().zip(wanted.demand).any(|(most, demand)| most < demand) {
            return;
        }
        visitor.begin();
        let (mut found, mut compared) = (false, 0);
        for (key, node) in self.nodes.from(from) {
            let fit = self.fit(key, wanted);
            if !visitor.wants(fit, node as usize) {
                return;
            }
            // One more would not fit into the resource that is fullest.
            if fit > FULL && matches!(self.key, Key::Used { .. }) {
                break;
            }
            let free = &free[node as usize * resources..][..resources];
            if free.iter().zip(wanted.demand).all(|(free, demand)| free >= demand) {
                found = true;
                compared += match visitor.see(fit, node as usize) {
                    Seen::PassedOver => 0,
                    Seen::Compared => 1,
                    Seen::Enough => COMPARED_MAX,
                };
                if compared >= COMPARED_MAX {
                    return;
                }
            }
        }
        if !found && !self.exact {
            let Cell { nodes, most, exact, .. } = self;
            *exact = true;
            most.fill(0);
            for (_, node) in nodes.from(i64::MIN) {
                let free = &free[node as usize * resources..][..resources];
                most.iter_mut().zip(free).for_each(|(most, free)| *most = (*most).max(*free));
            }
        }
    }
}

/// The levels of a resource: demands that occur, ascending.
pub(crate) struct Levels {
    pub(crate) resource: usize,
    from: Vec<u64>,
    /// Per level, the least that it makes of a key.
    pub(crate) key_min: Vec<i64>,
}

impl Levels {
    pub(crate) fn new(layout: &Layout, resource: usize, weight: f64) -> Levels {
        let demands = layout.instance.problem.workloads.iter().map(|workload| workload.demand[resource]);
        let mut from: Vec<u64> = demands.filter(|demand| *demand > 0).collect();
        from.sort_unstable();
        from.dedup();
        if from.len() >= LEVELS {
            from = (0..LEVELS - 1).map(|level| from[level * from.len() / (LEVELS - 1)]).collect();
        }
        let least = |from: u64| (from as f64 * weight * 1e6) as i64;
        let key_min = std::iter::once(0).chain(from.iter().map(|from| least(*from))).collect();
        Levels { resource, from, key_min }
    }

    pub(crate) fn of(&self, amount: u64) -> usize {
        self.from.partition_point(|from| *from <= amount)
    }
}

/// What is asked of the index.
pub(crate) struct Wanted<'d> {
    pub(crate) demand: &'d [u64],
    /// The key of what one replica takes.
    pub(crate) need: i64,
    pub(crate) levels: [u8; 2],
}

/// Who looks at nodes in order.
pub(crate) trait Visitor {
    /// Whether nodes with such a fit, or a worse one, are of any use; of equal ones the first that was asked about is the lowest.
    fn wants(&self, fit: i64, node: usize) -> bool;
    /// A cell begins.
    fn begin(&mut self) {}
    /// Looks at a node with the room that is asked for.
    fn see(&mut self, fit: i64, node: usize) -> Seen;
}

/// What became of a node that was shown.
pub(crate) enum Seen {
    /// It may not be used.
    PassedOver,
    /// It may; a worse fit in the same cell may still be better.
    Compared,
    /// Nothing more of the cell is wanted.
    Enough,
}
