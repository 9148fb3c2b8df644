//! Pools and scaling through the real binary: what a plan says about machines to buy and return, and about replicas that follow a load.
//!
//! To accept new output: `INSTA_UPDATE=always cargo test --workspace --test fleet`, then read the diff.

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
    command.args(["plan", "--deadline", "60s", "--inventory", "machines.kdl", "shop.kdl"]).args(arguments);
    let output = command.current_dir(directory).env_clear().output().expect("the binary runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code().expect("it ends by itself"), text(output.stdout), text(output.stderr))
}

/// How long it took and how large the programs were is left out.
fn matches(name: &str, (code, stdout, stderr): (i32, String, String)) {
    let kept: Vec<&str> = stdout.lines().filter(|line| !line.starts_with("Proof:")).collect();
    let text = format!("exit code: {code}\n----- stdout -----\n{}\n----- stderr -----\n{stderr}", kept.join("\n"));
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, text));
}

#[test]
fn what_is_bought_is_named_with_its_price_and_what_it_is_for() {
    matches("fleet_bought", plan(&(node("n1", "a") + POOL), WEB, &[]));
}

#[test]
fn what_ends_empty_is_returned() {
    let nodes = node("n1", "a") + &node("n2", "a") + &node("n3", "b");
    matches("fleet_returned", plan(&(nodes + POOL), &WEB.replace("replicas 3", "replicas 1"), &[]));
}

#[test]
fn a_pool_is_filled_up_to_its_min() {
    matches("fleet_min", plan(POOL, &WEB.replace("replicas 3", "replicas 1"), &[]));
}

#[test]
fn a_pool_that_is_full_is_named_with_its_line() {
    matches("fleet_max", plan(&POOL.replace("max=4", "max=2"), &WEB.replace("replicas 3", "replicas 9"), &[]));
}

#[test]
fn of_burstable_machines_the_baseline_counts() {
    let pool = POOL.replace("price=0.0725", "price=0.0672 burst-baseline=0.5");
    matches("fleet_burstable", plan(&pool, WEB, &[]));
}

#[test]
fn replicas_follow_the_load_and_survive() {
    let web = WEB.replace(
        "    replicas 3\n",
        "    scale min=3 max=40 {\n        target cpu=0.6\n    }\n    place {\n        survive loss-of=\"zone\" keep=\"100%\"\n    }\n",
    );
    let load = "load \"storefront/web\" cpu=1.5\n";
    matches("fleet_scaled", plan(&(load.to_owned() + POOL), &web, &[]));
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
    assert!(plan["cheapest_fleet"]["cost_micros"].as_u64() <= plan["cost"]["after_micros"].as_u64());
}
