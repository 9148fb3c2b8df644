//! Small random problems, and the answer by trying every placement. It shares no code with the crate: conditions and tiers are
//! written down once more, from the documentation of [`hyphae_solver::Problem`].

use hyphae_solver::*;

/// SplitMix64: a seed in, always the same numbers out.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.roll() % n
    }

    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn subset(&mut self, of: usize, percent: u64) -> Vec<usize> {
        (0..of).filter(|_| self.chance(percent)).collect()
    }
}

/// A problem small enough to try everything.
pub(crate) fn small(seed: u64) -> Problem {
    let mut dice = Dice(seed.wrapping_mul(0x2545_F491_4F6C_DD1D).wrapping_add(7));
    let dice = &mut dice;
    let (node_count, workload_count) = (1 + dice.below(4) as usize, 1 + dice.below(3) as usize);
    let zones = 1 + dice.below(3) as usize;
    let resource_count = 1 + dice.below(2) as usize;
    let resources = (0..resource_count)
        .map(|r| Resource { name: format!("r{r}"), scale: 1 + dice.below(2), shapes: dice.chance(80) })
        .collect();
    let topologies = vec![
        Topology { key: "zone".into(), domains: (0..zones).map(|z| format!("z{z}")).collect() },
        Topology { key: "node".into(), domains: (0..node_count).map(|n| format!("n{n}")).collect() },
    ];
    let alike = dice.chance(40);
    let capacity: Vec<u64> = (0..resource_count).map(|_| dice.below(7)).collect();
    let nodes = (0..node_count)
        .map(|n| Node {
            name: format!("n{n}"),
            capacity: if alike { capacity.clone() } else { (0..resource_count).map(|_| dice.below(7)).collect() },
            price_micros: [0, 3, 5, 7][dice.below(4) as usize],
            domains: vec![
                (!dice.chance(10)).then(|| dice.below(zones as u64) as usize),
                (!dice.chance(5)).then_some(n),
            ],
        })
        .collect();
    let most = if node_count * workload_count > 9 { 2 } else { 3 };
    let workloads = (0..workload_count)
        .map(|w| Workload {
            name: format!("w{w}"),
            demand: (0..resource_count).map(|_| dice.below(4)).collect(),
            wanted: dice.below(most + 1) as u32,
            priority: [0, 0, 10, -3][dice.below(4) as usize],
            move_weight: 1 + dice.below(3) as u32,
            eligible: dice.subset(node_count, 85),
            per_node_max: dice.chance(20).then(|| dice.below(3) as u32),
        })
        .collect::<Vec<_>>();
    let constraints = (0..dice.below(4)).map(|_| rule(dice, node_count, workload_count, resource_count)).collect();
    let mut current = Vec::new();
    if dice.chance(55) {
        for workload in 0..workload_count {
            for node in 0..node_count {
                if dice.chance(30) {
                    current.push(Placed { workload, node, count: 1 + dice.below(2) as u32 });
                }
            }
        }
    }
    let mut held = Vec::new();
    if dice.chance(30) {
        held = current.iter().map(|_| (0..resource_count).map(|_| dice.below(6)).collect()).collect();
    }
    let objective = Objective {
        shape: if dice.chance(50) { Shape::Pack } else { Shape::Spread },
        move_price_micros: dice.chance(35).then(|| dice.below(6)),
    };
    Problem { resources, topologies, nodes, workloads, constraints, current, held, objective }
}

fn rule(dice: &mut Dice, nodes: usize, workloads: usize, resources: usize) -> Constraint {
    let (workload, other) = (dice.below(workloads as u64) as usize, dice.below(workloads as u64) as usize);
    let topology = dice.below(2) as usize;
    let mut soft = dice.chance(40);
    let rule = match dice.below(7) {
        0 => Rule::Spread { workload, topology, max_skew: dice.below(3) as u32 },
        1 => Rule::LimitPerDomain { workload, topology, limit: dice.below(3) as u32 },
        2 => Rule::SeparateFrom { a: workload, b: other, topology },
        3 => Rule::Near { workload, to: other, topology },
        4 => {
            soft = true;
            Rule::Prefer { workload, nodes: dice.subset(nodes, 50) }
        }
        5 => {
            soft = false;
            let bounded = dice.subset(resources, 70);
            let max = bounded.into_iter().map(|r| (r, dice.below(9))).collect();
            Rule::Quota { workloads: dice.subset(workloads, 70), max }
        }
        _ => {
            soft = false;
            Rule::AllOrNothing { workloads: dice.subset(workloads, 60) }
        }
    };
    Constraint { rule, weight: soft.then(|| dice.below(4) as u32) }
}

/// Counts: `x[w][n]`.
pub(crate) type Counts = Vec<Vec<u64>>;

pub(crate) fn counts(problem: &Problem, placed: &[Placed]) -> Counts {
    let mut x = vec![vec![0; problem.nodes.len()]; problem.workloads.len()];
    placed.iter().for_each(|p| x[p.workload][p.node] += u64::from(p.count));
    x
}

