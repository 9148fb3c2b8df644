//! From the initial placement to another by single moves, each feasible as it is taken.
//!
//! Whatever fits where it belongs goes there, again and again. When nothing does, one instance in the way of another is parked on a
//! machine that will be empty at the end, or anywhere, and goes on from there later: two moves instead of one.

use super::state::State;
use super::{Fleet, FleetError};
use thiserror::Error;

/// An instance leaves its machine, if it has one, and goes to `machine`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Move {
    /// Which.
    pub instance: usize,
    /// Where to.
    pub machine: usize,
}

/// Why there is no sequence.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RouteError {
    /// The fleet has no meaning.
    #[error(transparent)]
    Fleet(#[from] FleetError),
    /// As many instances as stated could not be brought to their places within the moves allowed.
    #[error("{0} instances are not where they belong after as many moves as are allowed, or none is possible")]
    Stuck(usize),
}

/// A sequence of at most `moves_max` moves from [`Fleet::initial`] to `target`.
///
/// # Errors
/// When none was found.
pub fn route(fleet: &Fleet, target: &[usize], moves_max: usize) -> Result<Vec<Move>, RouteError> {
    let mut route = Route::new(fleet, target)?;
    loop {
        route.settle();
        if route.pending.is_empty() && route.moves.len() <= moves_max {
            return Ok(route.moves);
        }
        if route.moves.len() >= moves_max || !route.park() {
            return Err(RouteError::Stuck(route.pending.len()));
        }
    }
}

struct Route<'a> {
    state: State<'a>,
    target: &'a [usize],
    /// Machines that hold something at the end.
    kept: Vec<bool>,
    /// Instances that are not where they belong.
    pending: Vec<usize>,
    moves: Vec<Move>,
}

impl<'a> Route<'a> {
    fn new(fleet: &'a Fleet, target: &'a [usize]) -> Result<Route<'a>, FleetError> {
        let mut state = State::new(fleet)?;
        if target.len() != fleet.instances.len() {
            let (found, wanted) = (target.len(), fleet.instances.len());
            return Err(FleetError::Length { what: "target", index: 0, found, wanted });
        }
        let mut kept = vec![false; fleet.machines.len()];
        for (instance, machine) in target.iter().enumerate() {
            match kept.get_mut(*machine) {
                Some(kept) => *kept = true,
                None => return Err(FleetError::Dangling { what: "target", index: instance }),
            }
        }
        for (instance, machine) in fleet.initial.iter().enumerate() {
            let Some(machine) = *machine else { continue };
            let (app, nothing) = (fleet.instances[instance], state.nothing());
            if !state.allows(machine, nothing, app) || !state.allows_cpu(machine, nothing, app) {
                return Err(FleetError::NoRoom(instance));
            }
            state.relocate(instance, machine);
        }
        let mut pending: Vec<usize> =
            (0..target.len()).filter(|instance| fleet.initial[*instance] != Some(target[*instance])).collect();
        // Those that are placed free something when they go: they come first.
        pending.sort_by_key(|instance| (fleet.initial[*instance].is_none(), *instance));
        Ok(Route { state, target, kept, pending, moves: Vec::new() })
    }

    fn fits(&self, instance: usize, machine: usize) -> bool {
        let (app, nothing) = (self.state.app(instance), self.state.nothing());
        self.state.allows(machine, nothing, app) && self.state.allows_cpu(machine, nothing, app)
    }

    fn go(&mut self, instance: usize, machine: usize) {
        self.state.relocate(instance, machine);
        self.moves.push(Move { instance, machine });
    }

    /// Everything that fits where it belongs goes there, until nothing does.
    fn settle(&mut self) {
        loop {
            let before = self.pending.len();
            for instance in std::mem::take(&mut self.pending) {
                let to = self.target[instance];
                if self.fits(instance, to) { self.go(instance, to) } else { self.pending.push(instance) }
            }
            if self.pending.len() == before {
                return;
            }
        }
    }

    /// Parks what is in the way: for each waiting instance one that makes room for it, if one does; else any. Whether something moved.
    fn park(&mut self) -> bool {
        let before = self.moves.len();
        let waiting = self.pending.clone();
        for instance in waiting.iter().copied() {
            let to = self.target[instance];
            if self.state.machine(instance) == Some(to) {
                continue;
            }
            if self.fits(instance, to) {
                self.go(instance, to);
            } else if let Some((blocker, machine)) = self.single_blocker(instance, to) {
                self.go(blocker, machine);
                self.go(instance, to);
            }
        }
        if self.moves.len() == before {
            let any = waiting.iter().find_map(|instance| {
                let blockers = self.leavers(self.target[*instance]);
                blockers.into_iter().find_map(|blocker| Some((blocker, self.parking(blocker)?)))
            });
            if let Some((blocker, machine)) = any {
                self.go(blocker, machine);
            }
        }
        self.pending.retain(|instance| self.state.machine(*instance) != Some(self.target[*instance]));
        self.moves.len() > before
    }

    /// What is on a machine and belongs elsewhere.
    fn leavers(&self, machine: usize) -> Vec<usize> {
        let on = self.state.on(machine).iter().map(|instance| *instance as usize);
        let mut leavers: Vec<usize> = on.filter(|instance| self.target[*instance] != machine).collect();
        leavers.sort_unstable();
        leavers
    }

    /// An instance on `to` in whose stead `instance` fits, and where to park it.
    fn single_blocker(&self, instance: usize, to: usize) -> Option<(usize, usize)> {
        let app = self.state.app(instance);
        self.leavers(to).into_iter().find_map(|blocker| {
            let less = self.state.app(blocker);
            let frees = self.state.allows(to, less, app) && self.state.allows_cpu(to, less, app);
            if frees { Some((blocker, self.parking(blocker)?)) } else { None }
        })
    }

    /// Where an instance can wait: its own place if it fits, else a machine that will be empty, else the emptiest.
    fn parking(&self, instance: usize) -> Option<usize> {
        if self.fits(instance, self.target[instance]) {
            return Some(self.target[instance]);
        }
        let here = self.state.machine(instance);
        let machines = (0..self.kept.len()).filter(|machine| Some(*machine) != here && self.fits(instance, *machine));
        machines.min_by(|a, b| {
            let order = self.kept[*a].cmp(&self.kept[*b]);
            order.then(self.state.fullness(*a).total_cmp(&self.state.fullness(*b))).then(a.cmp(b))
        })
    }
}
