//! The agent on real containerd: what it starts, keeps running, and removes.

use crate::support::{PATIENCE, TestNode};
use hyphae_api::v1::{EnvVar, LogStart, Port, ReplicaState, Resources};
use hyphae_testing::{ImageSpec, http, kill9, skip_unless_root_and_containerd, wait_until};
use std::net::SocketAddr;

const FOREVER: &str = "while :; do sleep 1; done";

#[test]
fn replicas_answer_at_their_addresses_from_the_node_and_from_each_other_and_leave_no_trace() {
    if skip_unless_root_and_containerd() {
        return;
    }
    let mut node = TestNode::start();
    let image = node.push("web", &ImageSpec::busybox()).reference;
    let serve = "mkdir -p /www && echo I am $HYPHAE_WORKLOAD $HYPHAE_REPLICA at $HYPHAE_ADDRESS on $HYPHAE_NODE >/www/index.html && exec httpd -f -p 8080 -h /www";
    let ask = "sleep 1; wget -q -O - http://web.shop.hyphae:8080/ && sleep 1000";
    let web = node.replica("shop/web", 0, &image, serve);
    let ask = node.replica("shop/ask", 0, &image, ask);
    node.want(&[web.clone(), ask.clone()]);
    let status = node.wait_state("shop/web", 0, ReplicaState::Running);
    assert_eq!((status.address.as_str(), status.restarts, status.reason.as_str()), (web.address.as_str(), 0, ""));
    let address = SocketAddr::new(web.address.parse().unwrap(), 8080);
    let answer = wait_until("an answer", PATIENCE, || http::get(Some(&node.netns), address, "/").ok());
    assert_eq!(answer.body, format!("I am shop/web 0 at {} on {}\n", web.address, node.config.node));
    // The other replica asked too, by name.
    let heard = wait_until("the other's answer", PATIENCE, || {
        let log = LogStart { request: 1, workload: "shop/ask".into(), ..LogStart::default() };
        Some(node.logs(log).0).filter(|text| !text.is_empty())
    });
    assert!(heard.starts_with("I am shop/web 0"), "{heard}");
    // An address that no replica has is refused by the node, at once.
    let nobody = SocketAddr::new("fd12:3456:789a:0:1:ffff:1:1".parse().unwrap(), 8080);
    let refused = http::get(Some(&node.netns), nobody, "/").unwrap_err();
    assert!(refused.raw_os_error().is_some(), "{refused}");

    node.want(&[]);
    node.wait_state("shop/web", 0, ReplicaState::Stopped);
    node.wait_state("shop/ask", 0, ReplicaState::Stopped);
    assert_eq!(node.traces(), Vec::<String>::new());
}

#[test]
fn a_port_of_the_node_leads_to_the_replica_that_claims_it_as_long_as_it_runs() {
    if skip_unless_root_and_containerd() {
        return;
    }
    let mut node = TestNode::start();
    let image = node.push("web", &ImageSpec::busybox()).reference;
    let mut web =
        node.replica("shop/web", 0, &image, "mkdir /w; echo hello >/w/index.html; exec httpd -f -p 8080 -h /w");
    web.ports = vec![Port { name: "http".into(), number: 8080, host: 80, protocol: "tcp".into() }];
    node.netns.run("ip", &["-6", "address", "add", "fd99::9/128", "dev", "lo", "nodad"]).success();
    node.want(&[web]);
    node.wait_state("shop/web", 0, ReplicaState::Running);
    let address = SocketAddr::new("fd99::9".parse().unwrap(), 80);
    let answer = wait_until("an answer", PATIENCE, || http::get(Some(&node.netns), address, "/").ok());
    assert_eq!(answer.body, "hello\n");
    node.want(&[]);
    node.wait_state("shop/web", 0, ReplicaState::Stopped);
    wait_until("the end of the rules", PATIENCE, || {
        node.netns.run("nft", &["list", "ruleset"]).success().stdout.is_empty().then_some(())
    });
}

#[test]
fn the_agent_says_what_the_node_is() {
    if skip_unless_root_and_containerd() {
        return;
    }
    let node = TestNode::start();
    let hello = node.hello();
    assert_eq!(hello.node, node.config.node);
    let capacity = hello.capacity.as_ref().unwrap();
    assert!(capacity.cpu_millis >= 1_000 && capacity.memory_bytes > 1 << 28 && capacity.disk_bytes > 1 << 30);
    assert!(["arch", "os", "kernel", "hostname"].iter().all(|label| hello.labels.contains_key(*label)), "{hello:?}");
}

