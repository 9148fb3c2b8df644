//! `hyphae server`: the control plane alone.

use crate::failure::{Failure, Outcome};
use crate::output;
use hyphae_controlplane::server::{Server, ServerConfig, ServerError, ServerHandle};
use std::path::PathBuf;

/// Run the control plane: it keeps the cluster's state, plans, and tells agents what to run.
///
/// Listens on a Unix socket of mode 0600 and on nothing else. Everything it has acknowledged survives `kill -9`. When it ends, what
/// runs on the nodes runs on.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  sudo hyphae server
  sudo hyphae agent --node n1        in another terminal, or on the same machine's boot")]
pub(crate) struct ServerCommandArgs {
    /// Where the log and the state are kept; made with mode 0700 when it is not there
    #[arg(long, value_name = "DIR", default_value = "/var/lib/hyphae/server")]
    data_dir: PathBuf,
    /// Where to listen; a directory that is not there is made with mode 0700
    #[arg(long, env = "HYPHAE_SOCKET", default_value = "/run/hyphae/hyphae.sock", value_name = "PATH")]
    socket: PathBuf,
}

/// Serves until SIGTERM or Ctrl-C.
pub(crate) async fn run(args: ServerCommandArgs) -> Result<Outcome, Failure> {
    let config = ServerConfig::new(&args.data_dir, &args.socket);
    let mut server = start(config).await?;
    tokio::select! {
        ended = server.wait() => {
            ended.map_err(|source| failure("the server has ended", source))?;
            Ok(Outcome::Failed)
        }
        signal = super::told_to_end() => {
            output::note(&format!("{signal}: ending"));
            server.shutdown().await.map_err(|source| failure("the server did not end in order", source))?;
            Ok(Outcome::Done)
        }
    }
}

/// Starts it, or says why it does not start.
pub(crate) async fn start(config: ServerConfig) -> Result<ServerHandle, Failure> {
    Server::start(config).await.map_err(|source| failure("the server cannot start", source))
}

/// A server's error for people.
pub(crate) fn failure(what: &str, source: ServerError) -> Failure {
    Failure::Part { what: what.to_string(), help: None, source: source.into() }
}
