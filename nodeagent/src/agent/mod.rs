//! The agent: one loop that takes in news, decides through `reconcile`, and has the actions carried out. The outside.
//!
//! ```text
//!   server ─────────┐                          ┌─> tasks, each one action on `Node`
//!   containerd ─────┼─> Message ─> World ─> decide        │
//!   clock ──────────┘      ^                              │
//!                          └──────── Outcome ─────────────┘
//! ```
//!
//! Ending the agent ends nothing that it runs; its next start finds everything again. It works without a server, by the last share.

mod act;
mod hear;
mod watch;

use crate::containerd::{Containerd, ContainerdError};
use crate::containerd_events::TaskEvent;
use crate::control_plane::FromServer;
use crate::host_ports::{HostPort, Target};
use crate::images::{Images, UnpackedImage};
use crate::netlink::{NetworkError, NodeNetwork};
use crate::node::Node;
use crate::replica::{ReplicaId, WantedShare};
use crate::reports::Reports;
use crate::store::{Record, Store, StoreError};
use crate::world::{Failed, Listed, Outcome, World};
use act::PREFIX_LENGTH;
use hyphae_api::v1::{self, AgentMessage};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

/// News that wait for the loop.
const MESSAGES_MAX: usize = 1024;
/// Actions under way at shutdown may take so long to end.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(10);

/// Everything an agent is told from outside.
#[derive(Debug, Clone)]
pub struct AgentConfig {
    /// This node's name.
    pub node: String,
    /// The server's Unix socket.
    pub server_socket: PathBuf,
    /// containerd's Unix socket.
    pub containerd_socket: PathBuf,
    /// The containerd namespace the agent works in, which must be its own: everything in it is the agent's.
    pub containerd_namespace: String,
    /// containerd's snapshotter.
    pub snapshotter: String,
    /// Where the agent remembers, and keeps output.
    pub state_directory: PathBuf,
    /// Each of a replica's two outputs is rotated beyond this; twice as much is kept.
    pub log_bytes_max: u64,
    /// Labels beside those detected (arch, os, kernel, hostname); they win.
    pub labels: BTreeMap<String, String>,
    /// The node's pool, or "".
    pub pool: String,
    /// Workloads keep off unless they tolerate each of these.
    pub taints: Vec<String>,
    /// Millionths per hour while the node holds anything.
    pub price_micros: u64,
    /// What the node has, if not what is detected.
    pub capacity: Option<v1::Resources>,
    /// The node's /80, if the server is not to give one.
    pub prefix: Option<Ipv6Addr>,
    /// Registries spoken to in plain HTTP, beside those on this machine: "host:port".
    pub plain_http_registries: Vec<String>,
    /// Replicas' cgroups are made below `<this>/<containerd namespace>`.
    pub cgroup_parent: String,
}

impl AgentConfig {
    /// The usual settings for a node of this name.
    pub fn new(node: &str, server_socket: PathBuf, containerd_socket: PathBuf, state_directory: PathBuf) -> Self {
        Self {
            node: node.to_owned(),
            server_socket,
            containerd_socket,
            containerd_namespace: format!("hyphae-{node}"),
            snapshotter: "overlayfs".to_owned(),
            state_directory,
            log_bytes_max: 10 << 20,
            labels: BTreeMap::new(),
            pool: String::new(),
            taints: Vec::new(),
            price_micros: 0,
            capacity: None,
            prefix: None,
            plain_http_registries: Vec::new(),
            cgroup_parent: "hyphae".to_owned(),
        }
    }
}

/// Why an agent cannot run at all.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// Its directory.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Its network.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// containerd.
    #[error(transparent)]
    Containerd(#[from] ContainerdError),
    /// Something of a replica stays.
    #[error("{0}")]
    Remains(String),
}

/// News for the loop.
enum Message {
    Server(FromServer),
    Subscribed,
    RuntimeLost(ContainerdError),
    Task(TaskEvent),
    Listed(BTreeMap<ReplicaId, u64>, Result<Vec<Listed>, ContainerdError>),
    Done(ReplicaId, Outcome),
    Progress { image: String, layers_done: usize, layers: usize },
    Pulled { image: String, result: Result<UnpackedImage, Failed> },
    NodeNetwork(Result<(), String>),
    HostPorts(BTreeMap<HostPort, Target>, Result<(), std::io::Error>),
}

/// Runs an agent until `shutdown` is cancelled. What it runs goes on running.
pub async fn run(config: AgentConfig, shutdown: CancellationToken) -> Result<(), AgentError> {
    let (sender, mut messages) = mpsc::channel(MESSAGES_MAX);
    let mut agent = Agent::new(config, sender)?;
    agent.spawn_watchers();
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let wake = agent.act();
        tokio::select! {
            message = messages.recv() => {
                let Some(message) = message else { break };
                agent.hear(message);
                // Whatever else is there, before deciding again.
                while let Ok(message) = messages.try_recv() {
                    agent.hear(message);
                }
            }
            _ = tick.tick() => agent.tick(),
            () = tokio::time::sleep(wake) => {}
            () = shutdown.cancelled() => break,
        }
    }
    agent.watchers.clear();
    agent.pulls.cancel();
    let actions = agent.actions.clone();
    actions.close();
    // A start that is cut short would only have to be undone by the next agent.
    let finish = async {
        loop {
            tokio::select! {
                () = actions.wait() => return,
                message = messages.recv() => match message {
                    Some(message) => agent.hear(message),
                    None => return,
                },
            }
        }
    };
    tokio::time::timeout(SHUTDOWN_GRACE, finish).await.ok();
    while let Ok(message) = messages.try_recv() {
        agent.hear(message);
    }
    Ok(())
}

