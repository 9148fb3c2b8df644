//! Plans that are carried out to the end: what runs is what was planned, and planning again finds nothing to do.

use super::*;
use crate::plan::{Action, Status};
use crate::state::commands::{JobFinished, SetSchedulable};
use crate::state::{ReplicaId, Step};
use proptest::prelude::*;

const WEB: &str = r#"
service "web" team="shop" {
    image "registry.example/web:1"
    replicas 3
    resources cpu=1 memory="1GiB"
    place { spread over="zone" max-skew=1 }
}
team "shop"
"#;

#[test]
fn a_new_service_is_spread_and_the_plan_is_optimal() {
    let mut state = state(NODES);
    let document = planned(&state, WEB);
    assert_eq!(document.status, Status::Optimal);
    assert!(document.tiers.iter().all(|tier| tier.proven && tier.value == tier.bound), "{:?}", document.tiers);
    let nodes: Vec<&str> = document.assignments.iter().map(|assignment| assignment.node.as_str()).collect();
    assert_eq!(nodes, ["n1", "n2", "n3"]);
    assert!(document.changes.iter().all(|change| change.action == Action::Start));
    assert_eq!(document.changes[0].why, "new; by spread over=\"zone\" max-skew=1");
    carry_out(&mut state, &document);
    assert_eq!(running(&state), assigned(&document));
    let again = planned(&state, WEB);
    assert_eq!((again.changes.len(), again.waves.len()), (0, 0));
}

#[test]
fn scaling_down_stops_without_touching_the_rest() {
    let mut state = state(NODES);
    let document = planned(&state, WEB);
    carry_out(&mut state, &document);
    let document = planned(&state, &WEB.replace("replicas 3", "replicas 2"));
    let actions: Vec<_> = document.changes.iter().map(|change| (change.action, change.count)).collect();
    assert_eq!(actions, [(Action::Stop, 1)]);
    assert_eq!(document.changes[0].why, "3 running, only 2 wanted");
}

#[test]
fn an_update_takes_down_no_more_than_max_unavailable() {
    let mut state = state(NODES);
    let spec = WEB.replace("replicas 3", "replicas 6");
    let document = planned(&state, &spec);
    carry_out(&mut state, &document);
    let newer = spec.replace("web:1", "web:2").replace("replicas 6", "replicas 6; update max-unavailable=2");
    let document = planned(&state, &newer);
    assert!(document.changes.iter().all(|change| change.action == Action::Update), "{:?}", document.changes);
    assert!(document.changes[0].why.contains("web:1 → registry.example/web:2"), "{}", document.changes[0].why);
    let release = verify(&state, &document, &admin()).unwrap();
    assert_eq!(release.waves.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 2]);
    carry_out(&mut state, &document);
    assert!(state.replicas.values().all(|replica| replica.generation == 2));
}

#[test]
fn a_move_starts_the_new_replica_before_the_old_one_stops() {
    let mut state = state(NODES);
    let spec = WEB.replace("replicas 3", "replicas 1").replace("spread over=\"zone\" max-skew=1", "require arch=amd64");
    let document = planned(&state, &spec);
    carry_out(&mut state, &document);
    let document = planned(&state, &spec.replace("arch=amd64", "zone=a"));
    assert_eq!(document.changes.len(), 1);
    let change = &document.changes[0];
    assert_eq!((change.action, change.from.as_deref(), change.to.as_deref()), (Action::Move, Some("n3"), Some("n1")));
    assert!(change.why.contains("require zone=a"), "{}", change.why);
    let release = verify(&state, &document, &admin()).unwrap();
    assert!(
        matches!(release.waves[0][..], [Step::Start { .. }]) && matches!(release.waves[1][..], [Step::Stop { .. }])
    );
}

#[test]
fn two_full_nodes_that_change_places_break_before_make() {
    let nodes = r#"
        node "n1" { capacity cpu=1 memory="1GiB"; labels zone="a" }
        node "n2" { capacity cpu=1 memory="1GiB"; labels zone="b" }
    "#;
    let spec = |first: &str, second: &str| {
        let service = |name: &str, zone: &str| {
            format!(
                "service {name} {{ image \"r.example/x:1\"; resources cpu=1 memory=\"1GiB\"; place {{ require zone={zone} }} }}\n"
            )
        };
        service("one", first) + &service("two", second)
    };
    let mut state = state(nodes);
    let document = planned(&state, &spec("a", "b"));
    carry_out(&mut state, &document);
    let document = planned(&state, &spec("b", "a"));
    assert_eq!(document.changes.iter().filter(|change| change.why.contains("no room for both")).count(), 1);
    carry_out(&mut state, &document);
    assert_eq!(running(&state), assigned(&document));
}

