//! Plans with one fault each: the recomputation must find it, or it would prove nothing.

use crate::{planned, recompute, shop_world};
use serde_json::{Value, json};

/// The plan after a change to its assignments.
fn with(change: impl FnOnce(&mut Vec<Value>)) -> Value {
    let mut plan = planned().clone();
    change(plan["assignments"].as_array_mut().expect("a list"));
    plan
}

/// All replicas of a workload on the given machines.
fn moved(workload: &str, to: &[(&str, u64)]) -> Value {
    with(|assignments| {
        assignments.retain(|one| one["workload"] != workload);
        assignments.extend(to.iter().map(|(node, count)| json!({"workload": workload, "node": node, "count": count})));
    })
}

/// The plan after a change anywhere.
fn edited(change: impl FnOnce(&mut Value)) -> Value {
    let mut plan = planned().clone();
    change(&mut plan);
    plan
}

fn finds(plan: &Value, what: &str) {
    let found = recompute::violations(shop_world(), plan);
    assert!(found.iter().any(|one| one.contains(what)), "expected {what:?} among {found:#?}");
}

/// A machine that holds a replica of the workload.
fn machine_of(workload: &str) -> String {
    let assignments = planned()["assignments"].as_array().expect("a list");
    let one = assignments.iter().find(|one| one["workload"] == workload).expect("it is placed");
    one["node"].as_str().expect("a name").to_owned()
}

#[test]
fn replicas_on_machines_that_are_not_eligible_are_found() {
    finds(&moved("storefront/web", &[("edge-a1", 6)]), "storefront/web on edge-a1: taint edge");
    finds(&moved("payments/gateway", &[("general-a1", 4)]), "policy payments-on-certified-machines");
    finds(&moved("storefront/web", &[("cards-a1", 6)]), "policy certified-machines-for-payments");
    finds(&moved("storefront/web", &[("general-c2", 6)]), "general-c2: require kernel");
    finds(&moved("storefront/recommendations", &[("general-a1", 2)]), "require arch");
    finds(&moved("platform/ingress", &[("general-a1", 3)]), "require edge");
}

#[test]
fn overcommitted_machines_are_found() {
    let all_on_one = with(|assignments| {
        for one in
            assignments.iter_mut().filter(|one| one["node"].as_str().is_some_and(|node| node.starts_with("general")))
        {
            one["node"] = json!("general-a1");
        }
    });
    let mut merged = all_on_one;
    // One entry for each workload, as a plan would have it.
    let mut seen = std::collections::BTreeSet::new();
    merged["assignments"]
        .as_array_mut()
        .expect("a list")
        .retain(|one| seen.insert((one["workload"].to_string(), one["node"].to_string())));
    finds(&merged, "general-a1 has 8000 of cpu");
    finds(&moved("platform/resolver", &[("general-a1", 3)]), "general-a1 has 1 of port 53/Udp, and 3 are used");
    finds(&moved("catalog/media", &[("general-a1", 30)]), "of disk, and");
    finds(&moved("catalog/search", &[("general-a1", 30)]), "of memory, and");
    finds(&moved("platform/resolver", &[("general-a1", 61)]), "general-a1 has 60 of replicas");
}

#[test]
fn broken_rules_are_found() {
    finds(&moved("storefront/cart", &[("general-a1", 4)]), "storefront/cart: Spread");
    finds(&moved("storefront/web", &[("general-a1", 6)]), "storefront/web: Spread");
    finds(
        &moved("storefront/web", &[("general-a1", 4), ("general-b1", 1), ("general-c1", 1)]),
        "storefront/web: Survive",
    );
    finds(&moved("payments/gateway", &[("cards-a1", 3), ("cards-b1", 1)]), "payments/gateway: Survive");
    finds(&moved("payments/ledger", &[("cards-a1", 2)]), "payments/ledger: SeparateWithin");
    finds(
        &moved("storefront/mobile-api", &[("general-a1", 3), ("general-b1", 1)]),
        "storefront/mobile-api: SeparateWithin",
    );
    let beside_search = machine_of("catalog/search");
    finds(&moved("catalog/search-indexer", &[(&beside_search, 1)]), "catalog/search-indexer: SeparateFrom");
    finds(&moved("storefront/session-cache", &[("general-a1", 2), ("general-a2", 1)]), "storefront/cart: Near");
    finds(&moved("payments/gateway", &[("cards-a1", 4)]), "payments/fraud-check: Near");
}

#[test]
fn wrong_numbers_of_replicas_are_found() {
    finds(&moved("storefront/web", &[("general-a1", 5)]), "storefront/web: 5 placed, 6 wanted");
    finds(&moved("storefront/web", &[("general-a1", 7)]), "storefront/web: 7 placed, 6 wanted");
    finds(&moved("storefront/web", &[("general-a1", 60)]), "quota of storefront");
    finds(&moved("logistics/warehouse-scanner", &[]), "all-or-nothing warehouse");
    let planner_machine = machine_of("logistics/route-planner");
    finds(&moved("logistics/route-planner", &[(&planner_machine, 2)]), "all-or-nothing alone logistics/route-planner");
    finds(
        &moved("platform/ingress", &[("edge-a1", 1), ("edge-b1", 2)]),
        "daemon platform/ingress does not run once on edge-c1",
    );
}

#[test]
fn senseless_assignments_are_found() {
    finds(&moved("storefront/web", &[("nowhere", 6)]), "makes no sense");
    finds(&moved("storefront/web", &[("general-a1", 0)]), "makes no sense");
    finds(&moved("storefront/nobody", &[("general-a1", 1)]), "makes no sense");
    finds(&moved("storefront/web", &[("general-a1", 3), ("general-a1", 3)]), "listed twice");
}

#[test]
fn false_values_and_proofs_are_found() {
    let tier = |name: &'static str, change: fn(&mut Value)| {
        edited(move |plan| {
            let tiers = plan["tiers"].as_array_mut().expect("a list");
            change(tiers.iter_mut().find(|tier| tier["tier"] == name).expect("the tier is there"));
        })
    };
    finds(&tier("shortage", |tier| tier["value"] = json!(1)), "tiers:");
    finds(&tier("soft", |tier| tier["value"] = json!(tier["value"].as_u64().expect("a number") + 1)), "tiers:");
    finds(&tier("priced-cost", |tier| tier["value"] = json!(1)), "tiers:");
    finds(&tier("shape", |tier| tier["value"] = json!(1)), "tiers:");
    finds(&tier("shortage", |tier| tier["proven"] = json!(false)), "proven is not what the bounds say");
    finds(&tier("shortage", |tier| tier["bound"] = json!(9)), "bound above value");
    finds(&edited(|plan| plan["cost"]["after_micros"] = json!(1)), "cost:");
    finds(&edited(|plan| plan["status"] = json!("shortage")), "status:");
    finds(&edited(|plan| plan["unplaced"] = json!([{"workload": "storefront/web"}])), "unplaced:");
    finds(&edited(|plan| plan["solve"]["checked"] = json!(false)), "not checked");
}

#[test]
fn changes_that_lead_elsewhere_are_found() {
    finds(&edited(|plan| plan["changes"][0]["count"] = json!(50)), "not a start of new replicas");
    finds(&edited(|plan| plan["changes"][0]["to"] = json!("general-a9")), "do not lead to the assignments");
    finds(&edited(|plan| plan["waves"] = json!([])), "do not hold every change");
}
