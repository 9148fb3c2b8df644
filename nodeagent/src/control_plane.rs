//! The stream to the server: connected as long as the agent runs, again and again. The outside.

use hyper_util::rt::TokioIo;
use hyphae_api::v1;
use hyphae_api::v1::agents_client::AgentsClient;
use hyphae_api::v1::{AgentMessage, Hello, agent_message, server_message};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Endpoint, Uri};

/// Messages to the server that wait to be sent.
const OUTBOUND_MAX: usize = 256;
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// What comes from the server, or about it.
#[derive(Debug)]
pub(crate) enum FromServer {
    /// A stream is open.
    Connected { to: mpsc::Sender<AgentMessage>, prefix: String },
    /// What the node shall run.
    Share(v1::Share),
    /// Somebody wants to read output.
    LogStart(v1::LogStart),
    /// And no longer.
    LogStop(u64),
    /// The stream is gone.
    Disconnected,
}

/// Keeps a stream open until the receiver of `out` is dropped. `hello` is asked anew for each.
pub(crate) async fn keep_connected(socket: PathBuf, hello: impl Fn() -> Hello, out: mpsc::Sender<FromServer>) {
    let mut pause = PAUSE_MIN;
    while !out.is_closed() {
        match attend(&socket, hello(), &out).await {
            Ok(()) => {
                pause = PAUSE_MIN;
                tracing::info!("the server ended the stream");
            }
            Err(Gone::Refused(status)) => {
                tracing::info!(reason = status.message(), "not connected to the server; what runs goes on running");
            }
            Err(Gone::AfterWelcome(status)) => {
                pause = PAUSE_MIN;
                tracing::info!(reason = status.message(), "lost the server; what runs goes on running");
            }
        }
        if out.send(FromServer::Disconnected).await.is_err() {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = out.closed() => return,
        }
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

enum Gone {
    Refused(tonic::Status),
    AfterWelcome(tonic::Status),
}

async fn attend(socket: &Path, hello: Hello, out: &mpsc::Sender<FromServer>) -> Result<(), Gone> {
    let unreachable =
        |error: tonic::transport::Error| Gone::Refused(tonic::Status::unavailable(crate::node::chain(&error)));
    let path = socket.to_owned();
    let connector = tower::service_fn(move |_: Uri| {
        let path = path.clone();
        async move { Ok::<_, std::io::Error>(TokioIo::new(tokio::net::UnixStream::connect(path).await?)) }
    });
    let endpoint = Endpoint::from_static("http://hyphae.invalid").connect_timeout(Duration::from_secs(5));
    let channel = endpoint.connect_with_connector(connector).await.map_err(unreachable)?;
    let mut client = AgentsClient::new(channel)
        .max_decoding_message_size(hyphae_api::MESSAGE_BYTES_MAX)
        .max_encoding_message_size(hyphae_api::MESSAGE_BYTES_MAX);
    let (to, outbound) = mpsc::channel(OUTBOUND_MAX);
    let hello = AgentMessage { message: Some(agent_message::Message::Hello(hello)) };
    to.send(hello).await.ok();
    let mut stream = client.attach(ReceiverStream::new(outbound)).await.map_err(Gone::Refused)?.into_inner();
    let mut welcomed = false;
    loop {
        let gone = |status| if welcomed { Gone::AfterWelcome(status) } else { Gone::Refused(status) };
        let message = tokio::select! {
            message = stream.message() => message.map_err(gone)?,
            () = out.closed() => return Ok(()),
        };
        let Some(message) = message else { return Ok(()) };
        let news = match message.message {
            Some(server_message::Message::Welcome(welcome)) => {
                welcomed = true;
                FromServer::Connected { to: to.clone(), prefix: welcome.prefix }
            }
            Some(server_message::Message::Share(share)) => FromServer::Share(share),
            Some(server_message::Message::LogStart(start)) => FromServer::LogStart(start),
            Some(server_message::Message::LogStop(stop)) => FromServer::LogStop(stop.request),
            // Of a newer server.
            None => continue,
        };
        if out.send(news).await.is_err() {
            return Ok(());
        }
    }
}
