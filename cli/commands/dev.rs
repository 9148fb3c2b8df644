//! `hyphae dev`: a cluster of one. Control plane and agent in one process, and a containerd of its own unless one is named.
//!
//! ```text
//! start:  server (its data directory's lock comes first) -> containerd -> agent
//! end:    agent -> what it runs is removed (unless --keep) -> server -> containerd
//! ```
//!
//! Killed without warning, it leaves everything running; the next start finds and adopts it.

use crate::client::ServerArgs;
use crate::commands::agent::{NodeArgs, failure_of, root_only};
use crate::commands::server::{failure as server_failure, start as start_server};
use crate::failure::{Failure, Outcome};
use crate::output;
use crate::render::style::{BOLD, GOOD, paint};
use hyphae_api::v1::NodesRequest;
use hyphae_controlplane::server::{ServerConfig, ServerHandle};
use hyphae_nodeagent::agent::{self, AgentConfig, AgentError};
use hyphae_nodeagent::containerd_process::ContainerdProcess;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// The node answers within this time, or we say that it does not yet.
const READY_MAX: Duration = Duration::from_secs(30);
/// A containerd of ours that has ended is started again after this, doubled with each failure.
const RESTART_AFTER: Duration = Duration::from_millis(200);
/// But never later than this.
const RESTART_AFTER_MAX: Duration = Duration::from_secs(30);

/// Run a cluster of one on this machine: control plane and agent in one process. Needs root.
///
/// Unless --containerd-socket names one, a containerd is started with a root, state and socket of its own below --state-dir; it shares
/// nothing with one that the machine runs, and ends with `hyphae dev`.
///
/// Ctrl-C or SIGTERM stops and removes what runs here: containers, addresses, routes, cgroups. What was applied stays in --state-dir,
/// so that the next `hyphae dev` runs it again; remove the directory to begin anew. After a `kill -9` everything runs on, and the next
/// `hyphae dev` adopts it.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  sudo hyphae dev                       then, in another terminal:
  sudo hyphae apply specs/examples/hello
  sudo hyphae status

  sudo hyphae dev --keep                containers run on when it ends
  sudo hyphae dev --state-dir /tmp/h --socket /tmp/h.sock --label zone=a")]
pub(crate) struct DevArgs {
    /// Where everything is kept
    #[arg(long, value_name = "DIR", default_value = "/var/lib/hyphae/dev")]
    state_dir: PathBuf,
    /// Where the control plane keeps its data [default: server within --state-dir]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Where the control plane listens, with mode 0600
    #[arg(long, env = "HYPHAE_SOCKET", default_value = "/run/hyphae/hyphae.sock", value_name = "PATH")]
    socket: PathBuf,
    /// Use the containerd that listens here, in a namespace of our own, instead of starting one
    #[arg(long, value_name = "PATH")]
    containerd_socket: Option<PathBuf>,
    /// Leave containers running at the end; the next start adopts them
    #[arg(long)]
    keep: bool,
    #[command(flatten)]
    node: NodeArgs,
}

/// Starts everything, waits, ends everything.
pub(crate) async fn run(args: DevArgs) -> Result<Outcome, Failure> {
    root_only("dev")?;
    let data_dir = args.data_dir.clone().unwrap_or_else(|| args.state_dir.join("server"));
    let mut server = start_server(ServerConfig::new(data_dir, &args.socket)).await?;
    let mut node = match Node::start(&args).await {
        Ok(node) => node,
        Err(failure) => {
            shut_down(server).await?;
            return Err(failure);
        }
    };
    tokio::spawn(welcome(args.socket.clone(), node.config.node.clone()));
    let reason = node.watch(&mut server).await;
    let server_runs = !matches!(reason, Reason::Server(_));
    let removal = if matches!(reason, Reason::Asked(_)) && !args.keep { Removal::All } else { Removal::Nothing };
    let ended = node.end(reason, removal).await;
    let server_ended = if server_runs { shut_down(server).await } else { Ok(()) };
    node.containerd.stop().await;
    ended.and(server_ended)?;
    Ok(Outcome::Done)
}

async fn shut_down(server: ServerHandle) -> Result<(), Failure> {
    server.shutdown().await.map_err(|source| server_failure("the server did not end in order", source))
}

/// The machine's part: containerd and the agent.
struct Node {
    config: AgentConfig,
    containerd: Containerd,
    agent: JoinHandle<Result<(), AgentError>>,
    shutdown: CancellationToken,
}

/// Whose containerd it is.
enum Containerd {
    /// Started by us; `None`: it has ended, and is to be started again.
    Ours { process: Option<Box<ContainerdProcess>>, directory: PathBuf },
    /// The machine's.
    Foreign,
}

/// Why it ends.
enum Reason {
    /// A signal, by its name.
    Asked(&'static str),
    /// The server has ended by itself.
    Server(Failure),
    /// The agent has ended by itself.
    Agent(Result<(), Failure>),
}

/// What becomes of what runs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Removal {
    /// Stopped, and every trace removed.
    All,
    /// It runs on.
    Nothing,
}

