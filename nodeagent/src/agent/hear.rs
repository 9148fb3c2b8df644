//! What the agent hears: from the server, from containerd, and of its own actions.

use super::{Agent, HostPorts, Message, NodeNetworkState, now_millis};
use crate::containerd::ContainerdError;
use crate::containerd_events::TaskEvent;
use crate::control_plane::FromServer;
use crate::log_stream::send_logs;
use crate::node::chain;
use crate::reconcile::Runtime;
use crate::replica::{ReplicaId, WantedShare};
use crate::status::{bytes_text, exit_text};
use crate::world::{Listed, Outcome};
use hyphae_api::v1;
use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::sync::atomic::Ordering;
use tokio_util::task::AbortOnDropHandle;

impl Agent {
    pub(super) fn hear(&mut self, message: Message) {
        let now = now_millis();
        match message {
            Message::Server(news) => self.hear_server(news),
            Message::Subscribed => self.world.listing_due = true,
            Message::RuntimeLost(error) => {
                if self.world.observed.runtime == Runtime::Listed || self.ticks == 0 {
                    tracing::warn!(%error, "containerd does not answer; what runs goes on running");
                }
                self.world.lost();
            }
            Message::Task(TaskEvent::Exited { container_id, pid, code }) => {
                if let Some(id) = self.world.exited(&container_id, pid, code) {
                    tracing::debug!(replica = %id, "ended");
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

    fn hear_listing(&mut self, epochs: &BTreeMap<ReplicaId, u64>, result: Result<Vec<Listed>, ContainerdError>) {
        self.is_listing = false;
        match result {
            Ok(listed) => {
                self.world.listed(listed, epochs, now_millis());
                if !self.orphans_removed {
                    self.orphans_removed = true;
                    let wanted = self.world.wanted.iter().flat_map(|share| share.replicas.keys());
                    let known = self.world.observed.replicas.keys().chain(wanted).cloned().collect();
                    self.node.remove_orphans(&known);
                }
            }
            Err(error) => {
                tracing::warn!(%error, "containers cannot be listed; trying again");
                self.world.listing_due = true;
            }
        }
    }

    fn hear_done(&mut self, id: &ReplicaId, outcome: Outcome, now: u64) {
        match &outcome {
            Outcome::Started { result: Ok(_), .. } => tracing::info!(replica = %id, "started"),
            Outcome::Started { result: Err(failed), .. } => {
                tracing::warn!(replica = %id, problem = failed.problem, "did not start");
            }
            Outcome::Collected(Ok(collected)) => {
                let limit = self.world.wanted.as_ref().and_then(|share| share.replicas.get(id));
                let limit = limit.map_or(0, |wanted| wanted.spec.limit_memory_bytes);
                let text = format!("{id} ended: {}", exit_text(&collected.exit, limit));
                tracing::info!("{text}");
                // The server tells of every state it hears of; how something ended is not one.
                self.event("replica-exited", Some(id), text);
            }
            Outcome::Removed(Ok(())) => tracing::info!(replica = %id, "removed"),
            _ => {}
        }
        self.world.done(id, outcome, now);
        self.save(id);
    }

    fn out_of_memory(&mut self, container_id: &str) {
        let Some(id) = self.world.replica(container_id).cloned() else { return };
        let limit = self.world.wanted.as_ref().and_then(|share| share.replicas.get(&id));
        let limit = limit.map_or(0, |wanted| wanted.spec.limit_memory_bytes);
        let text = format!("{id}: the kernel killed a process for lack of memory (limit {})", bytes_text(limit));
        tracing::warn!("{text}");
        self.event("replica-oom", Some(&id), text);
    }
}
