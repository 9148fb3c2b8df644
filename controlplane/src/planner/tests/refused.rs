//! Plans that `verify` refuses, and sources that give none.

use super::*;
use crate::planner::VerifyError;

const WEB: &str = r#"service "web" { image "r.example/web:1"; replicas 2; resources cpu=1 memory="1GiB" }"#;

#[test]
fn a_plan_of_another_revision_is_refused() {
    let mut state = state(NODES);
    let document = planned(&state, WEB);
    state.revision += 1;
    let error = verify(&state, &document, &admin()).unwrap_err();
    assert!(matches!(error, VerifyError::Moved { planned, current } if current == planned + 1));
    assert!(error.to_string().contains("plan again"));
}

#[test]
fn a_plan_whose_assignments_break_a_constraint_is_refused() {
    let state = state(NODES);
    let spec = WEB.replace("cpu=1", "cpu=3");
    let mut document = planned(&state, &spec);
    assert_eq!(document.assignments.len(), 2);
    let moved = document.assignments.remove(1);
    document.assignments[0].count += moved.count;
    let error = verify(&state, &document, &admin()).unwrap_err();
    assert!(matches!(&error, VerifyError::Broken(texts) if texts[0].contains("cpu of")), "{error}");
}

#[test]
fn a_plan_with_altered_changes_is_refused() {
    let state = state(NODES);
    let mut document = planned(&state, WEB);
    document.changes[0].count += 1;
    assert!(matches!(verify(&state, &document, &admin()), Err(VerifyError::Altered("changes"))));
    let mut document = planned(&state, WEB);
    document.waves.push(vec![0]);
    assert!(matches!(verify(&state, &document, &admin()), Err(VerifyError::Altered("waves"))));
}

#[test]
fn a_plan_for_a_node_that_does_not_exist_is_refused() {
    let state = state(NODES);
    let mut document = planned(&state, WEB);
    document.assignments[0].node = "n9".to_owned();
    assert!(matches!(verify(&state, &document, &admin()), Err(VerifyError::Unknown { node, .. }) if node == "n9"));
}

#[test]
fn every_problem_of_every_file_is_told_at_once() {
    let state = state(NODES);
    let files = [
        ("one.kdl", r#"service "a" { image "r.example/x:1"; replics 2 }"#),
        ("two.kdl", r#"service "b" { image "r.example/x:1"; resources memory="1Gb" }"#),
        ("three.cedar", "permit (principal, action == Action::\"flace\", resource);"),
    ];
    let text = plan(&request(&state, &files)).unwrap_err().render(false);
    for expected in ["one.kdl", "replicas", "two.kdl", "GiB", "three.cedar", "flace"] {
        assert!(text.contains(expected), "{expected} is missing in:\n{text}");
    }
}

#[test]
fn a_node_among_the_specs_is_refused() {
    let state = state(NODES);
    let text = try_planned(&state, r#"node "n4" { capacity cpu=1 memory="1GiB" }"#).unwrap_err().render(false);
    assert!(text.contains("--inventory"), "{text}");
}

#[test]
fn deleting_what_does_not_exist_is_an_error_that_names_what_does() {
    let mut state = state(NODES);
    let document = planned(&state, WEB);
    carry_out(&mut state, &document);
    let mut delete = request(&state, &[]);
    delete.inputs.delete.push("default/wev".to_owned());
    let text = plan(&delete).unwrap_err().render(false);
    assert!(text.contains("default/web"), "{text}");
}
