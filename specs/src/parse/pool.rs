//! Machines that can be had, and what is asked of workloads now: `pool`, `load`.

use super::cursor::{Cx, Fields};
use super::inventory::{Amounts, IMPLIED_NODE_LABELS, amounts, bounds, labels, require_cpu_and_memory, texts, unique};
use super::place::workload_name;
use super::value::Zero;
use crate::{Diagnostic, Instance, Labels, Load, Pool, Spanned};
use kdl::KdlNode;

/// `pool "general" { instance …; zones …; count …; labels … }`
pub(super) fn pool(cx: &mut Cx<'_>, node: &KdlNode) -> Option<Pool> {
    let mut fields = cx.fields(node);
    let name = fields.required_arg(cx, "a name", "pool \"general\" { … }");
    let name = name.and_then(|value| cx.name(&value, "the name of a pool"));
    let head = fields.head;
    cx.finish(fields);
    let (mut instances, mut zones) = (Vec::new(), Vec::new());
    let (mut min, mut max, mut count, mut own_labels) = (None, None, None, Labels::new());
    let children = cx.children(node, &["zones", "count"], &["instance", "labels"]);
    for child in &children {
        match child.name().value() {
            "instance" => instances.extend(instance(cx, child)),
            "zones" => zones = texts(cx, child, "a zone", "zones \"a\" \"b\""),
            "count" => {
                count = Some(cx.node_span(child));
                (min, max) = bounds(cx, child);
            }
            _ => labels(cx, child, &mut own_labels, &IMPLIED_NODE_LABELS),
        }
    }
    if !children.iter().any(|child| child.name().value() == "instance") {
        let help = "write `instance \"c7g.large\" cpu=2 memory=\"4GiB\" price=0.0725` in its block";
        cx.error("hyphae::missing", head, "a pool needs an `instance`", "nothing can be had", help);
    }
    unique(cx, instances.iter().map(|one| &one.name), "instance");
    unique(cx, &zones, "zone");
    zones_are_values(cx, &zones, &own_labels);
    Some(Pool { name: name?, instances, zones, min, max, count, labels: own_labels })
}

/// A zone becomes the label `zone` of a machine; nobody else may set it then.
fn zones_are_values(cx: &mut Cx<'_>, zones: &[Spanned<String>], labels: &Labels) {
    for zone in zones.iter().filter(|zone| zone.trim().is_empty()) {
        let help = "write the zone's name, or leave `zones` out";
        cx.error("hyphae::bad_value", zone.span, "a zone needs a name", "nothing in here", help);
    }
    if let (Some(first), Some(label)) = (zones.first(), labels.get("zone")) {
        let message = "the label `zone` of these machines is given by `zones`";
        let diagnostic = Diagnostic::error("hyphae::contradiction", label.span, message, "given again here")
            .other(first.span, "the zones are these")
            .help("keep one of the two");
        cx.push(diagnostic);
    }
}

/// `instance "t4g.large" cpu=2 memory="8GiB" price=0.067 burst-baseline=0.3`
fn instance(cx: &mut Cx<'_>, node: &KdlNode) -> Option<Instance> {
    let mut fields = cx.fields(node);
    cx.no_children(node);
    let name = fields.required_arg(cx, "a type", "instance \"c7g.large\" cpu=2 memory=\"4GiB\" price=0.0725");
    let name = name.and_then(|value| cx.full_text(&value, "the type of an instance"));
    let price = fields.required_prop(cx, "price", "instance \"c7g.large\" cpu=2 memory=\"4GiB\" price=0.0725");
    let price = price.and_then(|value| cx.price(&value, "the price"));
    let baseline = fields.prop("burst-baseline");
    let burst_baseline_permille = baseline.and_then(|value| cx.permille(&value, "the baseline"));
    let capacity = machine(cx, &mut fields);
    cx.finish(fields);
    Some(Instance { name: name?, capacity, price, burst_baseline_permille })
}

fn machine(cx: &mut Cx<'_>, fields: &mut Fields) -> crate::Resources {
    let capacity = amounts(cx, fields, &Amounts { zero: Zero::Impossible, replicas: true });
    require_cpu_and_memory(cx, fields);
    capacity
}

/// `load "storefront/web" cpu=7.2`; a bare name is one of the team `default`.
pub(super) fn load(cx: &mut Cx<'_>, node: &KdlNode) -> Option<Load> {
    let mut fields = cx.fields(node);
    cx.no_children(node);
    let example = "load \"storefront/web\" cpu=7.2";
    let workload = fields.required_arg(cx, "a workload", example);
    let mut workload = workload.and_then(|value| workload_name(cx, &value));
    if let Some(bare) = workload.as_mut().filter(|name| !name.value.contains('/')) {
        bare.value = format!("default/{}", bare.value);
    }
    let cpu = fields.required_prop(cx, "cpu", example).and_then(|value| cx.cpu(&value, Zero::Allowed));
    cx.finish(fields);
    Some(Load { workload: workload?, cpu: cpu? })
}
