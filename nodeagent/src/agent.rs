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

use crate::containerd::{Containerd, ContainerdError};
use crate::containerd_events::TaskEvent;
use crate::control_plane::{FromServer, keep_connected};
use crate::host_ports::{HostPort, Target};
use crate::images::{Images, UnpackedImage};
use crate::log_stream::send_logs;
use crate::machine;
use crate::netlink::{NetworkError, NodeNetwork};
use crate::node::{Node, chain};
use crate::reconcile::{Action, Container, Runtime};
use crate::replica::{ReplicaId, WantedShare};
use crate::reports::Reports;
use crate::status::{bytes_text, exit_text};
use crate::store::{Record, Store, StoreError};
use crate::world::{Failed, Listed, Outcome, World};
use hyphae_api::v1::{self, AgentMessage, agent_message};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

/// Bits of a node's prefix.
const PREFIX_LENGTH: u8 = 80;
/// News that wait for the loop.
const MESSAGES_MAX: usize = 1024;
/// Containers are listed so often even if nothing seems to have happened.
const LIST_EVERY_TICKS: u64 = 30;
/// Images are looked through so often.
const IMAGES_EVERY_TICKS: u64 = 60;
/// An image that nothing has wanted for so long is removed.
const IMAGE_UNUSED_MILLIS: u64 = 10 * 60 * 1_000;
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

    fn spawn_watchers(&mut self) {
        let messages = self.messages.clone();
        let containerd = self.node.containerd.clone();
        self.watchers.push(AbortOnDropHandle::new(tokio::spawn(watch_runtime(containerd, messages.clone()))));
        let (sender, mut from_server) = mpsc::channel(64);
        let hello = hello(&self.config, Arc::clone(&self.revision));
        let socket = self.config.server_socket.clone();
        self.watchers.push(AbortOnDropHandle::new(tokio::spawn(keep_connected(socket, hello, sender))));
        let forward = async move {
            while let Some(news) = from_server.recv().await {
                if messages.send(Message::Server(news)).await.is_err() {
                    return;
                }
            }
        };
        self.watchers.push(AbortOnDropHandle::new(tokio::spawn(forward)));
    }

    /// Decides, begins what is decided, and tells the server. How long to sleep if nothing happens.
    fn act(&mut self) -> Duration {
        let now = now_millis();
        if self.world.listing_due && !self.is_listing {
            self.list();
        }
        let decision = self.world.decide(now);
        for action in decision.actions {
            self.begin(action);
        }
        self.refresh_hosts();
        self.refresh_host_ports();
        self.report(now);
        let wake = decision.wake_millis.map_or(60_000, |at| at.saturating_sub(now));
        Duration::from_millis(wake.clamp(1, 60_000))
    }

    fn begin(&mut self, action: Action) {
        let node = Arc::clone(&self.node);
        let done = self.messages.clone();
        tracing::debug!(?action, "begins");
        match action {
            Action::Pull { image } => {
                self.actions.spawn(pull(node, image, done));
            }
            Action::Start { id } => {
                let wanted = self.world.wanted.as_ref().and_then(|share| share.replicas.get(&id)).cloned();
                let image = wanted.as_ref().and_then(|wanted| self.world.unpacked.get(&wanted.spec.image)).cloned();
                let (Some(wanted), Some(image)) = (wanted, image) else { return };
                self.save(&id);
                let running = self.running.clone();
                self.actions.spawn(async move {
                    let (generation, stop_grace_millis) = (wanted.generation, wanted.stop_grace_millis());
                    let result = node.start(&wanted, &image, &running).await;
                    done.send(Message::Done(id, Outcome::Started { generation, stop_grace_millis, result })).await.ok();
                });
            }
            Action::Terminate { id } => {
                self.actions.spawn(async move {
                    let outcome = Outcome::Terminated(node.terminate(&id).await);
                    done.send(Message::Done(id, outcome)).await.ok();
                });
            }
            Action::Kill { id } => {
                self.actions.spawn(async move {
                    let outcome = Outcome::Killed(node.kill(&id).await);
                    done.send(Message::Done(id, outcome)).await.ok();
                });
            }
            Action::Collect { id } => {
                // With its exit code, before containerd forgets it: a job that is done must stay done.
                self.save(&id);
                let marks = self.world.observed.replicas.get(&id).map_or((0, 0), |seen| seen.history.log_marks);
                self.actions.spawn(async move {
                    let outcome = Outcome::Collected(node.collect(&id, marks).await);
                    done.send(Message::Done(id, outcome)).await.ok();
                });
            }
            Action::Remove { id } => {
                self.actions.spawn(async move {
                    let outcome = Outcome::Removed(node.remove(&id).await);
                    done.send(Message::Done(id, outcome)).await.ok();
                });
            }
            Action::RemoveLogs { id } => {
                self.actions.spawn(async move {
                    let outcome = Outcome::LogsRemoved(node.remove_logs(&id).await);
                    done.send(Message::Done(id, outcome)).await.ok();
                });
            }
        }
    }

    fn hear(&mut self, message: Message) {
        let now = now_millis();
        match message {
            Message::Server(news) => self.hear_server(news),
            Message::Subscribed => self.world.listing_due = true,
            Message::RuntimeLost(error) => {
                tracing::warn!(%error, "containerd is gone; what runs goes on running");
                self.world.lost();
            }
            Message::Task(TaskEvent::Exited { container_id, pid, code }) => {
                if let Some(id) = self.world.exited(&container_id, pid, code) {
                    tracing::info!(replica = %id, "ended");
                }
            }
            Message::Task(TaskEvent::OutOfMemory { container_id }) => self.out_of_memory(&container_id),
            Message::Listed(epochs, result) => self.hear_listing(&epochs, result),
            Message::Done(id, outcome) => self.hear_done(&id, outcome, now),
            Message::Progress { image, layers_done, layers } => self.world.progress(&image, layers_done, layers),
            Message::Pulled { image, result } => {
                let failures = self.pull_failures.entry(image.clone()).or_default();
                *failures = if result.is_ok() { 0 } else { failures.saturating_add(1) };
                let failures = *failures;
                if let Err(failed) = &result {
                    tracing::warn!(image, problem = failed.problem, "not pulled");
                }
                self.world.pulled(&image, result, failures, now);
            }
            Message::HostPorts(forwards, Ok(())) => self.host_ports = HostPorts::Loaded(forwards),
            // A node without nftables is fine as long as nothing asks for its ports.
            Message::HostPorts(forwards, Err(_)) if forwards.is_empty() => {
                self.host_ports = HostPorts::Loaded(forwards)
            }
            Message::HostPorts(_, Err(error)) => {
                tracing::error!(%error, "the node's ports do not lead to its replicas; trying again");
                self.event("host-ports-failed", None, format!("ports of node {}: {error}", self.config.node));
                self.host_ports = HostPorts::Failed;
            }
            Message::NodeNetwork(Ok(())) => self.node_network = NodeNetworkState::Ready,
            Message::NodeNetwork(Err(problem)) => {
                tracing::error!(problem, "the node's network is not ready; trying again");
                self.node_network = NodeNetworkState::Missing;
            }
        }
    }

    fn hear_server(&mut self, news: FromServer) {
        match news {
            FromServer::Connected { to, prefix } => {
                tracing::info!(prefix, "connected to the server");
                self.to_server = Some(to);
                self.reports.tell_everything();
                self.take_prefix(&prefix);
            }
            FromServer::Share(share) => self.take_share(&share),
            FromServer::LogStart(start) => {
                let Some(to) = self.to_server.clone() else { return };
                let id = ReplicaId { workload: start.workload.clone(), index: start.index };
                let request = start.request;
                let sending = tokio::spawn(send_logs(self.node.logs(&id), id, start, to));
                self.log_requests.retain(|_, sending| !sending.is_finished());
                self.log_requests.insert(request, AbortOnDropHandle::new(sending));
            }
            FromServer::LogStop(request) => {
                self.log_requests.remove(&request);
            }
            FromServer::Disconnected => {
                self.to_server = None;
                self.log_requests.clear();
            }
        }
    }

    fn take_share(&mut self, share: &v1::Share) {
        let wanted = WantedShare::read(share);
        let revision = wanted.revision;
        if self.world.wanted.as_ref().is_some_and(|present| revision < present.revision) {
            let present = self.revision.load(Ordering::Relaxed);
            tracing::warn!(revision, present, "the server is behind what this node has acted on; its share is ignored");
            return;
        }
        // Remembered before acted on: otherwise an older one could be taken after a restart.
        if let Err(error) = self.node.store.save_share(share) {
            let error = chain(&error);
            tracing::error!(error, "the share cannot be remembered and is not acted on; the server will send it again");
            self.event("share-refused", None, format!("node {} cannot remember its share: {error}", self.config.node));
            return;
        }
        self.world.want(wanted);
        self.revision.store(revision, Ordering::Relaxed);
    }

    fn take_prefix(&mut self, text: &str) {
        let address = text.split('/').next().and_then(|address| address.parse::<Ipv6Addr>().ok());
        let Some(address) = self.config.prefix.or(address) else {
            if !text.is_empty() {
                tracing::error!(prefix = text, "the server gave a prefix that cannot be read");
            }
            return;
        };
        if self.prefix != Some(address) || self.node.store.prefix() != Some(address) {
            self.prefix = Some(address);
            self.node_network = NodeNetworkState::Missing;
            if let Err(error) = self.node.store.save_prefix(address) {
                tracing::warn!(error = chain(&error), "the prefix cannot be remembered");
            }
        }
        self.ensure_node_network();
    }

    fn ensure_node_network(&mut self) {
        let (Some(prefix), NodeNetworkState::Missing) = (self.prefix, self.node_network) else { return };
        self.node_network = NodeNetworkState::Working;
        let (node, done) = (Arc::clone(&self.node), self.messages.clone());
        self.actions.spawn(async move {
            let result = node.network.ensure_node(prefix, PREFIX_LENGTH).await;
            done.send(Message::NodeNetwork(result.map_err(|error| chain(&error)))).await.ok();
        });
    }

    fn list(&mut self) {
        self.world.listing_due = false;
        self.is_listing = true;
        let epochs = self.world.epochs();
        let (node, done) = (Arc::clone(&self.node), self.messages.clone());
        self.actions.spawn(async move {
            let result = node.list().await;
            if result.is_err() {
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            done.send(Message::Listed(epochs, result)).await.ok();
        });
    }

    fn hear_listing(&mut self, epochs: &BTreeMap<ReplicaId, u64>, result: Result<Vec<Listed>, ContainerdError>) {
        self.is_listing = false;
        match result {
            Ok(listed) => {
                self.world.listed(listed, epochs, now_millis());
                if !self.orphans_removed {
                    self.orphans_removed = true;
                    let known: Vec<ReplicaId> = self.world.observed.replicas.keys().cloned().collect();
                    let node = Arc::clone(&self.node);
                    // Before any start, whose network would not be known.
                    self.actions.spawn(async move { node.remove_orphans(&known).await });
                }
            }
            Err(error) => {
                tracing::warn!(%error, "containers cannot be listed; trying again");
                self.world.listing_due = true;
            }
        }
    }

    fn hear_done(&mut self, id: &ReplicaId, outcome: Outcome, now: u64) {
        let text = match &outcome {
            Outcome::Started { result: Ok(_), .. } => Some(("replica-started", format!("{id} started"))),
            Outcome::Started { result: Err(failed), .. } => {
                Some(("replica-not-started", format!("{id} did not start: {}", failed.problem)))
            }
            Outcome::Collected(Ok(collected)) => {
                let limit = self.world.wanted.as_ref().and_then(|share| share.replicas.get(id));
                let limit = limit.map_or(0, |wanted| wanted.spec.limit_memory_bytes);
                Some(("replica-exited", format!("{id} ended: {}", exit_text(&collected.exit, limit))))
            }
            Outcome::Removed(Ok(())) => Some(("replica-removed", format!("{id} removed"))),
            _ => None,
        };
        if let Some((kind, text)) = text {
            tracing::info!("{text}");
            self.event(kind, Some(id), text);
        }
        self.world.done(id, outcome, now);
        self.save(id);
    }

    /// Remembers what has become of a replica, if that is news.
    fn save(&mut self, id: &ReplicaId) {
        let Some(record) = self.world.record(id) else {
            self.saved.remove(id);
            return;
        };
        if self.saved.get(id) == Some(&record) {
            return;
        }
        match self.node.store.save_record(&record) {
            Ok(()) => {
                self.saved.insert(id.clone(), record);
            }
            Err(error) => tracing::error!(replica = %id, error = chain(&error), "its past cannot be remembered"),
        }
    }

    fn out_of_memory(&mut self, container_id: &str) {
        let Some(id) = self.world.replica(container_id).cloned() else { return };
        let limit = self.world.wanted.as_ref().and_then(|share| share.replicas.get(&id));
        let limit = limit.map_or(0, |wanted| wanted.spec.limit_memory_bytes);
        let text = format!("{id}: the kernel killed a process for lack of memory (limit {})", bytes_text(limit));
        tracing::warn!("{text}");
        self.event("replica-oom", Some(&id), text);
    }

    /// Tells the server of something for people; lost when there is no server.
    fn event(&self, kind: &str, id: Option<&ReplicaId>, text: String) {
        let event = v1::Event {
            unix_millis: now_millis(),
            kind: kind.to_owned(),
            workload: id.map(|id| id.workload.clone()).unwrap_or_default(),
            node: self.config.node.clone(),
            text,
        };
        self.send(agent_message::Message::Event(v1::AgentEvent { event: Some(event) }));
    }

    /// True if the message is on its way.
    fn send(&self, message: agent_message::Message) -> bool {
        let message = AgentMessage { message: Some(message) };
        self.to_server.as_ref().is_some_and(|to| to.try_send(message).is_ok())
    }

    fn report(&mut self, now: u64) {
        let Some(report) = self.reports.due(&self.world, now) else { return };
        if self.send(agent_message::Message::Report(report)) {
            self.reports.told();
        }
    }

    /// Keeps every `/etc/hosts` true.
    fn refresh_hosts(&mut self) {
        let Some(share) = &self.world.wanted else { return };
        let running: Vec<(ReplicaId, Ipv6Addr)> = self
            .world
            .observed
            .replicas
            .iter()
            .filter(|(_, seen)| matches!(seen.container, Container::Running { .. }))
            .filter_map(|(id, _)| Some((id.clone(), share.replicas.get(id)?.address)))
            .collect();
        if running == self.running {
            return;
        }
        for (id, _) in &running {
            let Some(wanted) = share.replicas.get(id) else { continue };
            if let Err(error) = self.node.write_hosts(wanted, &running) {
                tracing::warn!(replica = %id, %error, "its /etc/hosts is out of date");
            }
        }
        self.running = running;
    }

    /// Keeps the node's ports leading to what runs.
    fn refresh_host_ports(&mut self) {
        let (Some(share), Runtime::Listed) = (&self.world.wanted, self.world.observed.runtime) else { return };
        let running = self.running.iter().filter_map(|(id, _)| share.replicas.get(id));
        let forwards: BTreeMap<HostPort, Target> = running.flat_map(|wanted| wanted.host_ports()).collect();
        match &self.host_ports {
            HostPorts::Loading | HostPorts::Failed => return,
            HostPorts::Loaded(present) if *present == forwards => return,
            HostPorts::Loaded(_) | HostPorts::Unknown => self.host_ports = HostPorts::Loading,
        }
        let (node, done) = (Arc::clone(&self.node), self.messages.clone());
        self.actions.spawn(async move {
            let result = node.forward_host_ports(&forwards).await;
            done.send(Message::HostPorts(forwards, result)).await.ok();
        });
    }

    fn tick(&mut self) {
        self.ticks += 1;
        if self.host_ports == HostPorts::Failed {
            self.host_ports = HostPorts::Unknown;
        }
        self.send(agent_message::Message::Heartbeat(v1::Heartbeat {}));
        self.ensure_node_network();
        if self.ticks.is_multiple_of(LIST_EVERY_TICKS) {
            self.world.listing_due = true;
        }
        let (bytes_max, node) = (self.config.log_bytes_max, Arc::clone(&self.node));
        let ids: Vec<ReplicaId> = self.world.observed.replicas.keys().cloned().collect();
        self.actions.spawn_blocking(move || {
            for id in ids {
                if let Err(error) = node.logs(&id).rotate(bytes_max) {
                    tracing::warn!(replica = %id, %error, "its output cannot be rotated");
                }
            }
        });
        if let (true, Some(share)) = (self.ticks.is_multiple_of(IMAGES_EVERY_TICKS), &self.world.wanted) {
            let used: BTreeSet<String> = share.images().map(str::to_owned).collect();
            let (node, unused) = (Arc::clone(&self.node), Arc::clone(&self.unused_images));
            self.actions.spawn(async move {
                let mut unused = unused.lock().await;
                match node.images.remove_unused(&used, &mut unused, now_millis(), IMAGE_UNUSED_MILLIS).await {
                    Ok(removed) if removed.is_empty() => {}
                    Ok(removed) => tracing::info!(?removed, "removed images that nothing uses"),
                    Err(error) => tracing::warn!(%error, "unused images stay"),
                }
            });
        }
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

fn hello(config: &AgentConfig, revision: Arc<AtomicU64>) -> impl Fn() -> v1::Hello + use<> {
    let config = config.clone();
    move || {
        let mut labels = machine::labels();
        labels.extend(config.labels.clone());
        v1::Hello {
            node: config.node.clone(),
            labels: labels.into_iter().collect(),
            capacity: Some(config.capacity.clone().unwrap_or_else(|| machine::capacity(&config.state_directory))),
            pool: config.pool.clone(),
            revision: revision.load(Ordering::Relaxed),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            prefix: config.prefix.map(|prefix| format!("{prefix}/{PREFIX_LENGTH}")).unwrap_or_default(),
            taints: config.taints.clone(),
            price_micros: config.price_micros,
        }
    }
}

/// Tells the loop what happens to tasks; after every loss, that it is listening again.
async fn watch_runtime(containerd: Containerd, messages: mpsc::Sender<Message>) {
    loop {
        let lost = watch_tasks(&containerd, &messages).await;
        match lost {
            Ok(()) => return,
            Err(error) => {
                if messages.send(Message::RuntimeLost(error)).await.is_err() {
                    return;
                }
            }
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

async fn watch_tasks(containerd: &Containerd, messages: &mpsc::Sender<Message>) -> Result<(), ContainerdError> {
    containerd.ensure_namespace().await?;
    let mut events = containerd.subscribe().await?;
    if messages.send(Message::Subscribed).await.is_err() {
        return Ok(());
    }
    loop {
        let event = events.next().await?;
        if messages.send(Message::Task(event)).await.is_err() {
            return Ok(());
        }
    }
}

async fn pull(node: Arc<Node>, image: String, done: mpsc::Sender<Message>) {
    let progress = |layers_done, layers| {
        // Lost when the loop is busy; the next one says more.
        done.try_send(Message::Progress { image: image.clone(), layers_done, layers }).ok();
    };
    let result = node.pull(&image, progress).await;
    done.send(Message::Pulled { image, result }).await.ok();
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
    node.remove_orphans(&[]).await;
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
