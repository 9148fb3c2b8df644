//! Divides a source into its top-level nodes, and reports what makes one unreadable.

use super::lexer::{Flaw, Token, TokenKind, is_forbidden};
use crate::diagnostic::PROBLEMS_MAX;
use crate::{Diagnostic, Span};
use std::ops::Range;

/// Blocks nested deeper than this are refused; no construct of the language needs more than four.
pub(crate) const DEPTH_MAX: usize = 32;

/// `/-` within `/-` deeper than this is refused: `kdl` needs time exponential in it.
const SLASHDASH_DEPTH_MAX: usize = 2;

/// A top-level node, or several on one line.
pub(crate) struct Chunk {
    /// Byte offset of its first token.
    pub(crate) start: usize,
    /// Which tokens.
    pub(crate) tokens: Range<usize>,
    /// It may be given to the parser.
    pub(crate) sound: bool,
    /// Words in it that are reported and must be made harmless before.
    pub(crate) garbled: Vec<usize>,
}

/// After a block that is never closed, reading goes on at the next line that begins like a top-level node, so often.
const RESUMED_MAX: usize = 20;

/// The chunks of a source that hold anything; together with what is wrong with some of them. `top_level` are the names that begin a
/// top-level node: where to go on behind a block that is never closed.
pub(crate) fn chunks(
    index: usize,
    text: &str,
    tokens: &[Token],
    top_level: &[&str],
    out: &mut Vec<Diagnostic>,
) -> Vec<Chunk> {
    let mut splitter = Splitter {
        index,
        text,
        out,
        open: Vec::new(),
        last: None,
        dashed: false,
        first: 0,
        sound: true,
        garbled: Vec::new(),
        chunks: Vec::new(),
    };
    let mut from = 0;
    for resumed in 0..=RESUMED_MAX {
        for at in from..tokens.len() {
            splitter.take(at, &tokens[at], tokens);
        }
        let Some(open) = splitter.open.first().copied() else { break };
        splitter.never_closed(open);
        let begins = |at: &usize| {
            tokens[at - 1].kind == TokenKind::Newline
                && tokens[*at].kind == TokenKind::Word
                && top_level.contains(&tokens[*at].text(text))
        };
        let Some(next) = (open.at + 1..tokens.len()).find(begins).filter(|_| resumed < RESUMED_MAX) else { break };
        splitter.cut(next, tokens);
        from = next;
    }
    splitter.cut(tokens.len(), tokens);
    splitter.chunks
}

/// An open brace.
#[derive(Clone, Copy)]
struct Open {
    token: Token,
    /// Which token.
    at: usize,
    /// How many blocks commented out it lies in.
    slashdashes: usize,
}

struct Splitter<'a> {
    index: usize,
    text: &'a str,
    out: &'a mut Vec<Diagnostic>,
    open: Vec<Open>,
    /// The last significant token.
    last: Option<Token>,
    /// A `/-` stands in the current node.
    dashed: bool,
    /// The first token of the current chunk.
    first: usize,
    sound: bool,
    garbled: Vec<usize>,
    chunks: Vec<Chunk>,
}

