//! The hello example from beginning to end: applied, answering, scaled, updated, deleted, and nothing left of it.

use hyphae_testing::{Dev, Replica, hello, http, image, kill9, remains, skip_unless_root_and_containerd, wait_until};
use std::time::Duration;

const BINARY: &str = env!("CARGO_BIN_EXE_hyphae");
const HELLO: &str = include_str!("../specs/examples/hello/hello.kdl");

fn push_images(dev: &mut Dev) {
    for (name, tag, spec) in hello::images() {
        image::push(dev.registry(), name, tag, &spec);
    }
}

/// Asks a web replica for its page until the whole chain answers with this.
fn wait_for_page(dev: &Dev, web: &Replica, part: &str) -> String {
    let mut last = String::new();
    let page = hyphae_testing::wait::try_wait_until(Duration::from_secs(20), || {
        last = match http::get(Some(dev.netns()), web.socket(8080), "/cgi-bin/hello") {
            Ok(response) => response.body,
            Err(error) => error.to_string(),
        };
        last.contains(part).then(|| last.clone())
    });
    assert!(page.is_some(), "waited in vain for {part:?}; the last answer was {last:?}");
    last
}

#[test]
fn hello_runs_scales_updates_and_goes_without_a_trace() {
    if skip_unless_root_and_containerd() {
        return;
    }
    let mut dev = Dev::start(BINARY);
    push_images(&mut dev);

    // Applied, and everything runs, each with an address of its own.
    dev.apply("hello.kdl", HELLO).success();
    let webs = dev.wait_running("hello/web", 2);
    let greeters = dev.wait_running("hello/greeter", 3);
    let counters = dev.wait_running("hello/counter", 1);
    let mut addresses: Vec<_> = webs.iter().chain(&greeters).chain(&counters).filter_map(|one| one.address).collect();
    addresses.sort_unstable();
    addresses.dedup();
    assert_eq!(addresses.len(), 6, "each has an address of its own: {addresses:?}");

    // From the host; and each page went from container to container, by names, twice.
    for web in &webs {
        let page = wait_for_page(&dev, web, "visit");
        assert!(page.starts_with("hello from greeter"), "{page}");
    }
    // From inside another container, by address.
    let inside = dev.pid_of("hello/counter", counters[0].index);
    let url = format!("http://[{}]:8080/healthz", greeters[2].address.unwrap());
    let mut wget = std::process::Command::new("nsenter");
    wget.args(["--net", "--mount", "--pid", "--target", &inside.to_string(), "/bin/wget", "-q", "-O", "-", &url]);
    assert_eq!(hyphae_testing::process::finish(wget, Duration::from_secs(30)).success().stdout, "ok\n");

    // What the operator sees of it.
    let logs = dev.run(["logs", "hello/web"]).success().stdout;
    assert!(logs.contains("listens on [::]:8080") && logs.contains("hello from greeter"), "{logs}");
    let explain = dev.run(["explain", "hello/greeter"]).success();
    assert!(explain.stdout.contains(dev.node()), "{}", explain.stdout);
    let nodes = dev.run(["nodes"]).success().stdout;
    assert!(nodes.contains(dev.node()) && nodes.contains("ready"), "{nodes}");
    let events = dev.run(["events"]).success().stdout;
    assert!(events.contains("hello/web"), "{events}");

    // The same again changes nothing.
    let pids = dev.pids();
    dev.run(["plan", "--detailed-exitcode", "hello.kdl"]).with_code(0);
    dev.apply("hello.kdl", HELLO).success();
    assert_eq!(dev.pids(), pids);

    // Scaled up and down: those that stay are not touched.
    dev.apply("hello.kdl", &HELLO.replace("replicas 3", "replicas 5")).success();
    dev.wait_running("hello/greeter", 5);
    let more = dev.pids();
    assert!(pids.iter().all(|(id, pid)| more.get(id) == Some(pid)), "{pids:?} became {more:?}");
    dev.apply("hello.kdl", &HELLO.replace("replicas 3", "replicas 1")).success();
    dev.wait_running("hello/greeter", 1);
    wait_until("the others are gone", Duration::from_secs(20), || (dev.pids().len() == 4).then_some(()));

    // A new image, and only what has it is replaced.
    let before = dev.pids();
    dev.run(["plan", "--detailed-exitcode", "hello.kdl"]).with_code(0);
    let updated = HELLO.replace("replicas 3", "replicas 1").replace("greeter:1", "greeter:2");
    dev.apply("hello.kdl", &updated).success();
    let webs = dev.wait_running("hello/web", 2);
    dev.wait_running("hello/greeter", 1);
    wait_for_page(&dev, &webs[0], "good day from greeter");
    let after = dev.pids();
    let changed = before.iter().filter(|(id, pid)| after.get(*id) != Some(pid)).map(|(id, _)| id.as_str());
    let changed: Vec<&str> = changed.collect();
    assert!(changed.len() == 1 && changed[0].starts_with("hello-greeter-"), "{changed:?}");

    // Deleted: no process, cgroup, link or namespace of it is left, also not after `hyphae dev` has ended.
    dev.run(["delete", "--yes", "hello/web", "hello/greeter", "hello/counter"]).success();
    wait_until("all is gone", Duration::from_secs(20), || dev.pids().is_empty().then_some(()));
    assert_eq!(dev.replicas("hello/web"), []);
    let links = || dev.netns().run("ip", &["-o", "link"]).success().stdout.lines().count();
    wait_until("only the loopback is left", Duration::from_secs(20), || (links() == 1).then_some(()));
    assert_eq!(
        remains::cgroups(dev.node())
            .into_iter()
            .filter(|path| !path.ends_with(format!("hyphae-{}", dev.node())))
            .collect::<Vec<_>>(),
        Vec::<std::path::PathBuf>::new()
    );
    assert_eq!(dev.stop(), Some(0), "{}", dev.log());
    nothing_is_left(&dev);
}

