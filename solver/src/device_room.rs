//! How much of a node's devices is left, computed once for each state of the node: the most whole devices that one replica could still take,
//! and the largest share that still fits. Whoever takes less fits too, so a question costs two comparisons.

use crate::check::devices_needed;
use crate::instance::Instance;
use crate::{DeviceDemand, DeviceTake};

/// What one more replica may take of one kind of device on one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DeviceRoom {
    /// Devices that nothing lies on, when the shares are packed as tightly as can be.
    pub(crate) whole: u32,
    /// The largest of the shares that workloads take which fits; 0: none.
    pub(crate) share: u32,
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
    pub(crate) fn beside(
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
            if left > 0 {
                return true;
            }
            if needed > there || u64::from(*share) > gaps {
                return false;
            }
            let mut more = shares.clone();
            more.push((*share, 1));
            devices_needed(&more, parts) <= there
        };
        let share = sizes.partition_point(fits).checked_sub(1).map_or(0, |at| sizes[at]);
        DeviceRoom { whole: left, share, gaps }
    }
}
