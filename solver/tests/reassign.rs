//! Machine reassignment: the engine against brute force, and the general judges against the challenge's own rules.
//!
//! The oracle is the example's reading of the challenge ([`instance`]), which shares no code with the crate.

#[path = "../examples/roadef/general.rs"]
mod general;
#[path = "../examples/roadef/instance.rs"]
mod instance;

use hyphae_solver::*;
use instance::{Balance, Instance, Machine, Process, Service};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The worked example of the challenge's definition.
const EXAMPLE: &str = "2  1 100  0 10
    4  0 0 30 400 16 80 0 1 4 5   0 0 10 240 8 160 1 0 3 4   1 1 15 100 12 80 4 3 0 2   1 2 10 100 8 80 5 4 2 0
    2  2 0  1 1 0
    3  0 12 10 1000   0 10 20 100   1 6 200 1
    1  0 1 20 10
    1 10 100";

fn numbers(text: &str) -> Vec<u64> {
    text.split_whitespace().map(|number| number.parse().expect("a number")).collect()
}

fn placed(at: &[usize]) -> Vec<Placed> {
    at.iter().enumerate().map(|(workload, node)| Placed { workload, node: *node, count: 1 }).collect()
}

fn soft(problem: &Problem, at: &[usize]) -> u128 {
    let tiers = evaluate(problem, &placed(at));
    u128::from(tiers.iter().find(|(tier, _)| *tier == Tier::Soft).expect("a soft tier").1)
}

fn limits(steps_max: u64, threads: usize, seed: u64) -> ReassignLimits {
    ReassignLimits { time: Duration::from_secs(600), steps_max, threads, seed, clock: None }
}

/// The engine's answer, which the judges accept and cost as the oracle does.
fn reassigned(instance: &Instance, limits: &ReassignLimits) -> Vec<usize> {
    let problem = general::problem(instance);
    let answer = reassign(&problem, limits).expect("a valid problem").expect("a reassignment problem");
    assert_eq!(verify(&problem, &answer), Ok(Vec::new()));
    let at: Vec<usize> = answer.iter().map(|placed| placed.node).collect();
    assert_eq!(instance.broken(&at), None);
    assert_eq!(soft(&problem, &at), instance.costs(&at).total());
    at
}

#[test]
fn the_worked_example_costs_what_the_definition_says() {
    let instance = Instance::parse(&numbers(EXAMPLE), &[0, 3, 0]).unwrap();
    let problem = general::problem(&instance);
    for (at, cost) in [([0, 3, 0], 4200), ([0, 2, 0], 3510), ([0, 2, 1], 2411)] {
        assert_eq!(instance.costs(&at).total(), cost);
        assert_eq!(soft(&problem, &at), cost);
        assert_eq!(instance.broken(&at), None);
        assert_eq!(verify(&problem, &placed(&at)), Ok(Vec::new()));
    }
    assert_eq!(reassigned(&instance, &limits(1 << 18, 1, 1)), [0, 2, 1]);
}

/// A stream of small numbers from a seed.
struct Draw(u64);

impl Draw {
    /// From `low` to `high`, both included.
    fn from(&mut self, low: u64, high: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        low + (self.0 >> 33) % (high - low + 1)
    }

    fn index(&mut self, count: usize) -> usize {
        self.from(0, count as u64 - 1) as usize
    }
}

