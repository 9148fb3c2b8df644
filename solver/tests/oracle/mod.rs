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

/// A family of conditions that a small problem may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    Spread,
    LimitPerDomain,
    Survive,
    SeparateFrom,
    Near,
    DistinctDomains,
    Prefer,
    Quota,
    AllOrNothing,
    Reserve,
    NodesMost,
    Safety,
    Balance,
    Moved,
    MovedMost,
    MovedFar,
    Transient,
    Devices,
    Surplus,
    PerNodeMax,
}

pub(crate) const FAMILIES: [Family; 20] = [
    Family::Spread,
    Family::LimitPerDomain,
    Family::Survive,
    Family::SeparateFrom,
    Family::Near,
    Family::DistinctDomains,
    Family::Prefer,
    Family::Quota,
    Family::AllOrNothing,
    Family::Reserve,
    Family::NodesMost,
    Family::Safety,
    Family::Balance,
    Family::Moved,
    Family::MovedMost,
    Family::MovedFar,
    Family::Transient,
    Family::Devices,
    Family::Surplus,
    Family::PerNodeMax,
];

/// A problem small enough to try everything, with up to four families drawn from all of them.
pub(crate) fn small(seed: u64) -> Problem {
    let mut dice = Dice(seed.wrapping_mul(0x2545_F491_4F6C_DD1D).wrapping_add(7));
    let many = dice.below(5);
    let families: Vec<Family> = (0..many).map(|_| FAMILIES[dice.below(FAMILIES.len() as u64) as usize]).collect();
    small_with(&mut dice, &families)
}

/// A problem with just these families, each once.
pub(crate) fn small_with(dice: &mut Dice, families: &[Family]) -> Problem {
    let has = |family: Family| families.contains(&family);
    let (node_count, workload_count) = (1 + dice.below(4) as usize, 1 + dice.below(3) as usize);
    let zones = 1 + dice.below(3) as usize;
    let resource_count = 1 + dice.below(2) as usize;
    let resources = (0..resource_count)
        .map(|r| Resource {
            name: format!("r{r}"),
            scale: 1 + dice.below(2),
            shapes: dice.chance(80),
            transient: has(Family::Transient) && dice.chance(70),
        })
        .collect();
    let topologies = vec![
        Topology { key: "zone".into(), domains: (0..zones).map(|z| format!("z{z}")).collect() },
        Topology { key: "node".into(), domains: (0..node_count).map(|n| format!("n{n}")).collect() },
    ];
    let devices = if has(Family::Devices) { vec![DeviceKind { name: "gpu".into(), parts: 10 }] } else { Vec::new() };
    let alike = dice.chance(40);
    let capacity: Vec<u64> = (0..resource_count).map(|_| dice.below(7)).collect();
    let gpus = dice.below(3) as u32;
    let nodes = (0..node_count)
        .map(|n| Node {
            name: format!("n{n}"),
            capacity: if alike { capacity.clone() } else { (0..resource_count).map(|_| dice.below(7)).collect() },
            price_micros: [0, 3, 5, 7][dice.below(4) as usize],
            domains: vec![
                (!dice.chance(10)).then(|| dice.below(zones as u64) as usize),
                (!dice.chance(5)).then_some(n),
            ],
            devices: devices.iter().map(|_| if alike { gpus } else { dice.below(3) as u32 }).collect(),
            standing: if dice.chance(20) { Standing::OnOffer } else { Standing::Here },
        })
        .collect();
    let most = if node_count * workload_count > 9 { 2 } else { 3 };
    let workloads = (0..workload_count)
        .map(|w| {
            let wanted = dice.below(most + 1) as u32;
            let surplus = has(Family::Surplus) && dice.chance(60);
            Workload {
                name: format!("w{w}"),
                demand: (0..resource_count).map(|_| dice.below(4)).collect(),
                wanted,
                surplus_max: if surplus { dice.below(most + 1 - u64::from(wanted).min(most)) as u32 } else { 0 },
                priority: [0, 0, 10, -3][dice.below(4) as usize],
                move_weight: 1 + dice.below(3) as u32,
                eligible: dice.subset(node_count, 85),
                per_node_max: (has(Family::PerNodeMax) || dice.chance(10)).then(|| dice.below(3) as u32),
                device: (has(Family::Devices) && dice.chance(75)).then(|| DeviceDemand { kind: 0, take: take(dice) }),
            }
        })
        .collect::<Vec<_>>();
    let shape = (node_count, workload_count, resource_count);
    let constraints = families.iter().filter_map(|family| rule(dice, *family, shape)).collect();
    let mut current = Vec::new();
    let moves = [Family::Moved, Family::MovedMost, Family::MovedFar, Family::Transient].into_iter().any(has);
    if moves || dice.chance(50) {
        for workload in 0..workload_count {
            for node in 0..node_count {
                if dice.chance(30) {
                    current.push(Placed { workload, node, count: 1 + dice.below(2) as u32 });
                }
            }
        }
    }
    let mut held = Vec::new();
    if dice.chance(30) && !has(Family::Transient) {
        held = current.iter().map(|_| (0..resource_count).map(|_| dice.below(6)).collect()).collect();
    }
    let objective = Objective {
        shape: if dice.chance(50) { Shape::Pack } else { Shape::Spread },
        move_price_micros: dice.chance(35).then(|| dice.below(6)),
    };
    Problem { resources, devices, topologies, nodes, workloads, constraints, current, held, objective }
}

