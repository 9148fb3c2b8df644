//! The text of hand-made plans, as snapshots without colours.

use super::plan;
use hyphae_controlplane::plan::{
    Action, Change, CheapestFleet, Conflict, CostChange, Denied, Held, Inputs, NodeReturned, NodesBought, PlanDocument,
    RepairEntry, Scaled, SolveEntry, Status, TierEntry, Unplaced,
};

fn text(document: &PlanDocument) -> String {
    anstream::adapter::strip_str(&plan(document)).to_string()
}

fn change(action: Action, workload: &str, from: Option<&str>, to: Option<&str>, count: u32, why: &str) -> Change {
    Change {
        action,
        workload: workload.into(),
        from: from.map(Into::into),
        to: to.map(Into::into),
        count,
        why: why.into(),
        replicas: vec![],
        new_replicas: vec![],
    }
}

fn tier(tier: &str, priority: Option<i32>, value: u64, bound: u64, proven: bool) -> TierEntry {
    TierEntry { tier: tier.into(), priority, value, bound, proven }
}

fn document() -> PlanDocument {
    PlanDocument {
        revision: 12,
        status: Status::Optimal,
        tiers: vec![tier("shortage", Some(100), 0, 0, true), tier("cost", None, 290_000, 290_000, true)],
        assignments: vec![],
        nodes_bought: vec![],
        nodes_returned: vec![],
        cheapest_fleet: None,
        scaling: vec![],
        changes: vec![],
        waves: vec![],
        unplaced: vec![],
        repairs_together: vec![],
        denied: vec![],
        cost: CostChange { before_micros: 217_500, after_micros: 290_000 },
        solve: SolveEntry {
            millis: 41,
            method: "exact per node".into(),
            variables: 310,
            constraints: 200,
            checked: true,
        },
        notes: vec![],
        broken_soft: vec![],
        what_if: None,
        inputs: Inputs::default(),
    }
}

#[test]
fn changes_are_grouped_by_workload_and_reason() {
    let mut document = document();
    let new = "new workload";
    document.changes = vec![
        change(Action::Start, "storefront/web", None, Some("n1"), 2, new),
        change(Action::Start, "storefront/web", None, Some("n2"), 1, new),
        change(Action::Move, "storefront/cart", Some("n1"), Some("n2"), 1, "n1 is cordoned"),
        change(Action::Update, "payments/api", Some("n3"), Some("n3"), 2, "image changed"),
        change(Action::Stop, "payments/api", Some("n4"), None, 1, "1 replica fewer is wanted"),
    ];
    document.waves = vec![vec![0, 1, 3], vec![2, 3], vec![4]];
    document.notes = vec!["policies: a set of 1 file comes into force".into(), "a warning\n  of two lines\n".into()];
    insta::assert_snapshot!(text(&document));
}

#[test]
fn a_plan_without_changes_says_so() {
    insta::assert_snapshot!(text(&document()));
}

#[test]
fn a_shortage_is_told_as_prose_with_lines_and_repairs() {
    let mut document = document();
    document.status = Status::Shortage;
    document.tiers[0] = tier("shortage", Some(100), 2, 0, false);
    document.tiers[1] = tier("cost", None, 290_000, 290_000, false);
    let conflict = |file: Option<&str>, line, constraint: &str| Conflict {
        file: file.map(Into::into),
        line,
        column: line.map(|_| 9),
        constraint: constraint.into(),
    };
    document.unplaced = vec![
        Unplaced {
            workload: "storefront/web".into(),
            count: 2,
            conflict: vec![
                conflict(Some("shop.kdl"), Some(14), "spread over=\"zone\" max-skew=1"),
                conflict(None, None, "memory: 4GiB needed, 1GiB free"),
            ],
            repairs: vec![
                RepairEntry { text: "add 1 node like n3".into(), adds: Some("1 node c7g.large in zone c".into()) },
                RepairEntry { text: "want 2 replicas fewer".into(), adds: None },
            ],
            proven: true,
            minimal: true,
            certificate: None,
        },
        Unplaced {
            workload: "a/b".into(),
            count: 1,
            conflict: vec![],
            repairs: vec![],
            proven: false,
            minimal: false,
            certificate: None,
        },
    ];
    document.repairs_together = vec![RepairEntry { text: "add 2 nodes like n3".into(), adds: None }];
    insta::assert_snapshot!(text(&document));
}

