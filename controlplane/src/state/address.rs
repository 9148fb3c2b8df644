//! Where things live in IPv6: a node's /80 out of the cluster's /48, a replica's /128 out of its node's /80.
//!
//! ```text
//! | cluster /48 | node id, 32 bits | type, 16 bits | service id, 16 bits | index + 1, 16 bits |
//! ```

use std::net::Ipv6Addr;

/// The type field of a replica's address.
const TYPE_REPLICA: u16 = 1;

/// The highest index whose address exists.
pub const INDEX_MAX: u32 = u16::MAX as u32 - 1;

/// The /80 of a node: the address with zeroes behind.
pub fn node_prefix(cluster: Ipv6Addr, node_id: u32) -> Ipv6Addr {
    let [a, b, c, ..] = cluster.segments();
    Ipv6Addr::new(a, b, c, (node_id >> 16) as u16, node_id as u16, 0, 0, 0)
}

/// The address of a replica on a node with this prefix; `None` beyond [`INDEX_MAX`].
pub fn replica_address(node_prefix: Ipv6Addr, service_id: u16, index: u32) -> Option<Ipv6Addr> {
    let instance = u16::try_from(index).ok()?.checked_add(1)?;
    let [a, b, c, d, e, ..] = node_prefix.segments();
    Some(Ipv6Addr::new(a, b, c, d, e, TYPE_REPLICA, service_id, instance))
}

/// Whether an address is a /80's: nothing in its last 48 bits.
pub(crate) fn is_node_prefix(prefix: Ipv6Addr) -> bool {
    prefix.segments()[5..] == [0, 0, 0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_cut_from_the_clusters_prefix() {
        let cluster: Ipv6Addr = "fd12:3456:789a::".parse().unwrap();
        let node = node_prefix(cluster, 0x0001_0002);
        assert_eq!(node.to_string(), "fd12:3456:789a:1:2::");
        assert!(is_node_prefix(node));
        assert_eq!(replica_address(node, 7, 0).unwrap().to_string(), "fd12:3456:789a:1:2:1:7:1");
        assert!(replica_address(node, 7, INDEX_MAX).is_some());
        assert_eq!(replica_address(node, 7, INDEX_MAX + 1), None);
    }
}
