//! A server in a directory of its own, and an agent that pretends.

use hyper_util::rt::TokioIo;
use hyphae_api::v1::agent_message::Message as FromAgent;
use hyphae_api::v1::agents_client::AgentsClient;
use hyphae_api::v1::control_plane_client::ControlPlaneClient;
use hyphae_api::v1::server_message::Message;
use hyphae_api::v1::*;
use hyphae_controlplane::raft::{Consensus, Options};
use hyphae_controlplane::server::{Server, ServerConfig, ServerError, ServerHandle};
use hyphae_controlplane::state::commands::{Initialise, RegisterNode};
use hyphae_controlplane::state::{self, Command, Release, ReplicaId, Step, Template, WorkloadRecord};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Status, Streaming};

/// Nothing in a test takes longer.
const LONG: Duration = Duration::from_secs(10);

pub(crate) struct TestServer {
    dir: TempDir,
    handle: Option<ServerHandle>,
}

fn config(dir: &Path) -> ServerConfig {
    ServerConfig { free_bytes_min: 0, ..ServerConfig::new(dir.join("data"), dir.join("server.sock")) }
}

impl TestServer {
    pub(crate) async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let handle = Server::start(config(dir.path())).await.unwrap();
        Self { dir, handle: Some(handle) }
    }

    /// On a data directory in which a release has been applied to these nodes.
    pub(crate) async fn with_release(release: Release, nodes: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let consensus = Consensus::open(&dir.path().join("data"), Options { free_bytes_min: 0 }).await.unwrap();
        let prefix = "fd00:1:2::".parse().unwrap();
        consensus.write(Command::Initialise(Initialise { prefix })).await.unwrap();
        for name in nodes {
            consensus.write(Command::RegisterNode(register(name))).await.unwrap();
        }
        let expected_revision = consensus.read().await.unwrap().revision;
        let release = Release { expected_revision, ..release };
        consensus.write(Command::ApplyRelease(Box::new(release))).await.unwrap();
        consensus.close().await;
        let handle = Server::start(config(dir.path())).await.unwrap();
        Self { dir, handle: Some(handle) }
    }

    pub(crate) async fn restart(&mut self) {
        self.handle.take().unwrap().shutdown().await.unwrap();
        self.handle = Some(Server::start(config(self.dir.path())).await.unwrap());
    }

    pub(crate) async fn shutdown(mut self) {
        let handle = self.handle.take().unwrap();
        let socket = handle.socket().to_owned();
        handle.shutdown().await.unwrap();
        assert!(!socket.exists(), "the socket is removed");
    }

    pub(crate) fn data_dir(&self) -> &'static str {
        "data"
    }

    pub(crate) async fn try_another(&self, data: &str, socket: &str) -> Result<(), ServerError> {
        let config = ServerConfig::new(self.dir.path().join(data), self.dir.path().join(socket));
        Server::start(config).await.map(|_| ())
    }

    fn socket(&self) -> PathBuf {
        self.handle.as_ref().unwrap().socket().to_owned()
    }

    async fn channel(&self) -> Channel {
        channel(self.socket()).await.unwrap()
    }

    pub(crate) async fn client(&self) -> ControlPlaneClient<Channel> {
        ControlPlaneClient::new(self.channel().await)
    }

    pub(crate) async fn status(&self) -> StatusReply {
        self.client().await.status(StatusRequest { workloads: vec![] }).await.unwrap().into_inner()
    }

    pub(crate) async fn nodes(&self) -> Vec<NodeStatus> {
        self.client().await.nodes(NodesRequest {}).await.unwrap().into_inner().nodes
    }

    pub(crate) async fn events(&self) -> Vec<Event> {
        let request = EventsRequest { follow: false, workload: String::new() };
        let mut stream = self.client().await.events(request).await.unwrap().into_inner();
        let mut events = Vec::new();
        while let Some(event) = stream.message().await.unwrap() {
            events.push(event);
        }
        events
    }

    /// Waits for something to be so.
    pub(crate) async fn until(&self, what: &str, is_so: impl Fn(&StatusReply) -> bool) {
        let wait = async {
            while !is_so(&self.status().await) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        assert!(tokio::time::timeout(LONG, wait).await.is_ok(), "never: {what}; {:#?}", self.status().await);
    }
}

