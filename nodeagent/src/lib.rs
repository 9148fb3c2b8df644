//! Carries out a node's share of the plan: containerd, images, network, logs.

pub mod agent;
pub mod cgroups;
pub mod containerd;
mod containerd_events;
mod content;
mod control_plane;
pub mod history;
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
