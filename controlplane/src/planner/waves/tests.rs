//! Orders that keep replicas apart on the way, and the checker that finds those which do not.

use super::{Budget, check};
use crate::plan::{Action, PlanDocument};
use crate::planner::tests::{assigned, carry_out, planned, request, running, state};
use crate::planner::{changes, program, sources};
use crate::state::{ReplicaId, State, Step};
use std::collections::BTreeMap;

const TWO: &str = r#"
node "n1" { capacity cpu=4 memory="8GiB"; labels zone="a" disk="hdd" }
node "n2" { capacity cpu=4 memory="8GiB"; labels zone="a" disk="ssd" }
"#;

fn service(name: &str, place: &str) -> String {
    format!("service {name} {{ image \"r.example/x:1\"; resources cpu=1 memory=\"1GiB\"; place {{ {place} }} }}\n")
}

/// The state after a first spec, and the plan of a second.
fn then(nodes: &str, first: &str, second: &str) -> (State, PlanDocument) {
    let mut state = state(nodes);
    let document = planned(&state, first);
    carry_out(&mut state, &document);
    let document = planned(&state, second);
    (state, document)
}

fn whys(document: &PlanDocument) -> Vec<&str> {
    document.changes.iter().map(|change| change.why.as_str()).collect()
}

#[test]
fn a_workload_waits_until_the_one_it_is_kept_apart_from_has_left() {
    let spec = |one: &str, two: &str| {
        service("one", &format!("require disk={one}; separate from=\"two\" within=\"node\""))
            + &service("two", &format!("require disk={two}"))
    };
    // Nothing else than the rule stands in the way of changing places.
    let (mut state, document) = then(TWO, &spec("hdd", "ssd"), &spec("ssd", "hdd"));
    assert!(document.changes.iter().all(|change| change.action == Action::Move), "{:?}", document.changes);
    assert_eq!(whys(&document).iter().filter(|why| why.contains("no room for both")).count(), 1, "{document:?}");
    carry_out(&mut state, &document);
    assert_eq!(running(&state), assigned(&document));
}

#[test]
fn a_limit_per_zone_holds_while_a_replica_moves_within_it() {
    let spec = |disk: &str| service("one", &format!("require disk={disk}; separate within=\"zone\""));
    let (_, document) = then(TWO, &spec("hdd"), &spec("ssd"));
    assert_eq!(document.changes.len(), 1);
    assert!(whys(&document)[0].contains("no room for both"), "{document:?}");
    let free = |disk: &str| service("one", &format!("require disk={disk}"));
    let (_, document) = then(TWO, &free("hdd"), &free("ssd"));
    assert!(!whys(&document)[0].contains("no room for both"), "{document:?}");
}

#[test]
fn the_check_finds_an_order_that_starts_beside_what_must_be_apart_or_has_no_room() {
    let spec = |one: &str, two: &str| {
        service("one", &format!("require disk={one}; separate from=\"two\" within=\"node\""))
            + &service("two", &format!("require disk={two}"))
    };
    let (state, document) = then(TWO, &spec("hdd", "ssd"), &spec("ssd", "hdd"));
    let ordered = Ordered::new(&state, &spec("ssd", "hdd"), &document);
    assert_eq!(ordered.check(&ordered.good.steps), None);
    // All at once: starts beside what has not gone yet.
    let broken = ordered.check(&[ordered.good.steps.concat()]);
    assert!(broken.as_ref().is_some_and(|text| text.contains("wave 0 breaks Rule")), "{broken:?}");
    // Stops first, all of them: each workload may have one replica down.
    let (stops, starts): (Vec<_>, Vec<_>) =
        ordered.good.steps.concat().into_iter().partition(|(_, step)| matches!(step, Step::Stop { .. }));
    assert_eq!(ordered.check(&[stops, starts]), None);
}

#[test]
fn the_check_finds_what_starts_beside_a_replica_that_is_being_updated() {
    let spec = |image: &str| {
        (service("one", "require disk=hdd; separate from=\"two\" within=\"node\"")
            + &service("two", "require disk=ssd"))
            .replacen("x:1", image, 1)
    };
    let (state, document) = then(TWO, &spec("x:1"), &spec("x:2"));
    let ordered = Ordered::new(&state, &spec("x:2"), &document);
    let [wave] = ordered.good.steps.as_slice() else { panic!("{:?}", ordered.good.steps) };
    assert!(matches!(wave[..], [(0, Step::Update { .. })]), "{wave:?}");
    let replica = ReplicaId { workload: "default/two".to_owned(), index: 1 };
    let beside = (0, Step::Start { replica, node: "n1".to_owned(), generation: 1 });
    let broken = ordered.check(&[vec![wave[0].clone(), beside]]);
    assert!(broken.as_ref().is_some_and(|text| text.contains("wave 0 breaks Rule")), "{broken:?}");
}

#[test]
fn the_check_finds_more_down_than_max_unavailable_even_beside_a_start() {
    let spec = |image: &str| service("one", "").replace("x:1", image).replace("resources", "replicas 3; resources");
    let (state, document) = then(TWO, &spec("x:1"), &spec("x:2"));
    let ordered = Ordered::new(&state, &spec("x:2"), &document);
    let mut all = ordered.good.steps.concat();
    all.truncate(2);
    let replica = ReplicaId { workload: "default/one".to_owned(), index: 7 };
    all.push((0, Step::Start { replica, node: "n1".to_owned(), generation: 2 }));
    let broken = ordered.check(&[all]);
    assert!(broken.as_ref().is_some_and(|text| text.contains("max-unavailable")), "{broken:?}");
}

