//! What there is to run on, and who owns what: `node`, `team`, and the amounts all of them speak of. Machines that can be had: `pool`.

use super::cursor::{Cx, Fields, Value};
use super::value::{COUNT_MAX, Zero};
use crate::diagnostic::did_you_mean;
use crate::{Labels, Node, Resources, Span, Spanned, Team};
use kdl::{KdlNode, KdlValue};
use std::collections::BTreeMap;

/// Labels every node has by itself.
pub(super) const IMPLIED_NODE_LABELS: [&str; 2] = ["node", "pool"];

/// `node "n1" pool="general" price=0.0725 { capacity …; devices …; labels …; taint … }`
pub(super) fn node(cx: &mut Cx<'_>, node: &KdlNode) -> Option<Node> {
    let mut fields = cx.fields(node);
    let name = fields.required_arg(cx, "a name", "node \"n1\" { … }");
    let name = name.and_then(|value| cx.host_name(&value, "the name of a node"));
    let pool = fields.prop("pool").and_then(|value| cx.name(&value, "the name of a pool"));
    let price = fields.prop("price").and_then(|value| cx.price(&value, "the price"));
    let head = fields.head;
    cx.finish(fields);
    let mut capacity = None;
    let (mut own_labels, mut taints) = (Labels::new(), Vec::new());
    let mut devices = BTreeMap::new();
    for child in cx.children(node, &["capacity", "devices"], &["labels", "taint"]) {
        match child.name().value() {
            "capacity" => capacity = Some(machine_capacity(cx, child)),
            "devices" => devices = super::device::devices(cx, child),
            "taint" => taints.extend(taint_names(cx, child)),
            _ => labels(cx, child, &mut own_labels, &IMPLIED_NODE_LABELS),
        }
    }
    if capacity.is_none() {
        let help = "write `capacity cpu=4 memory=\"16GiB\"` in its block";
        cx.error("hyphae::missing", head, "a node needs a `capacity`", "has no capacity", help);
    }
    unique(cx, &taints, "taint");
    let capacity = capacity.unwrap_or_default();
    Some(Node { name: name?, pool, price, capacity, devices, labels: own_labels, taints })
}

/// A capacity has at least cpu and memory.
fn machine_capacity(cx: &mut Cx<'_>, node: &KdlNode) -> Resources {
    let mut fields = cx.fields(node);
    cx.no_children(node);
    let capacity = amounts(cx, &mut fields, &Amounts { zero: Zero::Impossible, replicas: true });
    require_cpu_and_memory(cx, &fields);
    cx.finish(fields);
    capacity
}

pub(super) fn require_cpu_and_memory(cx: &mut Cx<'_>, fields: &Fields) {
    for (name, example) in [("cpu", "cpu=4"), ("memory", "memory=\"16GiB\"")] {
        if !fields.has(name) {
            let message = format!("a machine needs `{name}=`");
            cx.error(
                "hyphae::missing",
                fields.head,
                message,
                format!("`{name}=` is missing"),
                format!("add `{example}`"),
            );
        }
    }
}

/// `min=3 max=40`, of which either may be missing and none may contradict the other.
pub(super) fn bounds(cx: &mut Cx<'_>, node: &KdlNode) -> (Option<Spanned<u32>>, Option<Spanned<u32>>) {
    let mut fields = cx.fields(node);
    let min = fields.prop("min").and_then(|value| cx.count(&value, "min", 0..=COUNT_MAX));
    let max = fields.prop("max").and_then(|value| cx.count(&value, "max", 0..=COUNT_MAX));
    cx.finish(fields);
    if let (Some(min), Some(max)) = (&min, &max)
        && min.value > max.value
    {
        let label = format!("more than max={}", max.value);
        cx.error("hyphae::contradiction", min.span, "min is greater than max", label, "exchange the two");
    }
    (min, max)
}

