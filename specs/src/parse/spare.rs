//! How much room stays, and of what: `reserve`, `safety`, `balance`.

use super::cursor::Cx;
use super::place;
use super::value::Zero;
use crate::{Balance, Reserve, Safety};
use kdl::KdlNode;

/// `reserve survive-loss-of="zone" weight=5`
pub(super) fn reserve(cx: &mut Cx<'_>, node: &KdlNode) -> Option<Reserve> {
    let mut fields = cx.fields(node);
    cx.no_children(node);
    let loss_of = fields.required_prop(cx, "survive-loss-of", "reserve survive-loss-of=\"zone\"");
    let loss_of = loss_of.and_then(|value| place::topology(cx, &value));
    let weight = place::weight(cx, &mut fields);
    cx.finish(fields);
    Some(Reserve { span: cx.node_span(node), loss_of: loss_of?, weight })
}

/// `safety cpu=0.8 memory=0.9 weight=2`
pub(super) fn safety(cx: &mut Cx<'_>, node: &KdlNode) -> Safety {
    let mut fields = cx.fields(node);
    cx.no_children(node);
    let mut share = |name: &'static str| fields.prop(name).and_then(|value| cx.permille(&value, name));
    let (cpu, memory, disk) = (share("cpu"), share("memory"), share("disk"));
    let weight = place::weight(cx, &mut fields);
    if !["cpu", "memory", "disk"].into_iter().any(|name| fields.has(name)) {
        let help = "write `safety cpu=0.8 memory=0.9`: shares of what each machine has";
        cx.error("hyphae::missing", fields.head, "this says nothing of how full machines may be", "no share", help);
    }
    cx.finish(fields);
    Safety { span: cx.node_span(node), cpu_permille: cpu, memory_permille: memory, disk_permille: disk, weight }
}

/// `balance cpu=1 memory="4GiB" weight=1`
pub(super) fn balance(cx: &mut Cx<'_>, node: &KdlNode) -> Option<Balance> {
    const EXAMPLE: &str = "balance cpu=1 memory=\"4GiB\"";
    let mut fields = cx.fields(node);
    cx.no_children(node);
    let cpu = fields.required_prop(cx, "cpu", EXAMPLE).and_then(|value| cx.cpu(&value, Zero::Impossible));
    let memory = fields.required_prop(cx, "memory", EXAMPLE);
    let memory = memory.and_then(|value| cx.bytes(&value, "memory", Zero::Impossible));
    let weight = place::weight(cx, &mut fields);
    cx.finish(fields);
    Some(Balance { span: cx.node_span(node), cpu: cpu?, memory: memory?, weight })
}
