//! Bytes for the disk and the wire between servers: one version byte, then postcard.

use serde::{Serialize, de::DeserializeOwned};

/// The version that this program writes, and the only one it reads.
pub(super) const VERSION: u8 = 1;

/// Why bytes could not be read.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Written by a newer program.
    #[error("written in format {found}, this program knows formats up to {VERSION}: it needs a newer hyphae")]
    Newer { found: u8 },
    /// Nothing there, or not a version.
    #[error("not written by hyphae: no version byte")]
    NoVersion,
    /// Damaged.
    #[error("damaged: {0}")]
    Damaged(#[from] postcard::Error),
}

/// The bytes of a value, with the version in front.
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_extend(value, vec![VERSION]).expect("a Vec takes everything that serde can describe")
}

/// The value of bytes that [`encode`] made.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    match bytes.split_first() {
        None | Some((0, _)) => Err(DecodeError::NoVersion),
        Some((&found, _)) if found > VERSION => Err(DecodeError::Newer { found }),
        Some((_, rest)) => Ok(postcard::from_bytes(rest)?),
    }
}