/// `team "storefront" { quota cpu=64 memory="256GiB" replicas=200 }`
pub(super) fn team(cx: &mut Cx<'_>, node: &KdlNode) -> Option<Team> {
    let mut fields = cx.fields(node);
    let name = fields.required_arg(cx, "a name", "team \"storefront\" { … }");
    let name = name.and_then(|value| cx.name(&value, "the name of a team"));
    cx.finish(fields);
    let mut quota = None;
    for child in cx.children(node, &["quota"], &[]) {
        let mut fields = cx.fields(child);
        cx.no_children(child);
        let amounts = amounts(cx, &mut fields, &Amounts { zero: Zero::Allowed, replicas: true });
        if amounts == Resources::default() && child.entries().is_empty() {
            let help = "write `quota cpu=64 memory=\"256GiB\" replicas=200`, or any of them; leave it out for no quota";
            cx.error("hyphae::missing", fields.head, "this quota bounds nothing", "no amounts", help);
        }
        cx.finish(fields);
        quota = Some(Spanned { value: amounts, span: cx.node_span(child) });
    }
    Some(Team { name: name?, quota })
}

/// Which amounts are allowed where.
pub(super) struct Amounts {
    pub(super) zero: Zero,
    /// `replicas=` is an amount here.
    pub(super) replicas: bool,
}

/// Spellings of the built-in resources that would otherwise pass for named extras.
const MISNOMERS: [(&str, &str); 12] = [
    ("cpus", "cpu"),
    ("core", "cpu"),
    ("cores", "cpu"),
    ("vcpu", "cpu"),
    ("vcpus", "cpu"),
    ("millicores", "cpu"),
    ("mem", "memory"),
    ("ram", "memory"),
    ("storage", "disk"),
    ("disks", "disk"),
    ("replica", "replicas"),
    ("pods", "replicas"),
];

/// Amounts of resources from properties; whatever is not built in is a named extra.
pub(super) fn amounts(cx: &mut Cx<'_>, fields: &mut Fields, allowed: &Amounts) -> Resources {
    let low = if allowed.zero == Zero::Allowed { 0 } else { 1 };
    let mut resources = Resources {
        cpu: fields.prop("cpu").and_then(|value| cx.cpu(&value, allowed.zero)),
        memory: fields.prop("memory").and_then(|value| cx.bytes(&value, "memory", allowed.zero)),
        disk: fields.prop("disk").and_then(|value| cx.bytes(&value, "disk", allowed.zero)),
        ..Resources::default()
    };
    if let Some(value) = fields.prop("replicas") {
        match allowed.replicas {
            true => resources.replicas = cx.whole(&value, "replicas", low..=COUNT_MAX).map(as_u64),
            false => {
                let help = "every replica counts as one; how many there are is said by a line of its own: `replicas 3`";
                cx.error("hyphae::unknown_property", value.span, "a replica cannot ask for replicas", "not here", help);
            }
        }
    }
    for prop in fields.rest_props() {
        let key = prop.name.value.as_str();
        if let Some(meant) = misnomer(key, &prop.value.kdl) {
            let help = format!(
                "did you mean `{meant}=`? Any other name is an extra resource and takes a whole number, as `gpu=2`"
            );
            let message = format!("there is no resource called `{key}`");
            cx.error("hyphae::unknown_property", prop.name.span, message, "unknown resource", help);
            continue;
        }
        let key_value = Value { span: prop.name.span, kdl: KdlValue::String(key.to_owned()) };
        let key = cx.name(&key_value, "the name of a resource");
        let amount = cx.whole(&prop.value, &format!("`{}`", prop.name.value), low..=1_000_000_000_000).map(as_u64);
        if let (Some(key), Some(amount)) = (key, amount) {
            resources.extras.insert(key.value, amount);
        }
    }
    resources
}

fn as_u64(number: Spanned<i128>) -> Spanned<u64> {
    Spanned { value: number.value.unsigned_abs() as u64, span: number.span }
}

