//! The server, the agent and containerd are killed without a warning: containers run on, nothing acknowledged is lost, and
//! `status` tells the truth afterwards.

use hyphae_testing::dev::DevOptions;
use hyphae_testing::process::{finish, is_alive};
use hyphae_testing::{Dev, ImageSpec, kill9, skip_unless_root_and_containerd, wait_until};
use std::time::Duration;

const BINARY: &str = env!("CARGO_BIN_EXE_hyphae");

fn service(name: &str, replicas: u32) -> String {
    format!(
        "service \"{name}\" {{\n    image \"localhost:5500/app:1\"\n    replicas {replicas}\n    resources cpu=0.05 memory=\"16MiB\"\n    stop-grace \"1s\"\n}}\n"
    )
}

fn sleeper() -> ImageSpec {
    ImageSpec::busybox().entrypoint(["sleep", "3600"])
}

#[test]
fn server_and_agent_are_killed_and_containers_do_not_notice() {
    if skip_unless_root_and_containerd() {
        return;
    }
    let mut dev = Dev::start(BINARY);
    dev.push("app", "1", &sleeper());
    dev.apply("app.kdl", &service("app", 3)).success();
    let (pids, before) = (dev.pids(), dev.wait_running("default/app", 3));
    let revision = dev.status()["revision"].clone();
    dev.kill9();
    assert!(pids.values().all(|pid| is_alive(*pid)), "they outlive the agent");
    assert_ne!(dev.run(["status"]).code, 0, "no server, no status");
    // One dies while nobody looks.
    let (id, dead) = pids.iter().next().map(|(id, pid)| (id.clone(), *pid)).unwrap();
    assert!(kill9(dead));
    dev.start_again();
    let after = dev.wait_for("default/app", "all running, one restarted", |replicas| {
        replicas.iter().all(|one| one.state == "running") && replicas.iter().any(|one| one.restarts > 0)
    });
    assert_eq!(
        after.iter().map(|one| one.address).collect::<Vec<_>>(),
        before.iter().map(|one| one.address).collect::<Vec<_>>()
    );
    let now = dev.pids();
    assert!(pids.iter().all(|(one, pid)| *one == id || now.get(one) == Some(pid)), "{pids:?} became {now:?}");
    assert!(dev.status()["revision"].as_u64() >= revision.as_u64(), "nothing acknowledged is lost");
    // And it is still an operator's: scaled down, it goes.
    dev.apply("app.kdl", &service("app", 1)).success();
    wait_until("two are gone", Duration::from_secs(20), || (dev.pids().len() == 1).then_some(()));
}

#[test]
fn killed_in_the_middle_of_applies_it_keeps_what_it_acknowledged() {
    if skip_unless_root_and_containerd() {
        return;
    }
    let mut dev = Dev::start(BINARY);
    dev.push("app", "1", &sleeper());
    let mut acknowledged = Vec::new();
    for round in 0..4u64 {
        let name = format!("app{round}");
        let file = format!("{name}.kdl");
        dev.write(&file, &service(&name, 1));
        dev.run(["plan", "--out", "plan.json", &file]).success();
        let apply = dev.hyphae().command(["apply", "--yes", "plan.json"]);
        let applying = std::thread::spawn(move || finish(apply, Duration::from_secs(120)));
        // From before the commit to after it: each round a bit later.
        std::thread::sleep(Duration::from_millis(5 + 60 * round));
        dev.kill9();
        dev.start_again();
        // One that was acknowledged goes on watching when the server is back.
        let finished = applying.join().unwrap();
        if finished.code == 0 {
            acknowledged.push(name);
        }
    }
    // Whatever was refused or interrupted can be said again, and is then there.
    for round in 0..4 {
        let name = format!("app{round}");
        if acknowledged.contains(&name) {
            assert!(!dev.replicas(&format!("default/{name}")).is_empty(), "{name} was acknowledged");
        }
        dev.apply(&format!("{name}.kdl"), &service(&name, 1)).success();
        dev.wait_running(&format!("default/{name}"), 1);
    }
    assert_eq!(dev.pids().len(), 4, "exactly one container for each");
}

#[test]
fn containerd_is_killed_and_containers_do_not_notice() {
    if skip_unless_root_and_containerd() {
        return;
    }
    let mut dev = Dev::start_with(BINARY, &DevOptions { own_containerd: true, ..DevOptions::default() });
    dev.push("app", "1", &sleeper());
    dev.apply("app.kdl", &service("app", 2)).success();
    let pids = dev.pids();
    dev.containerd_mut().unwrap().kill9();
    std::thread::sleep(Duration::from_secs(2));
    assert!(pids.values().all(|pid| is_alive(*pid)));
    let meanwhile = dev.run(["status"]).success();
    assert!(
        !meanwhile.stdout.contains("failed"),
        "containerd's absence is no failure of a replica: {}",
        meanwhile.stdout
    );
    dev.containerd_mut().unwrap().start_again();
    dev.wait_running("default/app", 2);
    assert_eq!(dev.pids(), pids);
    // The event stream is back too: a killed task is seen and replaced.
    assert!(kill9(*pids.values().next().unwrap()));
    dev.wait_for("default/app", "the killed one restarted", |replicas| {
        replicas.iter().all(|one| one.state == "running") && replicas.iter().any(|one| one.restarts == 1)
    });
    dev.apply("app.kdl", &service("app", 3)).success();
    dev.wait_running("default/app", 3);
}

#[test]
fn the_containerd_that_dev_started_is_started_again_when_it_is_killed() {
    if skip_unless_root_and_containerd() {
        return;
    }
    let mut dev = Dev::start(BINARY);
    dev.push("app", "1", &sleeper());
    dev.apply("app.kdl", &service("app", 1)).success();
    let pids = dev.pids();
    let daemons = dev.containerd_pids();
    assert_eq!(daemons.len(), 1, "{daemons:?}");
    assert!(kill9(daemons[0]));
    wait_until("another containerd", Duration::from_secs(30), || {
        dev.containerd_pids().iter().any(|pid| *pid != daemons[0]).then_some(())
    });
    dev.wait_running("default/app", 1);
    assert_eq!(dev.pids(), pids);
    dev.apply("app.kdl", &service("app", 2)).success();
    dev.wait_running("default/app", 2);
}

#[test]
fn a_handle_that_is_dropped_leaves_no_cgroup_whatever_was_killed() {
    if skip_unless_root_and_containerd() {
        return;
    }
    let mut dev = Dev::start(BINARY);
    dev.push("app", "1", &sleeper());
    dev.apply("app.kdl", &service("app", 1)).success();
    dev.run(["delete", "--yes", "default/app"]).success();
    wait_until("it is gone", Duration::from_secs(20), || dev.pids().is_empty().then_some(()));
    let node = dev.node().to_owned();
    assert!(!hyphae_testing::remains::cgroups(&node).is_empty(), "the agent keeps one while it lives");
    dev.kill9();
    drop(dev);
    assert_eq!(hyphae_testing::remains::cgroups(&node), Vec::<std::path::PathBuf>::new());
}
