//! Conflicts, certificates and repairs against trying every placement. What a wish is, and what a ground is, is written down once more
//! here, from the documentation of [`hyphae_solver::Shortage`].

mod oracle;

use hyphae_solver::*;
use std::time::Duration;

/// Placements that a test may have to try, at most.
const PLACEMENTS_MAX: u64 = 60_000;

fn seeds(default: u64) -> u64 {
    std::env::var("HYPHAE_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn nothing() -> Constraint {
    Constraint { rule: Rule::Quota { workloads: Vec::new(), max: Vec::new() }, weight: None }
}

/// Replicas that each workload has.
fn has(problem: &Problem, placed: &[Placed]) -> Vec<u32> {
    let mut has = vec![0; problem.workloads.len()];
    placed.iter().for_each(|entry| has[entry.workload] += entry.count);
    has
}

/// The problem in which `asked` has to be placed in full before everything else counts. Survival goes on allowing as much to be lost.
fn asking(problem: &Problem, asked: &[Option<u32>]) -> Problem {
    let mut problem = problem.clone();
    for (index, asked) in asked.iter().enumerate() {
        problem.workloads[index].priority = i32::from(asked.is_some());
        let Some(asked) = *asked else { continue };
        let before = std::mem::replace(&mut problem.workloads[index].wanted, asked);
        for constraint in &mut problem.constraints {
            if let Rule::Survive { workload, keep, .. } = &mut constraint.rule
                && *workload == index
                && asked < before
            {
                *keep = asked.saturating_sub(before - before.min(*keep));
            }
        }
    }
    problem.constraints.iter_mut().filter(|c| c.weight.is_some()).for_each(|constraint| *constraint = nothing());
    problem
}

fn group(problem: &Problem, w: usize) -> Vec<usize> {
    let groups = problem.constraints.iter().filter_map(|constraint| match &constraint.rule {
        Rule::AllOrNothing { workloads } if workloads.contains(&w) => Some(workloads.clone()),
        _ => None,
    });
    groups.flatten().collect()
}

fn wish(problem: &Problem, solution: &Solution, w: usize) -> Problem {
    let has = has(problem, &solution.placed);
    let group = group(problem, w);
    let asked: Vec<Option<u32>> = (0..problem.workloads.len())
        .map(|v| match v {
            v if v == w => Some(problem.workloads[w].wanted),
            v if problem.workloads[v].priority < problem.workloads[w].priority || group.contains(&v) => None,
            v => Some(has[v].min(problem.workloads[v].wanted)),
        })
        .collect();
    asking(problem, &asked)
}

/// The wish with these causes alone in its way.
fn under(wish: &Problem, w: usize, causes: &[Cause]) -> Problem {
    let mut problem = wish.clone();
    let spreads = |rule: &Rule| matches!(rule, Rule::Spread { workload, .. } if *workload == w);
    let counted = wish.constraints.iter().any(|constraint| spreads(&constraint.rule));
    for (index, constraint) in problem.constraints.iter_mut().enumerate() {
        if !causes.contains(&Cause::Rule(index)) {
            *constraint = nothing();
        }
    }
    for resource in 0..problem.resources.len() {
        if !causes.iter().any(|cause| matches!(cause, Cause::Capacity { resource: r, .. } if *r == resource)) {
            problem.nodes.iter_mut().for_each(|node| node.capacity[resource] = 1 << 40);
        }
    }
    if !causes.iter().any(|cause| matches!(cause, Cause::Devices(_))) {
        problem.workloads.iter_mut().for_each(|workload| workload.device = None);
    }
    if !causes.contains(&Cause::PerNodeMax) {
        problem.workloads[w].per_node_max = None;
    }
    // Where it may be decides which domains a spread counts: then it is given.
    if !causes.contains(&Cause::Eligibility) && !counted && !causes.contains(&Cause::NotEligible) {
        problem.workloads[w].eligible = (0..problem.nodes.len()).collect();
    }
    problem
}

fn size(problem: &Problem) -> u64 {
    let nodes = problem.nodes.len() as u64;
    let ways = |spec: &Workload| {
        // Ways to put at most k replicas on n nodes: (n + k choose k).
        (1..=u64::from(spec.wanted + spec.surplus_max)).fold(1u64, |ways, k| ways * (nodes + k) / k)
    };
    problem.workloads.iter().map(ways).fold(1, u64::saturating_mul)
}

/// Whether what is asked for can be placed in full: by trying everything.
fn is_possible(problem: &Problem) -> bool {
    oracle::best(problem)[0] == 0
}

/// Asked for with nothing else: no tier of priority 1 then.
fn asks(problem: &Problem) -> bool {
    problem.workloads.iter().any(|workload| workload.priority == 1)
}

struct Case {
    problem: Problem,
    solution: Solution,
    seed: u64,
}

/// Small problems that leave something short, with their explained solutions.
fn cases(count: u64) -> impl Iterator<Item = Case> {
    (0..count).filter_map(|seed| {
        let problem = oracle::small(seed);
        let options = SolveOptions { time_limit: Duration::from_secs(100), ..SolveOptions::default() };
        let solution = solve(&problem, &options).expect("small problems are valid");
        (!solution.shortages.is_empty() && size(&problem) <= PLACEMENTS_MAX).then_some(Case { problem, solution, seed })
    })
}

#[test]
fn conflicts_are_sufficient_minimal_and_found_whenever_the_wish_is_impossible() {
    let (mut refused, mut minimal) = (0, 0);
    for Case { problem, solution, seed } in cases(seeds(500)) {
        for shortage in &solution.shortages {
            let w = shortage.workload;
            let wish = wish(&problem, &solution, w);
            let told = || format!("seed {seed}: {shortage:?}\n{problem:#?}\n{:?}", solution.placed);
            assert!(asks(&wish));
            if !is_possible(&wish) {
                assert!(shortage.proven, "impossible, but not proven: {}", told());
            }
            if !shortage.proven {
                continue;
            }
            refused += 1;
            assert!(!shortage.conflict.is_empty(), "{}", told());
            assert!(!is_possible(&under(&wish, w, &shortage.conflict)), "not sufficient: {}", told());
            if shortage.minimal {
                minimal += 1;
                for left_out in 0..shortage.conflict.len() {
                    let mut others = shortage.conflict.clone();
                    let cause = others.remove(left_out);
                    assert!(
                        cause == Cause::NotEligible || is_possible(&under(&wish, w, &others)),
                        "{cause:?} is not needed: {}",
                        told()
                    );
                }
            }
        }
    }
    assert!(refused > 0 && minimal * 10 >= refused * 9, "{minimal} minimal of {refused}");
}

#[test]
fn certificates_add_up() {
    let mut certified = 0;
    for Case { problem, solution, seed } in cases(seeds(500)) {
        for shortage in &solution.shortages {
            let Some(certificate) = &shortage.certificate else { continue };
            certified += 1;
            let wish = wish(&problem, &solution, shortage.workload);
            let Certificate { resource, nodes, workloads, needed, there } = certificate;
            let needs = |w: &usize| wish.workloads[*w].demand[*resource] * u64::from(wish.workloads[*w].wanted);
            assert_eq!(*needed, workloads.iter().map(needs).sum::<u64>(), "seed {seed}");
            assert!(*needed > *there && workloads.contains(&shortage.workload), "seed {seed}: {certificate:?}");
            assert!(workloads.iter().all(|w| wish.workloads[*w].priority == 1), "seed {seed}: {certificate:?}");
            assert!(nodes.iter().map(|node| wish.nodes[*node].capacity[*resource]).sum::<u64>() <= *there);
            assert!(!is_possible(&wish), "seed {seed}: {certificate:?}\n{problem:#?}");
        }
    }
    assert!(certified > 0);
}

/// The problem after a repair, written once more.
fn repaired(problem: &Problem, repair: &Repair) -> Problem {
    let mut problem = problem.clone();
    match repair {
        Repair::RelaxRule { constraint, to } => problem.constraints[*constraint].rule = to.clone(),
        Repair::DropRule(constraint) => problem.constraints[*constraint] = nothing(),
        Repair::WantFewer { workload, by } | Repair::DropReplicas { workload, by } => {
            problem.workloads[*workload].wanted -= by;
        }
        Repair::AddNodes { like, count } => (0..*count).for_each(|_| another_node(&mut problem, *like)),
    }
    problem
}

/// A node like another, in the same domains but for one that is the node itself.
fn another_node(problem: &mut Problem, like: usize) {
    let (added, mut node) = (problem.nodes.len(), problem.nodes[like].clone());
    for (topology, domain) in problem.topologies.iter_mut().zip(&mut node.domains) {
        if domain.is_some_and(|domain| topology.domains[domain] == problem.nodes[like].name) {
            *domain = Some(topology.domains.len());
            topology.domains.push(format!("another {added}"));
        }
    }
    problem.nodes.push(node);
    problem.workloads.iter_mut().filter(|w| w.eligible.contains(&like)).for_each(|w| w.eligible.push(added));
    for constraint in &mut problem.constraints {
        match &mut constraint.rule {
            Rule::NodesMost { nodes, .. } if nodes.contains(&like) => nodes.push(added),
            Rule::Safety { safe, .. } => safe.push(safe[like]),
            _ => {}
        }
    }
}

#[test]
fn repairs_help_and_nobody_else_pays_for_them() {
    let mut kinds = [0; 4];
    for Case { problem, solution, seed } in cases(seeds(500)) {
        for shortage in &solution.shortages {
            assert!(shortage.repairs.len() <= 3);
            for repair in &shortage.repairs {
                let w = shortage.workload;
                let kind = match repair {
                    Repair::AddNodes { .. } => continue,
                    Repair::RelaxRule { .. } => 0,
                    Repair::DropRule(_) => 1,
                    Repair::DropReplicas { workload, .. } => {
                        assert!(problem.workloads[*workload].priority <= problem.workloads[w].priority);
                        2
                    }
                    Repair::WantFewer { .. } => 3,
                };
                kinds[kind] += 1;
                let after = repaired(&problem, repair);
                let has = has(&problem, &solution.placed);
                let group = group(&problem, w);
                let asked: Vec<Option<u32>> = (0..after.workloads.len())
                    .map(|v| match v {
                        v if v == w => Some(after.workloads[v].wanted),
                        v if group.contains(&v) => None,
                        v => Some(has[v].min(problem.workloads[v].wanted).min(after.workloads[v].wanted)),
                    })
                    .collect();
                let told = || format!("seed {seed}: {repair:?} of {shortage:?}\n{problem:#?}\n{:?}", solution.placed);
                assert!(is_possible(&asking(&after, &asked)), "does not help: {}", told());
            }
        }
    }
    assert!(kinds.iter().all(|count| *count > 0), "{kinds:?}");
}

#[test]
fn what_helps_together_places_everything() {
    let mut tried = 0;
    for Case { problem, solution, seed } in cases(seeds(1_000)) {
        assert!(solution.together.is_empty() || solution.shortages.len() > 1, "seed {seed}: {:?}", solution.together);
        let after = solution.together.iter().fold(problem.clone(), |problem, repair| repaired(&problem, repair));
        if solution.together.is_empty() || size(&after) > PLACEMENTS_MAX {
            continue;
        }
        tried += 1;
        let all: Vec<Option<u32>> = after.workloads.iter().map(|workload| Some(workload.wanted)).collect();
        assert!(is_possible(&asking(&after, &all)), "seed {seed}: {:?}\n{problem:#?}", solution.together);
    }
    assert!(tried > 9, "only {tried}");
}

#[test]
fn room_is_the_largest_number_that_fits() {
    let mut counted = 0;
    for seed in 0..seeds(400) {
        let problem = oracle::small(seed);
        let options = SolveOptions { time_limit: Duration::from_secs(100), explain: false, ..SolveOptions::default() };
        let solution = solve(&problem, &options).expect("small problems are valid");
        let has = has(&problem, &solution.placed);
        for w in 0..problem.workloads.len() {
            // What a loss may take follows from what is wanted: a workload that is short stays short by it.
            let short = |w: usize| has[w] < problem.workloads[w].wanted;
            let survives = |rule: &Rule| matches!(rule, Rule::Survive { workload, .. } if short(*workload));
            let unclear = problem.constraints.iter().any(|constraint| survives(&constraint.rule));
            if unclear
                || !group(&problem, w).is_empty()
                || has.iter().zip(&problem.workloads).any(|(has, spec)| *has > spec.wanted)
            {
                continue;
            }
            let found = room(&problem, &solution.placed, w, &options).expect("small problems are valid");
            assert!(found.low <= found.high);
            let fits = |more: u32| {
                let asked: Vec<Option<u32>> = has.iter().map(|has| Some(*has)).collect();
                let mut wider = asking(&problem, &asked);
                wider.workloads[w].wanted = has[w] + more;
                // What may be lost follows from how many are wanted, as it does for whoever raises the number.
                for (constraint, before) in wider.constraints.iter_mut().zip(&problem.constraints) {
                    let of_w = matches!(before.rule, Rule::Survive { workload, .. } if workload == w);
                    if of_w && before.weight.is_none() {
                        constraint.rule = before.rule.clone();
                    }
                }
                (size(&wider) <= PLACEMENTS_MAX).then(|| is_possible(&wider))
            };
            if found.low < 4 {
                counted += 1;
                assert_ne!(fits(found.low), Some(false), "seed {seed}: {w} {found:?}\n{problem:#?}");
                assert_ne!(fits(found.high + 1), Some(true), "seed {seed}: {w} {found:?}\n{problem:#?}");
            }
        }
    }
    assert!(counted > 100, "only {counted}");
}
