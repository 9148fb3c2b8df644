//! Policies for placing one request at a time: three simple peers, and two measures of fragmentation.
//!
//! A policy knows the kinds of request and how often each comes, as FGD does, and nothing of the sequence.

use super::{Online, Policy, Room};
use crate::{DeviceDemand, DeviceTake, Problem, WorkloadIdx};
use std::collections::HashMap;

/// Any machine on which it fits, drawn from a fixed seed; for requests in the same states the same again.
pub struct RandomFit(u64);

impl RandomFit {
    /// Equal seeds choose equally.
    pub fn new(seed: u64) -> RandomFit {
        RandomFit(seed ^ 0x9E37_79B9_7F4A_7C15)
    }
}

impl Policy for RandomFit {
    fn score(&mut self, _: &Room, _: WorkloadIdx, _: &Room) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as f64
    }
}

/// The machine with the least left over: the sum of what is free of each resource and kind of device, each in units of the largest machine.
pub struct BestFit(Sizes);

impl BestFit {
    /// Looks at the machines' sizes only.
    pub fn new(problem: &Problem) -> BestFit {
        BestFit(Sizes::new(problem))
    }
}

impl Policy for BestFit {
    fn score(&mut self, _: &Room, _: WorkloadIdx, after: &Room) -> f64 {
        self.0.of(after).sum()
    }
}

/// The machine whose free room points least in the direction of the request (Tetris, Grandl et al. 2014, as FGD's authors compare with it).
pub struct DotProduct(Sizes);

impl DotProduct {
    /// Looks at the machines' sizes only.
    pub fn new(problem: &Problem) -> DotProduct {
        DotProduct(Sizes::new(problem))
    }
}

impl Policy for DotProduct {
    fn score(&mut self, before: &Room, _: WorkloadIdx, after: &Room) -> f64 {
        self.0.of(before).zip(self.0.of(after)).map(|(before, after)| before * (before - after)).sum()
    }
}

/// The largest machine's amount of each resource and of parts of each kind of device, at least 1.
struct Sizes {
    resources: Vec<f64>,
    parts: Vec<f64>,
}

impl Sizes {
    fn new(problem: &Problem) -> Sizes {
        let most = |amounts: &mut dyn Iterator<Item = u64>| amounts.max().unwrap_or(0).max(1) as f64;
        let resource = |r: usize| most(&mut problem.nodes.iter().map(|node| node.capacity[r]));
        let parts = |kind: usize| {
            let devices = |node: &crate::Node| u64::from(node.devices.get(kind).copied().unwrap_or(0));
            most(&mut problem.nodes.iter().map(|node| devices(node) * u64::from(problem.devices[kind].parts)))
        };
        Sizes {
            resources: (0..problem.resources.len()).map(resource).collect(),
            parts: (0..problem.devices.len()).map(parts).collect(),
        }
    }

    fn of<'r>(&'r self, room: &'r Room) -> impl Iterator<Item = f64> + 'r {
        let resources = room.free.iter().zip(&self.resources).map(|(free, size)| *free as f64 / size);
        let parts = room.devices.iter().zip(&self.parts).map(|(devices, size)| left(devices) / size);
        resources.chain(parts)
    }
}

/// The free parts of some devices together.
fn left(devices: &[u32]) -> f64 {
    devices.iter().map(|free| f64::from(*free)).sum()
}

/// A kind of request as the measures of fragmentation see it.
struct Kind {
    workload: WorkloadIdx,
    /// The part of all requests that are of this kind.
    probability: f64,
    demand: Vec<u64>,
    /// Devices it takes, and parts of each; (0, 0): none.
    devices: usize,
    parts: u32,
}

/// Fragmentation gradient descent (Weng et al., USENIX ATC 2023), and one step beyond it.
///
/// The fragmentation of a machine is the free device parts that a random request could not use (section 3 of the paper): all of
/// them when it does not fit on the machine or takes no device, and otherwise those on devices with less free than its share. A request goes
/// where it adds least.
///
/// That measure looks at one request at a time, and does not see that a machine with 8 free devices has cores for only 6 of them. With
/// `stranded` the measure adds the parts for which the other resources will not suffice: with κ\[r\] the amount of resource r that requests
/// for devices take for each part on average, `max_r (parts free − free[r] / κ[r])⁺`.
pub struct Fragmentation {
    kind: usize,
    /// Parts of one device.
    parts: f64,
    kinds: Vec<Kind>,
    may: Vec<Vec<bool>>,
    /// Per resource, how much of it goes with one part; none: the plain measure.
    per_part: Vec<f64>,
    /// Scores are rounded as the authors' simulator does.
    rounded: bool,
    known: HashMap<Room, f64>,
}

