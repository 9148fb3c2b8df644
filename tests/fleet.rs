//! Pools and scaling through the real binary: what a plan says about machines to buy and return, and about replicas that follow a load.

#![expect(clippy::disallowed_methods, reason = "writes and reads the fixture's files")]

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

const POOL: &str = r#"pool "general" {
    instance "c7g.large" cpu=2 memory="4GiB" price=0.0725
    instance "c7g.xlarge" cpu=4 memory="8GiB" price=0.15
    zones "a" "b"
    count min=2 max=4
}
"#;

const WEB: &str = r#"service "web" team="storefront" {
    image "registry.example/web:1.4.2"
    replicas 3
    resources cpu=1 memory="256MiB"
}
"#;

fn node(name: &str, zone: &str) -> String {
    format!(
        "node \"{name}\" pool=\"general\" price=0.0725 {{\n    capacity cpu=2 memory=\"4GiB\"\n    labels zone=\"{zone}\"\n}}\n"
    )
}

/// Plans in a fresh directory; the exit code and what it said.
fn plan(machines: &str, specs: &str, arguments: &[&str]) -> (i32, String, String) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    std::fs::write(directory.path().join("machines.kdl"), machines).expect("a file");
    std::fs::write(directory.path().join("shop.kdl"), specs).expect("a file");
    plan_in(directory.path(), arguments)
}

fn plan_in(directory: &Path, arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hyphae"));
    command.args(["plan", "--deadline", "20s", "--inventory", "machines.kdl", "shop.kdl"]).args(arguments);
    let output = command.current_dir(directory).env_clear().output().expect("the binary runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code().expect("it ends by itself"), text(output.stdout), text(output.stderr))
}

/// A plan that ends with this code and says all of this.
#[track_caller]
fn says((code, stdout, stderr): (i32, String, String), wanted_code: i32, wanted: &[&str]) {
    assert_eq!(code, wanted_code, "{stdout}{stderr}");
    for text in wanted {
        assert!(stdout.contains(text), "`{text}` is missing in:\n{stdout}");
    }
}

#[test]
fn what_is_bought_is_named_with_its_price_and_what_it_is_for() {
    let wanted = [
        "buy 1 c7g.large in zone ",
        " (pool general) for 0.0725 per hour: 1 storefront/web\n",
        "Cost: 0.0725 → 0.145 per hour (+0.0725)\n  no fleet for the same load costs less: proven cheapest\n",
    ];
    says(plan(&(node("n1", "a") + POOL), WEB, &[]), 0, &wanted);
}

#[test]
fn what_ends_empty_is_returned_down_to_min() {
    let nodes = node("n1", "a") + &node("n2", "a") + &node("n3", "b");
    let wanted = [
        " (pool general), saving 0.0725 per hour: nothing is left there\n",
        "Cost: 0.2175 → 0.145 per hour (−0.0725)\n",
    ];
    says(plan(&(nodes + POOL), &WEB.replace("replicas 3", "replicas 1"), &[]), 0, &wanted);
}

#[test]
fn a_pool_is_filled_up_to_its_min() {
    let wanted = ["for 0.0725 per hour: 1 storefront/web\n", "for 0.0725 per hour: the pool's `min` asks for them\n"];
    says(plan(POOL, &WEB.replace("replicas 3", "replicas 1"), &[]), 0, &wanted);
}

#[test]
fn a_pool_that_is_full_is_named_with_its_line() {
    let machines = POOL.replace("max=4", "max=2");
    let wanted = ["1 replica cannot be placed", "buy 2 c7g.xlarge", "count min=2 max=2 (machines.kdl:5:5)"];
    let web = WEB.replace("replicas 3", "replicas 9");
    let (code, stdout, stderr) = plan(&machines.replace("zones \"a\" \"b\"", "zones \"a\""), &web, &[]);
    says((code, stdout, stderr), 4, &wanted);
}

#[test]
fn of_burstable_machines_the_baseline_counts() {
    let pool = POOL.replace("price=0.0725", "price=0.0672 burst-baseline=0.5");
    // Two large ones would be cheaper, if they had the cpu for good that they have for a while.
    let wanted = ["buy 1 c7g.xlarge in zone ", " for 0.15 per hour: 3 storefront/web\n"];
    says(plan(&pool, WEB, &[]), 0, &wanted);
}

#[test]
fn replicas_follow_the_load_and_survive() {
    let web = WEB.replace(
        "    replicas 3\n",
        "    scale min=3 max=40 {\n        target cpu=0.6\n    }\n    place {\n        survive loss-of=\"zone\" keep=\"100%\"\n    }\n",
    );
    let load = "load \"storefront/web\" cpu=1.5\n";
    let wanted = "storefront/web: 3 replicas for a load of 1.5 cores at 0.6 (min 3, max 40), 6 to survive the loss of any zone\n";
    says(plan(&(load.to_owned() + POOL), &web, &[]), 0, &[wanted, "→ 0.29 per hour"]);
}

#[test]
fn the_document_has_what_is_bought_and_the_cheapest_fleet() {
    let (code, stdout, stderr) = plan(&(node("n1", "a") + POOL), WEB, &["--format", "json"]);
    assert_eq!(code, 0, "{stderr}");
    let plan: Value = serde_json::from_str(&stdout).expect("one JSON document");
    let bought = &plan["nodes_bought"];
    assert_eq!(bought.as_array().map(Vec::len), Some(1));
    assert_eq!(bought[0]["pool"], "general");
    assert_eq!(bought[0]["instance"], "c7g.large");
    assert_eq!(bought[0]["count"], 1);
    assert_eq!(bought[0]["holds"][0]["workload"], "storefront/web");
    assert_eq!(plan["cost"]["after_micros"], 145_000);
    assert_eq!(plan["cheapest_fleet"]["cost_micros"], 145_000);
    assert_eq!(plan["cheapest_fleet"]["proven"], true);
}

#[test]
fn a_plan_that_was_saved_says_why_it_cannot_be_applied() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    std::fs::write(directory.path().join("machines.kdl"), POOL).expect("a file");
    std::fs::write(directory.path().join("shop.kdl"), WEB).expect("a file");
    let (code, _, stderr) = plan_in(directory.path(), &["--out", "plan.json"]);
    assert_eq!(code, 0, "{stderr}");
    let saved = std::fs::read_to_string(directory.path().join("plan.json")).expect("it was saved");
    let document: hyphae_controlplane::plan::PlanDocument = serde_json::from_str(&saved).expect("a plan");
    let why = hyphae_controlplane::plan::needs_buying(&document.nodes_bought).expect("it buys");
    assert!(why.starts_with("the plan buys 2 nodes, and nothing here can buy them yet: "), "{why}");
}

