//! `target/release/examples/synthetic [--sizes 50,200,1000,5000] [--used 60,92] [--seconds 2,10,60] [--seed N]`: a table, a row for each size and use, each
//! in a process of its own so that its peak memory is its own.
//!
//! `target/release/examples/synthetic --nodes N [--services N] [--replicas N] [--used PERCENT] [--seconds N] [--seed N] [--running] [--explain] [--write FILE]`: one
//! instance, tier by tier.
//!
//! A made-up cluster of mixed machines in three zones with every family of constraints. `--used` is how much of the scarcest resource the
//! replicas ask for; `--running` solves again with nine in ten replicas running where the first answer put them. `--write` only
//! writes the problem, as JSON, for other programs.
#![expect(
    clippy::disallowed_methods,
    reason = "an example measures time, writes files, and reads what the kernel knows of its memory and CPU"
)]

use hyphae_solver::*;
use std::time::{Duration, Instant};

#[path = "machines/mod.rs"]
mod machines;

use machines::{Dice, GIB, TYPES};

impl Dice {
    /// About log-normal, with mean 1.
    fn skewed(&mut self) -> f64 {
        let normal = (0..12).map(|_| self.below(10_000) as f64 / 10_000.0).sum::<f64>() - 6.0;
        (normal * 0.9 - 0.4).exp()
    }
}

fn problem(nodes: usize, services: usize, replicas: usize, used: f64, seed: u64) -> Problem {
    let dice = &mut Dice(seed);
    let resource = |name: &str, scale, shapes| Resource { name: name.into(), scale, shapes, transient: false };
    let machines: Vec<Node> = (0..nodes)
        .map(|n| {
            let kind = if n % 8 == 7 { 6 + (n / 8) % 2 } else { n % 6 };
            let (cores, memory, gpu, price_micros) = TYPES[kind];
            let capacity = vec![cores * 1000, memory * GIB, gpu * 1000, 110];
            Node {
                name: format!("n{n:04}"),
                capacity,
                price_micros,
                domains: vec![Some((n / 3) % 3), Some(n)],
                ..Node::default()
            }
        })
        .collect();
    let topologies = vec![
        Topology { key: "zone".into(), domains: ["a", "b", "c"].map(String::from).to_vec() },
        Topology { key: "node".into(), domains: machines.iter().map(|n| n.name.clone()).collect() },
    ];
    let with_gpu = |n: &usize| machines[*n].capacity[2] > 0;
    let large = |n: &usize| machines[*n].capacity[0] >= 16_000;
    let mut workloads: Vec<Workload> = Vec::new();
    for w in 0..services {
        let gpu = dice.below(100) < 6;
        let big = !gpu && dice.below(100) < 15;
        let all = 0..nodes;
        let eligible = if gpu {
            all.filter(with_gpu).collect()
        } else if big {
            all.filter(large).collect()
        } else {
            all.collect()
        };
        let cpu = [100, 250, 500, 500, 1000, 2000][dice.below(6) as usize] * if big { 2 } else { 1 };
        let memory = cpu * [1, 2, 4, 4, 8][dice.below(5) as usize] * GIB / 2000 / (GIB >> 6) * (GIB >> 6) + (GIB >> 3);
        let count = (dice.skewed() * replicas as f64 / services as f64).round().clamp(1.0, replicas as f64 / 8.0);
        workloads.push(Workload {
            name: format!("w{w:04}"),
            demand: vec![cpu, memory, if gpu { 500 } else { 0 }, 1],
            wanted: if gpu { 1 + (count as u32) / 4 } else { count as u32 },
            priority: [0, 10, 100, 1000][dice.below(4) as usize],
            move_weight: 1,
            eligible,
            per_node_max: (dice.below(100) < 10).then_some(2 + count as u32 / 20),
            ..Workload::default()
        });
    }
    fill(&machines, &mut workloads, used, replicas);
    let constraints = constraints(dice, &mut workloads);
    Problem {
        resources: vec![
            resource("cpu", 1000, true),
            resource("memory", GIB, true),
            resource("gpu", 1000, false),
            resource("replicas", 1, false),
        ],
        topologies,
        nodes: machines,
        workloads,
        constraints,
        current: Vec::new(),
        held: Vec::new(),
        objective: Objective::default(),
        ..Problem::default()
    }
}

/// Scales demands so that cpu and memory ask for `used` of the cluster.
fn fill(nodes: &[Node], workloads: &mut [Workload], used: f64, replicas: usize) {
    let total: u32 = workloads.iter().map(|w| w.wanted).sum();
    for workload in workloads.iter_mut() {
        workload.wanted = ((f64::from(workload.wanted) * replicas as f64 / f64::from(total)).round() as u32).max(1);
    }
    for resource in 0..3 {
        let capacity: f64 = nodes.iter().map(|n| n.capacity[resource] as f64).sum();
        let wanted: f64 = workloads.iter().map(|w| w.demand[resource] as f64 * f64::from(w.wanted)).sum();
        let step = [10, GIB >> 6, 50][resource];
        for workload in workloads.iter_mut().filter(|w| w.demand[resource] > 0) {
            let scaled = workload.demand[resource] as f64 * used * capacity / wanted.max(1.0);
            let cap = if resource == 2 { 1000 } else { u64::MAX };
            workload.demand[resource] = ((scaled as u64 / step).max(1) * step).min(cap);
        }
    }
}

