//! Takes a KDL node apart: arguments in order, properties by name, children by name. Nothing is ever ignored: what nobody
//! asked for is an error with a suggestion.

use crate::diagnostic::{PROBLEMS_MAX, short, suggest};
use crate::{Diagnostic, Span, Spanned};
use kdl::{KdlEntry, KdlNode, KdlValue};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// What parsing one top-level node works with.
pub(super) struct Cx<'a> {
    /// Position of the source in `Sources`.
    pub(super) source: usize,
    /// The whole source.
    pub(super) text: &'a str,
    /// Where the spans of the KDL nodes count from.
    pub(super) base: usize,
    /// The text from `base` on, as `kdl` saw it: with its comments blanked.
    pub(super) blanked: &'a str,
    /// Everything that is wrong.
    pub(super) out: &'a mut Vec<Diagnostic>,
}

/// A value as it was written.
#[derive(Debug, Clone)]
pub(super) struct Value {
    /// The value without its property name, quotes included.
    pub(super) span: Span,
    /// What it is.
    pub(super) kdl: KdlValue,
}

/// A property: `name=value`.
#[derive(Debug, Clone)]
pub(super) struct Property {
    /// Its name and where that stands.
    pub(super) name: Spanned<String>,
    /// Its value.
    pub(super) value: Value,
    /// Name and value.
    pub(super) span: Span,
}

/// The entries of a node, each to be taken exactly once.
pub(super) struct Fields {
    /// The node's name, for messages.
    node: String,
    /// The node without its children: where something missing is reported.
    pub(super) head: Span,
    args: VecDeque<Value>,
    props: Vec<Property>,
    asked: Vec<&'static str>,
    written: BTreeSet<String>,
}

impl Cx<'_> {
    pub(super) fn push(&mut self, diagnostic: Diagnostic) {
        if self.out.len() < PROBLEMS_MAX {
            self.out.push(diagnostic);
        }
    }

    pub(super) fn error(
        &mut self,
        code: &'static str,
        span: Span,
        message: impl Into<String>,
        label: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.push(Diagnostic::error(code, span, message, label).help(help));
    }

    /// So much is wrong that looking further is of no use.
    pub(super) fn is_full(&self) -> bool {
        self.out.len() >= PROBLEMS_MAX
    }

    fn span(&self, span: miette::SourceSpan) -> Span {
        Span { source: self.source, offset: self.base + span.offset(), len: span.len() }
    }

    /// What was written there.
    pub(super) fn slice(&self, span: Span) -> &str {
        self.text.get(span.offset..span.offset + span.len).unwrap_or("")
    }

    /// The whole node, without the white space and comments behind it that `kdl` counts in.
    pub(super) fn node_span(&self, node: &KdlNode) -> Span {
        let (offset, len) = (node.span().offset(), node.span().len());
        let text = self.blanked.get(offset..offset + len).unwrap_or("");
        Span { len: text.trim_end().trim_end_matches(';').trim_end().len(), ..self.span(node.span()) }
    }

    /// The node's name.
    pub(super) fn name_span(&self, node: &KdlNode) -> Span {
        self.span(node.name().span())
    }

    fn value(&self, entry: &KdlEntry) -> Value {
        let span = self.span(entry.span());
        let len = entry.format().map_or(span.len, |format| format.value_repr.len()).min(span.len);
        Value { span: Span { offset: span.offset + span.len - len, len, ..span }, kdl: entry.value().clone() }
    }

    /// The entries of a node. Reports type annotations and properties given twice.
    pub(super) fn fields(&mut self, node: &KdlNode) -> Fields {
        let name = node.name().value().to_owned();
        let head = self.head_span(node);
        let mut fields = Fields {
            node: name,
            head,
            args: Default::default(),
            props: Vec::new(),
            asked: Vec::new(),
            written: BTreeSet::new(),
        };
        if let Some(ty) = node.ty() {
            self.annotation(self.span(ty.span()));
        }
        let mut written: BTreeMap<&str, Span> = BTreeMap::new();
        for entry in node.entries() {
            let value = self.value(entry);
            if let Some(ty) = entry.ty() {
                self.annotation(self.span(ty.span()));
            }
            let Some(key) = entry.name() else {
                fields.args.push_back(value);
                continue;
            };
            let name = Spanned { value: key.value().to_owned(), span: self.span(key.span()) };
            if let Some(first) = written.get(key.value()) {
                let message = format!("`{}` is given twice", name.value);
                let diagnostic = Diagnostic::error("hyphae::duplicate", name.span, message, "given again here")
                    .other(*first, "first given here")
                    .help("keep one of the two");
                self.push(diagnostic);
                continue;
            }
            written.insert(key.value(), name.span);
            fields.props.push(Property { name, value, span: self.span(entry.span()) });
        }
        fields.written = written.into_keys().map(str::to_owned).collect();
        fields
    }

    fn annotation(&mut self, span: Span) {
        self.error(
            "hyphae::syntax",
            span,
            "type annotations have no meaning here",
            "an annotation",
            "remove it, with its parentheses",
        );
    }

    /// The node from its name to its last entry.
    fn head_span(&self, node: &KdlNode) -> Span {
        let name = self.name_span(node);
        let end = node.entries().last().map_or(name.offset + name.len, |entry| {
            let span = self.span(entry.span());
            span.offset + span.len
        });
        Span { len: end - name.offset, ..name }
    }

    /// The children of a node whose names are known, in order. Reports unknown ones, and those of `single` that come again.
    pub(super) fn children<'n>(&mut self, node: &'n KdlNode, single: &[&str], many: &[&str]) -> Vec<&'n KdlNode> {
        let mut known: Vec<&KdlNode> = Vec::new();
        let mut once: BTreeMap<&str, Span> = BTreeMap::new();
        for child in node.iter_children() {
            if self.is_full() {
                break;
            }
            let name = child.name().value();
            let span = self.name_span(child);
            if !single.contains(&name) && !many.contains(&name) {
                let help = suggest(name, single.iter().chain(many).copied());
                let message = format!("`{}` has no part called `{}`", node.name().value(), short(name));
                self.error("hyphae::unknown_node", span, message, "unknown node", help);
                continue;
            }
            if let Some(first) = once.get(name).copied() {
                let message = format!("`{name}` is given twice");
                let diagnostic = Diagnostic::error("hyphae::duplicate", span, message, "given again here")
                    .other(first, "first given here")
                    .help("keep one of the two");
                self.push(diagnostic);
                continue;
            }
            if single.contains(&name) {
                once.insert(name, span);
            }
            known.push(child);
        }
        known
    }

    /// Reports children of a node that has none.
    pub(super) fn no_children(&mut self, node: &KdlNode) {
        if let Some(child) = node.iter_children().next() {
            let span = self.name_span(child);
            let message = format!("`{}` has no block", node.name().value());
            self.error("hyphae::unknown_node", span, message, "not expected here", "remove the block, with its braces");
        }
    }

    /// Reports whatever nobody has taken.
    pub(super) fn finish(&mut self, fields: Fields) {
        for value in fields.args.iter().take(PROBLEMS_MAX) {
            let help = match fields.asked.as_slice() {
                [] => format!("`{}` takes no further values", fields.node),
                asked => format!("`{}` takes, besides, only properties: {}", fields.node, with_equals(asked)),
            };
            let message = format!("`{}` has a value too many", fields.node);
            self.error("hyphae::unknown_value", value.span, message, "not expected here", help);
        }
        for prop in fields.props.iter().take(PROBLEMS_MAX) {
            let help = match fields.asked.as_slice() {
                [] => format!("`{}` takes no properties", fields.node),
                asked => suggest(&prop.name.value, asked.iter().copied()),
            };
            let message = format!("`{}` has no property called `{}`", fields.node, short(&prop.name.value));
            self.error("hyphae::unknown_property", prop.name.span, message, "unknown property", help);
        }
    }
}

