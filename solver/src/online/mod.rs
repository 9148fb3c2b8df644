//! Placement one replica at a time: each is put somewhere, or refused when it fits nowhere, before the next is known; nothing is moved.
//!
//! Fed by a [`Problem`] whose workloads are the *kinds* of request that may come. Their `wanted` are not obligations but weights: how often each kind comes,
//! in proportion. What comes, and in which order, no policy knows. Rules other than eligibility, capacity and devices are not looked at.
//!
//! Machines with the same kinds of request allowed and the same room left are interchangeable, so scores are computed for each such *state* and kind of
//! request once, and a placement compares states, of which there are far fewer than machines.

use crate::{DeviceDemand, DeviceTake, NodeIdx, Problem, WorkloadIdx};
use std::collections::{BTreeMap, BTreeSet, HashMap};

mod policies;

pub use policies::{BestFit, DotProduct, Fragmentation, RandomFit, ScarceFit, StrandedFit};

/// What is left of a machine. Two machines with equal room are interchangeable.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Room {
    /// Which kinds of request may come here: an index of [`Online`], the same for machines that allow the same.
    pub allows: usize,
    /// Per resource, what is free.
    pub free: Vec<u64>,
    /// Per kind of device, the free parts of each, ascending.
    pub devices: Vec<Vec<u32>>,
}

impl Room {
    /// The room after one more of a kind of request, which takes a share from a device with `level` free parts (ignored otherwise).
    pub fn after(&self, problem: &Problem, workload: WorkloadIdx, level: u32) -> Option<Room> {
        let spec = &problem.workloads[workload];
        let mut after = self.clone();
        for (free, demand) in after.free.iter_mut().zip(&spec.demand) {
            *free = free.checked_sub(*demand)?;
        }
        let Some(DeviceDemand { kind, take }) = spec.device else { return Some(after) };
        let devices = &mut after.devices[kind];
        match take {
            DeviceTake::Whole(whole) => {
                let first = devices.len().checked_sub(whole as usize)?;
                if devices[first..].iter().any(|free| *free < problem.devices[kind].parts) {
                    return None;
                }
                devices[first..].fill(0);
            }
            DeviceTake::Share(share) => {
                let at = devices.binary_search(&level).ok()?;
                devices[at] = level.checked_sub(share)?;
            }
        }
        devices.sort_unstable();
        Some(after)
    }

    /// The levels of devices from which a kind of request could take its share; a single 0 when it takes none.
    fn levels(&self, problem: &Problem, workload: WorkloadIdx) -> Vec<u32> {
        let Some(DeviceDemand { kind, take: DeviceTake::Share(share) }) = problem.workloads[workload].device else {
            return vec![0];
        };
        let mut levels: Vec<u32> = self.devices[kind].iter().copied().filter(|free| *free >= share).collect();
        levels.dedup();
        levels
    }

    /// Whether one more fits, looking at capacity and devices.
    pub fn takes(&self, problem: &Problem, workload: WorkloadIdx) -> bool {
        let spec = &problem.workloads[workload];
        if self.free.iter().zip(&spec.demand).any(|(free, demand)| free < demand) {
            return false;
        }
        let Some(DeviceDemand { kind, take }) = spec.device else { return true };
        let devices = &self.devices[kind];
        match take {
            DeviceTake::Whole(whole) => {
                let at = devices.len().checked_sub(whole as usize);
                whole == 0 || at.is_some_and(|at| devices[at] == problem.devices[kind].parts)
            }
            DeviceTake::Share(share) => devices.last().is_some_and(|most| *most >= share),
        }
    }
}

/// How the machine is chosen among those on which a request fits.
pub trait Policy {
    /// What it costs to go from one room to the next for this kind of request; the least is taken, ties go to the lowest machine. Depends on
    /// nothing but the arguments: scores are kept.
    fn score(&mut self, before: &Room, workload: WorkloadIdx, after: &Room) -> f64;
}

/// Where a request was put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seat {
    /// The machine.
    pub node: NodeIdx,
    /// The positions of the devices it takes, or takes a share of; empty when it takes none.
    pub devices: Vec<u32>,
}

/// The best transition of a state for a kind of request: its score and the device level to take from.
type Step = Option<(f64, u32)>;

/// Machines being filled.
pub struct Online<'p> {
    problem: &'p Problem,
    /// Per kind of request and allowance: whether it may be there.
    may: Vec<Vec<bool>>,
    /// Per machine and kind of device: the free parts of each, by position.
    free_parts: Vec<Vec<Vec<u32>>>,
    rooms: Vec<Room>,
    index: HashMap<Room, usize>,
    /// Per state, the machines in it, and the scores known (none while no machine is in it).
    members: Vec<BTreeSet<NodeIdx>>,
    steps: Vec<Vec<Option<Step>>>,
    occupied: BTreeSet<usize>,
    state_of: Vec<usize>,
}

