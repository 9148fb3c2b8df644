//! The independent judge: plays a sequence of moves step by step and says what the end costs.
//!
//! It shares nothing with the search but the statement of the fleet: whole numbers in 64 bits throughout, limits as they are written, and
//! the price in 64-bit floats with the standard library's exponential.

use super::{FREE_SHARE, Fleet, Limit, Move, STEEPNESS};
use std::collections::BTreeMap;

/// The first thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A placement or a move names something that does not exist.
    #[error("step {step}: there is no such instance or machine")]
    Unknown {
        /// Which move, from 0; the length of the sequence: before it or after it.
        step: usize,
    },
    /// More is used than there is.
    #[error("step {step}: {what} of machine {machine} is exceeded")]
    Capacity {
        /// As in [`Refusal::Unknown`].
        step: usize,
        /// On which.
        machine: usize,
        /// "cpu", "memory" or "flat".
        what: &'static str,
    },
    /// Too many of one app beside another.
    #[error("step {step}: machine {machine} holds {found} of app {}, beside app {} at most {} may be", limit.app, limit.beside, limit.most)]
    Limit {
        /// As in [`Refusal::Unknown`].
        step: usize,
        /// On which.
        machine: usize,
        /// Which limit.
        limit: Limit,
        /// How many there are.
        found: u32,
    },
    /// An instance that is nowhere at the end.
    #[error("instance {0} is not placed at the end")]
    Unplaced(usize),
}

/// What one machine holds, added up.
#[derive(Clone)]
struct Load {
    cpu: Vec<u64>,
    memory: Vec<u64>,
    flat: Vec<u64>,
    apps: BTreeMap<usize, u32>,
}

/// Plays `moves` from the fleet's initial placement, each of which must leave its target within all capacities and limits; the final
/// placement, in which every instance must lie somewhere.
///
/// # Errors
/// The first thing that is wrong.
pub fn judge(fleet: &Fleet, moves: &[Move]) -> Result<Vec<usize>, Refusal> {
    let mut of_app: Vec<Vec<Limit>> = vec![Vec::new(); fleet.apps.len()];
    for limit in &fleet.limits {
        of_app[limit.app].push(*limit);
        if limit.beside != limit.app {
            of_app[limit.beside].push(*limit);
        }
    }
    let mut at = fleet.initial.clone();
    let mut loads = loads(fleet, &at, moves.len())?;
    for (machine, load) in loads.iter().enumerate() {
        fits(fleet, load, machine, moves.len())?;
        load.apps.keys().try_for_each(|app| keeps(&of_app[*app], load, machine, moves.len()))?;
    }
    for (step, Move { instance, machine }) in moves.iter().copied().enumerate() {
        if instance >= at.len() || machine >= loads.len() {
            return Err(Refusal::Unknown { step });
        }
        let app = fleet.instances[instance];
        if let Some(from) = at[instance] {
            loads[from].take(fleet, app);
        }
        loads[machine].put(fleet, app);
        at[instance] = Some(machine);
        fits(fleet, &loads[machine], machine, step)?;
        keeps(&of_app[app], &loads[machine], machine, step)?;
    }
    at.iter().enumerate().map(|(instance, machine)| machine.ok_or(Refusal::Unplaced(instance))).collect()
}

/// What a placement costs, and how many machines hold something.
///
/// # Errors
/// [`Refusal::Unknown`] when it names a machine that does not exist.
pub fn price(fleet: &Fleet, placement: &[Option<usize>]) -> Result<(f64, usize), Refusal> {
    let loads = loads(fleet, placement, 0)?;
    let (mut cost, mut machines) = (0.0, 0);
    for (machine, load) in loads.iter().enumerate().filter(|(_, load)| !load.apps.is_empty()) {
        let capacity = f64::from(fleet.machines[machine].cpu);
        let slot = |used: &u64| 1.0 + STEEPNESS * ((*used as f64 / capacity - FREE_SHARE).max(0.0).exp() - 1.0);
        cost += load.cpu.iter().map(slot).sum::<f64>() / fleet.slots as f64;
        machines += 1;
    }
    Ok((cost, machines))
}

fn loads(fleet: &Fleet, placement: &[Option<usize>], step: usize) -> Result<Vec<Load>, Refusal> {
    let empty = |machine: &super::Machine| Load {
        cpu: vec![0; fleet.slots],
        memory: vec![0; fleet.slots],
        flat: vec![0; machine.flat.len()],
        apps: BTreeMap::new(),
    };
    let mut loads: Vec<Load> = fleet.machines.iter().map(empty).collect();
    for (instance, machine) in placement.iter().enumerate() {
        if let Some(machine) = machine {
            let app = *fleet.instances.get(instance).ok_or(Refusal::Unknown { step })?;
            loads.get_mut(*machine).ok_or(Refusal::Unknown { step })?.put(fleet, app);
        }
    }
    Ok(loads)
}

impl Load {
    fn put(&mut self, fleet: &Fleet, app: usize) {
        let demand = &fleet.apps[app];
        self.cpu.iter_mut().zip(&demand.cpu).for_each(|(used, more)| *used += u64::from(*more));
        self.memory.iter_mut().zip(&demand.memory).for_each(|(used, more)| *used += u64::from(*more));
        self.flat.iter_mut().zip(&demand.flat).for_each(|(used, more)| *used += *more);
        *self.apps.entry(app).or_default() += 1;
    }

    /// Of an app that was [put](Load::put) before.
    fn take(&mut self, fleet: &Fleet, app: usize) {
        let demand = &fleet.apps[app];
        self.cpu.iter_mut().zip(&demand.cpu).for_each(|(used, less)| *used -= u64::from(*less));
        self.memory.iter_mut().zip(&demand.memory).for_each(|(used, less)| *used -= u64::from(*less));
        self.flat.iter_mut().zip(&demand.flat).for_each(|(used, less)| *used -= *less);
        if let Some(count) = self.apps.get_mut(&app) {
            *count -= 1;
            if *count == 0 {
                self.apps.remove(&app);
            }
        }
    }
}

fn fits(fleet: &Fleet, load: &Load, machine: usize, step: usize) -> Result<(), Refusal> {
    let spec = &fleet.machines[machine];
    let over = |used: &[u64], capacity: u32| used.iter().any(|used| *used > u64::from(capacity));
    let refuse = |what| Err(Refusal::Capacity { step, machine, what });
    if over(&load.cpu, spec.cpu) {
        return refuse("cpu");
    }
    if over(&load.memory, spec.memory) {
        return refuse("memory");
    }
    if load.flat.iter().zip(&spec.flat).any(|(used, capacity)| used > capacity) {
        return refuse("flat");
    }
    Ok(())
}

fn keeps(limits: &[Limit], load: &Load, machine: usize, step: usize) -> Result<(), Refusal> {
    for limit in limits {
        let found = load.apps.get(&limit.app).copied().unwrap_or(0);
        if load.apps.contains_key(&limit.beside) && found > limit.most {
            return Err(Refusal::Limit { step, machine, limit: *limit, found });
        }
    }
    Ok(())
}
