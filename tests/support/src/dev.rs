//! The real binary: as a command, and as a running `hyphae dev`.

use crate::process::{Background, Finished, command, finish, program};
use crate::wait::wait_until;
use crate::{ImageSpec, Netns, Scratch, TestContainerd, TestRegistry, image, unique};
use sha2::{Digest, Sha256};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A bound on every command of a test.
const COMMAND_LIMIT: Duration = Duration::from_secs(120);
/// The port of the registry in the namespace of a [`Dev`]: the one that specs/examples/hello names.
pub const REGISTRY_PORT: u16 = 5500;

/// The binary, run as a command in a directory, against a server if it is given one.
#[derive(Debug, Clone)]
pub struct Hyphae {
    binary: PathBuf,
    directory: PathBuf,
    socket: Option<PathBuf>,
    netns: Option<Netns>,
}

impl Hyphae {
    /// The binary (`env!("CARGO_BIN_EXE_hyphae")`) in a directory, with no server.
    pub fn new(binary: &str, directory: &Path) -> Self {
        Self { binary: binary.into(), directory: directory.to_owned(), socket: None, netns: None }
    }

    /// The command with its arguments, not yet run; colourless.
    pub fn command(&self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> std::process::Command {
        let mut hyphae = command(self.netns.as_ref(), &self.binary);
        hyphae.args(arguments).current_dir(&self.directory).env("NO_COLOR", "1").env_remove("RUST_BACKTRACE");
        match &self.socket {
            Some(socket) => hyphae.env("HYPHAE_SOCKET", socket),
            None => hyphae.env_remove("HYPHAE_SOCKET"),
        };
        hyphae
    }

    /// Runs it to its end.
    ///
    /// # Panics
    /// When that takes longer than two minutes.
    pub fn run(&self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Finished {
        finish(self.command(arguments), COMMAND_LIMIT)
    }

    /// Where it runs; relative file names start here.
    pub fn directory(&self) -> &Path {
        &self.directory
    }
}

/// How a [`Dev`] is to be.
#[derive(Debug, Default)]
pub struct DevOptions {
    /// Use a containerd of the test's instead of one that hyphae starts and ends.
    pub own_containerd: bool,
    /// The size of a tmpfs for the server's data, to fill it.
    pub data_tmpfs_bytes: Option<u64>,
}

/// `hyphae dev` in a network namespace of its own, with a registry at [`REGISTRY_PORT`], a state directory, a socket and a
/// directory for spec files. All of it goes with the handle: processes, containers, mounts, cgroups, namespaces.
#[derive(Debug)]
pub struct Dev {
    process: Option<Background>,
    hyphae: Hyphae,
    node: String,
    containerd: Option<TestContainerd>,
    registry: Option<TestRegistry>,
    // After the processes: fields drop in this order.
    scratch: Scratch,
    netns: Netns,
}

impl Dev {
    /// Starts one and waits until its node is connected.
    ///
    /// # Panics
    /// When that does not happen within 30 s.
    pub fn start(binary: &str) -> Self {
        Self::start_with(binary, &DevOptions::default())
    }

    /// Starts one with options.
    ///
    /// # Panics
    /// When its node is not connected within 30 s.
    pub fn start_with(binary: &str, options: &DevOptions) -> Self {
        let scratch = Scratch::new();
        let netns = Netns::new();
        scratch.note_namespace(netns.name());
        for directory in ["specs", "state", "data"] {
            std::fs::create_dir(scratch.join(directory)).expect("the directory is new and ours");
        }
        if let Some(bytes) = options.data_tmpfs_bytes {
            let size = format!("size={bytes}");
            let none = None::<&str>;
            nix::mount::mount(
                Some("tmpfs"),
                &scratch.join("data"),
                Some("tmpfs"),
                nix::mount::MsFlags::empty(),
                Some(size.as_str()),
            )
            .unwrap_or_else(|error| panic!("mounting a tmpfs {none:?}: {error}"));
        }
        let hyphae = Hyphae {
            binary: binary.into(),
            directory: scratch.join("specs"),
            socket: Some(scratch.join("h.sock")),
            netns: Some(netns.clone()),
        };
        let containerd = options.own_containerd.then(|| TestContainerd::start_in(Some(&netns)));
        let registry = TestRegistry::start_in(Some(&netns), Some(REGISTRY_PORT));
        let node = unique("dev");
        scratch.note_namespace(&replica_namespaces(&node));
        scratch.note_cgroup(&format!("/hyphae/hyphae-{node}"));
        let mut dev = Self { process: None, hyphae, node, containerd, registry: Some(registry), scratch, netns };
        dev.start_again();
        dev
    }

    /// Starts `hyphae dev` again after [`kill9`](Self::kill9) or [`stop`](Self::stop).
    ///
    /// # Panics
    /// When its node is not connected within 30 s.
    pub fn start_again(&mut self) {
        let mut dev = command(Some(&self.netns), &self.hyphae.binary);
        dev.arg("dev").arg("--state-dir").arg(self.scratch.join("state"));
        dev.arg("--data-dir").arg(self.scratch.join("data"));
        dev.arg("--socket").arg(self.scratch.join("h.sock")).args(["--node", &self.node]);
        if let Some(containerd) = &self.containerd {
            dev.arg("--containerd-socket").arg(containerd.socket());
        }
        dev.current_dir(self.scratch.path()).env("NO_COLOR", "1");
        let mut process = Background::start("hyphae dev", dev, &self.scratch.join("dev.log"));
        wait_until("the node is connected", Duration::from_secs(30), || {
            assert!(process.is_running(), "hyphae dev ended:\n{}", process.log());
            let nodes = self.hyphae.run(["nodes", "--format", "json"]);
            let nodes: serde_json::Value = serde_json::from_str(&nodes.stdout).ok()?;
            let connected = nodes["nodes"].as_array()?.iter().any(|node| node["connected"] == true);
            connected.then_some(())
        });
        self.process = Some(process);
    }

    /// The binary, set up to talk to this server.
    pub fn hyphae(&self) -> &Hyphae {
        &self.hyphae
    }

    /// Runs the binary against this server.
    pub fn run(&self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Finished {
        self.hyphae.run(arguments)
    }

    /// Writes a file into the directory where commands run.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.hyphae.directory.join(name);
        std::fs::write(&path, text).expect("the directory is ours");
        path
    }

    /// The namespace that stands for the host.
    pub fn netns(&self) -> &Netns {
        &self.netns
    }

    /// The registry, named `localhost:5500` in specs.
    ///
    /// # Panics
    /// Never: there is always one.
    pub fn registry(&mut self) -> &mut TestRegistry {
        self.registry.as_mut().expect("there is a registry until the handle is dropped")
    }

    /// Pushes an image to the registry; its reference.
    pub fn push(&mut self, name: &str, tag: &str, spec: &ImageSpec) -> image::Pushed {
        image::push(self.registry(), name, tag, spec)
    }

    /// The containerd of the test's own, if it was asked for.
    pub fn containerd(&self) -> Option<&TestContainerd> {
        self.containerd.as_ref()
    }

    /// The same, to kill it and to start it again.
    pub fn containerd_mut(&mut self) -> Option<&mut TestContainerd> {
        self.containerd.as_mut()
    }

    /// The node's name.
    pub fn node(&self) -> &str {
        &self.node
    }

    /// The directory that holds everything.
    pub fn path(&self) -> &Path {
        self.scratch.path()
    }

    /// The directory of the server's data.
    pub fn data(&self) -> PathBuf {
        self.scratch.join("data")
    }

    /// What `hyphae dev` has said.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.scratch.join("dev.log")).unwrap_or_default()).into_owned()
    }

    /// Kills `hyphae dev`, server and agent at once, without a warning.
    pub fn kill9(&mut self) {
        self.process = None;
    }

    /// Ends `hyphae dev` as an operator does; its exit code, or `None` when it had to be killed.
    pub fn stop(&mut self) -> Option<i32> {
        self.process.take().and_then(|mut process| process.terminate(Duration::from_secs(30)))
    }

    /// The process ids of the containerds that belong to this handle.
    pub fn containerd_pids(&self) -> Vec<u32> {
        let mut pids: Vec<u32> = self.containerd.iter().map(TestContainerd::pid).collect();
        let ours = crate::remains::processes(self.scratch.path()).into_iter();
        let daemon = |line: &str| line.split(' ').next().is_some_and(|word| word.ends_with("containerd"));
        pids.extend(ours.filter(|(_, line)| daemon(line)).map(|(pid, _)| pid));
        pids
    }

    /// `ctr` against a containerd at this socket, from inside the namespace: it is `ctr` that pulls.
    pub fn ctr(&self, socket: &Path, arguments: &[&str]) -> Finished {
        let mut ctr = command(Some(&self.netns), program("ctr"));
        ctr.arg("--address").arg(socket).args(arguments);
        finish(ctr, Duration::from_secs(60))
    }
}

/// How the names of the network namespaces of a node's replicas begin.
pub fn replica_namespaces(node: &str) -> String {
    let digest = Sha256::digest(format!("hyphae-{node}"));
    digest.iter().take(4).fold("hy-".to_owned(), |text, byte| format!("{text}{byte:02x}")) + "-"
}

impl Drop for Dev {
    fn drop(&mut self) {
        // The agent first, so that it restarts nothing of what goes.
        self.process = None;
    }
}
