//! Why a workload is where it is, for people.

use crate::render::plan::{more, more_within};
use crate::render::shortage::cause;
use crate::render::style::{BAD, BOLD, DIM, GOOD, clean, counted, paint};
use hyphae_controlplane::planner::{ExplainedNode, Explanation};
use std::collections::BTreeMap;
use std::fmt::Write;

/// Nodes named for one set of reasons.
const NODES_MAX: usize = 8;
/// Sets of reasons shown.
const GROUPS_MAX: usize = 20;

/// The whole explanation.
pub(crate) fn explanation(explanation: &Explanation) -> String {
    let mut text = format!(
        "{} ({}, at revision {}): {} of {} placed\n",
        paint(BOLD, clean(&explanation.workload)),
        clean(&explanation.kind),
        explanation.revision,
        explanation.placed,
        counted(explanation.wanted, "replica")
    );
    if !explanation.rules.is_empty() {
        let _ = writeln!(text, "\n{}", paint(BOLD, "What binds it:"));
        for rule in &explanation.rules {
            let word = if rule.hard { "must  " } else { "rather" };
            let _ = writeln!(text, "  {word}  {}", cause(&rule.rule));
        }
    }
    let (holding, others): (Vec<_>, Vec<_>) = explanation.nodes.iter().partition(|node| node.replicas > 0);
    section(&mut text, "Where it is:", &holding, |node| format!("{} on {}", node.replicas, clean(&node.node)));
    section(&mut text, "Where else it could be:", &fitting(&others, true), |node| clean(&node.node).into_owned());
    section(&mut text, "Where it cannot be:", &fitting(&others, false), |node| clean(&node.node).into_owned());
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
    use hyphae_controlplane::planner::ExplainedRule;

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
        };
        let explained = Explanation {
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
