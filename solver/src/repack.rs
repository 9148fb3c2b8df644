//! Ruin and recreate over devices (Schrimpf et al. 2000), where something that takes devices is short: a few nodes are cleared, and what lay on them is put
//! back together with what waits, each share on a device of its own choice.
//!
//! A state knows which device every replica takes. Its energy is what waits, plus for each node how little its room is worth: with u devices free and
//! enough of the other resources to use them, `gaps − u · (1 + u / devices)`, where gaps are the parts left on shared devices. So free devices
//! gather where large requests can use them, and shares lie on devices that they fill. Worse states are taken at random (simulated annealing).
//!
//! Fed by the best placement. Moved are replicas without rules that do not run yet; everything else stays where it is. With rules about nodes nothing is
//! done. Steps are counted, not timed, so that equal problems give equal answers unless the deadline shortens a round.

use crate::chance::{Chance, SEED};
use crate::deadline::Deadline;
use crate::instance::Instance;
use crate::layout::Layout;
use crate::solve::Search;
use crate::{DeviceDemand, DeviceTake, Placed, Tier, slots};
use std::collections::BTreeMap;

/// What a replica that waits weighs, in devices of the best equipped node: more than what all of its devices are worth.
const WAITING: f64 = 2.5;
/// How much more worth free devices are that lie together, for a node of which all are free.
const GATHER: f64 = 0.8;
/// The temperature at the start and at the end of a round, in the same unit.
const HOT: f64 = 0.125;
const COLD: f64 = 0.006;
/// Nodes cleared in a step: at least, and how many numbers there are to choose from.
const NODES: (usize, usize) = (2, 4);
/// The same for a step that leaves whole devices alone, and how many of the steps are such.
const NODES_SHARING: (usize, usize) = (6, 6);
const SHARING: f64 = 0.75;
/// Replicas that wait and are tried in a step, at most.
const TRIED_MAX: usize = 12;
/// The part of nodes that is passed over at random ("blinks", Christiaens and Vanden Berghe 2020).
const BLINK: f64 = 0.02;
/// Steps of the first round for each node; each round is twice as long as the one before.
const STEPS_PER_NODE: u64 = 60;
/// Rounds at most.
const ROUNDS_MAX: u64 = 12;
/// A round is late when so much of the time is gone and less of its steps.
const LATE_MIN: f64 = 0.3;
/// Devices of one node, at most: a bit for each.
const DEVICES_MAX: usize = 64;
/// Replicas, placed and missing, at most: each is an entry.
const REPLICAS_MAX: u64 = 2_000_000;

impl Search<'_, '_> {
    /// Looks for room for what is short among the devices, until nothing is missing any more that the bounds allow, or the time is out.
    pub(crate) fn repack_devices(&mut self, deadline: Deadline) {
        if self.instance.problem.devices.is_empty() {
            return;
        }
        let steps = STEPS_PER_NODE * self.instance.problem.nodes.len() as u64;
        for round in 0..ROUNDS_MAX {
            if deadline.passed() || !self.is_open(|tier| matches!(tier, Tier::Shortage(_))) {
                return;
            }
            let Some(mut repack) = Repack::new(self.instance, &self.best, round) else { return };
            repack.round(steps << round, deadline);
            if let Some(placed) = repack.found.take() {
                self.offer(placed);
            }
        }
    }
}

/// A replica that may be moved: its workload, and the devices of its node that it takes, or takes a share of.
type Pod = (u32, u64);

/// What is left of a node, and what may be moved off it.
#[derive(Clone)]
struct Room {
    free: Vec<u64>,
    /// Per device, the kinds one after the other, the parts left.
    parts: Vec<u32>,
    pods: Vec<Pod>,
    energy: f64,
}

/// What a kind of device is worth with what goes with it.
struct Scales {
    parts: u32,
    /// Per resource, how much of it goes with one device on average; 0: none.
    beside: Vec<f64>,
    /// The most devices of any node.
    most: f64,
}

