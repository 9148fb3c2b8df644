//! The real binary in a fresh directory: exit code, stdout and stderr as snapshots. What needs a server is tested elsewhere; this is
//! what a newcomer meets: checking, formatting and planning offline, and the clear "no" to bad input.
//!
//! To accept new output: `INSTA_UPDATE=always cargo test --workspace --test cli`, then read the diff.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

const HYPHAE: &str = env!("CARGO_BIN_EXE_hyphae");

/// Three nodes in three zones.
const NODES: &str = r#"node "n1" price=0.0725 {
    capacity cpu=4 memory="8GiB" disk="100GiB" replicas=20
    labels zone="a" arch="arm64" disk="ssd"
}
node "n2" price=0.0725 {
    capacity cpu=4 memory="8GiB" disk="100GiB" replicas=20
    labels zone="b" arch="arm64"
}
node "n3" price=0.0725 {
    capacity cpu=4 memory="8GiB" disk="100GiB" replicas=20
    labels zone="c" arch="arm64"
}
"#;

/// Two services that fit onto them.
const SHOP: &str = r#"team "storefront" {
    quota cpu=8 memory="16GiB" replicas=20
}
service "web" team="storefront" {
    image "registry.example/web:1.4.2"
    replicas 6
    resources cpu=0.5 memory="256MiB"
    port "http" 8080
    env LOG_LEVEL="info"
    priority 100
    place {
        spread over="zone" max-skew=1
        survive loss-of="zone" keep=4
    }
}
service "cache" team="storefront" {
    image "registry.example/cache:2"
    replicas 2
    resources cpu=1 memory="1GiB"
    place {
        require disk="ssd"
    }
}
"#;

/// A fresh directory with files in it.
struct Fixture(tempfile::TempDir);

impl Fixture {
    fn new(files: &[(&str, &str)]) -> Self {
        let fixture = Self(tempfile::tempdir().expect("a temporary directory"));
        for (name, text) in files {
            fixture.write(name, text.as_bytes());
        }
        fixture
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    #[expect(clippy::disallowed_methods, reason = "the fixture's files")]
    fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().expect("within the directory")).expect("directories can be made");
        std::fs::write(path, bytes).expect("files can be written");
    }

    #[expect(clippy::disallowed_methods, reason = "the fixture's files")]
    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path().join(name)).expect("the file is there")
    }

    /// Runs the binary here, with nothing of the environment.
    fn run(&self, arguments: &[&str]) -> Run {
        self.run_with_input(arguments, "")
    }

    fn run_with_input(&self, arguments: &[&str], input: &str) -> Run {
        let mut command = Command::new(HYPHAE);
        command.args(arguments).current_dir(self.path()).env_clear();
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary starts");
        // A command that fails before it reads has closed the pipe; that is its right.
        let _ = child.stdin.take().expect("a pipe").write_all(input.as_bytes());
        let output = child.wait_with_output().expect("the binary ends");
        Run {
            code: output.status.code().expect("it ends by itself"),
            stdout: String::from_utf8(output.stdout).expect("UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("UTF-8"),
        }
    }
}

/// How a run ended and what it said.
struct Run {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Run {
    fn snapshot(&self) -> String {
        let [stdout, stderr] = [&self.stdout, &self.stderr].map(|text| without_times(text));
        format!("exit code: {}\n----- stdout -----\n{stdout}----- stderr -----\n{stderr}", self.code)
    }
}

/// Computing takes as long as it takes, and how large the programs are is the solver's business.
fn without_times(text: &str) -> String {
    let between = [
        (" in ", " ms ("),
        (" in ", " s ("),
        (" ms (", " variables"),
        (", ", " constraints)"),
        ("\"millis\": ", ","),
        ("\"variables\": ", ","),
        ("\"constraints\": ", ","),
    ];
    let line = |line: &str| {
        let mut line = line.to_string();
        for (before, after) in between {
            let Some(end) = line.rfind(after) else { continue };
            let Some(start) = line[..end].rfind(before).map(|start| start + before.len()) else { continue };
            if line[start..end].chars().all(|c| c.is_ascii_digit() || c == '.') && start < end {
                line.replace_range(start..end, "[N]");
                line = line.replace("[N] s (", "[N] ms (");
            }
        }
        line + "\n"
    };
    text.lines().map(line).collect()
}

/// Runs in a fresh directory with these files, and compares with the snapshot of that name.
fn check(name: &str, files: &[(&str, &str)], arguments: &[&str]) -> Fixture {
    let fixture = Fixture::new(files);
    matches(name, &fixture.run(arguments));
    fixture
}

fn matches(name: &str, run: &Run) {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, run.snapshot()));
}

