//! What can only be wrong between items.

use crate::{checked, only_problem, refused};
use hyphae_specs::Severity;

const CACHE: &str = "service \"cache\" team=\"a\" { image \"c\" }\n";

#[test]
fn two_items_of_a_name_are_refused_naming_both_places() {
    let found = refused(
        "job \"x\" { image \"a\" }\nservice \"x\" { image \"a\" }",
        "\"x\"",
        "there are two workloads \"default/x\"",
        "share their names",
    );
    assert_eq!((found.span.offset, found.others[0].0.offset), (30, 4));
    refused("team \"a\"\nteam \"a\"", "\"a\"", "there are two teams \"a\"", "keep one");
    refused("objective {}\nobjective {}", "objective", "there are two objectives", "keep one");
    let node = "node \"n\" { capacity cpu=1 memory=\"1GiB\" }\n";
    refused(&node.repeat(2), "\"n\"", "there are two nodes \"n\"", "rename");
}

#[test]
fn references_lead_somewhere_or_a_likely_target_is_named() {
    let web = |team: &str, place: &str| {
        format!("{CACHE}service \"web\" team=\"{team}\" {{ image \"w\"; place {{ {place} }} }}")
    };
    refused(
        &web("a", "near \"cahce\" within=\"zone\""),
        "\"cahce\"",
        "there is no workload \"a/cahce\"",
        "did you mean \"a/cache\"?",
    );
    refused(
        &web("b", "near \"cache\" within=\"zone\""),
        "\"cache\"",
        "there is no workload \"b/cache\"",
        "did you mean \"a/cache\"?",
    );
    refused(
        &web("a", "separate from=\"a/web\" within=\"node\""),
        "\"a/web\"",
        "\"a/web\" speaks of itself",
        "without `from=`",
    );
    refused(
        &web("a", "near \"x/y/z\" within=\"node\""),
        "\"x/y/z\"",
        "this is not the name of a workload",
        "payments/cache",
    );
    refused(
        "team \"storefront\"\nservice \"w\" team=\"storefrnt\" { image \"w\" }",
        "\"storefrnt\"",
        "there is no team \"storefrnt\"",
        "did you mean \"storefront\"?",
    );
    refused(
        &format!("{CACHE}constraint \"c\" {{ applies-to team=\"a\"; separate from=\"cache\" within=\"node\" }}"),
        "\"cache\"",
        "a constraint belongs to no team: the full name is needed",
        "did you mean \"a/cache\"?",
    );
}

#[test]
fn teams_need_not_be_declared_when_none_is() {
    assert!(checked(CACHE).diagnostics.errors.is_empty());
}

#[test]
fn a_circle_of_hard_near_is_refused_and_a_soft_link_breaks_it() {
    let ring = |last: &str| {
        format!(
            "service \"a\" {{ image \"i\"; place {{ near \"b\" within=\"zone\" }} }}
             service \"b\" {{ image \"i\"; place {{ near \"c\" within=\"zone\" }} }}
             service \"c\" {{ image \"i\"; place {{ near \"a\" within=\"zone\" {last} }} }}"
        )
    };
    let found = refused(
        &ring(""),
        "near \"b\" within=\"zone\"",
        "these must be near each other in a circle: default/a → default/b → default/c → default/a",
        "make one of them soft with `weight=`",
    );
    assert_eq!(found.others.len(), 2);
    assert!(checked(&ring("weight=1")).diagnostics.errors.is_empty());
}

#[test]
fn demands_that_exclude_each_other_are_refused() {
    let web = |place: &str| format!("service \"web\" {{ image \"w\"; place {{ {place} }} }}");
    let message = |key: &str| format!("no node can meet both demands on `{key}` of \"default/web\"");
    for (place, key) in [
        ("require arch=\"arm64\"; require arch=\"amd64\"", "arch"),
        ("require zone in a b; require zone not-in a b c", "zone"),
        ("require gpu exists; require gpu absent", "gpu"),
        ("require kernel \">=\" \"6.1\"; require kernel \"<\" \"6.1\"", "kernel"),
        ("require kernel \"<=\" \"5\"; require kernel \">\" \"5.0\"", "kernel"),
        ("require kernel in \"5.10\" \"5.15\"; require kernel \">=\" \"6.1\"", "kernel"),
    ] {
        refused(&web(place), key, &message(key), "must hold");
    }
    for place in [
        "require zone in a b; require zone not-in a",
        "require kernel \">=\" \"6.1\"; require kernel \"<=\" \"6.1\"",
        "require kernel \">\" \"6.1\"; require kernel \"=\" \"6.2\"",
        "require arch=\"arm64\"; prefer arch=\"amd64\"",
    ] {
        assert_eq!(checked(&web(place)).diagnostics.errors, [], "{place}");
    }
}

#[test]
fn a_constraint_over_nothing_is_a_warning() {
    let text = format!("{CACHE}constraint \"c\" {{ applies-to team=\"aa\"; spread over=\"zone\" }}");
    only_problem(&text, Severity::Warning, "\"aa\"", "the constraint \"c\" applies to no workload", "known here: a");
    let fine = format!(
        "{CACHE}constraint \"c\" {{ applies-to team=\"a\" kind=\"service\" name=\"cache\"; spread over=\"zone\" }}"
    );
    assert_eq!(checked(&fine).diagnostics.iter().count(), 0);
}

#[test]
fn a_constraint_that_forbids_every_replica_is_a_warning() {
    let text = format!("{CACHE}constraint \"c\" {{ applies-to team=\"a\"; survive loss-of=\"zone\" keep=\"50%\" }}");
    only_problem(
        &text,
        Severity::Warning,
        "\"50%\"",
        "\"a/cache\" cannot keep that many when any zone may be lost",
        "raise the replicas",
    );
}

#[test]
fn an_extra_resource_that_no_node_has_is_a_warning() {
    let text = "node \"n\" { capacity cpu=1 memory=\"1GiB\" gpu=1 }\nservice \"w\" { image \"w\"; resources gpus=1 }";
    only_problem(text, Severity::Warning, "1", "no node has any `gpus`", "did you mean \"gpu\"?");
}

#[test]
fn a_health_check_needs_a_port_of_the_workload() {
    let text = "service \"w\" { image \"w\"; port \"http\" 80; health port=\"htp\" }";
    let messages: Vec<String> = checked(text).diagnostics.errors.iter().map(|one| one.message.clone()).collect();
    assert!(messages.contains(&"there is no port \"htp\"".to_owned()), "{messages:?}");
}
