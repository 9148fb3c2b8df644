//! `hyphae agent`: carries out what the server plans for this node.

use crate::failure::{Failure, Outcome};
use crate::output;
use hyphae_api::v1::Resources;
use hyphae_nodeagent::agent::{self, AgentConfig};
use hyphae_specs::{Source, Sources};
use std::net::Ipv6Addr;
use std::path::PathBuf;
use tokio_util::sync::CancellationToken;

/// Replicas a node takes when `--capacity` does not say.
const REPLICAS_MAX: u64 = 250;

/// Run the node's agent: it pulls images, runs replicas through containerd, and gives each its IPv6 address. Needs root.
///
/// When the agent ends, what it runs runs on; when it starts again, it finds everything. The same holds for containerd.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  sudo hyphae agent --node n1
  sudo hyphae agent --node n1 --pool general --label zone=a --label disk=ssd \\
      --capacity 'cpu=4 memory=\"8GiB\" disk=\"50GiB\" replicas=100'")]
pub(crate) struct AgentArgs {
    /// The server's Unix socket
    #[arg(long, env = "HYPHAE_SOCKET", default_value = "/run/hyphae/hyphae.sock", value_name = "PATH")]
    socket: PathBuf,
    /// containerd's Unix socket
    #[arg(long, default_value = "/run/containerd/containerd.sock", value_name = "PATH")]
    containerd_socket: PathBuf,
    /// Where the agent remembers what it runs, and keeps its output
    #[arg(long, value_name = "DIR", default_value = "/var/lib/hyphae/agent")]
    state_dir: PathBuf,
    #[command(flatten)]
    node: NodeArgs,
}

/// What is said of a node; `agent` and `dev` share it.
#[derive(Debug, clap::Args)]
pub(crate) struct NodeArgs {
    /// The node's name [default: the host's name up to its first dot]
    #[arg(long = "node", value_name = "NAME")]
    name: Option<String>,
    /// The pool it belongs to
    #[arg(long, default_value = "", hide_default_value = true)]
    pool: String,
    /// A label; may be given more than once. arch, os, kernel and hostname are there by themselves
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// Workloads keep off unless they tolerate this; may be given more than once
    #[arg(long = "taint", value_name = "TAINT")]
    taints: Vec<String>,
    /// What the node has, as in a `node` block [default: what this machine has]
    #[arg(long, value_name = "CAPACITY", value_parser = capacity)]
    capacity: Option<Resources>,
    /// The node's IPv6 /80, without the length [default: the server gives one]
    #[arg(long, value_name = "ADDRESS")]
    prefix: Option<Ipv6Addr>,
    /// containerd's snapshotter
    #[arg(long, value_name = "NAME", default_value = "overlayfs")]
    snapshotter: String,
    /// A registry spoken to in plain HTTP; those on this machine are anyway
    #[arg(long = "plain-http-registry", value_name = "HOST:PORT")]
    plain_http_registries: Vec<String>,
}

impl NodeArgs {
    /// The agent's configuration.
    pub(crate) fn config(
        &self,
        socket: PathBuf,
        containerd_socket: PathBuf,
        state_dir: PathBuf,
    ) -> Result<AgentConfig, Failure> {
        let name = match &self.name {
            Some(name) => name.clone(),
            None => host_name()?,
        };
        Ok(AgentConfig {
            pool: self.pool.clone(),
            labels: self.labels.iter().cloned().collect(),
            taints: self.taints.clone(),
            capacity: self.capacity.clone(),
            prefix: self.prefix,
            snapshotter: self.snapshotter.clone(),
            plain_http_registries: self.plain_http_registries.clone(),
            ..AgentConfig::new(&name, socket, containerd_socket, state_dir)
        })
    }
}

/// Runs until SIGTERM or Ctrl-C.
pub(crate) async fn run(args: AgentArgs) -> Result<Outcome, Failure> {
    root_only("agent")?;
    let config = args.node.config(args.socket, args.containerd_socket, args.state_dir)?;
    let shutdown = CancellationToken::new();
    let mut agent = tokio::spawn(agent::run(config, shutdown.clone()));
    let ended = tokio::select! {
        ended = &mut agent => ended,
        signal = super::told_to_end() => {
            output::note(&format!("{signal}: ending; what runs on this node runs on"));
            shutdown.cancel();
            agent.await
        }
    };
    failure_of(ended)?;
    Ok(Outcome::Done)
}