fn constraints(dice: &mut Dice, workloads: &mut [Workload]) -> Vec<Constraint> {
    let mut list = Vec::new();
    let count = workloads.len();
    let mut hard = |rule| list.push(Constraint { rule, weight: None });
    #[expect(clippy::needless_range_loop, reason = "w is the workload's index in every rule")]
    for w in 0..count {
        let other = (w + 1) % count;
        match dice.below(20) {
            0..=4 => hard(Rule::Spread { workload: w, topology: 0, max_skew: 1 }),
            5 => hard(Rule::LimitPerDomain { workloads: vec![w], topology: 1, limit: 1 + workloads[w].wanted / 40 }),
            6 => hard(Rule::LimitPerDomain { workloads: vec![w], topology: 0, limit: workloads[w].wanted.div_ceil(2) }),
            7 if w % 5 == 0 => hard(Rule::SeparateFrom { a: w, b: other, topology: 1, limit: 0 }),
            8 => hard(Rule::Near { workloads: vec![w], to: vec![other], topology: 0 }),
            9 => hard(Rule::AllOrNothing { workloads: vec![w] }),
            _ => {}
        }
    }
    let half: Vec<usize> = (0..count / 2).collect();
    let used: u64 = half.iter().map(|w| workloads[*w].demand[0] * u64::from(workloads[*w].wanted)).sum();
    hard(Rule::Quota { workloads: half, max: vec![(0, used + used / 10)] });
    let mut soft = |rule, weight| list.push(Constraint { rule, weight: Some(weight) });
    for w in 0..count {
        match dice.below(20) {
            0..=2 => soft(Rule::Spread { workload: w, topology: 0, max_skew: 1 }, 5),
            3 => soft(Rule::Near { workloads: vec![w], to: vec![(w + 3) % count], topology: 0 }, 2),
            4 => soft(Rule::LimitPerDomain { workloads: vec![w], topology: 1, limit: 2 }, 1),
            _ => {}
        }
    }
    list
}

fn report(title: &str, problem: &Problem, seconds: u64, explain: bool) -> Result<Solution, ProblemError> {
    let options = SolveOptions { time_limit: Duration::from_secs(seconds), explain, ..SolveOptions::default() };
    let start = Instant::now();
    let solution = solve(problem, &options)?;
    let millis = start.elapsed().as_millis();
    let verified = verify(problem, &solution.placed).is_ok();
    println!("{title}: {millis} ms, {}, verified: {verified}, {:?}", solution.stats.method, solution.stats);
    println!("  {:<16} {:>12} {:>12} {:>8}  proven", "tier", "value", "bound", "gap");
    for tier in &solution.tiers {
        let gap = 100.0 * (tier.value - tier.bound) as f64 / (tier.value.max(1)) as f64;
        println!(
            "  {:<16} {:>12} {:>12} {gap:>7.2}%  {}",
            format!("{:?}", tier.tier),
            tier.value,
            tier.bound,
            tier.proven
        );
    }
    for shortage in solution.shortages.iter().take(12) {
        let spec = &problem.workloads[shortage.workload];
        println!("  {} lacks {} of {}, each {:?}", spec.name, shortage.missing, spec.wanted, spec.demand);
        if explain {
            println!("    because {:?}, proven: {}", shortage.conflict, shortage.proven);
            println!("    repairs {:?}", shortage.repairs);
        }
    }
    Ok(solution)
}

/// Nodes, services, replicas: the sizes of the design notes.
const SIZES: [(u64, u64, u64); 4] = [(50, 25, 500), (200, 100, 2_000), (1_000, 400, 10_000), (5_000, 1_000, 150_000)];

/// CPU seconds and peak MiB of this process so far.
fn spent() -> (f64, u64) {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks: u64 = after_name.split_whitespace().skip(11).take(2).filter_map(|t| t.parse::<u64>().ok()).sum();
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.trim().parse().ok());
    (ticks as f64 / 100.0, peak.unwrap_or(0u64) / 1024)
}

/// What a solution leaves open: unplaced, soft, gap of the cost tier in per cent (with a mark when proven optimal).
fn summary(solution: &Solution) -> String {
    let sum =
        |which: &dyn Fn(&Tier) -> bool| solution.tiers.iter().filter(|t| which(&t.tier)).map(|t| t.value).sum::<u64>();
    let short = sum(&|tier| matches!(tier, Tier::Shortage(_)));
    let soft = sum(&|tier| matches!(tier, Tier::Soft | Tier::Repair));
    let cost = solution.tiers.iter().find(|t| t.tier == Tier::Cost);
    let gap =
        cost.map_or("-".to_owned(), |t| format!("{:.2}%", 100.0 * (t.value - t.bound) as f64 / t.value.max(1) as f64));
    let proven = if cost.is_some_and(|t| t.proven) { " =" } else { "" };
    format!("{short} / {soft} / {gap}{proven}")
}

