//! `target/release/examples/survival [--nodes N] [--replicas N] [--used PERCENT,PERCENT…] [--over zone,rack,node] [--seconds N] [--seed N]`
//!
//! Spare capacity for the loss of any zone, rack or node: a made-up cluster of mixed machines, solved with a hard reserve; one row of the table for
//! each load and topology. `check` is one simulation of every loss on the answer, in milliseconds.
#![expect(clippy::disallowed_methods, reason = "an example measures time")]

use hyphae_solver::*;
use std::time::{Duration, Instant};

struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n.max(1)
    }
}

const GIB: u64 = 1 << 30;
const OVER: [&str; 3] = ["zone", "rack", "node"];

/// Cores, GiB, price.
const TYPES: [(u64, u64, u64); 6] =
    [(4, 16, 150_000), (8, 16, 260_000), (8, 32, 300_000), (16, 32, 500_000), (16, 64, 580_000), (32, 128, 1_100_000)];

fn problem(nodes: usize, replicas: usize, used: f64, over: usize, seed: u64) -> Problem {
    let dice = &mut Dice(seed);
    let machines: Vec<Node> = (0..nodes)
        .map(|n| {
            let (cores, memory, price_micros) = TYPES[(n / 3) % 6];
            Node {
                name: format!("n{n:04}"),
                capacity: vec![cores * 1000, memory * GIB, 110],
                price_micros,
                domains: vec![Some(n % 3), Some(n / 20), Some(n)],
                ..Node::default()
            }
        })
        .collect();
    let names = |count: usize| (0..count).map(|d| d.to_string()).collect::<Vec<_>>();
    let domains = [3, nodes.div_ceil(20), nodes];
    let topologies =
        OVER.iter().zip(domains).map(|(key, count)| Topology { key: (*key).into(), domains: names(count) }).collect();
    let services = (replicas / 20).max(1);
    let large: Vec<usize> = (0..nodes).filter(|n| machines[*n].capacity[0] >= 16_000).collect();
    let mut workloads: Vec<Workload> = (0..services)
        .map(|w| {
            let big = dice.below(100) < 15;
            let cpu = [100, 250, 500, 500, 1000, 2000][dice.below(6) as usize] * if big { 2 } else { 1 };
            let memory = cpu * [1, 2, 4, 4, 8][dice.below(5) as usize] * GIB / 2000 + (GIB >> 3);
            let wanted = 1 + dice.below(2 * (replicas / services) as u64) as u32;
            Workload {
                name: format!("w{w:04}"),
                demand: vec![cpu, memory, 1],
                wanted,
                priority: [0, 10, 100, 1000][dice.below(4) as usize],
                move_weight: 1,
                eligible: if big { large.clone() } else { (0..nodes).collect() },
                per_node_max: (dice.below(100) < 10).then_some(2 + wanted / 10),
                ..Workload::default()
            }
        })
        .collect();
    for resource in 0..2 {
        let capacity: f64 = machines.iter().map(|n| n.capacity[resource] as f64).sum();
        let wanted: f64 = workloads.iter().map(|w| w.demand[resource] as f64 * f64::from(w.wanted)).sum();
        let step = [10, GIB >> 6][resource];
        for workload in &mut workloads {
            let scaled = workload.demand[resource] as f64 * used * capacity / wanted.max(1.0);
            workload.demand[resource] = (scaled as u64 / step).max(1) * step;
        }
    }
    let resource = |name: &str, scale, shapes| Resource { name: name.into(), scale, shapes, transient: false };
    Problem {
        resources: vec![resource("cpu", 1000, true), resource("memory", GIB, true), resource("replicas", 1, false)],
        topologies,
        nodes: machines,
        workloads,
        constraints: vec![Constraint { rule: Rule::Reserve { topology: over, except: Vec::new() }, weight: None }],
        ..Problem::default()
    }
}

fn row(problem: &Problem, used: u64, over: usize, seconds: u64) -> Result<(), ProblemError> {
    let options = SolveOptions { time_limit: Duration::from_secs(seconds), explain: false, ..SolveOptions::default() };
    let start = Instant::now();
    let solution = solve(problem, &options)?;
    let solved = start.elapsed().as_millis();
    let start = Instant::now();
    let sound = verify(problem, &solution.placed).is_ok();
    let checked = start.elapsed().as_micros() as f64 / 1000.0;
    let shortage = |tier: &&TierValue| matches!(tier.tier, Tier::Shortage(_));
    let text = |tier: &TierValue| format!("{}≥{}", tier.value, tier.bound);
    let shortages: Vec<String> = solution.tiers.iter().filter(shortage).map(text).collect();
    let wanted: u32 = problem.workloads.iter().map(|w| w.wanted).sum();
    let capacity: u64 = problem.nodes.iter().map(|n| n.capacity[0]).sum();
    let held: u64 = solution.placed.iter().map(|p| problem.workloads[p.workload].demand[0] * u64::from(p.count)).sum();
    println!(
        "{:>6} {wanted:>8} {:>5} {used:>5} % {sound:>6} {:>7.1} % {solved:>8} {checked:>9.1}  {}",
        problem.nodes.len(),
        OVER[over],
        100.0 * held as f64 / capacity as f64,
        shortages.join(" "),
    );
    Ok(())
}

fn main() -> Result<(), ProblemError> {
    let arguments: Vec<String> = std::env::args().collect();
    let text = |name: &str, default: &str| {
        let at = arguments.iter().position(|argument| argument == name);
        at.and_then(|at| arguments.get(at + 1)).cloned().unwrap_or_else(|| default.to_owned())
    };
    let number = |name: &str, default: u64| text(name, "").parse().unwrap_or(default);
    let (nodes, replicas) = (number("--nodes", 200) as usize, number("--replicas", 2000) as usize);
    println!(
        "{:>6} {:>8} {:>5} {:>7} {:>6} {:>9} {:>8} {:>9}  shortage≥bound by priority, highest first",
        "nodes", "replicas", "loss", "asked", "sound", "cpu held", "solve ms", "check ms"
    );
    for used in text("--used", "60,80").split(',').filter_map(|used| used.parse().ok()) {
        for over in text("--over", "zone,rack,node").split(',') {
            let Some(over) = OVER.iter().position(|known| *known == over) else { continue };
            let problem = problem(nodes, replicas, used as f64 / 100.0, over, number("--seed", 1));
            row(&problem, used, over, number("--seconds", 5))?;
        }
    }
    Ok(())
}