/// One round.
struct Repack<'i, 'p> {
    instance: &'i Instance<'p>,
    scales: Vec<Scales>,
    /// Per node and kind, the first of its devices; one more at the end.
    first: Vec<Vec<usize>>,
    rooms: Vec<Room>,
    waiting: Vec<u32>,
    /// Per workload: the part of devices it takes, as an order; the rank of its priority, 0 the highest; what it weighs while it waits.
    size: Vec<f64>,
    rank: Vec<usize>,
    weight: Vec<f64>,
    /// Whether anything takes a share.
    shares: bool,
    /// What stays where it is.
    fixed: Vec<Placed>,
    /// Per rank, how many wait; the least so far, and the placement.
    short: Vec<u32>,
    least: Vec<u32>,
    found: Option<Vec<Placed>>,
    chance: Chance,
}

impl<'i, 'p> Repack<'i, 'p> {
    /// `None` where this search has nothing to say.
    fn new(instance: &'i Instance<'p>, placed: &[Placed], seed: u64) -> Option<Repack<'i, 'p>> {
        let problem = instance.problem;
        let transient = problem.resources.iter().any(|resource| resource.transient) && !problem.current.is_empty();
        if transient || !instance.node_rules.is_empty() || problem.nodes.len() < NODES.0 {
            return None;
        }
        let mut ranks: Vec<i32> = problem.workloads.iter().map(|workload| workload.priority).collect();
        ranks.sort_unstable();
        ranks.dedup();
        let rank = |priority: i32| ranks.len() - 1 - ranks.binary_search(&priority).unwrap_or(0);
        let scales: Vec<Scales> = (0..problem.devices.len()).map(|kind| scales(instance, kind)).collect();
        let unit = scales.iter().map(|scales| scales.most).fold(1.0, f64::max);
        let weight = |rank: usize| WAITING * unit * f64::powi(2.0, (ranks.len() - 1 - rank).min(16) as i32);
        let mut repack = Repack {
            instance,
            first: (0..problem.nodes.len()).map(|node| firsts(instance, node)).collect(),
            rooms: Vec::new(),
            waiting: Vec::new(),
            size: (0..problem.workloads.len()).map(|workload| size(instance, &scales, workload)).collect(),
            rank: problem.workloads.iter().map(|workload| rank(workload.priority)).collect(),
            weight: problem.workloads.iter().map(|workload| weight(rank(workload.priority))).collect(),
            shares: instance.shares.iter().any(|shares| !shares.is_empty()),
            scales,
            fixed: Vec::new(),
            short: vec![0; ranks.len()],
            least: Vec::new(),
            found: None,
            chance: Chance::new((seed + 1).wrapping_mul(SEED)),
        };
        repack.read(placed)?;
        repack.least = repack.short.clone();
        Some(repack)
    }

