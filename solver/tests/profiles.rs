//! Day profiles: the judge against sums done by hand, the search against every placement of small fleets, the sequence step by step.

use hyphae_solver::profiles::*;

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % n
    }
}

fn app(cpu: [u32; 2], memory: u32) -> App {
    App { cpu: cpu.to_vec(), memory: vec![memory; 2], flat: vec![1] }
}

fn machine(cpu: u32, memory: u32) -> Machine {
    Machine { cpu, memory, flat: vec![100] }
}

/// Machines of 10 CPU and 10 memory; `instances` of (app, machine).
fn fleet(machines: usize, apps: Vec<App>, instances: &[(usize, Option<usize>)]) -> Fleet {
    Fleet {
        slots: 2,
        apps,
        machines: vec![machine(10, 10); machines],
        limits: Vec::new(),
        instances: instances.iter().map(|(app, _)| *app).collect(),
        initial: instances.iter().map(|(_, machine)| *machine).collect(),
    }
}

fn go(instance: usize, machine: usize) -> Move {
    Move { instance, machine }
}

/// A clock for the search that counts.
fn looks(count: u32) -> impl FnMut(&Step) -> f64 {
    let mut seen = 0;
    move |_| {
        seen += 1;
        f64::from(seen) / f64::from(count)
    }
}

#[test]
fn the_price_is_what_one_computes_by_hand() {
    let fleet = fleet(3, vec![app([5, 8], 1), app([0, 0], 1)], &[(0, Some(0)), (1, Some(2))]);
    let (cost, machines) = price(&fleet, &fleet.initial).unwrap();
    // Machine 0: half used is free, 0.8 costs 10 (e^0.3 − 1) in one slot of two. Machine 2 is only on, machine 1 is empty.
    assert!((cost - (2.0 + 5.0 * (0.3f64.exp() - 1.0))).abs() < 1e-12, "{cost}");
    assert_eq!(machines, 2);
}

#[test]
fn a_step_that_does_not_fit_is_refused_even_if_the_end_would() {
    let fleet = fleet(3, vec![app([1, 1], 6)], &[(0, Some(0)), (0, Some(1))]);
    let refused = judge(&fleet, &[go(0, 1), go(1, 0)]);
    assert_eq!(refused, Err(Refusal::Capacity { step: 0, machine: 1, what: "memory" }));
    assert_eq!(judge(&fleet, &[go(0, 2), go(1, 0), go(0, 1)]), Ok(vec![1, 0]));
}

#[test]
fn every_kind_of_capacity_is_judged_in_every_slot() {
    let mut fleet = fleet(2, vec![app([1, 6], 1)], &[(0, Some(0)), (0, Some(1))]);
    assert_eq!(judge(&fleet, &[go(0, 1)]), Err(Refusal::Capacity { step: 0, machine: 1, what: "cpu" }));
    fleet.apps[0].cpu = vec![1, 5];
    assert_eq!(judge(&fleet, &[go(0, 1)]), Ok(vec![1, 1]));
    fleet.machines[1].flat = vec![1];
    assert_eq!(judge(&fleet, &[go(0, 1)]), Err(Refusal::Capacity { step: 0, machine: 1, what: "flat" }));
}

#[test]
fn limits_hold_in_their_direction_only() {
    let mut fleet = fleet(2, vec![app([1, 1], 1), app([1, 1], 1)], &[(0, Some(0)), (1, Some(1)), (1, Some(1))]);
    fleet.limits = vec![Limit { beside: 0, app: 1, most: 1 }];
    // One of app 0 beside two of app 1 is one too many; two of app 0 beside one of app 1 would not be.
    let refused = judge(&fleet, &[go(0, 1)]);
    assert_eq!(refused, Err(Refusal::Limit { step: 0, machine: 1, limit: fleet.limits[0], found: 2 }));
    assert_eq!(judge(&fleet, &[go(1, 0)]), Ok(vec![0, 0, 1]));
    fleet.limits = vec![Limit { beside: 1, app: 0, most: 1 }];
    assert_eq!(judge(&fleet, &[go(0, 1)]), Ok(vec![1, 1, 1]));
    fleet.limits = vec![Limit { beside: 1, app: 1, most: 2 }];
    assert!(judge(&fleet, &[]).is_ok());
    fleet.limits[0].most = 1;
    assert!(matches!(judge(&fleet, &[]), Err(Refusal::Limit { machine: 1, found: 2, .. })));
}

