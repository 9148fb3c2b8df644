//! The operators' side: plan, apply, look.

use super::links::{Links, LogGuard, SharedLinks};
use super::planning::deadline;
use super::{Shared, socket, status};
use crate::plan::{InputFile, Inputs, PlanDocument};
use crate::raft::{ReadError, WriteError};
use crate::state::commands::SetSchedulable;
use crate::state::{Command, Outcome, Refusal, Release, State, StoredSource};
use hyphae_api::v1::control_plane_server::ControlPlane;
use hyphae_api::v1::*;
use hyphae_policy::UserFacts;
use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

/// Chunks or events on the way to one reader.
const QUEUE: usize = 256;
/// Events handed over at once.
const EVENTS_BATCH: usize = 100;

/// The service.
pub(super) struct Operators {
    shared: Arc<Shared>,
}

impl Operators {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    async fn read(&self) -> Result<Arc<State>, Status> {
        self.shared.consensus.read().await.map_err(read_status)
    }

    fn push(&self, kind: &str, node: &str, text: String) {
        self.shared.events.push(Event {
            unix_millis: self.shared.clock.unix_millis(),
            kind: kind.to_owned(),
            node: node.to_owned(),
            text,
            ..Event::default()
        });
    }
}

fn user<T>(request: &Request<T>) -> Result<UserFacts, Status> {
    socket::user(request).map_err(|error| Status::unauthenticated(error.to_string()))
}

fn read_status(error: ReadError) -> Status {
    Status::unavailable(error.to_string())
}

/// What a client is told of a write that was not acknowledged.
pub(super) fn write_status(error: WriteError) -> Status {
    let text = error.to_string();
    match error {
        WriteError::Refused(Refusal::UnknownNode(_)) => Status::not_found(text),
        WriteError::Refused(Refusal::BadNode { .. }) => Status::invalid_argument(text),
        WriteError::Refused(_) => Status::failed_precondition(text),
        WriteError::DiskFull { .. } => Status::resource_exhausted(text),
        WriteError::Storage(_) => Status::internal(text),
        WriteError::TimedOut => Status::deadline_exceeded(text),
        WriteError::Ended => Status::unavailable(text),
    }
}

/// A full name; a bare one is the default team's.
fn full_name(name: &str) -> String {
    match name.contains('/') {
        true => name.to_owned(),
        false => format!("default/{name}"),
    }
}

#[tonic::async_trait]
impl ControlPlane for Operators {
    type EventsStream = ReceiverStream<Result<Event, Status>>;
    type LogsStream = LogStream;

    async fn plan(&self, request: Request<PlanRequest>) -> Result<Response<PlanReply>, Status> {
        let _user = user(&request)?;
        let request = request.into_inner();
        let _deadline = deadline(request.deadline_millis);
        let files = request.files.into_iter().map(|file| InputFile { file: file.name, text: file.text });
        let _inputs = Inputs { files: files.collect(), delete: request.delete };
        let _state = self.read().await?;
        Err(Status::unimplemented("the planner is not in this build"))
    }

    async fn apply(&self, request: Request<ApplyRequest>) -> Result<Response<ApplyReply>, Status> {
        let user = user(&request)?;
        let document: PlanDocument = serde_json::from_str(&request.into_inner().plan_json)
            .map_err(|error| Status::invalid_argument(format!("this is not a plan document: {error}")))?;
        let state = self.read().await?;
        if document.revision != state.revision {
            let stale = Refusal::Stale { made_at: document.revision, now: state.revision };
            tracing::info!(target: "audit", user = user.name, made_at = document.revision, revision = state.revision, decision = "refused", reason = "stale", "apply");
            return Err(Status::failed_precondition(stale.to_string()));
        }
        let facts = user.clone();
        let release: Release = self
            .shared
            .planning
            .run(move || {
                let _ = (&state, &document, &facts);
                Err::<Release, Status>(Status::unimplemented("the planner is not in this build"))
            })
            .await??;
        let waves = release.waves.len();
        let written = self.shared.consensus.write(Command::ApplyRelease(Box::new(release))).await;
        let Outcome { revision, .. } = match written {
            Ok(outcome) => outcome,
            Err(error) => {
                tracing::info!(target: "audit", user = user.name, decision = "refused", reason = %error, "apply");
                return Err(write_status(error));
            }
        };
        tracing::info!(target: "audit", user = user.name, revision, decision = "applied", "apply");
        self.push("applied", "", format!("{} has applied a plan: revision {revision}, {waves} waves", user.name));
        Ok(Response::new(ApplyReply { revision }))
    }

    async fn status(&self, request: Request<StatusRequest>) -> Result<Response<StatusReply>, Status> {
        let wanted: Vec<String> = request.into_inner().workloads.iter().map(|name| full_name(name)).collect();
        let state = self.shared.consensus.applied();
        if let Some(unknown) = wanted.iter().find(|name| !state.workloads.contains_key(*name)) {
            return Err(Status::not_found(format!("no workload is named \"{unknown}\"")));
        }
        let now_ms = self.shared.clock.now_ms();
        Ok(Response::new(status::status(&state, &self.shared.observed(), &wanted, now_ms)))
    }

    async fn nodes(&self, _request: Request<NodesRequest>) -> Result<Response<NodesReply>, Status> {
        let state = self.shared.consensus.applied();
        let now_ms = self.shared.clock.now_ms();
        Ok(Response::new(status::nodes(&state, &self.shared.observed(), now_ms)))
    }

