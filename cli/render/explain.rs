//! Why a workload is where it is, for people.

use crate::render::plan::{more, more_within, tier_value};
use crate::render::shortage::cause;
use crate::render::style::{BAD, BOLD, DIM, GOOD, WARN, clean, counted, paint};
use hyphae_controlplane::planner::{ExplainedNode, ExplainedRule, Explanation};
use std::collections::BTreeMap;
use std::fmt::Write;

/// Nodes named for one set of reasons.
const NODES_MAX: usize = 8;
/// Sets of reasons shown.
const GROUPS_MAX: usize = 20;

/// The whole explanation.
pub(crate) fn explanation(explanation: &Explanation) -> String {
    let mut text = format!(
        "{} ({}, {}): {} of {} placed\n",
        paint(BOLD, clean(&explanation.workload)),
        clean(&explanation.kind),
        if explanation.planned { "as planned".to_string() } else { format!("at revision {}", explanation.revision) },
        explanation.placed,
        counted(explanation.wanted, "replica")
    );
    if !explanation.rules.is_empty() {
        let _ = writeln!(text, "\n{}", paint(BOLD, "What binds it:"));
        for rule in &explanation.rules {
            let word = if rule.hard { "must  " } else { "rather" };
            let _ = writeln!(text, "  {word}  {}", cause(&rule.rule));
            text.push_str(&costs(rule));
        }
    }
    text.push_str(&room(explanation));
    let (holding, others): (Vec<_>, Vec<_>) = explanation.nodes.iter().partition(|node| node.replicas > 0);
    section(&mut text, "Where it is:", &holding, |node| format!("{} on {}", node.replicas, clean(&node.node)));
    section(&mut text, "Where else it could be:", &fitting(&others, true), |node| clean(&node.node).into_owned());
    section(&mut text, "Where it cannot be:", &fitting(&others, false), |node| clean(&node.node).into_owned());
    text
}

/// What would be better without a rule, when it was asked.
fn costs(rule: &ExplainedRule) -> String {
    let Some(costs) = &rule.costs else { return String::new() };
    if costs.is_empty() {
        return format!("          {}\n", paint(DIM, "costs nothing: no better plan was found without it"));
    }
    let mut text = String::new();
    for cost in costs {
        let value = |value: u64| tier_value(&cost.tier, value);
        let sure = if cost.proven { "" } else { ", not proven" };
        let what = format!("{}: {}, {} without it{sure}", cost.tier, value(cost.with), value(cost.without));
        let _ = writeln!(text, "          {}", paint(WARN, what));
    }
    text
}

/// How many more would fit, and what stops the next.
fn room(explanation: &Explanation) -> String {
    let Some(room) = &explanation.room else { return String::new() };
    let many = match (room.low, room.high) {
        (0, 0) => "no more replica would fit".to_string(),
        (low, high) if low == high => {
            format!("{} would fit", counted(low, "more replica"))
        }
        (low, high) => format!("at least {low} more replicas would fit, at most {high}"),
    };
    let mut text = format!("\n{} {many}, everybody else keeping what they have\n", paint(BOLD, "Room:"));
    let word = if room.proven { "then" } else { "then, as far as is known," };
    for (index, conflict) in room.stops.iter().enumerate() {
        let word = if index == 0 { word } else { "and" };
        let _ = writeln!(text, "  {word} {}", cause(conflict));
    }
    text
}

fn fitting<'a>(nodes: &[&'a ExplainedNode], fits: bool) -> Vec<&'a ExplainedNode> {
    nodes.iter().copied().filter(|node| node.fits == fits).collect()
}

/// Nodes for which the same is to be said share a line.
fn section(text: &mut String, title: &str, nodes: &[&ExplainedNode], name: impl Fn(&ExplainedNode) -> String) {
    if nodes.is_empty() {
        return;
    }
    let mut groups: BTreeMap<(bool, &[String]), Vec<String>> = BTreeMap::new();
    for node in nodes {
        groups.entry((!node.fits, &node.reasons)).or_default().push(name(node));
    }
    let _ = writeln!(text, "\n{}", paint(BOLD, title));
    for ((full, reasons), names) in groups.iter().take(GROUPS_MAX) {
        let mut shown = names.iter().take(NODES_MAX).cloned().collect::<Vec<_>>().join(", ");
        if names.len() > NODES_MAX {
            let _ = write!(shown, " {}", more_within(names.len() - NODES_MAX, "node"));
        }
        let _ = writeln!(text, "  {}", paint(if *full { BAD } else { GOOD }, shown));
        let why_full = if title == "Where it is:" { "no more, because" } else { "because" };
        for reason in *reasons {
            let _ = writeln!(text, "      {}", paint(DIM, format!("{why_full} {}", clean(reason))));
        }
    }
    if groups.len() > GROUPS_MAX {
        let _ = writeln!(text, "  {}", more(groups.len() - GROUPS_MAX, "group"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyphae_controlplane::plan::Conflict;
    use hyphae_controlplane::planner::{ExplainedCost, ExplainedRoom};

    #[test]
    fn nodes_with_the_same_reasons_share_a_line() {
        let node = |name: String, replicas, reasons: &[&str]| ExplainedNode {
            node: name,
            replicas,
            fits: reasons.is_empty(),
            reasons: reasons.iter().map(|reason| (*reason).to_string()).collect(),
        };
        let mut nodes = vec![
            node("n1".into(), 2, &["separate within=\"node\" limit=2 would be broken"]),
            node("n2".into(), 1, &[]),
            node("n3".into(), 0, &[]),
        ];
        nodes.extend((10..22).map(|number| node(format!("n{number}"), 0, &["memory: 1GiB needed, 256MiB free"])));
        let rule = |hard, line, text: &str| ExplainedRule {
            rule: Conflict {
                file: Some("shop.kdl".into()),
                line: Some(line),
                column: Some(9),
                constraint: text.into(),
            },
            hard,
            costs: hard.then(|| {
                let cost = |tier: &str, with, without, proven| ExplainedCost {
                    tier: tier.into(),
                    priority: None,
                    with,
                    without,
                    proven,
                };
                vec![cost("disruption", 2, 0, true), cost("cost", 217_500, 145_000, false)]
            }),
        };
        let stops = vec![rule(true, 14, "separate within=\"node\" limit=2").rule];
        let explained = Explanation {
            planned: false,
            room: Some(ExplainedRoom { low: 1, high: 3, stops, proven: true }),
            revision: 7,
            workload: "storefront/web".into(),
            kind: "service".into(),
            wanted: 3,
            placed: 3,
            rules: vec![
                rule(true, 14, "separate within=\"node\" limit=2"),
                rule(false, 15, "prefer disk=\"ssd\" weight=5"),
            ],
            nodes,
        };
        insta::assert_snapshot!(anstream::adapter::strip_str(&explanation(&explained)).to_string());
    }
}