impl Fragmentation {
    /// The measure of the paper for one kind of device.
    pub fn plain(online: &Online, kind: usize) -> Fragmentation {
        let problem = online.problem;
        let all: f64 = problem.workloads.iter().map(|spec| f64::from(spec.wanted)).sum();
        let kinds = problem.workloads.iter().enumerate().map(|(workload, spec)| {
            let (devices, parts) = match spec.device {
                Some(DeviceDemand { kind: k, take: DeviceTake::Whole(whole) }) if k == kind => {
                    (whole as usize, problem.devices[kind].parts)
                }
                Some(DeviceDemand { kind: k, take: DeviceTake::Share(share) }) if k == kind => (1, share),
                _ => (0, 0),
            };
            let probability = f64::from(spec.wanted) / all.max(1.0);
            Kind { workload, probability, demand: spec.demand.clone(), devices, parts }
        });
        let kinds = kinds.filter(|kind| kind.probability > 0.0).collect();
        Fragmentation {
            kind,
            parts: f64::from(problem.devices[kind].parts),
            kinds,
            may: online.may.clone(),
            per_part: Vec::new(),
            rounded: false,
            known: HashMap::new(),
        }
    }

    /// The same as the authors' simulator computes it: scores of 0 to 100, whole numbers, through a sigmoid of the change in devices
    /// (`fgd_score.go` of kubernetes-scheduler-simulator). There ties are drawn, here they go to the lowest machine.
    pub fn simulated(online: &Online, kind: usize) -> Fragmentation {
        Fragmentation { rounded: true, ..Fragmentation::plain(online, kind) }
    }

    /// With what is stranded for want of other resources.
    pub fn stranded(online: &Online, kind: usize) -> Fragmentation {
        let mut policy = Fragmentation::plain(online, kind);
        let takers = || policy.kinds.iter().filter(|kind| kind.devices > 0);
        let parts: f64 = takers().map(|k| k.probability * k.devices as f64 * f64::from(k.parts)).sum();
        let per_part = |r: usize| takers().map(|k| k.probability * k.demand[r] as f64).sum::<f64>() / parts;
        if parts > 0.0 {
            policy.per_part = (0..online.problem.resources.len()).map(per_part).collect();
        }
        policy
    }

    /// Expected device parts that are free and of no use.
    pub fn of(&mut self, room: &Room) -> f64 {
        if let Some(known) = self.known.get(room) {
            return *known;
        }
        let devices = &room.devices[self.kind];
        let left = left(devices);
        let unusable = |kind: &Kind| {
            let fits = kind.devices > 0
                && self.may[room.allows][kind.workload]
                && kind.demand.iter().zip(&room.free).all(|(demand, free)| demand <= free)
                && devices.len().checked_sub(kind.devices).is_some_and(|at| devices[at] >= kind.parts);
            let too_small = devices.iter().filter(|free| **free < kind.parts).map(|free| f64::from(*free));
            kind.probability * if fits { too_small.sum() } else { left }
        };
        let fragments: f64 = if left > 0.0 { self.kinds.iter().map(unusable).sum() } else { 0.0 };
        let scarce = self.per_part.iter().zip(&room.free).filter(|(per_part, _)| **per_part > 0.0);
        let stranded = scarce.map(|(per_part, free)| left - *free as f64 / per_part).fold(0.0, f64::max);
        self.known.insert(room.clone(), fragments + stranded);
        fragments + stranded
    }
}

impl Policy for Fragmentation {
    fn score(&mut self, before: &Room, _: WorkloadIdx, after: &Room) -> f64 {
        let change = self.of(after) - self.of(before);
        if self.rounded { -(100.0 / (1.0 + (change / self.parts).exp())).floor() } else { change }
    }
}

/// Best fit by what is scarce: what is left over of a resource counts by the fourth power of how scarce it is, as a part of the scarcest.
///
/// A resource of which there is enough hardly counts, so that machines are filled by the one that runs out, and among equals by the others. The power was
/// chosen among 0, 1, 2 and 4 on the Azure packing trace with three kinds of server; a higher one is worse on kind 1.
pub struct ScarceFit {
    sizes: Sizes,
    /// Per resource, what is left of it weighs so much.
    weight: Vec<f64>,
}

impl ScarceFit {
    /// Looks at the machines' sizes and the kinds of request; `wanted` weighs them, as for [`StrandedFit`].
    pub fn new(problem: &Problem) -> ScarceFit {
        let load = loads(problem);
        let most = load.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
        ScarceFit { sizes: Sizes::new(problem), weight: load.iter().map(|load| (load / most).powi(4)).collect() }
    }
}