#[test]
fn a_crash_loop_is_told_with_exit_code_and_last_lines_and_started_again() {
    if skip_unless_root_and_containerd() {
        return;
    }
    let mut node = TestNode::start();
    let image = node.push("app", &ImageSpec::busybox()).reference;
    node.want(&[node.replica("a/crash", 0, &image, "echo starting; echo no database >&2; exit 3")]);
    let status = node.wait_for("a/crash", 0, |status| status.state() == ReplicaState::Backoff && status.restarts == 1);
    assert_eq!(status.exit_code, Some(3));
    assert_eq!(status.last_lines, ["no database"]);
    assert_eq!(status.reason, "crash loop: exit code 3, next start in 2 s");
    assert!(!status.oom_killed);
    // A corrected spec does not wait for the old one's pause.
    let mut corrected = node.replica("a/crash", 0, &image, FOREVER);
    corrected.generation = 2;
    node.want(&[corrected]);
    let status = node.wait_state("a/crash", 0, ReplicaState::Running);
    assert_eq!((status.generation, status.restarts, status.exit_code), (2, 0, None));
}

#[test]
fn jobs_complete_or_fail_after_their_retries_and_are_never_run_again() {
    if skip_unless_root_and_containerd() {
        return;
    }
    let mut node = TestNode::start();
    let image = node.push("app", &ImageSpec::busybox()).reference;
    let mut good = node.replica("a/good", 0, &image, "echo done");
    good.kind = "job".into();
    let mut bad = node.replica("a/bad", 0, &image, "exit 7");
    (bad.kind, bad.retries) = ("job".into(), 1);
    node.want(&[good.clone(), bad]);
    assert_eq!(node.wait_state("a/good", 0, ReplicaState::Completed).exit_code, Some(0));
    let failed = node.wait_state("a/bad", 0, ReplicaState::Failed);
    assert_eq!(failed.reason, "tried 2 times, the last time: exit code 7");
    node.stop_agent();
    node.start_agent();
    node.stop_server();
    node.start_server();
    assert_eq!(node.wait_state("a/good", 0, ReplicaState::Completed).restarts, 0);
    assert_eq!(node.wait_state("a/bad", 0, ReplicaState::Failed).restarts, 1);
    assert_eq!(node.tasks().len(), 0);
    // Taken away, its output can still be read; wanted again, it is another job and runs.
    node.want(&[]);
    node.wait_state("a/good", 0, ReplicaState::Stopped);
    let log = LogStart { request: 1, workload: "a/good".into(), ..LogStart::default() };
    assert_eq!(node.logs(log.clone()).0, "done\n");
    node.want(&[good]);
    node.wait_state("a/good", 0, ReplicaState::Completed);
    assert_eq!(node.logs(log).0, "done\ndone\n");
}

#[test]
fn running_out_of_memory_is_told_as_such() {
    if skip_unless_root_and_containerd() {
        return;
    }
    let mut node = TestNode::start();
    let image = node.push("app", &ImageSpec::busybox()).reference;
    let mut replica = node.replica("a/hungry", 0, &image, "exec dd if=/dev/zero of=/dev/null bs=200M count=1");
    replica.limit_memory_bytes = 64 << 20;
    node.want(&[replica]);
    let status = node.wait_state("a/hungry", 0, ReplicaState::Backoff);
    assert!(status.oom_killed, "{status:?}");
    assert!(status.reason.starts_with("out of memory (limit 64MiB), next start in"), "{}", status.reason);
    wait_until("the event", PATIENCE, || node.events().iter().any(|event| event.kind == "replica-oom").then_some(()));
}

#[test]
fn limits_and_environment_hold_inside() {
    if skip_unless_root_and_containerd() {
        return;
    }
    let mut node = TestNode::start();
    let spec =
        ImageSpec::busybox().file("/etc/passwd", "app:x:1234:1234::/srv:/bin/sh\n").user("app").env("FROM", "image");
    let image = node.push("app", &spec).reference;
    let script = "id -u; echo $FROM $HOME; hostname; grep NoNewPrivs /proc/self/status; cat /proc/self/status | grep CapEff; \
                  cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null; sleep 1000";
    let mut replica = node.replica("a/limits", 3, &image, script);
    replica.limit_memory_bytes = 64 << 20;
    replica.limit_cpu_millis = 500;
    replica.reserved = Some(Resources { cpu_millis: 250, ..Resources::default() });
    replica.env = vec![EnvVar { name: "FROM".into(), value: "spec".into() }];
    node.want(&[replica]);
    node.wait_state("a/limits", 3, ReplicaState::Running);
    let output = wait_until("output", PATIENCE, || {
        let log = LogStart { request: 1, workload: "a/limits".into(), index: 3, ..LogStart::default() };
        Some(node.logs(log).0).filter(|text| text.lines().count() >= 6)
    });
    let lines: Vec<&str> = output.lines().collect();
    assert_eq!(lines, ["1234", "spec /srv", "limits-3", "NoNewPrivs:\t1", "CapEff:\t0000000000000000", "67108864"]);
}

