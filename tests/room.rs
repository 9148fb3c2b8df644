//! What keeps room, from KDL to the plan of the real binary: `reserve`, `safety`, `balance`, `devices`. Snapshots as in `cli.rs`.

use std::path::Path;
use std::process::{Command, Stdio};

/// Three nodes of 4 cores in three zones; one has GPUs.
const NODES: &str = r#"node "n1" price=0.1 {
    capacity cpu=4 memory="16GiB" replicas=20
    labels zone="a"
}
node "n2" price=0.1 {
    capacity cpu=4 memory="16GiB" replicas=20
    labels zone="b"
}
node "n3" price=0.1 {
    capacity cpu=4 memory="16GiB" replicas=20
    devices gpu=2
    labels zone="c" gpu="a100"
}
"#;

const WEB: &str = r#"service "web" {
    image "x/web:1"
    replicas 10
    resources cpu=1 memory="1GiB"
}
daemon "shipper" {
    image "x/shipper:1"
    resources cpu=0.5 memory="256MiB"
    priority 10
}
"#;

fn hyphae(directory: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hyphae"));
    command.args(arguments).current_dir(directory).env("NO_COLOR", "1").stdin(Stdio::null());
    let run = command.output().expect("the binary runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("exit code: {:?}\n{}{}", run.status.code(), text(&run.stdout), text(&run.stderr))
}

/// Plans specs against the nodes, offline.
#[expect(clippy::disallowed_methods, reason = "a test writes its files")]
fn planned(specs: &str, format: &str) -> String {
    let directory = tempfile::tempdir().expect("a temporary directory");
    std::fs::write(directory.path().join("nodes.kdl"), NODES).expect("written");
    std::fs::write(directory.path().join("specs.kdl"), specs).expect("written");
    hyphae(directory.path(), &["plan", "--inventory", "nodes.kdl", "--format", format, "specs.kdl"])
}

/// The plan's lines up to its figures of the solver, which are no matter here.
fn told(specs: &str) -> String {
    let text = planned(specs, "text");
    text.lines().take_while(|line| !line.starts_with("Proof:")).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_reserve_leaves_out_what_could_not_be_placed_again_and_is_the_reason() {
    // Beside the daemon a node has room for three: nine fit, and six on the two nodes that any loss leaves.
    let specs = format!("reserve survive-loss-of=\"zone\"\n{}", WEB.replace("replicas 10", "replicas 9"));
    insta::assert_snapshot!("reserve_short", told(&specs));
}

#[test]
fn a_reserve_with_a_weight_leaves_nothing_out() {
    let plan = planned(&format!("reserve survive-loss-of=\"zone\" weight=2\n{WEB}"), "json");
    assert!(plan.starts_with("exit code: Some(4)") || plan.starts_with("exit code: Some(0)"), "{plan}");
    let document = plan.split_once('\n').expect("a document after the code").1;
    let mut documents = serde_json::Deserializer::from_str(document).into_iter::<serde_json::Value>();
    let plan = documents.next().expect("a document").expect("JSON");
    let tier = |name: &str| -> u64 {
        let tiers = plan["tiers"].as_array().expect("tiers").iter().filter(|tier| tier["tier"] == name);
        tiers.map(|tier| tier["value"].as_u64().expect("a number")).sum()
    };
    // Nine replicas of one core fit beside the daemons; six may lie on the nodes that any loss leaves.
    assert_eq!((tier("shortage"), tier("soft") > 0), (1, true), "{plan}");
}

#[test]
fn safety_keeps_machines_from_being_filled_while_others_have_room() {
    let specs = "safety cpu=0.5\nservice \"web\" {\n    image \"x/web:1\"\n    replicas 6\n    resources cpu=1 memory=\"1GiB\"\n}\n";
    insta::assert_snapshot!("safety", told(specs));
}

#[test]
fn soft_statements_that_are_broken_are_listed_with_their_cost() {
    let specs = "safety cpu=0.5 weight=3\nservice \"web\" {\n    image \"x/web:1\"\n    replicas 8\n    resources cpu=1 memory=\"1GiB\"\n}\n";
    let told = told(specs);
    assert!(
        told.contains("Soft statements broken, at what cost:\n  6  safety cpu=0.5 weight=3 (specs.kdl:1:1)\n"),
        "{told}"
    );
}

#[test]
fn balance_puts_together_what_leaves_cpu_and_memory_together() {
    let service = |name: &str, cpu: u32, memory: u32| {
        format!(
            "service \"{name}\" {{\n    image \"x/{name}:1\"\n    replicas 2\n    resources cpu={cpu} memory=\"{memory}GiB\"\n}}\n"
        )
    };
    let specs = format!("balance cpu=1 memory=\"4GiB\"\n{}{}", service("thin", 3, 2), service("fat", 1, 14));
    insta::assert_snapshot!("balance", told(&specs));
}

#[test]
fn shares_of_a_device_share_it_and_whole_ones_do_not() {
    let service = |name: &str, replicas: u32, take: &str| {
        format!("service \"{name}\" {{\n    image \"x/{name}:1\"\n    replicas {replicas}\n    device gpu={take}\n}}\n")
    };
    // Two GPUs: three shares of 0.4 need two of them, so that no whole one is left.
    let specs = format!("{}{}", service("whole", 1, "1"), service("shared", 3, "0.4"));
    insta::assert_snapshot!("devices", told(&specs));
}
