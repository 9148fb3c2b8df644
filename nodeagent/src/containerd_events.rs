//! What containerd tells of tasks, decoded.

use crate::containerd::ContainerdError;
use containerd_client::events::{TaskExit, TaskOom};
use containerd_client::types::Envelope;
use prost::Message;
use tonic::{Status, Streaming};

/// Something happened to a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskEvent {
    /// The first process of a container ended.
    Exited {
        /// Which container.
        container_id: String,
        /// Its process id: tells this run of the container from the next.
        pid: u32,
        /// As a shell would show it.
        code: i32,
    },
    /// The kernel killed a process of a container because the memory limit was reached.
    OutOfMemory {
        /// Which container.
        container_id: String,
    },
}

/// A subscription.
#[derive(Debug)]
pub struct TaskEvents {
    stream: Streaming<Envelope>,
}

impl TaskEvents {
    pub(crate) fn new(stream: Streaming<Envelope>) -> Self {
        Self { stream }
    }

    /// The next event. An error means that containerd is gone: subscribe again, then list.
    pub async fn next(&mut self) -> Result<TaskEvent, ContainerdError> {
        loop {
            let lost = |status| ContainerdError::new("tell what happens to tasks", status);
            let envelope = self.stream.message().await.map_err(lost)?;
            let envelope = envelope.ok_or_else(|| lost(Status::unavailable("it ended the stream of events")))?;
            if let Some(event) = decode(&envelope) {
                return Ok(event);
            }
        }
    }
}

fn decode(envelope: &Envelope) -> Option<TaskEvent> {
    let value = envelope.event.as_ref()?.value.as_slice();
    match envelope.topic.as_str() {
        "/tasks/exit" => {
            let exit = TaskExit::decode(value).ok()?;
            // Processes started by `exec` end too; their id is another.
            (exit.id == exit.container_id).then(|| TaskEvent::Exited {
                container_id: exit.container_id,
                pid: exit.pid,
                code: exit.exit_status.cast_signed(),
            })
        }
        "/tasks/oom" => Some(TaskEvent::OutOfMemory { container_id: TaskOom::decode(value).ok()?.container_id }),
        _ => None,
    }
}
