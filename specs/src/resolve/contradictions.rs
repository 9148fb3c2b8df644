//! Demands that no node could meet, whatever nodes there are.

use super::selection::Selection;
use crate::diagnostic::PROBLEMS_MAX;
use crate::labels::compare_versions;
use crate::{Diagnostic, LabelOp, LabelTest, Model, PlaceKind, PlaceRule, Replicas, Severity, Span, Spanned, Workload};
use std::collections::{BTreeMap, BTreeSet};

/// So many tests of one label are compared with each other; nobody writes more.
const COMPARED_MAX: usize = 64;

/// Looks at every pair of hard demands on one workload, and at every guarantee its number of replicas cannot give.
pub(super) fn find(model: &Model, out: &mut Vec<Diagnostic>) {
    for workload in model.workloads.values().filter(|workload| !workload.place.is_empty()) {
        let mut earlier = Tests::new();
        for (test, span) in tests(&workload.place) {
            if let Some(other) = excluded_by(test, &earlier) {
                out.push(report(test, span, other, workload, Severity::Error));
            }
            earlier.entry(&test.key.value).or_default().push(test);
        }
    }
    let selection = Selection::new(model);
    for rule in model.constraints.values() {
        let demands = tests(&rule.place);
        for workload in selection.of(rule) {
            if out.len() >= PROBLEMS_MAX {
                return;
            }
            let mut own = Tests::new();
            for (test, _) in tests(&workload.place) {
                own.entry(&test.key.value).or_default().push(test);
            }
            for (test, span) in &demands {
                if let Some(other) = excluded_by(test, &own) {
                    out.push(report(test, *span, other, workload, Severity::Warning));
                }
            }
            keeps(&rule.place, workload, out);
        }
    }
}

/// Tests by the label they test.
type Tests<'m> = BTreeMap<&'m str, Vec<&'m LabelTest>>;

/// One of the tests that no node can pass together with this one.
fn excluded_by<'m>(test: &LabelTest, others: &Tests<'m>) -> Option<&'m LabelTest> {
    let same_label = others.get(test.key.value.as_str())?;
    same_label.iter().take(COMPARED_MAX).copied().find(|other| excludes(test, other))
}

fn tests(rules: &[PlaceRule]) -> Vec<(&LabelTest, Span)> {
    let mut tests = Vec::new();
    for rule in rules {
        if let PlaceKind::Require(own) = &rule.kind {
            tests.extend(own.iter().map(|test| (test, test.key.span)));
        }
    }
    tests
}

fn report(test: &LabelTest, span: Span, earlier: &LabelTest, workload: &Workload, severity: Severity) -> Diagnostic {
    let message = format!("no node can meet both demands on `{}` of \"{}\"", test.key.value, workload.full_name());
    let diagnostic = Diagnostic::error("hyphae::contradiction", span, message, "this excludes the other")
        .other(earlier.key.span, "demanded here too")
        .help("all of `require` must hold; remove one, make it `prefer`, or allow several values with `in`");
    Diagnostic { severity, ..diagnostic }
}

/// Whether no node can pass both tests of one label.
fn excludes(one: &LabelTest, other: &LabelTest) -> bool {
    ops_exclude(&one.op, &other.op) || ops_exclude(&other.op, &one.op)
}

fn ops_exclude(one: &LabelOp, other: &LabelOp) -> bool {
    match (one, other) {
        (LabelOp::Absent, LabelOp::In(_) | LabelOp::Exists | LabelOp::Version(..)) => true,
        (LabelOp::In(left), LabelOp::In(right)) => values(left).is_disjoint(&values(right)),
        (LabelOp::In(left), LabelOp::NotIn(right)) => values(left).is_subset(&values(right)),
        (LabelOp::In(values), LabelOp::Version(op, wanted)) => !values
            .iter()
            .any(|value| compare_versions(&value.value, &wanted.value).is_some_and(|ordering| op.allows(ordering))),
        (LabelOp::Version(op, low), LabelOp::Version(other_op, high)) => {
            use crate::VersionOp as V;
            let Some(ordering) = compare_versions(&low.value, &high.value) else { return false };
            match (op, other_op) {
                (V::AtLeast | V::Equal, V::AtMost | V::Equal) => {
                    ordering.is_gt() || (matches!((op, other_op), (V::Equal, V::Equal)) && ordering.is_ne())
                }
                (V::Greater, V::AtMost | V::Equal) | (V::AtLeast | V::Equal | V::Greater, V::Less) => ordering.is_ge(),
                _ => false,
            }
        }
        _ => false,
    }
}

fn values(values: &[Spanned<String>]) -> BTreeSet<&str> {
    values.iter().map(|value| value.value.as_str()).collect()
}

/// A constraint that keeps so many that none may be placed.
fn keeps(rules: &[PlaceRule], workload: &Workload, out: &mut Vec<Diagnostic>) {
    let Replicas::Fixed(wanted) = &workload.replicas else { return };
    for rule in rules {
        let PlaceKind::Survive { loss_of, keep } = &rule.kind else { continue };
        if wanted.value > 0 && keep.value.of(wanted.value) >= wanted.value {
            let name = workload.full_name();
            let message = format!("\"{name}\" cannot keep that many when any {} may be lost", loss_of.value);
            let diagnostic =
                Diagnostic::warning("hyphae::contradiction", keep.span, message, "all of its replicas, or more")
                    .other(wanted.span, format!("\"{name}\" wants {}", wanted.value))
                    .help("none of its replicas can be placed: raise the replicas, or keep fewer");
            out.push(diagnostic);
        }
    }
}
