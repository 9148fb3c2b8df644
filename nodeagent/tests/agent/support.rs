//! A node for a test: a network namespace with its own containerd, registry, agent, and a server that is played by the test.

use hyphae_api::v1::agents_server::{Agents, AgentsServer};
use hyphae_api::v1::{
    AgentMessage, Event, Hello, LogStart, Replica, ReplicaState, ReplicaStatus, ServerMessage, Share, Welcome,
    agent_message, server_message,
};
use hyphae_nodeagent::agent::{self, AgentConfig};
use hyphae_testing::image::{self, Pushed};
use hyphae_testing::{ImageSpec, Netns, Scratch, TestContainerd, TestRegistry, unique, wait_until};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream};
use tokio_stream::{Stream, StreamExt};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

/// Patience on a machine that does other things too.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

type Outbound = mpsc::Sender<Result<ServerMessage, Status>>;

/// Standard output, standard error, and how the stream ended.
type Output = (Vec<u8>, Vec<u8>, Option<String>);

/// What the played server knows.
#[derive(Default)]
struct Heard {
    hello: Option<Hello>,
    statuses: BTreeMap<(String, u32), ReplicaStatus>,
    events: Vec<Event>,
    logs: BTreeMap<u64, Output>,
    heartbeats: u64,
    share: Share,
    agent: Option<Outbound>,
}

#[derive(Clone, Default)]
struct Server {
    heard: Arc<Mutex<Heard>>,
    prefix: String,
}

impl Server {
    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap()
    }
}

fn hear(heard: &mut Heard, message: agent_message::Message) {
    match message {
        agent_message::Message::Hello(hello) => heard.hello = Some(hello),
        agent_message::Message::Heartbeat(_) => heard.heartbeats += 1,
        agent_message::Message::Report(report) => {
            if report.complete {
                heard.statuses.clear();
            }
            for status in report.replicas {
                heard.statuses.insert((status.workload.clone(), status.index), status);
            }
        }
        agent_message::Message::Log(log) => {
            let entry = heard.logs.entry(log.request).or_default();
            if let Some(chunk) = log.chunk {
                if chunk.stream == "stdout" { &mut entry.0 } else { &mut entry.1 }.extend(chunk.data);
            }
            if log.end {
                entry.2 = Some(log.error);
            }
        }
        agent_message::Message::Event(event) => heard.events.extend(event.event),
    }
}

#[tonic::async_trait]
impl Agents for Server {
    type AttachStream = Pin<Box<dyn Stream<Item = Result<ServerMessage, Status>> + Send>>;