fn shop() -> Fixture {
    Fixture::new(&[("nodes.kdl", NODES), ("shop.kdl", SHOP)])
}

const PLAN: [&str; 4] = ["plan", "--inventory", "nodes.kdl", "shop.kdl"];

// ---- what works ----

#[test]
fn good_specs_validate() {
    check("validate_good", &[("nodes.kdl", NODES), ("shop.kdl", SHOP)], &["validate", "."]);
}

#[test]
fn a_plan_offline_names_nodes_cost_and_proof() {
    matches("plan_text", &shop().run(&PLAN));
}

#[test]
fn the_plan_document_is_exactly_one_json_document() {
    let run = shop().run(&[&PLAN[..], &["--format", "json"]].concat());
    matches("plan_json", &run);
    let document: serde_json::Value = serde_json::from_str(&run.stdout).expect("one JSON document");
    assert_eq!(document["solve"]["checked"], true);
}

#[test]
fn the_same_plan_is_made_every_time() {
    let fixture = shop();
    let json = || without_times(&fixture.run(&[&PLAN[..], &["--format", "json"]].concat()).stdout);
    assert_eq!(json(), json());
}

#[test]
fn a_saved_plan_is_the_plan_document() {
    let fixture = shop();
    let run = fixture.run(&[&PLAN[..], &["--out", "plan.json", "--format", "json"]].concat());
    assert_eq!(fixture.read("plan.json"), run.stdout);
    assert!(run.stderr.contains("made offline"), "{}", run.stderr);
}

#[test]
fn changes_are_exit_code_2_only_when_asked_for() {
    let fixture = shop();
    assert_eq!(fixture.run(&PLAN).code, 0);
    assert_eq!(fixture.run(&[&PLAN[..], &["--detailed-exitcode"]].concat()).code, 2);
    let nothing = fixture.run_with_input(&["plan", "--inventory", "nodes.kdl", "-", "--detailed-exitcode"], "");
    assert_eq!((nothing.code, nothing.stderr.as_str()), (0, ""));
}

#[test]
fn a_directory_that_holds_the_inventory_counts_it_once() {
    let fixture = shop();
    let whole = fixture.run(&["plan", "--inventory", "nodes.kdl", "."]);
    assert_eq!(without_times(&whole.stdout), without_times(&fixture.run(&PLAN).stdout), "{}", whole.stderr);
}

/// HiGHS has no information about a program without columns; asking for it used to panic on its thread.
#[test]
fn an_inventory_without_nodes_is_told_in_plain_words() {
    let run = Fixture::new(&[("nodes.kdl", ""), ("shop.kdl", SHOP)]).run(&PLAN);
    assert!(run.stdout.contains("because there are no nodes"), "{}", run.stdout);
    assert!(!run.stderr.contains("panicked"), "{}", run.stderr);
}

#[test]
fn specs_may_come_from_standard_input() {
    let fixture = shop();
    let piped = fixture.run_with_input(&["plan", "--inventory", "nodes.kdl", "-"], SHOP);
    assert_eq!(without_times(&piped.stdout), without_times(&fixture.run(&PLAN).stdout), "{}", piped.stderr);
}

#[test]
fn colours_are_never_written_into_pipes_nor_where_they_are_not_wanted() {
    let fixture = shop();
    assert!(!fixture.run(&PLAN).stdout.contains('\u{1b}'));
    let output =
        Command::new(HYPHAE).args(PLAN).current_dir(fixture.path()).env_clear().env("CLICOLOR_FORCE", "1").output();
    assert!(String::from_utf8_lossy(&output.expect("it runs").stdout).contains('\u{1b}'));
}

// ---- formatting ----

const UNTIDY: &str =
    "service \"web\"   team=\"a\" {\n  // why\n image \"x/web:1\"\n      replicas   2; priority 3\n}\n";

#[test]
fn fmt_writes_in_place_and_then_has_nothing_to_do() {
    let fixture = check("fmt", &[("web.kdl", UNTIDY)], &["fmt", "web.kdl"]);
    let tidy = fixture.read("web.kdl");
    let expected =
        "service \"web\" team=\"a\" {\n    // why\n    image \"x/web:1\"\n    replicas 2\n    priority 3\n}\n";
    assert_eq!(tidy, expected);
    assert_eq!(fixture.run(&["fmt", "--check", "web.kdl"]).code, 0);
    assert_eq!(fixture.read("web.kdl"), tidy);
}

