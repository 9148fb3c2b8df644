//! Processes that a test starts: bounded ones that finish, and ones in the background that end with their handle.

use crate::wait::try_wait_until;
use crate::{Netns, gate};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// How a process ended and what it said.
#[derive(Debug, Clone)]
pub struct Finished {
    /// The exit code; 128 + the signal's number when a signal ended it.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Finished {
    /// Itself, when the exit code is 0.
    ///
    /// # Panics
    /// With all that the process said, otherwise.
    #[track_caller]
    pub fn success(self) -> Self {
        self.with_code(0)
    }

    /// Itself, when the exit code is this one.
    ///
    /// # Panics
    /// With all that the process said, otherwise.
    #[track_caller]
    pub fn with_code(self, code: i32) -> Self {
        assert!(
            self.code == code,
            "exit code {} instead of {code}\n--- stdout\n{}--- stderr\n{}",
            self.code,
            self.stdout,
            self.stderr
        );
        self
    }

    /// Standard output and standard error, for a search in both.
    pub fn all_output(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

/// A command for a program, inside a network namespace if one is given.
///
/// By `nsenter`, not by `ip netns exec`: that one mounts /sys anew and so hides the cgroups from containerd.
pub fn command(netns: Option<&Netns>, program: impl AsRef<OsStr>) -> Command {
    let Some(netns) = netns else { return Command::new(program) };
    let mut command = Command::new("nsenter");
    command.arg(format!("--net={}", netns.path().display())).arg("--").arg(program);
    command
}

/// Runs a command to its end, which comes by SIGKILL after `limit`.
///
/// # Panics
/// When it cannot be started, or had to be killed.
pub fn finish(mut command: Command, limit: Duration) -> Finished {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let shown = format!("{command:?}");
    let child = command.spawn().unwrap_or_else(|error| panic!("cannot start {shown}: {error}"));
    let group = Pid::from_raw(-i32::try_from(child.id()).expect("a pid is an i32"));
    let (ended, killer) = std::sync::mpsc::channel::<()>();
    let guard = std::thread::spawn(move || {
        let timed_out = killer.recv_timeout(limit) == Err(std::sync::mpsc::RecvTimeoutError::Timeout);
        if timed_out {
            let _ = kill(group, Signal::SIGKILL);
        }
        timed_out
    });
    let output = child.wait_with_output().unwrap_or_else(|error| panic!("{shown}: {error}"));
    drop(ended);
    let timed_out = guard.join().expect("the guard only waits and kills");
    let finished = Finished {
        code: output.status.code().unwrap_or_else(|| 128 + output.status.signal().unwrap_or(0)),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    };
    assert!(
        !timed_out,
        "{shown} was killed after {limit:?}\n--- stdout\n{}--- stderr\n{}",
        finished.stdout, finished.stderr
    );
    finished
}

/// A process in the background, writing to a log file. Ended by SIGKILL when dropped.
#[derive(Debug)]
pub struct Background {
    child: Option<Child>,
    name: String,
    log: PathBuf,
}

impl Background {
    /// Starts the command in a process group of its own, with output appended to `log`.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(name: &str, mut command: Command, log: &Path) -> Self {
        let file = File::options().create(true).append(true).open(log).expect("the log is in a directory of ours");
        let errors = file.try_clone().expect("a file handle can be cloned");
        command.stdin(Stdio::null()).stdout(file).stderr(errors).process_group(0);
        let child = command.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        Self { child: Some(child), name: name.to_owned(), log: log.to_owned() }
    }

    /// The process id.
    ///
    /// # Panics
    /// When it has been ended.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().unwrap_or_else(|| panic!("{} is not running", self.name)).id()
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// All that it has written.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Sends a signal to the process alone.
    pub fn signal(&self, signal: Signal) {
        let _ = kill(Pid::from_raw(i32::try_from(self.pid()).expect("a pid is an i32")), signal);
    }

    /// Ends it with SIGKILL and waits for its end.
    pub fn kill9(&mut self) {
        if let Some(mut child) = self.child.take() {
            drop(child.kill());
            drop(child.wait());
        }
    }

    /// Ends it with SIGTERM; its exit code, or `None` when it had to be killed after `limit`.
    pub fn terminate(&mut self, limit: Duration) -> Option<i32> {
        self.child.as_ref()?;
        self.signal(Signal::SIGTERM);
        let mut child = self.child.take()?;
        let status = try_wait_until(limit, || child.try_wait().ok().flatten());
        if status.is_none() {
            drop(child.kill());
            drop(child.wait());
        }
        status.map(|status| status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)))
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.kill9();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let tail = lines[lines.len().saturating_sub(40)..].join("\n");
            eprintln!("--- the last lines of {}\n{tail}\n---", self.name);
        }
    }
}

/// Sends SIGKILL to one process. True when it was there.
pub fn kill9(pid: u32) -> bool {
    i32::try_from(pid).is_ok_and(|pid| pid > 1 && kill(Pid::from_raw(pid), Signal::SIGKILL).is_ok())
}

/// Whether a process exists and is no zombie.
pub fn is_alive(pid: u32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    !matches!(
        stat.rsplit(')').next().map(|rest| rest.trim_start().as_bytes().first().copied()),
        None | Some(Some(b'Z' | b'X'))
    )
}

/// When a process began, in clock ticks since boot: with its id it names one process for ever.
pub fn start_ticks(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit(')').next()?.split_whitespace().nth(19)?.parse().ok()
}

/// Every live process with its command line.
pub fn command_lines() -> Vec<(u32, Vec<String>)> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter_map(|pid| {
        let bytes = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let words = bytes.split(|byte| *byte == 0).filter(|word| !word.is_empty());
        Some((pid, words.map(|word| String::from_utf8_lossy(word).into_owned()).collect::<Vec<_>>()))
    })
    .filter(|(_, words)| !words.is_empty())
    .collect()
}

/// The path of a program that must be there.
///
/// # Panics
/// When it is not: [`gate::skip_unless_root_and_containerd`] comes first in a test.
pub fn program(name: &str) -> PathBuf {
    gate::find_program(name).unwrap_or_else(|| panic!("{name} is not installed; tools/setup installs it"))
}
