//! Nothing acknowledged is lost: by `kill -9` at any moment, and by a disk that runs full.
//!
//! Both run this test program again as a child: the first to kill it, the second to give it a mount namespace of its own.

use crate::cluster::Agent;
use hyphae_api::v1::{ApplyRequest, Hello, PlanRequest, SourceFile, StatusRequest};
use hyphae_controlplane::raft::{Consensus, Options, WriteError};
use hyphae_controlplane::server::{Server, ServerConfig, ServerError};
use hyphae_controlplane::state::commands::{Initialise, RegisterNode};
use hyphae_controlplane::state::{Capacity, Command};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

/// Names the data directory to a child; without it, the child tests do nothing.
const DIR: &str = "HYPHAE_TEST_DATA_DIR";
/// The same for a child that is a server.
const SERVE_DIR: &str = "HYPHAE_TEST_SERVE_DIR";
/// The first number the child writes.
const FIRST: &str = "HYPHAE_TEST_FIRST";
const WRITERS: u64 = 4;
const ROUNDS: u64 = 6;

/// A command that leaves a number behind, and as much weight as is asked for.
fn number(writer: u64, number: u64, weight: usize) -> Command {
    Command::RegisterNode(RegisterNode {
        name: format!("n{writer}"),
        pool: String::new(),
        labels: BTreeMap::from([("weight".to_owned(), "x".repeat(weight))]),
        capacity: Capacity::default(),
        taints: vec![],
        price_micros: number,
        prefix: None,
    })
}

async fn open(dir: &Path, free_bytes_min: u64) -> Consensus {
    let consensus = Consensus::open(dir, Options { free_bytes_min }).await.unwrap();
    if consensus.applied().prefix.is_none() {
        let prefix = "fd00:1:2::".parse().unwrap();
        consensus.write(Command::Initialise(Initialise { prefix })).await.unwrap();
    }
    consensus
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Runtime::new().unwrap()
}

fn child(test: &str) -> std::process::Command {
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]);
    command
}

/// A child that does not outlive the test, however the test ends.
struct Killed(std::process::Child);

impl Killed {
    /// With SIGKILL.
    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn child_that_writes_until_it_is_killed() {
    let (Some(dir), Ok(first)) = (std::env::var_os(DIR), std::env::var(FIRST)) else { return };
    let first: u64 = first.parse().unwrap();
    runtime().block_on(async {
        let consensus = open(Path::new(&dir), 0).await;
        let writers = (0..WRITERS).map(|writer| {
            let consensus = consensus.clone();
            tokio::spawn(async move {
                for count in first.. {
                    consensus.write(number(writer, count, 100)).await.unwrap();
                    println!("acknowledged {writer} {count}");
                }
            })
        });
        futures::future::join_all(writers.collect::<Vec<_>>()).await;
    });
}

#[test]
fn nothing_acknowledged_is_lost_by_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = BTreeMap::new();
    for round in 0..ROUNDS {
        let first = acknowledged.values().max().copied().unwrap_or(0) + 1;
        let mut writer = child("durability::child_that_writes_until_it_is_killed")
            .env(DIR, dir.path())
            .env(FIRST, first.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .map(Killed)
            .unwrap();
        let mut lines = BufReader::new(writer.0.stdout.take().unwrap()).lines();
        // Some rounds die soon after the start, some only after snapshots have been made.
        let lines_min = 1 + (round * 7919 + u64::from(std::process::id())) % 97 * (1 + round * 4);
        let mut seen = 0;
        while seen < lines_min {
            let Some(line) = lines.next() else { panic!("round {round}: the child ended by itself") };
            seen += take(&line.unwrap(), &mut acknowledged);
        }
        writer.kill();
        lines.map_while(Result::ok).for_each(|line| {
            take(&line, &mut acknowledged);
        });
        runtime().block_on(async {
            let consensus = open(dir.path(), 0).await;
            let state = consensus.read().await.unwrap();
            for (writer, number) in &acknowledged {
                let found = state.nodes[&format!("n{writer}")].price_micros;
                assert!(found >= *number, "round {round}: writer {writer} was told {number}, the state has {found}");
            }
            consensus.close().await;
        });
    }
}

/// Notes an acknowledgement; a line that was cut off by the kill is none.
fn take(line: &str, acknowledged: &mut BTreeMap<u64, u64>) -> u64 {
    let words: Vec<&str> = line.split(' ').collect();
    let ["acknowledged", writer, number] = words[..] else { return 0 };
    let (Ok(writer), Ok(number)) = (writer.parse(), number.parse::<u64>()) else { return 0 };
    let newest = acknowledged.entry(writer).or_default();
    *newest = number.max(*newest);
    1
}

#[test]
fn a_full_disk_refuses_writes_and_loses_nothing() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("SKIPPED: a_full_disk_refuses_writes_and_loses_nothing needs root to mount a small file system");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let program = child("durability::child_on_a_small_disk");
    // The mount is the child's alone and goes with it, however it ends.
    let output = std::process::Command::new("unshare")
        .args(["--mount", "--propagation", "private"])
        .arg(program.get_program())
        .args(program.get_args())
        .env(DIR, dir.path())
        .output()
        .unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if stderr.contains("unshare failed") {
        eprintln!("SKIPPED: this root may not unshare its mounts: {stderr}");
        return;
    }
    assert!(output.status.success() && stdout.contains("survived a full disk"), "{stdout}\n{stderr}");
}

