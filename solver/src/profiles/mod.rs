//! Long-running containers with day profiles on machines whose price is convex in their CPU use: which machine holds which instance, and a
//! sequence of single moves that leads there.
//!
//! A sibling of the crate's general program, for the shape of problem that the Alibaba Global Scheduling Algorithm Challenge 2018 asked for:
//! an *app* is a CPU curve and a memory curve over the slots of a day and a vector of flat demands, wanted in a number of identical
//! instances. A machine that holds anything costs
//!
//! ```text
//! mean over slots t of  1 + 10 · (exp(max(0, used(t) / capacity − 0.5)) − 1)
//! ```
//!
//! Every slot and every flat resource is bounded by the machine's capacity, and [`Limit`]s say how many of one app may lie beside another.
//!
//! ```text
//!  Fleet --> bound (fluid, proven)
//!    |
//!    +----> start (best of a sample) --> anneal (swaps, shifts, closing) --> matching (groups --> machines) --> route (moves)
//!                                                                                                       |
//!    +--------------------------------> judge (integers, shares no code with the search) <--------------+
//! ```
//!
//! Feeds on a [`Fleet`]; refuses to know files, names and clocks: how much of its time is gone is an argument. Integers decide what is
//! allowed; only costs are floats, and the judge computes those again.
//!
//! What is thin: one thread; machines are closed but never opened while annealing, so it begins with some more than the bound would have; with
//! one kind of machine nothing is closed; CPU beyond 99.9 % of a machine is not used.

mod anneal;
mod bound;
mod closing;
mod judge;
mod kernels;
mod matching;
mod partners;
mod random;
mod route;
mod start;
mod state;

pub use anneal::{Schedule, Step, anneal};
pub use bound::{Fluid, fluid_bound};
pub use judge::{Refusal, judge, price};
pub use matching::match_groups;
pub use route::{Move, RouteError, route};

use thiserror::Error;

/// The share of CPU above which use costs extra.
pub const FREE_SHARE: f64 = 0.5;
/// The factor of the extra cost.
pub const STEEPNESS: f64 = 10.0;
/// No curve and no capacity of CPU or memory may exceed this, so that the sum of two fits 32 bits with a sign.
pub const AMOUNT_MAX: u32 = (1 << 30) - 1;

/// The machines, what is to be placed on them, and what lies where.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fleet {
    /// Points in each curve.
    pub slots: usize,
    /// What one instance of each app takes.
    pub apps: Vec<App>,
    /// What each machine has.
    pub machines: Vec<Machine>,
    /// Who may lie beside whom. Several for one pair: all hold.
    pub limits: Vec<Limit>,
    /// The app of each instance.
    pub instances: Vec<usize>,
    /// The machine of each instance at the beginning, if any. Keeps every capacity and limit.
    pub initial: Vec<Option<usize>>,
}

/// What one instance takes. CPU and memory in any fixed point (millionths), the same throughout the fleet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct App {
    /// CPU per slot.
    pub cpu: Vec<u32>,
    /// Memory per slot.
    pub memory: Vec<u32>,
    /// What does not change over the day (disk, …).
    pub flat: Vec<u64>,
}

/// What a machine has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Machine {
    /// CPU.
    pub cpu: u32,
    /// Memory.
    pub memory: u32,
    /// As many as in [`App::flat`].
    pub flat: Vec<u64>,
}

/// A machine that holds an instance of `beside` holds at most `most` of `app` (`beside` = `app`: at most `most` in all).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Limit {
    /// Whose presence makes the limit hold.
    pub beside: usize,
    /// Which app is limited.
    pub app: usize,
    /// To how many on a machine.
    pub most: u32,
}

/// Why a fleet has no meaning, or no placement was found.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FleetError {
    /// A vector's length differs from the others'.
    #[error("{what} {index} has {found} numbers, not {wanted}")]
    Length {
        /// Of what.
        what: &'static str,
        /// Which.
        index: usize,
        /// How many there are.
        found: usize,
        /// How many there should be.
        wanted: usize,
    },
    /// A position that does not exist.
    #[error("{what} {index} names something that does not exist")]
    Dangling {
        /// In what.
        what: &'static str,
        /// Which.
        index: usize,
    },
    /// An amount beyond [`AMOUNT_MAX`], a machine without CPU, or a day without slots.
    #[error("{what} {index} has an amount out of range")]
    OutOfRange {
        /// Of what.
        what: &'static str,
        /// Which.
        index: usize,
    },
    /// The first instance for which the construction found no machine.
    #[error("no machine has room for instance {0}")]
    NoRoom(usize),
}

impl Fleet {
    /// Whether every position exists and every number is in range.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn validate(&self) -> Result<(), FleetError> {
        let flat = self.machines.first().map_or(0, |machine| machine.flat.len());
        let length = |what, index, found, wanted| {
            if found == wanted { Ok(()) } else { Err(FleetError::Length { what, index, found, wanted }) }
        };
        if self.slots == 0 {
            return Err(FleetError::OutOfRange { what: "slots of fleet", index: 0 });
        }
        length("initial placement", 0, self.initial.len(), self.instances.len())?;
        for (index, app) in self.apps.iter().enumerate() {
            length("CPU curve of app", index, app.cpu.len(), self.slots)?;
            length("memory curve of app", index, app.memory.len(), self.slots)?;
            length("flat demands of app", index, app.flat.len(), flat)?;
            if app.cpu.iter().chain(&app.memory).any(|amount| *amount > AMOUNT_MAX)
                || app.flat.iter().any(|amount| *amount > FLAT_MAX)
            {
                return Err(FleetError::OutOfRange { what: "app", index });
            }
        }
        for (index, machine) in self.machines.iter().enumerate() {
            length("flat capacities of machine", index, machine.flat.len(), flat)?;
            if machine.cpu == 0
                || machine.cpu.max(machine.memory) > AMOUNT_MAX
                || machine.flat.iter().any(|amount| *amount > FLAT_MAX)
            {
                return Err(FleetError::OutOfRange { what: "machine", index });
            }
        }
        let dangling = |what, index| Err(FleetError::Dangling { what, index });
        if let Some(index) = self.instances.iter().position(|app| *app >= self.apps.len()) {
            return dangling("instance", index);
        }
        let absent = |machine: &Option<usize>| machine.is_some_and(|machine| machine >= self.machines.len());
        if let Some(index) = self.initial.iter().position(absent) {
            return dangling("initial placement", index);
        }
        let unknown = |limit: &Limit| limit.app.max(limit.beside) >= self.apps.len();
        if let Some(index) = self.limits.iter().position(unknown) {
            return dangling("limit", index);
        }
        Ok(())
    }
}

/// Flat amounts stay below this, so that sums over any number of instances fit 64 bits with a sign.
const FLAT_MAX: u64 = 1 << 40;
