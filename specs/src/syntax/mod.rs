//! Text to KDL nodes. A lexer of our own finds where each top-level node begins and ends, and refuses what the `kdl`
//! crate cannot be trusted with (deep nesting overflows its stack); each node is then parsed by `kdl` by itself, so that a
//! syntax error in one hides nothing in another.

mod chunks;
mod lexer;

pub(crate) use chunks::{Chunk, chunks};
pub(crate) use lexer::{Token, TokenKind, is_newline, tokens};

use crate::diagnostic::PROBLEMS_MAX;
use crate::{Diagnostic, Source, Span};
use kdl::{KdlDocument, KdlNode};

/// At most this much text in one source.
pub(crate) const SOURCE_BYTES_MAX: usize = 16 << 20;

/// The KDL nodes of a stretch of a source; their spans count from `base`.
pub(crate) struct Parsed {
    pub(crate) base: usize,
    /// The stretch with its comments blanked.
    pub(crate) text: String,
    pub(crate) nodes: Vec<KdlNode>,
}

/// Reads all top-level nodes of a source, and goes on after errors. Also says whether nothing had to be left out.
pub(crate) fn read(
    index: usize,
    source: &Source,
    top_level: &[&str],
    out: &mut Vec<Diagnostic>,
) -> (Vec<Parsed>, bool) {
    if source.text.len() > SOURCE_BYTES_MAX {
        let start = Span { source: index, offset: 0, len: 0 };
        out.push(
            Diagnostic::error(
                "hyphae::too_large",
                start,
                format!("{} is too large", source.name),
                "the file begins here",
            )
            .help(format!(
                "it has {} bytes; a source may have {SOURCE_BYTES_MAX} (16 MiB): split it",
                source.text.len()
            )),
        );
        return (Vec::new(), false);
    }
    let tokens = tokens(&source.text);
    let mut parsed = Vec::new();
    let mut whole = true;
    for chunk in chunks(index, &source.text, &tokens, top_level, out) {
        let text = chunk.sound.then(|| readable(&source.text, &tokens, &chunk));
        match text.map(|text| (KdlDocument::parse_v2(&text), text)) {
            Some((Ok(mut document), text)) => {
                let nodes = std::mem::take(document.nodes_mut());
                parsed.push(Parsed { base: chunk.start, text, nodes });
            }
            Some((Err(error), _)) => {
                whole = false;
                out.extend(convert(index, &source.text, &chunk, &error).filter(|_| out.len() < PROBLEMS_MAX));
            }
            None => whole = false,
        }
    }
    (parsed, whole)
}

/// The text of a chunk, byte for byte as long, in which every comment is blanked (`kdl` parses block comments with a recursion for
/// every asterisk), and words that are reported already have become harmless ones.
fn readable(text: &str, tokens: &[Token], chunk: &Chunk) -> String {
    let mut out = String::new();
    for (at, token) in tokens[chunk.tokens.clone()].iter().enumerate() {
        match token.kind {
            TokenKind::LineComment | TokenKind::BlockComment | TokenKind::ByteOrderMark => {
                out.extend(std::iter::repeat_n(' ', token.len));
            }
            _ if chunk.garbled.binary_search(&(chunk.tokens.start + at)).is_ok() => {
                out.extend(std::iter::repeat_n('x', token.len));
            }
            _ => out.push_str(token.text(text)),
        }
    }
    out
}

/// Our diagnostics for the first syntax error `kdl` reports in a chunk; those that follow are mostly echoes of it.
fn convert(index: usize, text: &str, chunk: &Chunk, error: &kdl::KdlError) -> Option<Diagnostic> {
    let first = error.diagnostics.iter().min_by_key(|one| (one.message.is_none(), one.span.offset()))?;
    let message = first.message.clone().unwrap_or_else(|| "this is not valid KDL".to_owned());
    let message = match message.strip_prefix("Expected ") {
        Some(rest) => format!("expected {rest}"),
        None => {
            let mut letters = message.chars();
            letters.next().map(|letter| letter.to_lowercase().chain(letters).collect()).unwrap_or_default()
        }
    };
    let label = first.label.clone().unwrap_or_else(|| "here".to_owned());
    let span = within_line(index, text, chunk.start + first.span.offset(), first.span.len());
    let diagnostic = Diagnostic::error("hyphae::syntax", span, message, label);
    Some(match &first.help {
        Some(help) => diagnostic.help(help.clone()),
        None => diagnostic.help("the language is KDL 2: https://kdl.dev"),
    })
}

/// A span that holds at least one character where possible, ends with its line, and never cuts a character.
fn within_line(index: usize, text: &str, offset: usize, len: usize) -> Span {
    let start = floor_boundary(text, offset.min(text.trim_end().len().saturating_sub(1)));
    let rest = &text[start..];
    let one = rest.chars().next().map_or(0, char::len_utf8);
    let line = rest.find(['\n', '\r']).unwrap_or(rest.len());
    let end = floor_boundary(rest, len.max(one).min(line.max(one)).min(rest.len()));
    Span { source: index, offset: start, len: end }
}

fn floor_boundary(text: &str, mut offset: usize) -> usize {
    offset = offset.min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    offset
}
