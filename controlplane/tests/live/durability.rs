//! Nothing acknowledged is lost: by `kill -9` at any moment, and by a disk that runs full.
//!
//! Both run this test program again as a child: the first to kill it, the second to give it a mount namespace of its own.

use crate::cluster::Agent;
use hyphae_api::v1::Hello;
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
            .unwrap();
        let mut lines = BufReader::new(writer.stdout.take().unwrap()).lines();
        // Some rounds die soon after the start, some only after snapshots have been made.
        let lines_min = 1 + (round * 7919 + u64::from(std::process::id())) % 97 * (1 + round * 4);
        let mut seen = 0;
        while seen < lines_min {
            let Some(line) = lines.next() else { panic!("round {round}: the child ended by itself") };
            seen += take(&line.unwrap(), &mut acknowledged);
        }
        writer.kill().unwrap();
        lines.map_while(Result::ok).for_each(|line| {
            take(&line, &mut acknowledged);
        });
        writer.wait().unwrap();
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
