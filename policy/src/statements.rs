//! Cuts a Cedar file into its statements, one policy each, and bounds what Cedar's parser is given.
//!
//! A statement ends with `;`, which occurs in Cedar nowhere else but in strings and comments. Parsing statement by statement
//! lets one mistake hide no other, and gives every policy its line.
//!
//! The bounds are there because Cedar's parser recurses: 300 brackets deep overflow the 2 MiB stack of a thread and end the
//! process, and the validator silently passes what is nested too deep for it.

use std::ops::Range;

/// Bytes a file may have.
pub(crate) const FILE_BYTES_MAX: usize = 1 << 20;
/// Policies that all files together may have.
pub(crate) const POLICIES_MAX: usize = 10_000;
/// Brackets of any kind open at once.
pub(crate) const BRACKETS_OPEN_MAX: usize = 32;
/// Operators in one policy, `.` and `if` among them: what else nests an expression.
pub(crate) const OPERATORS_MAX: usize = 400;

/// A policy's text in its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Statement {
    /// From its first token to its `;`, or to the end of the file where that is missing.
    pub(crate) range: Range<usize>,
    /// The first thing that is beyond the bounds.
    pub(crate) excess: Option<Excess>,
}

/// What a statement has too much of, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Excess {
    /// The bracket at this offset.
    Brackets(usize),
    /// The operator at this offset.
    Operators(usize),
}

/// The statements of a text, in order. What is neither blank nor a comment is part of one.
pub(crate) fn statements(text: &str) -> Vec<Statement> {
    let mut found = Vec::new();
    let mut open: Option<Counted> = None;
    let mut at = 0;
    while let Some(token) = next_token(text, at) {
        at = token.range.end;
        let statement = open.get_or_insert_with(|| Counted::starting_at(token.range.start));
        statement.count(&token, text);
        if token.kind == TokenKind::End {
            found.extend(open.take().map(Counted::into_statement));
        }
    }
    found.extend(open.map(Counted::into_statement));
    found
}

/// A statement in the course of being read.
struct Counted {
    range: Range<usize>,
    brackets_open: usize,
    operators: usize,
    excess: Option<Excess>,
}

impl Counted {
    fn starting_at(start: usize) -> Self {
        Self { range: start..start, brackets_open: 0, operators: 0, excess: None }
    }

    fn count(&mut self, token: &Token, text: &str) {
        self.range.end = token.range.end;
        let start = token.range.start;
        match token.kind {
            TokenKind::Open => {
                self.brackets_open += 1;
                if self.brackets_open > BRACKETS_OPEN_MAX {
                    self.excess.get_or_insert(Excess::Brackets(start));
                }
            }
            TokenKind::Close => self.brackets_open = self.brackets_open.saturating_sub(1),
            TokenKind::Word if !is_operator_word(&text[token.range.clone()]) => {}
            TokenKind::Word | TokenKind::Operator => {
                self.operators += 1;
                if self.operators > OPERATORS_MAX {
                    self.excess.get_or_insert(Excess::Operators(start));
                }
            }
            TokenKind::End | TokenKind::Other => {}
        }
    }

    fn into_statement(self) -> Statement {
        Statement { range: self.range, excess: self.excess }
    }
}

fn is_operator_word(word: &str) -> bool {
    matches!(word, "if" | "in" | "has" | "is" | "like" | "when" | "unless")
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TokenKind {
    Open,
    Close,
    Operator,
    Word,
    End,
    Other,
}

struct Token {
    range: Range<usize>,
    kind: TokenKind,
}

/// The first token at or after an offset: just enough of Cedar's lexer to know strings and comments from the rest.
fn next_token(text: &str, from: usize) -> Option<Token> {
    let mut at = from;
    loop {
        let rest = &text[at..];
        let first = rest.chars().next()?;
        if first.is_whitespace() {
            at += first.len_utf8();
        } else if rest.starts_with("//") {
            at += rest.find(['\n', '\r']).unwrap_or(rest.len());
        } else {
            let (len, kind) = token(rest, first);
            return Some(Token { range: at..at + len, kind });
        }
    }
}

fn token(rest: &str, first: char) -> (usize, TokenKind) {
    match first {
        '"' => (string_len(rest), TokenKind::Other),
        ';' => (1, TokenKind::End),
        '(' | '[' | '{' => (1, TokenKind::Open),
        ')' | ']' | '}' => (1, TokenKind::Close),
        '.' | '+' | '*' | '-' | '/' | '%' => (1, TokenKind::Operator),
        '!' | '=' | '<' | '>' if rest[1..].starts_with('=') => (2, TokenKind::Operator),
        '!' | '<' | '>' => (1, TokenKind::Operator),
        '&' if rest.starts_with("&&") => (2, TokenKind::Operator),
        '|' if rest.starts_with("||") => (2, TokenKind::Operator),
        _ if first == '_' || first.is_ascii_alphanumeric() => {
            let word = rest.find(|c: char| c != '_' && !c.is_ascii_alphanumeric());
            (word.unwrap_or(rest.len()), TokenKind::Word)
        }
        _ => (first.len_utf8(), TokenKind::Other),
    }
}

/// Length of the string literal a text begins with; to the end where it is not closed.
fn string_len(rest: &str) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<&str> {
        statements(text).into_iter().map(|statement| &text[statement.range]).collect()
    }

    #[test]
    fn statements_end_at_semicolons_outside_strings_and_comments() {
        let text = "// one; two\n@id(\"a;\\\"b;\") permit(x); // ;\n\n forbid(y) ;";
        assert_eq!(texts(text), ["@id(\"a;\\\"b;\") permit(x);", "forbid(y) ;"]);
    }

    #[test]
    fn a_statement_without_its_end_reaches_to_the_last_token() {
        assert_eq!(texts("permit(a);\nforbid(b) // rest\n "), ["permit(a);", "forbid(b)"]);
        assert_eq!(texts("permit(\"open;"), ["permit(\"open;"]);
        assert_eq!(texts(" // nothing here\n"), Vec::<&str>::new());
    }

    #[test]
    fn brackets_and_operators_are_bounded_for_each_statement() {
        let deep = |n: usize| format!("{}{};", "(".repeat(n), ")".repeat(n));
        assert_eq!(statements(&deep(BRACKETS_OPEN_MAX))[0].excess, None);
        assert_eq!(statements(&deep(BRACKETS_OPEN_MAX + 1))[0].excess, Some(Excess::Brackets(BRACKETS_OPEN_MAX)));
        let long = |n: usize| format!("a{};", " || b".repeat(n));
        assert_eq!(statements(&long(OPERATORS_MAX).repeat(3)).iter().filter(|s| s.excess.is_some()).count(), 0);
        assert_eq!(statements(&long(OPERATORS_MAX + 1))[0].excess, Some(Excess::Operators(2 + 5 * OPERATORS_MAX)));
        assert!(statements(&format!("a{};", " if".repeat(OPERATORS_MAX + 1)))[0].excess.is_some());
    }
}
