//! The server for real: its socket, its disk, its end.

mod agents;
mod cluster;
mod durability;
mod operators;
