//! Suppositions: how they are written, what they change, and that nothing supposed is ever carried out.

use super::*;
use crate::planner::{VerifyError, WhatIf, plan_what_if};

const WEB: &str = r#"
service "web" {
    image "x/web:1"
    replicas 3
    resources cpu=1 memory="1GiB"
    place {
        require arch="arm64"
        separate within="node"
    }
}
"#;

fn supposed(suppositions: &[&str]) -> PlanDocument {
    let suppositions: Vec<WhatIf> = suppositions.iter().map(|text| text.parse().unwrap()).collect();
    let state = state(NODES);
    plan_what_if(&request(&state, &[("spec.kdl", WEB)]), &suppositions)
        .unwrap_or_else(|e| panic!("{}", e.render(false)))
}

fn missing(document: &PlanDocument) -> u32 {
    document.unplaced.iter().map(|unplaced| unplaced.count).sum()
}

#[test]
fn suppositions_are_written_as_they_are_shown() {
    for text in [
        "without a/b.kdl:14",
        "replicas team/name=12",
        "drop team/name",
        "nodes +2 like n1",
        "lose node n1",
        "lose zone=a",
    ] {
        assert_eq!(text.parse::<WhatIf>().unwrap().to_string(), text);
    }
    assert_eq!("drop web".parse::<WhatIf>().unwrap().to_string(), "drop default/web");
    for bad in
        ["", "without", "without x.kdl", "without x.kdl:0", "replicas a/b=-1", "nodes +x like n1", "lose n1", "gain n1"]
    {
        assert!(bad.parse::<WhatIf>().is_err(), "{bad}");
    }
}

#[test]
fn each_supposition_changes_what_it_says() {
    assert_eq!(missing(&supposed(&["nodes +0 like n1"])), 1, "two nodes are arm64");
    assert_eq!(missing(&supposed(&["without spec.kdl:7"])), 0, "anywhere");
    assert_eq!(missing(&supposed(&["without spec.kdl:8"])), 0, "two on one node");
    assert_eq!(missing(&supposed(&["nodes +1 like n2"])), 0);
    assert_eq!(missing(&supposed(&["nodes +1 like n3"])), 1, "that is no arm64");
    assert_eq!(missing(&supposed(&["lose node n1"])), 2);
    assert_eq!(missing(&supposed(&["lose arch=arm64"])), 3);
    assert_eq!(missing(&supposed(&["replicas web=2"])), 0);
    assert_eq!(missing(&supposed(&["replicas web=5"])), 3);
    assert_eq!(missing(&supposed(&["drop web"])), 0);
}

#[test]
fn the_difference_is_to_the_plan_without() {
    let entry = supposed(&["lose node n1", "replicas web=4"]).what_if.unwrap();
    assert_eq!(entry.suppositions, ["lose node n1", "replicas default/web=4"]);
    assert_eq!((entry.unplaced[0].now, entry.unplaced[0].then), (1, 3));
    let shortage = entry.tiers.iter().find(|tier| tier.tier == "shortage").unwrap();
    assert_eq!((shortage.now, shortage.then), (Some(1), Some(3)));
    assert_eq!((entry.cost_now_micros, entry.cost_then_micros), (200_000, 100_000));
}

#[test]
fn a_supposed_plan_is_never_committed() {
    let state = state(NODES);
    let drop: WhatIf = "replicas web=2".parse().unwrap();
    let document = plan_what_if(&request(&state, &[("spec.kdl", WEB)]), &[drop]).unwrap();
    let refused = verify(&state, &document, &admin());
    assert!(matches!(refused, Err(VerifyError::WhatIf)), "{refused:?}");
}

#[test]
fn repairs_say_what_to_write_where() {
    let text = |document: &PlanDocument| {
        let repairs = document.unplaced[0].repairs.iter().map(|repair| repair.text.clone());
        repairs.collect::<Vec<_>>().join("; ")
    };
    let state = state(NODES);
    let document = planned(&state, &WEB.replace("replicas 3", "replicas 4"));
    assert!(document.unplaced[0].proven && document.unplaced[0].minimal, "{document:?}");
    assert!(text(&document).contains("at spec.kdl:8: limit=2 instead of 1"), "{}", text(&document));
    let survive = WEB.replace("separate within=\"node\"", "survive loss-of=\"zone\" keep=2");
    let document = planned(&state, &survive.replace("replicas 3", "replicas 6"));
    assert!(document.unplaced.is_empty(), "four of six may be lost");
    let document = planned(&state, &survive.replace("replicas 3", "replicas 6").replace("keep=2", "keep=4"));
    assert!(text(&document).contains("at spec.kdl:8: keep=3 instead of 4"), "{}", text(&document));
}

#[test]
fn what_a_reserve_kept_room_for_has_a_place_whatever_is_lost() {
    // Twelve cores in three zones; eight of them remain after any loss.
    let spec = r#"
reserve survive-loss-of="zone"
service "web" { image "x/web:1"; replicas 5; resources cpu=1 memory="1GiB"; place { spread over="zone" } }
service "api" { image "x/api:1"; replicas 3; resources cpu=1 memory="2GiB" }
"#;
    let state = state(NODES);
    let request = request(&state, &[("spec.kdl", spec)]);
    for lost in ["lose zone=a", "lose zone=b", "lose node n3"] {
        let document = plan_what_if(&request, &[lost.parse().unwrap()]).unwrap();
        assert_eq!((document.what_if.as_ref().unwrap().tiers[0].now, missing(&document)), (Some(0), 0), "{lost}");
        let note = document.notes.iter().find(|note| note.contains("reserve survive-loss-of=\"zone\""));
        assert!(note.is_some_and(|note| note.contains("spec.kdl:2")), "{:?}", document.notes);
    }
    // One more core, and there is none left for it after a loss: it is not placed before one either.
    let more = spec.replace("replicas 5", "replicas 6");
    let request = Request { inputs: super::request(&state, &[("spec.kdl", &more)]).inputs, ..request };
    assert_eq!(missing(&plan(&request).unwrap()), 1);
}