/// Everything about the example that can be said without the solver: no machine holds too much, a zone may be lost.
#[test]
fn the_example_buys_a_fleet_that_survives_the_loss_of_a_zone() {
    let directory: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("specs/examples/fleet");
    let (code, stdout, stderr) = plan_in(&directory, &["--format", "json"]);
    assert_eq!(code, 0, "{stderr}");
    let plan: Value = serde_json::from_str(&stdout).expect("one JSON document");
    let scaled = &plan["scaling"][0];
    assert_eq!(scaled["wanted"], 6, "3.6 cores at 0.6 of one each");
    assert_eq!(scaled["placed"], 9, "three in each zone: six remain");
    let zone = |node: &str| {
        if node.starts_with('n') { "a".to_owned() } else { node.split('/').nth(2).unwrap_or("").to_owned() }
    };
    let mut in_zone = std::collections::BTreeMap::new();
    for assignment in plan["assignments"].as_array().expect("a list") {
        if assignment["workload"] == "storefront/web" {
            let node = assignment["node"].as_str().expect("a name");
            assert!(node.starts_with('n') || node.starts_with("general/"), "{node}");
            *in_zone.entry(zone(node)).or_insert(0) += assignment["count"].as_u64().expect("a number");
        }
    }
    assert_eq!(in_zone.into_values().collect::<Vec<_>>(), [3, 3, 3]);
    let bought: u64 =
        plan["nodes_bought"].as_array().expect("a list").iter().map(|one| one["count"].as_u64().unwrap_or(0)).sum();
    let general = plan["nodes_bought"].as_array().expect("a list").iter().filter(|one| one["pool"] == "general");
    let general: u64 = general.map(|one| one["count"].as_u64().unwrap_or(0)).sum();
    assert!(bought > 0 && general + 2 <= 12);
    assert!(plan["cheapest_fleet"]["bound_micros"].as_u64() <= plan["cost"]["after_micros"].as_u64());
}
