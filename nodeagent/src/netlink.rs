//! A replica's network: a veth pair between the node and the replica's namespace, addresses and routes. The outside.
//!
//! ```text
//!   node:      v<id>  fe80::1/64   <address>/128 via fe80::2 dev v<id>     unreachable <node>/80
//!                |
//!   replica:   eth0   fe80::2/64   <address>/128     default via fe80::1
//! ```
//!
//! The hardware addresses are fixed and both neighbours are permanent entries: nothing has to be discovered before the first
//! packet. Everything is idempotent: what is there already is left or replaced. Works in whatever network namespace the agent runs.

use crate::netns::{self, NetnsError};
use futures::TryStreamExt;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressHeaderFlags};
use netlink_packet_route::link::{InfoData, InfoVeth};
use netlink_packet_route::neighbour::NeighbourState;
use netlink_packet_route::route::RouteType;
use rtnetlink::{Handle, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder};
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::AsRawFd;

const NODE_END: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
const REPLICA_END: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2);
const NODE_MAC: [u8; 6] = [0x02, 0x68, 0x79, 0, 0, 1];
const REPLICA_MAC: [u8; 6] = [0x02, 0x68, 0x79, 0, 0, 2];
/// The replica's end, as the replica sees it.
const REPLICA_LINK: &str = "eth0";

/// Something about a replica's network that did not work.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// A namespace.
    #[error(transparent)]
    Namespace(#[from] NetnsError),
    /// The kernel refused a change.
    #[error("the kernel refused to {what}: {}", kernel_said(source))]
    Refused {
        /// What was asked.
        what: &'static str,
        /// Its answer.
        source: Box<rtnetlink::Error>,
    },
    /// A sysctl or a socket.
    #[error("cannot {what}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

fn kernel_said(error: &rtnetlink::Error) -> String {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.to_io().to_string(),
        other => other.to_string(),
    }
}

fn refused(what: &'static str) -> impl Fn(rtnetlink::Error) -> NetworkError {
    move |source| NetworkError::Refused { what, source: Box::new(source) }
}

/// Which network a replica has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaNetwork {
    /// Its namespace's name.
    pub namespace: String,
    /// The node's end of its link.
    pub link: String,
    /// Its address.
    pub address: Ipv6Addr,
}

/// The node's network, as far as it is the agent's to change.
#[derive(Debug, Clone)]
pub struct NodeNetwork {
    node: Handle,
}

impl NodeNetwork {
    /// Opens a netlink socket in the agent's own network namespace.
    pub fn open() -> Result<Self, NetworkError> {
        Ok(Self { node: connect().map_err(|source| NetworkError::Io { what: "open a netlink socket", source })? })
    }

    /// What the node needs before its first replica: routing turned on, and packets to addresses that no replica has refused.
    pub async fn ensure_node(&self, prefix: Ipv6Addr, prefix_length: u8) -> Result<(), NetworkError> {
        netns::enable_forwarding().map_err(|source| NetworkError::Io { what: "turn on IPv6 routing", source })?;
        let route = RouteMessageBuilder::<Ipv6Addr>::new()
            .destination_prefix(prefix, prefix_length)
            .kind(RouteType::Unreachable)
            .build();
        self.node.route().add(route).replace().execute().await.map_err(refused("route the node's prefix"))
    }

    /// Removes what `ensure_node` made, except that routing stays on.
    pub async fn remove_node(&self, prefix: Ipv6Addr, prefix_length: u8) -> Result<(), NetworkError> {
        let route = RouteMessageBuilder::<Ipv6Addr>::new()
            .destination_prefix(prefix, prefix_length)
            .kind(RouteType::Unreachable)
            .build();
        let removed = self.node.route().del(route).execute().await;
        gone_is_fine(removed).map_err(refused("remove the node's prefix"))
    }

    /// Makes or completes a replica's network.
    pub async fn ensure(&self, network: &ReplicaNetwork) -> Result<(), NetworkError> {
        let name = network.namespace.clone();
        // Making a namespace waits for the kernel; the runtime's threads have other things to do.
        let inside = tokio::task::spawn_blocking(move || {
            netns::ensure(&name)?;
            netns::visit(&name, connect)
        });
        let inside = match inside.await {
            Ok(inside) => inside?,
            Err(error) => {
                return Err(NetworkError::Io { what: "enter a namespace", source: io::Error::other(error) });
            }
        };
        let (outer, inner) = match (self.index(&network.link).await?, index(&inside, REPLICA_LINK).await?) {
            (Some(outer), Some(inner)) => (outer, inner),
            (outer, _) => {
                // Half a pair, or one that leads into a namespace of before.
                if let Some(outer) = outer {
                    gone_is_fine(self.node.link().del(outer).execute().await).map_err(refused("remove an old link"))?;
                }
                self.make_pair(network).await?;
                let outer = self.index(&network.link).await?;
                let inner = index(&inside, REPLICA_LINK).await?;
                match (outer, inner) {
                    (Some(outer), Some(inner)) => (outer, inner),
                    _ => return Err(refused("show the link it has just made")(rtnetlink::Error::RequestFailed)),
                }
            }
        };
        self.inside(&inside, inner, network.address).await?;
        self.outside(network, outer).await
    }

