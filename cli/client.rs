//! The connection to a server: gRPC over its Unix socket, and its errors in words.

use crate::failure::Failure;
use crate::render::style::clean;
use hyper_util::rt::TokioIo;
use hyphae_api::v1::control_plane_client::ControlPlaneClient;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

/// How long a server may take to accept a connection.
const CONNECT_SECONDS_MAX: u64 = 5;

/// Which server is meant.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ServerArgs {
    /// The server's Unix socket
    #[arg(long, env = "HYPHAE_SOCKET", default_value = "/run/hyphae/hyphae.sock", value_name = "PATH")]
    pub(crate) socket: PathBuf,
}

/// The services a server offers to operators.
pub(crate) type Client = ControlPlaneClient<Channel>;

impl ServerArgs {
    /// Connects, at once: a socket that nobody listens on is told before anything is asked.
    pub(crate) async fn connect(&self) -> Result<Client, Failure> {
        let failure = |source| Failure::Connect { socket: self.socket.clone(), source };
        drop(UnixStream::connect(&self.socket).await.map_err(failure)?);
        let channel = channel(&self.socket).await.map_err(|error| failure(std::io::Error::other(error)))?;
        let limit = hyphae_api::MESSAGE_BYTES_MAX;
        Ok(ControlPlaneClient::new(channel).max_decoding_message_size(limit).max_encoding_message_size(limit))
    }
}

async fn channel(socket: &Path) -> Result<Channel, tonic::transport::Error> {
    let socket = socket.to_path_buf();
    let connector = tower::service_fn(move |_| {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    let endpoint =
        Endpoint::from_static("http://hyphae.local").connect_timeout(Duration::from_secs(CONNECT_SECONDS_MAX));
    endpoint.connect_with_connector(connector).await
}

/// A server's refusal, for the one who asked: its own words, and what to do where that is known.
pub(crate) fn refusal(status: Status) -> Failure {
    let words = clean(status.message().trim()).into_owned();
    let said = |otherwise: &str| if words.is_empty() { otherwise.to_string() } else { words.clone() };
    let (message, help) = match status.code() {
        Code::FailedPrecondition => (said("the cluster has moved since the plan was made; plan again"), None),
        Code::PermissionDenied => (said("a policy denies it"), None),
        Code::NotFound => (said("there is no such thing"), None),
        Code::Unavailable => {
            let message = format!("the connection to the server broke: {}", said("no reason given"));
            (message, Some("see with `hyphae status` what was done; the server's log may say why"))
        }
        Code::OutOfRange | Code::ResourceExhausted => (said("the server refused the request's size"), None),
        Code::InvalidArgument | Code::Aborted | Code::AlreadyExists => (said("the server refused the request"), None),
        Code::Unimplemented => {
            (said("the server does not know this request"), Some("is the server older than this command line?"))
        }
        code => (format!("the server could not do it ({code:?}): {}", said("no reason given")), None),
    };
    Failure::Server { message, help: help.map(str::to_string) }
}

/// `team/name`; a bare name is in the team "default".
pub(crate) fn full_name(workload: &str) -> String {
    if workload.contains('/') { workload.to_string() } else { format!("default/{workload}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_name_means_the_default_team() {
        assert_eq!(full_name("web"), "default/web");
        assert_eq!(full_name("storefront/web"), "storefront/web");
    }

    #[test]
    fn a_refusal_is_told_in_the_servers_words_on_one_line() {
        let failure = refusal(Status::failed_precondition("the plan was made at revision 3\nthe cluster is at 4\n"));
        assert_eq!(failure.to_string(), "the plan was made at revision 3 the cluster is at 4");
        let silent = refusal(Status::failed_precondition(""));
        assert!(silent.to_string().ends_with("plan again"), "{silent}");
    }
}