#[test]
fn what_is_unknown_or_left_out_is_refused() {
    let fleet = fleet(1, vec![app([1, 1], 1)], &[(0, None)]);
    assert_eq!(judge(&fleet, &[]), Err(Refusal::Unplaced(0)));
    assert_eq!(judge(&fleet, &[go(0, 1)]), Err(Refusal::Unknown { step: 0 }));
    assert_eq!(judge(&fleet, &[go(1, 0)]), Err(Refusal::Unknown { step: 0 }));
    assert_eq!(price(&fleet, &[Some(7)]), Err(Refusal::Unknown { step: 0 }));
}

#[test]
fn fleets_without_meaning_are_refused() {
    let sound = fleet(1, vec![app([1, 1], 1)], &[(0, None)]);
    assert_eq!(sound.validate(), Ok(()));
    let breaks: [fn(&mut Fleet); 7] = [
        |fleet| fleet.slots = 0,
        |fleet| fleet.apps[0].cpu = vec![1],
        |fleet| fleet.apps[0].memory[0] = u32::MAX,
        |fleet| fleet.machines[0].cpu = 0,
        |fleet| fleet.instances[0] = 9,
        |fleet| fleet.initial[0] = Some(9),
        |fleet| fleet.limits.push(Limit { beside: 0, app: 9, most: 0 }),
    ];
    for (case, change) in breaks.into_iter().enumerate() {
        let mut broken = sound.clone();
        change(&mut broken);
        assert!(broken.validate().is_err(), "case {case}");
        assert!(anneal(&broken, &Schedule::default(), &mut looks(2)).is_err(), "case {case}");
    }
}

/// Up to 3 machines of two sizes, 3 apps, 6 instances, a few limits.
fn small(seed: u64) -> Fleet {
    let mut dice = Dice(seed);
    let apps = (0..3).map(|_| app([dice.below(9) as u32, dice.below(9) as u32], 1 + dice.below(9) as u32)).collect();
    let machines =
        (0..2 + dice.below(2)).map(|_| if dice.below(2) == 0 { machine(20, 25) } else { machine(36, 40) }).collect();
    let limits = (0..dice.below(4))
        .map(|_| Limit { beside: dice.below(3) as usize, app: dice.below(3) as usize, most: dice.below(3) as u32 })
        .collect();
    let instances: Vec<usize> = (0..2 + dice.below(5)).map(|_| dice.below(3) as usize).collect();
    Fleet { slots: 2, apps, machines, limits, initial: vec![None; instances.len()], instances }
}

/// Whether a placement holds, written down once more.
fn holds(fleet: &Fleet, at: &[usize]) -> bool {
    (0..fleet.machines.len()).all(|machine| {
        let on: Vec<usize> = (0..at.len()).filter(|i| at[*i] == machine).map(|i| fleet.instances[i]).collect();
        let count = |app: usize| on.iter().filter(|of| **of == app).count() as u32;
        let within = |t: usize| {
            on.iter().map(|app| fleet.apps[*app].cpu[t]).sum::<u32>() <= fleet.machines[machine].cpu
                && on.iter().map(|app| fleet.apps[*app].memory[t]).sum::<u32>() <= fleet.machines[machine].memory
        };
        (0..2).all(within)
            && on.len() as u64 <= fleet.machines[machine].flat[0]
            && fleet.limits.iter().all(|limit| count(limit.beside) == 0 || count(limit.app) <= limit.most)
    })
}

/// Every placement that holds, each with its price.
fn all_placements(fleet: &Fleet) -> Vec<(f64, Vec<usize>)> {
    let (machines, instances) = (fleet.machines.len(), fleet.instances.len());
    let decode = |code: usize| (0..instances).map(|i| code / machines.pow(i as u32) % machines).collect::<Vec<usize>>();
    let held = (0..machines.pow(instances as u32)).map(decode).filter(|at| holds(fleet, at));
    let priced = |at: Vec<usize>| {
        (price(fleet, &at.iter().copied().map(Some).collect::<Vec<_>>()).expect("all are placed").0, at)
    };
    held.map(priced).collect()
}