    async fn attach(&self, request: Request<Streaming<AgentMessage>>) -> Result<Response<Self::AttachStream>, Status> {
        let (sender, receiver) = mpsc::channel(16);
        let message = |message| Ok(ServerMessage { message: Some(message) });
        let welcome = Welcome { prefix: self.prefix.clone() };
        sender.send(message(server_message::Message::Welcome(welcome))).await.unwrap();
        let share = self.heard().share.clone();
        if share.revision > 0 {
            sender.send(message(server_message::Message::Share(share))).await.unwrap();
        }
        self.heard().agent = Some(sender);
        let heard = Arc::clone(&self.heard);
        let mut inbound = request.into_inner();
        tokio::spawn(async move {
            while let Some(Ok(message)) = inbound.next().await {
                hear(&mut heard.lock().unwrap(), message.message.unwrap());
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }
}

/// Something that runs on its own threads, inside a network namespace, until it is stopped.
struct Running {
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    fn start<F>(netns: &Netns, work: impl FnOnce(CancellationToken) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()>,
    {
        let stop = CancellationToken::new();
        let (netns, stopped) = (netns.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            // The runtime's threads are made inside, and so stay there.
            netns.enter(|| {
                let mut builder = tokio::runtime::Builder::new_multi_thread();
                let runtime = builder.worker_threads(2).enable_all().build().unwrap();
                runtime.block_on(work(stopped));
            });
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
        let ended = self.thread.take().map(JoinHandle::join);
        if let Some(Err(panic)) = ended
            && !std::thread::panicking()
        {
            std::panic::resume_unwind(panic);
        }
    }
}

/// The cgroups that the agent's replicas were made in, which outlive it.
struct Cgroups {
    namespace: String,
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        let mut directories = hyphae_testing::remains::cgroups(&self.namespace);
        directories.sort_by_key(|path| std::cmp::Reverse(path.as_os_str().len()));
        for directory in directories {
            std::fs::remove_dir(directory).ok();
        }
    }
}

/// The whole. Fields are dropped in this order: the agent first, the files last.
pub(crate) struct TestNode {
    agent: Option<Running>,
    server: Option<Running>,
    heard: Server,
    pub(crate) registry: TestRegistry,
    pub(crate) containerd: TestContainerd,
    /// After containerd, with which the containers go.
    _cgroups: Cgroups,
    pub(crate) netns: Netns,
    pub(crate) config: AgentConfig,
    prefix: String,
    revision: u64,
    scratch: Scratch,
}

impl TestNode {
    /// Everything running, nothing wanted.
    pub(crate) fn start() -> Self {
        let netns = Netns::new();
        let scratch = Scratch::new();
        let containerd = TestContainerd::start_in(Some(&netns));
        let registry = TestRegistry::start_in(Some(&netns), None);
        let name = unique("n");
        let config = AgentConfig::new(&name, scratch.join("server.sock"), containerd.socket(), scratch.join("agent"));
        // Namespaces do not share addresses, so every test may have the same prefix.
        let prefix = "fd12:3456:789a:0:1".to_owned();
        let heard = Server { heard: Arc::default(), prefix: format!("{prefix}::/80") };
        let cgroups = Cgroups { namespace: config.containerd_namespace.clone() };
        let mut node = Self {
            _cgroups: cgroups,
            agent: None,
            server: None,
            heard,
            registry,
            containerd,
            netns,
            config,
            prefix,
            revision: 0,
            scratch,
        };
        node.start_server();
        node.start_agent();
        node
    }

    /// Starts the agent, again perhaps.
    pub(crate) fn start_agent(&mut self) {
        let config = self.config.clone();
        self.agent = Some(Running::start(&self.netns, |stop| async move { agent::run(config, stop).await.unwrap() }));
    }

    /// Ends the agent in order.
    pub(crate) fn stop_agent(&mut self) {
        self.agent = None;
    }

    /// Starts the server, again perhaps.
    pub(crate) fn start_server(&mut self) {
        let (server, socket) = (self.heard.clone(), self.config.server_socket.clone());
        std::fs::remove_file(&socket).ok();
        self.server = Some(Running::start(&self.netns, |stop| serve(server, socket, stop)));
    }

    /// Ends the server; it forgets what it heard.
    pub(crate) fn stop_server(&mut self) {
        self.server = None;
        let mut heard = self.heard.heard();
        let share = heard.share.clone();
        *heard = Heard { share, ..Heard::default() };
    }

    /// Runs a function inside the node's network namespace.
    pub(crate) fn block_on<T: Send, F: Future<Output = T>>(&self, work: impl FnOnce() -> F + Send) -> T {
        self.netns.enter(|| tokio::runtime::Runtime::new().unwrap().block_on(work()))
    }

    /// Pushes an image made from busybox.
    pub(crate) fn push(&self, name: &str, spec: &ImageSpec) -> Pushed {
        image::push(&self.registry, name, "1", spec)
    }

    /// A replica of a service that runs a shell script.
    pub(crate) fn replica(&self, workload: &str, index: u32, image: &str, script: &str) -> Replica {
        let number = workload.bytes().fold(7u16, |sum, byte| sum.wrapping_mul(31).wrapping_add(u16::from(byte)));
        Replica {
            workload: workload.into(),
            index,
            generation: 1,
            kind: "service".into(),
            image: image.into(),
            command: vec!["sh".into(), "-c".into()],
            args: vec![script.into()],
            address: format!("{}:1:{number:x}:{:x}", self.prefix, index + 1),
            stop_grace_millis: 500,
            ..Replica::default()
        }
    }

    /// Tells the agent what to run.
    pub(crate) fn want(&mut self, replicas: &[Replica]) {
        self.revision += 1;
        self.send_share(Share { revision: self.revision, replicas: replicas.to_vec() });
    }

    /// Sends a share as it is.
    pub(crate) fn send_share(&mut self, share: Share) {
        let agent = wait_until("the agent to attach", PATIENCE, || self.heard.heard().agent.clone());
        self.heard.heard().share = share.clone();
        let message = ServerMessage { message: Some(server_message::Message::Share(share)) };
        agent.blocking_send(Ok(message)).unwrap();
    }

    /// The status of a replica, once it is as `good` says.
    pub(crate) fn wait_for(&self, workload: &str, index: u32, good: impl Fn(&ReplicaStatus) -> bool) -> ReplicaStatus {
        let key = (workload.to_owned(), index);
        let mut last = None;
        let found = hyphae_testing::wait::try_wait_until(PATIENCE, || {
            last = self.heard.heard().statuses.get(&key).cloned();
            last.clone().filter(|status| good(status))
        });
        found.unwrap_or_else(|| panic!("{workload}[{index}] is {last:#?}"))
    }

    /// The status of a replica, once it is in this state.
    pub(crate) fn wait_state(&self, workload: &str, index: u32, state: ReplicaState) -> ReplicaStatus {
        self.wait_for(workload, index, |status| status.state() == state)
    }

    /// What the agent said first.
    pub(crate) fn hello(&self) -> Hello {
        wait_until("hello", PATIENCE, || self.heard.heard().hello.clone())
    }

    /// All events told.
    pub(crate) fn events(&self) -> Vec<Event> {
        self.heard.heard().events.clone()
    }

    /// Asks for a replica's output: stdout and stderr, and an error ("" when there is none).
    pub(crate) fn logs(&self, start: LogStart) -> (String, String, String) {
        let request = start.request;
        self.heard.heard().logs.remove(&request);
        self.start_logs(start);
        let (stdout, stderr, error) = wait_until("the end of the output", PATIENCE, || {
            self.heard.heard().logs.get(&request).filter(|log| log.2.is_some()).cloned()
        });
        (String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap(), error.unwrap())
    }

    /// Begins to ask for output.
    pub(crate) fn start_logs(&self, start: LogStart) {
        let agent = wait_until("the agent to attach", PATIENCE, || self.heard.heard().agent.clone());
        agent.blocking_send(Ok(ServerMessage { message: Some(server_message::Message::LogStart(start)) })).unwrap();
    }

    /// What has come of a request so far.
    pub(crate) fn logs_so_far(&self, request: u64) -> String {
        let heard = self.heard.heard();
        heard.logs.get(&request).map(|log| String::from_utf8_lossy(&log.0).into_owned()).unwrap_or_default()
    }

    /// The process ids of running tasks, by container.
    pub(crate) fn tasks(&self) -> BTreeMap<String, u32> {
        let listed =
            self.containerd.ctr(&["--namespace", &self.config.containerd_namespace, "tasks", "list"]).success();
        let lines = listed.stdout.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
        lines
            .filter(|words| words[2] == "RUNNING")
            .map(|words| (words[0].to_owned(), words[1].parse().unwrap()))
            .collect()
    }

    /// The process of the one task that runs.
    pub(crate) fn only_task(&self) -> u32 {
        let tasks = self.tasks();
        assert_eq!(tasks.len(), 1, "{tasks:?}");
        *tasks.values().next().unwrap()
    }

    /// Everything of this node's replicas that is found on the machine.
    pub(crate) fn traces(&self) -> Vec<String> {
        let namespace = &self.config.containerd_namespace;
        let mut traces = Vec::new();
        for kind in ["containers", "tasks"] {
            let listed = self.containerd.ctr(&["--namespace", namespace, kind, "list", "-q"]).success();
            traces.extend(listed.stdout.lines().map(|line| format!("{kind}: {line}")));
        }
        let snapshots = self.containerd.ctr(&["--namespace", namespace, "snapshots", "list"]).success();
        let active = snapshots.stdout.lines().filter(|line| line.contains("Active"));
        traces.extend(active.map(|line| format!("snapshot: {line}")));
        let links = self.netns.run("ip", &["-o", "link"]).success().stdout;
        traces.extend(links.lines().filter(|line| line.contains(": v")).map(|line| format!("link: {line}")));
        let routes = self.netns.run("ip", &["-6", "-o", "route"]).success().stdout;
        traces.extend(routes.lines().filter(|line| line.contains("via fe80::2")).map(|line| format!("route: {line}")));
        let cgroups = hyphae_testing::remains::cgroups(&format!("{namespace}/"));
        traces.extend(cgroups.iter().map(|path| format!("cgroup: {}", path.display())));
        traces.extend(self.network_namespaces().iter().map(|name| format!("netns: {name}")));
        traces
    }

    /// Network namespaces of this node's replicas.
    pub(crate) fn network_namespaces(&self) -> Vec<String> {
        use sha2::{Digest, Sha256};
        let hash = Sha256::digest(self.config.containerd_namespace.as_bytes());
        let hash: String = hash.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        hyphae_testing::remains::network_namespaces(&format!("hy-{hash}-"))
    }

    /// A place for a test's own files.
    pub(crate) fn path(&self) -> &Path {
        self.scratch.path()
    }
}

impl Drop for TestNode {
    fn drop(&mut self) {
        self.agent = None;
        for name in self.network_namespaces() {
            self.scratch.note_namespace(&name);
        }
    }
}

async fn serve(server: Server, socket: PathBuf, stop: CancellationToken) {
    let listener = tokio::net::UnixListener::bind(&socket).unwrap();
    let server = tonic::transport::Server::builder().add_service(AgentsServer::new(server));
    tokio::select! {
        served = server.serve_with_incoming(UnixListenerStream::new(listener)) => served.unwrap(),
        () = stop.cancelled() => {}
    }
}
