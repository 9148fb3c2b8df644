//! The agents' side: one stream for each node. Its share goes out at once and at every change, reports come in.

use super::links::{Links, SharedLinks, ToAgent};
use super::operators::write_status;
use super::{Shared, socket};
use crate::observed::Transition;
use crate::raft::ReadError;
use crate::rollout::state_word;
use crate::state::commands::RegisterNode;
use crate::state::{Capacity, Command};
use hyphae_api::v1::agent_message::Message as FromAgent;
use hyphae_api::v1::agents_server::Agents;
use hyphae_api::v1::server_message::Message;
use hyphae_api::v1::{AgentMessage, Event, Hello, ReplicaReport, Resources, ServerMessage, Share, Welcome};
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

/// How long an agent may take to say hello.
const HELLO_MAX: Duration = Duration::from_secs(10);
/// How long an agent may leave its queue full before the link is ended.
const SEND_MAX: Duration = Duration::from_secs(10);
/// Messages on the way to one agent.
const QUEUE: usize = 64;

/// The service.
pub(super) struct AgentsService {
    shared: Arc<Shared>,
}

impl AgentsService {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

#[tonic::async_trait]
impl Agents for AgentsService {
    type AttachStream = ReceiverStream<Result<ServerMessage, Status>>;

    /// Answers at once; a refusal comes as the stream's error.
    async fn attach(&self, request: Request<Streaming<AgentMessage>>) -> Result<Response<Self::AttachStream>, Status> {
        let user = socket::user(&request).map_err(|error| Status::unauthenticated(error.to_string()))?;
        if !socket::is_trusted(&user) {
            return Err(Status::permission_denied("agents run as root or as the server's own user"));
        }
        let (to_agent, from_server) = mpsc::channel(QUEUE);
        let shared = self.shared.clone();
        tokio::spawn(async move {
            if let Err(status) = attend(shared, request.into_inner(), to_agent.clone()).await {
                tracing::info!(message = status.message(), "an agent's stream has ended");
                let _ = to_agent.send_timeout(Err(status), SEND_MAX).await;
            }
        });
        Ok(Response::new(ReceiverStream::new(from_server)))
    }
}

/// From hello to the end of the stream.
async fn attend(shared: Arc<Shared>, mut inbound: Streaming<AgentMessage>, to_agent: ToAgent) -> Result<(), Status> {
    let first = tokio::time::timeout(HELLO_MAX, inbound.message()).await;
    let first = first.map_err(|_| Status::deadline_exceeded("the agent said nothing"))??;
    let Some(FromAgent::Hello(hello)) = first.and_then(|message| message.message) else {
        return Err(Status::invalid_argument("an agent's first message is its hello"));
    };
    let node = hello.node.clone();
    refuse_if_behind(&shared, &hello).await?;
    let other_is_silent = !shared.observed().is_connected(&node, shared.clock.now_ms());
    let end = shared.end.child_token();
    let claimed = Links::claim(SharedLinks(shared.clone()), &node, to_agent.clone(), end.clone(), other_is_silent);
    let Some(_link) = claimed else {
        return Err(Status::already_exists(format!("another agent is connected as node \"{node}\"; names are unique")));
    };
    let registration = registration(hello)?;
    // A node that comes back as it was needs no write: it does so with a full disk, too, and thousands may do so at once.
    if !registration.is_known(&shared.consensus.applied()) {
        shared.consensus.write(Command::RegisterNode(registration)).await.map_err(write_status)?;
    }
    shared.observed().attached(&node, shared.clock.now_ms(), shared.clock.unix_millis());
    tracing::info!(node, "a node has connected");
    push(&shared, "node-connected", &node, "", "its agent has connected".to_owned());

    let _ends_the_pump = end.clone().drop_guard();
    tokio::spawn(pump_shares(shared.clone(), node.clone(), to_agent, end.clone()));
    let result = loop {
        let message = tokio::select! {
            () = end.cancelled() => break Err(Status::unavailable("the server ends, or another agent has taken over")),
            message = inbound.message() => message,
        };
        match message {
            Ok(Some(message)) => {
                if let Err(status) = take_in(&shared, &node, message).await {
                    break Err(status);
                }
            }
            Ok(None) => break Ok(()),
            Err(status) => break Err(status),
        }
    };
    push(&shared, "node-disconnected", &node, "", "its agent has disconnected; what runs there goes on".to_owned());
    result
}

/// An agent that has acted on a newer share than this server knows of belongs to another cluster, or the server's data are an old copy.
async fn refuse_if_behind(shared: &Shared, hello: &Hello) -> Result<(), Status> {
    let state = shared.consensus.read().await.map_err(read_status)?;
    if hello.revision > state.revision {
        return Err(Status::failed_precondition(format!(
            "the agent of node \"{}\" has acted on revision {}, this server is at {}: its data are older than the agent's, or of another cluster; \
             nothing is changed on the node",
            hello.node, hello.revision, state.revision
        )));
    }
    Ok(())
}

fn registration(hello: Hello) -> Result<RegisterNode, Status> {
    let prefix = match hello.prefix.as_str() {
        "" => None,
        text => Some(parse_prefix(text).ok_or_else(|| {
            Status::invalid_argument(format!("the prefix \"{text}\" is not an IPv6 /80 like \"fd00:1:2:0:1::/80\""))
        })?),
    };
    Ok(RegisterNode {
        name: hello.node,
        pool: hello.pool,
        labels: hello.labels.into_iter().collect(),
        capacity: capacity(hello.capacity.unwrap_or_default()),
        taints: hello.taints,
        price_micros: hello.price_micros,
        prefix,
    })
}

fn parse_prefix(text: &str) -> Option<Ipv6Addr> {
    text.strip_suffix("/80")?.parse().ok()
}

fn capacity(resources: Resources) -> Capacity {
    Capacity {
        cpu_millis: resources.cpu_millis,
        memory_bytes: resources.memory_bytes,
        disk_bytes: resources.disk_bytes,
        replicas: resources.replicas,
        extras: resources.extras.into_iter().collect(),
    }
}

/// Welcome, then the share now and whenever it has changed.
async fn pump_shares(shared: Arc<Shared>, node: String, to_agent: ToAgent, end: CancellationToken) {
    let mut changes = shared.consensus.changes();
    let prefix = shared.consensus.applied().nodes.get(&node).map(|record| record.prefix);
    let welcome = Welcome { prefix: prefix.map(|prefix| format!("{prefix}/80")).unwrap_or_default() };
    let mut message = Some(Message::Welcome(welcome));
    let mut sent: Option<Share> = None;
    loop {
        if let Some(message) = message.take() {
            let message = ServerMessage { message: Some(message) };
            if to_agent.send_timeout(Ok(message), SEND_MAX).await.is_err() {
                tracing::warn!(node, "the agent does not read what it is sent; its stream is ended");
                end.cancel();
                return;
            }
        }
        if sent.is_some() {
            tokio::select! {
                () = end.cancelled() => return,
                changed = changes.changed() => if changed.is_err() { return },
            }
        }
        changes.mark_unchanged();
        let now = shared.shares.of(&shared.consensus.applied(), &node);
        if sent.as_ref().is_none_or(|sent| sent.replicas != now.replicas) {
            tracing::debug!(node, revision = now.revision, replicas = now.replicas.len(), "a share");
            message = Some(Message::Share(now.clone()));
            sent = Some(now);
        }
    }
}

async fn take_in(shared: &Shared, node: &str, message: AgentMessage) -> Result<(), Status> {
    shared.observed().heard(node, shared.clock.now_ms(), shared.clock.unix_millis());
    match message.message {
        None | Some(FromAgent::Heartbeat(_)) => {}
        Some(FromAgent::Hello(_)) => return Err(Status::invalid_argument("an agent says hello once")),
        Some(FromAgent::Report(report)) => take_report(shared, node, report),
        Some(FromAgent::Log(chunk)) => shared.links.deliver(node, chunk).await,
        Some(FromAgent::Event(event)) => {
            if let Some(event) = event.event {
                push(shared, &event.kind, node, &event.workload, event.text);
            }
        }
    }
    Ok(())
}

fn take_report(shared: &Shared, node: &str, report: ReplicaReport) {
    let transitions = shared.observed().report(node, report, shared.clock.now_ms());
    shared.observed_changed.notify_one();
    for transition in transitions {
        tell(shared, node, &transition);
    }
}

fn tell(shared: &Shared, node: &str, transition: &Transition) {
    let status = &transition.status;
    let word = state_word(status.state());
    tracing::debug!(
        node,
        workload = status.workload,
        index = status.index,
        from = state_word(transition.from),
        to = word
    );
    let mut text = format!("{}[{}] is {word}", status.workload, status.index);
    if status.oom_killed {
        text.push_str(", killed for want of memory");
    }
    if !status.reason.is_empty() {
        text.push_str(": ");
        text.push_str(&status.reason);
    }
    push(shared, &format!("replica-{}", word.replace(' ', "-")), node, &status.workload, text);
}

fn push(shared: &Shared, kind: &str, node: &str, workload: &str, text: String) {
    shared.events.push(Event {
        unix_millis: shared.clock.unix_millis(),
        kind: kind.to_owned(),
        workload: workload.to_owned(),
        node: node.to_owned(),
        text,
    });
}

fn read_status(error: ReadError) -> Status {
    Status::unavailable(error.to_string())
}