#[test]
fn the_search_agrees_with_brute_force() {
    let (mut optimal, mut solvable, mut gave_up) = (0, 0, 0);
    for seed in 0..400 {
        let fleet = small(seed);
        let all = all_placements(&fleet);
        let schedule = Schedule { hot: 0.5, machines_on: Some(fleet.machines.len()), seed, ..Schedule::default() };
        let found = anneal(&fleet, &schedule, &mut looks(4));
        let Some(best) = all.iter().map(|(cost, _)| *cost).min_by(f64::total_cmp) else {
            assert!(found.is_err(), "seed {seed}: nothing holds, but {found:?}");
            continue;
        };
        solvable += 1;
        assert!(
            fluid_bound(&fleet).cost <= best + 1e-9,
            "seed {seed}: the bound {:?} is above {best}",
            fluid_bound(&fleet)
        );
        let Ok(found) = found else {
            gave_up += 1;
            continue;
        };
        let at: Vec<usize> = found.iter().map(|machine| machine.expect("all are placed")).collect();
        assert!(holds(&fleet, &at), "seed {seed}: {at:?}");
        let cost = price(&fleet, &found).unwrap().0;
        assert!(cost >= best - 1e-9, "seed {seed}");
        optimal += usize::from(cost < best + 1e-4);
    }
    assert!(solvable >= 200 && gave_up * 20 <= solvable, "{gave_up} of {solvable} without a placement");
    assert!(optimal * 100 >= (solvable - gave_up) * 90, "{optimal} of {solvable} are optimal");
}

#[test]
fn sequences_between_any_two_placements_hold_step_by_step() {
    let (mut done, mut stuck) = (0, 0);
    for seed in 0..400 {
        let mut fleet = small(seed);
        let all = all_placements(&fleet);
        let mut dice = Dice(seed ^ 0xABCD);
        let Some(from) = (!all.is_empty()).then(|| &all[dice.below(all.len() as u64) as usize].1) else { continue };
        fleet.initial = from.iter().map(|machine| (dice.below(8) > 0).then_some(*machine)).collect();
        let to = &all[dice.below(all.len() as u64) as usize].1;
        let renamed = match_groups(&fleet, to);
        let priced = |at: &[usize]| price(&fleet, &at.iter().copied().map(Some).collect::<Vec<_>>()).unwrap().0;
        assert!((priced(&renamed) - priced(to)).abs() < 1e-9 && holds(&fleet, &renamed), "seed {seed}");
        let changes = |at: &[usize]| at.iter().zip(&fleet.initial).filter(|(at, was)| Some(**at) != **was).count();
        match route(&fleet, &renamed, 100) {
            Ok(moves) => {
                done += 1;
                assert_eq!(judge(&fleet, &moves), Ok(renamed.clone()), "seed {seed}");
                assert!(moves.len() >= changes(&renamed));
                assert!(matches!(route(&fleet, &renamed, moves.len()), Ok(again) if again == moves));
                if !moves.is_empty() {
                    assert!(route(&fleet, &renamed, moves.len() - 1).is_err());
                }
            }
            Err(_) => stuck += 1,
        }
    }
    assert!(done >= 200 && stuck * 20 <= done, "{stuck} stuck, {done} done");
}

#[test]
fn a_deadlock_is_opened_by_parking_and_admitted_without_a_place_to_park() {
    let full = app([1, 1], 6);
    let cycle = fleet(3, vec![full.clone(), full.clone()], &[(0, Some(0)), (1, Some(1))]);
    let moves = route(&cycle, &[1, 0], 3).unwrap();
    assert_eq!((moves.len(), judge(&cycle, &moves)), (3, Ok(vec![1, 0])));
    assert!(matches!(route(&cycle, &[1, 0], 2), Err(RouteError::Stuck(_))));
    let tight = fleet(2, vec![full.clone(), full], &[(0, Some(0)), (1, Some(1))]);
    assert_eq!(route(&tight, &[1, 0], 100), Err(RouteError::Stuck(2)));
}

#[test]
fn names_are_given_so_that_nothing_moves_without_need() {
    let apps = vec![app([1, 1], 1), app([2, 2], 1)];
    let fleet = fleet(3, apps, &[(0, Some(0)), (0, Some(0)), (1, Some(1)), (1, None)]);
    // The same groups on other machines, instances of an app exchanged, and one more.
    assert_eq!(match_groups(&fleet, &[1, 1, 2, 0]), vec![0, 0, 1, 2]);
}

#[test]
fn the_same_seed_gives_the_same_placement() {
    let fleet = small(11);
    let run = |seed| anneal(&fleet, &Schedule { seed, ..Schedule::default() }, &mut looks(4)).unwrap();
    assert_eq!(run(5), run(5));
}
