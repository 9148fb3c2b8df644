#![expect(clippy::disallowed_methods, reason = "an edge: writes hosts files")]
//! Carries out single actions on this node: each `async fn` here is one `Action`. The outside; decides nothing.

use crate::cgroups;
use crate::containerd::{Containerd, ContainerdError, NewContainer};
use crate::history::Exit;
use crate::host_ports::{self, HostPort, Target};
use crate::hosts_file::hosts_file;
use crate::images::{Images, PullError, UnpackedImage};
use crate::logs::Logs;
use crate::netlink::{NetworkError, NodeNetwork, ReplicaNetwork};
use crate::netns;
use crate::reconcile::GRACE_MILLIS_DEFAULT;
use crate::replica::{ReplicaId, Wanted, hex_digest};
use crate::rootfs;
use crate::runtime_spec::{SpecError, Surroundings, hostname, runtime_spec};
use crate::store::Store;
use crate::users::UserDatabase;
use crate::world::{Collected, Failed, Listed, Started};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::error::Error;
use std::fs;
use std::io;
use std::net::Ipv6Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

/// Lines of output in a status.
const LAST_LINES_MAX: usize = 10;
const SIGTERM: u32 = 15;
const SIGKILL: u32 = 9;

const LABEL_WORKLOAD: &str = "hyphae.workload";
const LABEL_INDEX: &str = "hyphae.index";
const LABEL_GENERATION: &str = "hyphae.generation";
const LABEL_ADDRESS: &str = "hyphae.address";
const LABEL_GRACE: &str = "hyphae.stop-grace-millis";

/// The node's outside, as far as it is the agent's.
#[derive(Debug)]
pub(crate) struct Node {
    /// This node's name.
    pub(crate) name: String,
    /// Containers.
    pub(crate) containerd: Containerd,
    /// Images.
    pub(crate) images: Images,
    /// Links, addresses and routes.
    pub(crate) network: NodeNetwork,
    /// The agent's files.
    pub(crate) store: Store,
    /// Cgroups of replicas are made below this one.
    pub(crate) cgroup_parent: String,
}