#[test]
fn a_daemon_runs_on_each_matching_node() {
    let state = state(NODES);
    let spec =
        r#"daemon "log" { image "r.example/log:1"; resources cpu=0.1 memory="10MiB"; place { require arch=arm64 } }"#;
    let nodes: Vec<_> = planned(&state, spec).assignments.iter().map(|a| (a.node.clone(), a.count)).collect();
    assert_eq!(nodes, [("n1".to_owned(), 1), ("n2".to_owned(), 1)]);
}

#[test]
fn a_host_port_is_taken_once_on_a_node() {
    let state = state(NODES);
    let spec = r#"service "edge" { image "r.example/edge:1"; replicas 4; resources cpu=0.1 memory="10MiB"; port "http" 8080 host=80 }"#;
    let document = planned(&state, spec);
    assert_eq!(document.status, Status::Shortage);
    assert!(document.assignments.iter().all(|assignment| assignment.count == 1));
    let conflict: Vec<&str> = document.unplaced[0].conflict.iter().map(|c| c.constraint.as_str()).collect();
    assert!(conflict.iter().any(|text| text.contains("host port 80/tcp")), "{conflict:?}");
}

#[test]
fn a_cordoned_node_keeps_what_it_has_and_gets_nothing_new() {
    let mut state = state(NODES);
    let document = planned(&state, WEB);
    carry_out(&mut state, &document);
    state.apply(Command::SetSchedulable(SetSchedulable { node: "n1".to_owned(), schedulable: false })).unwrap();
    let more = WEB.replace("replicas 3", "replicas 5").replace("max-skew=1", "max-skew=5");
    let document = planned(&state, &more);
    assert!(document.changes.iter().all(|change| change.action == Action::Start), "{:?}", document.changes);
    assert_eq!(assigned(&document)["shop/web@n1"], 1);
}

#[test]
fn a_finished_job_is_not_run_again_until_it_changes() {
    let mut state = state(NODES);
    let spec = r#"job "migrate" { image "r.example/m:1"; resources cpu=1 memory="1GiB" }"#;
    let document = planned(&state, spec);
    carry_out(&mut state, &document);
    let replica = ReplicaId { workload: "default/migrate".to_owned(), index: 0 };
    let finished = JobFinished { replica, generation: 1, exit_code: 0 };
    state.apply(Command::JobFinished(finished)).unwrap();
    assert_eq!(planned(&state, spec).changes.len(), 0);
    assert_eq!(planned(&state, &spec.replace("m:1", "m:2")).changes.len(), 1);
}

#[test]
fn deleting_stops_everything_of_the_workload() {
    let mut state = state(NODES);
    let document = planned(&state, WEB);
    carry_out(&mut state, &document);
    let mut delete = request(&state, &[]);
    delete.inputs.delete.push("shop/web".to_owned());
    let document = plan(&delete).unwrap();
    assert!(document.changes.iter().all(|change| change.action == Action::Stop && change.why == "deleted"));
    carry_out(&mut state, &document);
    assert!(state.replicas.is_empty() && !state.workloads.contains_key("shop/web"));
}

#[test]
fn the_same_request_gives_the_same_plan() {
    let state = state(NODES);
    let without_time = |mut document: PlanDocument| {
        document.solve.millis = 0;
        document
    };
    assert_eq!(without_time(planned(&state, WEB)), without_time(planned(&state, WEB)));
}

fn arbitrary_spec() -> impl Strategy<Value = String> {
    let service = (0u32..4, 1u32..5, 1u32..3, proptest::option::of(0usize..3));
    proptest::collection::vec(service, 1..4).prop_map(|services| {
        let text = services.iter().enumerate().map(|(number, (replicas, cpu, image, zone))| {
            let place = zone.map(|zone| format!("place {{ require zone={} }}", ["a", "b", "c"][zone])).unwrap_or_default();
            format!(
                "service s{number} {{ image \"r.example/x:{image}\"; replicas {replicas}; resources cpu={} memory=\"1GiB\"; {place} }}\n",
                f64::from(*cpu) / 2.0
            )
        });
        text.collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever follows whatever: capacity holds in every wave, what runs in the end is what was planned, and nothing is left to do.
    #[test]
    fn any_sequence_of_specs_is_carried_out(specs in proptest::collection::vec(arbitrary_spec(), 1..4)) {
        let mut state = state(NODES);
        for spec in specs {
            let document = planned(&state, &spec);
            carry_out(&mut state, &document);
            prop_assert_eq!(running(&state), assigned(&document));
            let again = planned(&state, &spec);
            prop_assert_eq!(again.changes.len(), 0, "{:?}", again.changes);
        }
    }
}
