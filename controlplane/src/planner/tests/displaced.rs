//! What a plan says of replicas that give way to others, and of what is broken and stays so.

use super::*;
use crate::plan::Action;

const SMALL: &str = r#"node "n1" { capacity cpu=2 memory="8GiB"; labels zone="a" }"#;

fn service(name: &str, replicas: u32, priority: i32, place: &str) -> String {
    format!(
        "service \"{name}\" {{\n    image \"x/{name}:1\"\n    replicas {replicas}\n    resources cpu=0.5 memory=\"64MiB\"\n    \
         priority {priority}\n    place {{ {place} }}\n}}\n"
    )
}

#[test]
fn who_gives_way_is_told_to_whom() {
    let mut state = state(SMALL);
    let low = service("low", 4, 1, "");
    let document = planned(&state, &low);
    carry_out(&mut state, &document);
    let document = planned(&state, &(low + &service("high", 2, 100, "") + &service("middle", 1, 7, "")));
    let stop = document.changes.iter().find(|change| change.action == Action::Stop).unwrap();
    assert_eq!((stop.workload.as_str(), stop.count), ("default/low", 3));
    assert_eq!(stop.why, "makes room for default/high (priority 100), default/middle (priority 7)");
    carry_out(&mut state, &document);
    assert_eq!(running(&state)["default/low@n1"], 1);
}

#[test]
fn a_rule_that_stays_broken_is_named() {
    let mut state = state(SMALL);
    let document = planned(&state, &service("web", 4, 1, ""));
    carry_out(&mut state, &document);
    let document = planned(&state, &service("web", 4, 1, "separate within=\"node\" limit=2"));
    assert!(document.changes.is_empty() && document.unplaced.is_empty(), "{document:?}");
    let [note] = document.notes.as_slice() else { panic!("{:?}", document.notes) };
    assert!(note.contains("broken now") && note.contains("separate within=\"node\" limit=2 (spec.kdl:6)"), "{note}");
}
