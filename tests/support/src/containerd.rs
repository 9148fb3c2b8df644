//! A containerd of a test's own.

use crate::process::{Background, Finished, command, finish, program};
use crate::wait::wait_until;
use crate::{Netns, Scratch};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A containerd with its own root, state and socket, without CRI. Gone when dropped, with all that ran in it.
///
/// runc's state is global for each containerd namespace: use a namespace of your own ([`crate::unique`]).
#[derive(Debug)]
pub struct TestContainerd {
    process: Option<Background>,
    netns: Option<Netns>,
    scratch: Scratch,
}

impl TestContainerd {
    /// Starts one and waits until it answers.
    ///
    /// # Panics
    /// When it does not answer within 20 s.
    pub fn start() -> Self {
        Self::start_in(None)
    }

    /// Starts one inside a network namespace.
    pub fn start_in(netns: Option<&Netns>) -> Self {
        let scratch = Scratch::new();
        let directory = scratch.path().display();
        let config = format!(
            "version = 2\nroot = \"{directory}/root\"\nstate = \"{directory}/state\"\n\
             disabled_plugins = [\"io.containerd.grpc.v1.cri\", \"io.containerd.internal.v1.opt\"]\n\
             [grpc]\naddress = \"{directory}/c.sock\"\n"
        );
        std::fs::write(scratch.join("config.toml"), config).expect("the directory is ours");
        let mut containerd = Self { process: None, netns: netns.cloned(), scratch };
        containerd.start_again();
        containerd
    }

    /// Starts it again after [`kill9`](Self::kill9).
    pub fn start_again(&mut self) {
        let mut command = command(self.netns.as_ref(), program("containerd"));
        command.arg("-c").arg(self.scratch.join("config.toml"));
        let mut process = Background::start("containerd", command, &self.scratch.join("containerd.log"));
        wait_until("containerd answers", Duration::from_secs(20), || {
            assert!(process.is_running(), "containerd ended:\n{}", process.log());
            (self.socket().exists() && self.ctr(&["version"]).code == 0).then_some(())
        });
        self.process = Some(process);
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.scratch.join("c.sock")
    }

    /// The directory that holds it.
    pub fn path(&self) -> &Path {
        self.scratch.path()
    }

    /// Its process id.
    ///
    /// # Panics
    /// When it has been killed.
    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("containerd runs").pid()
    }

    /// Kills the daemon; its tasks run on.
    pub fn kill9(&mut self) {
        self.process = None;
    }

    /// Runs `ctr` against it.
    pub fn ctr(&self, arguments: &[&str]) -> Finished {
        let mut ctr = command(None, program("ctr"));
        ctr.arg("--address").arg(self.socket()).args(["--connect-timeout", "2s"]).args(arguments);
        finish(ctr, Duration::from_secs(60))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ImageSpec, TestRegistry, image, remains, skip_unless_root_and_containerd, unique};

    #[test]
    fn a_container_runs_and_nothing_of_it_is_left() {
        if skip_unless_root_and_containerd() {
            return;
        }
        let registry = TestRegistry::start();
        let pushed = image::push(&registry, "sleeper", "1", &ImageSpec::busybox().entrypoint(["sleep", "600"]));
        let containerd = TestContainerd::start();
        let path = containerd.path().to_owned();
        let namespace = unique("test");
        containerd.ctr(&["--namespace", &namespace, "images", "pull", "--plain-http", &pushed.reference]).success();
        containerd.ctr(&["--namespace", &namespace, "run", "-d", &pushed.reference, "one"]).success();
        let tasks = containerd.ctr(&["--namespace", &namespace, "tasks", "list"]).success();
        assert!(tasks.stdout.contains("RUNNING"), "{}", tasks.stdout);
        assert!(!remains::cgroups(&namespace).is_empty() && !remains::mounts_below(&path).is_empty());
        drop(containerd);
        assert!(!path.exists());
        assert_eq!(remains::processes(&path), []);
        assert_eq!(remains::mounts_below(&path), Vec::<PathBuf>::new());
        assert_eq!(remains::cgroups(&namespace), Vec::<PathBuf>::new());
    }

    #[test]
    fn tasks_outlive_the_daemon() {
        if skip_unless_root_and_containerd() {
            return;
        }
        let registry = TestRegistry::start();
        let pushed = image::push(&registry, "sleeper", "1", &ImageSpec::busybox().entrypoint(["sleep", "600"]));
        let mut containerd = TestContainerd::start();
        let namespace = unique("test");
        containerd.ctr(&["--namespace", &namespace, "images", "pull", "--plain-http", &pushed.reference]).success();
        containerd.ctr(&["--namespace", &namespace, "run", "-d", &pushed.reference, "one"]).success();
        let before = containerd.ctr(&["--namespace", &namespace, "tasks", "list"]).success().stdout;
        containerd.kill9();
        containerd.start_again();
        assert_eq!(containerd.ctr(&["--namespace", &namespace, "tasks", "list"]).success().stdout, before);
    }
}
