//! `openb NODES PODS [--online | --batch | --drawn] [--seeds 10] [--seconds 60]`: the GPU cluster of Alibaba's openb trace.
//!
//! *Online*, as in the paper "Beware of Fragmentation" (Weng et al., USENIX ATC 2023): the list is brought to 130 % of the GPUs, shuffled, and
//! each pod placed for good before the next is known. *Batch*: all pods of the list at once, through [`solve`], with the proof. *Drawn*: the
//! 130 % sequences at once, by orders of the same policies, without a proof. Every final placement is judged by [`verify`] on a problem with devices.
#![expect(clippy::disallowed_methods, reason = "an example reads files and measures time")]

use hyphae_solver::online::{BestFit, DotProduct, Fragmentation, Online, Policy, RandomFit};
use hyphae_solver::*;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
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

/// The cluster with one workload for each kind of pod, wanted as often as it is in the list; and the list.
fn load(nodes: &str, pods: &str) -> Result<(Problem, Vec<WorkloadIdx>), Box<dyn Error>> {
    let nodes = rows(nodes)?;
    let machine = |(n, row): (usize, &Vec<String>)| -> Result<Node, Box<dyn Error>> {
        let (capacity, devices) = (vec![row[1].parse()?, row[2].parse()?], vec![row[3].parse()?]);
        Ok(Node { name: row[0].clone(), capacity, devices, domains: vec![Some(n)], ..Node::default() })
    };
    let machines: Vec<Node> = nodes.iter().enumerate().map(machine).collect::<Result<_, _>>()?;
    let mut kinds: BTreeMap<([u64; 4], String), usize> = BTreeMap::new();
    let mut pods_of = Vec::new();
    for row in rows(pods)? {
        let asks = [row[1].parse()?, row[2].parse()?, row[3].parse()?, row[4].parse().unwrap_or(0)];
        let kind = (asks, row.get(5).cloned().unwrap_or_default());
        kinds.insert(kind.clone(), 0);
        pods_of.push(kind);
    }
    kinds.values_mut().enumerate().for_each(|(index, kind)| *kind = index);
    let list: Vec<WorkloadIdx> = pods_of.iter().map(|kind| kinds[kind]).collect();
    let workload = |(w, ([cpu, memory, gpus, milli], allowed)): (usize, &([u64; 4], String))| {
        let may = |n: &usize| allowed.is_empty() || allowed.split('|').any(|allowed| allowed == nodes[*n][4]);
        let take = match gpus {
            0 => None,
            1 if *milli < 1000 => Some(DeviceTake::Share(*milli as u32)),
            _ => Some(DeviceTake::Whole(*gpus as u32)),
        };
        Workload {
            name: format!("w{w}"),
            demand: vec![*cpu, *memory],
            move_weight: 1,
            eligible: (0..nodes.len()).filter(may).collect(),
            device: take.map(|take| DeviceDemand { kind: 0, take }),
            ..Workload::default()
        }
    };
    let resource = |name: &str, scale| Resource { name: name.into(), scale, shapes: true, transient: false };
    let mut problem = Problem {
        resources: vec![resource("cpu", 1000), resource("memory", 1024)],
        devices: vec![DeviceKind { name: "gpu".into(), parts: 1000 }],
        topologies: vec![Topology { key: "node".into(), domains: machines.iter().map(|n| n.name.clone()).collect() }],
        workloads: kinds.keys().enumerate().map(workload).collect(),
        nodes: machines,
        ..Problem::default()
    };
    list.iter().for_each(|w| problem.workloads[*w].wanted += 1);
    Ok((problem, list))
}

/// GPU milli that a pod of this kind takes.
fn milli(problem: &Problem, workload: WorkloadIdx) -> u64 {
    match problem.workloads[workload].device {
        None => 0,
        Some(DeviceDemand { take: DeviceTake::Whole(gpus), .. }) => u64::from(gpus) * 1000,
        Some(DeviceDemand { take: DeviceTake::Share(share), .. }) => u64::from(share),
    }
}

/// GPU milli of all nodes.
fn milli_of_nodes(problem: &Problem) -> u64 {
    problem.nodes.iter().map(|node| u64::from(node.devices[0]) * 1000).sum()
}

/// splitmix64 (Steele, Lea, Flood 2014).
struct Draw(u64);

impl Draw {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((u128::from(z ^ (z >> 31)) * n as u128) >> 64) as usize
    }
}

