//! Carries out a node's share of the plan: containerd, images, network, logs.
//!
//! ```text
//!   agent         the loop: hears, decides, acts                           the only state
//!     world       what is known and under way      reports, status         pure
//!     reconcile   (wanted, observed, now) -> actions     history           pure
//!     replica, reference, manifest, runtime_spec, users, hosts_file        pure
//!   node          one function for each action                            the outside:
//!     containerd, content, images, registry, rootfs     containers and images
//!     netns, netlink, host_ports                         network
//!     cgroups, logs, store, machine                      files
//!   control_plane, log_stream                            the server
//! ```
//!
//! Thin as yet: names are resolved by `/etc/hosts` and only for replicas of the same node; images are pulled anonymously, and one
//! that is here is not looked up again when its tag moves; replicas end by SIGTERM whatever signal their image names; no health
//! checks; everything may reach everything (`connect` is not enforced).

pub mod agent;
mod cgroups;
pub mod containerd;
mod containerd_events;
pub mod containerd_process;
mod content;
mod control_plane;
pub mod history;
pub mod host_ports;
pub mod hosts_file;
pub mod images;
mod log_stream;
pub mod logs;
mod machine;
pub mod manifest;
pub mod netlink;
pub mod netns;
mod node;
pub mod reconcile;
pub mod reference;
pub mod registry;
pub mod replica;
pub mod reports;
mod rootfs;
pub mod runtime_spec;
pub mod status;
pub mod store;
pub mod users;
pub mod world;
