//! The operators' side: plan, apply, look.

use super::links::{Links, LogGuard, SharedLinks};
use super::planning::deadline;
use super::{Shared, gates, socket, status};
use crate::plan::{InputFile, Inputs, PlanDocument};
use crate::planner::{self, PlanError, VerifyError};
use crate::raft::{ReadError, WriteError};
use crate::state::commands::SetSchedulable;
use crate::state::{Command, Outcome, Refusal, State, StoredSource, WorkloadRecord};
use hyphae_api::v1::control_plane_server::ControlPlane;
use hyphae_api::v1::*;
use hyphae_policy::{OperateAction, UserFacts};
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

    fn may_read(&self, state: &State, user: &UserFacts) -> Result<(), Status> {
        self.shared.gates.operate(state, user, &OperateAction::Read)
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

fn plan_status(error: &PlanError) -> Status {
    let text = error.problems().join("\n");
    match error {
        PlanError::NoSuchWorkload { .. } => Status::not_found(text),
        PlanError::Sources { .. } | PlanError::Problem(_) | PlanError::WhatIf(_) => Status::invalid_argument(text),
        PlanError::Waves(_) => Status::internal(text),
    }
}

fn verify_status(error: &VerifyError) -> Status {
    let text = error.to_string();
    match error {
        VerifyError::Denied(_) => Status::permission_denied(text),
        VerifyError::Sources(_) => Status::invalid_argument(text),
        VerifyError::Moved { .. }
        | VerifyError::WhatIf
        | VerifyError::Unknown { .. }
        | VerifyError::Broken(_)
        | VerifyError::NotThere(_)
        | VerifyError::Altered(_) => Status::failed_precondition(text),
    }
}

/// "1 wave", "3 waves".
fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

fn workload<'a>(state: &'a State, name: &str) -> Result<&'a WorkloadRecord, Status> {
    state.workloads.get(name).ok_or_else(|| Status::not_found(format!("no workload is named \"{name}\"")))
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
        let user = user(&request)?;
        let PlanRequest { files, deadline_millis, delete, what_if } = request.into_inner();
        let suppositions: Result<Vec<planner::WhatIf>, _> = what_if.iter().map(|text| text.parse()).collect();
        let suppositions = suppositions.map_err(|error| Status::invalid_argument(error.to_string()))?;
        let files = files.into_iter().map(|file| InputFile { file: file.name, text: file.text });
        let inputs = Inputs { files: files.collect(), delete };
        let state = self.read().await?;
        self.may_read(&state, &user)?;
        let deadline = deadline(deadline_millis);
        let planned = self
            .shared
            .planning
            .run(move |cancel| {
                let request = planner::Request { state: &state, inputs, user, deadline, cancel: Some(cancel) };
                let planned = if suppositions.is_empty() {
                    planner::plan(&request)
                } else {
                    planner::plan_what_if(&request, &suppositions)
                };
                planned.map(|document| serde_json::to_string(&document))
            })
            .await?;
        match planned {
            Ok(document) => {
                let plan_json =
                    document.map_err(|error| Status::internal(format!("the plan can not be sent: {error}")))?;
                Ok(Response::new(PlanReply { plan_json, problems: Vec::new() }))
            }
            Err(error) => Ok(Response::new(PlanReply { plan_json: String::new(), problems: error.problems() })),
        }
    }

    async fn apply(&self, request: Request<ApplyRequest>) -> Result<Response<ApplyReply>, Status> {
        let user = user(&request)?;
        let document: PlanDocument = serde_json::from_str(&request.into_inner().plan_json)
            .map_err(|error| Status::invalid_argument(format!("this is not a plan document: {error}")))?;
        let state = self.read().await?;
        let (made_at, now) = (document.revision, state.revision);
        let audit_refusal = |status: Status| {
            tracing::info!(target: "audit", user = user.name, made_at, revision = now, decision = "refused", reason = status.message(), "apply");
            status
        };
        if made_at != now {
            let stale = Refusal::Stale { made_at, now };
            return Err(audit_refusal(Status::failed_precondition(stale.to_string())));
        }
        let facts = user.clone();
        let verified = self.shared.planning.run(move |_| planner::verify(&state, &document, &facts)).await?;
        let release = verified.map_err(|error| audit_refusal(verify_status(&error)))?;
        let waves = release.waves.len();
        let workloads: Vec<String> = release.objects_put.keys().chain(&release.objects_removed).cloned().collect();
        let written = self.shared.consensus.write(Command::ApplyRelease(Box::new(release))).await;
        let Outcome { revision, .. } = written.map_err(|error| audit_refusal(write_status(error)))?;
        tracing::info!(target: "audit", user = user.name, made_at, revision, decision = "applied", objects = ?workloads, "apply");
        self.push(
            "applied",
            "",
            format!("{} has applied a plan: revision {revision}, {}", user.name, counted(waves, "wave")),
        );
        Ok(Response::new(ApplyReply { revision }))
    }

    async fn status(&self, request: Request<StatusRequest>) -> Result<Response<StatusReply>, Status> {
        let state = self.shared.consensus.applied();
        self.may_read(&state, &user(&request)?)?;
        let wanted: Vec<String> = request.into_inner().workloads.iter().map(|name| full_name(name)).collect();
        for name in &wanted {
            workload(&state, name)?;
        }
        let now_ms = self.shared.clock.now_ms();
        Ok(Response::new(status::status(&state, &self.shared.observed(), &wanted, now_ms)))
    }

    async fn nodes(&self, request: Request<NodesRequest>) -> Result<Response<NodesReply>, Status> {
        let state = self.shared.consensus.applied();
        self.may_read(&state, &user(&request)?)?;
        let now_ms = self.shared.clock.now_ms();
        Ok(Response::new(status::nodes(&state, &self.shared.observed(), now_ms)))
    }

    async fn set_node_schedulable(
        &self,
        request: Request<SetNodeSchedulableRequest>,
    ) -> Result<Response<SetNodeSchedulableReply>, Status> {
        let user = user(&request)?;
        let SetNodeSchedulableRequest { node, schedulable } = request.into_inner();
        let state = self.read().await?;
        if let Some(record) = state.nodes.get(&node) {
            let action = OperateAction::Cordon(gates::node_facts(&node, record));
            self.shared.gates.operate(&state, &user, &action)?;
        }
        let command = SetSchedulable { node: node.clone(), schedulable };
        let outcome = self.shared.consensus.write(Command::SetSchedulable(command)).await.map_err(write_status)?;
        let (kind, done) = if schedulable { ("node-uncordoned", "uncordoned") } else { ("node-cordoned", "cordoned") };
        self.push(kind, &node, format!("{} has {done} it", user.name));
        Ok(Response::new(SetNodeSchedulableReply { revision: outcome.revision }))
    }

    async fn events(&self, request: Request<EventsRequest>) -> Result<Response<Self::EventsStream>, Status> {
        self.may_read(&self.shared.consensus.applied(), &user(&request)?)?;
        let EventsRequest { follow, workload } = request.into_inner();
        let workload = (!workload.is_empty()).then(|| full_name(&workload));
        let (to_reader, events) = mpsc::channel(QUEUE);
        tokio::spawn(send_events(self.shared.clone(), follow, workload, to_reader));
        Ok(Response::new(ReceiverStream::new(events)))
    }

    async fn logs(&self, request: Request<LogsRequest>) -> Result<Response<Self::LogsStream>, Status> {
        let user = user(&request)?;
        let request = request.into_inner();
        let name = full_name(&request.workload);
        let state = self.shared.consensus.applied();
        let action = OperateAction::Logs(gates::workload_facts(&name, workload(&state, &name)?));
        self.shared.gates.operate(&state, &user, &action)?;
        // A job's replica that has ended left its output on its node.
        let running = state.replicas_of(&name).map(|(id, record)| (id.index, record.node.as_str()));
        let ended = state.finished_on.iter().filter(|(id, _)| id.workload == name);
        let ended = ended.map(|(id, node)| (id.index, node.as_str()));
        let chosen = running.chain(ended).filter(|(index, _)| request.index.is_none_or(|chosen| chosen == *index));
        let (to_reader, chunks) = mpsc::channel(QUEUE);
        let mut guards = Vec::new();
        let mut problem = None;
        for (index, node) in chosen {
            let start = LogStart {
                request: 0,
                workload: name.clone(),
                index,
                follow: request.follow,
                tail_lines: request.tail_lines,
            };
            match Links::start_log(SharedLinks(self.shared.clone()), node, start, to_reader.clone()) {
                Ok(guard) => guards.push(guard),
                Err(status) => {
                    let data = format!("{}\n", status.message()).into_bytes();
                    let notice = LogChunk { index, data, stream: "hyphae".to_owned() };
                    let _ = to_reader.try_send(Ok(notice));
                    problem = Some(status);
                }
            }
        }
        if guards.is_empty() {
            let none = || Status::not_found(format!("{name} has no such replica now; `hyphae status` lists them"));
            return Err(problem.unwrap_or_else(none));
        }
        let end = Box::pin(self.shared.end.clone().cancelled_owned());
        Ok(Response::new(LogStream { chunks, end, _guards: guards }))
    }

    async fn explain(&self, request: Request<ExplainRequest>) -> Result<Response<ExplainReply>, Status> {
        let user = user(&request)?;
        let ExplainRequest { workload, costs, deadline_millis } = request.into_inner();
        let (workload, deadline) = (full_name(&workload), deadline(deadline_millis));
        let state = self.read().await?;
        self.may_read(&state, &user)?;
        let explained = self
            .shared
            .planning
            .run(move |cancel| {
                let (inputs, cancel) = (Inputs::default(), Some(cancel));
                let request = planner::ExplainRequest { state: &state, inputs, workload, costs, deadline, cancel };
                planner::explain(&request).map(|explanation| serde_json::to_string(&explanation))
            })
            .await?;
        let explanation_json = explained
            .map_err(|error| plan_status(&error))?
            .map_err(|error| Status::internal(format!("the explanation can not be sent: {error}")))?;
        Ok(Response::new(ExplainReply { explanation_json }))
    }

    async fn sources(&self, request: Request<SourcesRequest>) -> Result<Response<SourcesReply>, Status> {
        let state = self.shared.consensus.applied();
        self.may_read(&state, &user(&request)?)?;
        Ok(Response::new(SourcesReply { files: sources(&state) }))
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
