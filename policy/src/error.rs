//! What is wrong with a policy file, for people: where, what, and what to do.

use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, SourceCode};
use std::fmt::{self, Display};
use std::ops::Range;
use std::sync::Arc;

/// A problem of a policy file.
#[derive(Debug, Clone)]
pub struct PolicyError {
    /// The file's name as it was given.
    pub file: String,
    /// Line in that file, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// What is underlined, with what is said about it.
    labels: Vec<LabeledSpan>,
    /// The text the labels point into.
    source: Arc<NamedSource<String>>,
}

/// A file's text, set so that miette counts its lines as its author does.
#[derive(Debug, Clone)]
pub(crate) struct SourceText {
    source: Arc<NamedSource<String>>,
    /// Lines of the file before the text, kept as blank lines before it.
    lines_before: usize,
    /// Offsets at which the lines of `source` begin, ascending.
    line_starts: Vec<usize>,
}

impl SourceText {
    pub(crate) fn new(name: &str, text: &str, first_line: usize) -> Self {
        let lines_before = first_line.saturating_sub(1).min(1_000_000);
        let padded = "\n".repeat(lines_before) + text;
        let after_newlines = padded.match_indices('\n').map(|(newline, _)| newline + 1);
        let line_starts = std::iter::once(0).chain(after_newlines).collect();
        Self { source: Arc::new(NamedSource::new(name, padded)), lines_before, line_starts }
    }

    /// A problem that concerns this range of the text.
    pub(crate) fn error(&self, range: Range<usize>, message: impl Into<String>) -> PolicyError {
        self.error_with_labels(vec![LabeledSpan::underline(range)], message)
    }

    /// A problem with several underlined places, the first of them the important one.
    pub(crate) fn error_with_labels(&self, labels: Vec<LabeledSpan>, message: impl Into<String>) -> PolicyError {
        let offset = labels.first().map_or(0, LabeledSpan::offset) + self.lines_before;
        let (line, column) = self.position(offset);
        let labels = labels
            .into_iter()
            .map(|label| {
                let at = (label.offset() + self.lines_before, label.len());
                LabeledSpan::new_with_span(label.label().map(str::to_owned), at)
            })
            .collect();
        PolicyError {
            file: self.source.name().to_owned(),
            line,
            column,
            message: message.into(),
            help: None,
            labels,
            source: Arc::clone(&self.source),
        }
    }

    /// The line of an offset, as the file's author counts.
    pub(crate) fn line(&self, offset: usize) -> usize {
        self.position(offset + self.lines_before).0
    }

    /// Line and column, both from 1, of a byte offset in the padded text.
    fn position(&self, offset: usize) -> (usize, usize) {
        let line = self.line_starts.partition_point(|start| *start <= offset).max(1);
        let before = self.source.inner().get(self.line_starts[line - 1]..offset).unwrap_or_default();
        (line, before.chars().count() + 1)
    }
}

impl PolicyError {
    pub(crate) fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The underlined text of each label.
    pub fn underlined(&self) -> Vec<&str> {
        let text = self.source.inner();
        let of = |label: &LabeledSpan| text.get(label.offset()..label.offset() + label.len()).unwrap_or_default();
        self.labels.iter().map(of).collect()
    }
}

impl Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for PolicyError {}

impl Diagnostic for PolicyError {
    fn help<'a>(&'a self) -> Option<Box<dyn Display + 'a>> {
        self.help.as_ref().map(|help| Box::new(help) as Box<dyn Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&*self.source)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        Some(Box::new(self.labels.iter().cloned()))
    }
}

/// The problems as text for a terminal, one after the other.
pub fn render(errors: &[PolicyError], color: bool) -> String {
    let theme = if color { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
    let handler = GraphicalReportHandler::new_themed(theme).with_width(120).with_links(false);
    let mut out = String::new();
    for error in errors {
        if handler.render_report(&mut out, error).is_err() {
            out.push_str(&format!("{}:{}:{}: {}\n", error.file, error.line, error.column, error.message));
        }
    }
    out
}
