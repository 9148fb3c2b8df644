//! The agents that are connected, one link for each node, and the log streams that run over them.

use hyphae_api::v1::server_message::Message;
use hyphae_api::v1::{AgentLogChunk, LogChunk, LogStart, LogStop, ServerMessage};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::Status;

/// How long a reader of logs may keep an agent's other words waiting before it is cut off.
const READER_MAX: Duration = Duration::from_secs(1);
/// Log streams over one link at once.
const LOGS_PER_LINK_MAX: usize = 64;

/// What goes to an agent.
pub(super) type ToAgent = mpsc::Sender<Result<ServerMessage, Status>>;
/// What goes to a reader of logs.
pub(super) type ToReader = mpsc::Sender<Result<LogChunk, Status>>;

/// All links.
#[derive(Default)]
pub(super) struct Links {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    links: BTreeMap<String, Link>,
    /// Numbers of links and of log requests, never reused.
    next: u64,
}

struct Link {
    number: u64,
    to_agent: ToAgent,
    /// Ends the link.
    end: CancellationToken,
    logs: BTreeMap<u64, (u32, ToReader)>,
}

/// A node's link, until it is dropped.
pub(super) struct LinkGuard<L: AsRef<Links>> {
    links: L,
    node: String,
    number: u64,
}

/// A log request over a link, until it is dropped.
pub(super) struct LogGuard<L: AsRef<Links>> {
    links: L,
    node: String,
    request: u64,
}

impl Links {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("nothing panics while it holds the lock")
    }

    /// Makes the link of a node. Only one agent may speak for a node: `None` while another does, unless it has fallen silent.
    pub(super) fn claim<L: AsRef<Self>>(
        links: L,
        node: &str,
        to_agent: ToAgent,
        end: CancellationToken,
        other_is_silent: bool,
    ) -> Option<LinkGuard<L>> {
        let number = {
            let mut inner = links.as_ref().inner();
            if let Some(other) = inner.links.get(node) {
                if !other_is_silent {
                    return None;
                }
                other.end.cancel();
            }
            inner.next += 1;
            let number = inner.next;
            inner.links.insert(node.to_owned(), Link { number, to_agent, end, logs: BTreeMap::new() });
            number
        };
        Some(LinkGuard { links, node: node.to_owned(), number })
    }

    /// Asks a node's agent for a replica's logs; the chunks go to the reader until the guard is dropped.
    pub(super) fn start_log<L: AsRef<Self>>(
        links: L,
        node: &str,
        start: LogStart,
        reader: ToReader,
    ) -> Result<LogGuard<L>, Status> {
        let not_there = || Status::unavailable(format!("node {node} is not connected; its logs are on the node"));
        let request = {
            let mut inner = links.as_ref().inner();
            inner.next += 1;
            let request = inner.next;
            let link = inner.links.get_mut(node).ok_or_else(not_there)?;
            if link.logs.len() >= LOGS_PER_LINK_MAX {
                return Err(Status::resource_exhausted(format!(
                    "{LOGS_PER_LINK_MAX} readers follow logs of node {node} already"
                )));
            }
            let index = start.index;
            send(&link.to_agent, Message::LogStart(LogStart { request, ..start })).map_err(|_| not_there())?;
            link.logs.insert(request, (index, reader));
            request
        };
        Ok(LogGuard { links, node: node.to_owned(), request })
    }

    /// Hands a chunk from an agent to its reader. A reader that does not keep up is cut off, so that the agent's other words get through.
    pub(super) async fn deliver(&self, node: &str, chunk: AgentLogChunk) {
        let request = chunk.request;
        let reader = {
            let mut inner = self.inner();
            let Some(link) = inner.links.get_mut(node) else { return };
            let reader = link.logs.get(&request).cloned();
            if chunk.end || !chunk.error.is_empty() {
                link.logs.remove(&request);
            }
            reader
        };
        let Some((index, reader)) = reader else { return };
        if let Some(data) = chunk.chunk {
            let sent = reader.send_timeout(Ok(LogChunk { index, ..data }), READER_MAX).await;
            if sent.is_err() {
                self.stop_log(node, request);
                let _ = reader.try_send(Err(Status::resource_exhausted("the logs came faster than they were read")));
                return;
            }
        }
        if !chunk.error.is_empty() {
            let _ = reader.try_send(Err(Status::unavailable(chunk.error)));
        }
    }

    fn stop_log(&self, node: &str, request: u64) {
        let mut inner = self.inner();
        let Some(link) = inner.links.get_mut(node) else { return };
        if link.logs.remove(&request).is_some() && send(&link.to_agent, Message::LogStop(LogStop { request })).is_err()
        {
            tracing::debug!(node, request, "the agent could not be told that nobody reads any more");
        }
    }
}

/// The queue to an agent is bounded; when it is full the agent is stuck, and its silence will end the link.
fn send(to_agent: &ToAgent, message: Message) -> Result<(), mpsc::error::TrySendError<Result<ServerMessage, Status>>> {
    to_agent.try_send(Ok(ServerMessage { message: Some(message) }))
}

impl<L: AsRef<Links>> Drop for LinkGuard<L> {
    fn drop(&mut self) {
        let mut inner = self.links.as_ref().inner();
        if inner.links.get(&self.node).is_some_and(|link| link.number == self.number)
            && let Some(link) = inner.links.remove(&self.node)
        {
            for (_, reader) in link.logs.into_values() {
                let _ = reader.try_send(Err(Status::unavailable(format!("node {} has disconnected", self.node))));
            }
        }
    }
}

impl<L: AsRef<Links>> Drop for LogGuard<L> {
    fn drop(&mut self) {
        self.links.as_ref().stop_log(&self.node, self.request);
    }
}

impl AsRef<Links> for super::Shared {
    fn as_ref(&self) -> &Links {
        &self.links
    }
}

/// For guards that outlive the call that made them.
#[derive(Clone)]
pub(super) struct SharedLinks(pub(super) Arc<super::Shared>);

impl AsRef<Links> for SharedLinks {
    fn as_ref(&self) -> &Links {
        &self.0.links
    }
}
