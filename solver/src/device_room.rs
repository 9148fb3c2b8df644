//! How much of a node's devices is left, computed once for each state of the node: the most whole devices that one replica could still take,
//! and the largest share that still fits. Whoever takes less fits too, so a question costs two comparisons.

use crate::check::devices_needed;
use crate::instance::Instance;
use crate::layout::Layout;
use crate::{DeviceDemand, DeviceTake};

/// What one more replica may take of one kind of device on one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DeviceRoom {
    /// Devices that nothing lies on, when the shares are packed as tightly as can be.
    pub(crate) whole: u32,
    /// The largest of the shares that workloads take which fits; 0: none.
    pub(crate) share: u32,
    /// The largest that fits on devices that are shared already; 0: none.
    pub(crate) beside: u32,
    /// Parts free on devices that are shared.
    pub(crate) gaps: u64,
}

impl DeviceRoom {
    /// Whether one more fits.
    pub(crate) fn takes(self, take: DeviceTake) -> bool {
        match take {
            DeviceTake::Whole(devices) => devices <= self.whole,
            DeviceTake::Share(share) => share <= self.share,
        }
    }

    /// The room beside `held` (workload, count).
    pub(crate) fn of(
        instance: &Instance,
        node: usize,
        kind: usize,
        held: impl Iterator<Item = (usize, u32)>,
    ) -> DeviceRoom {
        let problem = instance.problem;
        let parts = problem.devices[kind].parts;
        let (mut whole, mut shares) = (0u64, Vec::new());
        for (workload, count) in held {
            match problem.workloads[workload].device {
                Some(DeviceDemand { kind: k, take: DeviceTake::Whole(devices) }) if k == kind => {
                    whole = whole.saturating_add(u64::from(devices) * u64::from(count));
                }
                Some(DeviceDemand { kind: k, take: DeviceTake::Share(share) }) if k == kind => {
                    shares.push((share, u64::from(count)));
                }
                _ => {}
            }
        }
        let there = u64::from(instance.devices(node, kind)).saturating_sub(whole);
        let needed = devices_needed(&shares, parts);
        let left = u32::try_from(there.saturating_sub(needed)).unwrap_or(u32::MAX);
        let lying: u64 = shares.iter().map(|(share, count)| u64::from(*share).saturating_mul(*count)).sum();
        let gaps = needed.saturating_mul(u64::from(parts)).saturating_sub(lying);
        let sizes = &instance.shares[kind];
        let fits = |share: &u32| {
            if u64::from(*share) > gaps {
                return false;
            }
            let mut more = shares.clone();
            more.push((*share, 1));
            devices_needed(&more, parts) <= needed.min(there)
        };
        let beside = sizes.partition_point(fits).checked_sub(1).map_or(0, |at| sizes[at]);
        let share = if left > 0 { sizes.last().copied().unwrap_or(0) } else { beside };
        DeviceRoom { whole: left, share, beside, gaps }
    }
}

/// What a placement does to the devices of a node, for a greedy choice among nodes: parts that become of no use, because they lie beside a
/// share or because the node's other resources will not suffice for them (the measure of [`crate::online::Fragmentation`], without its
/// look at each kind of request).
#[derive(Clone)]
pub(crate) struct DeviceScore {
    /// Per kind of device and resource: how much of it goes with one part on average.
    per_part: Vec<Vec<f64>>,
    /// Per kind of device: what one part weighs.
    weight: Vec<f64>,
}

/// A device's parts against the other resources' left-overs, each about 1 million for a node of average size.
const DEVICES_WEIGHT: f64 = 8e6;

impl DeviceScore {
    pub(crate) fn new(instance: &Instance) -> DeviceScore {
        let problem = instance.problem;
        let parts_of = |kind: usize, take: DeviceTake| match take {
            DeviceTake::Whole(devices) => f64::from(devices) * f64::from(problem.devices[kind].parts),
            DeviceTake::Share(share) => f64::from(share),
        };
        let mut score = DeviceScore { per_part: Vec::new(), weight: Vec::new() };
        for kind in 0..problem.devices.len() {
            let mut wanted = 0.0;
            let mut beside = vec![0.0; problem.resources.len()];
            for spec in &problem.workloads {
                let Some(demand) = spec.device.filter(|demand| demand.kind == kind) else { continue };
                wanted += parts_of(kind, demand.take) * f64::from(spec.wanted);
                let amounts = beside.iter_mut().zip(&spec.demand);
                amounts.for_each(|(beside, amount)| *beside += *amount as f64 * f64::from(spec.wanted));
            }
            let most = (0..problem.nodes.len()).map(|node| instance.devices(node, kind)).max().unwrap_or(0);
            score.per_part.push(beside.iter().map(|beside| beside / f64::max(wanted, 1.0)).collect());
            score.weight.push(DEVICES_WEIGHT / (f64::from(most.max(1)) * f64::from(problem.devices[kind].parts)));
        }
        score
    }

    /// The part of the best equipped node's devices that one replica takes.
    pub(crate) fn size(&self, instance: &Instance, workload: usize) -> f64 {
        let Some(DeviceDemand { kind, take }) = instance.problem.workloads[workload].device else { return 0.0 };
        let parts = f64::from(instance.problem.devices[kind].parts);
        let taken = match take {
            DeviceTake::Whole(devices) => f64::from(devices),
            DeviceTake::Share(share) => f64::from(share) / parts,
        };
        taken * parts * self.weight[kind] / DEVICES_WEIGHT
    }

    /// How much worse the node's devices are for one more replica of `workload`, in the units of a greedy score.
    pub(crate) fn change(&self, layout: &Layout, workload: usize, node: usize) -> i64 {
        let problem = layout.instance.problem;
        let spec = &problem.workloads[workload];
        let mut sum = 0.0;
        for (kind, device) in problem.devices.iter().enumerate() {
            if layout.instance.devices(node, kind) == 0 {
                continue;
            }
            let room = layout.device_room(node, kind);
            let parts = f64::from(device.parts);
            let (mut taken, mut gaps) = (0.0, 0.0);
            match spec.device.filter(|demand| demand.kind == kind).map(|demand| demand.take) {
                Some(DeviceTake::Whole(devices)) => taken = f64::from(devices) * parts,
                Some(DeviceTake::Share(share)) => {
                    taken = f64::from(share);
                    gaps = if share <= room.beside { -taken } else { parts - taken };
                }
                None => {}
            }
            let left = f64::from(room.whole) * parts + room.gaps as f64;
            let stranded = |left: f64, more: f64| {
                let resources = self.per_part[kind].iter().enumerate().filter(|(_, per_part)| **per_part > 0.0);
                let beyond = resources.map(|(resource, per_part)| {
                    let free = layout.free(node, resource) as f64 - more * spec.demand[resource] as f64;
                    left - free / per_part
                });
                beyond.fold(0.0, f64::max)
            };
            sum += self.weight[kind] * (gaps + stranded(left - taken, 1.0) - stranded(left, 0.0));
        }
        sum as i64
    }
}