fn by_domain(problem: &Problem, x: &Counts, w: usize, t: usize) -> Vec<u64> {
    let mut totals = vec![0; problem.topologies[t].domains.len()];
    for (n, node) in problem.nodes.iter().enumerate() {
        if let Some(d) = node.domains[t] {
            totals[d] += x[w][n];
        }
    }
    totals
}

fn units(problem: &Problem, x: &Counts, rule: &Rule) -> u64 {
    let total = |w: usize| x[w].iter().sum::<u64>();
    match rule {
        Rule::Spread { workload, topology, max_skew } => {
            let totals = by_domain(problem, x, *workload, *topology);
            let eligible = |d: usize| {
                problem.workloads[*workload].eligible.iter().any(|n| problem.nodes[*n].domains[*topology] == Some(d))
            };
            let seen: Vec<u64> = (0..totals.len()).filter(|d| eligible(*d)).map(|d| totals[d]).collect();
            let skew = seen.iter().max().unwrap_or(&0) - seen.iter().min().unwrap_or(&0);
            skew.saturating_sub(u64::from(*max_skew))
        }
        Rule::LimitPerDomain { workload, topology, limit } => by_domain(problem, x, *workload, *topology)
            .into_iter()
            .map(|count| count.saturating_sub(u64::from(*limit)))
            .sum(),
        Rule::SeparateFrom { a, b, topology } => {
            let (a, b) = (by_domain(problem, x, *a, *topology), by_domain(problem, x, *b, *topology));
            a.into_iter().zip(b).map(|(a, b)| a.min(b)).sum()
        }
        Rule::Near { workload, to, topology } => {
            let theirs = by_domain(problem, x, *to, *topology);
            let alone = |n: &usize| problem.nodes[*n].domains[*topology].is_none_or(|d| theirs[d] == 0);
            (0..problem.nodes.len()).filter(alone).map(|n| x[*workload][n]).sum()
        }
        Rule::Prefer { workload, nodes } => {
            (0..problem.nodes.len()).filter(|n| !nodes.contains(n)).map(|n| x[*workload][n]).sum()
        }
        Rule::Quota { workloads, max } => max
            .iter()
            .map(|(r, max)| {
                let used: u64 = workloads.iter().map(|w| problem.workloads[*w].demand[*r] * total(*w)).sum();
                used.saturating_sub(*max).div_ceil(problem.resources[*r].scale)
            })
            .sum(),
        Rule::AllOrNothing { workloads } => {
            let placed: u64 = workloads.iter().map(|w| total(*w)).sum();
            let missing: u64 =
                workloads.iter().map(|w| u64::from(problem.workloads[*w].wanted).saturating_sub(total(*w))).sum();
            placed.min(missing)
        }
    }
}

/// Every hard condition with what it is broken by: (what is compared with the present, units of repair).
fn broken(problem: &Problem, x: &Counts, present: bool) -> Vec<(u64, u64)> {
    let mut list = Vec::new();
    // At present replicas hold what they were given, which need not be what they would be given now.
    let holds = |r: usize, counted: &dyn Fn(&Placed) -> bool| -> u64 {
        let entries = problem.current.iter().zip(&problem.held).filter(|(placed, _)| counted(placed));
        entries.map(|(_, held)| held[r]).sum()
    };
    let holding = present && !problem.held.is_empty();
    for (n, node) in problem.nodes.iter().enumerate() {
        for (r, capacity) in node.capacity.iter().enumerate() {
            let asked: u64 = problem.workloads.iter().zip(x).map(|(w, x)| w.demand[r] * x[n]).sum();
            let used = if holding { holds(r, &|placed| placed.node == n) } else { asked };
            let over = used.saturating_sub(*capacity);
            list.push((over, over.div_ceil(problem.resources[r].scale)));
        }
    }
    for (w, spec) in problem.workloads.iter().enumerate() {
        for (n, node) in problem.nodes.iter().enumerate() {
            let unlabelled = problem.constraints.iter().filter(|c| c.weight.is_none()).any(|c| match c.rule {
                Rule::Spread { workload, topology, .. }
                | Rule::LimitPerDomain { workload, topology, .. }
                | Rule::Near { workload, topology, .. } => workload == w && node.domains[topology].is_none(),
                Rule::SeparateFrom { a, b, topology } => (a == w || b == w) && node.domains[topology].is_none(),
                _ => false,
            });
            let stray = if unlabelled || !spec.eligible.contains(&n) { x[w][n] } else { 0 };
            list.push((stray, stray));
            let over = spec.per_node_max.map_or(0, |max| x[w][n].saturating_sub(u64::from(max)));
            list.push((over, over));
        }
    }
    for constraint in &problem.constraints {
        let mut units = if constraint.weight.is_none() { units(problem, x, &constraint.rule) } else { 0 };
        if let (true, Rule::Quota { workloads, max }) = (holding, &constraint.rule) {
            let over = |(r, max): &(usize, u64)| {
                let used = holds(*r, &|placed| workloads.contains(&placed.workload));
                used.saturating_sub(*max).div_ceil(problem.resources[*r].scale)
            };
            units = max.iter().map(over).sum();
        }
        list.push((units, units));
    }
    list
}