#[test]
fn child_on_a_small_disk() {
    let (Some(dir), Err(_)) = (std::env::var_os(DIR), std::env::var(FIRST)) else { return };
    let dir = Path::new(&dir);
    let flags = nix::mount::MsFlags::empty();
    nix::mount::mount(Some("tmpfs"), dir, Some("tmpfs"), flags, Some("size=16m")).unwrap();
    runtime().block_on(async {
        refused_beforehand(dir).await;
        failed_while_writing(dir).await;
        server_ends_itself(dir).await;
    });
    println!("survived a full disk");
}

/// Leaves so much free.
fn fill(dir: &Path, free_bytes: u64) -> std::path::PathBuf {
    let stat = nix::sys::statvfs::statvfs(dir).unwrap();
    let bytes = stat.blocks_available() * stat.fragment_size() - free_bytes;
    let ballast = dir.join("ballast");
    std::fs::write(&ballast, vec![0; bytes as usize]).unwrap();
    ballast
}

/// With a reserve, the server goes on and the write works when there is room again.
async fn refused_beforehand(dir: &Path) {
    let consensus = open(&dir.join("a"), 4 << 20).await;
    consensus.write(number(0, 1, 0)).await.unwrap();
    let ballast = fill(dir, 2 << 20);
    let error = consensus.write(number(0, 2, 0)).await.unwrap_err();
    assert!(matches!(error, WriteError::DiskFull { .. }), "{error}");
    assert_eq!(consensus.read().await.unwrap().nodes["n0"].price_micros, 1);
    std::fs::remove_file(&ballast).unwrap();
    consensus.write(number(0, 3, 0)).await.unwrap();
    consensus.close().await;
    std::fs::remove_dir_all(dir.join("a")).unwrap();
}

/// Without one, the log itself hits the end of the disk.
async fn failed_while_writing(dir: &Path) {
    let data = dir.join("b");
    let consensus = open(&data, 0).await;
    let ballast = fill(dir, 4 << 20);
    let mut acknowledged = 0;
    let error = loop {
        match consensus.write(number(0, acknowledged + 1, 50_000)).await {
            Ok(_) => acknowledged += 1,
            Err(error) => break error,
        }
        assert!(acknowledged < 1_000, "the disk never ran full");
    };
    assert!(acknowledged > 5, "{error}");
    assert!(matches!(error, WriteError::Storage(_)) && error.to_string().contains("No space left"), "{error}");
    let reason = tokio::time::timeout(Duration::from_secs(5), consensus.failed()).await.unwrap();
    assert!(reason.contains("No space left"), "{reason}");
    assert!(matches!(consensus.write(number(1, 1, 0)).await, Err(WriteError::Storage(_))), "ended for good");
    let closing = Instant::now();
    consensus.close().await;
    assert!(closing.elapsed() < Duration::from_secs(4), "the file is let go of");

    match Consensus::open(&data, Options { free_bytes_min: 0 }).await {
        // The write that failed has left a little room.
        Ok(consensus) => consensus.close().await,
        Err(error) => assert!(error.to_string().contains("No space left"), "{error}"),
    }
    std::fs::remove_file(&ballast).unwrap();
    let consensus = open(&data, 0).await;
    let found = consensus.read().await.unwrap().nodes["n0"].price_micros;
    assert!(found >= acknowledged && found <= acknowledged + 1, "{acknowledged} acknowledged, {found} found");
    consensus.write(number(0, 10_000, 0)).await.unwrap();
    consensus.close().await;
}