async fn channel(socket: PathBuf) -> Result<Channel, Status> {
    let connector = tower::service_fn(move |_| {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    let connected = Endpoint::from_static("http://server").connect_with_connector(connector).await;
    connected.map_err(|error| Status::unavailable(error.to_string()))
}

/// An operator of the server on this socket.
pub(crate) async fn client(socket: PathBuf) -> Result<ControlPlaneClient<Channel>, Status> {
    Ok(ControlPlaneClient::new(channel(socket).await?))
}

pub(crate) async fn status_of(server: &TestServer, workload: &str) -> WorkloadStatus {
    let request = StatusRequest { workloads: vec![workload.to_owned()] };
    server.client().await.status(request).await.unwrap().into_inner().workloads.remove(0)
}

fn register(name: &str) -> RegisterNode {
    let Hello { node, .. } = Agent::hello(name);
    RegisterNode {
        name: node,
        pool: String::new(),
        labels: BTreeMap::new(),
        capacity: state::Capacity { cpu_millis: 4000, memory_bytes: 8 << 30, replicas: 100, ..Default::default() },
        taints: vec![],
        price_micros: 0,
        prefix: None,
    }
}

/// default/web with a replica for each node named, wave by wave.
pub(crate) fn one_workload(waves: &[&[&str]]) -> Release {
    let workload = "default/web".to_owned();
    let mut indices = 0..;
    let waves: Vec<Vec<Step>> = waves
        .iter()
        .map(|nodes| {
            let start = |(node, index): (&&str, u32)| Step::Start {
                replica: ReplicaId { workload: workload.clone(), index },
                node: (*node).to_owned(),
                generation: 1,
            };
            nodes.iter().zip(indices.by_ref()).map(start).collect()
        })
        .collect();
    let record = WorkloadRecord {
        service_id: 0,
        kind: "service".to_owned(),
        wanted: waves.iter().map(Vec::len).sum::<usize>() as u32,
        unplaced: 0,
        generation: 1,
        templates: BTreeMap::from([(1, Template { image: "web:1".to_owned(), ..Template::default() })]),
        finished: BTreeMap::new(),
    };
    Release {
        expected_revision: 0,
        objects_put: BTreeMap::new(),
        objects_removed: vec![],
        policies: None,
        workloads: BTreeMap::from([(workload, record)]),
        waves,
    }
}

/// An agent; dropping it ends its stream.
pub(crate) struct Agent {
    pub(crate) prefix: String,
    to_server: mpsc::Sender<AgentMessage>,
    from_server: Streaming<ServerMessage>,
    heart: tokio::task::JoinHandle<()>,
}

impl Agent {
    pub(crate) fn hello(node: &str) -> Hello {
        let capacity = Resources { cpu_millis: 4000, memory_bytes: 8 << 30, replicas: 100, ..Resources::default() };
        Hello { node: node.to_owned(), capacity: Some(capacity), ..Hello::default() }
    }

    pub(crate) async fn attach(server: &TestServer, node: &str) -> Self {
        Self::try_attach(server, Self::hello(node)).await.unwrap()
    }

    /// Says hello and waits for the welcome.
    pub(crate) async fn try_attach(server: &TestServer, hello: Hello) -> Result<Self, Status> {
        Self::try_attach_to(server.socket(), hello).await
    }

    pub(crate) async fn try_attach_to(socket: PathBuf, hello: Hello) -> Result<Self, Status> {
        let (to_server, outbound) = mpsc::channel(64);
        to_server.send(AgentMessage { message: Some(FromAgent::Hello(hello)) }).await.unwrap();
        let mut client = AgentsClient::new(channel(socket).await?);
        let mut from_server = client.attach(ReceiverStream::new(outbound)).await?.into_inner();
        let first = from_server.message().await?.and_then(|message| message.message);
        let Some(Message::Welcome(welcome)) = first else { panic!("no welcome but {first:?}") };
        let beats = to_server.clone();
        let heart = tokio::spawn(async move {
            while beats.send(AgentMessage { message: Some(FromAgent::Heartbeat(Heartbeat {})) }).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        });
        Ok(Self { prefix: welcome.prefix, to_server, from_server, heart })
    }

    async fn next<T>(&mut self, pick: impl Fn(Message) -> Option<T>) -> T {
        let wait = async {
            loop {
                let message = self.from_server.message().await.unwrap().expect("the server has ended the stream");
                if let Some(picked) = message.message.and_then(&pick) {
                    return picked;
                }
            }
        };
        tokio::time::timeout(LONG, wait).await.expect("the server says nothing of the kind")
    }

    pub(crate) async fn share(&mut self) -> Share {
        self.next(|message| if let Message::Share(share) = message { Some(share) } else { None }).await
    }

    pub(crate) async fn log_start(&mut self) -> LogStart {
        self.next(|message| if let Message::LogStart(start) = message { Some(start) } else { None }).await
    }

    pub(crate) async fn log_stop(&mut self) -> LogStop {
        self.next(|message| if let Message::LogStop(stop) = message { Some(stop) } else { None }).await
    }

    /// Tells that everything of a share is in this state.
    pub(crate) async fn report(&mut self, share: &Share, state: ReplicaState) {
        let replicas = share.replicas.iter().map(|replica| ReplicaStatus {
            workload: replica.workload.clone(),
            index: replica.index,
            generation: replica.generation,
            state: state.into(),
            ..ReplicaStatus::default()
        });
        let report = ReplicaReport { complete: true, replicas: replicas.collect() };
        self.to_server.send(AgentMessage { message: Some(FromAgent::Report(report)) }).await.unwrap();
    }

    /// From now on, whatever the server wants runs at once.
    pub(crate) fn obey(mut self) -> tokio::task::JoinHandle<()> {
        tokio::spawn(async move {
            loop {
                let share = self.share().await;
                self.report(&share, ReplicaState::Running).await;
            }
        })
    }

    pub(crate) async fn log(&mut self, request: u64, data: &[u8]) {
        let chunk = LogChunk { index: 0, data: data.to_vec(), stream: "stdout".to_owned() };
        let chunk = AgentLogChunk { request, chunk: Some(chunk), end: false, error: String::new() };
        self.to_server.send(AgentMessage { message: Some(FromAgent::Log(chunk)) }).await.unwrap();
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.heart.abort();
    }
}
