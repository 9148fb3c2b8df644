//! A registry of a test's own: Debian's docker-registry on a loopback address.

use crate::netns::within;
use crate::process::{Background, command, program};
use crate::wait::try_wait_until;
use crate::{Netns, Scratch, http};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

/// How often another port is tried when somebody was faster.
const TRIES: u32 = 5;

/// A registry with its own storage. It listens on 127.0.0.1 alone and is named `localhost:PORT`, the one form that every
/// reference parser takes (`[::1]:PORT/…` is refused by most) and that clients treat as plain HTTP.
#[derive(Debug)]
pub struct TestRegistry {
    process: Option<Background>,
    netns: Option<Netns>,
    port: u16,
    scratch: Scratch,
}

impl TestRegistry {
    /// Starts one on a free port.
    ///
    /// # Panics
    /// When it does not answer.
    pub fn start() -> Self {
        Self::start_in(None, None)
    }

    /// Starts one, inside a network namespace if one is given, on this port or on a free one.
    ///
    /// # Panics
    /// When it does not answer.
    pub fn start_in(netns: Option<&Netns>, port: Option<u16>) -> Self {
        let mut registry = Self { process: None, netns: netns.cloned(), port: 0, scratch: Scratch::new() };
        for _ in 0..TRIES {
            registry.port = port.unwrap_or_else(|| within(netns, free_port));
            registry.write_config();
            if registry.try_start() {
                return registry;
            }
        }
        panic!("docker-registry does not answer at {}", registry.authority());
    }

    fn write_config(&self) {
        let directory = self.scratch.path().display();
        let config = format!(
            "version: 0.1\nlog:\n  level: warn\n  accesslog:\n    disabled: true\n\
             storage:\n  filesystem:\n    rootdirectory: {directory}/storage\n  delete:\n    enabled: true\n\
             http:\n  addr: 127.0.0.1:{}\n",
            self.port
        );
        std::fs::write(self.scratch.join("config.yml"), config).expect("the directory is ours");
    }

    fn try_start(&mut self) -> bool {
        let mut serve = command(self.netns.as_ref(), program("docker-registry"));
        // Its traces would go to a collector at localhost.
        serve.arg("serve").arg(self.scratch.join("config.yml")).env("OTEL_TRACES_EXPORTER", "none");
        let mut process = Background::start("docker-registry", serve, &self.scratch.join("registry.log"));
        let answered = try_wait_until(Duration::from_secs(10), || {
            if !process.is_running() {
                return Some(false);
            }
            http::get(self.netns.as_ref(), self.address(), "/v2/")
                .is_ok_and(|response| response.status == 200)
                .then_some(true)
        });
        self.process = Some(process);
        answered == Some(true)
    }

    /// `localhost:PORT`: how image references begin.
    pub fn authority(&self) -> String {
        format!("localhost:{}", self.port)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// The network namespace it is in.
    pub fn netns(&self) -> Option<&Netns> {
        self.netns.as_ref()
    }

    /// Ends it; what was pushed stays.
    pub fn stop(&mut self) {
        self.process = None;
    }

    /// Starts it again at the same port.
    ///
    /// # Panics
    /// When it does not answer.
    pub fn start_again(&mut self) {
        assert!(self.try_start(), "docker-registry does not answer again at {}", self.authority());
    }

    /// Spoils a stored blob: same length, other bytes, so that its digest does not match any more.
    ///
    /// # Panics
    /// When there is no such blob.
    pub fn corrupt(&self, digest: &str) {
        let hex = digest.strip_prefix("sha256:").unwrap_or(digest);
        let file = self.scratch.join(&format!("storage/docker/registry/v2/blobs/sha256/{}/{hex}/data", &hex[..2]));
        let mut bytes = std::fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let last = bytes.last_mut().expect("a blob is not empty");
        *last ^= 0xff;
        std::fs::write(&file, bytes).expect("the directory is ours");
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("the loopback has a free port");
    listener.local_addr().expect("a bound socket has an address").port()
}
