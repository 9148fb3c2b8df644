//! The server's clocks, and the one random number it draws.
#![expect(clippy::disallowed_methods, reason = "this is the edge where the server reads clocks and randomness")]

use std::io::Read;
use std::net::Ipv6Addr;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Monotonic milliseconds since the server's start, and wall time for people.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    started: Instant,
}

impl Clock {
    pub(super) fn start() -> Self {
        Self { started: Instant::now() }
    }

    pub(super) fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    pub(super) fn unix_millis(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}

/// fd, 40 random bits, zeroes (RFC 4193).
pub(super) fn random_unique_local_prefix() -> Result<Ipv6Addr, std::io::Error> {
    let mut random = [0; 5];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut random)?;
    let mut octets = [0; 16];
    octets[0] = 0xfd;
    octets[1..6].copy_from_slice(&random);
    Ok(Ipv6Addr::from(octets))
}