#[test]
fn a_rule_that_is_broken_and_can_not_be_kept_does_not_stand_in_the_way_of_an_update() {
    let one = "node \"n1\" { capacity cpu=4 memory=\"8GiB\"; labels zone=\"a\" disk=\"hdd\" }";
    for rule in ["separate from=\"two\" within=\"node\"", "separate from=\"two\" within=\"zone\""] {
        let twice = |spec: String| spec.replace("resources", "replicas 2; resources");
        let first = twice(service("one", "")) + &service("two", "");
        let second = twice(service("one", rule)).replace("x:1", "x:2") + &service("two", "").replace("x:1", "x:3");
        let (mut state, document) = then(one, &first, &second);
        assert_eq!((document.changes.len(), document.waves.len()), (2, 2), "{:?}", document.changes);
        assert!(document.changes.iter().all(|change| change.action == Action::Update), "{:?}", document.changes);
        carry_out(&mut state, &document);
    }
}

#[test]
fn updates_that_wait_for_each_others_room_are_a_stop_and_a_start() {
    let nodes = "node \"n1\" { capacity cpu=4 memory=\"4GiB\" }";
    let spec = |one: &str, two: &str| {
        service("one", "").replace("cpu=1 memory=\"1GiB\"", one)
            + &service("two", "").replace("cpu=1 memory=\"1GiB\"", two)
    };
    let (much_cpu, much_memory) = ("cpu=3 memory=\"1GiB\"", "cpu=1 memory=\"3GiB\"");
    let (mut state, document) = then(nodes, &spec(much_memory, much_cpu), &spec(much_cpu, much_memory));
    assert!(document.changes.iter().all(|change| change.action == Action::Update), "{:?}", document.changes);
    let broken = |why: &&str| why.contains("wait for each other's room");
    assert_eq!(whys(&document).into_iter().filter(broken).count(), 1, "{document:?}");
    assert_eq!(document.waves, [vec![0], vec![1], vec![0]]);
    carry_out(&mut state, &document);
    assert!(state.replicas.values().all(|replica| replica.generation == 2));
}

#[test]
fn what_is_new_leaves_the_room_on_a_node_to_a_move_that_waits_for_it() {
    let nodes = r#"
        node "n1" { capacity cpu=2 memory="8GiB"; labels disk="hdd" }
        node "n2" { capacity cpu=5 memory="8GiB"; labels disk="ssd" }
        node "n3" { capacity cpu=4 memory="8GiB"; labels disk="nvme" }
    "#;
    let sized = |name: &str, cpu: u32, disk: &str| {
        service(name, &format!("require disk={disk}")).replace("cpu=1", &format!("cpu={cpu}"))
    };
    // Two of five cpu are free on n2 once `small` has gone to n3: `large` needs both to come from n1, `other` then goes there.
    let before =
        sized("large", 2, "hdd") + &sized("other", 2, "ssd") + &sized("small", 1, "ssd") + &sized("still", 1, "ssd");
    let after =
        sized("large", 2, "ssd") + &sized("other", 2, "hdd") + &sized("small", 1, "nvme") + &sized("still", 1, "ssd");
    // It is named first, and there is room for it at once.
    let (mut state, document) = then(nodes, &before, &(after + &sized("a-new-one", 1, "ssd")));
    assert!(!whys(&document).iter().any(|why| why.contains("no room for both")), "{:?}", document.changes);
    carry_out(&mut state, &document);
    assert_eq!(running(&state), assigned(&document));
}

#[test]
fn of_two_replicas_that_move_the_one_goes_first_whose_room_is_waited_for() {
    let node = |name: &str| format!("node {name:?} {{ capacity cpu=1 memory=\"1GiB\"; labels place={name:?} }}\n");
    let nodes: String = ["n1", "n2", "n3", "n4"].map(node).concat();
    let spec = |pair: &str, single: &str| {
        service("pair", &format!("require place in {pair}")).replace("resources", "replicas 2; resources")
            + &service("single", &format!("require place={single}"))
    };
    // n1 to n2 and n3 to n4, says the plan; n2 is free once n1 is, so that n1 is given up for n4.
    let (mut state, document) = then(&nodes, &spec("n1 n3", "n2"), &spec("n2 n4", "n1"));
    assert_eq!(document.changes.len(), 3, "{:?}", document.changes);
    assert!(!whys(&document).iter().any(|why| why.contains("no room for both")), "{:?}", document.changes);
    carry_out(&mut state, &document);
    assert_eq!(running(&state), assigned(&document));
}

/// A plan's order, and what it is made from.
struct Ordered<'a> {
    state: &'a State,
    program: program::Program,
    placed: Vec<hyphae_solver::Placed>,
    budgets: BTreeMap<String, Budget>,
    good: super::Waves,
}

impl<'a> Ordered<'a> {
    fn new(state: &'a State, spec: &str, document: &PlanDocument) -> Self {
        let request = request(state, &[("spec.kdl", spec)]);
        let merged = sources::merge(state, &request.inputs).unwrap();
        let program = program::program(state, &merged);
        let position = |list: &[String], name: &String| list.binary_search(name).unwrap();
        let mut placed: Vec<hyphae_solver::Placed> = document
            .assignments
            .iter()
            .map(|a| hyphae_solver::Placed {
                workload: position(&program.workloads, &a.workload),
                node: position(&program.nodes, &a.node),
                count: a.count,
            })
            .collect();
        placed.sort_unstable();
        let budgets = crate::planner::budgets(state, &merged, &program, &placed);
        let changes = changes::changes(state, &program, &placed);
        let good = super::waves(state, &program, &changes, &placed, &budgets);
        Self { state, program, placed, budgets, good }
    }

    fn check(&self, waves: &[Vec<(usize, Step)>]) -> Option<String> {
        let may_break = |change: usize| self.good.over_budget.contains(&change);
        check(self.state, &self.program, waves, &self.placed, &self.budgets, may_break)
    }
}
