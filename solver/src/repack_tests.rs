//! Tests of `repack.rs`.

use super::*;
use crate::{DeviceKind, Node, Problem, Resource, Workload, verify};
use std::time::Duration;

/// Nodes of four devices of ten parts, and requests that fill every device when shares that belong together lie together.
fn problem(nodes: usize) -> Problem {
    let resource = Resource { name: "cpu".into(), scale: 1, shapes: true, transient: false };
    let node = |n: usize| Node { name: format!("n{n}"), capacity: vec![16], devices: vec![4], ..Node::default() };
    let many = nodes as u32;
    let workload = |(w, (cpu, take, wanted)): (usize, (u64, Option<DeviceTake>, u32))| Workload {
        name: format!("w{w}"),
        demand: vec![cpu],
        wanted,
        move_weight: 1,
        eligible: (0..nodes).collect(),
        device: take.map(|take| DeviceDemand { kind: 0, take }),
        ..Workload::default()
    };
    let asks = [
        (2, Some(DeviceTake::Share(7)), many),
        (2, Some(DeviceTake::Share(3)), many),
        (2, Some(DeviceTake::Share(6)), many),
        (2, Some(DeviceTake::Share(4)), many),
        (6, Some(DeviceTake::Whole(2)), many),
        (2, None, many),
    ];
    Problem {
        resources: vec![resource],
        devices: vec![DeviceKind { name: "gpu".into(), parts: 10 }],
        nodes: (0..nodes).map(node).collect(),
        workloads: asks.into_iter().enumerate().map(workload).collect(),
        ..Problem::default()
    }
}

#[test]
fn every_device_is_filled_from_a_start_that_wastes_them() {
    let problem = problem(12);
    assert_eq!(problem.validate(), Ok(()));
    let instance = Instance::new(&problem);
    // Shares of three and four lie together, one device each for the others.
    let start: Vec<Placed> =
        (0..12).flat_map(|node| [1, 3, 5].map(|workload| Placed { workload, node, count: 1 })).collect();
    let mut search = Search::new(&instance, start);
    search.repack_devices(Deadline::after(Duration::from_secs(60)));
    assert!(!search.is_short(), "{:?}", search.worth);
    assert_eq!(verify(&problem, &search.best), Ok(Vec::new()));
}

#[test]
fn what_runs_stays() {
    let mut problem = problem(6);
    problem.current = vec![Placed { workload: 4, node: 2, count: 1 }, Placed { workload: 0, node: 2, count: 1 }];
    let instance = Instance::new(&problem);
    let mut search = Search::new(&instance, problem.current.clone());
    search.repack_devices(Deadline::after(Duration::from_secs(20)));
    for running in &problem.current {
        let here = |placed: &&Placed| placed.workload == running.workload && placed.node == running.node;
        assert!(search.best.iter().find(here).is_some_and(|placed| placed.count >= running.count));
    }
    let placed: u32 = search.best.iter().map(|placed| placed.count).sum();
    assert!(placed > 20, "{placed}");
}

#[test]
fn what_is_too_large_to_list_is_left_alone() {
    let mut problem = problem(4);
    problem.nodes[1].devices = vec![u32::MAX];
    let instance = Instance::new(&problem);
    assert!(Repack::new(&instance, &[], 0).is_none());
    let mut problem = self::problem(4);
    problem.workloads[5].wanted = u32::MAX;
    let instance = Instance::new(&problem);
    assert!(Repack::new(&instance, &[], 0).is_none());
    let placed = [Placed { workload: 5, node: 0, count: u32::MAX }];
    assert!(Repack::new(&instance, &placed, 0).is_none());
}
