//! What a replica's `/etc/hosts` says. Pure.
//!
//! Thin, and to be replaced by DNS on every node: it knows the replicas of this node only. `<index>.<workload>.<team>.hyphae` is one
//! replica, `<workload>.<team>.hyphae` the first that runs.

use crate::replica::ReplicaId;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::Ipv6Addr;

/// The text for the replica `own`, which is called `hostname`, given the replicas that run on this node (ordered by id).
pub fn hosts_file(own: Ipv6Addr, hostname: &str, running: &[(ReplicaId, Ipv6Addr)]) -> String {
    let mut text = String::from(
        "# Written by hyphae; changes are lost.\n::1 localhost ip6-localhost ip6-loopback\n127.0.0.1 localhost\n",
    );
    let mut named = BTreeSet::new();
    // Writing into a String cannot fail.
    writeln!(text, "{own} {hostname}").ok();
    for (id, address) in running {
        let (name, team) = id.name_and_team();
        write!(text, "{address} {}.{name}.{team}.hyphae", id.index).ok();
        if named.insert((team, name)) {
            write!(text, " {name}.{team}.hyphae").ok();
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_running_replica_carries_the_name_of_its_workload() {
        let id = |workload: &str, index| ReplicaId { workload: workload.into(), index };
        let running = [
            (id("shop/api", 1), "fd00::a1".parse().expect("address")),
            (id("shop/api", 2), "fd00::a2".parse().expect("address")),
            (id("shop/web", 0), "fd00::b0".parse().expect("address")),
        ];
        let text = hosts_file("fd00::b0".parse().expect("address"), "web-0", &running);
        let lines: Vec<&str> = text.lines().skip(3).collect();
        assert_eq!(
            lines,
            [
                "fd00::b0 web-0",
                "fd00::a1 1.api.shop.hyphae api.shop.hyphae",
                "fd00::a2 2.api.shop.hyphae",
                "fd00::b0 0.web.shop.hyphae web.shop.hyphae",
            ]
        );
    }
}