/// The value of every tier, or `None` when the placement breaks what nothing excuses.
pub(crate) fn worth(problem: &Problem, present: &Counts, x: &Counts) -> Option<Vec<u64>> {
    for (w, spec) in problem.workloads.iter().enumerate() {
        if x[w].iter().sum::<u64>() > u64::from(spec.wanted) {
            return None;
        }
    }
    let (now, before) = (broken(problem, x, false), broken(problem, present, true));
    if now.iter().zip(&before).any(|(now, before)| now.0 > before.0) {
        return None;
    }
    let mut priorities: Vec<i32> = problem.workloads.iter().map(|w| w.priority).collect();
    priorities.sort_unstable_by(|a, b| b.cmp(a));
    priorities.dedup();
    let missing = |w: usize| u64::from(problem.workloads[w].wanted) - x[w].iter().sum::<u64>();
    let of = |p: i32| (0..x.len()).filter(|w| problem.workloads[*w].priority == p).map(missing).sum::<u64>();
    let mut tiers: Vec<u64> = priorities.into_iter().map(of).collect();
    tiers.push(now.iter().map(|(_, units)| units).sum());
    let soft = problem.constraints.iter().filter_map(|c| c.weight.map(|w| u64::from(w) * units(problem, x, &c.rule)));
    tiers.push(soft.sum());
    let lost = |w: usize| -> u64 {
        let lost: u64 = present[w].iter().zip(&x[w]).map(|(before, now)| before.saturating_sub(*now)).sum();
        lost * u64::from(problem.workloads[w].move_weight)
    };
    let disruption: u64 = (0..x.len()).map(lost).sum();
    let filled: Vec<bool> = (0..problem.nodes.len()).map(|n| x.iter().any(|x| x[n] > 0)).collect();
    let cost: u64 = problem.nodes.iter().zip(&filled).filter(|(_, f)| **f).map(|(n, _)| n.price_micros).sum();
    match problem.objective.move_price_micros {
        Some(price) => tiers.push(price * disruption + cost),
        None => tiers.extend([disruption, cost]),
    }
    tiers.push(match problem.objective.shape {
        Shape::Pack => filled.iter().filter(|f| **f).count() as u64,
        Shape::Spread => (0..problem.nodes.len()).map(|n| peak_cost(problem, x, n)).sum(),
    });
    Some(tiers)
}

fn peak_cost(problem: &Problem, x: &Counts, n: usize) -> u64 {
    let mut peak = 0;
    for (r, capacity) in problem.nodes[n].capacity.iter().enumerate() {
        if problem.resources[r].shapes && *capacity > 0 {
            let used: u64 = problem.workloads.iter().zip(x).map(|(w, x)| w.demand[r] * x[n]).sum();
            peak = peak.max((1000 * used).div_ceil(*capacity));
        }
    }
    [250u64, 500, 750].iter().map(|step| peak.saturating_sub(*step)).sum()
}

/// The best value there is, by trying every placement.
pub(crate) fn best(problem: &Problem) -> Vec<u64> {
    let present = counts(problem, &problem.current);
    let mut x = counts(problem, &[]);
    let mut best = worth(problem, &present, &x).expect("placing nothing breaks nothing");
    try_all(problem, &present, &mut x, 0, 0, &mut best);
    best
}

fn try_all(problem: &Problem, present: &Counts, x: &mut Counts, w: usize, n: usize, best: &mut Vec<u64>) {
    if w == problem.workloads.len() {
        if let Some(worth) = worth(problem, present, x)
            && worth < *best
        {
            *best = worth;
        }
        return;
    }
    if n == problem.nodes.len() {
        return try_all(problem, present, x, w + 1, 0, best);
    }
    let left = u64::from(problem.workloads[w].wanted) - x[w].iter().sum::<u64>();
    for count in 0..=left {
        x[w][n] = count;
        let over = |r: usize| {
            let asked = |x: &Counts| problem.workloads.iter().zip(x).map(|(w, x)| w.demand[r] * x[n]).sum::<u64>();
            let here = problem.current.iter().zip(&problem.held).filter(|(placed, _)| placed.node == n);
            let held: u64 = here.map(|(_, held)| held[r]).sum();
            asked(x) > problem.nodes[n].capacity[r].max(asked(present)).max(held)
        };
        // Nothing that follows takes from what is used: the rest of this branch cannot hold.
        if count > 0 && (0..problem.resources.len()).any(over) {
            break;
        }
        try_all(problem, present, x, w, n + 1, best);
    }
    x[w][n] = 0;
}
