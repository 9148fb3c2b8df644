//! From class counts to nodes: the class program says how much of what each class should hold and how many nodes of it are open; here the
//! counts come apart, the largest first, each on the emptiest open node (longest processing time first). What does not fit is
//! left to the greedy stage.
//!
//! Class counts fill their nodes to the brim on average, which no node does exactly. Dealt counts are therefore only a beginning
//! ([`crate::fewer_nodes`]); where there is no board, some capacity is held back in the class program (*deflation*, in a few steps) and the best of the
//! results is kept.

use crate::backend::{Linear, SolveLimits, Whole};
use crate::board::Board;
use crate::chance::Chance;
use crate::classes::{class_model, classes};
use crate::deadline::Deadline;
use crate::greedy::{Fit, Greedy};
use crate::instance::Instance;
use crate::layout::Layout;
use crate::lexicographic::Scaled;
use crate::model::Model;
use crate::{Placed, Tier};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// What the class program would like, or nothing when it found nothing in time.
pub(crate) struct Guide {
    /// Per workload: (class, replicas).
    counts: Vec<Vec<(usize, u32)>>,
    /// Per class: how many nodes may hold anything.
    open: Vec<usize>,
    /// Per class: how many the program fills, in fractions.
    pub(crate) filled: Vec<f64>,
}

impl Guide {
    /// Minimises the class program, with `cuts`, tier after tier, node counts `whole` (from what is
    /// `placed`) or not. A frugal guide goes on to the price and
    /// closes the nodes it does not need; the other spreads what there is over all nodes, which leaves less unplaced.
    pub(crate) fn new(
        instance: &Instance,
        (deflation, frugal): (f64, bool),
        (cuts, whole, placed): (&[Linear], Whole, &[Placed]),
        another: Option<Chance>,
        deadline: Deadline,
    ) -> Option<Guide> {
        let model = class_model(instance, deflation);
        let start = (whole == Whole::All).then(|| model.start_from(placed));
        let values = minimised(&model, frugal, (cuts, whole), start.as_deref(), another, deadline)?;
        Some(Guide::from_values(&model, &values, frugal))
    }

    /// What a solution of the class program says.
    pub(crate) fn from_values(model: &Model, values: &[f64], frugal: bool) -> Guide {
        let counts = model.bin_counts(values);
        let counts = counts.into_iter().enumerate();
        let wanted = |w: usize| model.instance.problem.workloads[w].wanted;
        let counts = counts.map(|(workload, counts)| whole(&counts, wanted(workload))).collect();
        let needed = |open: f64| if frugal { (open - 1e-6).ceil().max(0.0) as usize } else { usize::MAX };
        let filled = model.filled_counts(values);
        let open = filled.iter().map(|open| needed(*open)).collect();
        Guide { counts, open, filled }
    }

    /// As many nodes of each class as the guide needs.
    pub(crate) fn open(&self, instance: &Instance) -> Vec<usize> {
        classes(instance).iter().zip(&self.open).flat_map(|(nodes, open)| nodes.iter().take(*open).copied()).collect()
    }

    /// The guide's counts dealt out on an empty board: workloads in `order`, each replica on the emptiest open node of its class that takes
    /// it (longest processing time first). Classes take turns, so that the counts of zones grow together. What fits nowhere is left out.
    pub(crate) fn deal(&self, board: &mut Board, order: &[usize]) {
        let mut heaps: Vec<Heap> = classes(board.instance)
            .iter()
            .zip(&self.open)
            .map(|(nodes, open)| nodes.iter().take(*open).map(|node| Reverse((0, *node))).collect())
            .collect();
        for workload in order {
            let mut left = self.counts[*workload].clone();
            let mut progress = true;
            while progress {
                progress = false;
                for (class, left) in left.iter_mut().filter(|(_, left)| *left > 0) {
                    if deal_one(board, *workload, &mut heaps[*class]) {
                        *left -= 1;
                        progress = true;
                    }
                }
            }
        }
        board.settle();
    }

    /// A placement near the guide: `running` replicas stay as far as their class may hold them.
    pub(crate) fn follow(&self, instance: &Instance) -> Vec<Placed> {
        let classes = classes(instance);
        let mut class_of = vec![0; instance.problem.nodes.len()];
        for (class, nodes) in classes.iter().enumerate() {
            nodes.iter().for_each(|node| class_of[*node] = class);
        }
        let mut layout = Layout::new(instance, &[]);
        let mut left = self.counts.clone();
        for (workload, running) in instance.running.iter().enumerate() {
            for (node, count) in running {
                let Some((_, left)) = left[workload].iter_mut().find(|(class, _)| *class == class_of[*node]) else {
                    continue;
                };
                let keep = (*count).min(*left).min(instance.most_on(workload, *node));
                if keep > 0 {
                    layout.add(workload, *node, keep);
                    *left -= keep;
                }
            }
        }
        let open = self.open_nodes(&classes, &layout);
        let greedy = Greedy::new(instance, Fit::Level);
        for workload in greedy.by_size() {
            for (class, count) in &left[workload] {
                greedy.place(&mut layout, workload, *count, Some(&open[*class]), true);
            }
        }
        Greedy::new(instance, Fit::Tightest).extend(&layout.placed())
    }

