//! Whether a node's labels pass a test.

use crate::{LabelOp, LabelTest, VersionOp};
use std::cmp::Ordering;
use std::collections::BTreeMap;

impl LabelTest {
    /// Whether a node with these labels passes; `labels` holds the implied "node" and "pool" too, where they are known.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        let value = labels.get(&self.key.value);
        match &self.op {
            LabelOp::In(values) => value.is_some_and(|value| values.iter().any(|one| one.value == *value)),
            LabelOp::NotIn(values) => value.is_none_or(|value| values.iter().all(|one| one.value != *value)),
            LabelOp::Exists => value.is_some(),
            LabelOp::Absent => value.is_none(),
            LabelOp::Version(op, wanted) => value
                .and_then(|value| compare_versions(value, &wanted.value))
                .is_some_and(|ordering| op.allows(ordering)),
        }
    }
}

impl VersionOp {
    /// Whether a version that compares so is accepted.
    pub(crate) fn allows(self, ordering: Ordering) -> bool {
        match self {
            Self::Less => ordering.is_lt(),
            Self::AtMost => ordering.is_le(),
            Self::Equal => ordering.is_eq(),
            Self::AtLeast => ordering.is_ge(),
            Self::Greater => ordering.is_gt(),
        }
    }
}

/// Compares the numbers of two dotted versions, one by one; a missing one counts as 0. Whatever follows the numbers ("-18-amd64") and a
/// leading "v" are left out. `None` when either does not begin with a number.
pub(crate) fn compare_versions(left: &str, right: &str) -> Option<Ordering> {
    let (left, right) = (version(left)?.0, version(right)?.0);
    let longest = left.len().max(right.len());
    let number = |numbers: &[&str], at: usize| {
        numbers.get(at).map_or(String::new(), |one| one.trim_start_matches('0').to_owned())
    };
    let pairs = (0..longest).map(|at| (number(&left, at), number(&right, at)));
    Some(
        pairs
            .map(|(a, b)| a.len().cmp(&b.len()).then(a.cmp(&b)))
            .find(|ordering| ordering.is_ne())
            .unwrap_or(Ordering::Equal),
    )
}

/// The numbers of a dotted version, as text, and how many bytes they and a leading "v" take up.
pub(crate) fn version(text: &str) -> Option<(Vec<&str>, usize)> {
    let start = usize::from(text.starts_with('v'));
    let mut numbers = Vec::new();
    let mut at = start;
    loop {
        let digits = text[at..].find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len() - at);
        if digits == 0 {
            // A dot that no number follows is not part of the version.
            return if numbers.is_empty() { None } else { Some((numbers, at - 1)) };
        }
        numbers.push(&text[at..at + digits]);
        at += digits;
        match text[at..].starts_with('.') {
            true => at += 1,
            false => return Some((numbers, at)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Span, Spanned};

    fn spanned(text: &str) -> Spanned<String> {
        Spanned { value: text.to_owned(), span: Span { source: 0, offset: 0, len: 0 } }
    }

    fn passes(op: LabelOp, labels: &[(&str, &str)]) -> bool {
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        LabelTest { key: spanned("zone"), op }.matches(&labels)
    }

    #[test]
    fn in_needs_the_label_and_not_in_does_not() {
        let values = || vec![spanned("a"), spanned("b")];
        assert!(passes(LabelOp::In(values()), &[("zone", "b")]));
        assert!(!passes(LabelOp::In(values()), &[("zone", "c")]));
        assert!(!passes(LabelOp::In(values()), &[("rack", "a")]));
        assert!(passes(LabelOp::NotIn(values()), &[("zone", "c")]));
        assert!(!passes(LabelOp::NotIn(values()), &[("zone", "a")]));
        assert!(passes(LabelOp::NotIn(values()), &[]));
    }

    #[test]
    fn exists_and_absent_are_opposites() {
        assert!(passes(LabelOp::Exists, &[("zone", "")]));
        assert!(!passes(LabelOp::Exists, &[("rack", "a")]));
        assert!(!passes(LabelOp::Absent, &[("zone", "")]));
        assert!(passes(LabelOp::Absent, &[("rack", "a")]));
    }

    #[test]
    fn versions_compare_by_number_and_ignore_what_follows() {
        for (left, right, ordering) in [
            ("6.10", "6.9", Ordering::Greater),
            ("6.1", "6.1.0", Ordering::Equal),
            ("6.1.0-18-amd64", "6.1", Ordering::Equal),
            ("v1.2", "1.2", Ordering::Equal),
            ("5.15", "6.1", Ordering::Less),
            ("1.007", "1.7", Ordering::Equal),
            ("99999999999999999999999.1", "99999999999999999999999.2", Ordering::Less),
        ] {
            assert_eq!(compare_versions(left, right), Some(ordering), "{left} {right}");
        }
        assert_eq!(compare_versions("latest", "6.1"), None);
    }

    #[test]
    fn a_label_that_is_no_version_fails_every_version_test() {
        for op in [VersionOp::Less, VersionOp::AtMost, VersionOp::Equal, VersionOp::AtLeast, VersionOp::Greater] {
            assert!(!passes(LabelOp::Version(op, spanned("6.1")), &[("zone", "unknown")]));
        }
        assert!(passes(LabelOp::Version(VersionOp::AtLeast, spanned("6.1")), &[("zone", "6.10.3")]));
    }
}
