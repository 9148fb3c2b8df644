//! Whole histories from a seed: a simulated node on which everything goes wrong, and what must hold all the same.

use super::*;
use crate::manifest::{ImageConfig, RunConfig};
use crate::reconcile::LOGS_KEPT_MILLIS;
use hyphae_api::v1;

const ADDRESS: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);

/// splitmix64: small, and the same everywhere.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    fn one_in(&mut self, bound: u64) -> bool {
        self.below(bound) == 0
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Real {
    Created,
    Running { pid: u32 },
    Exited { code: i32 },
}

/// A node with containers that are really there, and an agent's view of it.
struct Simulation {
    dice: Dice,
    now_millis: u64,
    world: World,
    share: v1::Share,
    containers: BTreeMap<ReplicaId, (u64, Real)>,
    next_pid: u32,
    /// Begun and not ended.
    under_way: Vec<Action>,
    /// Ends that containerd has not told yet.
    events: Vec<(String, u32, i32)>,
    listing: Option<(BTreeMap<ReplicaId, u64>, Vec<Listed>)>,
    records: BTreeMap<ReplicaId, Record>,
    /// Jobs that ended with 0, by generation.
    completed: BTreeSet<(ReplicaId, u64)>,
    faults: bool,
}

impl Simulation {
    fn new(seed: u64) -> Self {
        Self {
            dice: Dice(seed),
            now_millis: 1_000_000,
            world: World::new(None, vec![]),
            share: v1::Share::default(),
            containers: BTreeMap::new(),
            next_pid: 1,
            under_way: Vec::new(),
            events: Vec::new(),
            listing: None,
            records: BTreeMap::new(),
            completed: BTreeSet::new(),
            faults: true,
        }
    }

    fn wanted(&self, id: &ReplicaId) -> Option<&v1::Replica> {
        self.share.replicas.iter().find(|replica| replica.workload == id.workload && replica.index == id.index)
    }

    fn change_share(&mut self) {
        self.share.revision += 1;
        let mut replicas = Vec::new();
        for index in 0..5 {
            let before =
                self.wanted(&ReplicaId { workload: "a/b".into(), index }).map_or(1, |replica| replica.generation);
            if self.dice.one_in(3) {
                continue;
            }
            replicas.push(v1::Replica {
                workload: "a/b".into(),
                index,
                generation: before + u64::from(self.dice.one_in(3)),
                kind: if index == 0 { "job" } else { "service" }.into(),
                retries: 2,
                image: format!("x:{}", index % 2),
                address: "fd00::1".into(),
                stop_grace_millis: 1_000,
                ..v1::Replica::default()
            });
        }
        // Generations only go up, also for what was away for a while.
        for replica in &mut replicas {
            replica.generation += self.share.revision / 4;
        }
        self.share.replicas = replicas;
        // What is not wanted is forgotten: a job that is wanted again is another one.
        let share = &self.share.replicas;
        self.completed.retain(|(id, _)| share.iter().any(|replica| replica.index == id.index));
        assert!(self.world.want(WantedShare::read(&self.share)));
        let older = v1::Share { revision: self.share.revision - 1, replicas: vec![] };
        assert!(!self.world.want(WantedShare::read(&older)), "an older share was taken");
    }

    fn decide(&mut self) {
        let decision = self.world.decide(self.now_millis);
        for action in decision.actions {
            self.check(&action);
            if let Action::Start { id } | Action::Collect { id } = &action {
                self.remember(&id.clone());
            }
            self.under_way.push(action);
        }
        let starts = self.under_way.iter().filter(|action| matches!(action, Action::Start { .. })).count();
        assert!(starts <= crate::reconcile::STARTS_MAX);
    }

    /// What must hold when an action is decided.
    fn check(&self, action: &Action) {
        match action {
            Action::Pull { .. } => {}
            Action::Start { id } => {
                let wanted = self.wanted(id).expect("only what is wanted is started");
                assert_eq!(self.containers.get(id), None, "{id} is started twice");
                assert!(!self.completed.contains(&(id.clone(), wanted.generation)), "{id} is done and started again");
            }
            Action::Terminate { id } | Action::Kill { id } => {
                let generation = self.containers.get(id).map(|(generation, _)| *generation);
                let wanted = self.wanted(id).map(|wanted| wanted.generation);
                assert!(wanted.is_none() || wanted != generation, "{id} is wanted and stopped");
            }
            Action::Collect { id } => {
                let real = self.containers.get(id).map(|(_, real)| *real);
                assert!(!matches!(real, Some(Real::Running { .. })), "{id} runs and is collected");
            }
            Action::Remove { id } | Action::RemoveLogs { id } => {
                assert!(self.wanted(id).is_none(), "{id} is wanted and removed");
                assert_eq!(self.containers.get(id), None, "{id} is removed under its container");
            }
        }
        let busy = |other: &Action| replica_of(other).is_some() && replica_of(other) == replica_of(action);
        assert!(!self.under_way.iter().any(busy), "two actions at once: {action:?} and {:?}", self.under_way);
    }

