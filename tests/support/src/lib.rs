//! Real things for tests, the demo and the benchmark: a containerd, a registry, images, network namespaces and the
//! `hyphae` binary, each in a directory of its own, each gone when its handle is dropped.
//!
//! Nothing here is shared between tests: every [`Scratch`] has its own directory, and everything that a test starts
//! carries that directory's path in its command line. That is what makes cleaning up reliable: [`scratch::tear_down`]
//! ends exactly the processes, mounts, cgroups and namespaces that belong to one directory, also those of a test run
//! that was killed (`hyphae-sweep`).
//!
//! The interface is blocking. Whatever needs an async runtime or another network namespace runs on a thread of its
//! own, so all of it may be called from `#[tokio::test]` as well.

#![expect(clippy::disallowed_methods, reason = "this crate is an edge: it exists to start and stop real things")]
#![expect(clippy::panic, reason = "a test harness fails by panicking, with the story of what went wrong")]

pub mod containerd;
pub mod dev;
pub mod gate;
pub mod hello;
pub mod http;
pub mod image;
pub mod netns;
pub mod observed;
pub mod process;
pub mod registry;
pub mod remains;
pub mod scratch;
pub mod wait;

pub use containerd::TestContainerd;
pub use dev::{Dev, Hyphae};
pub use gate::skip_unless_root_and_containerd;
pub use image::ImageSpec;
pub use netns::Netns;
pub use observed::Replica;
pub use process::{Finished, kill9};
pub use registry::TestRegistry;
pub use scratch::{Scratch, unique};
pub use wait::wait_until;