#[test]
fn a_denial_names_policy_file_line_and_message() {
    let mut document = document();
    document.status = Status::Denied;
    document.denied = vec![
        Denied {
            policy: Some("own-registry".into()),
            file: Some("shop.cedar".into()),
            line: Some(3),
            action: "create".into(),
            workload: "storefront/web".into(),
            message: "Images come from registry.example.".into(),
        },
        Denied {
            policy: None,
            file: None,
            line: None,
            action: "apply".into(),
            workload: "cluster".into(),
            message: String::new(),
        },
    ];
    insta::assert_snapshot!(text(&document));
}

#[test]
fn a_plan_of_thousands_of_replicas_stays_readable() {
    let mut document = document();
    for workload in 0..400 {
        for node in 0..20 {
            let (name, node) = (format!("openb/pod-{workload:03}"), format!("node-{node:04}"));
            document.changes.push(change(Action::Start, &name, None, Some(&node), 1 + workload % 2, "new workload"));
        }
    }
    document.waves = (0..12).map(|wave| (wave * 600..(wave + 1) * 600).collect()).collect();
    document.cost = CostChange { before_micros: 0, after_micros: 0 };
    let text = text(&document);
    assert!(text.lines().count() < 150, "{} lines", text.lines().count());
    insta::assert_snapshot!(text);
}

#[test]
fn control_characters_of_a_document_never_reach_the_terminal() {
    let mut document = document();
    document.changes = vec![change(Action::Start, "a/\u{1b}[31mb", None, Some("n\u{7}1"), 1, "why\u{1b}]0;title\u{7}")];
    let text = text(&document);
    assert!(!text.contains('\u{1b}') && !text.contains('\u{7}'), "{text:?}");
}

#[test]
fn what_is_bought_returned_and_scaled_says_why() {
    let mut document = document();
    let machines = |instance: &str, zone: &str, count, holds: Vec<Held>| NodesBought {
        pool: "general".into(),
        instance: instance.into(),
        zone: zone.into(),
        count,
        price_micros: 72_500,
        holds,
        nodes: vec![],
    };
    let held = |workload: &str, count| Held { workload: workload.into(), count };
    document.nodes_bought = vec![
        machines("c7g.large", "a", 2, vec![held("payments/api", 1), held("storefront/web", 4)]),
        machines("c7g.large", "b", 1, vec![]),
    ];
    let leaving = |node: &str| NodeReturned {
        pool: "general".into(),
        node: node.into(),
        zone: "c".into(),
        price_micros: 100_000,
    };
    document.nodes_returned = vec![leaving("n7"), leaving("n8")];
    let scaled = |workload: &str, load_cpu_millis, placed, survives: &[&str]| Scaled {
        workload: workload.into(),
        load_cpu_millis,
        target_cpu_permille: 600,
        min: 3,
        max: 40,
        wanted: 12,
        placed,
        survives: survives.iter().map(|label| (*label).to_owned()).collect(),
    };
    document.scaling =
        vec![scaled("storefront/web", Some(7_200), 18, &["zone"]), scaled("payments/api", None, 12, &[])];
    document.cheapest_fleet = Some(CheapestFleet {
        cost_micros: 250_000,
        bound_micros: 240_000,
        proven: false,
        nodes: vec![machines("c7g.large", "a", 3, vec![])],
    });
    insta::assert_snapshot!(text(&document));
}
