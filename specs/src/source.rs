//! Source texts and positions in them. Every value of the model carries a [`Span`].

use std::ops::Deref;

/// A named text: a file, or the fragment of a file that the cluster has stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// As the user named it; shown in messages.
    pub name: String,
    /// The KDL text.
    pub text: String,
    /// Line number (from 1) of the text's first line within the file `name`; above 1 for a stored fragment.
    pub first_line: usize,
}

/// All texts that are read together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sources(pub Vec<Source>);

/// A stretch of bytes of one source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// Position in [`Sources`].
    pub source: usize,
    /// Byte offset of the first byte.
    pub offset: usize,
    /// Length in bytes.
    pub len: usize,
}

/// A value and where it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Where it was written.
    pub span: Span,
}

impl<T> Deref for Spanned<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}

/// A position for people: line and column count from 1, columns in characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The file's name.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

impl Sources {
    /// The text a span covers; empty when the span lies outside of its source.
    pub fn slice(&self, span: Span) -> &str {
        self.0.get(span.source).and_then(|source| source.text.get(span.offset..span.offset + span.len)).unwrap_or("")
    }

    /// Where a span begins, for people.
    pub fn position(&self, span: Span) -> Position {
        let Some(source) = self.0.get(span.source) else {
            return Position { file: String::new(), line: 1, column: 1 };
        };
        let before = source.text.get(..span.offset).unwrap_or(&source.text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Position {
            file: source.name.clone(),
            line: source.first_line + before.matches('\n').count(),
            column: before[line_start..].chars().count() + 1,
        }
    }
}

/// Sources with the places where their lines begin: for the positions of many spans, each of which [`Sources::position`] would go through
/// the text for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IndexedSources {
    sources: Sources,
    /// Per source, the byte offset of each line.
    line_starts: Vec<Vec<usize>>,
}

impl IndexedSources {
    /// As [`Sources::position`] says it.
    pub fn position(&self, span: Span) -> Position {
        let (Some(source), Some(starts)) = (self.sources.0.get(span.source), self.line_starts.get(span.source)) else {
            return self.sources.position(span);
        };
        // Whatever is no place in the text is at its end.
        let offset = if source.text.is_char_boundary(span.offset) { span.offset } else { source.text.len() };
        let line = starts.partition_point(|start| *start <= offset).saturating_sub(1);
        let before = source.text.get(starts[line]..offset).unwrap_or("");
        Position { file: source.name.clone(), line: source.first_line + line, column: before.chars().count() + 1 }
    }
}

impl From<Sources> for IndexedSources {
    fn from(sources: Sources) -> Self {
        let starts = |source: &Source| {
            let breaks = source.text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
            std::iter::once(0).chain(breaks).collect()
        };
        Self { line_starts: sources.0.iter().map(starts).collect(), sources }
    }
}

impl From<IndexedSources> for Sources {
    fn from(indexed: IndexedSources) -> Self {
        indexed.sources
    }
}

impl Deref for IndexedSources {
    type Target = Sources;
    fn deref(&self) -> &Sources {
        &self.sources
    }
}

impl Source {
    /// A whole file.
    pub fn file(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self { name: name.into(), text: text.into(), first_line: 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_gives_the_positions_that_going_through_the_text_gives() {
        let text = "a\n\u{e4}\u{e4} b\r\n\n  c\nno end";
        let fragment = Source { name: "b.kdl".to_owned(), text: text.to_owned(), first_line: 40 };
        let sources = Sources(vec![Source::file("a.kdl", text), fragment, Source::file("empty.kdl", "")]);
        let indexed = IndexedSources::from(sources.clone());
        for source in 0..4 {
            for offset in 0..text.len() + 3 {
                let span = Span { source, offset, len: 1 };
                assert_eq!(indexed.position(span), sources.position(span), "{span:?}");
            }
        }
    }
}