/// What became of an agent.
pub(crate) fn failure_of(ended: Result<Result<(), agent::AgentError>, tokio::task::JoinError>) -> Result<(), Failure> {
    let failure = |source: Box<dyn std::error::Error + Send + Sync>| Failure::Part {
        what: "the agent has ended; what runs on this node runs on".to_string(),
        help: None,
        source,
    };
    match ended {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(failure(error.into())),
        Err(panicked) => Err(failure(panicked.into())),
    }
}

/// Containers, network namespaces and cgroups are the superuser's.
pub(crate) fn root_only(command: &str) -> Result<(), Failure> {
    if nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    Err(Failure::Usage {
        message: format!("`hyphae {command}` needs root: it makes containers, network namespaces and routes"),
        help: format!("sudo hyphae {command} …; planning offline (`hyphae plan --inventory …`) needs no root"),
    })
}

fn host_name() -> Result<String, Failure> {
    let name = nix::sys::utsname::uname();
    let name = name.map(|name| name.nodename().to_string_lossy().into_owned()).unwrap_or_default();
    match name.split('.').next() {
        Some(short) if !short.is_empty() => Ok(short.to_lowercase()),
        _ => Err(Failure::Usage {
            message: "this machine has no usable host name".to_string(),
            help: "name the node with --node".to_string(),
        }),
    }
}

fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() && !value.is_empty() => Ok((key.to_string(), value.to_string())),
        _ => Err("write it as KEY=VALUE, like \"zone=a\"".to_string()),
    }
}

/// The words of a `capacity` line of a `node` block; cpu and memory at least.
fn capacity(text: &str) -> Result<Resources, String> {
    let hint = "write it as in a `node` block: 'cpu=4 memory=\"8GiB\" disk=\"50GiB\" replicas=100'";
    if text.contains(['\n', '{', '}', ';']) {
        return Err(hint.to_string());
    }
    let source = Source::file("--capacity", format!("node \"n\" {{\n    capacity {text}\n}}\n"));
    let model = hyphae_specs::load(&Sources(vec![source])).map_err(|diagnostics| {
        let problems: Vec<&str> = diagnostics.errors.iter().map(|problem| problem.message.as_str()).collect();
        format!("{}; {hint}", problems.join("; "))
    })?;
    let capacity = &model.nodes.get("n").ok_or(hint)?.capacity;
    let (Some(cpu), Some(memory)) = (&capacity.cpu, &capacity.memory) else {
        return Err(format!("cpu and memory are needed; {hint}"));
    };
    Ok(Resources {
        cpu_millis: cpu.value.0,
        memory_bytes: memory.value.0,
        disk_bytes: capacity.disk.as_ref().map_or(0, |disk| disk.value.0),
        replicas: capacity.replicas.as_ref().map_or(REPLICAS_MAX, |replicas| replicas.value),
        extras: capacity.extras.iter().map(|(name, amount)| (name.clone(), amount.value)).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capacity_is_written_as_in_a_node_block() {
        let all = capacity("cpu=1.5 memory=\"8GiB\" disk=\"1TB\" replicas=7 gpu=2").expect("good");
        assert_eq!((all.cpu_millis, all.memory_bytes, all.disk_bytes), (1_500, 8 << 30, 1_000_000_000_000));
        assert_eq!((all.replicas, all.extras.get("gpu")), (7, Some(&2)));
        assert_eq!(capacity("cpu=1 memory=\"1GiB\"").map(|it| it.replicas), Ok(REPLICAS_MAX));
        for bad in ["", "cpu=4", "cpu=4 memory=8", "cpu=-1 memory=\"8GiB\"", "cpu=4 memory=\"8GiB\"\n}\nteam \"x\" {"] {
            assert!(capacity(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_label_has_a_key_and_a_value() {
        assert_eq!(label("zone=a=b"), Ok(("zone".into(), "a=b".into())));
        assert!(["zone", "=a", "zone=", ""].iter().all(|bad| label(bad).is_err()));
    }
}
