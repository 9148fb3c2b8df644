//! Where replicas may go: the statements of `place` and `constraint` blocks.

use super::cursor::{Cx, Fields, Property, Value};
use super::value::{COUNT_MAX, name_fault};
use crate::diagnostic::suggest;
use crate::{CountOrPercent, Diagnostic, LabelOp, LabelTest, PlaceKind, PlaceRule, Span, Spanned, VersionOp};
use kdl::{KdlNode, KdlValue};

/// The statements of a constraint; a `place` block also has `tolerate`.
pub(super) const STATEMENTS: [&str; 6] = ["require", "prefer", "spread", "separate", "near", "survive"];

/// The words that test a label.
const OPERATORS: [&str; 9] = ["in", "not-in", "exists", "absent", "<", "<=", "=", ">=", ">"];

/// A statement whose name is one of [`STATEMENTS`].
pub(super) fn statement(cx: &mut Cx<'_>, node: &KdlNode) -> Option<PlaceRule> {
    let span = cx.node_span(node);
    let mut fields = cx.fields(node);
    if node.name().value() != "separate" {
        cx.no_children(node);
    }
    let (kind, weight) = match node.name().value() {
        "require" => (require(cx, &mut fields), None),
        "prefer" => {
            let written = weight(cx, &mut fields);
            let tests = tests(cx, &mut fields, "prefer disk=\"ssd\" weight=5");
            (tests.map(PlaceKind::Prefer), Some(written.unwrap_or(Spanned { value: 1, span })))
        }
        "spread" => (spread(cx, &mut fields), weight(cx, &mut fields)),
        "separate" => (separate(cx, node, &mut fields), weight(cx, &mut fields)),
        "near" => (near(cx, &mut fields), weight(cx, &mut fields)),
        _ => {
            let kind = survive(cx, &mut fields);
            hard_only(cx, &mut fields, "survive");
            (kind, None)
        }
    };
    cx.finish(fields);
    kind.map(|kind| PlaceRule { span, kind, weight })
}

pub(super) fn weight(cx: &mut Cx<'_>, fields: &mut Fields) -> Option<Spanned<u32>> {
    fields.prop("weight").and_then(|value| cx.count(&value, "weight", 1..=COUNT_MAX))
}

fn hard_only(cx: &mut Cx<'_>, fields: &mut Fields, statement: &str) {
    if let Some(value) = fields.prop("weight") {
        let help = match statement {
            "require" => {
                "use `prefer` with this weight for something that may be broken at a cost, or remove `weight=`"
            }
            _ => "remove `weight=`: it is a guarantee, always kept",
        };
        cx.error("hyphae::unknown_property", value.span, format!("`{statement}` has no weight"), "always hard", help);
    }
}

fn require(cx: &mut Cx<'_>, fields: &mut Fields) -> Option<PlaceKind> {
    hard_only(cx, fields, "require");
    tests(cx, fields, "require arch=\"arm64\"").map(PlaceKind::Require)
}

/// `key="value"` any number of times, and one `key operator value…`; all must hold.
fn tests(cx: &mut Cx<'_>, fields: &mut Fields, example: &str) -> Option<Vec<LabelTest>> {
    let mut tests = Vec::new();
    let args = fields.rest_args();
    let props = fields.rest_props();
    if args.is_empty() && props.is_empty() {
        cx.error("hyphae::missing", fields.head, "no label is tested", "nothing to test", format!("write `{example}`"));
        return None;
    }
    let quoted = props.iter().find(|prop| is_operator_like(&prop.name.value));
    if let Some(prop) = quoted {
        unquoted_operator(cx, prop);
        return None;
    }
    if let Some((key, rest)) = args.split_first() {
        tests.extend(worded_test(cx, key, rest));
    }
    for prop in props {
        let key = cx.label_key(prop.name);
        if let (Some(key), Some(value)) = (key, cx.label_value(&prop.value)) {
            tests.push(LabelTest { key, op: LabelOp::In(vec![value]) });
        }
    }
    (!tests.is_empty()).then_some(tests)
}