fn take(dice: &mut Dice) -> DeviceTake {
    match dice.below(6) {
        0 => DeviceTake::Whole(1),
        1 => DeviceTake::Whole(2),
        _ => DeviceTake::Share([2, 3, 4, 5, 6, 7, 10][dice.below(7) as usize]),
    }
}

/// A rule of a family; nothing for what is no rule.
fn rule(dice: &mut Dice, family: Family, (nodes, workloads, resources): (usize, usize, usize)) -> Option<Constraint> {
    let (workload, other) = (dice.below(workloads as u64) as usize, dice.below(workloads as u64) as usize);
    let topology = dice.below(2) as usize;
    let mut soft = dice.chance(40);
    let group = |dice: &mut Dice| {
        let mut group = dice.subset(workloads, 50);
        if group.is_empty() {
            group.push(workload);
        }
        group
    };
    let resource = |dice: &mut Dice| dice.below(resources as u64) as usize;
    let rule = match family {
        Family::Spread => Rule::Spread { workload, topology, max_skew: dice.below(3) as u32 },
        Family::LimitPerDomain => {
            Rule::LimitPerDomain { workloads: group(dice), topology, limit: dice.below(3) as u32 }
        }
        Family::Survive => Rule::Survive { workload, topology, keep: dice.below(4) as u32 },
        Family::SeparateFrom => {
            Rule::SeparateFrom { a: workload, b: other, topology, limit: [0, 0, 1, 2][dice.below(4) as usize] }
        }
        Family::Near => Rule::Near { workloads: group(dice), to: group(dice), topology },
        Family::DistinctDomains => {
            Rule::DistinctDomains { workloads: group(dice), topology, least: dice.below(4) as u32 }
        }
        Family::Prefer => {
            soft = true;
            Rule::Prefer { workload, nodes: dice.subset(nodes, 50) }
        }
        Family::Quota => {
            soft = false;
            let bounded = dice.subset(resources, 70);
            let max = bounded.into_iter().map(|r| (r, dice.below(9))).collect();
            Rule::Quota { workloads: dice.subset(workloads, 70), max }
        }
        Family::AllOrNothing => {
            soft = false;
            Rule::AllOrNothing { workloads: dice.subset(workloads, 60) }
        }
        Family::Reserve => {
            soft = dice.chance(30);
            Rule::Reserve { topology, except: dice.subset(workloads, 15) }
        }
        Family::NodesMost => Rule::NodesMost { nodes: dice.subset(nodes, 70), most: dice.below(3) as u32 },
        Family::Safety => {
            soft = true;
            Rule::Safety { resource: resource(dice), safe: (0..nodes).map(|_| dice.below(6)).collect() }
        }
        Family::Balance => {
            soft = true;
            let side = |dice: &mut Dice| (resource(dice), 1 + dice.below(3));
            Rule::Balance { first: side(dice), second: side(dice), unit: 1 + dice.below(2) }
        }
        Family::Moved => {
            soft = true;
            let workloads = group(dice);
            Rule::Moved { workloads: workloads.into_iter().map(|w| (w, dice.below(4) as u32)).collect() }
        }
        Family::MovedMost => {
            soft = true;
            Rule::MovedMost { groups: (0..1 + dice.below(2)).map(|_| group(dice)).collect() }
        }
        Family::MovedFar => {
            soft = true;
            let distance = |dice: &mut Dice, from: usize, to: usize| if from == to { 0 } else { dice.below(5) as u32 };
            let row = |dice: &mut Dice, from: usize| (0..nodes).map(|to| distance(dice, from, to)).collect();
            Rule::MovedFar { units: (0..nodes).map(|from| row(dice, from)).collect() }
        }
        Family::Transient | Family::Devices | Family::Surplus | Family::PerNodeMax => return None,
    };
    Some(Constraint { rule, weight: soft.then(|| dice.below(4) as u32) })
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

fn together(problem: &Problem, x: &Counts, workloads: &[usize], t: usize) -> Vec<u64> {
    let mut totals = vec![0; problem.topologies[t].domains.len()];
    for w in workloads {
        totals.iter_mut().zip(by_domain(problem, x, *w, t)).for_each(|(total, count)| *total += count);
    }
    totals
}

fn used(problem: &Problem, x: &Counts, r: usize, n: usize) -> u64 {
    problem.workloads.iter().zip(x).map(|(w, x)| w.demand[r] * x[n]).sum()
}

/// Running replicas that are not where they were.
fn gone(problem: &Problem, x: &Counts, w: usize) -> u64 {
    let of_w = problem.current.iter().filter(|p| p.workload == w);
    of_w.map(|p| u64::from(p.count).saturating_sub(x[w][p.node])).sum()
}

/// Devices that replicas need: every way to put shares into devices is tried.
fn devices(problem: &Problem, x: &Counts, n: usize) -> u64 {
    let (mut whole, mut shares) = (0, Vec::new());
    for (w, spec) in problem.workloads.iter().enumerate() {
        match spec.device.map(|demand| demand.take) {
            Some(DeviceTake::Whole(devices)) => whole += u64::from(devices) * x[w][n],
            Some(DeviceTake::Share(share)) => shares.extend((0..x[w][n]).map(|_| share)),
            None => {}
        }
    }
    fn fewest(shares: &[u32], bins: &mut Vec<u32>) -> u64 {
        let Some((first, rest)) = shares.split_first() else { return bins.len() as u64 };
        bins.push(*first);
        let mut best = fewest(rest, bins);
        bins.pop();
        for at in 0..bins.len() {
            if bins[at] + first <= 10 {
                bins[at] += first;
                best = best.min(fewest(rest, bins));
                bins[at] -= first;
            }
        }
        best
    }
    whole + fewest(&shares, &mut Vec::new())
}

/// Whether the topologies that hard rules over a workload divide by all have a domain for the node.
fn labelled(problem: &Problem, w: usize, n: usize) -> bool {
    problem.constraints.iter().filter(|c| c.weight.is_none()).all(|c| match &c.rule {
        Rule::Spread { workload, topology, .. } | Rule::Survive { workload, topology, .. } => {
            *workload != w || problem.nodes[n].domains[*topology].is_some()
        }
        Rule::LimitPerDomain { workloads, topology, .. }
        | Rule::Near { workloads, topology, .. }
        | Rule::DistinctDomains { workloads, topology, .. } => {
            !workloads.contains(&w) || problem.nodes[n].domains[*topology].is_some()
        }
        Rule::SeparateFrom { a, b, topology, .. } => {
            (*a != w && *b != w) || problem.nodes[n].domains[*topology].is_some()
        }
        _ => true,
    })
}

/// The fewest replicas of a lost domain that find no room elsewhere, trying everything. When all of them together cannot be placed, how many
/// can be is not looked at: a placement counts as many as the best packing leaves over.
fn homeless(problem: &Problem, x: &Counts, (t, except): (usize, &[usize]), d: usize) -> u64 {
    let mut lost: Vec<u64> = by_lost(problem, x, t, d);
    except.iter().for_each(|w| lost[*w] = 0);
    let mut after = x.clone();
    for n in (0..problem.nodes.len()).filter(|n| problem.nodes[*n].domains[t] == Some(d)) {
        after.iter_mut().for_each(|x| x[n] = 0);
    }
    let room: Vec<usize> = (0..problem.nodes.len())
        .filter(|n| problem.nodes[*n].domains[t] != Some(d))
        .filter(|n| problem.nodes[*n].standing == Standing::Here || x.iter().any(|x| x[*n] > 0))
        .collect();
    let mut best = lost.iter().sum();
    rehome(problem, &room, &lost, &mut after, 0, 0, &mut best);
    best
}

fn by_lost(problem: &Problem, x: &Counts, t: usize, d: usize) -> Vec<u64> {
    (0..x.len()).map(|w| by_domain(problem, x, w, t)[d]).collect()
}

fn rehome(problem: &Problem, room: &[usize], lost: &[u64], after: &mut Counts, w: usize, missing: u64, best: &mut u64) {
    if missing >= *best {
        return;
    }
    if w == lost.len() {
        *best = missing;
        return;
    }
    // Every way to put some of this workload's lost replicas on the nodes with room.
    fn ways(
        problem: &Problem,
        room: &[usize],
        lost: &[u64],
        after: &mut Counts,
        (w, at, left): (usize, usize, u64),
        missing: u64,
        best: &mut u64,
    ) {
        if at == room.len() || left == 0 {
            return rehome(problem, room, lost, after, w + 1, missing + left, best);
        }
        let n = room[at];
        let before = after[w][n];
        for count in 0..=left {
            after[w][n] = before + count;
            if count > 0 && !takes(problem, after, w, n) {
                break;
            }
            ways(problem, room, lost, after, (w, at + 1, left - count), missing, best);
        }
        after[w][n] = before;
    }
    ways(problem, room, lost, after, (w, 0, lost[w]), missing, best);
}

/// Whether what a node holds after a loss, of which some is `w`'s and new, is within its capacity and may be there.
fn takes(problem: &Problem, after: &Counts, w: usize, n: usize) -> bool {
    let spec = &problem.workloads[w];
    let fits = (0..problem.resources.len())
        .all(|r| spec.demand[r] == 0 || used(problem, after, r, n) <= problem.nodes[n].capacity[r]);
    let devices_fit = spec.device.is_none() || devices(problem, after, n) <= u64::from(problem.nodes[n].devices[0]);
    let eligible = spec.eligible.contains(&n) && labelled(problem, w, n);
    fits && devices_fit && eligible && spec.per_node_max.is_none_or(|max| after[w][n] <= u64::from(max))
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
        Rule::LimitPerDomain { workloads, topology, limit } => {
            together(problem, x, workloads, *topology).into_iter().map(|c| c.saturating_sub(u64::from(*limit))).sum()
        }
        Rule::Survive { workload, topology, keep } => {
            let wanted = u64::from(problem.workloads[*workload].wanted);
            let may = total(*workload).max(wanted) - u64::from(*keep).min(wanted);
            by_domain(problem, x, *workload, *topology).into_iter().map(|c| c.saturating_sub(may)).sum()
        }
        Rule::SeparateFrom { a, b, topology, limit } => {
            let (a, b) = (by_domain(problem, x, *a, *topology), by_domain(problem, x, *b, *topology));
            a.into_iter().zip(b).map(|(a, b)| a.min(b.saturating_sub(u64::from(*limit)))).sum()
        }
        Rule::Near { workloads, to, topology } => {
            let theirs = together(problem, x, to, *topology);
            let alone = |n: &usize| problem.nodes[*n].domains[*topology].is_none_or(|d| theirs[d] == 0);
            let here = |n: usize| workloads.iter().map(|w| x[*w][n]).sum::<u64>();
            (0..problem.nodes.len()).filter(alone).map(here).sum()
        }
        Rule::DistinctDomains { workloads, topology, least } => {
            let held = together(problem, x, workloads, *topology).into_iter().filter(|count| *count > 0).count() as u64;
            let placed: u64 = workloads.iter().map(|w| total(*w)).sum();
            placed.min(u64::from(*least)).saturating_sub(held)
        }
        Rule::Reserve { topology, except } => {
            (0..problem.topologies[*topology].domains.len()).map(|d| homeless(problem, x, (*topology, except), d)).sum()
        }
        Rule::NodesMost { nodes, most } => {
            let filled = nodes.iter().filter(|n| x.iter().any(|x| x[**n] > 0)).count() as u64;
            filled.saturating_sub(u64::from(*most))
        }
        Rule::Safety { resource, safe } => (0..problem.nodes.len())
            .map(|n| {
                used(problem, x, *resource, n).saturating_sub(safe[n]).div_ceil(problem.resources[*resource].scale)
            })
            .sum(),
        Rule::Balance { first, second, unit } => (0..problem.nodes.len())
            .map(|n| {
                let left = |(r, factor): (usize, u64)| {
                    factor as i64 * (problem.nodes[n].capacity[r] as i64 - used(problem, x, r, n) as i64)
                };
                ((left(*first) - left(*second)).max(0) as u64).div_ceil(*unit)
            })
            .sum(),
        Rule::Moved { workloads } => workloads.iter().map(|(w, units)| u64::from(*units) * gone(problem, x, *w)).sum(),
        Rule::MovedMost { groups } => {
            groups.iter().map(|group| group.iter().map(|w| gone(problem, x, *w)).sum()).max().unwrap_or(0)
        }
        Rule::MovedFar { units } => {
            let far = |w: usize| {
                let spec = &problem.workloads[w];
                let running: Vec<&Placed> = problem.current.iter().filter(|p| p.workload == w).collect();
                let here: Vec<usize> = (0..problem.nodes.len()).filter(|n| x[w][*n] > 0).collect();
                let single = spec.wanted == 1 && spec.surplus_max == 0 && total(w) == 1;
                match (running.as_slice(), here.as_slice()) {
                    ([Placed { node, count: 1, .. }], [to]) if single => u64::from(units[*node][*to]),
                    _ => 0,
                }
            };
            (0..x.len()).map(far).sum()
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
            let served = |w: &usize| total(*w).min(u64::from(problem.workloads[*w].wanted));
            let placed: u64 = workloads.iter().map(served).sum();
            let missing: u64 =
                workloads.iter().map(|w| u64::from(problem.workloads[*w].wanted).saturating_sub(total(*w))).sum();
            placed.min(missing)
        }
    }
}

