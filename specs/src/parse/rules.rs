//! What a platform team says about the whole: `constraint`, `objective`. (How much room stays: `spare`.)

use super::cursor::Cx;
use super::place;
use crate::diagnostic::suggest;
use crate::{ConstraintRule, Labels, Objective, Strategy};
use kdl::{KdlNode, KdlValue};

/// `constraint "frontends" { applies-to tier="frontend"; survive … }`
pub(super) fn constraint(cx: &mut Cx<'_>, node: &KdlNode) -> Option<ConstraintRule> {
    let mut fields = cx.fields(node);
    let name = fields.required_arg(cx, "a name", "constraint \"frontends\" { … }");
    let name = name.and_then(|value| cx.name(&value, "the name of a constraint"));
    let head = fields.head;
    cx.finish(fields);
    let (mut applies_to, mut selected, mut statements) = (Labels::new(), false, 0);
    let mut rules = Vec::new();
    for child in cx.children(node, &["applies-to"], &place::STATEMENTS) {
        if child.name().value() == "applies-to" {
            selected = true;
            selector(cx, child, &mut applies_to);
            continue;
        }
        statements += 1;
        rules.extend(place::statement(cx, child));
    }
    if !selected {
        let help = "add `applies-to tier=\"frontend\"`; besides labels, \"team\", \"kind\" and \"name\" can be tested";
        cx.error("hyphae::missing", head, "a constraint needs `applies-to`", "applies to nothing", help);
    }
    if statements == 0 {
        let help = format!("add one of {}", place::STATEMENTS.join(", "));
        cx.error("hyphae::missing", head, "this constraint demands nothing", "no statement in it", help);
    }
    Some(ConstraintRule { name: name?, applies_to, place: rules })
}

fn selector(cx: &mut Cx<'_>, node: &KdlNode, into: &mut Labels) {
    super::inventory::labels(cx, node, into, &[]);
    if let Some(kind) = into.get("kind")
        && !["service", "job", "daemon"].contains(&kind.value.as_str())
    {
        let (span, help) = (kind.span, suggest(&kind.value, ["service", "job", "daemon"]));
        cx.error("hyphae::bad_value", span, "there is no such kind of workload", "unknown kind", help);
    }
}

/// `objective { strategy "pack"; move-price 3 }`
pub(super) fn objective(cx: &mut Cx<'_>, node: &KdlNode) -> Objective {
    let fields = cx.fields(node);
    cx.finish(fields);
    let mut objective = Objective { span: cx.node_span(node), strategy: Strategy::default(), move_price: None };
    for child in cx.children(node, &["strategy", "move-price"], &[]) {
        let mut fields = cx.fields(child);
        cx.no_children(child);
        match child.name().value() {
            "strategy" => {
                if let Some(value) = fields.required_arg(cx, "a name", "strategy \"pack\"") {
                    match &value.kdl {
                        KdlValue::String(name) if name == "pack" => objective.strategy = Strategy::Pack,
                        KdlValue::String(name) if name == "spread" => objective.strategy = Strategy::Spread,
                        other => {
                            let written = other.as_string().unwrap_or_default();
                            let help = suggest(written, ["pack", "spread"]);
                            cx.error(
                                "hyphae::bad_value",
                                value.span,
                                "there is no such strategy",
                                "unknown strategy",
                                help,
                            );
                        }
                    }
                }
            }
            _ => {
                let value = fields.required_arg(cx, "a price", "move-price 3");
                objective.move_price = value.and_then(|value| cx.price(&value, "move-price"));
            }
        }
        cx.finish(fields);
    }
    objective
}
