//! Carries out a node's share of the plan: containerd, images, network, logs.

pub mod cgroups;
pub mod containerd;
mod containerd_events;
mod content;
pub mod history;
pub mod hosts_file;
pub mod images;
pub mod logs;
pub mod manifest;
pub mod netlink;
pub mod netns;
pub mod reconcile;
pub mod reference;
pub mod registry;
pub mod replica;
mod rootfs;
pub mod runtime_spec;
pub mod status;
pub mod users;
