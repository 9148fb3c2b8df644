//! A small change on a full cluster, phase by phase.

use super::{rules, timed};
use hyphae_solver::*;
use std::time::Duration;

/// What changes.
#[derive(Clone, Copy)]
enum Change {
    /// So many services ask for a fifth more.
    Services(usize),
    /// So many of a thousand nodes are lost, with what ran there.
    Nodes(usize),
}

pub(crate) fn table(problem: &mut Problem, limit: Duration) -> Result<(), ProblemError> {
    problem.constraints = ["spread over zones", "one per node", "near another in its zone", "soft spread and limit"]
        .iter()
        .enumerate()
        .flat_map(|(at, row)| {
            rules(row, &problem.workloads).into_iter().filter(move |c| c.rule.workloads()[0] % 16 / 2 == at)
        })
        .collect();
    problem.validate()?;
    problem.current = everything(problem);
    let running: u32 = problem.current.iter().map(|p| p.count).sum();
    println!(
        "{} nodes, {running} replicas running, {} rules; milliseconds of CPU (wall)",
        problem.nodes.len(),
        problem.constraints.len()
    );
    println!(
        "| change | missing | validate | instance | verify | evaluate | solve, incremental | moved | unplaced | proven | solve, auto | open gain |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|---:|---:|---|---:|---|");
    for (name, change) in [
        ("nothing", Change::Services(0)),
        ("1 service", Change::Services(1)),
        ("5 services", Change::Services(5)),
        ("20 services", Change::Services(20)),
        ("1 % of the nodes lost", Change::Nodes(10)),
    ] {
        row(name, &changed(problem, change), limit)?;
    }
    Ok(())
}

/// A first placement of everything, one replica at a time.
fn everything(problem: &Problem) -> Vec<Placed> {
    let instance = Instance::new(problem);
    let mut placer = Placer::new(&instance, &[]);
    for (workload, spec) in problem.workloads.iter().enumerate() {
        for _ in 0..spec.wanted {
            placer.place(workload);
        }
    }
    placer.placed()
}

fn changed(problem: &Problem, change: Change) -> Problem {
    let mut problem = problem.clone();
    match change {
        Change::Services(many) => {
            let every = problem.workloads.len();
            for workload in (0..many).map(|at| 1 + at * every / 21) {
                let wanted = &mut problem.workloads[workload].wanted;
                *wanted += wanted.div_ceil(5);
            }
        }
        Change::Nodes(of_thousand) => {
            let lost = |node: usize| node % 1000 / 7 < of_thousand && node % 7 == 3;
            problem.current.retain(|placed| !lost(placed.node));
            for workload in &mut problem.workloads {
                workload.eligible.retain(|node| !lost(*node));
            }
        }
    }
    problem
}

fn row(name: &str, problem: &Problem, limit: Duration) -> Result<(), ProblemError> {
    let show = |cpu: f64, wall: f64| format!("{cpu:.1} ({wall:.1})");
    let wanted: u64 = problem.workloads.iter().map(|w| u64::from(w.wanted)).sum();
    let running: u64 = problem.current.iter().map(|p| u64::from(p.count)).sum();
    let (valid, cpu, wall) = timed(|| problem.validate());
    valid?;
    let validate = show(cpu, wall);
    let (_, cpu, wall) = timed(|| Instance::new(problem));
    let instance = show(cpu, wall);
    let options = |effort, time_limit| SolveOptions { time_limit, explain: false, effort, ..SolveOptions::default() };
    let (solution, cpu, wall) = timed(|| solve(problem, &options(SolveEffort::Incremental, Duration::from_secs(10))));
    let (solution, solved) = (solution?, show(cpu, wall));
    let (verified, cpu, wall) = timed(|| verify(problem, &solution.placed));
    let verify = show(cpu, wall);
    let (_, cpu, wall) = timed(|| evaluate(problem, &solution.placed));
    let evaluate = show(cpu, wall);
    assert!(verified.is_ok(), "only verified placements are shown");
    let value = |tier: Tier| solution.tiers.iter().find(|t| t.tier == tier).map_or(0, |t| t.value);
    let unplaced: u64 = solution.tiers.iter().filter(|t| matches!(t.tier, Tier::Shortage(_))).map(|t| t.value).sum();
    let proven = if solution.tiers.iter().all(|t| t.proven) { "all tiers" } else { "not all" };
    let limit = limit.max(Duration::from_secs(5));
    let (full, cpu, wall) = timed(|| solve(problem, &options(SolveEffort::Auto, limit)));
    let full = full?;
    let open = full.tiers.iter().filter(|t| t.gain() > 0).map(|t| format!("{:?} {} of {}", t.tier, t.gain(), t.value));
    println!(
        "| {name} | {} | {validate} | {instance} | {verify} | {evaluate} | {solved} | {} | {unplaced} | {proven} | {} | {} |",
        wanted.saturating_sub(running),
        value(Tier::Disruption),
        show(cpu, wall),
        open.collect::<Vec<_>>().join(", "),
    );
    Ok(())
}
