//! The server: consensus, what agents tell, and the gRPC services on a Unix socket of mode 0600. Nothing else listens.
//!
//! ```text
//!  operators --> ControlPlane --plan, explain, verify--> planner (blocking threads, bounded)
//!                     |  \----- write, read (ReadIndex) -----> raft --> State --changes--+
//!                     |                                          ^                       |
//!                     v                                          |                       v
//!               events (in memory)    driver (rollout, jobs that end, lost nodes)   share per node
//!                     ^                          ^                                       |
//!                     +------- observed <--------+------- reports, heartbeats --- Agents <--> agents
//! ```
//!
//! A server that starts again knows the state and nothing of what runs; everything keeps running and is learnt from the agents as they connect.

mod agents;
mod clock;
mod driver;
mod events;
mod gates;
mod limit;
mod links;
mod operators;
mod planning;
mod shares;
mod socket;
mod status;

pub use socket::{SocketError, UserError};

use crate::observed::Observed;
use crate::raft::{Consensus, OpenError, Options, WriteError};
use crate::state::Command;
use crate::state::commands::Initialise;
use clock::Clock;
use events::Events;
use gates::Gates;
use hyphae_api::MESSAGE_BYTES_MAX;
use hyphae_api::v1::agents_server::AgentsServer;
use hyphae_api::v1::control_plane_server::ControlPlaneServer;
use links::Links;
use planning::Planning;
use shares::Shares;
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::UnixListenerStream;
use tokio_util::sync::CancellationToken;

/// How long open calls may take to end when the server ends.
const END_MAX: Duration = Duration::from_secs(5);
/// Calls in progress on one connection.
const STREAMS_PER_CONNECTION_MAX: u32 = 256;

/// Where a server keeps its data and listens.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// The log, the vote and the snapshots; made with mode 0700 when it is not there.
    pub data_dir: PathBuf,
    /// The Unix socket; its directory is made with mode 0700 when it is not there.
    pub socket: PathBuf,
    /// The cluster's /48 at its first start; `None`: a random unique local one.
    pub prefix: Option<Ipv6Addr>,
    /// Refuse changes while the data directory's file system has less than this free.
    pub free_bytes_min: u64,
}

impl ServerConfig {
    /// The defaults for a data directory and a socket.
    pub fn new(data_dir: impl Into<PathBuf>, socket: impl Into<PathBuf>) -> Self {
        let free_bytes_min = Options::default().free_bytes_min;
        Self { data_dir: data_dir.into(), socket: socket.into(), prefix: None, free_bytes_min }
    }
}

/// Why a server did not start, or ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The data directory.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The socket.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The first command of a new cluster.
    #[error("the cluster could not be initialised: {0}")]
    Initialise(#[source] WriteError),
    /// No randomness for the cluster's prefix.
    #[error("no random prefix could be drawn")]
    Random(#[source] std::io::Error),
    /// The disk.
    #[error(
        "the server has ended, because its data directory {} failed: {reason}. Everything that was acknowledged is on disk; start it again when the disk is sound and has room",
        dir.display()
    )]
    Storage { dir: PathBuf, reason: String },
    /// The listener.
    #[error("the server has ended, because it could not listen any more")]
    Listen(#[source] tonic::transport::Error),
}

/// A server that runs. Dropping it leaves it running until the runtime ends; see [`ServerHandle::shutdown`].
pub struct ServerHandle {
    socket: PathBuf,
    end: CancellationToken,
    task: JoinHandle<Result<(), ServerError>>,
}

/// The server.
pub struct Server;

/// What the services, the driver and the agents' tasks share.
struct Shared {
    consensus: Consensus,
    observed: Mutex<Observed>,
    /// Wakes the driver up when `observed` has changed.
    observed_changed: Notify,
    events: Events,
    links: Links,
    planning: Planning,
    gates: Gates,
    shares: Shares,
    clock: Clock,
    /// Cancelled when the server ends; every stream ends with it.
    end: CancellationToken,
}

impl Shared {
    fn observed(&self) -> MutexGuard<'_, Observed> {
        self.observed.lock().expect("nothing panics while it holds the lock")
    }
}

