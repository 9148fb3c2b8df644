//! Splits KDL 2 text into tokens, without loss: the tokens' texts joined are the text.
//!
//! It knows strings (quoted, raw, multi-line), comments (nested), and words, and does not look into them: what a word
//! means is for `kdl`. Linear in the length of the text, no recursion.

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TokenKind {
    /// At the very beginning only.
    ByteOrderMark,
    /// Spaces and tabs.
    Space,
    /// One line break.
    Newline,
    /// `// …`, without the line break.
    LineComment,
    /// `/* … */`, may be nested.
    BlockComment,
    /// `/-`: the next node, entry or block is commented out.
    Slashdash,
    /// `\` at the end of a line, with everything up to and including the line break.
    Continuation,
    /// `{`
    Open,
    /// `}`
    Close,
    /// `(`
    TypeOpen,
    /// `)`
    TypeClose,
    /// `=`
    Equals,
    /// `;`
    Semicolon,
    /// An identifier, a number or a keyword.
    Word,
    /// Any quoted string, whole.
    Text,
    /// Something that cannot be read; why.
    Bad(Flaw),
}

/// Why something cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// A `"…` that its line does not close.
    OpenString,
    /// A `"""…` or `#"…` that nothing closes.
    OpenBlockString,
    /// A `/*` that nothing closes.
    OpenComment,
    /// Comments nested deeper than anyone would.
    DeepComment,
    /// A `\` in the middle of a line.
    Backslash,
    /// `[`, `]`, or a `/` that begins no comment.
    Stray,
    /// A character that KDL forbids, such as a control character.
    Forbidden,
}

/// A stretch of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) kind: TokenKind,
    pub(crate) offset: usize,
    pub(crate) len: usize,
}

impl Token {
    pub(crate) fn text<'a>(&self, text: &'a str) -> &'a str {
        &text[self.offset..self.end()]
    }

    pub(crate) fn end(&self) -> usize {
        self.offset + self.len
    }

    /// Anything but space, line breaks and comments.
    pub(crate) fn is_significant(&self) -> bool {
        use TokenKind as K;
        !matches!(
            self.kind,
            K::ByteOrderMark | K::Space | K::Newline | K::LineComment | K::BlockComment | K::Continuation
        )
    }
}

/// Nested block comments deeper than this are refused.
const COMMENT_DEPTH_MAX: usize = 32;

/// All tokens of a text.
pub(crate) fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut offset = 0;
    while offset < text.len() {
        let (kind, len) = token(&text[offset..], offset == 0);
        debug_assert!(len > 0, "every token has a length");
        tokens.push(Token { kind, offset, len });
        offset += len;
    }
    tokens
}

/// The first token of a text that is not empty.
fn token(rest: &str, first: bool) -> (TokenKind, usize) {
    use TokenKind as K;
    let letter = rest.chars().next().expect("the text is not empty");
    let one = letter.len_utf8();
    match letter {
        '\u{FEFF}' if first => (K::ByteOrderMark, one),
        '{' => (K::Open, 1),
        '}' => (K::Close, 1),
        '(' => (K::TypeOpen, 1),
        ')' => (K::TypeClose, 1),
        '=' => (K::Equals, 1),
        ';' => (K::Semicolon, 1),
        '"' => quoted(rest),
        '#' => raw_or_keyword(rest),
        '\\' => continuation(rest),
        '/' if rest.starts_with("//") => (K::LineComment, rest.find(is_newline).unwrap_or(rest.len())),
        '/' if rest.starts_with("/*") => block_comment(rest),
        '/' if rest.starts_with("/-") => (K::Slashdash, 2),
        '/' | '[' | ']' => (K::Bad(Flaw::Stray), 1),
        _ if is_newline(letter) => (K::Newline, if rest.starts_with("\r\n") { 2 } else { one }),
        _ if is_space(letter) => (K::Space, rest.find(|c| !is_space(c)).unwrap_or(rest.len())),
        _ if is_forbidden(letter) => (K::Bad(Flaw::Forbidden), one),
        _ => (K::Word, rest.find(ends_word).unwrap_or(rest.len())),
    }
}

fn quoted(rest: &str) -> (TokenKind, usize) {
    if let Some(body) = rest.strip_prefix("\"\"\"")
        && body.starts_with(is_newline)
    {
        return match closing(body, |at| at.starts_with("\"\"\""), false) {
            Some(len) => (TokenKind::Text, 3 + len + 3),
            None => (TokenKind::Bad(Flaw::OpenBlockString), rest.len()),
        };
    }
    match closing(&rest[1..], |at| at.starts_with('"'), true) {
        Some(len) => (TokenKind::Text, 1 + len + 1),
        None => (TokenKind::Bad(Flaw::OpenString), rest.find(is_newline).unwrap_or(rest.len())),
    }
}

