//! Image references as people write them: `web`, `team/web:1.4`, `registry.example:5000/web@sha256:…`, `[::1]:5000/web:1`.
//!
//! Pure. `oci-client` has a parser of its own, which refuses IPv6 registries; on a cluster that knows only IPv6 they are the rule.

use std::fmt;
use std::net::Ipv6Addr;

/// A reference, taken apart and completed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// Host and port; `docker.io` when none is written.
    pub registry: String,
    /// `library/web` when only `web` is written and the registry is `docker.io`.
    pub repository: String,
    /// `latest` when neither tag nor digest is written.
    pub tag: Option<String>,
    /// `sha256:…`.
    pub digest: Option<String>,
}

/// Why a text is no reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("image {reference:?} cannot be read: {problem}; write it like \"registry.example/team/web:1.4\"")]
pub struct ReferenceError {
    reference: String,
    problem: &'static str,
}

impl Reference {
    /// Reads a reference.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        let error = |problem| ReferenceError { reference: text.to_owned(), problem };
        if text.is_empty() {
            return Err(error("it is empty"));
        }
        if text.len() > 512 {
            return Err(error("it is longer than 512 characters"));
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (text, None),
        };
        if digest.is_some_and(|digest| !is_digest(digest)) {
            return Err(error("the part after \"@\" is not \"sha256:\" and 64 hexadecimal digits"));
        }
        let (registry, rest) = match rest.split_once('/') {
            Some((first, rest)) if is_registry(first) => (first, rest),
            _ => ("docker.io", rest),
        };
        if registry.starts_with('[') && !is_ipv6_host(registry) {
            return Err(error("the part in brackets is not an IPv6 address"));
        }
        let (repository, tag) = match rest.rsplit_once(':') {
            Some((repository, tag)) => (repository, Some(tag)),
            None => (rest, None),
        };
        if repository.is_empty() {
            return Err(error("there is no repository"));
        }
        if !repository.split('/').all(is_component) {
            return Err(error(
                "a repository has lower-case letters, digits, and single \".\", \"_\" or \"-\" between them",
            ));
        }
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(error("a tag has letters, digits, \"_\", \".\" and \"-\", at most 128"));
        }
        let repository = if registry == "docker.io" && !repository.contains('/') {
            format!("library/{repository}")
        } else {
            repository.to_owned()
        };
        let tag = tag.or(if digest.is_none() { Some("latest") } else { None });
        Ok(Self {
            registry: registry.to_owned(),
            repository,
            tag: tag.map(str::to_owned),
            digest: digest.map(str::to_owned),
        })
    }

    /// True when the registry is on this machine, where plain HTTP is good enough.
    pub fn is_loopback(&self) -> bool {
        let host = match self.registry.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, _)) => host,
            None => self.registry.split(':').next().unwrap_or_default(),
        };
        host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

/// True for `sha256:` and 64 lower-case hexadecimal digits.
pub fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:")
        .is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')))
}

fn is_registry(first: &str) -> bool {
    first == "localhost" || first.starts_with('[') || first.contains(['.', ':'])
}

fn is_ipv6_host(registry: &str) -> bool {
    registry.strip_prefix('[').and_then(|rest| rest.split_once(']')).is_some_and(|(host, port)| {
        host.parse::<Ipv6Addr>().is_ok()
            && (port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok()))
    })
}

fn is_component(component: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = component.as_bytes();
    bytes.first().copied().is_some_and(is_letter)
        && bytes.last().copied().is_some_and(is_letter)
        && bytes.iter().all(|&byte| is_letter(byte) || matches!(byte, b'.' | b'_' | b'-'))
        && !component.contains("..")
}

fn is_tag(tag: &str) -> bool {
    let bytes = tag.as_bytes();
    (1..=128).contains(&bytes.len())
        && !matches!(bytes[0], b'.' | b'-')
        && bytes.iter().all(|&byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_completed() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        for (written, completed) in [
            ("web", "docker.io/library/web:latest".to_owned()),
            ("team/web:1.4", "docker.io/team/web:1.4".to_owned()),
            ("registry.example/web", "registry.example/web:latest".to_owned()),
            ("[::1]:5000/a/b/c:1_x", "[::1]:5000/a/b/c:1_x".to_owned()),
            ("localhost/web:1", "localhost/web:1".to_owned()),
            (&format!("registry.example:5000/web@{digest}"), format!("registry.example:5000/web@{digest}")),
            (&format!("web:1@{digest}"), format!("docker.io/library/web:1@{digest}")),
        ] {
            assert_eq!(Reference::parse(written).map(|reference| reference.to_string()), Ok(completed), "{written}");
        }
    }

    #[test]
    fn what_is_no_reference_is_refused_with_the_reason() {
        for (written, reason) in [
            ("", "empty"),
            ("Web", "lower-case"),
            ("a//b", "lower-case"),
            ("web:", "tag"),
            ("web:.x", "tag"),
            ("web@sha256:12", "sha256"),
            ("[::1/web", "brackets"),
            ("[::1]:port/web", "brackets"),
            ("registry.example/", "no repository"),
            ("we b", "lower-case"),
            (&"x".repeat(600), "512"),
        ] {
            let error = Reference::parse(written).expect_err(written).to_string();
            assert!(error.contains(reason), "{written:?}: {error}");
        }
    }

    #[test]
    fn only_this_machine_is_loopback() {
        for (written, loopback) in [
            ("[::1]:5000/web", true),
            ("127.0.0.1:5000/web", true),
            ("localhost:5000/web", true),
            ("localhost.example/web", false),
            ("[fd00::1]:5000/web", false),
            ("web", false),
        ] {
            assert_eq!(Reference::parse(written).map(|reference| reference.is_loopback()), Ok(loopback), "{written}");
        }
    }
}
