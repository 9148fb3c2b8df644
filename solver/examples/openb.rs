//! `target/debug/examples/openb NODES PODS [SECONDS]`: the GPU cluster of Alibaba's openb trace, all pods at once.
//!
//! Pods with equal requests are one workload. GPU milli are a resource of the node: a share may lie on two GPUs here, which the real
//! cluster cannot do (device slots are not modelled).
#![expect(clippy::disallowed_methods, reason = "an example reads files and measures time")]

use hyphae_solver::*;
use std::collections::BTreeMap;
use std::error::Error;
use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A CSV file's rows without the header, unpacked by `gzip`.
fn rows(path: &str) -> Result<Vec<Vec<String>>, Box<dyn Error>> {
    let mut unpack = Command::new("gzip").args(["-dc", path]).stdout(Stdio::piped()).spawn()?;
    let mut text = String::new();
    unpack.stdout.take().ok_or("gzip has no output")?.read_to_string(&mut text)?;
    unpack.wait()?;
    Ok(text.lines().skip(1).map(|line| line.split(',').map(str::to_owned).collect()).collect())
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [nodes, pods, rest @ ..] = arguments.as_slice() else { return Err("usage: openb NODES PODS [SECONDS]".into()) };
    let seconds = rest.first().map_or(Ok(20), |text| text.parse())?;
    let nodes = rows(nodes)?;
    let machines: Vec<Node> = nodes
        .iter()
        .enumerate()
        .map(|(n, row)| -> Result<Node, Box<dyn Error>> {
            let capacity = vec![row[1].parse()?, row[2].parse()?, row[3].parse::<u64>()? * 1000];
            Ok(Node { name: row[0].clone(), capacity, price_micros: 0, domains: vec![Some(n)], ..Node::default() })
        })
        .collect::<Result<_, _>>()?;
    let models: Vec<&str> = nodes.iter().map(|row| row[4].as_str()).collect();
    let mut groups: BTreeMap<([u64; 3], String), u32> = BTreeMap::new();
    for row in rows(pods)? {
        let gpus: u64 = row[3].parse()?;
        let gpu = gpus * row[4].parse::<u64>().unwrap_or(0);
        let models = row.get(5).cloned().unwrap_or_default();
        *groups.entry(([row[1].parse()?, row[2].parse()?, gpu], models)).or_default() += 1;
    }
    let workloads: Vec<Workload> = groups
        .into_iter()
        .enumerate()
        .map(|(w, ((demand, allowed), wanted))| {
            let may = |model: &str| allowed.is_empty() || allowed.split('|').any(|allowed| allowed == model);
            let eligible = (0..machines.len()).filter(|n| may(models[*n])).collect();
            let demand = demand.to_vec();
            Workload {
                name: format!("w{w}"),
                demand,
                wanted,
                priority: 0,
                move_weight: 1,
                eligible,
                per_node_max: None,
                ..Workload::default()
            }
        })
        .collect();
    let resource = |name: &str, scale| Resource { name: name.into(), scale, shapes: true, transient: false };
    let problem = Problem {
        resources: vec![resource("cpu", 1000), resource("memory", 1024), resource("gpu", 1000)],
        topologies: vec![Topology { key: "node".into(), domains: machines.iter().map(|n| n.name.clone()).collect() }],
        nodes: machines,
        workloads,
        constraints: Vec::new(),
        current: Vec::new(),
        held: Vec::new(),
        objective: Objective::default(),
        ..Problem::default()
    };
    let gpu: u64 = problem.nodes.iter().map(|n| n.capacity[2]).sum();
    println!("{} nodes, {} workloads", problem.nodes.len(), problem.workloads.len());
    let start = Instant::now();
    let options = SolveOptions { time_limit: Duration::from_secs(seconds), explain: false, ..SolveOptions::default() };
    let solution = solve(&problem, &options)?;
    let used: u64 = solution.placed.iter().map(|p| problem.workloads[p.workload].demand[2] * u64::from(p.count)).sum();
    println!(
        "{} ms, {:?}, verified: {}",
        start.elapsed().as_millis(),
        solution.stats,
        verify(&problem, &solution.placed).is_ok()
    );
    println!("GPU allocated: {:.2} %", 100.0 * used as f64 / gpu as f64);
    for tier in &solution.tiers {
        println!("  {:<16} {:>8} {:>8} {}", format!("{:?}", tier.tier), tier.value, tier.bound, tier.proven);
    }
    Ok(())
}
