//! What keeps room: `reserve`, `safety`, `balance`, devices, from KDL to the plan and its verification.

use super::*;
use crate::plan::{Assignment, Status};
use crate::planner::VerifyError;

const WEB: &str = r#"service "web" { image "r.example/web:1"; replicas 4; resources cpu=1 memory="1GiB" }"#;

fn tier(document: &PlanDocument, name: &str) -> u64 {
    document.tiers.iter().filter(|tier| tier.tier == name).map(|tier| tier.value).sum()
}

#[test]
fn a_plan_that_could_not_survive_a_loss_is_refused_at_the_line_of_the_reserve() {
    let state = state(NODES);
    let spec = format!("reserve survive-loss-of=\"zone\"\n{}", WEB.replace("replicas 4", "replicas 9"));
    let mut document = planned(&state, &spec);
    // Eight cores are what the loss of any node leaves.
    assert_eq!((document.status, tier(&document, "shortage")), (Status::Shortage, 1));
    let told = &document.unplaced[0].conflict;
    assert!(
        told.iter().any(|conflict| conflict.constraint.starts_with("reserve") && conflict.line == Some(1)),
        "{told:?}"
    );
    let held = |node: &str| document.assignments.iter().position(|a| a.node == node);
    let room =
        ["n1", "n2", "n3"].into_iter().find(|node| held(node).is_none_or(|at| document.assignments[at].count < 4));
    let node = room.expect("eight replicas on three nodes of four").to_owned();
    match held(&node) {
        Some(at) => document.assignments[at].count += 1,
        None => document.assignments.push(Assignment { workload: "default/web".to_owned(), node, count: 1 }),
    }
    let error = verify(&state, &document, &admin()).unwrap_err();
    assert!(matches!(&error, VerifyError::Broken(texts) if texts[0].contains("spec.kdl:1")), "{error}");
}

#[test]
fn a_daemon_needs_no_spare_node() {
    let daemon = r#"daemon "shipper" { image "r.example/shipper:1"; resources cpu=0.1 memory="64MiB" }"#;
    let document = planned(&state(NODES), &format!("reserve survive-loss-of=\"node\"\n{daemon}\n{WEB}"));
    assert_eq!(tier(&document, "shortage"), 0);
}

#[test]
fn safety_and_balance_are_soft_and_decide_where_things_go() {
    // Packing would fill one node; half of a node's cores are safe.
    let document = planned(&state(NODES), &format!("safety cpu=0.5\n{WEB}"));
    assert!(document.assignments.iter().all(|assignment| assignment.count <= 2), "{:?}", document.assignments);
    assert_eq!(tier(&document, "soft"), 0);
    // What takes cpu and what takes memory go together: 4 cores with 8 GiB are used up to the ratio of 1 to 2.
    let spec = r#"balance cpu=1 memory="2GiB"
        service "thin" { image "r.example/thin:1"; resources cpu=3 memory="2GiB" }
        service "fat" { image "r.example/fat:1"; resources cpu=1 memory="6GiB" }"#;
    let document = planned(&state(NODES), spec);
    assert_eq!(tier(&document, "soft"), 0);
    assert_eq!(document.assignments[0].node, document.assignments[1].node);
}

#[test]
fn devices_are_shared_offline_and_refused_by_a_server() {
    let inventory = r#"node "n1" { capacity cpu=4 memory="8GiB"; devices gpu=2 }"#;
    let mut state = state(inventory);
    let service = |name: &str, replicas: u32, take: &str| {
        format!("service \"{name}\" {{ image \"r.example/x:1\"; replicas {replicas}; device gpu={take} }}\n")
    };
    // Two shares of 0.6 need a device each; beside 0.4 fits, a whole one does not.
    let document = planned(&state, &format!("{}{}", service("a", 2, "0.6"), service("b", 2, "0.4")));
    assert_eq!(tier(&document, "shortage"), 0);
    let document = planned(&state, &format!("{}{}", service("a", 2, "0.6"), service("b", 1, "1")));
    assert_eq!(tier(&document, "shortage"), 1);
    state.prefix = Some("fd00::".parse().unwrap());
    let text = try_planned(&state, &service("a", 1, "0.5")).unwrap_err().render(false);
    assert!(text.contains("`device` is planned offline only") && text.contains("device gpu=0.5"), "{text}");
}

#[test]
fn a_reserve_over_a_label_that_no_node_has_is_told() {
    let document = planned(&state(NODES), &format!("reserve survive-loss-of=\"zonee\"\n{WEB}"));
    let [note] = document.notes.as_slice() else { panic!("{:?}", document.notes) };
    assert!(note.contains("(spec.kdl:1) keeps no room") && note.contains("did you mean \"zone\"?"), "{note}");
    let document = planned(&state(NODES), &format!("reserve survive-loss-of=\"zone\"\n{WEB}"));
    assert!(document.notes.is_empty(), "{:?}", document.notes);
}

#[test]
fn the_soft_statements_that_are_broken_add_up_to_their_tier() {
    let spec = r#"safety cpu=0.25 memory=0.25 weight=3
        constraint "all" { applies-to team="default"; prefer arch="amd64" weight=2 }
        service "web" { image "r.example/web:1"; replicas 5; resources cpu=1 memory="1GiB"; place { spread over="zone" max-skew=0 weight=7 } }
        service "api" { image "r.example/api:1"; replicas 2; resources cpu=1 memory="1GiB"; place { separate from="web" within="node" weight=1 } }"#;
    let document = planned(&state(NODES), spec);
    let costs: Vec<u64> = document.broken_soft.iter().map(|broken| broken.cost).collect();
    assert_eq!((costs.iter().sum::<u64>(), costs.is_empty()), (tier(&document, "soft"), false), "{document:?}");
    assert!(costs.is_sorted_by(|a, b| a >= b), "{costs:?}");
    // Two constraints of one statement (cpu and memory) are one entry.
    let mut lines: Vec<_> = document.broken_soft.iter().map(|broken| broken.rule.line).collect();
    lines.sort_unstable();
    let distinct = lines.windows(2).all(|pair| pair[0] != pair[1]);
    assert!(distinct && lines.contains(&Some(1)), "{:?}", document.broken_soft);
    assert!(planned(&state(NODES), WEB).broken_soft.is_empty());
}