    /// The nodes of each class that are open: those that hold something first.
    fn open_nodes(&self, classes: &[Vec<usize>], layout: &Layout) -> Vec<Vec<usize>> {
        let of_class = |(nodes, open): (&Vec<usize>, &usize)| {
            let mut nodes = nodes.clone();
            nodes.sort_by_key(|node| (layout.is_empty(*node), *node));
            let held = nodes.iter().filter(|node| !layout.is_empty(**node)).count();
            nodes.truncate((*open).max(held));
            nodes.sort_unstable();
            nodes
        };
        classes.iter().zip(&self.open).map(of_class).collect()
    }
}

/// Nodes by how full they are, the emptiest on top.
type Heap = BinaryHeap<Reverse<(u64, usize)>>;
/// Nodes with room that a rule closes, one after the other, before a class is passed over for now.
const REFUSALS_MAX: usize = 12;

/// One replica on the emptiest node of the heap that takes it.
fn deal_one(board: &mut Board, workload: usize, heap: &mut Heap) -> bool {
    let (mut aside, mut refusals, mut dealt) = (Vec::new(), 0, false);
    while refusals < REFUSALS_MAX {
        let Some(Reverse((fullness, node))) = heap.pop() else { break };
        if board.may_add(workload, node).is_some_and(|soft| soft <= 0) {
            board.change(workload, node, 1);
            heap.push(Reverse((board.fullness(node), node)));
            dealt = true;
            break;
        }
        refusals += usize::from(board.has_room(workload, node));
        aside.push(Reverse((fullness, node)));
    }
    heap.extend(aside);
    dealt
}

/// Whole node counts are good enough this near to the best.
const WHOLE_GAP: f64 = 1e-3;

/// The relaxed class program's own optimum, tier after tier, as far as time allows, the price with `whole` node counts where that is asked for;
/// the last values found.
fn minimised(
    model: &Model,
    frugal: bool,
    (cuts, whole): (&[Linear], Whole),
    start: Option<&[f64]>,
    another: Option<Chance>,
    deadline: Deadline,
) -> Option<Vec<f64>> {
    let limits = |whole| SolveLimits { deadline, whole, gap: 0.0, relative_gap: WHOLE_GAP };
    // One program for all that should be zero: usually it is, and the tiers need not be looked at one by one.
    let mut all = Linear::default();
    for (tier, expression) in &model.tiers {
        if matches!(tier, Tier::Shortage(_) | Tier::Repair | Tier::Soft) {
            all.add(1.0, expression);
        }
    }
    let mut best = model.program.minimise(&all, cuts, None, limits(Whole::None)).values?;
    let mut rows: Vec<Linear> = cuts.to_vec();
    for (index, (tier, expression)) in model.tiers.iter().enumerate() {
        let prices = matches!(tier, Tier::Cost | Tier::PricedCost | Tier::Shape);
        if deadline.passed() || prices && !frugal {
            break;
        }
        let mut scaled = Scaled::new(expression);
        if let Some(mut chance) = another.clone().filter(|_| prices) {
            scaled.objective.terms.iter_mut().for_each(|(_, price)| *price *= 1.0 + WHOLE_GAP * chance.part());
        }
        let least = model.program.least(&scaled.objective).max(0.0);
        if scaled.objective.value(&best) > least + 1e-6 {
            best = model.program.minimise(&scaled.objective, &rows, None, limits(Whole::None)).values.unwrap_or(best);
            if prices && whole == Whole::All {
                let start = model.program.whole_start(&scaled.objective, &rows, start, Some(&best));
                let outcome = model.program.minimise(&scaled.objective, &rows, start.as_deref(), limits(whole));
                best = outcome.values.unwrap_or(best);
            }
        }
        let value = scaled.objective.value(&best);
        if value <= least + 1e-6 {
            rows.extend(model.no_worse(index, least * scaled.divisor));
        } else {
            rows.push(scaled.objective.plus(-1.0, &Linear::constant(value + 1e-6)));
        }
        if prices && value > 1e-6 {
            break;
        }
    }
    Some(best)
}

/// Whole counts near the given ones with the same sum, rounded: the largest remainders are rounded up.
fn whole(counts: &[(usize, f64)], wanted: u32) -> Vec<(usize, u32)> {
    let total =
        (counts.iter().map(|(_, count)| count).sum::<f64>() + 1e-6).floor().clamp(0.0, f64::from(wanted)) as u32;
    let mut rounded: Vec<(usize, u32)> =
        counts.iter().map(|(class, count)| (*class, (count + 1e-6).floor().max(0.0) as u32)).collect();
    let mut missing = total.saturating_sub(rounded.iter().map(|(_, count)| count).sum());
    let mut by_remainder: Vec<usize> = (0..counts.len()).collect();
    let remainder = |at: &usize| (counts[*at].1 - counts[*at].1.floor()) * 1e6;
    by_remainder.sort_by_key(|at| (-(remainder(at) as i64), *at));
    for at in by_remainder {
        if missing == 0 {
            break;
        }
        if remainder(&at) > 1.0 {
            rounded[at].1 += 1;
            missing -= 1;
        }
    }
    rounded
}