#[test]
fn fmt_check_shows_what_would_change_and_writes_nothing() {
    let fixture = check("fmt_check", &[("web.kdl", UNTIDY), ("nodes.kdl", NODES)], &["fmt", "--check", "."]);
    assert_eq!(fixture.read("web.kdl"), UNTIDY);
}

#[test]
fn fmt_passes_standard_input_through() {
    let fixture = Fixture::new(&[]);
    let run = fixture.run_with_input(&["fmt", "-"], UNTIDY);
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
    assert_eq!(fixture.run_with_input(&["fmt", "-"], &run.stdout).stdout, run.stdout);
}

#[test]
fn fmt_writes_nothing_when_a_file_is_no_kdl() {
    let fixture = check("fmt_no_kdl", &[("a.kdl", UNTIDY), ("b.kdl", "service \"x\" {\n")], &["fmt", "."]);
    assert_eq!(fixture.read("a.kdl"), UNTIDY);
}

// ---- bad specs: all problems at once, each with file, line, underlined text and help ----

#[test]
fn unknown_nodes_and_keys_get_suggestions() {
    let text = r#"service "web" {
    image "x/web:1"
    replica 3
    resources cpuu=1
    place {
        spraed over="zone"
        spread ovr="zone"
    }
}
sevice "x" {
    image "x/x:1"
}
"#;
    check("unknown_names", &[("web.kdl", text)], &["validate", "web.kdl"]);
}

#[test]
fn wrong_units_are_told_with_the_right_ones() {
    let text = r#"service "web" {
    image "x/web:1"
    resources cpu="half" memory="256 bananas" disk=10
    stop-grace "5"
}
"#;
    check("wrong_units", &[("web.kdl", text)], &["validate", "web.kdl"]);
}

#[test]
fn negative_zero_overflowing_and_absurd_numbers_are_refused() {
    let text = r#"service "a" {
    image "x/a:1"
    replicas -1
    resources cpu=-0.5 memory="0B" disk="99999999999999999999TiB"
    port "http" 0
    port "https" 65536
    priority 99999999999
}
service "b" {
    image "x/b:1"
    replicas 99999999999999999999999999
    resources cpu=1e300 memory="-1GiB"
    place {
        separate within="node" limit=0
        survive loss-of="zone" keep="101%"
    }
}
node "n" price=-1 {
    capacity cpu=0 memory="8GiB" replicas=-3
}
"#;
    check("absurd_numbers", &[("absurd.kdl", text)], &["validate", "absurd.kdl"]);
}

#[test]
fn duplicate_names_show_both_places() {
    let one = "service \"web\" {\n    image \"x/web:1\"\n}\n";
    let two = "// another\njob \"web\" {\n    image \"x/web:2\"\n}\nteam \"a\"\nteam \"a\"\n";
    check("duplicate_names", &[("one.kdl", one), ("two.kdl", two)], &["validate", "one.kdl", "two.kdl"]);
}

#[test]
fn references_to_nothing_are_told() {
    let text = r#"service "web" team="storefrnt" {
    image "x/web:1"
    port "http" 8080
    health http="/healthz" port="htp"
    place {
        near "cahce" within="zone"
        separate from="batch/worker" within="node"
    }
}
service "cache" team="storefrnt" {
    image "x/cache:1"
}
team "storefront"
"#;
    check("references", &[("web.kdl", text)], &["validate", "web.kdl"]);
}

#[test]
fn circular_near_is_told_with_the_circle() {
    let service = |name: &str, near: &str| {
        format!(
            "service \"{name}\" {{\n    image \"x/{name}:1\"\n    place {{\n        near \"{near}\" within=\"zone\"\n    }}\n}}\n"
        )
    };
    let text = service("a", "b") + &service("b", "c") + &service("c", "a");
    check("circular_near", &[("circle.kdl", &text)], &["validate", "circle.kdl"]);
}

#[test]
fn what_is_not_enforced_yet_is_refused_never_ignored() {
    let text = r#"service "web" {
    image "x/web:1"
    config "web.toml" mount="/etc/web.toml"
    secret "db-password" env="DB_PASSWORD"
}
job "report" {
    image "x/report:1"
    schedule "0 3 * * *"
}
"#;
    check("unsupported", &[("web.kdl", text)], &["validate", "web.kdl"]);
}

