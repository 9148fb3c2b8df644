//! The few colours there are, and the cleaning of text that others wrote.

use anstyle::{AnsiColor, Style};
use std::borrow::Cow;
use std::fmt::Display;

/// What matters on a line.
pub(crate) const BOLD: Style = Style::new().bold();
/// What may be skipped.
pub(crate) const DIM: Style = Style::new().dimmed();
/// Starts, and what is well.
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
/// Stops, and what has failed.
pub(crate) const BAD: Style = AnsiColor::Red.on_default();
/// Updates, and what deserves a look.
pub(crate) const WARN: Style = AnsiColor::Yellow.on_default();
/// Moves, and where things are written.
pub(crate) const PLACE: Style = AnsiColor::Cyan.on_default();

/// The text in the style.
pub(crate) fn paint(style: Style, text: impl Display) -> String {
    format!("{style}{text}{style:#}")
}

/// The text without control characters: what a container, a policy or a file holds must not drive a terminal.
pub(crate) fn clean(text: &str) -> Cow<'_, str> {
    if text.chars().any(char::is_control) {
        return Cow::Owned(text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect());
    }
    Cow::Borrowed(text)
}

/// "1 node", "2 nodes".
pub(crate) fn counted(count: impl TryInto<u64>, noun: &str) -> String {
    let count = count.try_into().unwrap_or(u64::MAX);
    match (count, noun) {
        (1, _) => format!("1 {noun}"),
        (_, "policy") => format!("{count} policies"),
        _ => format!("{count} {noun}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_of_others_do_not_reach_the_terminal() {
        assert_eq!(clean("ok \u{1b}[2Jgone\r\n"), "ok  [2Jgone  ");
    }

    #[test]
    fn nouns_agree_with_their_count() {
        assert_eq!(counted(1u32, "policy"), "1 policy");
        assert_eq!(counted(0u32, "policy"), "0 policies");
        assert_eq!(counted(2usize, "replica"), "2 replicas");
    }
}