    async fn set_node_schedulable(
        &self,
        request: Request<SetNodeSchedulableRequest>,
    ) -> Result<Response<SetNodeSchedulableReply>, Status> {
        let user = user(&request)?;
        let SetNodeSchedulableRequest { node, schedulable } = request.into_inner();
        let command = SetSchedulable { node: node.clone(), schedulable };
        let outcome = self.shared.consensus.write(Command::SetSchedulable(command)).await.map_err(write_status)?;
        tracing::info!(target: "audit", user = user.name, node, schedulable, decision = "applied", "cordon");
        let (kind, done) = if schedulable { ("node-uncordoned", "uncordoned") } else { ("node-cordoned", "cordoned") };
        self.push(kind, &node, format!("{} has {done} it", user.name));
        Ok(Response::new(SetNodeSchedulableReply { revision: outcome.revision }))
    }

    async fn events(&self, request: Request<EventsRequest>) -> Result<Response<Self::EventsStream>, Status> {
        let EventsRequest { follow, workload } = request.into_inner();
        let workload = (!workload.is_empty()).then(|| full_name(&workload));
        let (to_reader, events) = mpsc::channel(QUEUE);
        tokio::spawn(send_events(self.shared.clone(), follow, workload, to_reader));
        Ok(Response::new(ReceiverStream::new(events)))
    }

    async fn logs(&self, request: Request<LogsRequest>) -> Result<Response<Self::LogsStream>, Status> {
        let request = request.into_inner();
        let workload = full_name(&request.workload);
        let state = self.shared.consensus.applied();
        if !state.workloads.contains_key(&workload) {
            return Err(Status::not_found(format!("no workload is named \"{workload}\"")));
        }
        let chosen = state.replicas_of(&workload).filter(|(id, _)| request.index.is_none_or(|index| index == id.index));
        let (to_reader, chunks) = mpsc::channel(QUEUE);
        let mut guards = Vec::new();
        let mut problem = None;
        for (id, record) in chosen {
            let start = LogStart {
                request: 0,
                workload: workload.clone(),
                index: id.index,
                follow: request.follow,
                tail_lines: request.tail_lines,
            };
            match Links::start_log(SharedLinks(self.shared.clone()), &record.node, start, to_reader.clone()) {
                Ok(guard) => guards.push(guard),
                Err(status) => {
                    let data = format!("{}\n", status.message()).into_bytes();
                    let notice = LogChunk { index: id.index, data, stream: "hyphae".to_owned() };
                    let _ = to_reader.try_send(Ok(notice));
                    problem = Some(status);
                }
            }
        }
        if guards.is_empty() {
            let none = || Status::not_found(format!("{workload} has no such replica now; `hyphae status` lists them"));
            return Err(problem.unwrap_or_else(none));
        }
        let end = Box::pin(self.shared.end.clone().cancelled_owned());
        Ok(Response::new(LogStream { chunks, end, _guards: guards }))
    }

    async fn explain(&self, request: Request<ExplainRequest>) -> Result<Response<ExplainReply>, Status> {
        let _user = user(&request)?;
        let _workload = full_name(&request.into_inner().workload);
        Err(Status::unimplemented("the planner is not in this build"))
    }

    async fn sources(&self, _request: Request<SourcesRequest>) -> Result<Response<SourcesReply>, Status> {
        Ok(Response::new(SourcesReply { files: sources(&self.shared.consensus.applied()) }))
    }
}

/// The stored texts, put together again by file, in the order they had there.
fn sources(state: &State) -> Vec<SourceFile> {
    let mut files: BTreeMap<&str, Vec<&StoredSource>> = BTreeMap::new();
    for source in state.objects.values().chain(&state.policies) {
        files.entry(&source.file).or_default().push(source);
    }
    let whole = |(name, mut parts): (&str, Vec<&StoredSource>)| {
        parts.sort_by_key(|part| part.line);
        let texts: Vec<&str> = parts.iter().map(|part| part.text.trim_end()).collect();
        SourceFile { name: name.to_owned(), text: format!("{}\n", texts.join("\n\n")) }
    };
    files.into_iter().map(whole).collect()
}

async fn send_events(
    shared: Arc<Shared>,
    follow: bool,
    workload: Option<String>,
    to_reader: mpsc::Sender<Result<Event, Status>>,
) {
    let mut more = shared.events.more();
    let mut number = 0;
    loop {
        more.mark_unchanged();
        let (events, next) = shared.events.from(number, EVENTS_BATCH);
        number = next;
        let last = events.is_empty();
        for event in events.into_iter().filter(|event| workload.as_ref().is_none_or(|name| *name == event.workload)) {
            if to_reader.send(Ok(event)).await.is_err() {
                return;
            }
        }
        if !last {
            continue;
        }
        if !follow {
            return;
        }
        tokio::select! {
            () = shared.end.cancelled() => return,
            () = to_reader.closed() => return,
            _ = more.changed() => {}
        }
    }
}

/// The chunks of one reader. Ends with the server; tells the agents when the reader goes.
pub(super) struct LogStream {
    chunks: mpsc::Receiver<Result<LogChunk, Status>>,
    end: Pin<Box<tokio_util::sync::WaitForCancellationFutureOwned>>,
    _guards: Vec<LogGuard<SharedLinks>>,
}

impl Stream for LogStream {
    type Item = Result<LogChunk, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.end.as_mut().poll(context).is_ready() {
            return Poll::Ready(None);
        }
        self.chunks.poll_recv(context)
    }
}
