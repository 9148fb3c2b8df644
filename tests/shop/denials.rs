//! What the shop's policies forbid, through the binary: exit code 3, and the policy's id, file and line in JSON and in text.

use crate::{json, plan, shop, shop_without_inventory};
use std::path::{Path, PathBuf};

const DENIED: Option<i32> = Some(3);

/// The line of a policy's first token, counted here.
fn line_of(file: &str, id: &str) -> usize {
    let text = std::fs::read_to_string(shop().join("policies").join(file)).expect("a policy file");
    text.lines().position(|line| line == format!("@id(\"{id}\")")).expect("the policy is there") + 1
}

/// Asserts that a plan of the shop and one more file, by this user, is denied for this workload by this policy.
fn denied(user: &str, more: Option<&Path>, (file, id): (&str, &str), workload: &str) {
    let inventory = shop().join("inventory.kdl");
    let files: Vec<PathBuf> = std::iter::once(shop()).chain(more.map(Path::to_path_buf)).collect();
    let run = |format: &str| {
        let mut args: Vec<&dyn AsRef<std::ffi::OsStr>> = files.iter().map(|file| file as _).collect();
        args.extend([&"--as" as &dyn AsRef<std::ffi::OsStr>, &user, &"--format", &format]);
        plan(&inventory, &args)
    };
    let output = run("json");
    let document = json(&output);
    assert_eq!(output.status.code(), DENIED);
    assert_eq!(document["status"], "denied");
    let line = line_of(file, id);
    let entries = document["denied"].as_array().expect("a list");
    let entry = entries.iter().find(|entry| entry["policy"] == id && entry["workload"] == workload);
    let entry = entry.unwrap_or_else(|| panic!("{id} does not deny {workload}: {entries:#?}"));
    assert_eq!(entry["line"], line);
    assert!(entry["file"].as_str().expect("a name").ends_with(&format!("policies/{file}")), "{entry}");
    assert_eq!(entry["action"], "create");
    assert!(!entry["message"].as_str().expect("a text").is_empty());

    let output = run("text");
    assert_eq!(output.status.code(), DENIED);
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    for part in [id, workload, &format!("{file}:{line}")] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
}

#[test]
fn another_teams_member_does_not_deploy_payments() {
    for workload in ["payments/gateway", "payments/card-vault"] {
        denied("storefront/alice", None, ("deploy.cedar", "payments-is-deployed-by-payments"), workload);
    }
}

/// A file with one service, as its team would write it.
fn service(directory: &Path, team: &str, image: &str, rest: &str) -> PathBuf {
    let file = directory.join("extra.kdl");
    let text = format!(
        "service \"extra\" team=\"{team}\" {{\n    image \"{image}\"\n    resources cpu=0.1 memory=\"64MiB\"\n    {rest}\n}}\n"
    );
    std::fs::write(&file, text).expect("written");
    file
}

#[test]
fn not_even_administrators_run_images_from_elsewhere_or_without_a_version() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let foreign = service(directory.path(), "storefront", "docker.io/library/nginx:1.27", "");
    denied("admins/root", Some(&foreign), ("images.cedar", "only-our-registry"), "storefront/extra");
    for image in ["registry.shop.example/storefront/extra:latest", "registry.shop.example/storefront/extra"] {
        let unversioned = service(directory.path(), "storefront", image, "");
        denied("admins/root", Some(&unversioned), ("images.cedar", "no-latest"), "storefront/extra");
    }
}

#[test]
fn ports_of_the_nodes_are_for_team_platform() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let claims =
        |team| service(directory.path(), team, "registry.shop.example/extra:1", "port \"http\" 8080 host=8081");
    denied(
        "admins/root",
        Some(&claims("storefront")),
        ("deploy.cedar", "host-ports-are-for-platform"),
        "storefront/extra",
    );
    let output = plan(&shop().join("inventory.kdl"), &[&shop(), &claims("platform"), &"--as", &"admins/root"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A `place` denial takes machines away; when none is left, the explanation leads to the policy.
#[test]
fn without_certified_machines_payments_is_not_placed_and_the_policy_is_named() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let whole = std::fs::read_to_string(shop().join("inventory.kdl")).expect("the inventory");
    let uncertified: String = whole.split_inclusive("\n}\n").filter(|node| !node.contains("pci=\"true\"")).collect();
    let inventory = directory.path().join("uncertified.kdl");
    std::fs::write(&inventory, uncertified).expect("written");
    let shop = shop_without_inventory();
    let mut args: Vec<&dyn AsRef<std::ffi::OsStr>> = shop.iter().map(|file| file as _).collect();
    args.extend([&"--format" as &dyn AsRef<std::ffi::OsStr>, &"json"]);
    let output = plan(&inventory, &args);
    let document = json(&output);
    assert_eq!(output.status.code(), Some(4));
    assert_eq!(document["status"], "shortage");
    let unplaced = document["unplaced"].as_array().expect("a list");
    let names: Vec<&str> = unplaced.iter().filter_map(|one| one["workload"].as_str()).collect();
    let payments =
        ["payments/card-vault", "payments/fraud-check", "payments/gateway", "payments/invoices", "payments/ledger"];
    assert_eq!(names, payments);
    let line = line_of("placement.cedar", "payments-on-certified-machines");
    for one in unplaced {
        let conflict = one["conflict"].as_array().expect("a list");
        let named = conflict.iter().any(|cause| {
            cause["file"].as_str().is_some_and(|file| file.ends_with("policies/placement.cedar"))
                && cause["line"] == line
        });
        assert!(named, "{one:#}");
    }
}

#[test]
fn a_team_may_deploy_its_own() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let own = service(directory.path(), "storefront", "registry.shop.example/storefront/extra:1", "");
    let policies = shop().join("policies");
    let run = |user: &str| plan(&shop().join("inventory.kdl"), &[&own, &policies, &"--as", &user]).status.code();
    assert_eq!(run("storefront/alice"), Some(0));
    assert_eq!(run("catalog/carl"), DENIED);
}
