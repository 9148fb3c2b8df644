//! Sends a replica's output to the server, from a tail on and as it comes. The outside.

use crate::logs::{LogReader, Logs, Output};
use crate::replica::ReplicaId;
use hyphae_api::v1::{AgentLogChunk, AgentMessage, LogChunk, LogStart, agent_message};
use std::io;
use std::time::Duration;
use tokio::sync::mpsc;

const CHUNK_BYTES_MAX: u64 = 64 << 10;
/// How often a followed file is looked at.
const POLL: Duration = Duration::from_millis(200);

/// Answers one request; ends when everything is sent, or with the stream to the server.
pub(crate) async fn send_logs(logs: Logs, id: ReplicaId, start: LogStart, to: mpsc::Sender<AgentMessage>) {
    let request = start.request;
    let sent = send_chunks(logs, &id, &start, &to).await;
    let error = match sent {
        Ok(()) => String::new(),
        Err(error) => format!("the output of {id} cannot be read: {error}"),
    };
    to.send(message(AgentLogChunk { request, chunk: None, end: true, error })).await.ok();
}

async fn send_chunks(logs: Logs, id: &ReplicaId, start: &LogStart, to: &mpsc::Sender<AgentMessage>) -> io::Result<()> {
    if !logs.path(Output::Stdout).exists() {
        return Err(io::Error::other("nothing of it is kept on this node"));
    }
    let mut readers = Output::ALL.map(|output| Some((output, logs.reader(output, start.tail_lines))));
    loop {
        let mut is_idle = true;
        for slot in &mut readers {
            while let Some((output, reader)) = slot.take() {
                let (reader, bytes) = read(reader).await?;
                *slot = Some((output, reader));
                if bytes.is_empty() {
                    break;
                }
                is_idle = false;
                let chunk = LogChunk { index: id.index, data: bytes, stream: output.name().to_owned() };
                let chunk =
                    AgentLogChunk { request: start.request, chunk: Some(chunk), end: false, error: String::new() };
                if to.send(message(chunk)).await.is_err() {
                    return Ok(());
                }
            }
        }
        match (is_idle, start.follow) {
            (true, false) => return Ok(()),
            (true, true) => {
                // A replica that was removed, with its output, has nothing more to say.
                if !logs.path(Output::Stdout).exists() || to.is_closed() {
                    return Ok(());
                }
                tokio::time::sleep(POLL).await;
            }
            (false, _) => {}
        }
    }
}

async fn read(mut reader: LogReader) -> io::Result<(LogReader, Vec<u8>)> {
    let reading = tokio::task::spawn_blocking(move || {
        let bytes = reader.read(CHUNK_BYTES_MAX)?;
        Ok((reader, bytes))
    });
    reading.await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

fn message(chunk: AgentLogChunk) -> AgentMessage {
    AgentMessage { message: Some(agent_message::Message::Log(chunk)) }
}