#[test]
fn a_text_that_is_no_kdl_is_told_at_its_place() {
    check("no_kdl", &[("web.kdl", "service \"web\" {\n    image \"x\n}\n")], &["validate", "web.kdl"]);
}

#[test]
fn deep_nesting_is_refused_before_it_hurts() {
    let text = "a {\n".repeat(3000) + &"}\n".repeat(3000);
    let run = Fixture::new(&[("deep.kdl", &text)]).run(&["validate", "deep.kdl"]);
    assert_eq!(run.code, 1);
    assert!(run.stderr.contains("nest") || run.stderr.contains("deep"), "{}", run.stderr);
}

// ---- bad files ----

#[test]
fn missing_and_foreign_files_are_told_all_at_once() {
    let fixture = Fixture::new(&[("notes.txt", "hello"), ("empty/notes.txt", "")]);
    fixture.write("latin1.kdl", b"// caf\xe9\n");
    matches("bad_files", &fixture.run(&["validate", "gone.kdl", "notes.txt", "latin1.kdl", "gone/"]));
    matches("empty_directory", &fixture.run(&["validate", "empty"]));
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a sparse file")]
fn a_file_of_100_mb_is_refused_without_being_read() {
    let fixture = Fixture::new(&[]);
    let file = std::fs::File::create(fixture.path().join("big.kdl")).expect("a file");
    file.set_len(100 << 20).expect("a sparse file");
    matches("big_file", &fixture.run(&["plan", "--inventory", "big.kdl", "big.kdl"]));
}

// ---- policies ----

const DENY: &str = r#"@id("everybody")
permit (principal, action, resource);

@id("own-registry")
@message("Images come from registry.internal.")
forbid (principal, action == Action::"create", resource)
unless { context.image.registry == "registry.internal" };
"#;

#[test]
fn a_policy_that_does_not_parse_is_shown_at_its_line() {
    let text = "permit (principal, action, resource);\nforbid (principal, action resource);\n";
    check("policy_no_cedar", &[("a.cedar", text)], &["policy", "check", "a.cedar"]);
}

#[test]
fn a_policy_that_does_not_fit_the_schema_is_shown_at_its_line() {
    let text = "permit (principal, action == Action::\"creat\", resource);\nforbid (principal, action == Action::\"create\", resource) when { context.replicas == \"three\" };\n";
    check("policy_types", &[("a.cedar", text), ("shop.kdl", SHOP)], &["validate", "."]);
}

#[test]
fn a_denied_plan_names_policy_file_and_line() {
    check(
        "denied",
        &[("nodes.kdl", NODES), ("shop.kdl", SHOP), ("registry.cedar", DENY)],
        &["plan", "--inventory", "nodes.kdl", "shop.kdl", "registry.cedar"],
    );
}

#[test]
fn policies_judge_whom_as_names() {
    let policy = "permit (principal in Team::\"storefront\", action, resource);\npermit (principal is Service, action == Action::\"place\", resource);\n";
    let fixture = Fixture::new(&[("nodes.kdl", NODES), ("shop.kdl", SHOP), ("team.cedar", policy)]);
    let plan_as =
        |user: &str| fixture.run(&["plan", "--inventory", "nodes.kdl", "--as", user, "shop.kdl", "team.cedar"]);
    let (alice, bob) = (plan_as("storefront/alice"), plan_as("payments/bob"));
    assert_eq!(alice.code, 0, "{}{}", alice.stdout, alice.stderr);
    assert_eq!(bob.code, 3, "{}{}", bob.stdout, bob.stderr);
}

// ---- what cannot be placed ----

#[test]
fn a_spec_that_cannot_fit_gets_reasons_at_its_lines_and_repairs() {
    let text = r#"service "big" {
    image "x/big:1"
    replicas 4
    resources cpu=3 memory="1GiB"
    place {
        separate within="node"
    }
}
"#;
    check("cannot_fit", &[("nodes.kdl", NODES), ("big.kdl", text)], &["plan", "--inventory", "nodes.kdl", "big.kdl"]);
}

#[test]
fn a_rule_that_stands_in_the_way_is_shown_at_its_line() {
    let text = r#"service "small" {
    image "x/small:1"
    replicas 5
    resources cpu=0.1 memory="64MiB"
    place {
        separate within="node"
    }
}
"#;
    let files = [("nodes.kdl", NODES), ("small.kdl", text)];
    check("rule_in_the_way", &files, &["plan", "--inventory", "nodes.kdl", "small.kdl"]);
}