/// The list brought to 130 % of the GPUs (pods drawn with replacement are added, or random ones removed), shuffled.
fn sequence(problem: &Problem, list: &[WorkloadIdx], seed: u64) -> Vec<WorkloadIdx> {
    let mut draw = Draw(seed);
    let mut pods = list.to_vec();
    let target = milli_of_nodes(problem) * 13 / 10;
    let mut asked: u64 = pods.iter().map(|w| milli(problem, *w)).sum();
    while asked > target {
        let gone = pods.swap_remove(draw.below(pods.len()));
        asked -= milli(problem, gone);
    }
    while asked < target {
        let more = list[draw.below(list.len())];
        asked += milli(problem, more);
        pods.push(more);
    }
    for last in (1..pods.len()).rev() {
        pods.swap(last, draw.below(last + 1));
    }
    pods
}

/// The problem with these pods wanted.
fn wanting(problem: &Problem, pods: &[WorkloadIdx]) -> Problem {
    let mut problem = problem.clone();
    problem.workloads.iter_mut().for_each(|workload| workload.wanted = 0);
    pods.iter().for_each(|w| problem.workloads[*w].wanted += 1);
    problem
}

/// Makes a policy for a cluster: the second argument is the seed.
type Maker = fn(&Online, &Problem, u64) -> Box<dyn Policy>;

const POLICIES: [(&str, Maker); 6] = [
    ("Random", |_, _, seed| Box::new(RandomFit::new(seed))),
    ("DotProd", |_, problem, _| Box::new(DotProduct::new(problem))),
    ("BestFit", |_, problem, _| Box::new(BestFit::new(problem))),
    ("FGD", |online, _, _| Box::new(Fragmentation::plain(online, 0))),
    ("FGD, rounded", |online, _, _| Box::new(Fragmentation::simulated(online, 0))),
    ("stranded", |online, _, _| Box::new(Fragmentation::stranded(online, 0))),
];

/// What one run placed: GPU milli after each pod offered.
fn offered(
    problem: &Problem,
    pods: &[WorkloadIdx],
    make: Maker,
    seed: u64,
    mut after: impl FnMut(u64, u64),
) -> Result<(), Box<dyn Error>> {
    let mut online = Online::new(problem);
    let mut policy = make(&online, problem, seed);
    let (mut asked, mut got) = (0, 0);
    let mut counts: BTreeMap<(WorkloadIdx, NodeIdx), u32> = BTreeMap::new();
    for workload in pods {
        asked += milli(problem, *workload);
        if let Some(seat) = online.place(*workload, &mut *policy) {
            got += milli(problem, *workload);
            *counts.entry((*workload, seat.node)).or_default() += 1;
        }
        after(asked, got);
    }
    let placed = counts.into_iter().map(|((workload, node), count)| Placed { workload, node, count });
    let placed: Vec<Placed> = placed.collect();
    verify(&wanting(problem, pods), &placed).map_err(|violations| format!("not a placement: {violations:?}"))?;
    Ok(())
}

/// GPU allocation ratios in percent when 90, 100 and 130 % of the GPUs have been asked for.
fn run(problem: &Problem, pods: &[WorkloadIdx], make: Maker, seed: u64) -> Result<[f64; 3], Box<dyn Error>> {
    let all = milli_of_nodes(problem);
    let mut ratios = [0.0; 3];
    offered(problem, pods, make, seed, |asked, got| {
        let ratio = 100.0 * got as f64 / all as f64;
        let reached = [asked * 10 <= all * 9, asked <= all, true];
        ratios.iter_mut().zip(reached).filter(|(_, reached)| *reached).for_each(|(known, _)| *known = ratio);
    })?;
    Ok(ratios)
}

/// The sequences of the online experiment, known all at once: the best of a few orders, largest request for GPUs first. The bound is what is asked for or
/// there, whichever is less.
fn drawn(problem: &Problem, list: &[WorkloadIdx], seeds: u64) -> Result<(), Box<dyn Error>> {
    println!("| seed | GPU % | at most |");
    println!("|---:|---:|---:|");
    let all = milli_of_nodes(problem);
    let (mut sum, mut runs) = (0.0, 0.0);
    for seed in 42..42 + seeds {
        let pods = sequence(problem, list, seed);
        let asked: u64 = pods.iter().map(|w| milli(problem, *w)).sum();
        let cores = |w: WorkloadIdx| problem.workloads[w].demand[0];
        let mut orders = [pods.clone(), pods.clone(), pods.clone()];
        orders[0].sort_by_key(|w| (Reverse(milli(problem, *w)), Reverse(cores(*w)), *w));
        orders[1].sort_by_key(|w| (Reverse(milli(problem, *w)), cores(*w), *w));
        orders[2].sort_by_key(|w| (Reverse(milli(problem, *w) / 1000), cores(*w) / milli(problem, *w).max(1), *w));
        let mut best: u64 = 0;
        for order in &orders {
            for (_, make) in &POLICIES[3..] {
                offered(problem, order, *make, seed, |_, got| best = best.max(got))?;
            }
        }
        let ratio = 100.0 * best as f64 / all as f64;
        println!("| {seed} | {ratio:.2} | {:.2} |", 100.0 * asked.min(all) as f64 / all as f64);
        (sum, runs) = (sum + ratio, runs + 1.0);
    }
    println!("| mean | {:.2} | |", sum / f64::max(runs, 1.0));
    Ok(())
}

