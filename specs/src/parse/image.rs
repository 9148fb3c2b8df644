//! Image references: `[registry[:port]/]path[:tag][@algorithm:digest]`, after the OCI distribution specification. A registry may
//! be an IPv6 address in brackets.

use super::cursor::{Cx, Value};
use crate::Spanned;

const IMAGE_CHARS_MAX: usize = 512;

/// The reference of an image, as written.
pub(super) fn image(cx: &mut Cx<'_>, value: &Value) -> Option<Spanned<String>> {
    let text = cx.full_text(value, "the image")?;
    match fault(&text) {
        None => Some(text),
        Some((label, help)) => {
            cx.error("hyphae::bad_value", value.span, "this is not an image reference", label, help);
            None
        }
    }
}

/// What is wrong with a reference, and what to do.
fn fault(text: &str) -> Option<(String, String)> {
    let example = "for example \"registry.example/shop/web:1.4.2\" or \"web@sha256:…\"".to_owned();
    if text.chars().count() > IMAGE_CHARS_MAX {
        return Some((format!("longer than {IMAGE_CHARS_MAX} characters"), example));
    }
    if text.chars().any(char::is_whitespace) {
        return Some(("has a space".to_owned(), example));
    }
    if let Some((scheme, rest)) = text.split_once("://") {
        return Some((format!("begins with `{scheme}://`"), format!("leave it out: \"{rest}\"")));
    }
    let (name, digest) = match text.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (text, None),
    };
    if let Some(fault) = digest.and_then(digest_fault) {
        return Some((fault.to_owned(), "a digest is \"sha256:\" and 64 hexadecimal digits".to_owned()));
    }
    let (registry, path) = split_registry(name);
    if registry.is_some_and(|registry| !is_registry(registry)) {
        return Some(("the registry is not a host name, with a port or without".to_owned(), example));
    }
    let (path, tag) = match path.rsplit_once(':') {
        Some((path, tag)) => (path, Some(tag)),
        None => (path, None),
    };
    if tag.is_some_and(|tag| !is_tag(tag)) {
        let help = "a tag has letters, digits, `_`, `.` and `-`, and at most 128 characters";
        return Some(("the tag, behind the colon, is not valid".to_owned(), help.to_owned()));
    }
    if path.is_empty() {
        return Some(("the image has no name".to_owned(), example));
    }
    if path.chars().any(|c| c.is_ascii_uppercase()) {
        return Some((
            "has capital letters in its name".to_owned(),
            format!("did you mean \"{}\"?", text.replace(path, &path.to_lowercase())),
        ));
    }
    let sound = path.split('/').all(is_path_part);
    (!sound).then(|| ("the name has a character or an empty part that registries refuse".to_owned(), example))
}

/// The part before the first `/` is a registry when it looks like a host.
fn split_registry(name: &str) -> (Option<&str>, &str) {
    match name.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':', '[']) || first == "localhost" => (Some(first), rest),
        _ => (None, name),
    }
}

fn is_registry(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, port)) if address.parse::<std::net::Ipv6Addr>().is_ok() => ("v6", port),
            _ => return false,
        },
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    let port_fine = match port.strip_prefix(':') {
        Some(digits) => digits.parse::<u16>().is_ok_and(|port| port > 0),
        None => port.is_empty(),
    };
    let part_fine = |part: &str| {
        !part.is_empty()
            && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
            && !part.starts_with('-')
            && !part.ends_with('-')
    };
    port_fine && host.split('.').all(part_fine)
}

fn is_tag(tag: &str) -> bool {
    let begins = tag.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    begins && tag.len() <= 128 && tag.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
}

fn is_path_part(part: &str) -> bool {
    let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    part.starts_with(edge) && part.ends_with(edge) && part.chars().all(|c| edge(c) || "._-".contains(c))
}

fn digest_fault(digest: &str) -> Option<&'static str> {
    let (algorithm, hex) = digest.split_once(':').unwrap_or((digest, ""));
    let length = match algorithm {
        "sha256" => 64,
        "sha512" => 128,
        _ => return Some("the digest, behind `@`, is of an unknown kind"),
    };
    let is_hex = hex.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    (hex.len() != length || !is_hex).then_some("the digest, behind `@`, has the wrong length or characters")
}

#[cfg(test)]
mod tests {
    use super::fault;

    #[test]
    fn usual_references_are_accepted() {
        let digest = format!("web@sha256:{}", "a1".repeat(32));
        for image in [
            "web",
            "web:1",
            "shop/web:1.4.2",
            "registry.example/web:1.4.2",
            "localhost:5000/a/b_c",
            "[::1]:5001/hello:v1",
            &digest,
        ] {
            assert_eq!(fault(image), None, "{image}");
        }
    }

    #[test]
    fn malformed_references_are_refused_with_the_reason() {
        for (image, reason) in [
            ("web 1", "has a space"),
            ("https://r.example/web", "begins with `https://`"),
            ("Web", "has capital letters in its name"),
            ("web:", "the tag, behind the colon, is not valid"),
            ("web:a b", "has a space"),
            ("web@sha256:12", "the digest, behind `@`, has the wrong length or characters"),
            ("web@md5:12", "the digest, behind `@`, is of an unknown kind"),
            ("r.example:99999/web", "the registry is not a host name, with a port or without"),
            ("[::zz]:1/web", "the registry is not a host name, with a port or without"),
            (":1", "the image has no name"),
            ("a//b", "the name has a character or an empty part that registries refuse"),
        ] {
            assert_eq!(fault(image).map(|(label, _)| label).as_deref(), Some(reason), "{image}");
        }
    }
}