fn is_operator_like(name: &str) -> bool {
    matches!(name, "<" | ">" | "!" | "~" | "=")
}

/// `kernel >= "6.1"`: KDL reads `>` as the name of a property.
fn unquoted_operator(cx: &mut Cx<'_>, prop: &Property) {
    let value = cx.slice(prop.value.span).to_owned();
    let operator = format!("{}=", prop.name.value);
    let help = match OPERATORS.contains(&operator.as_str()) {
        true => format!("write `\"{operator}\" {value}`"),
        false => format!("known here: {}", OPERATORS.join(", ")),
    };
    cx.error("hyphae::syntax", prop.span, "an operator must be in quotes", "read as a property", help);
}

/// `zone in a b`, `gpu exists`, `kernel ">=" "6.1"`.
fn worded_test(cx: &mut Cx<'_>, key: &Value, rest: &[Value]) -> Option<LabelTest> {
    let key_text = cx.text(key, "the key of a label")?;
    let key_text = cx.label_key(key_text)?;
    let Some((operator, values)) = rest.split_first() else {
        let help = format!(
            "write `{0}=\"value\"`, `{0} in \"a\" \"b\"`, `{0} exists`, or `{0} \">=\" \"6.1\"`",
            key_text.value
        );
        cx.error(
            "hyphae::missing",
            key.span,
            format!("what must `{}` be?", key_text.value),
            "tested against nothing",
            help,
        );
        return None;
    };
    let name = operator.kdl.as_string().unwrap_or_default();
    let version = match name {
        "<" => Some(VersionOp::Less),
        "<=" => Some(VersionOp::AtMost),
        "=" | "==" => Some(VersionOp::Equal),
        ">=" => Some(VersionOp::AtLeast),
        ">" => Some(VersionOp::Greater),
        _ => None,
    };
    let op = match name {
        "in" | "not-in" => {
            let values = at_least_one(cx, operator, values)?;
            let values: Vec<_> = values.iter().filter_map(|value| cx.label_value(value)).collect();
            if name == "in" { LabelOp::In(values) } else { LabelOp::NotIn(values) }
        }
        "exists" | "absent" => {
            if let Some(extra) = values.first() {
                let help = format!("`{name}` takes none; to test for values write `in`");
                cx.error(
                    "hyphae::unknown_value",
                    extra.span,
                    format!("`{name}` has a value too many"),
                    "not expected here",
                    help,
                );
                return None;
            }
            if name == "exists" { LabelOp::Exists } else { LabelOp::Absent }
        }
        _ if version.is_some() => LabelOp::Version(version?, version_text(cx, operator, values)?),
        _ => {
            unknown_operator(cx, operator, values);
            return None;
        }
    };
    Some(LabelTest { key: key_text, op })
}

fn unknown_operator(cx: &mut Cx<'_>, operator: &Value, values: &[Value]) {
    let name = operator.kdl.as_string().unwrap_or_default().to_owned();
    let next = values.first().and_then(|value| value.kdl.as_string()).unwrap_or_default();
    let help = match (name.as_str(), next) {
        ("not", "in") => "did you mean `not-in`, in one word?".to_owned(),
        ("is" | "equals", _) => "for one value write `key=\"value\"`".to_owned(),
        ("!=", _) => "did you mean `not-in`?".to_owned(),
        _ => suggest(&name, OPERATORS),
    };
    cx.error("hyphae::unknown_operator", operator.span, format!("`{name}` tests nothing"), "unknown operator", help);
}

fn at_least_one<'v>(cx: &mut Cx<'_>, operator: &Value, values: &'v [Value]) -> Option<&'v [Value]> {
    if values.is_empty() {
        let help = "name at least one value: `zone in \"a\" \"b\"`";
        cx.error("hyphae::missing", operator.span, "there is nothing to compare with", "no value follows", help);
        return None;
    }
    Some(values)
}

