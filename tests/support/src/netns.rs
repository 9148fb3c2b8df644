//! A network namespace for one test: its own loopback, addresses, routes and ports.

use crate::process::{Finished, command, finish};
use crate::scratch::unique;
use nix::sched::{CloneFlags, setns};
use std::fs::File;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

/// A named network namespace whose loopback is up. Deleted when its last handle is dropped; the kernel frees it with its
/// last process.
#[derive(Debug, Clone)]
pub struct Netns {
    owned: Arc<Owned>,
}

#[derive(Debug)]
struct Owned {
    name: String,
}

impl Netns {
    /// A new one.
    ///
    /// # Panics
    /// When the kernel or `ip` refuses.
    pub fn new() -> Self {
        let netns = Self { owned: Arc::new(Owned { name: unique("hyp") }) };
        netns.ip(&["netns", "add", netns.name()]);
        netns.ip(&["-n", netns.name(), "link", "set", "lo", "up"]);
        netns
    }

    fn ip(&self, arguments: &[&str]) {
        let mut command = Command::new(crate::process::program("ip"));
        command.args(arguments);
        finish(command, Duration::from_secs(10)).success();
    }

    /// Its name, as `ip netns list` shows it.
    pub fn name(&self) -> &str {
        &self.owned.name
    }

    /// The file that holds it.
    pub fn path(&self) -> PathBuf {
        PathBuf::from("/run/netns").join(self.name())
    }

    /// Runs a program inside, to its end, within 30 s.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Finished {
        let mut inside = command(Some(self), program);
        inside.args(arguments);
        finish(inside, Duration::from_secs(30))
    }

    /// Runs a function on a new thread inside.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        within(Some(self), work)
    }
}

impl Default for Netns {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        delete(&self.name);
    }
}

/// Deletes a named network namespace; one that is not there is fine.
pub(crate) fn delete(name: &str) {
    let mut command = Command::new("ip");
    command.args(["netns", "delete", name]);
    drop(command.output());
}

/// Runs a function on a new thread, inside the namespace if there is one. A thread of its own, because a namespace
/// belongs to a thread and the caller's must stay where it is.
pub fn within<T: Send>(netns: Option<&Netns>, work: impl FnOnce() -> T + Send) -> T {
    let path = netns.map(Netns::path);
    std::thread::scope(|scope| {
        let thread = scope.spawn(move || {
            if let Some(path) = path {
                let file = File::open(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
                setns(file, CloneFlags::CLONE_NEWNET).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            }
            work()
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
