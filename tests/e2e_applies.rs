//! Plans that are too old, operators at the same time, a full disk: what is refused changes nothing, what is acknowledged
//! stays.

use hyphae_testing::dev::DevOptions;
use hyphae_testing::process::finish;
use hyphae_testing::{Dev, ImageSpec, skip_unless_root_and_containerd};
use std::time::Duration;

const BINARY: &str = env!("CARGO_BIN_EXE_hyphae");

fn service(name: &str, replicas: u32, more: &str) -> String {
    format!(
        "service \"{name}\" {{\n    image \"localhost:5500/app:1\"\n    replicas {replicas}\n    resources cpu=0.01 memory=\"16MiB\"\n    stop-grace \"1s\"\n    {more}\n}}\n"
    )
}

fn start(options: &DevOptions) -> Dev {
    let mut dev = Dev::start_with(BINARY, options);
    dev.push("app", "1", &ImageSpec::busybox().entrypoint(["sleep", "3600"]));
    dev
}

#[test]
fn a_plan_made_at_an_old_revision_is_refused() {
    if skip_unless_root_and_containerd() {
        return;
    }
    let dev = start(&DevOptions::default());
    dev.write("a.kdl", &service("a", 1, ""));
    dev.run(["plan", "--out", "plan.json", "a.kdl"]).success();
    dev.apply("b.kdl", &service("b", 1, "")).success();
    let status = dev.status();
    let refused = dev.run(["apply", "--yes", "plan.json"]);
    assert_ne!(refused.code, 0);
    assert!(refused.stderr.contains("revision") || refused.stderr.contains("moved"), "{}", refused.stderr);
    assert!(refused.stderr.contains("plan again"), "it says what to do: {}", refused.stderr);
    assert_eq!(dev.status()["revision"], status["revision"], "a refusal changes nothing");
    assert_eq!(dev.replicas("default/a"), []);
}

#[test]
fn of_two_operators_at_once_exactly_one_is_refused() {
    if skip_unless_root_and_containerd() {
        return;
    }
    let dev = start(&DevOptions::default());
    for (name, plan) in [("a", "a.json"), ("b", "b.json")] {
        let file = format!("{name}.kdl");
        dev.write(&file, &service(name, 1, ""));
        dev.run(["plan", "--out", plan, &file]).success();
    }
    let applies = ["a.json", "b.json"].map(|plan| {
        let apply = dev.hyphae().command(["apply", "--yes", plan]);
        std::thread::spawn(move || finish(apply, Duration::from_secs(120)))
    });
    let codes = applies.map(|apply| apply.join().unwrap().code);
    assert_eq!(codes.iter().filter(|code| **code == 0).count(), 1, "{codes:?}");
    let winner = if codes[0] == 0 { "default/a" } else { "default/b" };
    let loser = if codes[0] == 0 { "default/b" } else { "default/a" };
    dev.wait_running(winner, 1);
    assert_eq!(dev.replicas(loser), []);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "fills the disk")]
fn a_full_disk_refuses_what_it_cannot_keep_and_loses_nothing() {
    if skip_unless_root_and_containerd() {
        return;
    }
    let mut dev = start(&DevOptions { data_tmpfs_bytes: Some(128 << 20), ..DevOptions::default() });
    dev.apply("a.kdl", &service("a", 1, "")).success();
    let revision = dev.status()["revision"].as_u64().unwrap();
    // All that is left, taken by somebody else.
    let filler = dev.data().join("filler");
    let mut file = std::fs::File::create(&filler).unwrap();
    let full = std::io::copy(&mut std::io::repeat(0), &mut file);
    assert!(full.is_err(), "a tmpfs has an end");
    let mut refused = 0;
    let mut acknowledged = Vec::new();
    for round in 0..8 {
        // A big one: what the log has set aside is soon used up.
        let name = format!("big{round}");
        let text = service(&name, 1, &format!("// {}", "x".repeat(200_000)));
        if dev.apply("big.kdl", &text).code == 0 {
            acknowledged.push(name);
        } else {
            refused += 1;
            break;
        }
    }
    assert!(refused > 0, "a full disk is refused; acknowledged: {acknowledged:?}");
    drop(file);
    std::fs::remove_file(&filler).unwrap();
    // Nothing is lost, whether the server went on or has to be started again.
    dev.stop();
    dev.start_again();
    assert!(dev.status()["revision"].as_u64().unwrap() >= revision);
    dev.wait_running("default/a", 1);
    for name in acknowledged {
        dev.wait_running(&format!("default/{name}"), 1);
    }
    dev.apply("b.kdl", &service("b", 1, "")).success();
    dev.wait_running("default/b", 1);
}

#[test]
fn two_services_on_one_node_exchange_their_host_ports() {
    if skip_unless_root_and_containerd() {
        return;
    }
    let dev = start(&DevOptions::default());
    let ports = |a: u16, b: u16| {
        let with_port = |name: &str, port: u16| service(name, 1, &format!("port \"x\" 80 host={port}"));
        with_port("a", a) + &with_port("b", b)
    };
    dev.apply("ports.kdl", &ports(8081, 8082)).success();
    let applied = dev.apply("ports.kdl", &ports(8082, 8081)).success();
    // Neither port is free while the other service has it: one of them is down for a wave.
    let said = applied.all_output();
    assert_eq!(said.matches("stopped in an earlier wave than it starts again").count(), 1, "{said}");
    dev.wait_running("default/a", 1);
    dev.wait_running("default/b", 1);
    let again = dev.run(["plan", "--detailed-exitcode"]).success();
    assert!(again.stdout.contains("no replica starts, stops, moves or changes"), "{}", again.stdout);
}

#[test]
fn a_spec_that_does_not_fit_says_what_is_short_and_runs_nothing() {
    if skip_unless_root_and_containerd() {
        return;
    }
    let dev = start(&DevOptions::default());
    let huge = service("huge", 1, "").replace("cpu=0.01", "cpu=4000");
    let refused = dev.apply("huge.kdl", &huge).with_code(4);
    let said = refused.all_output();
    assert!(said.contains("cpu: 4000 needed"), "{said}");
    assert!(dev.pids().is_empty());
}

#[test]
fn a_request_beyond_the_limit_is_refused_and_the_server_lives() {
    if skip_unless_root_and_containerd() {
        return;
    }
    let dev = start(&DevOptions::default());
    let comment = format!("// {}\n", "x".repeat(1000));
    dev.write("large.kdl", &comment.repeat(100_000));
    let refused = dev.run(["plan", "large.kdl"]).with_code(1);
    assert!(refused.stderr.lines().count() < 20, "a clear error is short: {}", refused.stderr);
    dev.run(["status"]).success();
}
