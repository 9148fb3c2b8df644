//! Everything the agent asks of containerd about containers, tasks and snapshots. The outside: each function is one or a few calls.
//!
//! Works from containerd 1.6 on. The channel connects by itself, and again after containerd was restarted. All calls go to
//! the agent's own containerd namespace, in which every container is the agent's.

use crate::containerd_events::TaskEvents;
use containerd_client::Client;
use containerd_client::services::v1::snapshots::{PrepareSnapshotRequest, RemoveSnapshotRequest};
use containerd_client::services::v1::{
    Container, CreateContainerRequest, CreateNamespaceRequest, CreateTaskRequest, DeleteContainerRequest,
    DeleteTaskRequest, KillRequest, ListContainersRequest, ListTasksRequest, Namespace, PublishRequest, StartRequest,
    SubscribeRequest, container,
};
use containerd_client::types::Mount;
use containerd_client::types::v1::Status as TaskStatus;
use hyper_util::rt::TokioIo;
use prost_types::Any;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code, Request, Status};

/// No single call takes longer, on a machine that is alive.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);
/// The runtime that containers are run with.
const RUNTIME: &str = "io.containerd.runc.v2";
/// What containerd calls a runtime specification.
const SPEC_TYPE: &str = "types.containerd.io/opencontainers/runtime-spec/1/Spec";

/// A call to containerd that failed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("containerd could not {what}: {}", said(status))]
pub struct ContainerdError {
    what: &'static str,
    status: Status,
}

fn said(status: &Status) -> String {
    match status.message() {
        "" => format!("{:?}", status.code()),
        message => message.to_owned(),
    }
}

impl ContainerdError {
    pub(crate) fn new(what: &'static str, status: Status) -> Self {
        Self { what, status }
    }

    /// Nobody answered, so that nothing is known about what was asked.
    pub fn is_unanswered(&self) -> bool {
        matches!(self.status.code(), Code::Unavailable | Code::Cancelled | Code::DeadlineExceeded)
            || (self.status.code() == Code::Unknown && self.status.message().contains("transport"))
    }

    /// What was asked about does not exist.
    pub fn is_not_found(&self) -> bool {
        self.status.code() == Code::NotFound
    }

    /// What was to be made exists.
    pub fn is_already_exists(&self) -> bool {
        self.status.code() == Code::AlreadyExists
    }
}

/// A connection to containerd, for one of its namespaces.
#[derive(Debug, Clone)]
pub struct Containerd {
    channel: Channel,
    namespace: String,
    snapshotter: String,
}

/// A container as containerd lists it.
#[derive(Debug, Clone)]
pub struct ContainerRecord {
    /// Its id.
    pub id: String,
    /// Its labels.
    pub labels: HashMap<String, String>,
}

/// A task as containerd lists it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskState {
    /// Created, not started; or something is wrong with it.
    NotStarted,
    /// Running (or paused), with this process id.
    Running {
        /// Of its first process.
        pid: u32,
    },
    /// Ended.
    Exited {
        /// As a shell would show it.
        code: i32,
    },
}

/// What a new container is made of.
#[derive(Debug, Clone)]
pub struct NewContainer {
    /// Its id, and the key of its snapshot.
    pub id: String,
    /// The image's name, for people who look with `ctr`.
    pub image: String,
    /// Its labels.
    pub labels: HashMap<String, String>,
    /// The OCI runtime specification, JSON.
    pub spec: Vec<u8>,
    /// Files that its output is appended to; they must exist.
    pub stdout: PathBuf,
    /// As `stdout`.
    pub stderr: PathBuf,
}

impl Containerd {
    /// Prepares a connection; nothing is connected before the first call.
    pub fn new(socket: &Path, namespace: &str, snapshotter: &str) -> Self {
        let socket = socket.to_owned();
        let connector = tower::service_fn(move |_: Uri| {
            let socket = socket.clone();
            async move { Ok::<_, std::io::Error>(TokioIo::new(tokio::net::UnixStream::connect(socket).await?)) }
        });
        let channel = Endpoint::from_static("http://containerd.invalid")
            .connect_timeout(Duration::from_secs(5))
            .connect_with_connector_lazy(connector);
        Self { channel, namespace: namespace.to_owned(), snapshotter: snapshotter.to_owned() }
    }

    pub(crate) fn client(&self) -> Client {
        Client::from(self.channel.clone())
    }

