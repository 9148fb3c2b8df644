//! The best assignment met on a walk, without copying it each time one is met: the steps since then are remembered instead.

use super::state::State;

/// Remembers the best assignment of a walk.
#[derive(Debug)]
pub(super) struct Journal {
    pub(super) best_cost: f64,
    /// `(process, where it was)` of each step since the best one, oldest first; unused once `kept` holds it.
    since: Vec<(u32, u32)>,
    kept: Option<Vec<u32>>,
}

impl Journal {
    pub(super) fn new<const D: usize>(state: &State<'_, D>) -> Journal {
        Journal { best_cost: state.cost, since: Vec::new(), kept: None }
    }

    /// A step was taken: `process` came from machine `from`.
    #[inline]
    pub(super) fn stepped<const D: usize>(&mut self, state: &State<'_, D>, process: usize, from: u32) {
        if self.kept.is_some() {
            return;
        }
        self.since.push((process as u32, from));
        if self.since.len() > 2 * state.at.len() {
            self.kept = Some(self.best(state));
            self.since.clear();
        }
    }

    /// To be called when a step (which may be several processes) is complete.
    #[inline]
    pub(super) fn settled<const D: usize>(&mut self, state: &State<'_, D>) {
        if state.cost < self.best_cost {
            self.best_cost = state.cost;
            self.since.clear();
            self.kept = None;
        }
    }

    /// The best assignment.
    pub(super) fn best<const D: usize>(&self, state: &State<'_, D>) -> Vec<u32> {
        if let Some(kept) = &self.kept {
            return kept.clone();
        }
        let mut at = state.at.clone();
        self.since.iter().rev().for_each(|(process, from)| at[*process as usize] = *from);
        at
    }
}