    /// Takes over a placement, with a device for everything.
    fn read(&mut self, placed: &[Placed]) -> Option<()> {
        let (instance, problem) = (self.instance, self.instance.problem);
        let layout = Layout::new(instance, placed);
        let missing = layout.short().into_iter().map(|workload| u64::from(layout.missing(workload)));
        let replicas = placed.iter().map(|entry| u64::from(entry.count)).chain(missing).sum::<u64>();
        let devices = self.first.iter().filter_map(|first| first.last()).max();
        if replicas > REPLICAS_MAX || devices.is_some_and(|devices| *devices > DEVICES_MAX) {
            return None;
        }
        for node in 0..problem.nodes.len() {
            let free = (0..problem.resources.len()).map(|resource| u64::try_from(layout.free(node, resource)).ok());
            let devices = problem.devices.iter().enumerate();
            let parts = devices.flat_map(|(kind, device)| {
                std::iter::repeat_n(device.parts, problem.nodes[node].devices.get(kind).map_or(0, |n| *n as usize))
            });
            let (free, parts): (Option<Vec<u64>>, Vec<u32>) = (free.collect(), parts.collect());
            self.rooms.push(Room { free: free?, parts, pods: Vec::new(), energy: 0.0 });
        }
        let assigned = slots(problem, placed);
        let mut devices = assigned.iter();
        for entry in placed {
            let Placed { workload, node, count } = *entry;
            let spec = &problem.workloads[workload];
            let assigned = if spec.device.is_some() { Some(devices.next()?) } else { None };
            let loose = instance.rules_of[workload].is_empty() && spec.per_node_max.is_none() && spec.surplus_max == 0;
            let stays = if loose { count.min(instance.running_count(workload, node)) } else { count };
            if stays > 0 {
                self.fixed.push(Placed { count: stays, ..*entry });
            }
            for replica in 0..count {
                let mut mask = 0u64;
                if let (Some(assigned), Some(DeviceDemand { kind, .. })) = (assigned, spec.device) {
                    let taken = assigned.devices.get(replica as usize).filter(|taken| !taken.is_empty())?;
                    taken.iter().for_each(|device| mask |= 1 << (self.first[node][kind] + *device as usize));
                }
                self.change_parts(workload, node, mask, true);
                if replica >= stays {
                    self.rooms[node].pods.push((workload as u32, mask));
                }
            }
        }
        for workload in layout.short() {
            let spec = &problem.workloads[workload];
            let loose = instance.rules_of[workload].is_empty() && spec.per_node_max.is_none() && spec.surplus_max == 0;
            if loose {
                self.waiting.extend(std::iter::repeat_n(workload as u32, layout.missing(workload) as usize));
            }
        }
        self.waiting.iter().for_each(|workload| self.short[self.rank[*workload as usize]] += 1);
        for node in 0..self.rooms.len() {
            self.rooms[node].energy = self.energy(node);
        }
        (!self.waiting.is_empty()).then_some(())
    }

    fn change_parts(&mut self, workload: usize, node: usize, mask: u64, take: bool) {
        let Some(DeviceDemand { kind, take: demand }) = self.instance.problem.workloads[workload].device else {
            return;
        };
        let amount = match demand {
            DeviceTake::Whole(_) => self.scales[kind].parts,
            DeviceTake::Share(share) => share,
        };
        let mut left = mask;
        while left != 0 {
            let parts = &mut self.rooms[node].parts[left.trailing_zeros() as usize];
            *parts = if take { *parts - amount } else { *parts + amount };
            left &= left - 1;
        }
    }

    /// Puts a replica on a node, or takes it off; its list is the caller's.
    fn change(&mut self, workload: usize, node: usize, mask: u64, take: bool) {
        let demand = &self.instance.problem.workloads[workload].demand;
        for (free, demand) in self.rooms[node].free.iter_mut().zip(demand) {
            *free = if take { *free - demand } else { *free + demand };
        }
        self.change_parts(workload, node, mask, take);
    }

    /// The devices that one more would take on a node: whole ones the first that are free, a share the fullest device that has room.
    fn place_on(&self, workload: usize, node: usize) -> Option<u64> {
        let (room, spec) = (&self.rooms[node], &self.instance.problem.workloads[workload]);
        if !self.instance.is_allowed(workload, node)
            || room.free.iter().zip(&spec.demand).any(|(free, demand)| free < demand)
        {
            return None;
        }
        let Some(DeviceDemand { kind, take }) = spec.device else { return Some(0) };
        let (first, end) = (self.first[node][kind], self.first[node][kind + 1]);
        match take {
            DeviceTake::Whole(devices) => {
                let free = (first..end).filter(|device| room.parts[*device] == self.scales[kind].parts);
                let (mut mask, mut lacking) = (0, devices);
                for device in free.take(devices as usize) {
                    mask |= 1 << device;
                    lacking -= 1;
                }
                (lacking == 0).then_some(mask)
            }
            DeviceTake::Share(share) => {
                let open = (first..end).filter(|device| room.parts[*device] >= share);
                open.min_by_key(|device| (room.parts[*device], *device)).map(|device| 1 << device)
            }
        }
    }