impl Server {
    /// Opens the data directory, waits until everything in it is applied, and listens.
    pub async fn start(config: ServerConfig) -> Result<ServerHandle, ServerError> {
        let options = Options { free_bytes_min: config.free_bytes_min };
        // The data directory's lock comes first: of two servers only one gets as far as the socket.
        let consensus = Consensus::open(&config.data_dir, options).await?;
        let prepared = async {
            initialise(&consensus, config.prefix).await?;
            Ok::<_, ServerError>(socket::listen(&config.socket).await?)
        };
        let listener = match prepared.await {
            Ok(listener) => listener,
            Err(error) => {
                consensus.close().await;
                return Err(error);
            }
        };
        let clock = Clock::start();
        let end = CancellationToken::new();
        let shared = Arc::new(Shared {
            consensus,
            observed: Mutex::new(Observed::new(clock.now_ms())),
            observed_changed: Notify::new(),
            events: Events::default(),
            links: Links::default(),
            planning: Planning::default(),
            gates: Gates::default(),
            shares: Shares::default(),
            clock,
            end: end.clone(),
        });
        tracing::info!(socket = %config.socket.display(), data_dir = %config.data_dir.display(), "the server listens");
        let socket = config.socket.clone();
        let task = tokio::spawn(supervise(shared, listener, config));
        Ok(ServerHandle { socket, end, task })
    }
}

impl ServerHandle {
    /// Where it listens.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Returns when the server has ended: by [`ServerHandle::shutdown`] with `Ok`, by itself with the reason.
    pub async fn wait(&mut self) -> Result<(), ServerError> {
        (&mut self.task).await.unwrap_or_else(|join| match join.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Ok(()),
        })
    }

    /// Ends the server: open calls end, the socket is removed, the data directory is free when this returns.
    pub async fn shutdown(mut self) -> Result<(), ServerError> {
        self.end.cancel();
        self.wait().await
    }
}

/// A new cluster gets its prefix.
async fn initialise(consensus: &Consensus, prefix: Option<Ipv6Addr>) -> Result<(), ServerError> {
    if consensus.applied().prefix.is_some() {
        return Ok(());
    }
    let prefix = match prefix {
        Some(prefix) => prefix,
        None => clock::random_unique_local_prefix().map_err(ServerError::Random)?,
    };
    let written = consensus.write(Command::Initialise(Initialise { prefix })).await;
    written.map_err(ServerError::Initialise)?;
    tracing::info!(%prefix, "a new cluster");
    Ok(())
}

/// Serves until it is told to end or the disk fails, and cleans up.
async fn supervise(
    shared: Arc<Shared>,
    listener: tokio::net::UnixListener,
    config: ServerConfig,
) -> Result<(), ServerError> {
    let end = shared.end.clone();
    let consensus = shared.consensus.clone();
    let driver = tokio::spawn(driver::run(shared.clone()));
    let mut serving = tokio::spawn(serve(shared, listener));
    let mut served = None;
    let result = tokio::select! {
        () = end.cancelled() => Ok(()),
        result = &mut serving => {
            served = Some(());
            result.map_or(Ok(()), |served| served.map_err(ServerError::Listen))
        }
        reason = consensus.failed() => Err(ServerError::Storage { dir: config.data_dir.clone(), reason }),
    };
    end.cancel();
    if served.is_none() && tokio::time::timeout(END_MAX, &mut serving).await.is_err() {
        tracing::warn!("calls were still open and have been cut");
        serving.abort();
    }
    if let Err(error) = driver.await {
        tracing::error!(%error, "the driver did not end properly");
    }
    socket::remove(&config.socket);
    consensus.close().await;
    match &result {
        Ok(()) => tracing::info!("the server has ended"),
        Err(error) => tracing::error!(%error, "the server has ended by itself"),
    }
    result
}

async fn serve(shared: Arc<Shared>, listener: tokio::net::UnixListener) -> Result<(), tonic::transport::Error> {
    let end = shared.end.clone();
    let operators = ControlPlaneServer::new(operators::Operators::new(shared.clone()))
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let agents = AgentsServer::new(agents::AgentsService::new(shared))
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    tonic::transport::Server::builder()
        .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
        .layer(limit::clear_size_errors())
        .add_service(operators)
        .add_service(agents)
        .serve_with_incoming_shutdown(UnixListenerStream::new(listener), end.cancelled_owned())
        .await
}