impl<'p> Online<'p> {
    /// All machines empty.
    pub fn new(problem: &'p Problem) -> Online<'p> {
        let mut allowances: BTreeMap<Vec<bool>, usize> = BTreeMap::new();
        let mut online = Online {
            problem,
            may: Vec::new(),
            free_parts: Vec::new(),
            rooms: Vec::new(),
            index: HashMap::new(),
            members: Vec::new(),
            steps: Vec::new(),
            occupied: BTreeSet::new(),
            state_of: vec![usize::MAX; problem.nodes.len()],
        };
        for (node, spec) in problem.nodes.iter().enumerate() {
            let may: Vec<bool> = problem.workloads.iter().map(|w| w.eligible.binary_search(&node).is_ok()).collect();
            let next = allowances.len();
            let allows = *allowances.entry(may.clone()).or_insert(next);
            if allows == online.may.len() {
                online.may.push(may);
            }
            let parts = problem.devices.iter().enumerate();
            let devices: Vec<Vec<u32>> = parts
                .map(|(kind, device)| vec![device.parts; spec.devices.get(kind).copied().unwrap_or(0) as usize])
                .collect();
            online.free_parts.push(devices.clone());
            online.enter(node, Room { allows, free: spec.capacity.clone(), devices });
        }
        online
    }

    /// Which kinds of request machines of this allowance take.
    pub fn may(&self, allows: usize) -> &[bool] {
        &self.may[allows]
    }

    /// What is left of a machine.
    pub fn room(&self, node: NodeIdx) -> &Room {
        &self.rooms[self.state_of[node]]
    }

    /// Puts one request where the policy likes it best; `None` when it fits nowhere. One policy for the life of this value: its scores are kept.
    pub fn place(&mut self, workload: WorkloadIdx, policy: &mut dyn Policy) -> Option<Seat> {
        let mut best: Option<(f64, NodeIdx, u32)> = None;
        let states: Vec<usize> = self.occupied.iter().copied().collect();
        for state in states {
            let Some((score, level)) = self.step(state, workload, policy) else { continue };
            let Some(node) = self.members[state].first().copied() else { continue };
            if best.is_none_or(|(least, first, _)| (score, node) < (least, first)) {
                best = Some((score, node, level));
            }
        }
        let (_, node, level) = best?;
        let room = self.room(node).after(self.problem, workload, level)?;
        let devices = self.take(node, workload, level);
        self.leave(node);
        self.enter(node, room);
        Some(Seat { node, devices })
    }

    /// The request that sits there goes.
    pub fn remove(&mut self, workload: WorkloadIdx, seat: &Seat) {
        let mut room = self.room(seat.node).clone();
        let spec = &self.problem.workloads[workload];
        room.free.iter_mut().zip(&spec.demand).for_each(|(free, demand)| *free += demand);
        if let Some(DeviceDemand { kind, take }) = spec.device {
            let parts = &mut self.free_parts[seat.node][kind];
            let back = match take {
                DeviceTake::Whole(_) => self.problem.devices[kind].parts,
                DeviceTake::Share(share) => share,
            };
            seat.devices.iter().for_each(|device| parts[*device as usize] += back);
            room.devices[kind].clone_from(parts);
            room.devices[kind].sort_unstable();
        }
        self.leave(seat.node);
        self.enter(seat.node, room);
    }

    fn step(&mut self, state: usize, workload: WorkloadIdx, policy: &mut dyn Policy) -> Step {
        if self.steps[state].is_empty() {
            self.steps[state] = vec![None; self.problem.workloads.len()];
        }
        if let Some(known) = self.steps[state][workload] {
            return known;
        }
        let room = &self.rooms[state];
        let mut best: Step = None;
        if self.may[room.allows][workload] && room.takes(self.problem, workload) {
            for level in room.levels(self.problem, workload) {
                let Some(after) = room.after(self.problem, workload, level) else { continue };
                let score = policy.score(room, workload, &after);
                if best.is_none_or(|(least, _)| score < least) {
                    best = Some((score, level));
                }
            }
        }
        self.steps[state][workload] = Some(best);
        best
    }

    /// Takes the devices of a machine that a request needs, the first with that level.
    fn take(&mut self, node: NodeIdx, workload: WorkloadIdx, level: u32) -> Vec<u32> {
        let Some(DeviceDemand { kind, take }) = self.problem.workloads[workload].device else { return Vec::new() };
        let (many, from, less) = match take {
            DeviceTake::Whole(whole) => {
                let parts = self.problem.devices[kind].parts;
                (whole as usize, parts, parts)
            }
            DeviceTake::Share(share) => (1, level, share),
        };
        let devices = self.free_parts[node][kind].iter_mut().enumerate();
        let taken = devices.filter(|(_, free)| **free == from).take(many);
        let less = |(device, free): (usize, &mut u32)| {
            *free -= less;
            device as u32
        };
        taken.map(less).collect()
    }

    fn enter(&mut self, node: NodeIdx, room: Room) {
        let next = self.rooms.len();
        let state = *self.index.entry(room.clone()).or_insert(next);
        if state == next {
            self.rooms.push(room);
            self.members.push(BTreeSet::new());
            self.steps.push(Vec::new());
        }
        self.members[state].insert(node);
        self.occupied.insert(state);
        self.state_of[node] = state;
    }

    fn leave(&mut self, node: NodeIdx) {
        let state = self.state_of[node];
        self.members[state].remove(&node);
        if self.members[state].is_empty() {
            self.occupied.remove(&state);
            self.steps[state] = Vec::new();
        }
    }
}
