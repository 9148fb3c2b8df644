//! The smallest HTTP client that can tell whether a container answers.

use crate::Netns;
use crate::netns::within;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A bound on each wait of a request.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Longer answers are cut.
const BODY_BYTES_MAX: u64 = 1 << 20;

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The body, as text.
    pub body: String,
}

/// Asks for `path` at `address`, from inside a network namespace if one is given.
///
/// # Errors
/// When nothing answers within the time, or the answer is no HTTP.
pub fn get(netns: Option<&Netns>, address: SocketAddr, path: &str) -> io::Result<Response> {
    within(netns, || {
        let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
        let mut bytes = Vec::new();
        stream.take(BODY_BYTES_MAX).read_to_end(&mut bytes)?;
        parse(&String::from_utf8_lossy(&bytes))
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the answer is no HTTP"))
    })
}

fn parse(text: &str) -> Option<Response> {
    let (head, body) = text.split_once("\r\n\r\n").or_else(|| text.split_once("\n\n"))?;
    let status = head.split_whitespace().nth(1)?.parse().ok()?;
    Some(Response { status, body: body.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_split_into_status_and_body() {
        let response = parse("HTTP/1.0 404 Not Found\r\nServer: x\r\n\r\ngone\n");
        assert_eq!(response, Some(Response { status: 404, body: "gone\n".to_owned() }));
        assert_eq!(parse("SSH-2.0-OpenSSH"), None);
    }
}
