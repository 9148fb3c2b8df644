//! The server for real: its socket, its disk, its end.
#![expect(clippy::disallowed_methods, reason = "these tests are about the outside: they fill disks and kill processes")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test's own tools fail by panicking")]

mod agents;
mod cluster;
mod durability;
mod operators;