/// A small instance, whose original assignment may break things.
fn random_instance(draw: &mut Draw, machines: usize, processes: usize) -> Instance {
    let resources = 1 + draw.index(3);
    let services = 1 + draw.index(processes);
    let mut instance = Instance {
        resources: (0..resources).map(|_| (draw.from(0, 2) == 0, draw.from(0, 9) as u32)).collect(),
        move_weights: [draw.from(0, 2) as u32, draw.from(0, 9) as u32, draw.from(0, 3) as u32],
        ..Instance::default()
    };
    for from in 0..machines {
        let safety: Vec<u64> = (0..resources).map(|_| draw.from(0, 20)).collect();
        instance.machines.push(Machine {
            neighborhood: draw.index(2),
            location: draw.index(3),
            capacity: safety.iter().map(|safety| safety + draw.from(0, 20)).collect(),
            safety,
            move_cost_to: (0..machines).map(|to| if from == to { 0 } else { draw.from(0, 5) as u32 }).collect(),
        });
    }
    for _ in 0..services {
        let depends_on = if draw.from(0, 3) == 0 { vec![draw.index(services)] } else { Vec::new() };
        instance.services.push(Service { spread_min: draw.from(0, 2) as u32, depends_on, processes: Vec::new() });
    }
    for process in 0..processes {
        let service = draw.index(services);
        instance.services[service].processes.push(process);
        let requirement = (0..resources).map(|_| draw.from(0, 12)).collect();
        instance.processes.push(Process { requirement, move_cost: draw.from(0, 5) as u32 });
    }
    instance.services.iter_mut().for_each(|s| s.spread_min = s.spread_min.min(s.processes.len() as u32));
    if resources > 1 && draw.from(0, 1) == 0 {
        let (target, weight) = (draw.from(0, 3), draw.from(1, 5) as u32);
        instance.balances.push(Balance { first: 0, second: 1, target, weight });
    }
    instance.original = (0..processes).map(|_| draw.index(machines)).collect();
    instance
}