fn online(problem: &Problem, list: &[WorkloadIdx], seeds: u64) -> Result<(), Box<dyn Error>> {
    println!("| policy | 90 % asked | 100 % | 130 % | least | most | seconds |");
    println!("|---|---:|---:|---:|---:|---:|---:|");
    for (name, make) in POLICIES {
        let start = Instant::now();
        let seeds = 42..42 + seeds;
        let runs = seeds.map(|seed| run(problem, &sequence(problem, list, seed), make, seed));
        let runs: Vec<[f64; 3]> = runs.collect::<Result<_, _>>()?;
        let mean = |at: usize| runs.iter().map(|run| run[at]).sum::<f64>() / runs.len() as f64;
        let least = runs.iter().map(|run| run[2]).fold(f64::MAX, f64::min);
        let most = runs.iter().map(|run| run[2]).fold(0.0, f64::max);
        let each = start.elapsed().as_secs_f64() / runs.len() as f64;
        println!("| {name} | {:.2} | {:.2} | {:.2} | {least:.2} | {most:.2} | {each:.2} |", mean(0), mean(1), mean(2));
    }
    Ok(())
}

/// All wanted at once, through the solver.
fn batch(problem: &Problem, seconds: u64) -> Result<(), Box<dyn Error>> {
    let start = Instant::now();
    let options = SolveOptions { time_limit: Duration::from_secs(seconds), explain: false, ..SolveOptions::default() };
    let solution = solve(problem, &options)?;
    let seconds = start.elapsed().as_secs_f64();
    verify(problem, &solution.placed).map_err(|violations| format!("not a placement: {violations:?}"))?;
    let got: u64 = solution.placed.iter().map(|p| milli(problem, p.workload) * u64::from(p.count)).sum();
    let wanted: u32 = problem.workloads.iter().map(|workload| workload.wanted).sum();
    let shortage = solution.tiers.first().ok_or("a problem has a shortage tier")?;
    let assigned = slots(problem, &solution.placed);
    let of = |seat: &SlotAssignment| -> Vec<(NodeIdx, u32)> {
        seat.devices.iter().flatten().map(|device| (seat.node, *device)).collect()
    };
    let devices: BTreeSet<(NodeIdx, u32)> = assigned.iter().flat_map(of).collect();
    println!(
        "| {wanted} | {} | {} | {} | {:.2} | {} | {seconds:.1} |",
        shortage.value,
        shortage.bound,
        if shortage.proven { "yes" } else { "no" },
        100.0 * got as f64 / milli_of_nodes(problem) as f64,
        devices.len()
    );
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [nodes, pods, rest @ ..] = arguments.as_slice() else {
        return Err("usage: openb NODES PODS [--online | --batch | --drawn] [--seeds 10] [--seconds 60]".into());
    };
    let option = |name: &str, default: u64| {
        let at = rest.iter().position(|word| word == name).and_then(|at| rest.get(at + 1));
        at.map_or(Ok(default), |text| text.parse::<u64>())
    };
    let (seeds, seconds) = (option("--seeds", 10)?, option("--seconds", 60)?);
    let asked = |name: &str| rest.iter().any(|word| word == name);
    let all = !["--online", "--batch", "--drawn"].into_iter().any(asked);
    let (problem, list) = load(nodes, pods)?;
    let kinds = problem.workloads.len();
    println!(
        "{} nodes, {} pods of {kinds} kinds, {} GPU milli",
        problem.nodes.len(),
        list.len(),
        milli_of_nodes(&problem)
    );
    if all || asked("--online") {
        online(&problem, &list, seeds)?;
    }
    if all || asked("--batch") {
        println!("| pods wanted | unplaced | at least | proven | GPU % | devices in use | seconds |");
        println!("|---:|---:|---:|---|---:|---:|---:|");
        batch(&problem, seconds)?;
    }
    if asked("--drawn") {
        drawn(&problem, &list, seeds)?;
    }
    Ok(())
}
