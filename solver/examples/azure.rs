//! `azure TRACE [--kind 1|10|16] [--servers 800]`: the smallest fleet of like servers on which no virtual machine of the Azure packing trace is
//! rejected, when each is placed for good on arrival.
//!
//! Arrivals and departures in order of time (who leaves goes before who comes at the same moment). For each policy fleets are tried from the lower bound
//! upwards until one rejects nothing. A policy knows the sizes that occur and how many of each there are on average; not the sequence, not when a
//! machine will leave. The lower bound looks at every moment: what is asked for by cores and by ram, and the packing bound L2 of
//! Martello and Toth in each of the two.
#![expect(clippy::disallowed_methods, reason = "an example reads files and measures time")]

use hyphae_solver::online::{BestFit, DotProduct, Online, Policy, ScarceFit, Seat, StrandedFit};
use hyphae_solver::*;
use std::collections::BTreeMap;
use std::error::Error;
use std::io::Read;
use std::process::{Command, Stdio};
use std::time::Instant;

/// A virtual machine of the trace, times in millionths of a day.
struct Vm {
    size: (u64, u64),
    start: i64,
    end: i64,
}

/// The trace, unpacked by `gzip`.
fn load(path: &str) -> Result<Vec<Vm>, Box<dyn Error>> {
    let mut unpack = Command::new("gzip").args(["-dc", path]).stdout(Stdio::piped()).spawn()?;
    let mut text = String::new();
    unpack.stdout.take().ok_or("gzip has no output")?.read_to_string(&mut text)?;
    unpack.wait()?;
    let vm = |line: &str| -> Result<Vm, Box<dyn Error>> {
        let fields: Vec<&str> = line.split(',').collect();
        let number = |at: usize| -> Result<f64, Box<dyn Error>> { Ok(fields.get(at).ok_or("a short row")?.parse()?) };
        let moment = |days: f64| if days.is_finite() { (days * 1e6).round() as i64 } else { i64::MAX };
        let size = (number(2)?.ceil() as u64, number(3)?.ceil() as u64);
        Ok(Vm { size, start: moment(number(5)?), end: moment(number(6)?) })
    };
    text.lines().skip(1).map(vm).collect()
}

/// Cores and ram of a server, by the authors' machine id.
fn server(kind: &str) -> Option<[u64; 2]> {
    match kind {
        "1" => Some([9_600, 2_250]),
        "10" => Some([6_400, 3_072]),
        "16" => Some([10_400, 2_250]),
        _ => None,
    }
}

/// `many` servers, and a kind of request for each size that occurs, wanted as often as it is there on average.
fn problem(vms: &[Vm], capacity: [u64; 2], many: usize) -> (Problem, BTreeMap<(u64, u64), WorkloadIdx>) {
    let last = vms.iter().map(|vm| vm.start).max().unwrap_or(0);
    let mut sizes: BTreeMap<(u64, u64), i64> = BTreeMap::new();
    // Machine-moments within the time observed, which begins at 0.
    let present = |vm: &Vm| (vm.end.min(last) - vm.start.max(0)).max(0);
    vms.iter().for_each(|vm| *sizes.entry(vm.size).or_default() += present(vm));
    let workload = |(size, present): (&(u64, u64), &i64)| Workload {
        name: format!("{}/{}", size.0, size.1),
        demand: vec![size.0, size.1],
        wanted: (present / last.max(1)).clamp(1, 1_000_000) as u32,
        move_weight: 1,
        eligible: (0..many).collect(),
        ..Workload::default()
    };
    let resource = |name: &str| Resource { name: name.into(), scale: 1, shapes: true, transient: false };
    let node = |n: usize| Node { name: format!("server-{n}"), capacity: capacity.to_vec(), ..Node::default() };
    let problem = Problem {
        resources: vec![resource("cores"), resource("ram")],
        nodes: (0..many).map(node).collect(),
        workloads: sizes.iter().map(workload).collect(),
        ..Problem::default()
    };
    let index = sizes.into_keys().enumerate().map(|(at, size)| (size, at)).collect();
    (problem, index)
}

/// What happens, in order: (moment, arrives, machine).
fn events(vms: &[Vm]) -> Vec<(i64, bool, usize)> {
    let arrivals = vms.iter().enumerate().map(|(at, vm)| (vm.start, true, at));
    let departures = vms.iter().enumerate().filter(|(_, vm)| vm.end < i64::MAX).map(|(at, vm)| (vm.end, false, at));
    // A machine that comes and goes at one moment is there for no time at all; it still has to fit.
    let mut events: Vec<_> = arrivals.chain(departures).collect();
    events.sort_by_key(|(moment, arrives, at)| (*moment, *arrives && vms[*at].end > *moment, !*arrives, *at));
    events
}