#[test]
fn a_requirement_that_no_node_meets_is_told() {
    let text = r#"service "gpu" {
    image "x/gpu:1"
    place {
        require gpu="h100"
    }
}
"#;
    check("not_eligible", &[("nodes.kdl", NODES), ("gpu.kdl", text)], &["plan", "--inventory", "nodes.kdl", "gpu.kdl"]);
}

#[test]
fn a_label_that_no_node_has_is_told_with_what_may_be_meant() {
    let text = r#"service "web" {
    image "x/web:1"
    replicas 3
    place {
        separate within="zonne"
    }
}
"#;
    check(
        "no_such_label",
        &[("nodes.kdl", NODES), ("web.kdl", text)],
        &["plan", "--inventory", "nodes.kdl", "web.kdl"],
    );
}

#[test]
fn who_alone_asks_for_more_than_there_is_is_named_alone() {
    let text = r#"service "giant" {
    image "x/giant:1"
    replicas 1000000
    resources cpu=100000 memory="1PiB" licences=1000000000000
}
service "small" {
    image "x/small:1"
    replicas 2
    resources cpu=0.1 memory="64MiB"
}
"#;
    let files = [("nodes.kdl", NODES), ("giant.kdl", text)];
    check("giant", &files, &["plan", "--inventory", "nodes.kdl", "giant.kdl"]);
}

#[test]
fn rules_that_conflict_only_together_are_shown_and_loosened_at_their_lines() {
    let text = r#"team "shop" {
    quota cpu=3
}
service "web" team="shop" {
    image "x/web:1"
    replicas 8
    resources cpu=0.5 memory="64MiB"
    place {
        spread over="zone" max-skew=1
        survive loss-of="zone" keep=6
    }
}
"#;
    let files = [("nodes.kdl", NODES), ("web.kdl", text)];
    check("conflict_loosened", &files, &["plan", "--inventory", "nodes.kdl", "web.kdl"]);
}

#[test]
fn a_resource_that_cannot_suffice_is_added_up() {
    let text = r#"service "db" {
    image "x/db:1"
    replicas 2
    priority 10
    resources cpu=1 memory="5GiB"
    place {
        require disk="ssd"
    }
}
service "log" {
    image "x/log:1"
    resources cpu=1 memory="4GiB"
    place {
        require disk="ssd"
    }
}
"#;
    let files = [("nodes.kdl", NODES), ("db.kdl", text)];
    check("certificate", &files, &["plan", "--inventory", "nodes.kdl", "db.kdl"]);
}

// ---- what if, and why ----

#[test]
fn what_if_shows_what_would_be_otherwise() {
    let fixture = shop();
    let what_if = |suppositions: &[&str]| {
        let suppositions = suppositions.iter().flat_map(|text| ["--what-if", text]);
        fixture.run(&PLAN.into_iter().chain(suppositions).collect::<Vec<_>>())
    };
    matches("what_if_lose_zone", &what_if(&["lose zone=b"]));
    matches("what_if_without", &what_if(&["without shop.kdl:12", "without shop.kdl:13"]));
    matches("what_if_more", &what_if(&["replicas storefront/web=14", "nodes +2 like n2"]));
    matches("what_if_drop", &what_if(&["drop storefront/cache", "lose node n1"]));
}

#[test]
fn what_if_is_a_section_of_the_document() {
    let run = shop().run(&[&PLAN[..], &["--what-if", "lose node n3", "--format", "json"]].concat());
    let document: serde_json::Value = serde_json::from_str(&run.stdout).expect("one JSON document");
    assert_eq!(document["what_if"]["suppositions"][0], "lose node n3");
    let cost = |field: &str| document["what_if"][field].as_u64().expect("a price");
    assert!(cost("cost_now_micros") > 0 && document["what_if"]["tiers"].is_array());
}

#[test]
fn what_if_without_sense_is_refused() {
    let fixture = shop();
    let what_if = |text: &str| fixture.run(&[&PLAN[..], &["--what-if", text]].concat());
    matches("what_if_no_statement", &what_if("without shop.kdl:9"));
    matches("what_if_no_node", &what_if("lose node n33"));
    matches("what_if_no_grammar", &what_if("maybe"));
    for nonsense in
        ["replicas web", "replicas storefront/web=many", "nodes 2 like n1", "lose zone=q", "drop storefront/wbe"]
    {
        assert_eq!(what_if(nonsense).code, 1, "{nonsense}");
    }
}