impl Splitter<'_> {
    fn take(&mut self, at: usize, token: &Token, tokens: &[Token]) {
        match token.kind {
            TokenKind::Newline
                if self.open.is_empty() && self.last.is_none_or(|last| last.kind != TokenKind::Slashdash) =>
            {
                self.cut(at + 1, tokens);
            }
            TokenKind::Open => self.enter(at, token),
            TokenKind::Close if self.open.pop().is_none() => {
                self.flaw(
                    *token,
                    "this brace closes nothing",
                    "no block is open here",
                    "remove it, or look for a block above that is closed once too often",
                );
            }
            TokenKind::Bad(flaw) => {
                self.bad(*token, flaw);
                if flaw == Flaw::OpenString && token.text(self.text).trim_end().ends_with('{') {
                    self.enter(at, token);
                }
            }
            TokenKind::Text => self.forbidden_within(token),
            TokenKind::Word => self.word(at, token),
            _ => {}
        }
        self.boundary(at, token, tokens);
        self.dashed = match token.kind {
            TokenKind::Slashdash => true,
            TokenKind::Open | TokenKind::Close => false,
            TokenKind::Newline | TokenKind::Semicolon => {
                self.dashed && self.last.is_some_and(|last| last.kind == TokenKind::Slashdash)
            }
            _ => self.dashed,
        };
        if token.is_significant() {
            self.last = Some(*token);
        }
    }

    fn enter(&mut self, at: usize, token: &Token) {
        let around = self.open.last().map_or(0, |open| open.slashdashes);
        let slashdashes = around + usize::from(self.dashed);
        if slashdashes > SLASHDASH_DEPTH_MAX && around <= SLASHDASH_DEPTH_MAX {
            let help = "comment the outermost block out with `/-`; what is inside needs no further one";
            self.flaw(*token, "blocks are commented out within each other too deeply", "in the third `/-`", help);
        }
        self.open.push(Open { token: *token, at, slashdashes });
        if self.open.len() == DEPTH_MAX + 1 {
            let help = format!("blocks may be nested {DEPTH_MAX} deep; nothing in the language needs more than four");
            self.flaw(*token, "blocks are nested too deeply", "this block is one too many", &help);
        }
    }

    /// Words that were right in KDL 1, and numbers beyond any use. What is around them can be read all the same.
    fn word(&mut self, at: usize, token: &Token) {
        let word = token.text(self.text);
        let number = word.trim_start_matches(['-', '+']).starts_with(|c: char| c.is_ascii_digit());
        let digits = word.chars().all(|c| c.is_ascii_hexdigit() || "_-+.xob".contains(c));
        match word {
            "true" | "false" | "null" | "inf" | "-inf" | "nan" => {
                let help = format!("write `#{word}` for the keyword, or \"{word}\" for the text");
                self.report(
                    *token,
                    &format!("`{word}` is not a value in KDL 2"),
                    "neither a keyword nor a text",
                    &help,
                );
            }
            _ if word.len() > 36 && number && digits => {
                self.report(
                    *token,
                    "this number is too long",
                    "more digits than any amount has",
                    "write a smaller number",
                );
            }
            _ => return,
        }
        self.garbled.push(at);
    }

    fn forbidden_within(&mut self, token: &Token) {
        let found = token.text(self.text).char_indices().find(|(_, c)| is_forbidden(*c));
        if let Some((at, letter)) = found {
            let place = Token { kind: token.kind, offset: token.offset + at, len: letter.len_utf8() };
            self.bad(place, Flaw::Forbidden);
        }
    }

    fn never_closed(&mut self, open: Open) {
        // Whatever else is wrong in here probably swallowed the brace.
        if self.sound {
            let help = "add the missing `}`: this block's own, or that of a block inside it";
            self.flaw(open.token, "this block is never closed", "the block begins here", help);
        }
    }

    /// Two values need a space between them.
    fn boundary(&mut self, at: usize, token: &Token, tokens: &[Token]) {
        let is_value = |kind| matches!(kind, TokenKind::Word | TokenKind::Text);
        let touches = at > self.first && is_value(tokens[at - 1].kind) && is_value(token.kind);
        if touches {
            let help = "put a space between the two, or quotes around the whole";
            self.flaw(*token, "a space is missing before this", "touches what stands before it", help);
        }
    }

    fn bad(&mut self, token: Token, flaw: Flaw) {
        let (message, label, help) = match flaw {
            Flaw::OpenString => (
                "this text is never closed",
                "the closing quote is missing on this line",
                "close it with `\"`; text over several lines begins and ends with `\"\"\"` on lines of their own",
            ),
            Flaw::OpenBlockString => (
                "this text is never closed",
                "begins here",
                "close it with the same quotes (and `#`) on a line of their own",
            ),
            Flaw::OpenComment => {
                ("this comment is never closed", "begins here", "close it with `*/`; block comments nest in KDL")
            }
            Flaw::DeepComment => ("comments are nested too deeply", "begins here", "use `//` comments"),
            Flaw::Backslash => (
                "a backslash continues a line and must end it",
                "not at the end of the line",
                "put text with a backslash in quotes, as \"\\\\\"",
            ),
            Flaw::Stray => {
                ("this character must be in quotes", "not allowed in a bare word", "put quotes around the whole text")
            }
            Flaw::Forbidden => (
                "this character is not allowed in KDL",
                "control character",
                "write it as an escape, \"\\u{…}\", or remove it",
            ),
        };
        let first_line = match flaw {
            Flaw::OpenBlockString | Flaw::OpenComment | Flaw::DeepComment => {
                let text = token.text(self.text);
                Token { len: text.find(super::lexer::is_newline).unwrap_or(text.len()), ..token }
            }
            _ => token,
        };
        self.flaw(first_line, message, label, help);
    }

    fn flaw(&mut self, token: Token, message: &str, label: &str, help: &str) {
        self.sound = false;
        self.report(token, message, label, help);
    }

    fn report(&mut self, token: Token, message: &str, label: &str, help: &str) {
        let span = Span { source: self.index, offset: token.offset, len: token.len };
        if self.out.len() < PROBLEMS_MAX {
            self.out.push(Diagnostic::error("hyphae::syntax", span, message, label).help(help));
        }
    }

    /// Ends the current chunk before token `end`.
    fn cut(&mut self, end: usize, tokens: &[Token]) {
        let range = self.first..end;
        if tokens[range.clone()].iter().any(Token::is_significant) {
            let start = tokens[self.first].offset;
            let garbled = std::mem::take(&mut self.garbled);
            self.chunks.push(Chunk { start, tokens: range, sound: self.sound, garbled });
        }
        self.garbled.clear();
        self.first = end;
        self.sound = true;
        self.last = None;
        self.dashed = false;
        self.open.clear();
    }
}
