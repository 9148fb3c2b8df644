//! `roadef MODEL ASSIGNMENT OUT [--seconds N | --cpu-seconds N] [--threads N] [--seed N] [--steps N] [--no-judge]`: an instance of the
//! ROADEF/EURO challenge 2012 (Google machine reassignment). Reads text or gzip, writes a solution in the form of the assignment.
//! `--cpu-seconds` counts the CPU time of all threads together: comparable between runs on a machine that has other things to do.
//!
//! What comes out is costed twice: by the rules of the challenge, straight from the file ([`instance`]), and, unless `--no-judge`, by the
//! solver's own judges on the general [`Problem`] that the instance becomes ([`general`]). Neither shares code with the search.
#![expect(clippy::disallowed_methods, reason = "an example reads files and measures time")]

#[path = "roadef/general.rs"]
mod general;
#[path = "roadef/instance.rs"]
mod instance;

use hyphae_solver::*;
use instance::{Costs, Instance};
use std::error::Error;
use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A file's whole numbers, unpacked by `gzip` when its name ends so.
fn numbers(path: &str) -> Result<Vec<u64>, Box<dyn Error>> {
    let mut text = String::new();
    if path.ends_with(".gz") {
        let mut unpack = Command::new("gzip").args(["-dc", path]).stdout(Stdio::piped()).spawn()?;
        unpack.stdout.take().ok_or("gzip has no output")?.read_to_string(&mut text)?;
        unpack.wait()?;
    } else {
        text = std::fs::read_to_string(path)?;
    }
    Ok(text.split_whitespace().map(str::parse).collect::<Result<_, _>>()?)
}

const USAGE: &str = "usage: roadef MODEL ASSIGNMENT OUT [--seconds N | --cpu-seconds N] [--threads N] [--seed N] [--steps N] [--no-judge]";

struct Arguments {
    files: Vec<String>,
    limits: ReassignLimits,
    judge: bool,
}

fn arguments() -> Result<Arguments, Box<dyn Error>> {
    let limits =
        ReassignLimits { time: Duration::from_secs(60), steps_max: u64::MAX, threads: 1, seed: 1, clock: None };
    let mut parsed = Arguments { files: Vec::new(), limits, judge: true };
    let mut rest = std::env::args().skip(1);
    while let Some(argument) = rest.next() {
        let mut value = || rest.next().ok_or_else(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--seconds" => parsed.limits.time = Duration::from_secs_f64(value()?.parse()?),
            "--cpu-seconds" => {
                parsed.limits.time = Duration::from_secs_f64(value()?.parse()?);
                parsed.limits.clock = Some(|| Duration::from_secs_f64(cpu_seconds()));
            }
            "--threads" => parsed.limits.threads = value()?.parse()?,
            "--seed" => parsed.limits.seed = value()?.parse()?,
            "--steps" => parsed.limits.steps_max = value()?.parse()?,
            "--no-judge" => parsed.judge = false,
            _ => parsed.files.push(argument),
        }
    }
    if parsed.files.len() != 3 {
        return Err(USAGE.into());
    }
    Ok(parsed)
}

/// CPU seconds of this process so far, where the system tells.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks: u64 = after_name.split_whitespace().skip(11).take(2).filter_map(|t| t.parse::<u64>().ok()).sum();
    ticks as f64 / 100.0
}

fn row(name: &str, costs: &Costs) {
    println!(
        "{name:<9} total {:>14}  load {:>14}  balance {:>11}  process {:>9}  service {:>5}  machine {:>9}",
        costs.total(),
        costs.load,
        costs.balance,
        costs.process_moves,
        costs.service_moves,
        costs.machine_moves
    );
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = arguments()?;
    let start = Instant::now();
    let instance = Instance::parse(&numbers(&arguments.files[0])?, &numbers(&arguments.files[1])?)?;
    let problem = general::problem(&instance);
    let seconds = arguments.limits.time.as_secs_f64();
    let gone = arguments.limits.clock.map_or(start.elapsed(), |clock| clock()).as_secs_f64();
    let left = Duration::from_secs_f64((seconds - gone).max(0.0));
    let limits = ReassignLimits { time: left, ..arguments.limits };
    let placed = reassign(&problem, &limits)?.ok_or("not a reassignment problem")?;
    let (wall, cpu) = (start.elapsed().as_secs_f64(), cpu_seconds());
    let found: Vec<usize> = placed.iter().map(|placed| placed.node).collect();
    let text: Vec<String> = found.iter().map(usize::to_string).collect();
    std::fs::write(&arguments.files[2], text.join(" ") + "\n")?;

    row("original", &instance.costs(&instance.original));
    let costs = instance.costs(&found);
    row("found", &costs);
    let bound = instance.bound();
    let gap = (costs.total() as f64 - bound as f64) / bound.max(1) as f64;
    println!("bound {bound}, gap {:.4} %, wall {wall:.1} s, CPU {cpu:.1} s", 100.0 * gap);
    if let Some(broken) = instance.broken(&found) {
        return Err(format!("the answer breaks {broken}").into());
    }
    if arguments.judge {
        let start = Instant::now();
        if let Err(violations) = verify(&problem, &placed) {
            return Err(format!("the judges refuse the answer: {violations:?}").into());
        }
        let soft =
            evaluate(&problem, &placed).into_iter().find(|(tier, _)| *tier == Tier::Soft).map(|(_, value)| value);
        println!("judges: verified, soft tier {soft:?} in {} ms", start.elapsed().as_millis());
        if soft.map(u128::from) != Some(costs.total()) {
            return Err("the judges see another cost".into());
        }
    }
    Ok(())
}