/// Length of a string's body up to what closes it, skipping what backslashes escape.
fn closing(body: &str, closes: impl Fn(&str) -> bool, one_line: bool) -> Option<usize> {
    let mut at = 0;
    while let Some(letter) = body[at..].chars().next() {
        let after = at + letter.len_utf8();
        at = match letter {
            '"' if closes(&body[at..]) => return Some(at),
            '\\' => after_escape(body, after)?,
            _ if one_line && is_newline(letter) => return None,
            _ => after,
        };
    }
    None
}

/// Where it goes on after a backslash: behind the escaped character, or behind all the white space it swallows.
fn after_escape(body: &str, at: usize) -> Option<usize> {
    let escaped = body[at..].chars().next()?;
    match is_newline(escaped) || is_space(escaped) {
        true => Some(at + body[at..].find(|c| !is_newline(c) && !is_space(c))?),
        false => Some(at + escaped.len_utf8()),
    }
}

fn raw_or_keyword(rest: &str) -> (TokenKind, usize) {
    let hashes = rest.find(|c| c != '#').unwrap_or(rest.len());
    let after = &rest[hashes..];
    if !after.starts_with('"') {
        let word = after.find(ends_word).unwrap_or(after.len());
        return (TokenKind::Word, hashes + word);
    }
    let block = after.strip_prefix("\"\"\"").is_some_and(|body| body.starts_with(is_newline));
    let quotes = if block { 3 } else { 1 };
    let end = format!("{}{}", &"\"\"\""[..quotes], &rest[..hashes]);
    let limit = match block {
        true => after.len(),
        false => after.find(is_newline).unwrap_or(after.len()),
    };
    match after[quotes..limit].find(&end) {
        Some(len) => (TokenKind::Text, hashes + quotes + len + end.len()),
        None if block => (TokenKind::Bad(Flaw::OpenBlockString), rest.len()),
        None => (TokenKind::Bad(Flaw::OpenString), hashes + limit),
    }
}

fn block_comment(rest: &str) -> (TokenKind, usize) {
    let mut depth = 0;
    let mut at = 0;
    while at < rest.len() {
        if rest[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
        } else {
            at += rest[at..].chars().next().map_or(1, char::len_utf8);
        }
        if depth == 0 {
            return (TokenKind::BlockComment, at);
        }
        if depth > COMMENT_DEPTH_MAX {
            return (TokenKind::Bad(Flaw::DeepComment), rest.len());
        }
    }
    (TokenKind::Bad(Flaw::OpenComment), rest.len())
}

fn continuation(rest: &str) -> (TokenKind, usize) {
    let mut at = 1;
    loop {
        let here = &rest[at..];
        let Some(letter) = here.chars().next() else { return (TokenKind::Continuation, at) };
        if is_newline(letter) {
            return (TokenKind::Continuation, at + if here.starts_with("\r\n") { 2 } else { letter.len_utf8() });
        } else if here.starts_with("//") {
            at += here.find(is_newline).unwrap_or(here.len());
        } else if is_space(letter) {
            at += letter.len_utf8();
        } else {
            return (TokenKind::Bad(Flaw::Backslash), 1);
        }
    }
}

/// The line breaks of KDL 2.
pub(crate) fn is_newline(c: char) -> bool {
    matches!(c, '\n' | '\r' | '\u{0085}' | '\u{000B}' | '\u{000C}' | '\u{2028}' | '\u{2029}')
}

/// The spaces of KDL 2.
pub(crate) fn is_space(c: char) -> bool {
    matches!(c, '\t' | ' ' | '\u{00A0}' | '\u{1680}' | '\u{2000}'..='\u{200A}' | '\u{202F}' | '\u{205F}' | '\u{3000}')
}

/// What KDL 2 forbids anywhere in a document.
pub(super) fn is_forbidden(c: char) -> bool {
    matches!(c, '\u{0000}'..='\u{0008}' | '\u{000E}'..='\u{001F}' | '\u{007F}' | '\u{200E}' | '\u{200F}'
        | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{FEFF}')
}

fn ends_word(c: char) -> bool {
    is_newline(c)
        || is_space(c)
        || is_forbidden(c)
        || matches!(c, '\\' | '/' | '(' | ')' | '{' | '}' | '[' | ']' | ';' | '"' | '#' | '=')
}