impl Node {
    async fn start(args: &DevArgs) -> Result<Self, Failure> {
        let (containerd, socket) = match &args.containerd_socket {
            Some(socket) => (Containerd::Foreign, socket.clone()),
            None => Containerd::start(&args.state_dir.join("containerd")).await?,
        };
        let config = args.node.config(args.socket.clone(), socket, args.state_dir.join("agent"))?;
        let shutdown = CancellationToken::new();
        let agent = tokio::spawn(agent::run(config.clone(), shutdown.clone()));
        Ok(Self { config, containerd, agent, shutdown })
    }

    /// Returns when it is time to end. A containerd of ours that dies is started again meanwhile.
    async fn watch(&mut self, server: &mut ServerHandle) -> Reason {
        let told = super::told_to_end();
        let mut told = std::pin::pin!(told);
        tokio::select! {
            signal = &mut told => Reason::Asked(signal),
            ended = server.wait() => Reason::Server(match ended {
                Ok(()) => Failure::Server { message: "the server has ended".to_string(), help: None },
                Err(source) => server_failure("the server has ended", source),
            }),
            ended = &mut self.agent => Reason::Agent(failure_of(ended)),
            () = self.containerd.keep_running() => Reason::Agent(Ok(())),
        }
    }

    async fn end(&mut self, reason: Reason, removal: Removal) -> Result<(), Failure> {
        let result = match reason {
            Reason::Agent(result) => return result,
            Reason::Server(failure) => Err(failure),
            Reason::Asked(signal) => {
                output::note(&format!("{signal}: ending"));
                Ok(())
            }
        };
        self.shutdown.cancel();
        result.and(failure_of((&mut self.agent).await))?;
        if removal == Removal::Nothing {
            output::note("what runs here runs on; the next `hyphae dev` adopts it");
            return Ok(());
        }
        tokio::select! {
            removed = agent::remove_everything(&self.config) => removed.map_err(|source| Failure::Part {
                what: "not everything could be removed".to_string(),
                help: Some("start `hyphae dev` once more: it adopts what is left".to_string()),
                source: source.into(),
            })?,
            signal = super::told_to_end() => {
                return Err(Failure::Usage {
                    message: format!("{signal} again: what is not yet removed stays"),
                    help: "start `hyphae dev` once more: it adopts what is left".to_string(),
                });
            }
        }
        output::note("what ran here is removed; what was applied is kept, and runs again with the next `hyphae dev`");
        Ok(())
    }
}

impl Containerd {
    async fn start(directory: &Path) -> Result<(Self, PathBuf), Failure> {
        let process = ContainerdProcess::start(directory).await.map_err(|source| Failure::Part {
            what: "containerd cannot be started".to_string(),
            help: Some(
                "is it installed? On Debian: apt install containerd runc; or name one with --containerd-socket"
                    .to_string(),
            ),
            source: source.into(),
        })?;
        let socket = process.socket().to_path_buf();
        Ok((Self::Ours { process: Some(Box::new(process)), directory: directory.to_path_buf() }, socket))
    }

    /// Starts ours again whenever it has ended; never returns.
    async fn keep_running(&mut self) {
        let Self::Ours { process, directory } = self else { return std::future::pending().await };
        let mut pause = RESTART_AFTER;
        loop {
            if let Some(running) = process {
                let ended = running.ended().await;
                let how = ended.map_or_else(|error| error.to_string(), |status| status.to_string());
                output::warn(&format!("containerd has ended ({how}); starting it again"));
                *process = None;
            }
            tokio::time::sleep(pause).await;
            match ContainerdProcess::start(directory).await {
                Ok(started) => {
                    *process = Some(Box::new(started));
                    pause = RESTART_AFTER;
                }
                Err(error) => {
                    output::warn(&format!("{error}; trying again"));
                    pause = (pause * 2).min(RESTART_AFTER_MAX);
                }
            }
        }
    }

    async fn stop(self) {
        if let Self::Ours { process: Some(process), .. } = self
            && let Err(error) = process.stop().await
        {
            output::warn(&format!("containerd did not end in order: {error}"));
        }
    }
}

/// Says when the node is ready, and what to type next.
async fn welcome(socket: PathBuf, node: String) {
    let is_default = socket == Path::new("/run/hyphae/hyphae.sock");
    let server = ServerArgs { socket };
    let ready = async {
        loop {
            if let Ok(mut client) = server.connect().await
                && let Ok(reply) = client.nodes(NodesRequest {}).await
                && reply.into_inner().nodes.iter().any(|it| it.name == node && it.connected)
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    if tokio::time::timeout(READY_MAX, ready).await.is_err() {
        output::warn(&format!("the node {node} is not connected yet; the log above may say why"));
        return;
    }
    let head = paint(GOOD, format!("the node {node} is ready"));
    let export = match is_default {
        true => String::new(),
        false => format!("  export HYPHAE_SOCKET={}\n", server.socket.display()),
    };
    output::note(&format!(
        "{head}; in another terminal, as root:\n{export}  {}\n  {}\nCtrl-C ends it",
        paint(BOLD, "hyphae apply FILES"),
        paint(BOLD, "hyphae status")
    ));
}