    fn end(&mut self, id: &ReplicaId, code: i32) {
        let Some((generation, real @ Real::Running { .. })) = self.containers.get_mut(id) else { return };
        let Real::Running { pid } = *real else { return };
        *real = Real::Exited { code };
        let wanted = self.share.replicas.iter().any(|replica| replica.index == id.index);
        if code == 0 && id.index == 0 && wanted {
            self.completed.insert((id.clone(), *generation));
        }
        self.events.push((id.container_id(), pid, code));
    }

    /// Ends a random action, well or not.
    fn complete(&mut self) {
        if self.under_way.is_empty() {
            return;
        }
        let chosen = self.dice.below(self.under_way.len() as u64) as usize;
        let action = self.under_way.swap_remove(chosen);
        let fails = self.faults && self.dice.one_in(5);
        let has_effect = !fails || self.dice.one_in(2);
        let failed = Failed {
            problem: "fault".into(),
            is_unanswered: has_effect || self.dice.one_in(2),
            is_image_gone: self.dice.one_in(4),
        };
        let result = |fails: bool| if fails { Err(failed.clone()) } else { Ok(()) };
        let (id, outcome) = match action {
            Action::Pull { image } => {
                let config = ImageConfig { run: RunConfig::default(), diff_ids: vec![] };
                let pulled = if fails { Err(failed) } else { Ok(UnpackedImage { chain_id: "c".into(), config }) };
                self.world.pulled(&image, pulled, 1, self.now_millis);
                return;
            }
            Action::Start { id } => {
                let generation = self.world.observed.replicas[&id].history.generation;
                let pid = self.next_pid;
                self.next_pid += 1;
                if has_effect {
                    let real = if fails && self.dice.one_in(2) { Real::Created } else { Real::Running { pid } };
                    assert_eq!(self.containers.insert(id.clone(), (generation, real)), None, "{id} runs twice");
                    if self.dice.one_in(6) {
                        // It ends before its start is reported.
                        self.end(&id, 1);
                        self.deliver();
                    }
                }
                let result = if fails { Err(failed) } else { Ok(Started { pid, log_marks: (0, 0) }) };
                (id, Outcome::Started { generation, address: ADDRESS, stop_grace_millis: 1_000, result })
            }
            Action::Terminate { id } => {
                if has_effect && self.dice.one_in(2) {
                    self.end(&id, 143);
                }
                (id, Outcome::Terminated(result(fails)))
            }
            Action::Kill { id } => {
                if has_effect {
                    self.end(&id, 137);
                }
                (id, Outcome::Killed(result(fails)))
            }
            Action::Collect { id } => {
                let code = match self.containers.get(&id) {
                    Some((_, Real::Exited { code })) => Some(*code),
                    _ => None,
                };
                if has_effect {
                    self.containers.remove(&id);
                }
                let exit = Exit { code, ..Exit::default() };
                (id, Outcome::Collected(if fails { Err(failed) } else { Ok(Collected { exit }) }))
            }
            Action::Remove { id } => (id, Outcome::Removed(result(fails))),
            Action::RemoveLogs { id } => {
                if !fails {
                    self.records.remove(&id);
                }
                (id, Outcome::LogsRemoved(result(fails)))
            }
        };
        self.world.done(&id, outcome, self.now_millis);
        self.remember(&id);
    }

    fn remember(&mut self, id: &ReplicaId) {
        if let Some(record) = self.world.record(id) {
            self.records.insert(id.clone(), record);
        }
    }

    fn deliver(&mut self) {
        for (container_id, pid, code) in std::mem::take(&mut self.events) {
            self.world.exited(&container_id, pid, code);
        }
    }

    fn list(&mut self) {
        match self.listing.take() {
            Some((epochs, listed)) => self.world.listed(listed, &epochs, self.now_millis),
            None => {
                self.world.listing_due = false;
                let listed = self.containers.iter().map(|(id, (generation, real))| Listed {
                    id: id.clone(),
                    generation: *generation,
                    address: ADDRESS,
                    stop_grace_millis: 1_000,
                    task: match real {
                        Real::Created => None,
                        Real::Running { pid } => Some(TaskState::Running { pid: *pid }),
                        Real::Exited { code } => Some(TaskState::Exited { code: *code }),
                    },
                });
                self.listing = Some((self.world.epochs(), listed.collect()));
            }
        }
    }

    fn restart_agent(&mut self) {
        // What was under way ends with the agent; containers and records stay.
        self.under_way.clear();
        (self.events, self.listing) = (Vec::new(), None);
        let wanted = self.world.wanted.clone();
        self.world = World::new(wanted, self.records.values().cloned().collect());
        self.world.listing_due = true;
    }

