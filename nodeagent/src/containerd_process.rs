#![expect(clippy::disallowed_methods, reason = "an edge: writes a configuration and starts a process")]
//! A containerd of our own, for `hyphae dev`. The outside.
//!
//! It has its own root, state and socket and shares nothing with one that the machine runs. Ending it leaves its containers
//! running under their shims; the next one on the same directories adopts them.

use crate::containerd::Containerd;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::{Child, Command};

/// It answers within this time, or something is wrong.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// It ends within this time after SIGTERM, or gets SIGKILL.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// Why there is no containerd.
#[derive(Debug, thiserror::Error)]
pub enum ContainerdProcessError {
    /// Its files.
    #[error("cannot {what} {}", path.display())]
    Files {
        /// What was tried.
        what: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Not installed, or may not be run.
    #[error("cannot start {program}; is the package containerd installed?")]
    Spawn {
        /// What was to be started.
        program: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// It ended, or it does not answer.
    #[error("containerd {what}; the end of {}:\n{last_lines}", log.display())]
    NotReady {
        /// "ended at once", "does not answer".
        what: String,
        /// Its log.
        log: PathBuf,
        /// The end of it.
        last_lines: String,
    },
}

/// A running containerd. Stop it with `stop`; dropping it sends SIGKILL (its containers run on in either case).
#[derive(Debug)]
pub struct ContainerdProcess {
    child: Child,
    socket: PathBuf,
}

impl ContainerdProcess {
    /// Starts one that keeps everything below `directory`, and waits until it answers.
    pub async fn start(directory: &Path) -> Result<Self, ContainerdProcessError> {
        Self::start_program("containerd", directory).await
    }

    /// As `start`, with another program than the `containerd` of the path.
    pub async fn start_program(program: &str, directory: &Path) -> Result<Self, ContainerdProcessError> {
        let error = |what, path: &Path| {
            let path = path.to_owned();
            move |source| ContainerdProcessError::Files { what, path, source }
        };
        let made = fs::DirBuilder::new().recursive(true).mode(0o711).create(directory);
        made.map_err(error("make the directory", directory))?;
        let directory = fs::canonicalize(directory).map_err(error("find", directory))?;
        let socket = directory.join("containerd.sock");
        let config = directory.join("config.toml");
        fs::write(&config, config_toml(&directory, &socket)).map_err(error("write", &config))?;
        let pid_file = directory.join("containerd.pid");
        end_left_over(&pid_file, &config).await;
        let log = directory.join("containerd.log");
        let out = fs::File::create(&log).map_err(error("open", &log))?;
        let err = out.try_clone().map_err(error("open", &log))?;
        let child = Command::new(program)
            .arg("--config")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            // A Ctrl-C at the terminal is for us; containerd is ended in order, afterwards.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|source| ContainerdProcessError::Spawn { program: program.to_owned(), source })?;
        let id = child.id().map(|id| id.to_string()).unwrap_or_default();
        fs::write(&pid_file, id).map_err(error("write", &pid_file))?;
        let mut process = Self { child, socket };
        process.wait_until_ready(&log).await?;
        Ok(process)
    }

    /// Where it listens.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Its process id; `None` once it has ended.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Returns when it has ended by itself: it crashed, or somebody killed it.
    pub async fn ended(&mut self) -> io::Result<std::process::ExitStatus> {
        self.child.wait().await
    }

    /// Ends it, and leaves its containers running.
    pub async fn stop(mut self) -> io::Result<()> {
        if let Some(id) = self.child.id().and_then(|id| i32::try_from(id).ok()) {
            nix::sys::signal::kill(nix::unistd::Pid::from_raw(id), nix::sys::signal::Signal::SIGTERM).ok();
        }
        match tokio::time::timeout(STOP_TIMEOUT, self.child.wait()).await {
            Ok(ended) => ended.map(drop),
            Err(_) => self.child.kill().await,
        }
    }

    async fn wait_until_ready(&mut self, log: &Path) -> Result<(), ContainerdProcessError> {
        let not_ready =
            |what: String| ContainerdProcessError::NotReady { what, log: log.to_owned(), last_lines: last_lines(log) };
        let answers = async {
            loop {
                let containerd = Containerd::new(&self.socket, "hyphae", "overlayfs");
                if containerd.version().await.is_ok() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::select! {
            ended = self.child.wait() => {
                let status = ended.map_or_else(|error| error.to_string(), |status| status.to_string());
                Err(not_ready(format!("ended at once ({status})")))
            }
            answered = tokio::time::timeout(START_TIMEOUT, answers) => {
                answered.map_err(|_| not_ready(format!("does not answer after {} s", START_TIMEOUT.as_secs())))
            }
        }
    }
}

/// Ends the containerd that an earlier process started on the same directories and could not end, because it was killed: two of them
/// cannot share one database. Its containers run on. A process that merely has the same id by now is left alone.
async fn end_left_over(pid_file: &Path, config: &Path) {
    let Some(id) = fs::read_to_string(pid_file).ok().and_then(|text| text.trim().parse::<i32>().ok()) else { return };
    let command_line = PathBuf::from(format!("/proc/{id}/cmdline"));
    let is_it = || {
        let words = fs::read(&command_line).unwrap_or_default();
        words.split(|byte| *byte == 0).any(|word| word == config.as_os_str().as_encoded_bytes())
    };
    if !is_it() {
        return;
    }
    tracing::info!(id, "ending the containerd that was left over");
    let kill = |signal| nix::sys::signal::kill(nix::unistd::Pid::from_raw(id), signal).ok();
    kill(nix::sys::signal::Signal::SIGTERM);
    let gone = async {
        while is_it() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    if tokio::time::timeout(STOP_TIMEOUT, gone).await.is_err() {
        kill(nix::sys::signal::Signal::SIGKILL);
    }
}

/// No Kubernetes plugin, no metrics, nothing shared with another containerd.
fn config_toml(directory: &Path, socket: &Path) -> String {
    let text = |path: &Path| serde_json::Value::from(path.to_string_lossy()).to_string();
    format!(
        "version = 2\nroot = {}\nstate = {}\noom_score = 0\n\
         disabled_plugins = [\"io.containerd.grpc.v1.cri\", \"io.containerd.internal.v1.opt\"]\n\
         [grpc]\n  address = {}\n[ttrpc]\n  address = {}\n[debug]\n  level = \"warn\"\n",
        text(&directory.join("root")),
        text(&directory.join("state")),
        text(socket),
        text(&socket.with_extension("ttrpc")),
    )
}

fn last_lines(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(5)..].join("\n")
}