/// The built-in resource a name was probably meant to be.
fn misnomer(key: &str, value: &KdlValue) -> Option<&'static str> {
    let lower = key.to_lowercase();
    let listed = MISNOMERS.iter().find(|(wrong, _)| *wrong == lower).map(|(_, meant)| *meant);
    let amount_with_unit = matches!(value, KdlValue::String(_));
    listed.or_else(|| match lower.as_str() {
        "gpu" | "gpus" | "tpu" | "npu" | "fpu" => None,
        "cpu" | "memory" | "disk" | "replicas" => did_you_mean(&lower, ["cpu", "memory", "disk", "replicas"]),
        _ if amount_with_unit => Some(did_you_mean(&lower, ["memory", "disk"]).unwrap_or("memory")),
        _ => did_you_mean(&lower, ["memory", "replicas", "disk"]),
    })
}

/// `labels zone="a" rack="r1"`: adds to what earlier `labels` nodes said.
pub(super) fn labels(cx: &mut Cx<'_>, node: &KdlNode, into: &mut Labels, implied: &[&str]) {
    let mut fields = cx.fields(node);
    cx.no_children(node);
    let props = fields.rest_props();
    if props.is_empty() && node.entries().is_empty() {
        let help = "write `labels tier=\"frontend\"`, or leave it out";
        cx.error("hyphae::missing", fields.head, "these labels say nothing", "no labels", help);
    }
    cx.finish(fields);
    for prop in props {
        let key = cx.label_key(prop.name);
        let value = cx.label_value(&prop.value);
        let (Some(key), Some(value)) = (key, value) else { continue };
        if implied.contains(&key.value.as_str()) {
            let message = format!("the label `{}` is there by itself", key.value);
            cx.error(
                "hyphae::duplicate",
                key.span,
                message,
                "cannot be set",
                "remove it; it can be tested all the same",
            );
            continue;
        }
        match into.get(&key.value) {
            Some(first) => duplicate(cx, "label", &key, first.span),
            None => {
                into.insert(key.value, value);
            }
        }
    }
}

/// `taint "gpu-only"`, `tolerate "gpu-only" "spot"`.
pub(super) fn taint_names(cx: &mut Cx<'_>, node: &KdlNode) -> Vec<Spanned<String>> {
    let example = format!("{} \"gpu-only\"", node.name().value());
    let mut names = Vec::new();
    let mut fields = cx.fields(node);
    cx.no_children(node);
    let first = fields.required_arg(cx, "a taint", &example);
    for value in first.into_iter().chain(fields.rest_args()) {
        if let Some(name) = cx.name(&value, "the name of a taint") {
            names.push(name);
        }
    }
    cx.finish(fields);
    names
}

/// One or more texts as arguments.
pub(super) fn texts(cx: &mut Cx<'_>, node: &KdlNode, what: &str, example: &str) -> Vec<Spanned<String>> {
    let mut fields = cx.fields(node);
    cx.no_children(node);
    let first = fields.required_arg(cx, what, example);
    let values: Vec<Value> = first.into_iter().chain(fields.rest_args()).collect();
    cx.finish(fields);
    values.iter().filter_map(|value| cx.text(value, what)).collect()
}

/// Reports each name that is there already.
pub(super) fn unique<'n>(cx: &mut Cx<'_>, names: impl IntoIterator<Item = &'n Spanned<String>>, what: &str) {
    let mut seen: BTreeMap<&str, Span> = BTreeMap::new();
    for name in names {
        match seen.get(name.value.as_str()) {
            Some(first) => duplicate(cx, what, name, *first),
            None => drop(seen.insert(&name.value, name.span)),
        }
    }
}

/// Reports a second thing of the same name.
fn duplicate(cx: &mut Cx<'_>, what: &str, name: &Spanned<String>, first: Span) {
    let message = format!("the {what} \"{}\" is given twice", name.value);
    let diagnostic = crate::Diagnostic::error("hyphae::duplicate", name.span, message, "given again here")
        .other(first, "first given here")
        .help("keep one of the two, or rename one");
    cx.push(diagnostic);
}
