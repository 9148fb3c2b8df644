//! `target/release/examples/rate [--nodes N] [--services N] [--replicas N] [--used PERCENT] [--seed N] [--row TEXT] [--incremental]`
//!
//! How many replicas per second one core places one at a time, each with every check: capacity of all resources, eligibility, rules. A
//! row for each kind of rule, which every second service has then; services in turn ("mixed", a replica of each) and one after the other
//! ("batch"). Every placement is verified in the end. Times are CPU time of the thread, so that other load hardly matters.
//!
//! `--incremental` instead: a small change to a full cluster, phase by phase, in milliseconds.
#![expect(clippy::disallowed_methods, reason = "an example measures time")]

use hyphae_solver::*;
use std::time::{Duration, Instant};

#[path = "rate/incremental.rs"]
mod incremental;

#[path = "machines/mod.rs"]
mod machines;

use machines::{Dice, GIB, TYPES};

/// Nanoseconds this thread has run.
fn cpu_nanos() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split_whitespace().next().and_then(|field| field.parse().ok()).unwrap_or(0)
}

/// What is asked for on the command line.
struct Size {
    nodes: usize,
    services: usize,
    replicas: usize,
    used: f64,
    seed: u64,
}

/// Mixed machines in three zones, services of many sizes, some tied to GPUs or to large machines; no rules.
fn cluster(size: &Size) -> Problem {
    let dice = &mut Dice(size.seed);
    let resource = |name: &str, scale, shapes| Resource { name: name.into(), scale, shapes, transient: false };
    let machine = |n: usize| {
        let kind = if n % 8 == 7 { 6 + (n / 8) % 2 } else { n % 6 };
        let (cores, memory, gpus, price_micros) = TYPES[kind];
        Node {
            name: format!("n{n:04}"),
            capacity: vec![cores * 1000, memory * GIB, gpus * 1000, 110],
            price_micros,
            domains: vec![Some((n / 3) % 3), Some(n)],
            ..Node::default()
        }
    };
    let nodes: Vec<Node> = (0..size.nodes).map(machine).collect();
    let topologies = vec![
        Topology { key: "zone".into(), domains: ["a", "b", "c"].map(String::from).to_vec() },
        Topology { key: "node".into(), domains: nodes.iter().map(|n| n.name.clone()).collect() },
    ];
    let where_to = |test: &dyn Fn(&Node) -> bool| (0..nodes.len()).filter(|n| test(&nodes[*n])).collect::<Vec<_>>();
    let (all, gpu, large) =
        (where_to(&|_| true), where_to(&|n| n.capacity[2] > 0), where_to(&|n| n.capacity[0] >= 16_000));
    let mut workloads: Vec<Workload> = (0..size.services)
        .map(|w| {
            let kind = dice.below(100);
            let cpu = [100, 250, 500, 500, 1000, 2000][dice.below(6) as usize];
            let memory = cpu * [1, 2, 4, 4, 8][dice.below(5) as usize] * GIB / 2000;
            let eligible = if kind < 3 {
                &gpu
            } else if kind < 15 {
                &large
            } else {
                &all
            };
            Workload {
                name: format!("w{w:04}"),
                demand: vec![cpu, memory, if kind < 3 { 500 } else { 0 }, 1],
                wanted: 1 + dice.below(2 * size.replicas as u64 / size.services as u64) as u32,
                move_weight: 1,
                eligible: eligible.clone(),
                ..Workload::default()
            }
        })
        .collect();
    for workload in workloads.iter_mut().filter(|w| w.demand[2] > 0) {
        workload.wanted = 1 + workload.wanted / 16;
    }
    scale(&nodes, &mut workloads, size);
    Problem {
        resources: vec![
            resource("cpu", 1000, true),
            resource("memory", GIB, true),
            resource("gpu", 1000, false),
            resource("replicas", 1, false),
        ],
        topologies,
        nodes,
        workloads,
        ..Problem::default()
    }
}

/// Makes as many replicas as were asked for, asking for so much of cpu and memory.
fn scale(nodes: &[Node], workloads: &mut [Workload], size: &Size) {
    let total: u32 = workloads.iter().map(|w| w.wanted).sum();
    for workload in workloads.iter_mut() {
        workload.wanted = ((f64::from(workload.wanted) * size.replicas as f64 / f64::from(total)) as u32).max(1);
    }
    for (resource, step) in [10, GIB >> 6].into_iter().enumerate() {
        let capacity: f64 = nodes.iter().map(|n| n.capacity[resource] as f64).sum();
        let wanted: f64 = workloads.iter().map(|w| w.demand[resource] as f64 * f64::from(w.wanted)).sum();
        for workload in workloads.iter_mut() {
            let scaled = workload.demand[resource] as f64 * size.used * capacity / wanted;
            workload.demand[resource] = (scaled as u64 / step).max(1) * step;
        }
    }
}