#[test]
fn a_what_if_plan_is_never_saved() {
    let fixture = shop();
    matches("what_if_out", &fixture.run(&[&PLAN[..], &["--what-if", "lose zone=a", "--out", "plan.json"]].concat()));
    assert!(!fixture.path().join("plan.json").exists());
}

#[test]
fn explain_offline_says_where_it_would_be_how_many_more_and_what_rules_cost() {
    let fixture = shop();
    let explain = |rest: &[&str]| {
        fixture.run(&[&["explain", "storefront/web", "--inventory", "nodes.kdl", "shop.kdl"], rest].concat())
    };
    matches("explain_offline", &explain(&[]));
    let text = r#"service "apart" {
    image "x/apart:1"
    replicas 3
    resources cpu=0.5 memory="256MiB"
    place {
        separate within="node"
    }
}
"#;
    let files = [("nodes.kdl", NODES), ("apart.kdl", text)];
    check("explain_costs", &files, &["explain", "apart", "--inventory", "nodes.kdl", "apart.kdl", "--costs"]);
    let cache = fixture.run(&["explain", "storefront/cash", "--inventory", "nodes.kdl", "shop.kdl"]);
    assert!(cache.code == 1 && cache.stderr.contains("did you mean \"storefront/cache\""), "{}", cache.stderr);
}

// ---- wrong use ----

#[test]
fn problems_of_the_inventory_and_of_the_specs_come_at_once() {
    let nodes = NODES.replacen("cpu=4", "cpus=4", 1);
    let specs = SHOP.replace("replicas 6", "replica 6");
    let fixture = Fixture::new(&[("nodes.kdl", &nodes), ("shop.kdl", &specs)]);
    let plan = fixture.run(&PLAN);
    assert_eq!((plan.code, plan.stdout.as_str()), (1, ""));
    for told in ["nodes.kdl:2", "cpus", "shop.kdl:6", "replica "] {
        assert!(plan.stderr.contains(told), "{told}: {}", plan.stderr);
    }
    assert_eq!(plan.stderr.matches("nothing was planned").count(), 1, "{}", plan.stderr);
    let explain = fixture.run(&["explain", "storefront/web", "--inventory", "nodes.kdl", "shop.kdl"]);
    assert!(explain.stderr.contains("nodes.kdl:2") && explain.stderr.contains("shop.kdl:6"), "{}", explain.stderr);
}

#[test]
fn nodes_belong_into_the_inventory_and_only_they() {
    let fixture = shop();
    let node = "node \"n9\" {\n    capacity cpu=4 memory=\"8GiB\" replicas=10\n}\n";
    let run = fixture.run_with_input(&["plan", "--inventory", "nodes.kdl", "shop.kdl", "-"], node);
    matches("node_among_specs", &run);
    matches("specs_in_inventory", &fixture.run(&["plan", "--inventory", "shop.kdl"]));
}

#[test]
fn without_a_server_the_socket_is_named_and_what_to_do() {
    let fixture = shop();
    for arguments in [&["status"][..], &["plan", "shop.kdl"], &["apply", "--yes", "shop.kdl"], &["logs", "web"]] {
        let run = fixture.run(&[arguments, &["--socket", "no.sock"]].concat());
        matches("no_server", &run);
    }
}

#[test]
fn wrong_arguments_are_exit_code_1_because_2_means_changes() {
    let fixture = shop();
    for arguments in [&["paln"][..], &["plan", "--deadline", "10"], &["plan", "--as", "a/b", "shop.kdl"], &[]] {
        assert_eq!(fixture.run(arguments).code, 1, "{arguments:?}");
    }
    matches("wrong_duration", &fixture.run(&["plan", "--deadline", "10"]));
    assert_eq!(fixture.run(&["--version"]).code, 0);
}

#[test]
fn help_has_examples_and_exit_codes() {
    let fixture = Fixture::new(&[]);
    matches("help", &fixture.run(&["--help"]));
    matches("help_plan", &fixture.run(&["plan", "--help"]));
}

#[test]
fn completions_are_written_for_every_shell() {
    let fixture = Fixture::new(&[]);
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let run = fixture.run(&["completions", shell]);
        assert!(run.code == 0 && run.stdout.contains("hyphae"), "{shell}: {}", run.stderr);
    }
}
