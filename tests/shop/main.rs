//! The shop of `specs/examples/shop`, planned by the real binary. Whether the plan is right is recomputed here from the JSON and the
//! KDL model alone, without the solver and the planner; and the recomputation itself is shown to find every kind of fault.

#![expect(clippy::disallowed_methods, reason = "reads the example's files")]
#![expect(clippy::panic, reason = "a test that cannot begin says why")]

mod denials;
mod faults;
mod recompute;
mod world;

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use world::World;

/// The example's directory.
fn shop() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("specs/examples/shop")
}

/// What the shop's directory holds besides its inventory.
fn shop_without_inventory() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(shop()).expect("the example's directory");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let wanted = |path: &PathBuf| path.is_dir() || path.extension().is_some_and(|end| end == "kdl");
    let mut files: Vec<PathBuf> = paths.filter(|path| wanted(path) && !path.ends_with("inventory.kdl")).collect();
    files.sort();
    files
}

/// Runs `hyphae plan --inventory INVENTORY ARGS…`.
fn plan(inventory: &Path, args: &[&dyn AsRef<std::ffi::OsStr>]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hyphae"));
    command.arg("plan").arg("--inventory").arg(inventory).args(["--deadline", "30s"]);
    args.iter().for_each(|arg| {
        command.arg(arg);
    });
    command.env("NO_COLOR", "1").output().expect("the binary runs")
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!(
            "no JSON ({error}); exit {:?}, stderr:\n{}",
            output.status.code(),
            String::from_utf8_lossy(&output.stderr)
        )
    })
}

/// The shop's plan as JSON, made once for all tests.
fn planned() -> &'static Value {
    static PLAN: OnceLock<Value> = OnceLock::new();
    PLAN.get_or_init(|| {
        let output = plan(&shop().join("inventory.kdl"), &[&shop(), &"--format", &"json"]);
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        json(&output)
    })
}

/// The shop's KDL, read once for all tests.
fn shop_world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| World::read(&shop()))
}

#[test]
fn the_shop_is_as_large_as_it_says() {
    let model = &shop_world().model;
    let kinds = |kind| model.workloads.values().filter(|workload| workload.kind == kind).count();
    assert!(kinds(hyphae_specs::WorkloadKind::Service) >= 25);
    assert!(kinds(hyphae_specs::WorkloadKind::Daemon) >= 2);
    assert!(kinds(hyphae_specs::WorkloadKind::Job) >= 1);
    assert_eq!(model.teams.len(), 5);
    assert_eq!(shop_world().domains("zone").len(), 3);
}

#[test]
fn the_shops_plan_keeps_every_constraint() {
    assert_eq!(recompute::violations(shop_world(), planned()), Vec::<String>::new());
}

/// Any one zone can go: what is left has room for everything, rules and quotas included.
#[test]
fn everything_is_placed_without_any_one_zone() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let whole = std::fs::read_to_string(shop().join("inventory.kdl")).expect("the inventory");
    for zone in ["a", "b", "c"] {
        let inventory = directory.path().join(format!("without-{zone}.kdl"));
        std::fs::write(&inventory, without_zone(&whole, zone)).expect("written");
        let files = shop_without_inventory();
        let mut args: Vec<&dyn AsRef<std::ffi::OsStr>> = files.iter().map(|file| file as _).collect();
        args.extend([&"--format" as &dyn AsRef<std::ffi::OsStr>, &"json"]);
        let output = plan(&inventory, &args);
        let document = json(&output);
        assert_eq!(document["unplaced"], serde_json::json!([]), "without zone {zone}");
        assert_eq!(output.status.code(), Some(0), "without zone {zone}");
        let mut read = files.clone();
        read.push(inventory);
        let world = World::read_all(&read);
        assert_eq!(world.domains("zone").len(), 2);
        assert_eq!(recompute::violations(&world, &document), Vec::<String>::new(), "without zone {zone}");
    }
}

/// The inventory without the `node` blocks of a zone.
fn without_zone(inventory: &str, zone: &str) -> String {
    let mut kept = String::new();
    for block in inventory.split_inclusive("\n}\n") {
        if !block.contains(&format!("zone=\"{zone}\"")) {
            kept.push_str(block);
        }
    }
    kept
}

#[test]
fn the_shops_files_are_formatted() {
    for path in shop_without_inventory().into_iter().chain([shop().join("inventory.kdl")]).filter(|path| path.is_file())
    {
        let text = std::fs::read_to_string(&path).expect("a file");
        assert_eq!(hyphae_specs::format(&text).as_deref().ok(), Some(text.as_str()), "{}", path.display());
    }
}
