//! The lines that differ between two texts, as `diff -u` shows them.

use crate::render::style::{BAD, BOLD, DIM, GOOD, clean, paint};
use similar::{ChangeTag, TextDiff};
use std::fmt::Write;

/// Lines of context around a difference.
const CONTEXT: usize = 2;

/// Both names, then the hunks; empty when the texts are equal.
pub(crate) fn text_diff(old_name: &str, old: &str, new_name: &str, new: &str) -> String {
    if old == new {
        return String::new();
    }
    let names = format!("--- {}\n+++ {}", clean(old_name), clean(new_name));
    let mut text = format!("{}\n", paint(BOLD, names));
    let diff = TextDiff::from_lines(old, new);
    for hunk in diff.unified_diff().context_radius(CONTEXT).iter_hunks() {
        let _ = writeln!(text, "{}", paint(DIM, hunk.header().to_string().trim_end()));
        for change in hunk.iter_changes() {
            let line = visible(change.value().trim_end_matches('\n'));
            let line = match change.tag() {
                ChangeTag::Equal => format!(" {line}"),
                ChangeTag::Delete => paint(BAD, format!("-{line}")),
                ChangeTag::Insert => paint(GOOD, format!("+{line}")),
            };
            let _ = writeln!(text, "{line}");
            if change.missing_newline() {
                let _ = writeln!(text, "{}", paint(DIM, "\\ no newline at the end"));
            }
        }
    }
    text
}

/// Tabs stay: they are what a formatter changes.
fn visible(line: &str) -> String {
    line.split('\t').map(clean).collect::<Vec<_>>().join("\t")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_shown_with_its_surroundings() {
        let old = "a\nb\nc\nd\ne\nf\ng\n";
        let new = "a\nb\nc\nd\nE\nf\ng";
        let text = anstream::adapter::strip_str(&text_diff("x.kdl", old, "x.kdl (formatted)", new)).to_string();
        insta::assert_snapshot!(text);
        assert_eq!(text_diff("a", old, "b", old), "");
    }
}
