//! Images that cannot be had and programs that fail: each is told as what it is, and heals when its cause is gone.

use hyphae_testing::{Dev, ImageSpec, Replica, skip_unless_root_and_containerd};

const BINARY: &str = env!("CARGO_BIN_EXE_hyphae");

fn service(name: &str, image: &str, more: &str) -> String {
    format!(
        "service \"{name}\" {{\n    image \"localhost:5500/{image}\"\n    resources cpu=0.05 memory=\"16MiB\"\n    stop-grace \"1s\"\n    {more}\n}}\n"
    )
}

fn sleeper() -> ImageSpec {
    ImageSpec::busybox().entrypoint(["sleep", "3600"])
}

fn only(replicas: &[Replica]) -> &Replica {
    assert_eq!(replicas.len(), 1, "{replicas:?}");
    &replicas[0]
}

/// Applies what will not run: `apply` watches it for a moment, says so, and fails.
fn apply_in_vain(dev: &Dev, name: &str, text: &str) {
    dev.write(name, text);
    let finished = dev.run(["apply", "--yes", "--timeout", "2s", name]).with_code(1);
    assert!(finished.stderr.contains("error:"), "{}", finished.stderr);
}

#[test]
fn an_image_that_does_not_exist_is_named_and_one_that_appears_is_run() {
    if skip_unless_root_and_containerd() {
        return;
    }
    let mut dev = Dev::start(BINARY);
    apply_in_vain(&dev, "gone.kdl", &service("gone", "no/such:1", ""));
    let gone = dev.wait_for("default/gone", "a reason that names the image", |replicas| {
        replicas.iter().any(|one| one.reason.contains("no/such:1"))
    });
    let gone = only(&gone);
    assert_ne!(gone.state, "running");
    dev.push("no/such", "1", &sleeper());
    dev.wait_running("default/gone", 1);
}

#[test]
fn a_registry_that_is_down_is_told_and_waited_for() {
    if skip_unless_root_and_containerd() {
        return;
    }
    let mut dev = Dev::start(BINARY);
    dev.push("app", "1", &sleeper());
    dev.registry().stop();
    apply_in_vain(&dev, "app.kdl", &service("app", "app:1", ""));
    dev.wait_for("default/app", "a reason that names the registry", |replicas| {
        replicas.iter().any(|one| one.state != "running" && one.reason.contains("localhost:5500"))
    });
    dev.registry().start_again();
    dev.wait_running("default/app", 1);
}

#[test]
fn a_layer_that_does_not_match_its_digest_is_refused() {
    if skip_unless_root_and_containerd() {
        return;
    }
    let mut dev = Dev::start(BINARY);
    let good = dev.push("app", "1", &sleeper().file("/marker", "some text that is one layer"));
    let layer = good.layer_digests.last().unwrap().clone();
    dev.registry().corrupt(&layer);
    apply_in_vain(&dev, "app.kdl", &service("app", "app:1", ""));
    let replicas = dev.wait_for("default/app", "a reason that speaks of the digest", |replicas| {
        replicas.iter().any(|one| one.reason.contains("digest"))
    });
    assert_ne!(only(&replicas).state, "running");
    assert!(dev.pids().is_empty(), "nothing of it has run");
    // The same operation again restores the bytes.
    dev.registry().corrupt(&layer);
    dev.wait_running("default/app", 1);
}

#[test]
fn a_command_that_exits_at_once_is_shown_with_its_code_and_last_words() {
    if skip_unless_root_and_containerd() {
        return;
    }
    let mut dev = Dev::start(BINARY);
    let script = "#!/bin/sh\necho starting\necho 'cannot open /etc/app.toml' >&2\nexit 3\n";
    dev.push("crash", "1", &ImageSpec::busybox().script("/bin/app", script).entrypoint(["/bin/app"]));
    apply_in_vain(&dev, "crash.kdl", &service("crash", "crash:1", ""));
    let replicas = dev.wait_for("default/crash", "a crash loop with backoff", |replicas| {
        replicas.iter().any(|one| one.state == "backoff" && one.restarts >= 2 && !one.last_lines.is_empty())
    });
    let crash = only(&replicas);
    assert_eq!((crash.exit_code, crash.oom_killed), (Some(3), false));
    assert!(crash.last_lines.iter().any(|line| line.contains("cannot open /etc/app.toml")), "{crash:?}");
    let shown = dev.run(["status", "default/crash"]).success().stdout;
    for part in ["backoff", "cannot open /etc/app.toml"] {
        assert!(shown.contains(part), "{part} in {shown}");
    }
    // Mended by a new version.
    dev.push("crash", "2", &sleeper());
    dev.apply("crash.kdl", &service("crash", "crash:2", "")).success();
    dev.wait_running("default/crash", 1);
}

#[test]
fn a_command_that_does_not_exist_is_told() {
    if skip_unless_root_and_containerd() {
        return;
    }
    let mut dev = Dev::start(BINARY);
    dev.push("app", "1", &sleeper());
    apply_in_vain(&dev, "app.kdl", &service("app", "app:1", "command \"/no/such/program\""));
    dev.wait_for("default/app", "a reason that names the program", |replicas| {
        replicas.iter().any(|one| one.state != "running" && one.reason.contains("/no/such/program"))
    });
}

#[test]
fn out_of_memory_is_reported_as_such() {
    if skip_unless_root_and_containerd() {
        return;
    }
    let mut dev = Dev::start(BINARY);
    // `tail` keeps what it reads, and /dev/zero never ends a line.
    dev.push("hungry", "1", &ImageSpec::busybox().entrypoint(["tail", "/dev/zero"]));
    // It may run for a moment, which is all that `apply` waits for.
    dev.write("hungry.kdl", &service("hungry", "hungry:1", ""));
    dev.run(["apply", "--yes", "--detach", "hungry.kdl"]).success();
    let replicas = dev
        .wait_for("default/hungry", "killed by the memory limit", |replicas| replicas.iter().any(|one| one.oom_killed));
    assert_eq!(only(&replicas).exit_code, Some(137));
    let shown = dev.run(["status", "default/hungry"]).success().stdout;
    assert!(shown.contains("out of memory"), "{shown}");
}

#[test]
fn what_one_replica_does_not_get_leaves_the_others_alone() {
    if skip_unless_root_and_containerd() {
        return;
    }
    let mut dev = Dev::start(BINARY);
    dev.push("app", "1", &sleeper());
    dev.apply("app.kdl", &service("app", "app:1", "replicas 2")).success();
    let pids = dev.pids();
    apply_in_vain(&dev, "bad.kdl", &service("bad", "no/such:1", ""));
    assert_eq!(dev.pids(), pids);
    assert!(dev.replicas("default/app").iter().all(|one| one.state == "running" && one.restarts == 0));
}