fn with_equals(names: &[&str]) -> String {
    names.iter().map(|name| format!("{name}=")).collect::<Vec<_>>().join(", ")
}

impl Fields {
    /// The next argument, if there is one.
    pub(super) fn arg(&mut self) -> Option<Value> {
        self.args.pop_front()
    }

    /// The next argument; reports when there is none.
    pub(super) fn required_arg(&mut self, cx: &mut Cx<'_>, what: &str, example: &str) -> Option<Value> {
        let arg = self.arg();
        if arg.is_none() {
            let message = format!("`{}` needs {what}", self.node);
            cx.error("hyphae::missing", self.head, message, format!("{what} is missing"), format!("write `{example}`"));
        }
        arg
    }

    /// Whether a property of this name was written, valid or not, taken or not.
    pub(super) fn has(&self, name: &str) -> bool {
        self.written.contains(name)
    }

    /// All arguments that are left.
    pub(super) fn rest_args(&mut self) -> Vec<Value> {
        self.args.drain(..).collect()
    }

    /// The property of this name, if given.
    pub(super) fn prop(&mut self, name: &'static str) -> Option<Value> {
        self.asked.push(name);
        let at = self.props.iter().position(|prop| prop.name.value == name)?;
        Some(self.props.remove(at).value)
    }

    /// The property of this name; reports when it is not given.
    pub(super) fn required_prop(&mut self, cx: &mut Cx<'_>, name: &'static str, example: &str) -> Option<Value> {
        let prop = self.prop(name);
        let misspelt =
            self.props.iter().any(|prop| crate::diagnostic::did_you_mean(&prop.name.value, [name]).is_some());
        if prop.is_none() && !misspelt {
            let message = format!("`{}` needs `{name}=`", self.node);
            cx.error(
                "hyphae::missing",
                self.head,
                message,
                format!("`{name}=` is missing"),
                format!("write `{example}`"),
            );
        }
        prop
    }

    /// All properties that are left.
    pub(super) fn rest_props(&mut self) -> Vec<Property> {
        std::mem::take(&mut self.props)
    }
}
