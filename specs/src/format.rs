//! `hyphae fmt`: one way to lay out a spec. Works on tokens, so that comments, quotes and numbers stay as they were written; only white
//! space changes: four spaces for each level, one node on a line, at most one blank line between. A block that stood on one line stays
//! on it while it fits.

use crate::syntax::{self, Token, TokenKind};
use crate::{Diagnostic, Source, Span};
use kdl::{KdlDocument, KdlNode};

const INDENT: &str = "    ";
/// A block on one line may reach so far.
const LINE_CHARS_MAX: usize = 110;

/// Formats a spec. Formatting what is formatted changes nothing, and no formatting changes what a spec means.
///
/// # Errors
/// The first syntax error (in source 0), when the text is not KDL.
pub fn format(text: &str) -> Result<String, Diagnostic> {
    let before = nodes(text)?;
    let tokens = syntax::tokens(text);
    let formatted = Printer::new(text, &tokens).print();
    let same = nodes(&formatted).is_ok_and(|after| same_nodes(before.iter().flatten(), after.iter().flatten()));
    if !same {
        let start = Span { source: 0, offset: 0, len: 0 };
        let message = "formatting would change what this says";
        return Err(Diagnostic::error("hyphae::format", start, message, "left as it is")
            .help("this is a fault of the formatter: please report it together with the file"));
    }
    Ok(formatted)
}

/// The nodes of a text, stretch by stretch, or its first syntax error.
fn nodes(text: &str) -> Result<Vec<Vec<KdlNode>>, Diagnostic> {
    let mut problems = Vec::new();
    let (parsed, _) = syntax::read(0, &Source::file("", text), &[], &mut problems);
    problems.sort_by_key(|problem| problem.span);
    match problems.into_iter().next() {
        Some(first) => Err(first),
        None => Ok(parsed.into_iter().map(|stretch| stretch.nodes).collect()),
    }
}

fn same_nodes<'n>(before: impl Iterator<Item = &'n KdlNode>, mut after: impl Iterator<Item = &'n KdlNode>) -> bool {
    let mut before = before;
    let all = before.by_ref().all(|node| after.next().is_some_and(|other| same_node(node, other)));
    all && after.next().is_none()
}

fn same_node(one: &KdlNode, other: &KdlNode) -> bool {
    let type_name = |ty: Option<&kdl::KdlIdentifier>| ty.map(|ty| ty.value().to_owned());
    let entries = one.entries().len() == other.entries().len()
        && one.entries().iter().zip(other.entries()).all(|(a, b)| {
            a.value() == b.value()
                && type_name(a.name()) == type_name(b.name())
                && type_name(a.ty()) == type_name(b.ty())
        });
    let children = |node: &'_ KdlNode| node.children().map(KdlDocument::nodes).unwrap_or_default().to_vec();
    one.name().value() == other.name().value()
        && type_name(one.ty()) == type_name(other.ty())
        && entries
        && same_nodes(children(one).iter(), children(other).iter())
}

/// What stands before the next token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    /// Nothing: the tokens touch.
    Nothing,
    /// A space.
    Space,
    /// A line break; only a comment may still come on the line.
    Break,
}

struct Printer<'t> {
    text: &'t str,
    tokens: &'t [Token],
    out: String,
    /// The line being written, without indentation.
    line: String,
    /// How deep that line is indented.
    line_depth: usize,
    /// How many blocks are open.
    depth: usize,
    due: Due,
    /// A blank line stands before the next line.
    blank: bool,
    /// The line being written opens a block; the line before did.
    opens: (bool, bool),
    /// The line before ended in a backslash.
    continued: bool,
}

impl<'t> Printer<'t> {
    fn new(text: &'t str, tokens: &'t [Token]) -> Self {
        Self {
            text,
            tokens,
            out: String::with_capacity(text.len()),
            line: String::new(),
            line_depth: 0,
            depth: 0,
            due: Due::Nothing,
            blank: false,
            opens: (false, false),
            continued: false,
        }
    }

    fn print(mut self) -> String {
        let mut at = 0;
        while at < self.tokens.len() {
            at = self.token(at);
        }
        self.end_line();
        self.out
    }

    /// Writes the token at `at`; returns which comes next.
    fn token(&mut self, at: usize) -> usize {
        let token = self.tokens[at];
        let text = token.text(self.text);
        match token.kind {
            TokenKind::ByteOrderMark | TokenKind::Space => {}
            TokenKind::Newline => self.newline(),
            TokenKind::LineComment => self.line_comment(at),
            TokenKind::Semicolon => self.due = Due::Break,
            TokenKind::Continuation => {
                let comment = text.find("//").map_or("", |at| text[at..].trim_end());
                self.write(format!("\\ {comment}").trim_end());
                self.end_line();
                self.continued = true;
            }
            TokenKind::Equals | TokenKind::TypeClose => {
                self.line.push_str(text);
                self.due = Due::Nothing;
            }
            TokenKind::TypeOpen | TokenKind::Slashdash => {
                self.write(text);
                self.due = Due::Nothing;
            }
            TokenKind::Open => match self.one_line(at) {
                Some((block, next)) => {
                    self.write(&block);
                    return next;
                }
                None => {
                    self.write("{");
                    self.opens.0 = true;
                    self.depth += 1;
                    self.due = Due::Break;
                }
            },
            TokenKind::Close => {
                self.end_line();
                self.blank = false;
                self.depth = self.depth.saturating_sub(1);
                self.write("}");
            }
            TokenKind::Word | TokenKind::Text | TokenKind::BlockComment | TokenKind::Bad(_) => self.write(text),
        }
        at + 1
    }