/// Why a replica was not started.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error("its files cannot be made")]
    Files(#[source] io::Error),
    #[error("it has no network")]
    Network(#[source] NetworkError),
    #[error(transparent)]
    Spec(#[from] SpecError),
    #[error(transparent)]
    Containerd(#[from] ContainerdError),
}

/// An error and what caused it, in one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

impl From<ContainerdError> for Failed {
    fn from(error: ContainerdError) -> Self {
        Self { problem: chain(&error), is_unanswered: error.is_unanswered(), is_image_gone: error.is_not_found() }
    }
}

fn failed(error: &dyn Error) -> Failed {
    Failed { problem: chain(error), is_unanswered: false, is_image_gone: false }
}

impl Node {
    /// The names of a replica's network. Several agents may share a machine, and two a network namespace: names carry the
    /// agent's containerd namespace.
    fn network_of(&self, id: &ReplicaId, address: Ipv6Addr) -> ReplicaNetwork {
        let container_id = id.container_id();
        let link = hex_digest(&format!("{}\n{container_id}", self.containerd.namespace()));
        ReplicaNetwork {
            namespace: format!("{}{container_id}", self.namespace_prefix()),
            link: format!("v{}", &link[..12]),
            address,
        }
    }

    fn namespace_prefix(&self) -> String {
        format!("hy-{}-", &hex_digest(self.containerd.namespace())[..8])
    }

    fn cgroup_base(&self) -> String {
        format!("/{}/{}", self.cgroup_parent.trim_matches('/'), self.containerd.namespace())
    }

    fn cgroup(&self, id: &ReplicaId) -> String {
        format!("{}/{}", self.cgroup_base(), id.container_id())
    }

    /// A replica's output.
    pub(crate) fn logs(&self, id: &ReplicaId) -> Logs {
        Logs::in_directory(&self.store.replica_directory(id))
    }

    /// Has an image here.
    pub(crate) async fn pull(&self, image: &str, progress: impl Fn(usize, usize)) -> Result<UnpackedImage, Failed> {
        self.images.pull(image, progress).await.map_err(|error| match error {
            PullError::Containerd(error) => error.into(),
            error => failed(&error),
        })
    }

    /// Makes network, container and task, and starts it. On failure no container remains, as far as containerd answers.
    pub(crate) async fn start(
        &self,
        wanted: &Wanted,
        image: &UnpackedImage,
        running: &[(ReplicaId, Ipv6Addr)],
    ) -> Result<Started, Failed> {
        let id = wanted.id.container_id();
        let error = match self.start_steps(wanted, image, running).await {
            Ok(started) => return Ok(started),
            Err(error) => error,
        };
        self.containerd.remove(&id).await?;
        Err(match error {
            StartError::Containerd(error) => error.into(),
            error => failed(&error),
        })
    }

    async fn start_steps(
        &self,
        wanted: &Wanted,
        image: &UnpackedImage,
        running: &[(ReplicaId, Ipv6Addr)],
    ) -> Result<Started, StartError> {
        let id = wanted.id.container_id();
        let directory = self.store.replica_directory(&wanted.id);
        fs::create_dir_all(&directory).map_err(StartError::Files)?;
        let logs = self.logs(&wanted.id);
        logs.ensure().map_err(StartError::Files)?;
        let log_marks = logs.sizes();
        self.write_hosts(wanted, running).map_err(StartError::Files)?;
        let network = self.network_of(&wanted.id, wanted.address);
        // Neither needs the other.
        let (has_network, rootfs) =
            tokio::join!(self.network.ensure(&network), self.containerd.prepare_rootfs(&id, &image.chain_id));
        has_network.map_err(StartError::Network)?;
        let rootfs = rootfs?;
        let run = &image.config.run;
        let users = if run.user.is_empty() { UserDatabase::default() } else { rootfs::users(&rootfs) };
        let spec = runtime_spec(
            wanted,
            &Surroundings {
                node: &self.name,
                image: run,
                users: &users,
                network_namespace: &netns::path(&network.namespace),
                hosts_file: &self.hosts_path(&wanted.id),
                cgroup: &self.cgroup(&wanted.id),
                swap_limit: cgroups::swap_can_be_limited(),
            },
        )?;
        let container = NewContainer {
            id,
            image: wanted.spec.image.clone(),
            labels: labels(wanted),
            spec: spec.to_string().into_bytes(),
            stdout: logs.path(crate::logs::Output::Stdout),
            stderr: logs.path(crate::logs::Output::Stderr),
        };
        let pid = self.containerd.run(&container, rootfs).await?;
        Ok(Started { pid, log_marks })
    }

    /// Asks the replica to end.
    pub(crate) async fn terminate(&self, id: &ReplicaId) -> Result<(), Failed> {
        Ok(self.containerd.kill(&id.container_id(), SIGTERM, false).await?)
    }

    /// Ends all of the replica's processes.
    pub(crate) async fn kill(&self, id: &ReplicaId) -> Result<(), Failed> {
        Ok(self.containerd.kill(&id.container_id(), SIGKILL, true).await?)
    }

    /// Reads how it ended and removes task, container and snapshot.
    pub(crate) async fn collect(&self, id: &ReplicaId, log_marks: (u64, u64)) -> Result<Collected, Failed> {
        let oom_killed = cgroups::oom_kills(&self.cgroup(id)) > 0;
        let code = self.containerd.remove(&id.container_id()).await?;
        let last_lines = self.logs(id).last_lines(log_marks, LAST_LINES_MAX);
        Ok(Collected { exit: Exit { code, oom_killed, last_lines } })
    }

    /// Removes network, cgroup and files, except the output.
    pub(crate) async fn remove(&self, id: &ReplicaId) -> Result<(), Failed> {
        let network = self.network_of(id, Ipv6Addr::UNSPECIFIED);
        self.network.remove(&network).await.map_err(|error| failed(&error))?;
        cgroups::remove(&self.cgroup(id)).map_err(|error| failed(&error))?;
        fs::remove_file(self.hosts_path(id)).ok();
        Ok(())
    }

    /// Forgets the replica.
    pub(crate) async fn remove_logs(&self, id: &ReplicaId) -> Result<(), Failed> {
        self.store.forget(id).map_err(|error| failed(&error))
    }

    /// All containers of this agent, with their tasks.
    pub(crate) async fn list(&self) -> Result<Vec<Listed>, ContainerdError> {
        let containers = self.containerd.containers().await?;
        let tasks = self.containerd.tasks().await?;
        let listed = containers.into_iter().filter_map(|container| {
            let number = |label: &str| container.labels.get(label)?.parse::<u64>().ok();
            let id = ReplicaId {
                workload: container.labels.get(LABEL_WORKLOAD)?.clone(),
                index: u32::try_from(number(LABEL_INDEX)?).ok()?,
            };
            let address = container.labels.get(LABEL_ADDRESS).and_then(|address| address.parse().ok());
            // Somebody else's container that borrowed our labels is not ours.
            (id.container_id() == container.id).then(|| Listed {
                generation: number(LABEL_GENERATION).unwrap_or(0),
                address: address.unwrap_or(Ipv6Addr::UNSPECIFIED),
                stop_grace_millis: number(LABEL_GRACE).unwrap_or(GRACE_MILLIS_DEFAULT),
                task: tasks.get(&container.id).copied(),
                id,
            })
        });
        Ok(listed.collect())
    }

    /// Removes networks that belong to no replica that is known: left by an agent whose directory was lost.
    /// Waits for nothing, so that no start can come between looking and removing.
    pub(crate) fn remove_orphans(&self, known: &BTreeSet<ReplicaId>) {
        let prefix = self.namespace_prefix();
        let known: Vec<String> = known.iter().map(|id| format!("{prefix}{}", id.container_id())).collect();
        for name in netns::list(&prefix).unwrap_or_default() {
            if known.contains(&name) {
                continue;
            }
            tracing::info!(namespace = name, "removing a network namespace of no replica");
            if let Err(error) = netns::remove(&name) {
                tracing::warn!(error = chain(&error), "it stays");
            }
        }
    }

    /// Removes the cgroup that all replicas' were made in, once it is empty.
    pub(crate) fn remove_cgroup_base(&self) -> io::Result<()> {
        cgroups::remove(&self.cgroup_base())?;
        // Another agent's may be in there.
        cgroups::remove(&self.cgroup_parent).ok();
        Ok(())
    }

    /// Makes these ports of the node lead to these replicas, and no others.
    pub(crate) async fn forward_host_ports(&self, forwards: &BTreeMap<HostPort, Target>) -> io::Result<()> {
        let table = format!("hyphae_{}", &hex_digest(self.containerd.namespace())[..8]);
        host_ports::load(&host_ports::ruleset(&table, forwards)).await
    }

    fn hosts_path(&self, id: &ReplicaId) -> PathBuf {
        self.store.replica_directory(id).join("hosts")
    }

    /// Writes a replica's `/etc/hosts`, in place: it is mounted into the container.
    pub(crate) fn write_hosts(&self, wanted: &Wanted, running: &[(ReplicaId, Ipv6Addr)]) -> io::Result<()> {
        let path = self.hosts_path(&wanted.id);
        fs::write(&path, hosts_file(wanted.address, &hostname(wanted), running))?;
        // Whoever the replica runs as must be able to read it, whatever the agent's umask.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644))
    }
}

fn labels(wanted: &Wanted) -> HashMap<String, String> {
    HashMap::from([
        (LABEL_WORKLOAD.to_owned(), wanted.id.workload.clone()),
        (LABEL_INDEX.to_owned(), wanted.id.index.to_string()),
        (LABEL_GENERATION.to_owned(), wanted.generation.to_string()),
        (LABEL_ADDRESS.to_owned(), wanted.address.to_string()),
        (LABEL_GRACE.to_owned(), wanted.stop_grace_millis().to_string()),
    ])
}
