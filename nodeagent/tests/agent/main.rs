//! The agent on real containerd, with real registries and real networks. Needs root; says so where it has to skip.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod containerd_process;
mod images;
mod node;
mod support;
