//! What the agent listens to: the server's stream and containerd's events, each opened again whenever it is lost.

use super::{Agent, AgentConfig, Message, act::PREFIX_LENGTH};
use crate::containerd::{Containerd, ContainerdError};
use crate::control_plane::keep_connected;
use crate::machine;
use hyphae_api::v1;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

/// Between attempts to reach containerd.
const RUNTIME_PAUSE_MIN: Duration = Duration::from_millis(200);
const RUNTIME_PAUSE_MAX: Duration = Duration::from_secs(2);

impl Agent {
    pub(super) fn spawn_watchers(&mut self) {
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
    let mut pause = RUNTIME_PAUSE_MIN;
    loop {
        let begun = tokio::time::Instant::now();
        let Err(error) = watch_tasks(&containerd, &messages).await else { return };
        if messages.send(Message::RuntimeLost(error)).await.is_err() {
            return;
        }
        // Long pauses only while it is away for long.
        pause = if begun.elapsed() > RUNTIME_PAUSE_MAX { RUNTIME_PAUSE_MIN } else { pause };
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RUNTIME_PAUSE_MAX);
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