/// The rules of a row, for every second service.
fn rules(row: &str, workloads: &[Workload]) -> Vec<Constraint> {
    let hard = |rule| Constraint { rule, weight: None };
    let soft = |rule| Constraint { rule, weight: Some(5) };
    let of = |w: usize| match row {
        "spread over zones" => vec![hard(Rule::Spread { workload: w, topology: 0, max_skew: 1 })],
        "one per node" => vec![hard(Rule::LimitPerDomain { workloads: vec![w], topology: 1, limit: 1 })],
        "near another in its zone" => vec![hard(Rule::Near { workloads: vec![w], to: vec![w - 1], topology: 0 })],
        "near another on its node" => vec![hard(Rule::Near { workloads: vec![w], to: vec![w - 1], topology: 1 })],
        "never with another on a node" => {
            vec![hard(Rule::SeparateFrom { a: w, b: w - 1, topology: 1, limit: 0 })]
        }
        "soft spread and limit" => vec![
            soft(Rule::Spread { workload: w, topology: 0, max_skew: 1 }),
            soft(Rule::LimitPerDomain { workloads: vec![w], topology: 1, limit: 2 }),
        ],
        "soft near" => vec![soft(Rule::Near { workloads: vec![w], to: vec![w - 1], topology: 0 })],
        _ => Vec::new(),
    };
    (0..workloads.len()).filter(|w| w % 2 == 1).flat_map(of).collect()
}

const ROWS: [&str; 8] = [
    "plain",
    "spread over zones",
    "one per node",
    "near another in its zone",
    "near another on its node",
    "never with another on a node",
    "soft spread and limit",
    "soft near",
];

/// Places everything; (placed, CPU nanoseconds).
fn run(problem: &Problem, mixed: bool) -> (u64, u64, Vec<Placed>) {
    let instance = Instance::new(problem);
    let mut placer = Placer::new(&instance, &[]);
    let most = problem.workloads.iter().map(|w| w.wanted).max().unwrap_or(0);
    let wanted = |w: usize| problem.workloads[w].wanted;
    let every = 0..problem.workloads.len();
    // What is to come, laid out before the clock starts.
    let requests: Vec<usize> = if mixed {
        (0..most).flat_map(|round| every.clone().filter(move |w| round < wanted(*w))).collect()
    } else {
        every.flat_map(|w| std::iter::repeat_n(w, wanted(w) as usize)).collect()
    };
    let start = cpu_nanos();
    let placed = requests.iter().filter(|w| placer.place(**w).is_some()).count() as u64;
    (placed, cpu_nanos() - start, placer.placed())
}

fn main() -> Result<(), ProblemError> {
    let arguments: Vec<String> = std::env::args().collect();
    let number = |name: &str, default: u64| {
        let at = arguments.iter().position(|a| a == name);
        at.and_then(|at| arguments.get(at + 1)).and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    let size = Size {
        nodes: number("--nodes", 5000) as usize,
        services: number("--services", 1000) as usize,
        replicas: number("--replicas", 150_000) as usize,
        used: number("--used", 60) as f64 / 100.0,
        seed: number("--seed", 1),
    };
    let mut problem = cluster(&size);
    if arguments.iter().any(|a| a == "--incremental") {
        return incremental::table(&mut problem, Duration::from_secs(number("--seconds", 0)));
    }
    let row = arguments.iter().position(|a| a == "--row").and_then(|at| arguments.get(at + 1));
    println!(
        "| rule of every second service | objective | order | wanted | placed | ns each | placements/s | nodes used | verified |"
    );
    println!("|---|---|---|---:|---:|---:|---:|---:|---|");
    for shape in [Shape::Pack, Shape::Spread] {
        problem.objective.shape = shape;
        for row in ROWS.into_iter().filter(|name| row.is_none_or(|asked| name.contains(asked.as_str()))) {
            problem.constraints = rules(row, &problem.workloads);
            problem.validate()?;
            let wanted: u32 = problem.workloads.iter().map(|w| w.wanted).sum();
            for mixed in [false, true] {
                let (placed, nanos, placement) = run(&problem, mixed);
                let mut nodes: Vec<usize> = placement.iter().map(|p| p.node).collect();
                nodes.sort_unstable();
                nodes.dedup();
                println!(
                    "| {row} | {shape:?} | {} | {wanted} | {placed} | {} | {} | {} | {} |",
                    if mixed { "mixed" } else { "batch" },
                    nanos / placed.max(1),
                    placed * 1_000_000_000 / nanos.max(1),
                    nodes.len(),
                    verify(&problem, &placement).is_ok(),
                );
            }
        }
    }
    Ok(())
}

/// Milliseconds of CPU and wall that `work` takes, and what it gives.
fn timed<T>(work: impl FnOnce() -> T) -> (T, f64, f64) {
    let (cpu, wall) = (cpu_nanos(), Instant::now());
    let result = work();
    (result, (cpu_nanos() - cpu) as f64 / 1e6, wall.elapsed().as_secs_f64() * 1e3)
}
