//! Ports of the node that lead to replicas: one nftables table, replaced as a whole when anything changes.
//!
//! `ruleset` is pure; `load` hands it to `nft`. Reached at every address of the node except `::1` (the kernel does not route packets from
//! the loopback address), by IPv6 only. Thin: rules that are lost (somebody flushed them) come back only with the next change.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io;
use std::net::Ipv6Addr;
use std::process::Stdio;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// Where connections to a port of the node go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// The replica.
    pub address: Ipv6Addr,
    /// Its port.
    pub port: u16,
}

/// A transport protocol and a port of the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum HostPort {
    /// TCP.
    Tcp(u16),
    /// UDP.
    Udp(u16),
}

impl HostPort {
    /// As a spec says it: a protocol ("" is tcp) and a port that is not 0.
    pub fn new(protocol: &str, port: u32) -> Option<Self> {
        let port = u16::try_from(port).ok().filter(|port| *port > 0)?;
        match protocol {
            "" | "tcp" => Some(Self::Tcp(port)),
            "udp" => Some(Self::Udp(port)),
            _ => None,
        }
    }
}

/// What `nft` is to load: the table as it shall be, or none. In one transaction, so that there is no moment without rules.
pub fn ruleset(table: &str, forwards: &BTreeMap<HostPort, Target>) -> String {
    // Adding first makes deleting work whether or not it is there.
    let mut text = format!("add table ip6 {table}\ndelete table ip6 {table}\n");
    if forwards.is_empty() {
        return text;
    }
    let mut rules = String::new();
    for (from, Target { address, port }) in forwards {
        let (protocol, number) = match from {
            HostPort::Tcp(number) => ("tcp", number),
            HostPort::Udp(number) => ("udp", number),
        };
        // Writing into a String cannot fail.
        writeln!(rules, "    fib daddr type local {protocol} dport {number} dnat to [{address}]:{port}").ok();
    }
    writeln!(text, "table ip6 {table} {{").ok();
    for chain in ["prerouting", "output"] {
        write!(text, "  chain {chain} {{\n    type nat hook {chain} priority -100; policy accept;\n{rules}  }}\n").ok();
    }
    text.push_str("}\n");
    text
}

/// Loads a ruleset into the agent's network namespace.
pub(crate) async fn load(ruleset: &str) -> io::Result<()> {
    let mut nft = Command::new("nft");
    let nft =
        nft.args(["-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = nft.spawn().map_err(|error| {
        io::Error::new(error.kind(), format!("nft cannot be run ({error}); host ports need the package nftables"))
    })?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(ruleset.as_bytes()).await?;
    }
    let output = child.wait_with_output().await?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("nft: {}", said.lines().next().unwrap_or("failed without a word"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ruleset_replaces_the_whole_table() {
        let target = Target { address: "fd00::7".parse().expect("address"), port: 8080 };
        let forwards = BTreeMap::from([(HostPort::Udp(53), target), (HostPort::Tcp(80), target)]);
        assert_eq!(
            ruleset("hyphae", &forwards),
            "add table ip6 hyphae\ndelete table ip6 hyphae\ntable ip6 hyphae {\n  chain prerouting {\n    type nat hook prerouting priority -100; policy accept;\n    \
             fib daddr type local tcp dport 80 dnat to [fd00::7]:8080\n    fib daddr type local udp dport 53 dnat to [fd00::7]:8080\n  }\n  \
             chain output {\n    type nat hook output priority -100; policy accept;\n    \
             fib daddr type local tcp dport 80 dnat to [fd00::7]:8080\n    fib daddr type local udp dport 53 dnat to [fd00::7]:8080\n  }\n}\n"
        );
        assert_eq!(ruleset("hyphae", &BTreeMap::new()), "add table ip6 hyphae\ndelete table ip6 hyphae\n");
    }

    #[test]
    fn only_real_ports_are_host_ports() {
        assert_eq!(HostPort::new("", 80), Some(HostPort::Tcp(80)));
        assert_eq!(HostPort::new("udp", 53), Some(HostPort::Udp(53)));
        assert_eq!(
            (HostPort::new("tcp", 0), HostPort::new("tcp", 65_536), HostPort::new("sctp", 1)),
            (None, None, None)
        );
    }
}
