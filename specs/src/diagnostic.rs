//! What is wrong with a spec, told to the person who wrote it: message, underlined text, label and help are four things.

use crate::{Sources, Span};
use std::fmt;

/// No more problems than this are collected: who has so many has given us the wrong file.
pub(crate) const PROBLEMS_MAX: usize = 1000;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The specs mean something, but probably not what was intended.
    Warning,
    /// The specs are refused.
    Error,
}

/// One problem at one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// Which kind of problem, stable: "hyphae::unknown_name".
    pub code: &'static str,
    /// What happened, in one sentence without a full stop.
    pub message: String,
    /// The text to underline.
    pub span: Span,
    /// What is said under the underlined text.
    pub label: String,
    /// Other places that matter, with what to say about them; they may lie in other sources.
    pub others: Vec<(Span, String)>,
    /// What to do.
    pub help: Option<String>,
}

impl Diagnostic {
    /// A problem for which the specs are refused.
    pub fn error(code: &'static str, span: Span, message: impl Into<String>, label: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            code,
            message: message.into(),
            span,
            label: label.into(),
            others: Vec::new(),
            help: None,
        }
    }

    /// Something that is probably a mistake.
    pub fn warning(code: &'static str, span: Span, message: impl Into<String>, label: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, span, message, label) }
    }

    /// Says what to do.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Points to another place that matters.
    #[must_use]
    pub fn other(mut self, span: Span, label: impl Into<String>) -> Self {
        self.others.push((span, label.into()));
        self
    }

    /// Whether the specs are refused for it.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

/// All problems of all sources, errors apart from warnings, each in the order of the sources.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diagnostics {
    /// What the specs are refused for.
    pub errors: Vec<Diagnostic>,
    /// What is probably a mistake.
    pub warnings: Vec<Diagnostic>,
}

impl Diagnostics {
    /// Sorts and separates.
    pub fn new(mut all: Vec<Diagnostic>) -> Self {
        all.sort_by_key(|diagnostic| diagnostic.span);
        let (errors, warnings) = all.into_iter().partition(Diagnostic::is_error);
        Self { errors, warnings }
    }

    /// Errors first, then warnings.
    pub fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        self.errors.iter().chain(&self.warnings)
    }

    /// For a terminal; see [`crate::render`].
    pub fn render(&self, sources: &Sources, color: bool) -> String {
        let all: Vec<Diagnostic> = self.iter().cloned().collect();
        crate::render(&all, sources, color)
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.errors.as_slice() {
            [only] => write!(f, "the specs have an error: {}", only.message),
            errors => write!(f, "the specs have {} errors", errors.len()),
        }
    }
}

impl std::error::Error for Diagnostics {}

/// Longer texts are compared with nothing, and shortened in messages.
const NAME_BYTES_MAX: usize = 150;

/// What somebody wrote, at a length that fits a message.
pub(crate) fn short(written: &str) -> String {
    match written.char_indices().nth(NAME_BYTES_MAX / 2) {
        Some((at, _)) => format!("{}…", &written[..at]),
        None => written.to_owned(),
    }
}

/// The candidate that `written` was probably meant to be.
pub fn did_you_mean<'a>(written: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = written.to_lowercase();
    let tolerance = |candidate: &str| (candidate.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .filter(|candidate| written.len() <= NAME_BYTES_MAX && candidate.len() <= NAME_BYTES_MAX)
        .filter(|candidate| candidate.len().abs_diff(written.len()) <= 4 * tolerance(candidate))
        .map(|candidate| (strsim::damerau_levenshtein(&lower, &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= tolerance(candidate))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Help for an unknown word: the likely one, and all that are known when they are few.
pub(crate) fn suggest<'a>(written: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> String {
    let all: Vec<&str> = known.clone().into_iter().collect();
    let likely = did_you_mean(written, known).map(|word| format!("did you mean \"{word}\"?"));
    let list = match all.as_slice() {
        [] => None,
        few if few.len() <= 24 => Some(format!("known here: {}", few.join(", "))),
        _ => None,
    };
    match (likely, list) {
        (Some(likely), Some(list)) => format!("{likely} ({list})"),
        (Some(only), None) | (None, Some(only)) => only,
        (None, None) => "nothing of the kind is known".to_owned(),
    }
}
