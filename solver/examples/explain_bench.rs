//! `target/release/examples/explain_bench [REPEATS]`
//!
//! How long it takes to say why: a cluster of mixed machines in three zones at 200 and 1,000 nodes, filled by services, and one wish that is
//! impossible for a reason of each kind. The cluster is placed once; then, for each wish, the table shows the milliseconds of CPU that the
//! reasons take, and reasons and repairs together, the conflict, and whether it is proven and minimal.
#![expect(clippy::disallowed_methods, reason = "an example measures time")]

use hyphae_solver::*;
use std::time::Duration;

const GIB: u64 = 1 << 30;
/// Cores, GiB, price.
const TYPES: [(u64, u64, u64); 4] = [(4, 16, 150_000), (8, 32, 300_000), (16, 64, 580_000), (32, 128, 1_100_000)];

/// Machines with services on about two thirds of their memory; a rule on every second service.
fn cluster(nodes: usize) -> Problem {
    let resource = |name: &str, scale| Resource { name: name.into(), scale, shapes: true, transient: false };
    let machine = |n: usize| {
        let (cores, memory, price_micros) = TYPES[n % TYPES.len()];
        Node {
            name: format!("n{n:04}"),
            capacity: vec![cores * 1000, memory * GIB],
            price_micros,
            domains: vec![Some(n % 3), Some(n)],
            ..Node::default()
        }
    };
    let machines: Vec<Node> = (0..nodes).map(machine).collect();
    let mut problem = Problem {
        resources: vec![resource("cpu", 1000), resource("memory", GIB)],
        topologies: vec![
            Topology { key: "zone".into(), domains: ["a", "b", "c"].map(String::from).to_vec() },
            Topology { key: "node".into(), domains: machines.iter().map(|n| n.name.clone()).collect() },
        ],
        nodes: machines,
        ..Problem::default()
    };
    for service in 0..nodes / 2 {
        let (cpu, memory) = ([250, 500, 1000, 2000][service % 4], [1, 2, 4, 4, 8][service % 5] * GIB);
        let w = wish(&mut problem, &format!("s{service:04}"), [cpu, memory], 14);
        problem.workloads[w].priority = 10;
        let rule = match service % 8 {
            0 | 4 => Rule::Spread { workload: w, topology: 0, max_skew: 1 },
            2 => Rule::LimitPerDomain { workloads: vec![w], topology: 1, limit: 2 },
            6 => Rule::LimitPerDomain { workloads: vec![w], topology: 0, limit: 7 },
            _ => continue,
        };
        problem.constraints.push(Constraint { rule, weight: None });
    }
    problem
}

fn wish(problem: &mut Problem, name: &str, demand: [u64; 2], wanted: u32) -> usize {
    problem.workloads.push(Workload {
        name: name.into(),
        demand: demand.to_vec(),
        wanted,
        move_weight: 1,
        eligible: (0..problem.nodes.len()).collect(),
        ..Workload::default()
    });
    problem.workloads.len() - 1
}

/// A wish for each kind of reason.
fn wishes(problem: &Problem) -> Vec<(&'static str, Problem)> {
    let many = problem.nodes.len() as u32;
    let made = |change: &dyn Fn(&mut Problem, usize), demand: [u64; 2], wanted: u32| {
        let mut problem = problem.clone();
        let w = wish(&mut problem, "wish", demand, wanted);
        change(&mut problem, w);
        problem
    };
    let hard = |problem: &mut Problem, rule| problem.constraints.push(Constraint { rule, weight: None });
    vec![
        ("more memory than there is", made(&|_, _| {}, [100, 16 * GIB], many * 8)),
        ("larger than any node", made(&|_, _| {}, [64_000, GIB], 1)),
        (
            "one a node, too few nodes",
            made(
                &|p, w| hard(p, Rule::LimitPerDomain { workloads: vec![w], topology: 1, limit: 1 }),
                [50, GIB / 16],
                many + 5,
            ),
        ),
        (
            "spread, where one zone is closed to it",
            made(
                &|p, w| {
                    p.workloads[w].eligible.retain(|n| n % 3 != 2 || *n == 2);
                    hard(p, Rule::Spread { workload: w, topology: 0, max_skew: 1 });
                    hard(p, Rule::LimitPerDomain { workloads: vec![w], topology: 1, limit: 3 });
                },
                [50, GIB / 16],
                30,
            ),
        ),
        (
            "apart from what must be near",
            made(
                &|p, w| {
                    p.workloads[0].eligible = (0..20).collect();
                    hard(p, Rule::Near { workloads: vec![w], to: vec![0], topology: 1 });
                    hard(p, Rule::SeparateFrom { a: w, b: 0, topology: 0, limit: 0 });
                },
                [50, GIB / 16],
                4,
            ),
        ),
        (
            "a quota",
            made(&|p, w| hard(p, Rule::Quota { workloads: vec![w, 1, 2], max: vec![(0, 30_000)] }), [500, GIB], 40),
        ),
    ]
}

/// Milliseconds of CPU that this process has used (in ticks of ten): on a busy machine the clock on the wall says little.
fn cpu_millis() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace());
    let ticks = fields.into_iter().flatten().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok());
    ticks.sum::<u64>() * 10
}

fn main() -> Result<(), ProblemError> {
    let repeats: u64 = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(1);
    println!("{:>5}  {:<40} {:>6} {:>7}  {:<6} {:<7}", "nodes", "wish", "why", "repairs", "proven", "minimal");
    println!("{:>5}  {:<40} {:>6} {:>7}", "", "", "ms cpu", "ms cpu");
    let explain_once = |problem: &Problem, placed: &[Placed], ask: Ask, seconds: u64| {
        let options = SolveOptions { time_limit: Duration::from_secs(seconds), ..SolveOptions::default() };
        let begun = cpu_millis();
        explain(problem, placed, ask, &options).map(|shortages| (shortages, cpu_millis() - begun))
    };
    for nodes in [200, 1000] {
        let base = cluster(nodes);
        let options = SolveOptions { time_limit: Duration::from_secs(60), explain: false, ..SolveOptions::default() };
        let placed = solve(&base, &options)?.placed;
        for (name, problem) in wishes(&base) {
            // Nothing of the wish is placed: all of it is missing.
            let problem = Problem { current: placed.clone(), ..problem };
            let (mut why, mut both, mut last) = (0, 0, None);
            for _ in 0..repeats {
                why += explain_once(&problem, &placed, Ask::Reasons, 10)?.1;
                let (shortages, millis) = explain_once(&problem, &placed, Ask::Repairs, 10)?;
                both += millis;
                last = shortages.into_iter().next();
            }
            let Some(Shortage { proven, minimal, conflict, repairs, .. }) = last else { continue };
            let (why, both) = (why / repeats, both / repeats);
            println!("{nodes:>5}  {name:<40} {why:>6} {both:>7}  {proven:<6} {minimal:<7} {conflict:?} {repairs:?}");
        }
    }
    Ok(())
}