/// The instances of a range of seeds whose original assignment holds.
fn feasible(seeds: std::ops::Range<u64>, machines: usize, processes: usize) -> impl Iterator<Item = (u64, Instance)> {
    let of_seed = move |seed: u64| {
        let mut draw = Draw(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        (seed, random_instance(&mut draw, machines, processes))
    };
    seeds.map(of_seed).filter(|(_, instance)| instance.broken(&instance.original).is_none())
}

/// Every assignment of an instance.
fn assignments(instance: &Instance) -> impl Iterator<Item = Vec<usize>> {
    let (machines, processes) = (instance.machines.len(), instance.processes.len());
    let digits = move |number: usize| (0..processes).map(|p| number / machines.pow(p as u32) % machines).collect();
    (0..machines.pow(processes as u32)).map(digits)
}

#[test]
fn the_general_judges_agree_with_the_challenge_on_every_assignment() {
    let mut holding = 0;
    for (seed, instance) in feasible(0..400, 3, 4) {
        let problem = general::problem(&instance);
        for at in assignments(&instance) {
            let broken = instance.broken(&at);
            assert_eq!(check(&problem, &placed(&at)).is_empty(), broken.is_none(), "seed {seed}, {at:?}, {broken:?}");
            if broken.is_none() {
                assert_eq!(soft(&problem, &at), instance.costs(&at).total(), "seed {seed}, {at:?}");
                holding += 1;
            }
        }
    }
    assert!(holding > 1000, "only {holding} assignments hold");
}

#[test]
fn the_engine_finds_the_optimum_of_nearly_all_small_instances() {
    let (mut tried, mut optimal) = (0, 0);
    for (seed, instance) in feasible(1000..4000, 4, 6) {
        let holding = assignments(&instance).filter(|at| instance.broken(at).is_none());
        let optimum = holding.map(|at| instance.costs(&at).total()).min().unwrap();
        let found = instance.costs(&reassigned(&instance, &limits(1 << 17, 1, seed))).total();
        assert!(instance.bound() <= optimum, "seed {seed}: {} is no lower bound", instance.bound());
        assert!(found >= optimum, "seed {seed}: {found} is below the optimum {optimum}");
        tried += 1;
        optimal += u32::from(found == optimum);
    }
    assert!(tried >= 50, "only {tried} instances");
    assert!(optimal * 100 >= tried * 95, "{optimal} of {tried} optimal");
}

#[test]
fn threads_keep_the_rules_of_groups_that_several_of_them_share() {
    let mut tried = 0;
    for (seed, instance) in feasible(5000..20000, 12, 16).take(20) {
        let alone = reassigned(&instance, &limits(1 << 18, 1, seed));
        let shared = limits(3 << 18, 3, seed);
        let first = reassigned(&instance, &shared);
        assert_eq!(first, reassigned(&instance, &shared), "seed {seed} is not repeatable");
        let original = instance.costs(&instance.original).total();
        assert!(instance.costs(&first).total() <= original && instance.costs(&alone).total() <= original);
        tried += 1;
    }
    assert!(tried >= 20, "only {tried} instances");
}

#[test]
fn a_clock_of_the_callers_own_ends_the_search() {
    static LOOKS: AtomicU64 = AtomicU64::new(0);
    let instance = Instance::parse(&numbers(EXAMPLE), &[0, 3, 0]).unwrap();
    let clock = || Duration::from_secs(LOOKS.fetch_add(1, Ordering::Relaxed));
    let own = ReassignLimits { clock: Some(clock), ..limits(u64::MAX, 1, 1) };
    assert_eq!(reassigned(&instance, &own), [0, 2, 1]);
    let looks = LOOKS.load(Ordering::Relaxed);
    assert!((600..700).contains(&looks), "600 s by that clock are {looks} looks");
}

/// Ten processes of as many sizes on each machine, where the safety capacity is what all of them need, shared evenly; all run on half of the machines.
fn crowded(machines: usize) -> Instance {
    let mut draw = Draw(7);
    let mut instance = Instance { resources: vec![(false, 10); 2], move_weights: [1, 10, 100], ..Instance::default() };
    for process in 0..10 * machines {
        let requirement = vec![draw.from(50, 1_000), draw.from(50, 1_000)];
        instance.processes.push(Process { requirement, move_cost: draw.from(1, 5) as u32 });
        instance.services.push(Service { spread_min: 1, depends_on: Vec::new(), processes: vec![process] });
        instance.original.push(process % (machines / 2));
    }
    let needed = |r: usize| instance.processes.iter().map(|p| p.requirement[r]).sum::<u64>();
    let safety = [0, 1].map(|r| needed(r).div_ceil(machines as u64)).to_vec();
    for machine in 0..machines {
        let move_cost_to = (0..machines).map(|to| u32::from(to != machine)).collect();
        let capacity = vec![1_000_000; 2];
        instance.machines.push(Machine {
            neighborhood: 0,
            location: 0,
            capacity,
            safety: safety.clone(),
            move_cost_to,
        });
    }
    instance
}

#[test]
fn a_plan_reassigns_what_runs() {
    let instance = crowded(60);
    let problem = general::problem(&instance);
    let options =
        SolveOptions { effort: SolveEffort::Full, time_limit: Duration::from_secs(8), ..SolveOptions::default() };
    let solution = solve(&problem, &options).expect("a valid problem");
    let at: Vec<usize> = solution.placed.iter().map(|placed| placed.node).collect();
    assert_eq!((verify(&problem, &solution.placed), instance.broken(&at)), (Ok(Vec::new()), None));
    let costs = instance.costs(&at);
    // What runs costs 3,148,550, and no other search of a plan betters it.
    assert!(costs.total() < 100_000, "{costs:?} by {}", solution.stats.method);
}

#[test]
fn other_problems_are_declined() {
    let instance = Instance::parse(&numbers(EXAMPLE), &[0, 3, 0]).unwrap();
    let declines = |change: &dyn Fn(&mut Problem)| {
        let mut problem = general::problem(&instance);
        change(&mut problem);
        reassign(&problem, &limits(1 << 12, 1, 1)).unwrap().is_none()
    };
    assert!(!declines(&|_| {}));
    assert!(declines(&|problem| problem.workloads[0].wanted = 2));
    assert!(declines(&|problem| problem.current.truncate(2)));
    assert!(declines(&|problem| problem.current[0].node = 1), "what runs breaks a rule");
    assert!(declines(&|problem| problem.nodes[2].capacity[1] = 1 << 53), "sums would not be exact");
    let survive = Rule::Survive { workload: 0, topology: 0, keep: 1 };
    assert!(declines(&|problem| problem.constraints.push(Constraint { rule: survive.clone(), weight: None })));
}

#[test]
fn a_process_stays_off_what_it_is_not_eligible_for() {
    let instance = Instance::parse(&numbers(EXAMPLE), &[0, 3, 0]).unwrap();
    let mut problem = general::problem(&instance);
    problem.workloads[1].eligible = vec![1, 3];
    let answer = reassign(&problem, &limits(1 << 16, 1, 1)).unwrap().unwrap();
    assert_eq!(verify(&problem, &answer), Ok(Vec::new()));
}