#[test]
fn restarts_of_the_agent_and_of_containerd_touch_nothing_that_runs() {
    if skip_unless_root_and_containerd() {
        return;
    }
    let mut node = TestNode::start();
    let image = node.push("app", &ImageSpec::busybox()).reference;
    let script = "i=0; while :; do i=$((i+1)); echo tick $i; sleep 0.1; done";
    node.want(&[node.replica("a/steady", 0, &image, script)]);
    node.wait_state("a/steady", 0, ReplicaState::Running);
    let before = node.only_task();
    node.stop_agent();
    node.start_agent();
    node.stop_server();
    node.start_server();
    node.wait_state("a/steady", 0, ReplicaState::Running);
    assert_eq!(node.only_task(), before);
    node.containerd.kill9();
    node.wait_state("a/steady", 0, ReplicaState::Unknown);
    node.containerd.start_again();
    let status = node.wait_state("a/steady", 0, ReplicaState::Running);
    assert_eq!((node.only_task(), status.restarts), (before, 0));
    // Its output went on all the time.
    let (output, _, _) = node.logs(LogStart { request: 9, workload: "a/steady".into(), ..LogStart::default() });
    let ticks: Vec<&str> = output.lines().collect();
    assert!(ticks.iter().enumerate().all(|(index, line)| *line == format!("tick {}", index + 1)), "{ticks:?}");
}

#[test]
fn what_dies_while_nobody_looks_is_started_again() {
    if skip_unless_root_and_containerd() {
        return;
    }
    let mut node = TestNode::start();
    let image = node.push("app", &ImageSpec::busybox()).reference;
    node.want(&[node.replica("a/steady", 0, &image, FOREVER)]);
    node.wait_state("a/steady", 0, ReplicaState::Running);
    // The agent and the server are away; the agent comes back alone and acts on what it remembers.
    let first = node.only_task();
    node.stop_agent();
    node.stop_server();
    kill9(first);
    node.start_agent();
    let second = wait_until("another process", PATIENCE, || node.tasks().into_values().find(|pid| *pid != first));
    // containerd is away.
    node.start_server();
    node.wait_for("a/steady", 0, |status| status.state() == ReplicaState::Running && status.restarts == 1);
    node.containerd.kill9();
    kill9(second);
    node.containerd.start_again();
    let status = node.wait_for("a/steady", 0, |status| status.state() == ReplicaState::Running && status.restarts == 2);
    assert_eq!(status.exit_code, Some(137));
}

#[test]
fn a_share_of_an_older_revision_is_ignored() {
    if skip_unless_root_and_containerd() {
        return;
    }
    let mut node = TestNode::start();
    let image = node.push("app", &ImageSpec::busybox()).reference;
    let replica = node.replica("a/steady", 0, &image, FOREVER);
    node.want(&[]);
    node.want(&[replica]);
    node.wait_state("a/steady", 0, ReplicaState::Running);
    let before = node.only_task();
    node.stop_agent();
    node.start_agent();
    node.stop_server();
    node.start_server();
    node.send_share(hyphae_api::v1::Share { revision: 1, replicas: vec![] });
    node.wait_state("a/steady", 0, ReplicaState::Running);
    std::thread::sleep(std::time::Duration::from_secs(2));
    assert_eq!(node.only_task(), before);
}

#[test]
fn what_ignores_sigterm_is_killed_after_its_grace() {
    if skip_unless_root_and_containerd() {
        return;
    }
    let mut node = TestNode::start();
    let image = node.push("app", &ImageSpec::busybox()).reference;
    let stubborn = node.replica("a/stubborn", 0, &image, "trap '' TERM; while :; do sleep 1; done");
    let gentle = node.replica("a/gentle", 0, &image, "trap 'echo bye; exit 0' TERM; while :; do sleep 0.1; done");
    node.want(&[stubborn, gentle.clone()]);
    node.wait_state("a/stubborn", 0, ReplicaState::Running);
    node.wait_state("a/gentle", 0, ReplicaState::Running);
    std::thread::sleep(std::time::Duration::from_millis(300));
    node.want(&[]);
    node.wait_state("a/stubborn", 0, ReplicaState::Stopped);
    node.wait_state("a/gentle", 0, ReplicaState::Stopped);
    // The output is kept for a while.
    let (output, _, error) = node.logs(LogStart { request: 2, workload: "a/gentle".into(), ..LogStart::default() });
    assert_eq!((output.as_str(), error.as_str()), ("bye\n", ""));
    let (_, _, error) = node.logs(LogStart { request: 3, workload: "a/never".into(), ..LogStart::default() });
    assert!(error.contains("nothing of it is kept"), "{error}");
}

