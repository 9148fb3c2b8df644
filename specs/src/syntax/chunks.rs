//! Divides a source into its top-level nodes, and reports what makes one unreadable.

use super::lexer::{Flaw, Token, TokenKind};
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
}

/// The chunks of a source that hold anything; together with what is wrong with some of them.
pub(crate) fn chunks(index: usize, text: &str, tokens: &[Token], out: &mut Vec<Diagnostic>) -> Vec<Chunk> {
    let mut splitter = Splitter { index, text, out, open: Vec::new(), last: None, dashed: false, first: 0, sound: true, chunks: Vec::new() };
    for (at, token) in tokens.iter().enumerate() {
        splitter.take(at, token, tokens);
    }
    if let Some(open) = splitter.open.first().copied() {
        splitter.flaw(
            open.token,
            "this block is never closed",
            "the block begins here",
            "add the missing `}`; a block closes with its own brace",
        );
    }
    splitter.cut(tokens.len(), tokens);
    splitter.chunks
}

/// An open brace.
#[derive(Clone, Copy)]
struct Open {
    token: Token,
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
    chunks: Vec<Chunk>,
}

impl Splitter<'_> {
    fn take(&mut self, at: usize, token: &Token, tokens: &[Token]) {
        match token.kind {
            TokenKind::Newline if self.open.is_empty() => {
                if self.last.is_none_or(|last| last.kind != TokenKind::Slashdash) {
                    self.cut(at + 1, tokens);
                }
            }
            TokenKind::Open => self.enter(token),
            TokenKind::Close => {
                if self.open.pop().is_none() {
                    self.flaw(
                        *token,
                        "this brace closes nothing",
                        "no block is open here",
                        "remove it, or look for a block above that is closed once too often",
                    );
                }
            }
            TokenKind::Bad(flaw) => self.bad(*token, flaw),
            TokenKind::Word => self.word(token),
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

    fn enter(&mut self, token: &Token) {
        let around = self.open.last().map_or(0, |open| open.slashdashes);
        let slashdashes = around + usize::from(self.dashed);
        if slashdashes > SLASHDASH_DEPTH_MAX && around <= SLASHDASH_DEPTH_MAX {
            let help = "comment the outermost block out with `/-`; what is inside needs no further one";
            self.flaw(*token, "blocks are commented out within each other too deeply", "in the third `/-`", help);
        }
        self.open.push(Open { token: *token, slashdashes });
        if self.open.len() == DEPTH_MAX + 1 {
            let help = format!("blocks may be nested {DEPTH_MAX} deep; nothing in the language needs more than four");
            self.flaw(*token, "blocks are nested too deeply", "this block is one too many", &help);
        }
    }

    /// Words that were right in KDL 1, and numbers beyond any use.
    fn word(&mut self, token: &Token) {
        let word = token.text(self.text);
        match word {
            "true" | "false" | "null" | "inf" | "-inf" | "nan" => {
                let help = format!("write `#{word}` for the keyword, or \"{word}\" for the text");
                self.flaw(*token, &format!("`{word}` is not a value in KDL 2"), "ambiguous", &help);
            }
            _ if word.len() > 36 && word.trim_start_matches(['-', '+']).starts_with(|c: char| c.is_ascii_digit()) => {
                let all_number = word.chars().all(|c| c.is_ascii_hexdigit() || "_-+.xob".contains(c));
                if all_number {
                    self.flaw(*token, "this number is too long", "more digits than any amount has", "write a smaller number");
                }
            }
            _ => {}
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
            Flaw::OpenBlockString => {
                ("this text is never closed", "begins here", "close it with the same quotes (and `#`) on a line of their own")
            }
            Flaw::OpenComment => ("this comment is never closed", "begins here", "close it with `*/`; block comments nest in KDL"),
            Flaw::DeepComment => ("comments are nested too deeply", "begins here", "use `//` comments"),
            Flaw::Backslash => {
                ("a backslash continues a line and must end it", "not at the end of the line", "put text with a backslash in quotes, as \"\\\\\"")
            }
            Flaw::Stray => ("this character must be in quotes", "not allowed in a bare word", "put quotes around the whole text"),
            Flaw::Forbidden => ("this character is not allowed in KDL", "control character", "write it as an escape, \"\\u{…}\", or remove it"),
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
        let span = Span { source: self.index, offset: token.offset, len: token.len };
        self.out.push(Diagnostic::error("hyphae::syntax", span, message, label).help(help));
    }

    /// Ends the current chunk before token `end`.
    fn cut(&mut self, end: usize, tokens: &[Token]) {
        let range = self.first..end;
        if tokens[range.clone()].iter().any(Token::is_significant) {
            let start = tokens[self.first].offset;
            self.chunks.push(Chunk { start, tokens: range, sound: self.sound });
        }
        self.first = end;
        self.sound = true;
        self.last = None;
        self.dashed = false;
        self.open.clear();
    }
}