/// Exactly one dotted version.
fn version_text(cx: &mut Cx<'_>, operator: &Value, values: &[Value]) -> Option<Spanned<String>> {
    let [value] = values else {
        let (span, message) = match values.get(1) {
            Some(extra) => (extra.span, "a version is compared with one other"),
            None => (operator.span, "there is nothing to compare with"),
        };
        cx.error(
            "hyphae::missing",
            span,
            message,
            "exactly one version must follow",
            "for example `kernel \">=\" \"6.1\"`",
        );
        return None;
    };
    let KdlValue::String(text) = &value.kdl else {
        let written = cx.slice(value.span).to_owned();
        let help = format!("put it in quotes: \"{written}\"; 6.10 as a number would be the same as 6.1");
        cx.error("hyphae::bad_value", value.span, "a version must be a text", "a number", help);
        return None;
    };
    if crate::labels::version(text).is_none_or(|numbers| numbers.1 != text.len()) {
        let help = "numbers joined by dots, as \"6.1\"";
        cx.error("hyphae::bad_value", value.span, "this is not a version", "not a dotted version", help);
        return None;
    }
    Some(Spanned { value: text.clone(), span: value.span })
}

/// The key of a label that divides the nodes into domains.
pub(super) fn topology(cx: &mut Cx<'_>, value: &Value) -> Option<Spanned<String>> {
    let text = cx.full_text(value, "the label of the domains")?;
    cx.label_key(text)
}

fn required_topology(
    cx: &mut Cx<'_>,
    fields: &mut Fields,
    name: &'static str,
    example: &str,
) -> Option<Spanned<String>> {
    let value = fields.required_prop(cx, name, example)?;
    topology(cx, &value)
}

fn spread(cx: &mut Cx<'_>, fields: &mut Fields) -> Option<PlaceKind> {
    let over = required_topology(cx, fields, "over", "spread over=\"zone\"");
    let max_skew = fields.prop("max-skew").and_then(|value| cx.count(&value, "max-skew", 0..=COUNT_MAX));
    Some(PlaceKind::Spread { over: over?, max_skew })
}

fn separate(cx: &mut Cx<'_>, node: &KdlNode, fields: &mut Fields) -> Option<PlaceKind> {
    let within = required_topology(cx, fields, "within", "separate within=\"node\"");
    let from = fields.prop("from");
    let from_given = from.is_some();
    let from = from.and_then(|value| workload_name(cx, &value));
    let limit = separate_limit(cx, node, fields);
    match from_given {
        false => Some(PlaceKind::SeparateWithin { within: within?, limit }),
        true => {
            if let Some(limit) = limit {
                let help =
                    "`from=` keeps two workloads apart altogether; bound the replicas of one in a statement of its own";
                cx.error(
                    "hyphae::contradiction",
                    limit.span,
                    "`limit` and `from=` exclude each other",
                    "has no meaning here",
                    help,
                );
            }
            Some(PlaceKind::SeparateFrom { from: from?, within: within? })
        }
    }
}

/// `limit=2`, or `{ limit 2 }`.
fn separate_limit(cx: &mut Cx<'_>, node: &KdlNode, fields: &mut Fields) -> Option<Spanned<u32>> {
    let property = fields.prop("limit");
    let mut limit = property.as_ref().and_then(|value| cx.count(value, "limit", 1..=COUNT_MAX));
    for child in cx.children(node, &["limit"], &[]) {
        let mut own = cx.fields(child);
        cx.no_children(child);
        let value = own.required_arg(cx, "a number", "limit 2");
        if let (Some(first), Some(again)) = (&property, &value) {
            let diagnostic =
                Diagnostic::error("hyphae::duplicate", again.span, "`limit` is given twice", "given again here")
                    .other(first.span, "first given here")
                    .help("keep one of the two");
            cx.push(diagnostic);
        }
        limit = value.and_then(|value| cx.count(&value, "limit", 1..=COUNT_MAX)).or(limit);
        cx.finish(own);
    }
    limit
}

