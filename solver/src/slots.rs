//! Which device each replica takes: a reading of a placement, for whoever starts the replicas.
//!
//! A placement says how many replicas a node holds; [`crate::verify`] has made sure that its devices suffice. Here they are given out: the shares
//! packed as tightly as the checker packs them, on the first devices of the node, whole devices behind them. Equal placements give equal slots.
//! What runs already keeps no device of its own: the model does not know which it has.

use crate::check::packing;
use crate::{DeviceDemand, DeviceTake, NodeIdx, Placed, Problem, WorkloadIdx};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

/// The devices of one workload's replicas on one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotAssignment {
    /// Which workload; it takes something of [`crate::Workload::device`]'s kind.
    pub workload: WorkloadIdx,
    /// On which node.
    pub node: NodeIdx,
    /// For each replica the positions of the devices it takes, or the one it takes a share of. A replica for which no device is left (the node
    /// is overloaded, which only the present state may excuse) has none.
    pub devices: Vec<Vec<u32>>,
}

/// The devices of every replica that takes any, in the order of `placed`. The placement should pass [`crate::verify`].
pub fn slots(problem: &Problem, placed: &[Placed]) -> Vec<SlotAssignment> {
    let mut nodes: BTreeMap<(NodeIdx, usize), Vec<usize>> = BTreeMap::new();
    let mut found: BTreeMap<usize, SlotAssignment> = BTreeMap::new();
    for (entry, Placed { workload, node, .. }) in placed.iter().enumerate() {
        if let Some(demand) = problem.workloads[*workload].device {
            nodes.entry((*node, demand.kind)).or_default().push(entry);
            found.insert(entry, SlotAssignment { workload: *workload, node: *node, devices: Vec::new() });
        }
    }
    for ((node, kind), entries) in nodes {
        let mut shared = shared_devices(problem, kind, entries.iter().map(|entry| placed[*entry]));
        let there = problem.nodes[node].devices.get(kind).copied().unwrap_or(0);
        shared.by_share.values_mut().for_each(|devices| devices.retain(|device| *device < there));
        let mut next = shared.used.min(there);
        for entry in entries {
            let Placed { workload, count, .. } = placed[entry];
            let Some(assignment) = found.get_mut(&entry) else { continue };
            for _ in 0..count {
                assignment.devices.push(match problem.workloads[workload].device {
                    Some(DeviceDemand { take: DeviceTake::Whole(whole), .. }) if whole <= there - next => {
                        next += whole;
                        (next - whole..next).collect()
                    }
                    Some(DeviceDemand { take: DeviceTake::Share(share), .. }) => {
                        shared.by_share.get_mut(&share).and_then(VecDeque::pop_front).into_iter().collect()
                    }
                    _ => Vec::new(),
                });
            }
        }
    }
    found.into_values().collect()
}

/// The devices of a node that are shared.
struct Shared {
    /// How many there are: the first ones.
    used: u32,
    /// For each size of share, the device of each replica that takes it.
    by_share: BTreeMap<u32, VecDeque<u32>>,
}

fn shared_devices(problem: &Problem, kind: usize, on_node: impl Iterator<Item = Placed>) -> Shared {
    let share = |placed: Placed| match problem.workloads[placed.workload].device {
        Some(DeviceDemand { take: DeviceTake::Share(share), .. }) => Some((share, u64::from(placed.count))),
        _ => None,
    };
    let shares: Vec<(u32, u64)> = on_node.filter_map(share).collect();
    let packed = packing(&shares, problem.devices[kind].parts);
    let mut shared = Shared { used: 0, by_share: BTreeMap::new() };
    for (filling, alike) in packed.fillings {
        for _ in 0..alike {
            for (share, count) in &filling {
                shared.by_share.entry(*share).or_default().extend((0..*count).map(|_| shared.used));
            }
            shared.used += 1;
        }
    }
    shared
}
