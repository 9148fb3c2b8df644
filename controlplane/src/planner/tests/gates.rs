//! What policies forbid, in plans and in explanations.

use super::*;
use crate::plan::Status;
use crate::planner::{ExplainRequest, VerifyError, explain};

const PAY: &str = r#"
team "payments"
service "pay" team="payments" {
    image "registry.example/pay:1"
    replicas 2
    resources cpu=1 memory="1GiB"
}
"#;

const POLICIES: &str = r#"
@id("admins") permit (principal in Team::"admins", action, resource);
@id("place-anything") permit (principal, action == Action::"place", resource);

@id("pay-not-in-c") @message("payments stay out of zone c")
forbid (principal in Team::"payments", action == Action::"place", resource)
when { resource.hasTag("zone") && resource.getTag("zone") == "c" };
"#;

#[test]
fn a_place_denial_removes_nodes_from_the_program_and_is_named() {
    let mut state = state(NODES);
    let separate = PAY.replace("replicas 2", "replicas 3; place { separate within=\"node\" }");
    let document = plan(&request(&state, &[("pay.kdl", &separate), ("pay.cedar", POLICIES)])).unwrap();
    assert_eq!(document.status, Status::Shortage);
    assert!(document.assignments.iter().all(|assignment| assignment.node != "n3"));
    carry_out(&mut state, &document);
    let explanation = explain(&ExplainRequest {
        state: &state,
        inputs: Inputs::default(),
        workload: "payments/pay".to_owned(),
        costs: false,
        deadline: std::time::Duration::from_secs(9),
        cancel: None,
    })
    .unwrap();
    let n3 = explanation.nodes.iter().find(|node| node.node == "n3").unwrap();
    assert!(!n3.fits && n3.reasons[0].contains("pay-not-in-c") && n3.reasons[0].contains("pay.cedar:5"), "{n3:?}");
    let n1 = explanation.nodes.iter().find(|node| node.node == "n1").unwrap();
    assert_eq!((n1.replicas, n1.fits), (1, false));
    assert!(n1.reasons[0].contains("separate within"), "{n1:?}");
}

#[test]
fn a_deploy_denial_names_the_policy_and_the_plan_can_not_be_applied() {
    let state = state(NODES);
    let mut request = request(&state, &[("pay.kdl", PAY), ("pay.cedar", POLICIES)]);
    request.user = UserFacts { name: "eve".to_owned(), teams: vec!["storefront".to_owned()] };
    let document = plan(&request).unwrap();
    assert_eq!(document.status, Status::Denied);
    assert!(
        document
            .denied
            .iter()
            .any(|d| d.action == "create" && d.workload == "payments/pay" && d.message.contains("eve"))
    );
    assert!(document.denied.iter().any(|d| d.action == "change-policy"));
    let error = verify(&state, &document, &request.user).unwrap_err();
    assert!(matches!(error, VerifyError::Denied(_)));
}

#[test]
fn the_policies_in_force_judge_a_request_that_brings_others() {
    let mut state = state(NODES);
    let document = plan(&request(&state, &[("pay.cedar", POLICIES)])).unwrap();
    carry_out(&mut state, &document);
    let open = "permit (principal, action, resource);";
    let mut request = request(&state, &[("open.cedar", open)]);
    request.user = UserFacts { name: "eve".to_owned(), teams: Vec::new() };
    let document = plan(&request).unwrap();
    assert_eq!(document.denied.iter().map(|d| d.action.as_str()).collect::<Vec<_>>(), ["change-policy"]);
}