#[test]
fn output_is_followed() {
    if skip_unless_root_and_containerd() {
        return;
    }
    let mut node = TestNode::start();
    let image = node.push("app", &ImageSpec::busybox()).reference;
    node.want(&[node.replica(
        "a/talk",
        0,
        &image,
        "for i in 1 2 3; do echo $i; done; sleep 2; echo later; sleep 1000",
    )]);
    node.wait_state("a/talk", 0, ReplicaState::Running);
    node.start_logs(LogStart { request: 5, workload: "a/talk".into(), index: 0, follow: true, tail_lines: 2 });
    let text =
        wait_until("what comes later", PATIENCE, || Some(node.logs_so_far(5)).filter(|text| text.contains("later")));
    assert!(text == "2\n3\nlater\n" || text == "1\n2\n3\nlater\n", "{text:?}");
}

#[test]
fn a_network_of_no_replica_is_removed_and_one_of_a_running_replica_stays() {
    if skip_unless_root_and_containerd() {
        return;
    }
    let mut node = TestNode::start();
    let image = node.push("app", &ImageSpec::busybox()).reference;
    node.want(&[node.replica("a/one", 0, &image, FOREVER)]);
    node.wait_state("a/one", 0, ReplicaState::Running);
    node.stop_agent();
    let before = node.network_namespaces();
    assert_eq!(before.len(), 1);
    let orphan = format!("{}orphan", &before[0][..12]);
    node.netns.run("ip", &["netns", "add", &orphan]).success();
    // Even what is remembered may be lost: what runs is found by its labels.
    std::fs::remove_dir_all(node.config.state_directory.join("replicas")).unwrap();
    let task = node.only_task();
    node.start_agent();
    wait_until("its removal", PATIENCE, || (node.network_namespaces() == before).then_some(()));
    assert_eq!(node.only_task(), task);
    node.want(&[]);
    node.wait_state("a/one", 0, ReplicaState::Stopped);
    assert_eq!(node.traces(), Vec::<String>::new());
}

#[test]
fn output_stays_below_its_limit() {
    if skip_unless_root_and_containerd() {
        return;
    }
    let mut node = TestNode::start();
    node.stop_agent();
    node.config.log_bytes_max = 100_000;
    node.start_agent();
    node.stop_server();
    node.start_server();
    let image = node.push("app", &ImageSpec::busybox()).reference;
    let script = "for burst in 1 2 3 4 5 6; do seq 1 10000; sleep 1; done; echo the end; sleep 1000";
    node.want(&[node.replica("a/chatty", 0, &image, script)]);
    let tail = wait_until("the end", PATIENCE, || {
        let log = LogStart { request: 1, workload: "a/chatty".into(), tail_lines: 2, ..LogStart::default() };
        Some(node.logs(log).0).filter(|text| text.contains("the end"))
    });
    assert!(tail == "the end\n" || tail == "10000\nthe end\n", "{tail:?}");
    std::thread::sleep(std::time::Duration::from_millis(1_500));
    let (all, _, _) = node.logs(LogStart { request: 2, workload: "a/chatty".into(), ..LogStart::default() });
    // Six bursts of 49 kB were written; one file and the one before it are kept.
    assert!((8..=200_000).contains(&all.len()), "{}", all.len());
}

#[test]
fn remove_everything_leaves_nothing() {
    if skip_unless_root_and_containerd() {
        return;
    }
    let mut node = TestNode::start();
    let image = node.push("app", &ImageSpec::busybox()).reference;
    node.want(&[node.replica("a/one", 0, &image, FOREVER), node.replica("a/two", 0, &image, "exit 1")]);
    node.wait_state("a/one", 0, ReplicaState::Running);
    node.wait_state("a/two", 0, ReplicaState::Backoff);
    node.stop_agent();
    let config = node.config.clone();
    node.block_on(|| async move { hyphae_nodeagent::agent::remove_everything(&config).await.unwrap() });
    assert_eq!(node.traces(), Vec::<String>::new());
    let routes = node.netns.run("ip", &["-6", "route"]).success().stdout;
    assert!(!routes.contains("unreachable"), "{routes}");
    let images = node.containerd.ctr(&["--namespace", &node.config.containerd_namespace, "images", "list", "-q"]);
    assert_eq!(images.success().stdout, "");
    assert!(node.path().exists());
}