impl Policy for ScarceFit {
    fn score(&mut self, _: &Room, _: WorkloadIdx, after: &Room) -> f64 {
        // Devices, behind the resources, count in full.
        let weight = self.weight.iter().copied().chain(std::iter::repeat(1.0));
        self.sizes.of(after).zip(weight).map(|(left, weight)| left * weight).sum()
    }
}

/// Per resource, how much of what there is is asked for.
fn loads(problem: &Problem) -> Vec<f64> {
    let asked = |r: usize| problem.workloads.iter().map(|w| f64::from(w.wanted) * w.demand[r] as f64).sum::<f64>();
    let there = |r: usize| problem.nodes.iter().map(|node| node.capacity[r] as f64).sum::<f64>().max(1.0);
    (0..problem.resources.len()).map(|r| asked(r) / there(r)).collect()
}

/// Best fit that spares what is scarce: of the resource that is asked for most, nothing should be left where the others have run out.
///
/// In units of the largest machine, let s be the scarcest resource (the largest ratio of what is asked for to what there is) and ρ\[r\] how much of r is
/// asked for with one unit of s. On a machine `max_r (1.6 · ρ[r] · free[s] − free[r])⁺` of s is in danger of being stranded. A request goes where the sum of
/// what is left over and 12 times the change of that is least. The two factors were chosen on the Azure packing trace with servers of kind 1.
pub struct StrandedFit {
    sizes: Sizes,
    scarce: usize,
    /// Per resource: 1.6 · ρ; 0 for the scarcest.
    beside: Vec<f64>,
}

impl StrandedFit {
    /// Looks at the machines' sizes and the kinds of request; `wanted` weighs them (by how many there are on average where they come and go).
    pub fn new(problem: &Problem) -> StrandedFit {
        let sizes = Sizes::new(problem);
        let load = loads(problem);
        let scarce = (0..load.len()).rev().max_by(|a, b| load[*a].total_cmp(&load[*b])).unwrap_or(0);
        let most = load.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
        let beside = |(r, load): (usize, &f64)| if r == scarce { 0.0 } else { 1.6 * load / most };
        StrandedFit { beside: load.iter().enumerate().map(beside).collect(), sizes, scarce }
    }

    fn stranded(&self, room: &Room) -> f64 {
        let free: Vec<f64> = self.sizes.of(room).collect();
        let others = self.beside.iter().zip(&free).filter(|(beside, _)| **beside > 0.0);
        others.map(|(beside, other)| beside * free[self.scarce] - other).fold(0.0, f64::max)
    }
}

impl Policy for StrandedFit {
    fn score(&mut self, before: &Room, _: WorkloadIdx, after: &Room) -> f64 {
        self.sizes.of(after).sum::<f64>() + 12.0 * (self.stranded(after) - self.stranded(before))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Node, Resource, Workload};

    /// Two machines, of which a request for (8, 1) leaves most of the ample resource on the first and most of the scarce one on the second.
    fn problem() -> Problem {
        let resource = |name: &str| Resource { name: name.into(), scale: 1, shapes: true, transient: false };
        let machine = |(n, capacity): (usize, [u64; 2])| Node {
            name: format!("n{n}"),
            capacity: capacity.to_vec(),
            ..Node::default()
        };
        let request = |(w, (demand, wanted)): (usize, ([u64; 2], u32))| Workload {
            name: format!("w{w}"),
            demand: demand.to_vec(),
            wanted,
            move_weight: 1,
            eligible: vec![0, 1],
            ..Workload::default()
        };
        Problem {
            resources: vec![resource("ample"), resource("scarce")],
            nodes: [[100, 60], [60, 80]].into_iter().enumerate().map(machine).collect(),
            workloads: [([8, 1], 1), ([10, 20], 6)].into_iter().enumerate().map(request).collect(),
            ..Problem::default()
        }
    }

    #[test]
    fn scarce_fit_fills_the_machine_with_less_of_what_runs_out() {
        let problem = problem();
        assert_eq!(problem.validate(), Ok(()));
        let mut online = Online::new(&problem);
        let seat = online.place(0, &mut ScarceFit::new(&problem));
        assert_eq!(seat.map(|seat| seat.node), Some(0));
        let mut online = Online::new(&problem);
        let seat = online.place(0, &mut BestFit::new(&problem));
        assert_eq!(seat.map(|seat| seat.node), Some(1));
    }
}
