//! Protobuf and generated types: all that servers, agents and the command line share on the wire.

/// Version 1 of the interface.
#[expect(clippy::all, clippy::allow_attributes, reason = "generated from hyphae.proto, which documents it")]
pub mod v1 {
    tonic::include_proto!("hyphae.v1");
}

/// Largest message accepted by servers and clients, in bytes. A request beyond it is refused before it is read whole.
pub const MESSAGE_BYTES_MAX: usize = 16 << 20;
