//! Tests of `placer.rs`.

use super::*;
use crate::{Constraint, Node, Problem, Resource, Topology, Workload};

struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n.max(1)
    }
}

/// Machines of three sizes in three zones and forty racks, with rules of every kind that the index knows.
fn problem(seed: u64) -> Problem {
    let dice = &mut Dice(seed);
    let resource = |name: &str| Resource { name: name.into(), scale: 1, shapes: true, transient: false };
    let nodes = 120;
    let node = |n: usize| Node {
        name: format!("n{n:03}"),
        capacity: [vec![40, 80], vec![80, 80], vec![160, 400]][n % 3].clone(),
        price_micros: [10, 15, 35][n % 3],
        domains: vec![Some(n / 3 % 3), Some(n % 40), Some(n)],
        ..Node::default()
    };
    let service = |w: usize| Workload {
        name: format!("w{w:02}"),
        demand: vec![1 + dice.below(20), 1 + dice.below(30)],
        wanted: 4 + dice.below(20) as u32,
        move_weight: 1,
        eligible: (0..nodes).filter(|n| !w.is_multiple_of(4) || n % 3 == 2).collect(),
        per_node_max: w.is_multiple_of(5).then_some(2),
        ..Workload::default()
    };
    let workloads: Vec<Workload> = (0..20).map(service).collect();
    let mut constraints = Vec::new();
    for w in 0..workloads.len() {
        let (topology, other, weight) = (dice.below(3) as usize, (w + 1) % workloads.len(), dice.below(2));
        let rule = match dice.below(6) {
            0 => Rule::Spread { workload: w, topology, max_skew: 1 },
            1 => Rule::LimitPerDomain { workloads: vec![w, other], topology, limit: 3 },
            2 => Rule::SeparateFrom { a: w, b: other, topology, limit: 0 },
            3 => Rule::Near { workloads: vec![w], to: vec![other], topology },
            4 => Rule::DistinctDomains { workloads: vec![w], topology, least: 3 },
            _ => Rule::Survive { workload: w, topology, keep: 1 },
        };
        constraints.push(Constraint { rule, weight: (weight == 0).then_some(3) });
    }
    let domains = |many: usize| (0..many).map(|d| format!("d{d:03}")).collect();
    let topology = |key: &str, many| Topology { key: key.into(), domains: domains(many) };
    Problem {
        resources: vec![resource("cpu"), resource("memory")],
        topologies: vec![topology("zone", 3), topology("rack", 40), topology("node", nodes)],
        nodes: (0..nodes).map(node).collect(),
        workloads,
        constraints,
        ..Problem::default()
    }
}

/// The best score of all nodes, looking at each.
fn scanned(placer: &Placer, workload: usize) -> Option<Score> {
    let layout = &placer.layout;
    let open = layout.instance.allowed[workload]
        .iter()
        .copied()
        .filter(|node| layout.fits(workload, *node) && layout.forbidden_by(workload, *node, false).is_none());
    open.map(|node| placer.greedy.score(layout, workload, node)).min()
}

#[test]
fn the_index_finds_what_looking_at_every_node_finds() {
    for seed in 0..40 {
        let problem = problem(seed);
        assert_eq!(problem.validate(), Ok(()));
        let instance = Instance::new(&problem);
        for fit in [Fit::Tightest, Fit::Loosest] {
            let mut placer = Placer::with(Greedy::new(&instance, fit), Layout::new(&instance, &[]));
            let dice = &mut Dice(seed);
            let mut placed = Vec::new();
            for step in 0..600 {
                let workload = dice.below(20) as usize;
                let expected = scanned(&placer, workload);
                let found = placer.best(workload, false);
                let score = found.map(|node| placer.greedy.score(&placer.layout, workload, node));
                // Soft rules over many domains are compared on a bounded stretch; the cluster is smaller than that.
                assert_eq!(score, expected, "seed {seed}, {fit:?}, step {step}");
                if let Some(node) = found {
                    placer.add(workload, node, 1);
                    placed.push((workload, node));
                }
                if dice.below(4) == 0 && !placed.is_empty() {
                    let (workload, node) = placed.swap_remove(dice.below(placed.len() as u64) as usize);
                    placer.remove(workload, node);
                }
            }
        }
    }
}
