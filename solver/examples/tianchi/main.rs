//! `tianchi DIR OUT --seconds N`, the Alibaba Global Scheduling Algorithm
//! Challenge 2018 (Tianchi), data set B.
//!
//! Reads the four CSV files in DIR, looks for a placement on one thread, and has written a sequence of moves `instance,machine` to OUT
//! after N seconds. Then reads OUT again and has it judged: step by step by the profile module's judge, and the end by
//! `hyphae_solver::verify`.
#![expect(clippy::disallowed_methods, reason = "an example reads files and measures time")]

mod files;
mod general;

use files::{Names, read_fleet, read_moves, write_moves};
use hyphae_solver::profiles::{Fleet, Schedule, Step, anneal, fluid_bound, judge, match_groups, price, route};
use std::error::Error;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The best result file of a participating team, and the moves that were allowed.
const BEST_OF_TEAM: f64 = 6090.34;
const MOVES_MAX: usize = 100_000;
/// Left of the time for the sequence of moves and for writing it.
const ROUTE_SECONDS: f64 = 2.0;
const USAGE: &str = "usage: tianchi DIR OUT --seconds N [--seed S] [--machines K] [--hot T] [--cold T] [--moves M]
    --cpu-seconds N in place of --seconds N: of CPU time";

/// What `--seconds` counts.
#[derive(Clone, Copy)]
enum Clock {
    Wall,
    /// Of this process: comparable between runs on a machine that has other things to do.
    Cpu,
}

struct Arguments {
    directory: PathBuf,
    out: PathBuf,
    seconds: f64,
    clock: Clock,
    moves_max: usize,
    schedule: Schedule,
}

fn arguments() -> Result<Arguments, Box<dyn Error>> {
    let mut schedule = Schedule::default();
    let (mut paths, mut seconds, mut clock, mut moves_max) = (Vec::new(), 60.0, Clock::Wall, MOVES_MAX);
    let mut rest = std::env::args().skip(1);
    while let Some(word) = rest.next() {
        if !word.starts_with("--") {
            paths.push(PathBuf::from(word));
            continue;
        }
        let value = rest.next().ok_or(USAGE)?;
        match word.as_str() {
            "--seconds" => seconds = value.parse()?,
            "--cpu-seconds" => (seconds, clock) = (value.parse()?, Clock::Cpu),
            "--seed" => schedule.seed = value.parse()?,
            "--machines" => schedule.machines_on = Some(value.parse()?),
            "--hot" => schedule.hot = value.parse()?,
            "--cold" => schedule.cold = value.parse()?,
            "--moves" => moves_max = value.parse()?,
            _ => return Err(USAGE.into()),
        }
    }
    let [directory, out] = paths.try_into().map_err(|_| USAGE)?;
    Ok(Arguments { directory, out, seconds, clock, moves_max, schedule })
}

/// Seconds of CPU that this process has used, as the kernel counts them.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    // utime and stime, in ticks of 1/100 s.
    [11, 12].iter().filter_map(|at| fields.get(*at)?.parse::<f64>().ok()).sum::<f64>() / 100.0
}

fn search(fleet: &Fleet, arguments: &Arguments, begun: Instant) -> Result<(Vec<usize>, Step), Box<dyn Error>> {
    let mut last = Step { proposed: 0, accepted: 0, cost: 0.0 };
    let quiet = !std::io::stderr().is_terminal();
    let gone = || match arguments.clock {
        Clock::Wall => begun.elapsed().as_secs_f64(),
        Clock::Cpu => cpu_seconds(),
    };
    let start = gone();
    let length = (arguments.seconds - ROUTE_SECONDS - start).max(0.1);
    let mut shown = Instant::now();
    let placement = anneal(fleet, &arguments.schedule, &mut |step| {
        last = *step;
        let spent = (gone() - start) / length;
        if !quiet && shown.elapsed() > Duration::from_millis(500) {
            shown = Instant::now();
            eprint!("\r{:3.0} %  cost {:.2}  {} M proposed", spent * 100.0, step.cost, step.proposed / 1_000_000);
        }
        spent
    })?;
    if !quiet {
        eprintln!();
    }
    let placed: Option<Vec<usize>> = placement.into_iter().collect();
    Ok((placed.ok_or("an instance was left out")?, last))
}

fn main() -> Result<(), Box<dyn Error>> {
    let begun = Instant::now();
    let arguments = arguments()?;
    let (fleet, names) = read_fleet(&arguments.directory)?;
    let bound = fluid_bound(&fleet);
    let (initial, initial_on) = price(&fleet, &fleet.initial)?;
    let (found, step) = search(&fleet, &arguments, begun)?;
    let searched = (begun.elapsed().as_secs_f64(), cpu_seconds());
    let target = match_groups(&fleet, &found);
    let moves = route(&fleet, &target, arguments.moves_max)?;
    write_moves(&arguments.out, &names, &moves)?;
    let routed = (begun.elapsed().as_secs_f64(), cpu_seconds());
    report(&arguments, &fleet, &names)?;
    let judged = (begun.elapsed().as_secs_f64(), cpu_seconds());
    let mut out = std::io::stdout().lock();
    writeln!(out, "initial: cost {initial:.2} on {initial_on} machines, some instances nowhere")?;
    writeln!(out, "bound: {:.2} with {} machines (CPU as a fluid)", bound.cost, bound.machines)?;
    writeln!(out, "search: {} M moves proposed, {} k made", step.proposed / 1_000_000, step.accepted / 1000)?;
    for (stage, (wall, cpu)) in [("search", searched), ("route", routed), ("judges", judged)] {
        writeln!(out, "until the end of {stage}: {wall:.1} s wall, {cpu:.1} s CPU")?;
    }
    Ok(())
}

/// Reads the sequence back, has it judged, and prints what it is worth.
fn report(arguments: &Arguments, fleet: &Fleet, names: &Names) -> Result<(), Box<dyn Error>> {
    let moves = read_moves(&arguments.out, names)?;
    if moves.len() > arguments.moves_max {
        return Err(format!("{} moves are too many", moves.len()).into());
    }
    let end = judge(fleet, &moves)?;
    general::verify_end(fleet, &end)?;
    let end: Vec<Option<usize>> = end.into_iter().map(Some).collect();
    let (cost, machines) = price(fleet, &end)?;
    let stayed = end.iter().zip(&fleet.initial).filter(|(end, initial)| end == initial).count();
    let bound = fluid_bound(fleet).cost;
    let mut out = std::io::stdout().lock();
    writeln!(out, "| cost | over the bound | against {BEST_OF_TEAM} | machines | moves | of them to park | stayed |")?;
    writeln!(out, "|---:|---:|---:|---:|---:|---:|---:|")?;
    let (over, against) = ((cost / bound - 1.0) * 100.0, cost - BEST_OF_TEAM);
    let parked = moves.len() - (end.len() - stayed);
    writeln!(out, "| {cost:.2} | {over:.2} % | {against:+.2} | {machines} | {} | {parked} | {stayed} |", moves.len())?;
    Ok(())
}
