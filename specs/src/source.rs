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

impl Source {
    /// A whole file.
    pub fn file(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self { name: name.into(), text: text.into(), first_line: 1 }
    }
}
