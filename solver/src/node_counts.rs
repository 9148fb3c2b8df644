//! Everything on just the nodes that the class program opens if their counts have to be whole: the fewest where no capacity is held back, a few more
//! where some is. The counts are dealt out and annealed ([`crate::squeeze`]); when nothing is left too much with none held back, the
//! placement costs what the program proves. For problems with few nodes in each class: where there are many, the program takes too long
//! for whole counts, and rounding up loses little ([`crate::fewer_nodes`]).

use crate::Tier;
use crate::backend::Whole;
use crate::chance::{Chance, SEED};
use crate::deadline::Deadline;
use crate::guided::Guide;
use crate::model::Model;
use crate::prices::Worth;
use crate::solve::{Search, THREADS};
use crate::squeeze::Squeeze;

/// The part of the capacity that is held back at first; more by this factor as long as nothing comes apart, up to the last.
const HELD_BACK: f64 = 0.006;
const MORE: f64 = 2.5;
const MOST: f64 = 0.03;
/// Between counts that came apart and counts that did not, those in the middle are tried too, down to this difference.
const NEAR: f64 = 0.0003;
/// The first annealing takes so many doublings of the shortest; each further one of the same counts one more.
const LONGER: u32 = 4;
/// Counts that still leave so much too much, in typical replicas, after some tries are not tried again, nor any after so many.
const MUCH: f64 = 1.0;
const SOME_TRIES: u32 = 3;
const TRIES_MAX: u32 = 8;
/// Counts that left more have to wait for roomier ones.
const LATER: f64 = 0.3;
/// After so many tries the program is asked for other counts that cost next to the same.
const TRIES_OF_EACH: u32 = 2;
/// One program gets no more than this part of the time.
const PROGRAM_PART: f64 = 0.4;
/// Where counts leave little too much, so many of the cheapest nodes are opened in addition, one after the other.
const MORE_NODES_MAX: usize = 2;

/// What was left too much by node counts alone, in typical replicas; and what became of them in the end.
type Tried<'i, 'p> = (f64, Squeeze<'i, 'p>);

/// Whole node counts.
struct Counts {
    held_back: f64,
    /// What the program says; nothing before it was asked, and if it did not answer in time.
    guide: Option<Guide>,
    price: u64,
    asked: u32,
    tries: u32,
    /// What the last tries left too much, in typical replicas.
    overload: f64,
}

impl Counts {
    fn new(held_back: f64) -> Counts {
        Counts { held_back, guide: None, price: 0, asked: 0, tries: 0, overload: 0.0 }
    }

    fn take(&mut self, search: &Search, guide: Option<Guide>) {
        self.asked += 1;
        if let Some(guide) = guide {
            self.price = search.price(guide.open(search.instance));
            self.guide = Some(guide);
        }
    }

    /// What tries left too much.
    fn learn(&mut self, overloads: impl Iterator<Item = f64>) {
        self.overload = overloads.fold(f64::INFINITY, f64::min);
        self.tries += 1;
    }

    fn is_hopeless(&self) -> bool {
        self.guide.is_none() && self.asked > 0
            || self.tries >= TRIES_MAX
            || self.tries >= SOME_TRIES && self.overload > MUCH
    }
}

impl<'i, 'p> Search<'i, 'p> {
    /// The last placement that was better than the best before, if any was.
    pub(crate) fn on_node_counts(
        &mut self,
        model: &Model,
        worth: &Worth,
        deadline: Deadline,
    ) -> Option<Squeeze<'i, 'p>> {
        let (mut chance, mut reached) = (Chance::new(SEED), None);
        let (mut loose, mut least) = (Counts::new(HELD_BACK), Counts::new(0.0));
        // What the program says with nothing held back is a bound as well.
        let program = deadline.within(deadline.remaining().mul_f64(PROGRAM_PART));
        let (first, bounds) = std::thread::scope(|scope| {
            let bounding = scope.spawn(|| self.bounded(program));
            self.ask(&mut loose, chance.roll(), deadline);
            (self.annealed(&loose, worth, chance.roll(), deadline), bounding.join().ok())
        });
        if let Some((bounds, proofs, values)) = bounds {
            least.take(self, values.map(|values| Guide::from_values(model, &values, true)));
            self.learn_all(bounds, proofs);
        }
        loose.learn(first.iter().map(|(overload, _)| *overload));
        let mut found: Vec<Squeeze> = first.into_iter().map(|(_, squeeze)| squeeze).collect();
        let mut all = vec![loose, least];
        loop {
            for squeeze in found {
                if self.is_good(&squeeze) && self.take(&squeeze) {
                    reached = Some(squeeze);
                }
            }
            let cost_is_open = self.is_open(|tier| matches!(tier, Tier::Cost | Tier::PricedCost));
            if !cost_is_open || deadline.passed() || !self.add(&mut all) && self.open(&all).is_empty() {
                return reached;
            }
            self.ask_all(&mut all, &mut chance, deadline);
            let open = self.open(&all);
            found = self.tried(&mut all, &open, worth, &mut chance, deadline);
        }
    }