    /// Removes a replica's network: link (its routes and addresses go with it) and namespace. What is not there is fine.
    pub async fn remove(&self, network: &ReplicaNetwork) -> Result<(), NetworkError> {
        if let Some(outer) = self.index(&network.link).await? {
            gone_is_fine(self.node.link().del(outer).execute().await).map_err(refused("remove a link"))?;
        }
        Ok(netns::remove(&network.namespace)?)
    }

    async fn make_pair(&self, network: &ReplicaNetwork) -> Result<(), NetworkError> {
        let namespace = netns::open(&network.namespace)?;
        let peer = LinkMessageBuilder::<LinkUnspec>::new()
            .name(REPLICA_LINK.to_owned())
            .address(REPLICA_MAC.to_vec())
            .setns_by_fd(namespace.as_raw_fd())
            .build();
        let pair = LinkVeth::new(&network.link, REPLICA_LINK)
            .address(NODE_MAC.to_vec())
            .set_info_data(InfoData::Veth(InfoVeth::Peer(peer)))
            .build();
        self.node.link().add(pair).execute().await.map_err(refused("make a veth pair (does it have the module veth?)"))
    }

    async fn inside(&self, inside: &Handle, link: u32, address: Ipv6Addr) -> Result<(), NetworkError> {
        if let Some(loopback) = index(inside, "lo").await? {
            up(inside, loopback).await?;
        }
        add_address(inside, link, REPLICA_END, 64).await?;
        add_address(inside, link, address, 128).await?;
        up(inside, link).await?;
        add_neighbour(inside, link, NODE_END, &NODE_MAC).await?;
        let default = RouteMessageBuilder::<Ipv6Addr>::new().gateway(NODE_END).output_interface(link).build();
        inside.route().add(default).replace().execute().await.map_err(refused("set a replica's default route"))
    }

    async fn outside(&self, network: &ReplicaNetwork, link: u32) -> Result<(), NetworkError> {
        for (key, value) in [("addr_gen_mode", "1"), ("accept_dad", "0"), ("accept_ra", "0"), ("disable_ipv6", "0")] {
            netns::write_sysctl(&format!("ipv6/conf/{}/{key}", network.link), value)
                .map_err(|source| NetworkError::Io { what: "set up a link", source })?;
        }
        add_address(&self.node, link, NODE_END, 64).await?;
        up(&self.node, link).await?;
        add_neighbour(&self.node, link, REPLICA_END, &REPLICA_MAC).await?;
        let route = RouteMessageBuilder::<Ipv6Addr>::new()
            .destination_prefix(network.address, 128)
            .gateway(REPLICA_END)
            .output_interface(link)
            .build();
        self.node.route().add(route).replace().execute().await.map_err(refused("route a replica's address"))
    }

    async fn index(&self, name: &str) -> Result<Option<u32>, NetworkError> {
        index(&self.node, name).await
    }
}

fn connect() -> io::Result<Handle> {
    let (connection, handle, _) = rtnetlink::new_connection()?;
    tokio::spawn(connection);
    Ok(handle)
}

async fn index(handle: &Handle, name: &str) -> Result<Option<u32>, NetworkError> {
    match handle.link().get().match_name(name.to_owned()).execute().try_next().await {
        Ok(link) => Ok(link.map(|link| link.header.index)),
        Err(rtnetlink::Error::NetlinkError(error)) if is_gone(&error.to_io()) => Ok(None),
        Err(error) => Err(refused("look for a link")(error)),
    }
}

async fn up(handle: &Handle, link: u32) -> Result<(), NetworkError> {
    let message = LinkUnspec::new_with_index(link).up().build();
    handle.link().set(message).execute().await.map_err(refused("bring a link up"))
}

async fn add_address(handle: &Handle, link: u32, address: Ipv6Addr, length: u8) -> Result<(), NetworkError> {
    let mut request = handle.address().add(link, IpAddr::V6(address), length).replace();
    request.message_mut().header.flags |= AddressHeaderFlags::Nodad;
    request.message_mut().attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
    request.execute().await.map_err(refused("give a link its address"))
}

async fn add_neighbour(handle: &Handle, link: u32, address: Ipv6Addr, mac: &[u8]) -> Result<(), NetworkError> {
    let request = handle.neighbours().add(link, IpAddr::V6(address)).link_layer_address(mac);
    request.state(NeighbourState::Permanent).replace().execute().await.map_err(refused("fix a neighbour's address"))
}

fn gone_is_fine(result: Result<(), rtnetlink::Error>) -> Result<(), rtnetlink::Error> {
    match result {
        Err(rtnetlink::Error::NetlinkError(error)) if is_gone(&error.to_io()) => Ok(()),
        other => other,
    }
}

/// ENODEV, ESRCH or ENOENT: there is no such thing.
fn is_gone(error: &io::Error) -> bool {
    error.raw_os_error().is_some_and(|code| [nix::libc::ENODEV, nix::libc::ESRCH, nix::libc::ENOENT].contains(&code))
}
