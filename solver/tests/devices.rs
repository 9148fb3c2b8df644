//! Devices: which replica takes which, what fragmentation means, placement one at a time, and large problems that leave no device to spare.

use hyphae_solver::online::{BestFit, Fragmentation, Online, Policy, Room};
use hyphae_solver::{
    DeviceDemand, DeviceKind, DeviceTake, Node, Placed, Problem, Resource, SolveOptions, Topology, Workload, slots,
    solve, verify,
};
use std::time::Duration;

/// splitmix64.
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

/// `nodes` machines of `devices` devices with `cores` each, and workloads of (cores, take, wanted).
fn problem(nodes: usize, devices: u32, cores: u64, asks: &[(u64, Option<DeviceTake>, u32)]) -> Problem {
    let node = |n: usize| Node {
        name: format!("n{n}"),
        capacity: vec![cores],
        domains: vec![Some(n)],
        devices: vec![devices],
        ..Node::default()
    };
    let workload = |(w, (cores, take, wanted)): (usize, &(u64, Option<DeviceTake>, u32))| Workload {
        name: format!("w{w}"),
        demand: vec![*cores],
        wanted: *wanted,
        move_weight: 1,
        eligible: (0..nodes).collect(),
        device: take.map(|take| DeviceDemand { kind: 0, take }),
        ..Workload::default()
    };
    Problem {
        resources: vec![Resource { name: "cpu".into(), scale: 1, shapes: true, transient: false }],
        devices: vec![DeviceKind { name: "gpu".into(), parts: 10 }],
        topologies: vec![Topology { key: "node".into(), domains: (0..nodes).map(|n| format!("n{n}")).collect() }],
        nodes: (0..nodes).map(node).collect(),
        workloads: asks.iter().enumerate().map(workload).collect(),
        ..Problem::default()
    }
}

/// Whether the shares fit, trying every device for every share.
fn fits(shares: &[u32], free: &mut [u32]) -> bool {
    let [first, rest @ ..] = shares else { return true };
    (0..free.len()).any(|device| {
        if free[device] < *first {
            return false;
        }
        free[device] -= first;
        let all = fits(rest, free);
        free[device] += first;
        all
    })
}

#[test]
fn slots_hold_wherever_any_packing_does() {
    let mut fitting = 0;
    for seed in 0..3_000 {
        let mut dice = Dice(seed);
        let devices = 1 + dice.below(4) as u32;
        let asks: Vec<(u64, Option<DeviceTake>, u32)> = (0..1 + dice.below(4))
            .map(|_| {
                let take = match dice.below(5) {
                    0 => DeviceTake::Whole(1 + dice.below(2) as u32),
                    _ => DeviceTake::Share(1 + dice.below(9) as u32),
                };
                (0, Some(take), 1 + dice.below(3) as u32)
            })
            .collect();
        let problem = problem(1, devices, 1, &asks);
        let placed: Vec<Placed> =
            asks.iter().enumerate().map(|(workload, ask)| Placed { workload, node: 0, count: ask.2 }).collect();
        let (mut whole, mut shares) = (0, Vec::new());
        for (_, take, count) in &asks {
            match take {
                Some(DeviceTake::Whole(devices)) => whole += devices * count,
                Some(DeviceTake::Share(share)) => shares.extend((0..*count).map(|_| *share)),
                None => {}
            }
        }
        let fit = whole <= devices && fits(&shares, &mut vec![10; (devices - whole) as usize]);
        assert_eq!(verify(&problem, &placed).is_ok(), fit, "seed {seed}: {asks:?} on {devices}");
        if !fit {
            continue;
        }
        fitting += 1;
        let mut free = vec![10; devices as usize];
        let assigned = slots(&problem, &placed);
        assert_eq!(assigned.len(), asks.len(), "seed {seed}");
        for (assignment, (_, take, count)) in assigned.iter().zip(&asks) {
            assert_eq!(assignment.devices.len(), *count as usize, "seed {seed}");
            for devices in &assignment.devices {
                let (many, parts) = match take {
                    Some(DeviceTake::Whole(many)) => (*many, 10),
                    Some(DeviceTake::Share(share)) => (1, *share),
                    None => (0, 0),
                };
                assert_eq!(devices.len(), many as usize, "seed {seed}: {assigned:?}");
                for device in devices {
                    assert!(free[*device as usize] >= parts, "seed {seed}: {assigned:?}");
                    free[*device as usize] -= parts;
                }
            }
        }
    }
    assert!(fitting > 500, "the seeds try something: {fitting}");
}