    fn restart_containerd(&mut self) {
        (self.events, self.listing) = (Vec::new(), None);
        self.world.lost();
        self.world.listing_due = true;
    }

    fn step(&mut self) {
        match self.dice.below(20) {
            0..=7 => self.complete(),
            8..=9 => self.deliver(),
            10 => self.list(),
            11..=12 => self.now_millis += self.dice.below(3_000),
            13 => self.now_millis += self.dice.below(LOGS_KEPT_MILLIS),
            14 if self.dice.one_in(3) => self.change_share(),
            15 if self.dice.one_in(6) => self.restart_agent(),
            16 if self.dice.one_in(6) => self.restart_containerd(),
            17 => {
                let index = self.dice.below(5) as u32;
                let code = i32::from(!self.dice.one_in(2));
                self.end(&ReplicaId { workload: "a/b".into(), index }, code);
            }
            _ => {}
        }
        if self.world.listing_due && self.dice.one_in(2) {
            self.list();
        }
        self.decide();
    }

    /// Nothing goes wrong any more; what follows must be what is wanted.
    fn settle(&mut self) {
        self.faults = false;
        for round in 0..400 {
            // Long enough for the output of jobs to go.
            self.now_millis += JOB_LOGS_KEPT_MILLIS / 100;
            for _ in 0..self.under_way.len() {
                self.complete();
            }
            self.deliver();
            if round % 5 == 0 || self.listing.is_some() {
                self.list();
            }
            self.decide();
        }
    }

    fn check_settled(&self) {
        for replica in self.world.wanted.as_ref().expect("a share").replicas.values() {
            let ended = self.world.observed.replicas[&replica.id].history.end;
            match (replica.kind, self.containers.get(&replica.id)) {
                (_, Some((generation, Real::Running { .. }))) => assert_eq!(*generation, replica.generation),
                (Kind::Job, None) => assert!(ended.is_some(), "{} neither runs nor is done", replica.id),
                (_, other) => panic!("{} is {other:?}: {:?}", replica.id, self.world.observed.replicas[&replica.id]),
            }
        }
        let left = self.containers.keys().chain(self.world.observed.replicas.keys());
        let unwanted: Vec<&ReplicaId> = left.filter(|id| self.wanted(id).is_none()).collect();
        assert_eq!(unwanted, Vec::<&ReplicaId>::new(), "traces of what nobody wants");
        assert_eq!(self.records.keys().filter(|id| self.wanted(id).is_none()).count(), 0);
    }
}

fn replica_of(action: &Action) -> Option<&ReplicaId> {
    match action {
        Action::Pull { .. } => None,
        Action::Start { id }
        | Action::Terminate { id }
        | Action::Kill { id }
        | Action::Collect { id }
        | Action::Remove { id }
        | Action::RemoveLogs { id } => Some(id),
    }
}

#[test]
fn whatever_goes_wrong_nothing_is_started_twice_or_stopped_while_wanted_and_in_the_end_all_is_as_wanted() {
    for seed in 0..300 {
        // The seed that fails is shown with the failure.
        let run = std::panic::catch_unwind(|| {
            let mut simulation = Simulation::new(seed);
            simulation.world.listing_due = true;
            simulation.change_share();
            for _ in 0..400 {
                simulation.step();
            }
            simulation.settle();
            simulation.check_settled();
        });
        if let Err(panic) = run {
            eprintln!("seed {seed}");
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn a_workload_that_was_deleted_and_made_again_unseen_is_told_by_its_address() {
    let id = ReplicaId { workload: "a/b".into(), index: 0 };
    let share = |revision, address: &str| {
        WantedShare::read(&v1::Share {
            revision,
            replicas: vec![v1::Replica {
                workload: "a/b".into(),
                generation: 1,
                kind: "service".into(),
                image: "x".into(),
                address: address.into(),
                ..v1::Replica::default()
            }],
        })
    };
    let listed = |address: Ipv6Addr| Listed {
        id: id.clone(),
        generation: 1,
        address,
        stop_grace_millis: 1,
        task: Some(TaskState::Running { pid: 1 }),
    };
    let mut world = World::new(Some(share(1, "fd00::1")), vec![]);
    world.listed(vec![listed(ADDRESS)], &BTreeMap::new(), 0);
    assert_eq!(world.decide(0).actions, []);
    assert!(world.want(share(2, "fd00::2")));
    assert_eq!(world.decide(0).actions, [Action::Terminate { id: id.clone() }]);
    // The same after a restart of the agent, which sees only the container.
    let mut world = World::new(Some(share(2, "fd00::2")), vec![]);
    world.listed(vec![listed(ADDRESS)], &BTreeMap::new(), 0);
    assert_eq!(world.decide(0).actions, [Action::Terminate { id }]);
}
