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
