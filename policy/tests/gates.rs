//! The gates, by values: what is allowed, what is denied, and which policy decided.

use hyphae_policy::{
    DEV_POLICIES, Decision, DeployAction, DeployFacts, NodeFacts, OperateAction, Policies, PolicySource, UserFacts,
    WorkloadFacts, WorkloadKind, render,
};
use std::collections::BTreeMap;

#[expect(clippy::panic, reason = "a test whose policies do not load says why")]
fn policies(text: &str) -> Policies {
    let file = PolicySource { name: "p.cedar".to_owned(), text: text.to_owned(), first_line: 1 };
    Policies::load(&[file]).unwrap_or_else(|errors| panic!("{}", render(&errors, false)))
}

fn user(name: &str, team: &str) -> UserFacts {
    UserFacts { name: name.to_owned(), teams: vec![team.to_owned()] }
}

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn workload(kind: WorkloadKind, team: &str, name: &str) -> WorkloadFacts {
    WorkloadFacts { kind, team: team.to_owned(), name: name.to_owned(), labels: labels(&[("tier", "backend")]) }
}

fn api() -> WorkloadFacts {
    workload(WorkloadKind::Service, "payments", "api")
}

fn node(name: &str, pool: &str, pairs: &[(&str, &str)]) -> NodeFacts {
    NodeFacts { name: name.to_owned(), pool: Some(pool.to_owned()), labels: labels(pairs) }
}

fn facts() -> DeployFacts {
    DeployFacts {
        image_registry: "registry.example".to_owned(),
        image_name: "payments/api".to_owned(),
        image_tag: Some("1.4.2".to_owned()),
        image_pinned: false,
        replicas: 3,
        cpu_millis: 500,
        memory_bytes: 256 << 20,
        ports: vec![8080],
        host_ports: vec![443],
        secrets: vec!["card-key".to_owned()],
        privileges: Vec::new(),
        priority: 100,
    }
}

fn deciders(decision: &Decision) -> Vec<(&str, usize)> {
    decision.policies.iter().map(|policy| (policy.id.as_str(), policy.line)).collect()
}

const OWN_TEAM: &str = "@id(\"own-team\")\npermit (principal, action in Action::\"deploy\", resource) when { principal in resource.team };";

#[test]
fn without_a_set_everything_is_allowed() {
    let none = Policies::none();
    let allowed = Decision { allowed: true, policies: Vec::new(), errors: Vec::new() };
    assert_eq!(none.deploy(&user("a", "t"), DeployAction::Create, &api(), &facts()), allowed);
    assert_eq!(none.place(&api(), &node("n1", "p", &[])), allowed);
    assert_eq!(none.operate(&user("a", "t"), &OperateAction::ChangePolicy), allowed);
}

#[test]
fn what_no_policy_permits_is_denied_and_the_reason_says_what_to_add() {
    let set = policies("// nothing yet");
    let decision = set.place(&api(), &node("n1", "p", &[]));
    assert_eq!(decision, Decision { allowed: false, policies: Vec::new(), errors: Vec::new() });
    let reason = decision.reason("place");
    assert!(reason.starts_with("no policy permits place; add"), "{reason}");
    let proposed = reason.split_once("such as: ").unwrap().1;
    assert!(policies(proposed).place(&api(), &node("n1", "p", &[])).allowed, "{proposed}");
}

#[test]
fn a_team_deploys_its_own_workloads_of_every_kind_with_every_action() {
    let set = policies(OWN_TEAM);
    for kind in [WorkloadKind::Service, WorkloadKind::Job, WorkloadKind::Daemon] {
        for action in [DeployAction::Create, DeployAction::Update, DeployAction::Scale, DeployAction::Delete] {
            let own = set.deploy(&user("paula", "payments"), action, &workload(kind, "payments", "api"), &facts());
            assert!(own.allowed, "{kind:?} {action:?}");
            assert_eq!(deciders(&own), [("own-team", 1)]);
            assert!(
                !set.deploy(&user("alice", "storefront"), action, &workload(kind, "payments", "api"), &facts()).allowed
            );
        }
    }
}