struct Agent {
    config: AgentConfig,
    node: Arc<Node>,
    world: World,
    reports: Reports,
    /// Actions and listings under way; awaited at shutdown.
    actions: TaskTracker,
    /// Cancelled at shutdown: pulls are not waited for, they go on where they stopped.
    pulls: CancellationToken,
    messages: mpsc::Sender<Message>,
    /// Streams to the server and from containerd; they end with the agent.
    watchers: Vec<AbortOnDropHandle<()>>,
    to_server: Option<mpsc::Sender<AgentMessage>>,
    /// Output being sent, by request.
    log_requests: HashMap<u64, AbortOnDropHandle<()>>,
    /// Failed pulls in a row, by image.
    pull_failures: BTreeMap<String, u32>,
    /// Since when nothing wants an image.
    unused_images: Arc<tokio::sync::Mutex<BTreeMap<String, u64>>>,
    /// What `/etc/hosts` lists.
    running: Vec<(ReplicaId, Ipv6Addr)>,
    host_ports: HostPorts,
    saved: BTreeMap<ReplicaId, Record>,
    /// The revision of the last share acted on, for `Hello`.
    revision: Arc<AtomicU64>,
    prefix: Option<Ipv6Addr>,
    node_network: NodeNetworkState,
    is_listing: bool,
    orphans_removed: bool,
    ticks: u64,
}

/// What nftables forwards.
#[derive(PartialEq, Eq)]
enum HostPorts {
    /// Perhaps what an earlier agent has left.
    Unknown,
    Loading,
    Loaded(BTreeMap<HostPort, Target>),
    /// Until the next tick.
    Failed,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum NodeNetworkState {
    Missing,
    Working,
    Ready,
}

impl Agent {
    fn new(config: AgentConfig, messages: mpsc::Sender<Message>) -> Result<Self, AgentError> {
        let node = open_node(&config)?;
        let share = node.store.share();
        let prefix = config.prefix.or_else(|| node.store.prefix());
        let records = node.store.records();
        let saved = records.iter().map(|record| (record.id.clone(), record.clone())).collect();
        let revision = share.as_ref().map_or(0, |share| share.revision);
        Ok(Self {
            reports: Reports::new(&config.node),
            node: Arc::new(node),
            world: World::new(share.as_ref().map(WantedShare::read), records),
            actions: TaskTracker::new(),
            pulls: CancellationToken::new(),
            messages,
            watchers: Vec::new(),
            to_server: None,
            log_requests: HashMap::new(),
            pull_failures: BTreeMap::new(),
            unused_images: Arc::default(),
            running: Vec::new(),
            host_ports: HostPorts::Unknown,
            saved,
            revision: Arc::new(AtomicU64::new(revision)),
            prefix,
            node_network: NodeNetworkState::Missing,
            is_listing: false,
            orphans_removed: false,
            ticks: 0,
            config,
        })
    }
}

fn open_node(config: &AgentConfig) -> Result<Node, AgentError> {
    // Only the first call in a process has an effect; any provider will do.
    rustls::crypto::ring::default_provider().install_default().ok();
    let store = Store::open(&config.state_directory)?;
    let containerd = Containerd::new(&config.containerd_socket, &config.containerd_namespace, &config.snapshotter);
    Ok(Node {
        name: config.node.clone(),
        images: Images::new(containerd.clone(), config.plain_http_registries.clone()),
        containerd,
        network: NodeNetwork::open()?,
        store,
        cgroup_parent: config.cgroup_parent.clone(),
    })
}

fn now_millis() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or(0)
}

/// Stops and removes everything an agent of this configuration has made: containers, networks, cgroups, routes, files. For the end of
/// a `dev` cluster and for taking a node out; no agent may be running.
pub async fn remove_everything(config: &AgentConfig) -> Result<(), AgentError> {
    let node = open_node(config)?;
    let mut ids: BTreeSet<ReplicaId> = node.store.records().into_iter().map(|record| record.id).collect();
    ids.extend(node.list().await?.into_iter().map(|listed| listed.id));
    let mut remains = Vec::new();
    for id in &ids {
        for removed in [node.collect(id, (0, 0)).await.map(drop), node.remove(id).await, node.remove_logs(id).await] {
            if let Err(failed) = removed {
                remains.push(format!("{id}: {}", failed.problem));
            }
        }
    }
    node.remove_orphans(&BTreeSet::new());
    // Without nftables there is nothing to remove.
    node.forward_host_ports(&BTreeMap::new()).await.ok();
    if let Some(prefix) = config.prefix.or_else(|| node.store.prefix()) {
        node.network.remove_node(prefix, PREFIX_LENGTH).await?;
    }
    node.images.remove_unused(&BTreeSet::new(), &mut BTreeMap::new(), 0, 0).await?;
    if let Err(error) = node.remove_cgroup_base() {
        remains.push(error.to_string());
    }
    if remains.is_empty() { Ok(()) } else { Err(AgentError::Remains(remains.join("; "))) }
}
