//! How long from `hyphae apply` to running replicas, beside `ctr run -d` on the same containerd, in one run:
//!
//! ```console
//! # make bench
//! ```
//!
//! `hyphae apply` is timed from its start until the last replica's program runs, and until it ends: it reads and plans, has the
//! plan committed to the log on disk, gives every replica a network namespace with a routed IPv6 address and a log, and ends
//! when the server has seen all of them run (`--settle 0s`: not for a while). `ctr run` gives its containers none of that; it is the floor. Every
//! image is already there. Medians of several rounds, and their range; the ratios are of "running".

#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use hyphae_testing::dev::DevOptions;
use hyphae_testing::{Dev, ImageSpec, unique, wait_until};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const COUNTS: [usize; 3] = [1, 10, 50];
const ROUNDS: usize = 3;
/// More starts at once are no faster on two cores.
const PARALLEL: usize = 4;

fn main() {
    if hyphae_testing::skip_unless_root_and_containerd() {
        return;
    }
    let binary = binary();
    let mut dev = Dev::start_with(&binary, &DevOptions { own_containerd: true, ..DevOptions::default() });
    let image = dev.push("bench", "1", &ImageSpec::busybox().entrypoint(["sleep", "3600"])).reference;
    // Both sides have the image before anything is timed.
    apply(&dev, 1);
    delete(&dev);
    let namespace = unique("bench");
    let mut ctr = Ctr { dev, namespace, image };
    ctr.pull();

    println!(
        "medians of {ROUNDS} rounds (range), in seconds; build: {}",
        if cfg!(debug_assertions) { "debug" } else { "release" }
    );
    println!(
        "{:>8}  {:>20}  {:>20}  {:>20}  {:>20}  {:>7}  {:>7}",
        "replicas", "apply: running", "apply: ends", "ctr run", "ctr run, 4 at once", "ratio", "ratio 4"
    );
    for count in COUNTS {
        let mut times: [Vec<Duration>; 4] = Default::default();
        for _ in 0..ROUNDS {
            let (running, ended) = apply(&ctr.dev, count);
            times[0].push(running);
            times[1].push(ended);
            delete(&ctr.dev);
            times[2].push(ctr.run(count, 1));
            times[3].push(ctr.run(count, PARALLEL));
        }
        let [running, ended, one, four] = times.map(Summary::of);
        println!(
            "{count:>8}  {:>20}  {:>20}  {:>20}  {:>20}  {:>7.2}  {:>7.2}",
            running.show(),
            ended.show(),
            one.show(),
            four.show(),
            running.median / one.median,
            running.median / four.median
        );
    }
}

/// The binary that was built beside this example.
fn binary() -> String {
    let here = std::env::current_exe().expect("a running program has a path");
    let binary: Option<PathBuf> =
        here.parent().and_then(|examples| examples.parent()).map(|target| target.join("hyphae"));
    let binary = binary.filter(|path| path.is_file()).expect("hyphae is built first: cargo build --workspace");
    binary.to_string_lossy().into_owned()
}

/// The time until all programs run, and until the command has ended.
fn apply(dev: &Dev, replicas: usize) -> (Duration, Duration) {
    let spec = format!(
        "service \"bench\" {{\n    image \"localhost:5500/bench:1\"\n    replicas {replicas}\n    resources cpu=0.01 memory=\"8MiB\"\n    stop-grace \"1s\"\n}}\n"
    );
    dev.write("bench.kdl", &spec);
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let command = scope.spawn(|| {
            dev.run(["apply", "--yes", "--settle", "0s", "bench.kdl"]).success();
            begun.elapsed()
        });
        let running = wait_until("all programs run", Duration::from_secs(120), || {
            let pids = dev.pids();
            (pids.len() == replicas && pids.values().all(|pid| is_started(*pid))).then(|| begun.elapsed())
        });
        (running, command.join().expect("apply succeeds"))
    })
}

/// Whether a container's first process is its program already, and no longer the runtime that makes it.
fn is_started(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "sleep")
}

fn delete(dev: &Dev) {
    dev.run(["delete", "--yes", "default/bench"]).success();
    wait_until("all replicas are gone", Duration::from_secs(60), || dev.pids().is_empty().then_some(()));
}

struct Ctr {
    dev: Dev,
    namespace: String,
    image: String,
}

impl Ctr {
    fn ctr(&self, arguments: &[&str]) -> hyphae_testing::Finished {
        let socket = self.dev.containerd().expect("the benchmark brings its own").socket();
        let mut all = vec!["--namespace", self.namespace.as_str()];
        all.extend(arguments);
        self.dev.ctr(&socket, &all)
    }

    fn pull(&mut self) {
        let pulled = ["images", "pull", "--plain-http", self.image.as_str()];
        self.ctr(&pulled).success();
    }

    /// Starts so many, so many at a time; then removes them, untimed.
    fn run(&self, count: usize, parallel: usize) -> Duration {
        let ids: Vec<String> = (0..count).map(|_| unique("c")).collect();
        let next = AtomicUsize::new(0);
        let begun = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..parallel.min(count) {
                scope.spawn(|| {
                    while let Some(id) = ids.get(next.fetch_add(1, Ordering::Relaxed)) {
                        self.ctr(&["run", "--detach", &self.image, id]).success();
                    }
                });
            }
        });
        let took = begun.elapsed();
        for id in &ids {
            self.ctr(&["tasks", "rm", "--force", id]);
            self.ctr(&["containers", "rm", id]).success();
        }
        took
    }
}

struct Summary {
    median: f64,
    least: f64,
    most: f64,
}

impl Summary {
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let at = |index: usize| times[index].as_secs_f64();
        Self { median: at(times.len() / 2), least: at(0), most: at(times.len() - 1) }
    }

    fn show(&self) -> String {
        format!("{:.2} ({:.2}-{:.2})", self.median, self.least, self.most)
    }
}