    pub(crate) fn snapshotter(&self) -> &str {
        &self.snapshotter
    }

    /// The namespace all calls go to.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    pub(crate) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(CALL_TIMEOUT);
        if let Ok(namespace) = self.namespace.parse() {
            request.metadata_mut().insert("containerd-namespace", namespace);
        }
        request
    }

    /// Its version, which also tells whether it answers.
    pub async fn version(&self) -> Result<String, ContainerdError> {
        let reply = self.client().version().version(self.request(())).await;
        Ok(reply.map_err(|status| ContainerdError::new("tell its version", status))?.into_inner().version)
    }

    /// Makes the agent's namespace if there is none.
    pub async fn ensure_namespace(&self) -> Result<(), ContainerdError> {
        let namespace = Namespace { name: self.namespace.clone(), labels: HashMap::new() };
        let request = self.request(CreateNamespaceRequest { namespace: Some(namespace) });
        match self.client().namespaces().create(request).await {
            Err(status) if status.code() != Code::AlreadyExists => {
                Err(ContainerdError::new("create the agent's namespace", status))
            }
            _ => Ok(()),
        }
    }

    /// All containers.
    pub async fn containers(&self) -> Result<Vec<ContainerRecord>, ContainerdError> {
        let request = self.request(ListContainersRequest { filters: vec![] });
        let reply = self.client().containers().list(request).await;
        let containers =
            reply.map_err(|status| ContainerdError::new("list containers", status))?.into_inner().containers;
        Ok(containers.into_iter().map(|found| ContainerRecord { id: found.id, labels: found.labels }).collect())
    }

    /// All tasks, by container.
    pub async fn tasks(&self) -> Result<BTreeMap<String, TaskState>, ContainerdError> {
        let request = self.request(ListTasksRequest { filter: String::new() });
        let reply = self.client().tasks().list(request).await;
        let tasks = reply.map_err(|status| ContainerdError::new("list tasks", status))?.into_inner().tasks;
        let state = |status: TaskStatus, pid: u32, exit_status: u32| match status {
            TaskStatus::Running | TaskStatus::Paused | TaskStatus::Pausing => TaskState::Running { pid },
            TaskStatus::Stopped => TaskState::Exited { code: exit_status.cast_signed() },
            TaskStatus::Created | TaskStatus::Unknown => TaskState::NotStarted,
        };
        // The container's id is in `id` (1.6 leaves `container_id` empty here).
        Ok(tasks.into_iter().map(|task| (task.id.clone(), state(task.status(), task.pid, task.exit_status))).collect())
    }

    /// Makes the root file system of a container that is about to be made. One that an earlier start left is replaced: it would
    /// carry its files over.
    pub async fn prepare_rootfs(&self, id: &str, chain_id: &str) -> Result<Vec<Mount>, ContainerdError> {
        match self.prepare(id, chain_id).await {
            Err(error) if error.is_already_exists() => {
                self.remove_snapshot(id).await?;
                self.prepare(id, chain_id).await
            }
            other => other,
        }
    }

    async fn prepare(&self, key: &str, parent: &str) -> Result<Vec<Mount>, ContainerdError> {
        let request = self.request(PrepareSnapshotRequest {
            snapshotter: self.snapshotter.clone(),
            key: key.to_owned(),
            parent: parent.to_owned(),
            labels: HashMap::from([("containerd.io/gc.root".to_owned(), "hyphae".to_owned())]),
        });
        let reply = self.client().snapshots().prepare(request).await;
        Ok(reply.map_err(|status| ContainerdError::new("prepare the root file system", status))?.into_inner().mounts)
    }

    /// Makes a container and its task and starts it. The process id of its first process. After a failure, `remove` what there is.
    pub async fn run(&self, new: &NewContainer, rootfs: Vec<Mount>) -> Result<u32, ContainerdError> {
        let container = Container {
            id: new.id.clone(),
            labels: new.labels.clone(),
            image: new.image.clone(),
            runtime: Some(container::Runtime { name: RUNTIME.into(), options: None }),
            spec: Some(Any { type_url: SPEC_TYPE.into(), value: new.spec.clone() }),
            snapshotter: self.snapshotter.clone(),
            snapshot_key: new.id.clone(),
            ..Container::default()
        };
        let request = self.request(CreateContainerRequest { container: Some(container) });
        let created = self.client().containers().create(request).await;
        created.map_err(|status| ContainerdError::new("create the container", status))?;
        let path = |path: &Path| path.to_string_lossy().into_owned();
        let request = self.request(CreateTaskRequest {
            container_id: new.id.clone(),
            rootfs,
            stdout: path(&new.stdout),
            stderr: path(&new.stderr),
            ..CreateTaskRequest::default()
        });
        let created = self.client().tasks().create(request).await;
        let pid = created.map_err(|status| ContainerdError::new("create the task", status))?.into_inner().pid;
        let request = self.request(StartRequest { container_id: new.id.clone(), exec_id: String::new() });
        let started = self.client().tasks().start(request).await;
        started.map_err(|status| ContainerdError::new("start the task", status))?;
        Ok(pid)
    }

    /// Sends a signal to the first process of a task, or to all. A task that is gone already is fine.
    pub async fn kill(&self, id: &str, signal: u32, all: bool) -> Result<(), ContainerdError> {
        let request = self.request(KillRequest { container_id: id.to_owned(), exec_id: String::new(), signal, all });
        match self.client().tasks().kill(request).await {
            Err(status) if status.code() != Code::NotFound && !status.message().contains("already finished") => {
                Err(ContainerdError::new("signal the task", status))
            }
            _ => Ok(()),
        }
    }

    /// Removes task, container and snapshot, whatever of them there is. The exit code, if a task was there that had ended.
    pub async fn remove(&self, id: &str) -> Result<Option<i32>, ContainerdError> {
        let code = self.remove_task(id).await?;
        let request = self.request(DeleteContainerRequest { id: id.to_owned() });
        match self.client().containers().delete(request).await {
            Err(status) if status.code() != Code::NotFound => {
                return Err(ContainerdError::new("delete the container", status));
            }
            _ => {}
        }
        self.remove_snapshot(id).await?;
        Ok(code)
    }

    async fn remove_task(&self, id: &str) -> Result<Option<i32>, ContainerdError> {
        // A task that was created and not started, or whose process lives on, has to be killed first; its end takes a moment.
        for attempt in 0..20u32 {
            let request = self.request(DeleteTaskRequest { container_id: id.to_owned() });
            match self.client().tasks().delete(request).await {
                Ok(reply) => return Ok(Some(reply.into_inner().exit_status.cast_signed())),
                Err(status) if status.code() == Code::NotFound => return Ok(None),
                Err(status) if attempt == 19 || status.code() == Code::Unavailable => {
                    return Err(ContainerdError::new("delete the task", status));
                }
                Err(_) => {}
            }
            if attempt == 0 {
                self.kill(id, 9, true).await.ok();
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(None)
    }

    async fn remove_snapshot(&self, key: &str) -> Result<(), ContainerdError> {
        let request =
            self.request(RemoveSnapshotRequest { snapshotter: self.snapshotter.clone(), key: key.to_owned() });
        match self.client().snapshots().remove(request).await {
            Err(status) if status.code() != Code::NotFound => {
                Err(ContainerdError::new("remove the root file system", status))
            }
            _ => Ok(()),
        }
    }

    /// Subscribes to what happens to tasks. Returns once containerd has been seen to deliver: what is listed afterwards
    /// and what is delivered leave no gap between them.
    pub async fn subscribe(&self) -> Result<TaskEvents, ContainerdError> {
        let failed = |status| ContainerdError::new("tell what happens to tasks", status);
        let mark = "/hyphae/mark".to_owned();
        let filter = |topic: &str| format!("namespace==\"{}\",topic==\"{topic}\"", self.namespace);
        let filters = ["/tasks/exit", "/tasks/oom", &mark].map(filter).to_vec();
        // `subscribe` does not return before the first event, so one is published for it; no timeout: the stream stays open.
        let mut request = self.request(SubscribeRequest { filters });
        request.metadata_mut().remove("grpc-timeout");
        let mut client = self.client().events();
        let subscribing = client.subscribe(request);
        let publishing = async {
            loop {
                let event = Some(Any { type_url: "google.protobuf.Empty".into(), value: vec![] });
                let request = self.request(PublishRequest { topic: mark.clone(), event });
                if let Err(status) = self.client().events().publish(request).await {
                    return status;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let stream = tokio::select! {
            reply = subscribing => reply.map_err(failed)?.into_inner(),
            status = publishing => return Err(failed(status)),
        };
        Ok(TaskEvents::new(stream))
    }
}