/// Servers needed at the worst moment, whatever the policy.
fn bound(vms: &[Vm], events: &[(i64, bool, usize)], capacity: [u64; 2]) -> (u64, u64) {
    let (mut here, mut fluid, mut packed): (BTreeMap<(u64, u64), u64>, u64, u64) = (BTreeMap::new(), 0, 0);
    let (mut sums, mut seen) = ([0u64; 2], [0u64; 2]);
    for (_, arrives, at) in events {
        let size = vms[*at].size;
        let count = here.entry(size).or_default();
        if !*arrives {
            *count -= 1;
            (sums[0], sums[1]) = (sums[0] - size.0, sums[1] - size.1);
            continue;
        }
        *count += 1;
        (sums[0], sums[1]) = (sums[0] + size.0, sums[1] + size.1);
        let now = [sums[0].div_ceil(capacity[0]), sums[1].div_ceil(capacity[1])];
        fluid = fluid.max(now[0]).max(now[1]);
        for (dimension, capacity) in capacity.into_iter().enumerate() {
            // The packing bound is looked at whenever a sum is larger than ever before.
            if sums[dimension] > seen[dimension] {
                seen[dimension] = sums[dimension];
                let amounts = here.iter().map(|(size, count)| (if dimension == 0 { size.0 } else { size.1 }, *count));
                packed = packed.max(packing_bound(&amounts.collect::<Vec<_>>(), capacity));
            }
        }
    }
    (fluid, packed.max(fluid))
}

/// L2 of Martello and Toth (1990) over (amount, how many).
fn packing_bound(amounts: &[(u64, u64)], capacity: u64) -> u64 {
    let thresholds = amounts.iter().map(|(amount, _)| *amount).filter(|amount| *amount * 2 <= capacity).chain([0]);
    let with = |t: u64| {
        let large: u64 = amounts.iter().filter(|(a, _)| *a > capacity - t).map(|(_, count)| count).sum();
        let middle = amounts.iter().filter(|(a, _)| *a >= t && *a <= capacity - t);
        large + middle.map(|(amount, count)| amount * count).sum::<u64>().div_ceil(capacity)
    };
    thresholds.map(with).max().unwrap_or(0)
}

type Maker = fn(&Problem) -> Box<dyn Policy>;

const POLICIES: [(&str, Maker); 4] = [
    ("DotProd", |problem| Box::new(DotProduct::new(problem))),
    ("BestFit", |problem| Box::new(BestFit::new(problem))),
    ("scarce fit", |problem| Box::new(ScarceFit::new(problem))),
    ("stranded fit", |problem| Box::new(StrandedFit::new(problem))),
];

/// Whether a fleet of `many` takes the whole trace.
fn takes_all(vms: &[Vm], events: &[(i64, bool, usize)], capacity: [u64; 2], many: usize, make: Maker) -> bool {
    let (problem, index) = problem(vms, capacity, many);
    let mut online = Online::new(&problem);
    let mut policy = make(&problem);
    let mut seats: Vec<Option<Seat>> = vec![None; vms.len()];
    for (_, arrives, at) in events {
        let workload = index[&vms[*at].size];
        if *arrives {
            let Some(seat) = online.place(workload, &mut *policy) else { return false };
            seats[*at] = Some(seat);
        } else if let Some(seat) = seats[*at].take() {
            online.remove(workload, &seat);
        }
    }
    true
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [trace, rest @ ..] = arguments.as_slice() else {
        return Err("usage: azure TRACE [--kind 1|10|16] [--servers 800]".into());
    };
    let option = |name: &str| rest.iter().position(|word| word == name).and_then(|at| rest.get(at + 1));
    let vms = load(trace)?;
    let events = events(&vms);
    let most: usize = option("--servers").map_or(Ok(800), |text| text.parse())?;
    let kinds: Vec<&str> = option("--kind").map_or(vec!["1", "10", "16"], |kind| vec![kind.as_str()]);
    println!("{} requests", vms.len());
    println!("| server | at least (sums) | at least (packing) | policy | servers | above the bound | seconds |");
    println!("|---|---:|---:|---|---:|---:|---:|");
    for kind in kinds {
        let capacity = server(kind).ok_or("no such kind of server")?;
        let (fluid, packed) = bound(&vms, &events, capacity);
        for (name, make) in POLICIES {
            let start = Instant::now();
            let found = (packed as usize..=most).find(|many| takes_all(&vms, &events, capacity, *many, make));
            let servers = found.ok_or("more servers are needed than --servers says")?;
            let (above, seconds) = (100.0 * (servers as f64 / packed as f64 - 1.0), start.elapsed().as_secs_f64());
            println!("| {kind} | {fluid} | {packed} | {name} | {servers} | {above:.2} % | {seconds:.1} |");
        }
    }
    Ok(())
}
