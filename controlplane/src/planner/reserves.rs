//! What keeps room: `reserve`, `safety` and `balance` as the solver's rules, and devices as its kinds.

use super::resources::{ResourceKey, ResourceTable};
use hyphae_solver::{DeviceDemand, DeviceKind, DeviceTake, Node, Rule, TopologyIdx, WorkloadIdx};
use hyphae_specs::{Model, Replicas, Span};
use std::collections::BTreeMap;

/// Thousandths of a device are what shares are counted in.
const DEVICE_PARTS: u32 = 1000;

/// A rule, its weight when it is soft, and where it is written.
pub(super) type Stated = (Rule, Option<u32>, Span);

/// `reserve`: everything that any one domain's loss kills finds room elsewhere. A daemon's replica goes with its node.
pub(super) fn reserves(model: &Model, mut topology: impl FnMut(&str) -> TopologyIdx) -> Vec<Stated> {
    let daemons = model.workloads.values().enumerate().filter(|(_, w)| matches!(w.replicas, Replicas::PerNode));
    let except: Vec<WorkloadIdx> = daemons.map(|(position, _)| position).collect();
    let reserve = |reserve: &hyphae_specs::Reserve| {
        let rule = Rule::Reserve { topology: topology(&reserve.loss_of.value), except: except.clone() };
        (rule, reserve.weight.as_ref().map(|weight| weight.value), reserve.span)
    };
    model.reserves.iter().map(reserve).collect()
}

/// `safety`: a rule for each resource it names.
pub(super) fn safeties(model: &Model, resources: &ResourceTable, nodes: &[Node]) -> Vec<Stated> {
    let Some(safety) = &model.safety else { return Vec::new() };
    let weight = safety.weight.as_ref().map_or(1, |weight| weight.value);
    let shares = [
        (ResourceKey::Cpu, &safety.cpu_permille),
        (ResourceKey::Memory, &safety.memory_permille),
        (ResourceKey::Disk, &safety.disk_permille),
    ];
    let rule = |(key, permille): (ResourceKey, &Option<hyphae_specs::Spanned<u32>>)| {
        let (permille, resource) = (permille.as_ref()?.value, resources.position(&key)?);
        let safe = |node: &Node| (u128::from(node.capacity[resource]) * u128::from(permille) / 1000) as u64;
        Some((Rule::Safety { resource, safe: nodes.iter().map(safe).collect() }, Some(weight), safety.span))
    };
    shares.into_iter().filter_map(rule).collect()
}

/// `balance`: one rule for cpu that is left without its memory, in started cores, and one for memory without its cpu, in started GiB.
pub(super) fn balances(model: &Model, resources: &ResourceTable) -> Vec<Stated> {
    let Some(balance) = &model.balance else { return Vec::new() };
    let weight = balance.weight.as_ref().map_or(1, |weight| weight.value);
    let (Some(cpu), Some(memory)) = (resources.position(&ResourceKey::Cpu), resources.position(&ResourceKey::Memory))
    else {
        return Vec::new();
    };
    let (millis, bytes) = (balance.cpu.value.0, balance.memory.value.0);
    let shared = gcd(millis, bytes).max(1);
    // left cpu · bytes against left memory · millis: equal when the ratio holds.
    let (cpu, memory) = ((cpu, bytes / shared), (memory, millis / shared));
    let rule = |first: (usize, u64), second: (usize, u64), one: u64| {
        let unit = first.1.saturating_mul(one);
        (Rule::Balance { first, second, unit }, Some(weight), balance.span)
    };
    vec![rule(cpu, memory, 1000), rule(memory, cpu, 1 << 30)]
}

fn gcd(a: u64, b: u64) -> u64 {
    let (mut a, mut b) = (a, b);
    while b > 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// The kinds of devices that workloads ask for. What nobody asks for is left out.
pub(super) fn device_kinds(model: &Model) -> Vec<DeviceKind> {
    let asked = model.workloads.values().filter_map(|workload| workload.device.as_ref());
    let names: BTreeMap<&str, ()> = asked.map(|device| (device.kind.value.as_str(), ())).collect();
    names.into_keys().map(|name| DeviceKind { name: name.to_owned(), parts: DEVICE_PARTS }).collect()
}

/// What a replica of a workload takes of them.
pub(super) fn device_demand(workload: &hyphae_specs::Workload, kinds: &[DeviceKind]) -> Option<DeviceDemand> {
    let device = workload.device.as_ref()?;
    let kind = kinds.iter().position(|kind| kind.name == device.kind.value)?;
    let take = match device.take {
        hyphae_specs::DeviceTake::Whole(devices) => DeviceTake::Whole(devices),
        hyphae_specs::DeviceTake::Permille(share) => DeviceTake::Share(share),
    };
    Some(DeviceDemand { kind, take })
}

/// What a node has of them.
pub(super) fn devices_of(has: &BTreeMap<String, u32>, kinds: &[DeviceKind]) -> Vec<u32> {
    kinds.iter().map(|kind| has.get(&kind.name).copied().unwrap_or(0)).collect()
}