/// The server tells the agent, ends by itself with the reason, and starts again.
async fn server_ends_itself(dir: &Path) {
    let config = ServerConfig { free_bytes_min: 0, ..ServerConfig::new(dir.join("c"), dir.join("c.sock")) };
    let mut handle = Server::start(config.clone()).await.unwrap();
    Agent::try_attach_to(handle.socket().to_owned(), Agent::hello("n1")).await.unwrap();
    let ballast = fill(dir, 1 << 20);
    let labels = [("heavy".to_owned(), "x".repeat(8 << 20))].into();
    let heavy = Hello { labels, ..Agent::hello("n2") };
    let refused = Agent::try_attach_to(handle.socket().to_owned(), heavy).await.err().unwrap();
    assert!(refused.message().contains("No space left"), "{refused}");
    let ended = tokio::time::timeout(Duration::from_secs(10), handle.wait()).await.unwrap().unwrap_err();
    let text = ended.to_string();
    assert!(matches!(ended, ServerError::Storage { .. }) && text.contains("No space left"), "{text}");
    std::fs::remove_file(&ballast).unwrap();
    let handle = Server::start(config).await.unwrap();
    Agent::try_attach_to(handle.socket().to_owned(), Agent::hello("n1")).await.unwrap();
    handle.shutdown().await.unwrap();
}

#[test]
fn child_that_serves_until_it_is_killed() {
    let (Some(dir), Ok(_)) = (std::env::var_os(SERVE_DIR), std::env::var(FIRST)) else { return };
    let dir = Path::new(&dir);
    runtime().block_on(async {
        let config = ServerConfig { free_bytes_min: 0, ..ServerConfig::new(dir.join("data"), dir.join("server.sock")) };
        let mut handle = Server::start(config).await.unwrap();
        println!("listening");
        handle.wait().await.unwrap();
    });
}

/// Starts a server in a process of its own and waits until it listens.
fn serving_child(dir: &Path) -> Killed {
    let mut server = child("durability::child_that_serves_until_it_is_killed")
        .env(SERVE_DIR, dir)
        .env(FIRST, "0")
        .stdout(Stdio::piped())
        .spawn()
        .map(Killed)
        .unwrap();
    let mut lines = BufReader::new(server.0.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().ends_with("listening")), "the server did not start");
    server
}

#[test]
fn a_plan_is_applied_whole_or_not_at_all_when_the_server_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("server.sock");
    let mut last = (0, 0);
    for round in 0..ROUNDS {
        let mut server = serving_child(dir.path());
        runtime().block_on(async {
            let agent = Agent::try_attach_to(socket.clone(), Agent::hello("n1")).await.unwrap();
            let (revision, image) = revision_and_image(&socket).await;
            assert!(revision >= last.0, "round {round}: revision {} was told, {revision} found", last.0);
            // The plan that was on its way when the server died may have been committed.
            assert!(image >= last.1 && image <= last.1 + 1, "round {round}: image {} was told, {image} found", last.1);
            let told = apply_image(&socket, image + 1).await.unwrap();
            assert_eq!(revision_and_image(&socket).await, (told, image + 1));
            let dying = tokio::spawn({
                let socket = socket.clone();
                async move { apply_image(&socket, image + 2).await }
            });
            tokio::time::sleep(Duration::from_millis(round * 29 % 100)).await;
            server.kill();
            last = match dying.await.unwrap() {
                Ok(told) => (told, image + 2),
                Err(_) => (told, image + 1),
            };
            drop(agent);
        });
    }
}

async fn apply_image(socket: &Path, image: u64) -> Result<u64, tonic::Status> {
    let mut client = crate::cluster::client(socket.to_owned()).await?;
    let text = format!("service \"web\" {{\n    image \"registry.example/web:{image}\"\n    resources cpu=0.1\n}}\n");
    let files = vec![SourceFile { name: "web.kdl".to_owned(), text }];
    let plan = client.plan(PlanRequest { files, deadline_millis: 1_000, ..PlanRequest::default() }).await?.into_inner();
    assert_eq!(plan.problems, Vec::<String>::new());
    Ok(client.apply(ApplyRequest { plan_json: plan.plan_json }).await?.into_inner().revision)
}

async fn revision_and_image(socket: &Path) -> (u64, u64) {
    let mut client = crate::cluster::client(socket.to_owned()).await.unwrap();
    let status = client.status(StatusRequest { workloads: vec![] }).await.unwrap().into_inner();
    let image = status.workloads.first().map_or(0, |web| web.image.rsplit_once(':').unwrap().1.parse().unwrap());
    (status.revision, image)
}