    /// Writes a piece behind what is due; a space is due next.
    fn write(&mut self, piece: &str) {
        if self.due == Due::Break {
            self.end_line();
        }
        if self.line.is_empty() {
            self.line_depth = self.depth + usize::from(self.continued);
        } else if self.due == Due::Space {
            self.line.push(' ');
        }
        self.line.push_str(piece);
        self.due = Due::Space;
    }

    /// Behind something on its line, a comment keeps its distance.
    fn line_comment(&mut self, at: usize) {
        let comment = self.tokens[at].text(self.text).trim_end();
        if self.line.is_empty() {
            self.write(comment);
        } else {
            let before = at.checked_sub(1).map(|before| self.tokens[before]);
            let space =
                before.filter(|token| token.kind == TokenKind::Space).map_or(" ", |space| space.text(self.text));
            self.line.extend(std::iter::repeat_n(' ', space.chars().count()));
            self.line.push_str(comment);
        }
        self.due = Due::Break;
    }

    fn newline(&mut self) {
        if !self.line.is_empty() {
            self.end_line();
        } else if self.continued {
            // The backslash has joined the line before with an empty one, which ends the node.
            self.out.push('\n');
            self.continued = false;
        } else {
            self.blank = true;
        }
    }

    fn end_line(&mut self) {
        self.due = Due::Nothing;
        if self.line.is_empty() {
            return;
        }
        if self.blank && !self.out.is_empty() && !self.opens.1 {
            self.out.push('\n');
        }
        self.out.extend(std::iter::repeat_n(INDENT, self.line_depth));
        self.out.push_str(self.line.trim_end());
        self.out.push('\n');
        self.line.clear();
        self.blank = false;
        self.continued = false;
        self.opens = (false, self.opens.0);
    }

    /// The block that opens at `at` on one line, and which token follows it; nothing if it stands on several, or does not fit.
    fn one_line(&self, at: usize) -> Option<(String, usize)> {
        let room = LINE_CHARS_MAX.checked_sub(self.line_depth * INDENT.len() + self.line.chars().count() + 1)?;
        let (mut block, mut depth, mut due) = (String::new(), 0, Due::Nothing);
        for (next, token) in self.tokens.iter().enumerate().skip(at) {
            let text = token.text(self.text);
            let touches = matches!(token.kind, TokenKind::Equals | TokenKind::TypeClose | TokenKind::Semicolon);
            match token.kind {
                TokenKind::Space => continue,
                TokenKind::Newline | TokenKind::LineComment | TokenKind::Continuation | TokenKind::ByteOrderMark => {
                    return None;
                }
                _ if text.contains(syntax::is_newline) || block.len() > room * 4 => return None,
                TokenKind::Open => depth += 1,
                TokenKind::Close => {
                    depth -= 1;
                    block.truncate(block.trim_end_matches([';', ' ']).len());
                    due = if block.ends_with('{') { Due::Nothing } else { Due::Space };
                }
                TokenKind::Semicolon if block.ends_with([';', '{']) => continue,
                _ => {}
            }
            if due == Due::Space && !touches {
                block.push(' ');
            }
            block.push_str(text);
            due = match token.kind {
                TokenKind::Equals | TokenKind::TypeOpen | TokenKind::TypeClose | TokenKind::Slashdash => Due::Nothing,
                _ => Due::Space,
            };
            if depth == 0 {
                return (block.chars().count() <= room).then_some((block, next + 1));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::format;

    #[track_caller]
    fn becomes(text: &str, formatted: &str) {
        assert_eq!(format(text).as_deref(), Ok(formatted));
        assert_eq!(format(formatted).as_deref(), Ok(formatted), "formatting again changes something");
    }

    #[test]
    fn nodes_are_indented_and_stand_on_lines_of_their_own() {
        becomes(
            "service   \"web\"  {\nimage \"a\";replicas   3\n  place {\n spread over = \"zone\" }\n}",
            "service \"web\" {\n    image \"a\"\n    replicas 3\n    place {\n        spread over=\"zone\"\n    }\n}\n",
        );
    }

    #[test]
    fn a_block_on_one_line_stays_on_it_while_it_fits() {
        becomes("team \"a\" {quota cpu=1;}", "team \"a\" { quota cpu=1 }\n");
        becomes("team \"a\" { }", "team \"a\" {}\n");
        let long = format!("team \"a\" {{ quota cpu=1 {} }}", "x=1 ".repeat(30).trim_end());
        becomes(&long, &format!("team \"a\" {{\n    quota cpu=1 {}\n}}\n", "x=1 ".repeat(30).trim_end()));
    }

    #[test]
    fn comments_stay_where_they_are() {
        becomes(
            "// head\r\n\n\n\nservice \"a\" {   // why\n\n // own line\n  image \"a\"    // aligned\n/* block */ replicas 2; // end\n\n}\n/- job \"x\"\n",
            "// head\n\nservice \"a\" {   // why\n    // own line\n    image \"a\"    // aligned\n    /* block */ replicas 2 // end\n}\n/-job \"x\"\n",
        );
    }

    #[test]
    fn texts_and_numbers_stay_as_they_were_written() {
        becomes(
            "a 0.50 1_000 #\"raw \"x\"\"# \"\"\"\n   two\n     lines\n   \"\"\"\nb \\  // on\n  2\n",
            "a 0.50 1_000 #\"raw \"x\"\"# \"\"\"\n   two\n     lines\n   \"\"\"\nb \\ // on\n    2\n",
        );
    }

    #[test]
    fn what_is_not_kdl_is_refused_with_its_place() {
        let error = format("service \"web {\n}").unwrap_err();
        assert_eq!(error.message, "this text is never closed");
        assert_eq!((error.span.offset, error.span.len), (8, 6));
    }

    #[test]
    fn an_empty_text_stays_empty() {
        becomes(" \n\n", "");
    }
}
