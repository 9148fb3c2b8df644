//! Orders that keep replicas apart on the way, and the checker that finds those which do not.

use super::{Budget, check};
use crate::plan::{Action, PlanDocument};
use crate::planner::tests::{assigned, carry_out, planned, request, running, state};
use crate::planner::{changes, program, sources};
use crate::state::{State, Step};
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
    let text = spec("ssd", "hdd");
    let request = request(&state, &[("spec.kdl", &text)]);
    let merged = sources::merge(&state, &request.inputs).unwrap();
    let program = program::program(&state, &merged);
    let placed: Vec<hyphae_solver::Placed> = document
        .assignments
        .iter()
        .map(|a| hyphae_solver::Placed {
            workload: program.workloads.binary_search(&a.workload).unwrap(),
            node: program.nodes.binary_search(&a.node).unwrap(),
            count: a.count,
        })
        .collect();
    let budgets: BTreeMap<String, Budget> = crate::planner::budgets(&state, &merged, &program, &placed);
    let changes = changes::changes(&state, &program, &placed);
    let good = super::waves(&state, &program, &changes, &placed, &budgets);
    let may_break = |change: usize| good.over_budget.contains(&change);
    assert_eq!(check(&state, &program, &good.steps, &placed, &budgets, may_break), None);
    // All at once: starts beside what has not gone yet.
    let all = vec![good.steps.concat()];
    let broken = check(&state, &program, &all, &placed, &budgets, may_break);
    assert!(broken.as_ref().is_some_and(|text| text.contains("wave 0 breaks Rule")), "{broken:?}");
    // Stops first, all of them, without an exception for the budget.
    let (stops, starts): (Vec<_>, Vec<_>) =
        good.steps.concat().into_iter().partition(|(_, step)| matches!(step, Step::Stop { .. }));
    let budgets = budgets.into_iter().map(|(name, budget)| (name, Budget { placed: 2, ..budget })).collect();
    let broken = check(&state, &program, &[stops, starts], &placed, &budgets, |_| false);
    assert_eq!(broken, None, "one replica of one may be down");
}
