//! What the agent does: begins actions, keeps files and rules true, and tells the server.

use super::{Agent, HostPorts, Message, NodeNetworkState, now_millis};
use crate::host_ports::{HostPort, Target};
use crate::node::{Node, chain};
use crate::reconcile::{Action, Container, Runtime};
use crate::replica::ReplicaId;
use crate::world::Outcome;
use hyphae_api::v1::{self, AgentMessage, agent_message};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Bits of a node's prefix.
pub(super) const PREFIX_LENGTH: u8 = 80;
/// Containers are listed so often even if nothing seems to have happened.
const LIST_EVERY_TICKS: u64 = 30;
/// Images are looked through so often.
const IMAGES_EVERY_TICKS: u64 = 60;
/// An image that nothing has wanted for so long is removed.
const IMAGE_UNUSED_MILLIS: u64 = 10 * 60 * 1_000;

impl Agent {
    /// Decides, begins what is decided, and tells the server. How long to sleep if nothing happens.
    pub(super) fn act(&mut self) -> Duration {
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
                self.actions.spawn(pull(node, image, done, self.pulls.clone()));
            }
            Action::Start { id } => {
                let wanted = self.world.wanted.as_ref().and_then(|share| share.replicas.get(&id)).cloned();
                let image = wanted.as_ref().and_then(|wanted| self.world.unpacked.get(&wanted.spec.image)).cloned();
                let (Some(wanted), Some(image)) = (wanted, image) else { return };
                self.save(&id);
                let running = self.running.clone();
                self.actions.spawn(async move {
                    let result = node.start(&wanted, &image, &running).await;
                    let outcome = Outcome::Started {
                        generation: wanted.generation,
                        address: wanted.address,
                        stop_grace_millis: wanted.stop_grace_millis(),
                        result,
                    };
                    done.send(Message::Done(id, outcome)).await.ok();
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

    pub(super) fn ensure_node_network(&mut self) {
        let (Some(prefix), NodeNetworkState::Missing) = (self.prefix, self.node_network) else { return };
        self.node_network = NodeNetworkState::Working;
        let (node, done) = (Arc::clone(&self.node), self.messages.clone());
        self.actions.spawn(async move {
            let result = node.network.ensure_node(prefix, PREFIX_LENGTH).await;
            done.send(Message::NodeNetwork(result.map_err(|error| chain(&error)))).await.ok();
        });
    }

    /// Remembers what has become of a replica, if that is news.
    pub(super) fn save(&mut self, id: &ReplicaId) {
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

    /// Tells the server of something for people; lost when there is no server.
    pub(super) fn event(&self, kind: &str, id: Option<&ReplicaId>, text: String) {
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

    pub(super) fn tick(&mut self) {
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

async fn pull(node: Arc<Node>, image: String, done: mpsc::Sender<Message>, stop: CancellationToken) {
    let progress = |layers_done, layers| {
        // Lost when the loop is busy; the next one says more.
        done.try_send(Message::Progress { image: image.clone(), layers_done, layers }).ok();
    };
    let result = tokio::select! {
        result = node.pull(&image, progress) => result,
        () = stop.cancelled() => return,
    };
    done.send(Message::Pulled { image, result }).await.ok();
}
