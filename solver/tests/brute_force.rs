//! The solver against trying every placement: every tier of every small problem.

mod oracle;

use hyphae_solver::{Problem, SolveOptions, Tier, check, evaluate, solve, verify};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How many seeds: `HYPHAE_SEEDS`, or the number given.
fn seeds(default: u64) -> u64 {
    std::env::var("HYPHAE_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Where to begin: `HYPHAE_FIRST_SEED`, to look at one that failed.
fn first_seed() -> u64 {
    std::env::var("HYPHAE_FIRST_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn options(exact_pairs_max: usize) -> SolveOptions {
    SolveOptions { time_limit: Duration::from_secs(60), explain: false, exact_pairs_max, ..SolveOptions::default() }
}

/// Solves a small problem exactly and compares every tier with the best there is.
fn agrees(problem: &Problem, name: &dyn std::fmt::Display) {
    let best = oracle::best(problem);
    let solution = solve(problem, &options(3_000)).expect("small problems are valid");
    let values: Vec<u64> = solution.tiers.iter().map(|t| t.value).collect();
    let claims: Vec<(u64, bool)> = solution.tiers.iter().map(|t| (t.bound, t.proven)).collect();
    assert_eq!(values, best, "{name}: not optimal: {:?} {claims:?}\n{problem:#?}", solution.placed);
    assert!(
        claims.iter().zip(&best).all(|((bound, proven), best)| *proven && bound == best),
        "{name}: {claims:?} for {best:?}\n{problem:#?}"
    );
    assert!(verify(problem, &solution.placed).is_ok(), "{name}: not verified");
}

#[test]
fn exact_path_reaches_the_optimum_of_every_tier() {
    in_parallel(first_seed()..seeds(2500), |seed| agrees(&oracle::small(seed), &format_args!("seed {seed}")));
}

/// Every family by itself and every pair of families: `HYPHAE_SEEDS` problems in all, at least.
#[test]
fn exact_path_reaches_the_optimum_for_every_family_and_pair_of_families() {
    let families = oracle::FAMILIES;
    let pairs: Vec<(usize, usize)> =
        (0..families.len()).flat_map(|a| (a..families.len()).map(move |b| (a, b))).collect();
    in_parallel(first_seed()..seeds(840).div_ceil(pairs.len() as u64), |seed| {
        for (a, b) in &pairs {
            let pair = if a == b { vec![families[*a]] } else { vec![families[*a], families[*b]] };
            let mut dice = oracle::Dice((seed << 16) + (*a as u64) * 256 + *b as u64);
            agrees(&oracle::small_with(&mut dice, &pair), &format_args!("seed {seed} of {pair:?}"));
        }
    });
}

/// Each seed once, as many at a time as there are processors. A failure ends its thread, then the test.
fn in_parallel(seeds: std::ops::Range<u64>, try_one: impl Fn(u64) + Sync) {
    let next = AtomicU64::new(seeds.start);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(seed) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|seed| *seed < seeds.end) {
                    try_one(seed);
                }
            });
        }
    });
}

/// One problem of [`exact_path_reaches_the_optimum_for_every_family_and_pair_of_families`].
fn agrees_on_pair(seed: u64, one: oracle::Family, other: oracle::Family) {
    let at = |family: oracle::Family| oracle::FAMILIES.iter().position(|f| *f == family).expect("a family");
    let (a, b) = (at(one).min(at(other)), at(one).max(at(other)));
    let mut dice = oracle::Dice((seed << 16) + (a as u64) * 256 + b as u64);
    let pair = [oracle::FAMILIES[a], oracle::FAMILIES[b]];
    agrees(&oracle::small_with(&mut dice, &pair), &format_args!("seed {seed} of {pair:?}"));
}

/// HiGHS 1.16 ends with an error on this one unless its presolve is off.
#[test]
fn a_program_on_which_the_back_end_stumbles_is_solved_all_the_same() {
    agrees_on_pair(3047, oracle::Family::LimitPerDomain, oracle::Family::MovedMost);
}

/// What is lost finds its device, not just as many parts of several.
#[test]
fn refuges_know_whole_and_shared_devices() {
    for seed in [1583, 1902, 3328, 4042] {
        agrees_on_pair(seed, oracle::Family::Reserve, oracle::Family::Devices);
    }
}

#[test]
fn checker_and_evaluation_agree_with_the_oracle_on_random_placements() {
    for seed in 0..seeds(2500) {
        let problem = oracle::small(seed);
        let mut dice = oracle::Dice(seed);
        let present = oracle::counts(&problem, &problem.current);
        for _ in 0..20 {
            let mut placed = Vec::new();
            for workload in 0..problem.workloads.len() {
                for node in 0..problem.nodes.len() {
                    if dice.chance(35) {
                        placed.push(hyphae_solver::Placed { workload, node, count: 1 + dice.below(2) as u32 });
                    }
                }
            }
            let worth = oracle::worth(&problem, &present, &oracle::counts(&problem, &placed));
            let verdict = verify(&problem, &placed);
            assert_eq!(worth.is_some(), verdict.is_ok(), "seed {seed}: {verdict:?} {placed:?}\n{problem:#?}");
            if let Some(worth) = worth {
                let values: Vec<u64> = evaluate(&problem, &placed).into_iter().map(|(_, value)| value).collect();
                assert_eq!(values, worth, "seed {seed}: {placed:?}\n{problem:#?}");
            }
        }
    }
}

#[test]
fn equal_problems_get_equal_answers() {
    for seed in 0..60 {
        let problem = oracle::small(seed);
        let first = solve(&problem, &options(3_000)).expect("valid");
        assert_eq!(first, solve(&problem.clone(), &options(3_000)).expect("valid"), "seed {seed}");
    }
}

#[test]
fn a_placement_without_replicas_breaks_nothing() {
    for seed in 0..200 {
        let problem = oracle::small(seed);
        assert!(check(&problem, &[]).is_empty(), "seed {seed}");
        let repair = evaluate(&problem, &[]).into_iter().find(|(tier, _)| *tier == Tier::Repair);
        assert_eq!(repair, Some((Tier::Repair, 0)), "seed {seed}");
    }
}

#[test]
fn large_path_is_sound_on_small_problems_and_its_bounds_hold() {
    let (mut optimal, mut total) = (0, 0);
    for seed in 0..seeds(1000) {
        let problem = oracle::small(seed);
        let best = oracle::best(&problem);
        let solution = solve(&problem, &options(0)).expect("small problems are valid");
        let values: Vec<u64> = solution.tiers.iter().map(|t| t.value).collect();
        let present = oracle::counts(&problem, &problem.current);
        let worth = oracle::worth(&problem, &present, &oracle::counts(&problem, &solution.placed));
        assert_eq!(worth.as_ref(), Some(&values), "seed {seed}: {:?}\n{problem:#?}", solution.placed);
        assert!(best <= values, "seed {seed}: better than the best there is");
        for (index, tier) in solution.tiers.iter().enumerate() {
            // A bound speaks of placements with the same values before; the best is one of them as long as it has them.
            assert!(tier.bound <= best[index], "seed {seed}: {:?} above {best:?}\n{problem:#?}", solution.tiers);
            if values[index] != best[index] {
                assert!(!tier.proven, "seed {seed}: {tier:?} is not {best:?}");
                break;
            }
        }
        total += 1;
        optimal += usize::from(values == best);
    }
    assert!(optimal * 10 > total * 8, "only {optimal} of {total} optimal");
    println!("{optimal} of {total} optimal");
}