/// Every hard condition with what it is broken by: (what is compared with the present, units of repair).
pub(crate) fn broken(problem: &Problem, x: &Counts, present: bool) -> Vec<(u64, u64)> {
    let mut list = Vec::new();
    // At present replicas hold what they were given, which need not be what they would be given now.
    let holds = |r: usize, counted: &dyn Fn(&Placed) -> bool| -> u64 {
        let entries = problem.current.iter().zip(&problem.held).filter(|(placed, _)| counted(placed));
        entries.map(|(_, held)| held[r]).sum()
    };
    let holding = present && !problem.held.is_empty();
    for (n, node) in problem.nodes.iter().enumerate() {
        for (r, capacity) in node.capacity.iter().enumerate() {
            let mut asked = used(problem, x, r, n);
            if problem.resources[r].transient {
                let present = counts(problem, &problem.current);
                let both: u64 = (0..x.len()).map(|w| problem.workloads[w].demand[r] * x[w][n].max(present[w][n])).sum();
                // What leaves is charged as long as something arrives that it leaves no room for.
                if both > (*capacity).max(used(problem, &present, r, n)) {
                    asked = both;
                }
            }
            let used = if holding { holds(r, &|placed| placed.node == n) } else { asked };
            let over = used.saturating_sub(*capacity);
            list.push((over, over.div_ceil(problem.resources[r].scale)));
        }
        if !problem.devices.is_empty() {
            let lacking = devices(problem, x, n).saturating_sub(u64::from(node.devices[0]));
            list.push((lacking, lacking));
        }
    }
    for (w, spec) in problem.workloads.iter().enumerate() {
        for (n, here) in x[w].iter().enumerate() {
            let stray = if !labelled(problem, w, n) || !spec.eligible.contains(&n) { *here } else { 0 };
            list.push((stray, stray));
            let over = spec.per_node_max.map_or(0, |max| here.saturating_sub(u64::from(max)));
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
        if x[w].iter().sum::<u64>() > u64::from(spec.wanted) + u64::from(spec.surplus_max) {
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
    let missing = |w: usize| u64::from(problem.workloads[w].wanted).saturating_sub(x[w].iter().sum());
    let of = |p: i32| (0..x.len()).filter(|w| problem.workloads[*w].priority == p).map(missing).sum::<u64>();
    let mut tiers: Vec<u64> = priorities.into_iter().map(of).collect();
    tiers.push(now.iter().map(|(_, units)| units).sum());
    let soft = problem.constraints.iter().filter_map(|c| c.weight.map(|w| u64::from(w) * units(problem, x, &c.rule)));
    tiers.push(soft.sum());
    if problem.workloads.iter().any(|w| w.surplus_max > 0) {
        let beyond = |w: usize| x[w].iter().sum::<u64>().saturating_sub(u64::from(problem.workloads[w].wanted));
        tiers.push((0..x.len()).map(beyond).sum());
    }
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
    let spec = &problem.workloads[w];
    let left = u64::from(spec.wanted) + u64::from(spec.surplus_max) - x[w].iter().sum::<u64>();
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