/// One row: an answer at once, then one for each time limit, every one from nothing.
fn row(problem: &Problem, seconds: &[u64]) -> Result<(), ProblemError> {
    let run = |limit: Duration| -> Result<(Solution, f64, f64), ProblemError> {
        let (start, (before, _)) = (Instant::now(), spent());
        let options = SolveOptions { time_limit: limit, explain: false, ..SolveOptions::default() };
        let solution = solve(problem, &options)?;
        let wall = start.elapsed().as_secs_f64();
        assert!(verify(problem, &solution.placed).is_ok(), "every answer holds");
        Ok((solution, wall, spent().0 - before))
    };
    let replicas: u64 = problem.workloads.iter().map(|w| u64::from(w.wanted)).sum();
    let (first, wall, _) = run(Duration::ZERO)?;
    let unplaced = summary(&first).split(' ').next().unwrap_or_default().to_owned();
    print!("| {} / {replicas} | {:.2} s, {unplaced} |", problem.nodes.len(), wall);
    for limit in seconds {
        let (solution, wall, cpu) = run(Duration::from_secs(*limit))?;
        print!(" {} ({wall:.1} s, cpu {cpu:.1}) |", summary(&solution));
    }
    println!(" {} MiB |", spent().1);
    Ok(())
}

/// The table, each row by this program in a process of its own.
fn table(arguments: &[String], list: impl Fn(&str, &[u64]) -> Vec<u64>) {
    let seconds = list("--seconds", &[2, 10, 60]);
    let limits: Vec<String> = seconds.iter().map(|s| format!("unplaced / soft / cost gap at {s} s |")).collect();
    println!("| nodes / replicas | used | first answer, unplaced | {} peak memory |", limits.join(" "));
    println!("|---|---:|---|{}---:|", "---|".repeat(seconds.len()));
    for (nodes, services, replicas) in SIZES {
        if !list("--sizes", &[50, 200, 1_000, 5_000]).contains(&nodes) {
            continue;
        }
        for used in list("--used", &[60, 92]) {
            let of = [("--nodes", nodes), ("--services", services), ("--replicas", replicas), ("--used", used)];
            let mut command = std::process::Command::new(&arguments[0]);
            command.arg("--row").arg("--seconds").arg(seconds.iter().map(u64::to_string).collect::<Vec<_>>().join(","));
            for (name, value) in of {
                command.arg(name).arg(value.to_string());
            }
            command.arg("--seed").arg(list("--seed", &[1])[0].to_string());
            match command.output() {
                Ok(output) => {
                    print!("{}", String::from_utf8_lossy(&output.stdout).replacen(" | ", &format!(" | {used} % | "), 1))
                }
                Err(error) => println!("| {nodes} | {used} % | {error} |"),
            }
        }
    }
}

fn main() -> Result<(), ProblemError> {
    let arguments: Vec<String> = std::env::args().collect();
    let list = |name: &str, default: &[u64]| -> Vec<u64> {
        let text = arguments.iter().position(|a| a == name).and_then(|at| arguments.get(at + 1));
        text.map_or(default.to_vec(), |text| text.split(',').filter_map(|number| number.parse().ok()).collect())
    };
    let number = |name: &str, default: u64| list(name, &[default]).first().copied().unwrap_or(default);
    if !arguments.iter().any(|a| a == "--nodes") {
        table(&arguments, list);
        return Ok(());
    }
    let (nodes, services) = (number("--nodes", 200) as usize, number("--services", 100) as usize);
    let replicas = number("--replicas", 2000) as usize;
    let used = number("--used", 60) as f64 / 100.0;
    let mut problem = problem(nodes, services, replicas, used, number("--seed", 1));
    if arguments.iter().any(|a| a == "--row") {
        return row(&problem, &list("--seconds", &[2, 10, 60]));
    }
    let seconds = number("--seconds", 10);
    let wanted: u32 = problem.workloads.iter().map(|w| w.wanted).sum();
    println!("{nodes} nodes, {services} services, {wanted} replicas, {} constraints", problem.constraints.len());
    if let Some(at) = arguments.iter().position(|a| a == "--write") {
        let file = arguments.get(at + 1).map_or("problem.json", String::as_str);
        std::fs::write(file, serde_json::to_string(&problem).unwrap_or_default()).unwrap_or_else(|e| println!("{e}"));
        return Ok(());
    }
    let explain = arguments.iter().any(|a| a == "--explain");
    let solution = report("from nothing", &problem, seconds, explain)?;
    if arguments.iter().any(|a| a == "--running") {
        problem.current = solution.placed.into_iter().enumerate().filter(|(i, _)| i % 10 > 0).map(|(_, p)| p).collect();
        report("with nine in ten running", &problem, seconds, explain)?;
    }
    Ok(())
}
