//! Tests of `squeeze.rs`.

use super::*;
use crate::instance::Instance;
use crate::{Node, Problem, Resource, Workload};
use std::time::Duration;

/// One resource, nodes of 100; `demands` and how many of each are wanted.
fn problem(nodes: usize, demands: &[(u64, u32)]) -> Problem {
    let node = |n: usize| Node { name: format!("n{n}"), capacity: vec![100], price_micros: 1, ..Node::default() };
    let workload = |(index, (demand, wanted)): (usize, &(u64, u32))| Workload {
        name: format!("w{index}"),
        demand: vec![*demand],
        wanted: *wanted,
        eligible: (0..nodes).collect(),
        move_weight: 1,
        ..Workload::default()
    };
    Problem {
        resources: vec![Resource { name: "cpu".into(), scale: 1, shapes: true, transient: false }],
        nodes: (0..nodes).map(node).collect(),
        workloads: demands.iter().enumerate().map(workload).collect(),
        ..Problem::default()
    }
}

fn annealed<'i, 'p>(instance: &'i Instance<'p>, placed: &[Placed], steps: u64) -> Squeeze<'i, 'p> {
    let deadline = Deadline::after(Duration::from_secs(60));
    let worth = Worth::new(instance.problem, deadline);
    let board = Board::new(instance, placed, vec![1; instance.problem.workloads.len()]).expect("a board");
    let open = (0..instance.problem.nodes.len()).collect();
    let mut squeeze = Squeeze::new(board, open, &worth, (false, 1), deadline);
    squeeze.anneal(steps, 0, deadline);
    squeeze
}

#[test]
fn a_large_replica_changes_places_with_many_small_ones() {
    // 120 on one node, 80 on the other. Moving a large one for two small ones leaves 30 too much there, a barrier that no heat takes.
    let problem = problem(2, &[(60, 2), (5, 16)]);
    let placed = [(0, 0, 2), (1, 1, 16)].map(|(workload, node, count)| Placed { workload, node, count });
    let instance = Instance::new(&problem);
    let squeeze = annealed(&instance, &placed, 20_000);
    assert!(squeeze.is_done(), "{} too much: {:?}", squeeze.overload(), squeeze.board.placed());
}

#[test]
fn what_is_too_large_for_a_node_never_goes_there() {
    let mut problem = problem(3, &[(70, 3), (25, 2)]);
    problem.nodes[2].capacity = vec![60];
    // Two of 70 have a node each; the third has none, and is not squeezed into the small one, where 25 and 25 go.
    let instance = Instance::new(&problem);
    let squeeze = annealed(&instance, &[], 20_000);
    let placed = squeeze.board.placed();
    assert!(placed.iter().all(|placed| (placed.workload, placed.node) != (0, 2)), "{placed:?}");
}