fn near(cx: &mut Cx<'_>, fields: &mut Fields) -> Option<PlaceKind> {
    let to = fields.required_arg(cx, "the name of a workload", "near \"cache\" within=\"zone\"");
    let to = to.and_then(|value| workload_name(cx, &value));
    let within = required_topology(cx, fields, "within", "near \"cache\" within=\"zone\"");
    Some(PlaceKind::Near { to: to?, within: within? })
}

fn survive(cx: &mut Cx<'_>, fields: &mut Fields) -> Option<PlaceKind> {
    let example = "survive loss-of=\"zone\" keep=4";
    let loss_of = required_topology(cx, fields, "loss-of", example);
    let keep = fields.required_prop(cx, "keep", example);
    let keep = keep.and_then(|value| cx.count_or_percent(&value, "keep"))?;
    if matches!(keep.value, CountOrPercent::Count(0) | CountOrPercent::Percent(0)) {
        let help = "say how many must remain, as `keep=4` or `keep=\"50%\"`, or leave the statement out";
        cx.error("hyphae::bad_value", keep.span, "keeping none guarantees nothing", "zero", help);
        return None;
    }
    Some(PlaceKind::Survive { loss_of: loss_of?, keep })
}

/// `"cache"` or `"payments/cache"`, as written.
pub(super) fn workload_name(cx: &mut Cx<'_>, value: &Value) -> Option<Spanned<String>> {
    let text = cx.text(value, "the name of a workload")?;
    let parts: Vec<&str> = text.split('/').collect();
    let fault = match parts.as_slice() {
        [name] => name_fault(name, false),
        [team, name] => name_fault(team, false).or(name_fault(name, false)),
        _ => Some("more than one `/`"),
    };
    if let Some(fault) = fault {
        let help = "write \"cache\" for a workload of one's own team, \"payments/cache\" for another team's";
        cx.error("hyphae::bad_value", value.span, "this is not the name of a workload", fault, help);
        return None;
    }
    Some(text)
}

/// `place { … }`: its statements, and what it tolerates.
pub(super) fn place(cx: &mut Cx<'_>, node: &KdlNode) -> (Vec<PlaceRule>, Vec<Spanned<String>>) {
    let fields = cx.fields(node);
    cx.finish(fields);
    let mut known = STATEMENTS.to_vec();
    known.push("tolerate");
    let (mut rules, mut tolerates) = (Vec::new(), Vec::new());
    for child in cx.children(node, &[], &known) {
        if child.name().value() == "tolerate" {
            tolerates.extend(super::inventory::taint_names(cx, child));
            continue;
        }
        rules.extend(statement(cx, child));
    }
    super::inventory::unique(cx, &tolerates, "toleration");
    (rules, tolerates)
}

/// A statement that cannot hold for so many replicas.
pub(super) fn keep_fits(cx: &mut Cx<'_>, rules: &[PlaceRule], replicas: Option<(u32, Span)>) {
    let Some((wanted, at)) = replicas.filter(|(wanted, _)| *wanted > 0) else { return };
    for rule in rules {
        let PlaceKind::Survive { loss_of, keep } = &rule.kind else { continue };
        let kept = keep.value.of(wanted);
        if kept >= wanted {
            let domain = &loss_of.value;
            let message = format!("{kept} of {wanted} replicas cannot remain when any {domain} may be lost");
            let help = match wanted {
                1 => format!("one replica cannot survive the loss of its {domain}: raise the replicas"),
                _ => {
                    format!("keep at most {}, or raise the replicas: some {domain} must hold at least one", wanted - 1)
                }
            };
            let diagnostic = Diagnostic::error("hyphae::contradiction", keep.span, message, "all of them, or more")
                .other(at, format!("{wanted} wanted"))
                .help(help);
            cx.push(diagnostic);
        }
    }
}
