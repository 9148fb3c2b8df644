//! The resources of a program: cpu, memory, disk, addresses, named extras, host ports, and what a cordoned node still holds.

use crate::state::{Capacity, NodeRecord, Template};
use hyphae_solver::Resource;
use hyphae_specs::{Bytes, CpuMillis};
use std::collections::BTreeMap;

/// A kind of resource.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ResourceKey {
    Cpu,
    Memory,
    Disk,
    Replicas,
    Extra(String),
    /// A node's port: capacity 1.
    HostPort(u16, String),
    /// A cordoned node may hold no more of a workload than it does now: capacity that many there, and plenty elsewhere.
    Cordoned {
        node: String,
        workload: String,
    },
}

/// All resources of a program, in order.
#[derive(Debug, Clone, Default)]
pub(super) struct ResourceTable {
    keys: Vec<ResourceKey>,
    positions: BTreeMap<ResourceKey, usize>,
}

/// Capacity of a [`ResourceKey::Cordoned`] resource on the nodes it does not concern.
const PLENTY: u64 = u32::MAX as u64;

impl ResourceTable {
    /// The four that always exist, and the given others.
    pub(super) fn new(others: impl IntoIterator<Item = ResourceKey>) -> Self {
        let mut table = Self::default();
        let first = [ResourceKey::Cpu, ResourceKey::Memory, ResourceKey::Disk, ResourceKey::Replicas];
        for key in first.into_iter().chain(others) {
            if !table.positions.contains_key(&key) {
                table.positions.insert(key.clone(), table.keys.len());
                table.keys.push(key);
            }
        }
        table
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    pub(super) fn key(&self, position: usize) -> &ResourceKey {
        &self.keys[position]
    }

    pub(super) fn position(&self, key: &ResourceKey) -> Option<usize> {
        self.positions.get(key).copied()
    }

    pub(super) fn solver_resources(&self) -> Vec<Resource> {
        let resource = |key: &ResourceKey| Resource {
            name: self.name(key),
            scale: match key {
                ResourceKey::Cpu => 1000,
                ResourceKey::Memory | ResourceKey::Disk => 1 << 30,
                _ => 1,
            },
            shapes: matches!(key, ResourceKey::Cpu | ResourceKey::Memory),
            transient: false,
        };
        self.keys.iter().map(resource).collect()
    }

    fn name(&self, key: &ResourceKey) -> String {
        match key {
            ResourceKey::Cpu => "cpu".to_owned(),
            ResourceKey::Memory => "memory".to_owned(),
            ResourceKey::Disk => "disk".to_owned(),
            ResourceKey::Replicas => "replicas".to_owned(),
            ResourceKey::Extra(name) => name.clone(),
            ResourceKey::HostPort(port, protocol) => format!("host port {port}/{protocol}"),
            ResourceKey::Cordoned { node, workload } => format!("{workload} on cordoned {node}"),
        }
    }

    /// What one replica of the workload takes.
    pub(super) fn demand(&self, workload: &str, template: &Template) -> Vec<u64> {
        let amount = |key: &ResourceKey| match key {
            ResourceKey::Cpu => template.cpu_millis,
            ResourceKey::Memory => template.memory_bytes,
            ResourceKey::Disk => template.disk_bytes,
            ResourceKey::Replicas => 1,
            ResourceKey::Extra(name) => template.extras.get(name).copied().unwrap_or(0),
            ResourceKey::HostPort(port, protocol) => {
                u64::from(template.ports.iter().any(|p| p.host == Some(*port) && p.protocol == *protocol))
            }
            ResourceKey::Cordoned { workload: of, .. } => u64::from(of == workload),
        };
        self.keys.iter().map(amount).collect()
    }

    /// What a node has; `held` counts a workload's running replicas on it.
    pub(super) fn capacity(&self, name: &str, node: &NodeRecord, held: impl Fn(&str) -> u64) -> Vec<u64> {
        let amount = |key: &ResourceKey| match key {
            ResourceKey::Cordoned { node, workload } if node == name => held(workload),
            ResourceKey::Cordoned { .. } => PLENTY,
            ResourceKey::HostPort(..) => 1,
            key => self.of_capacity(key, &node.capacity),
        };
        self.keys.iter().map(amount).collect()
    }

    fn of_capacity(&self, key: &ResourceKey, capacity: &Capacity) -> u64 {
        match key {
            ResourceKey::Cpu => capacity.cpu_millis,
            ResourceKey::Memory => capacity.memory_bytes,
            ResourceKey::Disk => capacity.disk_bytes,
            ResourceKey::Replicas => capacity.replicas,
            ResourceKey::Extra(name) => capacity.extras.get(name).copied().unwrap_or(0),
            ResourceKey::HostPort(..) | ResourceKey::Cordoned { .. } => 0,
        }
    }

    /// "memory: 4GiB".
    pub(super) fn amount_text(&self, position: usize, amount: u64) -> String {
        match self.key(position) {
            ResourceKey::Cpu => CpuMillis(amount).to_string(),
            ResourceKey::Memory | ResourceKey::Disk => bytes_text(amount),
            _ => amount.to_string(),
        }
    }

    pub(super) fn name_text(&self, position: usize) -> String {
        self.name(self.key(position))
    }
}

/// Exact where a unit divides it, else rounded down to tenths of the largest unit below it.
pub(super) fn bytes_text(bytes: u64) -> String {
    let exact = Bytes(bytes).to_string();
    let (size, unit) = match bytes {
        b if b >= 1 << 40 => (1u64 << 40, "TiB"),
        b if b >= 1 << 30 => (1 << 30, "GiB"),
        b if b >= 1 << 20 => (1 << 20, "MiB"),
        _ => return exact,
    };
    let tenths = (u128::from(bytes) * 10 / u128::from(size)) as u64;
    let rounded = match tenths % 10 {
        0 => format!("{}{unit}", tenths / 10),
        rest => format!("{}.{rest}{unit}", tenths / 10),
    };
    if exact.len() <= rounded.len() { exact } else { rounded }
}

/// The capacity record of an offline node.
pub(super) fn capacity_record(resources: &hyphae_specs::Resources) -> Capacity {
    Capacity {
        cpu_millis: resources.cpu.as_ref().map_or(0, |cpu| cpu.value.0),
        memory_bytes: resources.memory.as_ref().map_or(0, |memory| memory.value.0),
        disk_bytes: resources.disk.as_ref().map_or(0, |disk| disk.value.0),
        replicas: resources.replicas.as_ref().map_or(crate::state::NODE_REPLICAS_DEFAULT, |replicas| replicas.value),
        extras: super::template::extras(resources),
    }
}