#[test]
fn one_action_of_the_group_can_be_permitted_alone() {
    let set = policies("permit (principal, action == Action::\"scale\", resource) when { context.replicas <= 3 };");
    assert!(set.deploy(&user("a", "t"), DeployAction::Scale, &api(), &facts()).allowed);
    assert!(!set.deploy(&user("a", "t"), DeployAction::Scale, &api(), &DeployFacts { replicas: 4, ..facts() }).allowed);
    assert!(!set.deploy(&user("a", "t"), DeployAction::Create, &api(), &facts()).allowed);
}

#[test]
fn a_forbid_beats_permits_and_is_named_with_its_line_and_message() {
    let set = policies(&format!(
        "{OWN_TEAM}\n\n// why\n@id(\"no-latest\")\n@message(\"name a version\")\nforbid (principal, action in Action::\"deploy\", resource)\n\
         when {{ !context.image.pinned && (if context.image has tag then context.image.tag == \"latest\" else true) }};"
    ));
    let ask = |facts: &DeployFacts| set.deploy(&user("paula", "payments"), DeployAction::Update, &api(), facts);
    assert!(ask(&facts()).allowed);
    for tag in [Some("latest".to_owned()), None] {
        let denied = ask(&DeployFacts { image_tag: tag.clone(), ..facts() });
        assert!(!denied.allowed);
        assert_eq!(deciders(&denied), [("no-latest", 5)]);
        assert_eq!(denied.policies[0].file, "p.cedar");
        assert_eq!(denied.reason("update"), "name a version");
        assert!(ask(&DeployFacts { image_tag: tag, image_pinned: true, ..facts() }).allowed);
    }
}

#[test]
fn every_fact_of_a_deployment_reaches_the_policy() {
    let tests = [
        "context.image.registry == \"registry.example\"",
        "context.image.name like \"payments/*\"",
        "context.image has tag && context.image.tag == \"1.4.2\"",
        "!context.image.pinned",
        "context.cpu_millis == 500",
        "context.memory_bytes == 268435456",
        "context.ports == [8080]",
        "context.host_ports.contains(443)",
        "context.secrets.contains(Secret::\"card-key\")",
        "context.privileges.isEmpty()",
        "context.priority == 100",
        "principal.name == \"paula\"",
        "resource.name == \"api\"",
        "resource in Team::\"payments\"",
        "resource.hasTag(\"tier\") && resource.getTag(\"tier\") == \"backend\"",
    ];
    for test in tests {
        let set = policies(&format!("permit (principal, action == Action::\"create\", resource) when {{ {test} }};"));
        assert!(set.deploy(&user("paula", "payments"), DeployAction::Create, &api(), &facts()).allowed, "{test}");
    }
}

#[test]
fn placing_looks_at_labels_pools_and_the_workloads_team() {
    let set = policies(
        "@id(\"any\") permit (principal, action == Action::\"place\", resource);\n\
         @id(\"pci\") forbid (principal in Team::\"payments\", action == Action::\"place\", resource)\n\
         unless { resource.hasTag(\"pci\") && resource.getTag(\"pci\") == \"true\" };\n\
         @id(\"gpu\") forbid (principal, action == Action::\"place\", resource in Pool::\"gpu\");",
    );
    let search = workload(WorkloadKind::Service, "catalog", "search");
    assert!(set.place(&search, &node("n1", "general", &[])).allowed);
    assert!(set.place(&api(), &node("n1", "general", &[("pci", "true")])).allowed);
    assert_eq!(deciders(&set.place(&api(), &node("n1", "general", &[("pci", "false")]))), [("pci", 2)]);
    assert_eq!(deciders(&set.place(&search, &node("n1", "gpu", &[]))), [("gpu", 4)]);
    assert_eq!(deciders(&set.place(&api(), &node("n1", "gpu", &[]))), [("pci", 2), ("gpu", 4)]);
    let poolless = NodeFacts { pool: None, ..node("n1", "", &[]) };
    assert!(set.place(&search, &poolless).allowed);
}

#[test]
fn nodes_named_by_policies_are_known_so_that_they_are_asked_about_alone() {
    let set = policies(
        "permit (principal, action == Action::\"place\", resource);\n\
         forbid (principal, action == Action::\"place\", resource == Node::\"n7\");\n\
         forbid (principal, action == Action::\"place\", resource) when { [Node::\"n8\"].contains(resource) };",
    );
    assert_eq!(set.named_nodes().iter().collect::<Vec<_>>(), ["n7", "n8"]);
    assert!(!set.place(&api(), &node("n7", "p", &[])).allowed);
    assert!(set.place(&api(), &node("n9", "p", &[])).allowed);
}