    fn energy(&self, node: usize) -> f64 {
        let room = &self.rooms[node];
        let of_kind = |(kind, scales): (usize, &Scales)| {
            let devices = &room.parts[self.first[node][kind]..self.first[node][kind + 1]];
            let (mut usable, mut gaps) = (0.0, 0.0);
            for parts in devices {
                if *parts == scales.parts {
                    usable += 1.0;
                } else {
                    gaps += f64::from(*parts) / f64::from(scales.parts);
                }
            }
            for (free, beside) in room.free.iter().zip(&scales.beside) {
                if *beside > 0.0 {
                    usable = f64::min(usable, *free as f64 / beside);
                }
            }
            gaps - usable * (1.0 + GATHER * usable / scales.most)
        };
        self.scales.iter().enumerate().map(of_kind).sum()
    }

    /// What is left on a node beside its devices, for a choice among equals.
    fn left_over(&self, node: usize) -> f64 {
        let left = self.scales.iter().flat_map(|scales| self.rooms[node].free.iter().zip(&scales.beside));
        left.filter(|(_, beside)| **beside > 0.0).map(|(free, beside)| *free as f64 / beside).sum::<f64>() * 0.01
    }

    /// Puts a replica on the one of some nodes where it costs least.
    fn insert(&mut self, workload: u32, nodes: &[usize]) -> bool {
        let mut best: Option<(f64, usize, u64, f64)> = None;
        for node in nodes.iter().copied() {
            let Some(mask) = self.place_on(workload as usize, node) else { continue };
            if self.chance.part() < BLINK {
                continue;
            }
            self.change(workload as usize, node, mask, true);
            let energy = self.energy(node);
            self.change(workload as usize, node, mask, false);
            let score = energy - self.rooms[node].energy + self.left_over(node);
            if best.is_none_or(|(least, ..)| score < least) {
                best = Some((score, node, mask, energy));
            }
        }
        let Some((_, node, mask, energy)) = best else { return false };
        self.change(workload as usize, node, mask, true);
        self.rooms[node].energy = energy;
        self.rooms[node].pods.push((workload, mask));
        true
    }

    /// Anneals for so many steps.
    fn round(&mut self, steps: u64, deadline: Deadline) {
        let unit = self.scales.iter().map(|scales| scales.most).fold(1.0, f64::max);
        let (mut temperature, whole) = (HOT * unit, deadline.remaining().as_secs_f64().max(1e-3));
        for step in 0..steps {
            if step % 128 == 0 {
                // A deadline before the end of the round cools faster.
                let late = (1.0 - deadline.remaining().as_secs_f64() / whole - LATE_MIN) / (1.0 - LATE_MIN);
                let done = f64::max(step as f64 / steps as f64, late);
                temperature = HOT * unit * f64::powf(COLD / HOT, done);
                if deadline.passed() {
                    return;
                }
            }
            if self.waiting.is_empty() {
                return;
            }
            self.step(temperature);
            if self.short < self.least {
                self.least.clone_from(&self.short);
                self.found = Some(self.placed());
            }
        }
    }