    /// Those that are cheaper than the best and not hopeless; of those that cost the same only the roomiest, and those that leave much only when no
    /// roomier ones are open.
    fn open(&self, all: &[Counts]) -> Vec<usize> {
        let most = self.price_of_best();
        let mut open: Vec<usize> = Vec::new();
        for (at, counts) in all.iter().enumerate() {
            let another = open.last().is_none_or(|last| counts.price < all[*last].price);
            let soon = open.is_empty() || counts.overload < LATER;
            if counts.guide.is_some() && counts.price < most && !counts.is_hopeless() && another && soon {
                open.push(at);
            }
        }
        open
    }

    /// Adds counts in the middle between the last that came apart and the next that did not, or looser ones if none did; whether there are any.
    fn add(&self, all: &mut Vec<Counts>) -> bool {
        let most = self.price_of_best();
        let done = all.iter().rposition(|counts| counts.guide.is_some() && counts.price >= most);
        let (at, held_back) = match done {
            Some(last) => {
                let next = all.get(last + 1).map_or(all[last].held_back, |next| next.held_back);
                (last + 1, (all[last].held_back + next) / 2.0)
            }
            None => (0, all[0].held_back * MORE),
        };
        let near = done.is_some_and(|last| all[last].held_back - held_back < NEAR);
        let nearly = done.is_none() && !all[0].is_hopeless() && all[0].overload < LATER;
        if near || nearly || held_back > MOST {
            return false;
        }
        all.insert(at, Counts::new(held_back));
        true
    }

    /// Asks the program for counts where it was not asked yet, and for others where those that are known were tried often enough.
    fn ask_all(&self, all: &mut [Counts], chance: &mut Chance, deadline: Deadline) {
        let open = self.open(all);
        let due = |(at, counts): &(usize, &mut Counts)| {
            counts.asked == 0 || counts.tries >= counts.asked * TRIES_OF_EACH && open.contains(at)
        };
        let mut lists: [Vec<(&mut Counts, u64)>; THREADS] = Default::default();
        for (at, (_, counts)) in all.iter_mut().enumerate().filter(due).enumerate() {
            lists[at % THREADS].push((counts, chance.roll()));
        }
        std::thread::scope(|scope| {
            for list in lists {
                scope.spawn(|| list.into_iter().for_each(|(counts, seed)| self.ask(counts, seed, deadline)));
            }
        });
    }

    fn ask(&self, counts: &mut Counts, seed: u64, deadline: Deadline) {
        let program = deadline.within(deadline.remaining().mul_f64(PROGRAM_PART));
        let another = (counts.asked > 0).then(|| Chance::new(seed));
        let with = (self.cuts.as_slice(), Whole::All, self.best.as_slice());
        counts.take(self, Guide::new(self.instance, (counts.held_back, true), with, another, program));
    }

    /// What becomes of these counts, each annealed once on each thread.
    fn tried(
        &self,
        all: &mut [Counts],
        open: &[usize],
        worth: &Worth,
        chance: &mut Chance,
        deadline: Deadline,
    ) -> Vec<Squeeze<'i, 'p>> {
        let counts = &*all;
        let tried: Vec<(usize, Tried)> = std::thread::scope(|scope| {
            let threads = [(); THREADS].map(|()| {
                let seed = chance.roll();
                let annealed = move |at: &usize| Some((*at, self.annealed(&counts[*at], worth, seed, deadline)?));
                scope.spawn(move || open.iter().filter_map(annealed).collect::<Vec<_>>())
            });
            threads.into_iter().flat_map(|thread| thread.join().unwrap_or_default()).collect()
        });
        for at in open {
            all[*at].learn(tried.iter().filter(|(of, _)| of == at).map(|(_, (overload, _))| *overload));
        }
        tried.into_iter().map(|(_, (_, squeeze))| squeeze).collect()
    }

    /// What is left too much by counts that are dealt out and annealed, for the longer the more often they were tried; and what becomes of them, if that
    /// is not much, with a node or two more.
    fn annealed(&self, counts: &Counts, worth: &Worth, seed: u64, deadline: Deadline) -> Option<Tried<'i, 'p>> {
        let (guide, mut board) = (counts.guide.as_ref()?, self.board(&[])?);
        guide.deal(&mut board, &worth.order());
        let mut squeeze = Squeeze::new(board, guide.open(self.instance), worth, (false, seed), deadline);
        squeeze.anneal(self.steps() << (LONGER + counts.tries), self.soft(), deadline);
        let overload = squeeze.overload();
        let nodes = &self.instance.problem.nodes;
        let mut closed: Vec<usize> = (0..nodes.len()).filter(|node| !squeeze.open.contains(node)).collect();
        closed.sort_by_key(|node| (nodes[*node].price_micros, *node));
        let (mut price, most) = (counts.price, self.price_of_best());
        for node in closed.into_iter().take(MORE_NODES_MAX) {
            price = price.saturating_add(nodes[node].price_micros);
            if self.is_good(&squeeze) || overload > MUCH || price >= most {
                break;
            }
            squeeze.open.push(node);
            squeeze.anneal(self.steps() << LONGER, self.soft(), deadline);
        }
        Some((overload, squeeze))
    }

    /// What nodes cost together.
    fn price(&self, nodes: Vec<usize>) -> u64 {
        nodes.into_iter().map(|node| self.instance.problem.nodes[node].price_micros).fold(0, u64::saturating_add)
    }

    fn price_of_best(&self) -> u64 {
        let mut nodes: Vec<usize> = self.best.iter().map(|placed| placed.node).collect();
        nodes.sort_unstable();
        nodes.dedup();
        self.price(nodes)
    }
}