#[test]
fn operators_are_asked_about_each_action() {
    let set = policies(
        "@id(\"see\") permit (principal, action == Action::\"read\", resource);\n\
         @id(\"own\") permit (principal, action in [Action::\"logs\", Action::\"exec\"], resource) when { principal in resource.team };\n\
         @id(\"small\") permit (principal, action == Action::\"apply\", resource)\n\
         when { context.disrupted <= 5 && context.cost_change_micros <= 1000000 };\n\
         @id(\"sre\") permit (principal in Team::\"sre\", action in Action::\"operate\", resource);",
    );
    let (paula, sam) = (user("paula", "payments"), user("sam", "sre"));
    let other = workload(WorkloadKind::Service, "catalog", "search");
    let n1 = node("n1", "p", &[]);
    let apply = |disrupted, cost_change_micros| OperateAction::Apply { disrupted, cost_change_micros };
    let may_paula = [
        (OperateAction::Read, true),
        (OperateAction::Logs(api()), true),
        (OperateAction::Exec(api()), true),
        (OperateAction::Logs(other), false),
        (OperateAction::Drain(n1.clone()), false),
        (OperateAction::Cordon(n1), false),
        (apply(5, -20), true),
        (apply(6, 0), false),
        (apply(0, 1_000_001), false),
        (OperateAction::ChangePolicy, false),
    ];
    for (action, allowed) in may_paula {
        assert_eq!(set.operate(&paula, &action).allowed, allowed, "{action:?}");
        assert!(set.operate(&sam, &action).allowed, "{action:?}");
    }
}

#[test]
fn a_policy_that_fails_denies_and_is_named() {
    let set = policies(&format!(
        "{OWN_TEAM}\n@id(\"broken\") forbid (principal, action == Action::\"create\", resource)\n\
         when {{ context.memory_bytes * 9223372036854775807 == 1 }};"
    ));
    let ask = |action| set.deploy(&user("paula", "payments"), action, &api(), &facts());
    let denied = ask(DeployAction::Create);
    assert!(!denied.allowed);
    assert_eq!(deciders(&denied), [("broken", 3)]);
    assert!(denied.errors[0].contains("policy `broken` (p.cedar:3) failed"), "{:?}", denied.errors);
    assert_eq!(denied.failure_of(&denied.policies[0]), Some(denied.errors[0].as_str()));
    assert!(denied.reason("create").contains("overflow"), "{}", denied.reason("create"));
    assert!(ask(DeployAction::Update).allowed, "other actions are not concerned");
}

#[test]
fn names_are_data_and_never_syntax() {
    let set = policies(OWN_TEAM);
    let odd = "x\"::/\\\n é";
    assert!(
        set.deploy(&user(odd, odd), DeployAction::Create, &workload(WorkloadKind::Job, odd, odd), &facts()).allowed
    );
    assert!(
        !set.deploy(&user(odd, "payments"), DeployAction::Create, &workload(WorkloadKind::Job, odd, odd), &facts())
            .allowed
    );
}

#[test]
fn the_dev_set_permits_the_local_administrator_and_placing() {
    let set = policies(DEV_POLICIES);
    let admin = user("local", "admins");
    assert!(set.deploy(&admin, DeployAction::Create, &api(), &facts()).allowed);
    assert!(set.operate(&admin, &OperateAction::ChangePolicy).allowed);
    assert!(set.place(&api(), &node("n1", "p", &[])).allowed);
    assert!(!set.deploy(&user("eve", "payments"), DeployAction::Create, &api(), &facts()).allowed);
    assert!(!set.operate(&user("eve", "payments"), &OperateAction::Read).allowed);
}

#[test]
fn among_a_thousand_policies_the_right_one_decides() {
    let text: String = (0..1_000)
        .map(|i| {
            let action = if i % 2 == 0 { "action == Action::\"place\"" } else { "action in Action::\"deploy\"" };
            format!("@id(\"p{i}\") permit (principal in Team::\"t{i}\", {action}, resource) when {{ resource.hasTag(\"l{i}\") || true }};\n")
        })
        .collect();
    let set = policies(&text);
    let workload = workload(WorkloadKind::Service, "t998", "api");
    for _ in 0..50 {
        assert_eq!(deciders(&set.place(&workload, &node("n1", "p", &[("zone", "a")]))), [("p998", 999)]);
    }
}
