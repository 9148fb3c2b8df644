//! Diagnostics as `miette` reports over the right source, with the line numbers of the file a fragment came from.

use crate::{Diagnostic, Severity, Source, Sources, Span};
use miette::{LabeledSpan, MietteError, MietteSpanContents, SourceCode, SourceSpan, SpanContents};
use std::fmt;

/// How many problems are shown in full; of more, only the number is told.
const SHOWN_MAX: usize = 100;

/// A source that counts its lines from where the fragment begins in its file.
struct Numbered<'a>(&'a Source);

impl SourceCode for Numbered<'_> {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        lines_before: usize,
        lines_after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let inner = self.0.text.as_str().read_span(span, lines_before, lines_after)?;
        Ok(Box::new(MietteSpanContents::new_named(
            self.0.name.clone(),
            inner.data(),
            *inner.span(),
            inner.line() + self.0.first_line.saturating_sub(1),
            inner.column(),
            inner.line_count(),
        )))
    }
}

/// A [`Diagnostic`] joined with its sources: a `miette::Diagnostic`.
///
/// Labels in other sources than the primary one become related reports, because a `miette` report has one source.
pub struct Report<'a> {
    diagnostic: &'a Diagnostic,
    source: Option<Numbered<'a>>,
    elsewhere: Vec<Elsewhere<'a>>,
}

struct Elsewhere<'a> {
    label: &'a str,
    span: Span,
    source: Numbered<'a>,
}

impl Diagnostic {
    /// Joins the diagnostic with the sources it speaks of.
    pub fn report<'a>(&'a self, sources: &'a Sources) -> Report<'a> {
        let elsewhere = self.others.iter().filter(|(span, _)| span.source != self.span.source);
        Report {
            diagnostic: self,
            source: sources.0.get(self.span.source).map(Numbered),
            elsewhere: elsewhere
                .filter_map(|(span, label)| {
                    let source = Numbered(sources.0.get(span.source)?);
                    Some(Elsewhere { label, span: *span, source })
                })
                .collect(),
        }
    }
}

fn labeled(span: Span, label: &str, primary: bool) -> LabeledSpan {
    let label = (!label.is_empty()).then(|| label.to_owned());
    match primary {
        true => LabeledSpan::new_primary_with_span(label, (span.offset, span.len)),
        false => LabeledSpan::new_with_span(label, (span.offset, span.len)),
    }
}

impl fmt::Debug for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.diagnostic, f)
    }
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.diagnostic.message)
    }
}

impl std::error::Error for Report<'_> {}

impl miette::Diagnostic for Report<'_> {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(self.diagnostic.code))
    }

    fn severity(&self) -> Option<miette::Severity> {
        Some(match self.diagnostic.severity {
            Severity::Error => miette::Severity::Error,
            Severity::Warning => miette::Severity::Warning,
        })
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.diagnostic.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.source.as_ref().map(|source| source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let primary = labeled(self.diagnostic.span, &self.diagnostic.label, true);
        let same_source = self.diagnostic.others.iter().filter(|(span, _)| span.source == self.diagnostic.span.source);
        Some(Box::new(std::iter::once(primary).chain(same_source.map(|(span, label)| labeled(*span, label, false)))))
    }

    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn miette::Diagnostic> + 'a>> {
        if self.elsewhere.is_empty() {
            return None;
        }
        Some(Box::new(self.elsewhere.iter().map(|other| other as &dyn miette::Diagnostic)))
    }
}

impl fmt::Debug for Elsewhere<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Elsewhere<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label)
    }
}

impl std::error::Error for Elsewhere<'_> {}

impl miette::Diagnostic for Elsewhere<'_> {
    fn severity(&self) -> Option<miette::Severity> {
        Some(miette::Severity::Advice)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&self.source)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        Some(Box::new(std::iter::once(labeled(self.span, "here", true))))
    }
}

/// A source line longer than this is not shown: only where it is.
const LINE_BYTES_MAX: usize = 4000;

/// Shows problems as people read them on a terminal, each with file, line, underlined text and help.
pub fn render(diagnostics: &[Diagnostic], sources: &Sources, color: bool) -> String {
    let theme = match color {
        true => miette::GraphicalTheme::unicode(),
        false => miette::GraphicalTheme::unicode_nocolor(),
    };
    let handler = miette::GraphicalReportHandler::new_themed(theme).with_width(110).with_links(false);
    let mut out = String::new();
    for diagnostic in diagnostics.iter().take(SHOWN_MAX) {
        let spans = || [diagnostic.span].into_iter().chain(diagnostic.others.iter().map(|(span, _)| *span));
        let showable = spans().all(|span| has_short_lines(span, sources));
        if !showable || handler.render_report(&mut out, &diagnostic.report(sources)).is_err() {
            plain(&mut out, diagnostic, sources);
        }
        out.push('\n');
    }
    if diagnostics.len() > SHOWN_MAX {
        out.push_str(&format!("… and {} more problems\n", diagnostics.len() - SHOWN_MAX));
    }
    out
}

/// Whether the lines around a span, which a report shows with it, fit anywhere.
fn has_short_lines(span: Span, sources: &Sources) -> bool {
    let Some(source) = sources.0.get(span.source) else { return false };
    let (Some(before), Some(after)) = (source.text.get(..span.offset), source.text.get(span.offset + span.len..))
    else {
        return false;
    };
    let shown = before.rsplitn(3, '\n').take(2).chain(after.splitn(3, '\n').take(2)).chain(sources.slice(span).lines());
    shown.into_iter().all(|line| line.len() <= LINE_BYTES_MAX)
}

/// Without the source's text.
fn plain(out: &mut String, diagnostic: &Diagnostic, sources: &Sources) {
    let at = sources.position(diagnostic.span);
    out.push_str(&format!(
        "{}\n\n  × {}\n   ╭─[{}:{}:{}]\n   ╰── {}\n",
        diagnostic.code, diagnostic.message, at.file, at.line, at.column, diagnostic.label
    ));
    if let Some(help) = &diagnostic.help {
        out.push_str(&format!("  help: {help}\n"));
    }
}
