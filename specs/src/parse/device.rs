//! Devices: what a machine has of them (`devices gpu=4`), and what a replica takes (`device gpu=0.5`).

use super::cursor::{Cx, Property, Value};
use crate::{DeviceDemand, DeviceTake, Spanned};
use kdl::{KdlNode, KdlValue};
use std::collections::BTreeMap;

/// Devices of one kind in a machine, and those that one replica takes.
const DEVICES_MAX: i128 = 1024;

/// `devices gpu=4`
pub(super) fn devices(cx: &mut Cx<'_>, node: &KdlNode) -> BTreeMap<String, Spanned<u32>> {
    let mut fields = cx.fields(node);
    cx.no_children(node);
    let props = fields.rest_props();
    if props.is_empty() && node.entries().is_empty() {
        let help = "write `devices gpu=4`, or leave it out";
        cx.error("hyphae::missing", fields.head, "this machine has no devices", "no kind of device", help);
    }
    cx.finish(fields);
    let mut devices = BTreeMap::new();
    for prop in props {
        let count = cx.count(&prop.value, &format!("`{}`", prop.name.value), 1..=DEVICES_MAX);
        if let (Some(kind), Some(count)) = (kind(cx, &prop), count) {
            devices.insert(kind.value, count);
        }
    }
    devices
}

/// `device gpu=2` or `device gpu=0.5`
pub(super) fn demand(cx: &mut Cx<'_>, node: &KdlNode) -> Option<DeviceDemand> {
    let mut fields = cx.fields(node);
    cx.no_children(node);
    let props = fields.rest_props();
    let head = fields.head;
    cx.finish(fields);
    let [prop] = props.as_slice() else {
        let help = "write `device gpu=2` for two whole ones, or `device gpu=0.5` for half of one";
        let label = if props.is_empty() { "no kind of device" } else { "more than one kind" };
        cx.error("hyphae::missing", head, "a replica takes devices of one kind", label, help);
        return None;
    };
    let kind = kind(cx, prop);
    let thousandths = cx.devices(&prop.value, &format!("`{}`", prop.name.value))?;
    let take = match (thousandths / 1000, thousandths % 1000) {
        (0, part) => DeviceTake::Permille(part),
        (whole, 0) => DeviceTake::Whole(whole),
        (whole, _) => {
            let message = format!("`{}` is neither whole devices nor a share of one", prop.name.value);
            let help = format!("a share lies on a single device: write {whole} or {}, or a share below 1", whole + 1);
            cx.error("hyphae::bad_value", prop.value.span, message, "parts of several devices", help);
            return None;
        }
    };
    Some(DeviceDemand { span: cx.node_span(node), kind: kind?, take })
}

fn kind(cx: &mut Cx<'_>, prop: &Property) -> Option<Spanned<String>> {
    let name = Value { span: prop.name.span, kdl: KdlValue::String(prop.name.value.clone()) };
    cx.name(&name, "the kind of a device")
}