    /// Clears some nodes and fills them again.
    fn step(&mut self, temperature: f64) {
        let sharing = self.shares && self.chance.part() < SHARING;
        let nodes = self.choose(sharing);
        let saved: Vec<Room> = nodes.iter().map(|node| self.rooms[*node].clone()).collect();
        let mut pool = self.clear(&nodes, sharing);
        let guests = self.guests();
        self.order(&mut pool, &guests);
        let failed: Vec<u32> =
            pool.into_iter().map(|(_, workload)| workload).filter(|workload| !self.insert(*workload, &nodes)).collect();
        let weigh = |workloads: &[u32]| workloads.iter().map(|workload| self.weight[*workload as usize]).sum::<f64>();
        let before = weigh(&guests) + saved.iter().map(|room| room.energy).sum::<f64>();
        let after = weigh(&failed) + nodes.iter().map(|node| self.rooms[*node].energy).sum::<f64>();
        if after > before && self.chance.part() >= f64::exp((before - after) / temperature) {
            nodes.into_iter().zip(saved).for_each(|(node, room)| self.rooms[node] = room);
            self.waiting.extend(guests);
            return;
        }
        guests.iter().for_each(|workload| self.short[self.rank[*workload as usize]] -= 1);
        failed.iter().for_each(|workload| self.short[self.rank[*workload as usize]] += 1);
        self.waiting.extend(failed);
    }

    /// Some of what waits, taken from the list.
    fn guests(&mut self) -> Vec<u32> {
        let many = self.waiting.len().min(TRIED_MAX);
        let mut guests = Vec::with_capacity(many);
        for _ in 0..many {
            let at = self.chance.below(self.waiting.len());
            guests.push(self.waiting.swap_remove(at));
        }
        guests
    }

    /// The order in which what was cleared and what waits are put back: roughly by size, the largest first; what waits in between, or behind, or, the
    /// smallest first, in front, and then the largest that was cleared behind all, so that it gives way to many small ones.
    fn order(&mut self, pool: &mut Vec<(f64, u32)>, guests: &[u32]) {
        let noise = [0.0, 0.1, 0.3, 1.0][self.chance.below(4)];
        let way = self.chance.below(4);
        for entry in pool.iter_mut() {
            entry.0 = -self.size[entry.1 as usize] * (1.0 + noise * self.chance.part());
        }
        if way == 0 {
            let size = |(_, workload): &&mut (f64, u32)| self.size[*workload as usize];
            if let Some(largest) = pool.iter_mut().max_by(|a, b| size(a).total_cmp(&size(b))) {
                largest.0 = f64::MAX;
            }
        }
        for workload in guests {
            let size = self.size[*workload as usize];
            let place = match way {
                0 => size - 1e6,
                1 => -size * (1.0 + noise * self.chance.part()),
                _ => 1.0 + size,
            };
            pool.push((place, *workload));
        }
        pool.sort_by(|a, b| a.0.total_cmp(&b.0));
    }

    /// Some nodes, mostly such as something that waits may go to; to share devices in another way, those with much left on shared ones.
    fn choose(&mut self, sharing: bool) -> Vec<usize> {
        let (least, more) = if sharing { NODES_SHARING } else { NODES };
        let many = (least + self.chance.below(more)).min(self.rooms.len());
        let guest = self.waiting[self.chance.below(self.waiting.len())] as usize;
        let mut nodes = Vec::with_capacity(many);
        for attempt in 0..60 {
            let mut node = self.chance.below(self.rooms.len());
            if sharing {
                let other = self.chance.below(self.rooms.len());
                node = if self.gaps(other) > self.gaps(node) { other } else { node };
            }
            let any = attempt >= 30 || self.chance.below(4) == 0;
            if (any || self.instance.is_allowed(guest, node)) && !nodes.contains(&node) {
                nodes.push(node);
                if nodes.len() == many {
                    break;
                }
            }
        }
        nodes
    }

    /// Parts left on devices that are shared.
    fn gaps(&self, node: usize) -> u64 {
        let kinds = self.scales.iter().enumerate();
        let of_kind = |(kind, scales): (usize, &Scales)| -> u64 {
            let devices = &self.rooms[node].parts[self.first[node][kind]..self.first[node][kind + 1]];
            devices.iter().filter(|parts| **parts < scales.parts).map(|parts| u64::from(*parts)).sum()
        };
        kinds.map(of_kind).sum()
    }