/// After `hyphae dev` has ended by itself, there is only what the test itself has started: its registry.
fn nothing_is_left(dev: &Dev) {
    let processes = remains::processes(dev.path());
    assert!(processes.is_empty(), "{processes:?}");
    assert_eq!(remains::mounts_below(dev.path()), Vec::<std::path::PathBuf>::new());
    let namespaces = remains::network_namespaces(&hyphae_testing::dev::replica_namespaces(dev.node()));
    assert!(namespaces.is_empty(), "{namespaces:?}");
    assert_eq!(remains::cgroups(dev.node()), Vec::<std::path::PathBuf>::new());
}

#[test]
fn a_killed_task_comes_back_and_status_says_so() {
    if skip_unless_root_and_containerd() {
        return;
    }
    let mut dev = Dev::start(BINARY);
    push_images(&mut dev);
    dev.apply("hello.kdl", HELLO).success();
    let webs = dev.wait_running("hello/web", 2);
    let (index, address) = (webs[0].index, webs[0].address);
    let others = dev.pids();
    let pid = dev.pid_of("hello/web", index);
    assert!(kill9(pid));
    let again = dev.wait_for("hello/web", "the killed one restarted", |webs| {
        webs.iter().all(|web| web.state == "running") && webs.iter().any(|web| web.index == index && web.restarts >= 1)
    });
    let web = again.iter().find(|web| web.index == index).unwrap();
    assert_eq!((web.exit_code, web.oom_killed, web.address), (Some(137), false, address));
    assert_ne!(dev.pid_of("hello/web", index), pid);
    let now = dev.pids();
    let touched = others.iter().filter(|(id, old)| now.get(*id) != Some(old)).count();
    assert_eq!(touched, 1, "nothing else was touched: {others:?} became {now:?}");
    wait_for_page(&dev, web, "visit");
    assert!(dev.run(["events"]).success().stdout.contains("137"));
}