#[test]
fn fragmentation_is_what_a_random_request_cannot_use() {
    // Half of the requests take half a device, a quarter a whole one with 8 cores, a quarter none.
    let asks = [(2, Some(DeviceTake::Share(5)), 2), (8, Some(DeviceTake::Whole(1)), 1), (1, None, 1)];
    let problem = problem(1, 2, 16, &asks);
    let online = Online::new(&problem);
    let mut plain = Fragmentation::plain(&online, 0);
    let room = |cores, devices: [u32; 2]| Room { allows: 0, free: vec![cores], devices: vec![devices.to_vec()] };
    let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-9, "{a} is not {b}");
    // Empty: only who takes no device cannot use the 20 parts.
    close(plain.of(&room(16, [10, 10])), 0.25 * 20.0);
    // One device has 4 left: of no use to half a device (4), to a whole one (4); all 14 to the third.
    close(plain.of(&room(16, [4, 10])), 0.5 * 4.0 + 0.25 * 4.0 + 0.25 * 14.0);
    // With 7 cores the whole one does not fit at all: 14.
    close(plain.of(&room(7, [4, 10])), 0.5 * 4.0 + 0.25 * 14.0 + 0.25 * 14.0);
    close(plain.of(&room(0, [4, 10])), 14.0);
    close(plain.of(&room(16, [0, 0])), 0.0);
    // Who takes devices takes (2·2 + 8) / (2·5 + 10) = 0.6 cores for each part: 6 cores are for 10 parts, the other 4 are stranded.
    let mut stranded = Fragmentation::stranded(&online, 0);
    close(stranded.of(&room(6, [4, 10])), plain.of(&room(6, [4, 10])) + 4.0);
    close(stranded.of(&room(12, [10, 10])), plain.of(&room(12, [10, 10])));
}

#[test]
fn one_at_a_time_places_what_fits_and_gives_back_what_leaves() {
    for seed in 0..200 {
        let mut dice = Dice(seed);
        let asks: Vec<(u64, Option<DeviceTake>, u32)> = (0..5)
            .map(|_| {
                let take = match dice.below(4) {
                    0 => None,
                    1 => Some(DeviceTake::Whole(1 + dice.below(2) as u32)),
                    _ => Some(DeviceTake::Share(1 + dice.below(9) as u32)),
                };
                (dice.below(4), take, 100)
            })
            .collect();
        let problem = problem(4, 3, 12, &asks);
        let mut online = Online::new(&problem);
        let mut policy: Box<dyn Policy> = if seed % 2 == 0 {
            Box::new(Fragmentation::stranded(&online, 0))
        } else {
            Box::new(BestFit::new(&problem))
        };
        let mut seats = Vec::new();
        for _ in 0..60 {
            let workload = dice.below(5) as usize;
            let room = (0..4).any(|node| online.room(node).takes(&problem, workload));
            let seat = online.place(workload, &mut *policy);
            assert_eq!(seat.is_some(), room, "seed {seed}: refused exactly when it fits nowhere");
            seats.extend(seat.map(|seat| (workload, seat)));
            if dice.below(4) == 0 && !seats.is_empty() {
                let (workload, seat) = seats.swap_remove(dice.below(seats.len() as u64) as usize);
                online.remove(workload, &seat);
            }
        }
        let mut free = [[10u32; 3]; 4];
        let mut placed: Vec<Placed> = Vec::new();
        for (workload, seat) in &seats {
            let parts = match asks[*workload].1 {
                Some(DeviceTake::Share(share)) => share,
                _ => 10,
            };
            for device in &seat.devices {
                free[seat.node][*device as usize] =
                    free[seat.node][*device as usize].checked_sub(parts).expect("no device is taken twice");
            }
            match placed.iter_mut().find(|p| p.workload == *workload && p.node == seat.node) {
                Some(entry) => entry.count += 1,
                None => placed.push(Placed { workload: *workload, node: seat.node, count: 1 }),
            }
        }
        assert!(verify(&problem, &placed).is_ok(), "seed {seed}");
        seats.iter().for_each(|(workload, seat)| online.remove(*workload, seat));
        (0..4).for_each(|node| assert_eq!(online.room(node), Online::new(&problem).room(node), "seed {seed}"));
    }
}

#[test]
fn large_problems_leave_no_device_to_spare() {
    // 40 nodes of 4 devices: 6 + 4 fill one device, 5 + 5 another, the other two are taken whole. Cores suffice just so.
    let asks = [
        (3, Some(DeviceTake::Share(6)), 40),
        (2, Some(DeviceTake::Share(4)), 40),
        (2, Some(DeviceTake::Share(5)), 80),
        (4, Some(DeviceTake::Whole(2)), 40),
    ];
    let problem = problem(40, 4, 14, &asks);
    let options = SolveOptions {
        time_limit: Duration::from_secs(60),
        explain: false,
        exact_pairs_max: 0,
        ..SolveOptions::default()
    };
    let solution = solve(&problem, &options).expect("valid");
    assert!(verify(&problem, &solution.placed).is_ok());
    assert_eq!(solution.tiers[0].value, 0, "{:?}", solution.shortages);
}

#[test]
fn what_devices_cannot_hold_is_proven_short() {
    // 30 nodes of 2 devices: shares of 7 fit no two to a device, so that 60 of 70 are placed, though 490 of 600 parts are asked for.
    let problem = problem(30, 2, 100, &[(1, Some(DeviceTake::Share(7)), 70), (1, Some(DeviceTake::Share(3)), 20)]);
    let options = SolveOptions {
        time_limit: Duration::from_secs(60),
        explain: false,
        exact_pairs_max: 0,
        ..SolveOptions::default()
    };
    let solution = solve(&problem, &options).expect("valid");
    assert_eq!((solution.tiers[0].value, solution.tiers[0].bound), (10, 10));
    assert!(solution.tiers[0].proven);
}