    /// Takes all that may be moved off some nodes, or a part of it; to share devices in another way, all that takes no whole ones.
    fn clear(&mut self, nodes: &[usize], sharing: bool) -> Vec<(f64, u32)> {
        let kept = if sharing { 0.0 } else { [0.0, 0.0, 0.3, 0.6][self.chance.below(4)] };
        let mut pool = Vec::new();
        for node in nodes.iter().copied() {
            for (workload, mask) in std::mem::take(&mut self.rooms[node].pods) {
                let device = self.instance.problem.workloads[workload as usize].device;
                let whole = device.is_some_and(|demand| matches!(demand.take, DeviceTake::Whole(_)));
                if sharing && whole || self.chance.part() < kept {
                    self.rooms[node].pods.push((workload, mask));
                } else {
                    self.change(workload as usize, node, mask, false);
                    pool.push((0.0, workload));
                }
            }
            self.rooms[node].energy = self.energy(node);
        }
        pool
    }

    fn placed(&self) -> Vec<Placed> {
        let mut counts: BTreeMap<(usize, usize), u32> = BTreeMap::new();
        self.fixed.iter().for_each(|entry| *counts.entry((entry.workload, entry.node)).or_default() += entry.count);
        for (node, room) in self.rooms.iter().enumerate() {
            room.pods.iter().for_each(|(workload, _)| *counts.entry((*workload as usize, node)).or_default() += 1);
        }
        counts.into_iter().map(|((workload, node), count)| Placed { workload, node, count }).collect()
    }
}

/// Per kind, the position of a node's first device of it; one more at the end.
fn firsts(instance: &Instance, node: usize) -> Vec<usize> {
    let devices = &instance.problem.nodes[node].devices;
    let there = |kind: usize| devices.get(kind).map_or(0, |devices| *devices as usize);
    let ends = (0..instance.problem.devices.len()).scan(0, |end, kind| {
        *end += there(kind);
        Some(*end)
    });
    std::iter::once(0).chain(ends).collect()
}

/// The devices that one replica takes, of all kinds; parts of one count as such.
fn devices_of(instance: &Instance, workload: usize) -> f64 {
    match instance.problem.workloads[workload].device {
        None => 0.0,
        Some(DeviceDemand { take: DeviceTake::Whole(devices), .. }) => f64::from(devices),
        Some(DeviceDemand { kind, take: DeviceTake::Share(share) }) => {
            f64::from(share) / f64::from(instance.problem.devices[kind].parts)
        }
    }
}

fn scales(instance: &Instance, kind: usize) -> Scales {
    let problem = instance.problem;
    let (mut devices, mut beside) = (0.0, vec![0.0; problem.resources.len()]);
    for (workload, spec) in problem.workloads.iter().enumerate() {
        if spec.device.is_some_and(|demand| demand.kind == kind) {
            devices += devices_of(instance, workload) * f64::from(spec.wanted);
            let amounts = beside.iter_mut().zip(&spec.demand);
            amounts.for_each(|(beside, demand)| *beside += *demand as f64 * f64::from(spec.wanted));
        }
    }
    beside.iter_mut().for_each(|beside| *beside /= f64::max(devices, 1e-9));
    let most = problem.nodes.iter().map(|node| node.devices.get(kind).copied().unwrap_or(0)).max().unwrap_or(0);
    Scales { parts: problem.devices[kind].parts, beside, most: f64::from(most.max(1)) }
}

/// How large a replica is: its devices, and a part of what they would have beside them.
fn size(instance: &Instance, scales: &[Scales], workload: usize) -> f64 {
    let spec = &instance.problem.workloads[workload];
    let of_kind = |scales: &Scales| {
        let amounts = spec.demand.iter().zip(&scales.beside).filter(|(_, beside)| **beside > 0.0);
        amounts.map(|(demand, beside)| *demand as f64 / beside).fold(0.0, f64::max)
    };
    devices_of(instance, workload) + 0.3 * scales.iter().map(of_kind).fold(0.0, f64::max)
}

#[cfg(test)]
#[path = "repack_tests.rs"]
mod tests;
