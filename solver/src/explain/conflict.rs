//! A conflict: few grounds under which a wish is refused whatever else is given up.
//!
//! One linear relaxation under all grounds refuses the wish, and its dual values say which rows take part (by linear programming duality the
//! relaxation over those rows alone has the same value). The workloads and rules that have no part are cut away, and [`quickxplain`]
//! minimises what is left. When only whole numbers refuse it, every ground is a candidate and nothing is cut.

use super::certificate::certificate;
use super::ground::{Ground, Grounds};
use super::quickxplain::quickxplain;
use super::wish::{Support, Verdict, Wish};
use crate::backend::Tag;
use crate::deadline::Deadline;
use crate::{Certificate, Rule};
use std::collections::BTreeSet;

/// A conflict longer than this is not read by anybody: a certificate stands in its place where there is one.
const GROUNDS_MAX: usize = 12;

/// What is known of a refused wish.
#[derive(Default)]
pub(super) struct Conflict {
    /// Sufficient when `proven`; in no order.
    pub(super) grounds: Vec<Ground>,
    pub(super) proven: bool,
    pub(super) minimal: bool,
    pub(super) certificate: Option<Certificate>,
}

/// Finds out whether a wish is impossible, and under how little.
pub(super) fn conflict(wish: &Wish, deadline: Deadline) -> Conflict {
    let all = wish.grounds();
    let standing: Grounds = all.iter().copied().collect();
    let support = wish.relaxed(&standing, deadline);
    let certificate = certificate(&wish.problem, wish.workload, &support);
    let (cut, candidates) = if support.refused { narrowed(wish, &all, &support) } else { (wish.clone(), all.clone()) };
    let refused = |wish: &Wish, set: &[Ground]| {
        wish.decide(&set.iter().copied().collect(), deadline, false) == Verdict::Impossible
    };
    let (cut, candidates) = if refused(&cut, &candidates) {
        (cut, candidates)
    } else if support.refused && refused(wish, &all) {
        (wish.clone(), all)
    } else {
        let proven = certificate.is_some();
        return Conflict { proven, certificate, ..Conflict::default() };
    };
    let mut grounds = quickxplain(&candidates, |set| refused(&cut, set));
    if !refused(&cut, &grounds) {
        // Some test ran out of time: what was found by it may be too little.
        grounds = candidates;
    }
    let minimal = !grounds.is_empty() && grounds.len() <= GROUNDS_MAX && is_minimal(wish, &grounds, deadline);
    if !minimal && grounds.len() > GROUNDS_MAX && certificate.is_some() {
        grounds.clear();
    }
    Conflict { grounds, proven: true, minimal, certificate }
}

/// Without any one of the grounds the whole wish can be granted: asked of everybody, not only of those concerned.
fn is_minimal(wish: &Wish, grounds: &[Ground], deadline: Deadline) -> bool {
    grounds.iter().all(|ground| {
        let others = grounds.iter().copied().filter(|other| other != ground).collect();
        wish.decide(&others, deadline, true) == Verdict::Possible
    })
}

/// What takes part in a refusal: the wish cut to the workloads concerned, and the grounds that may matter.
fn narrowed(wish: &Wish, all: &[Ground], support: &Support) -> (Wish, Vec<Ground>) {
    let problem = &wish.problem;
    let mut rules: BTreeSet<usize> = BTreeSet::new();
    // A workload whose row is worth all of its replicas gets them whatever else happens.
    let mut satisfied: BTreeSet<usize> = BTreeSet::new();
    for (tag, dual) in &support.duals {
        match tag {
            Tag::Rule(rule) => drop(rules.insert(*rule)),
            Tag::Wanted(workload) if dual.abs() > 1.0 - 1e-6 => drop(satisfied.insert(*workload)),
            _ => {}
        }
    }
    let wants = |workload: &usize| problem.workloads[*workload].wanted > 0;
    let whole = rules.iter().any(|rule| matches!(problem.constraints[*rule].rule, Rule::Reserve { .. }));
    let mut concerned: BTreeSet<usize> =
        (0..problem.workloads.len()).filter(|w| whole || wants(w) && !satisfied.contains(w)).collect();
    concerned.insert(wish.workload);
    rules.iter().for_each(|rule| concerned.extend(problem.constraints[*rule].rule.workloads()));
    let matters = |ground: &&Ground| !matches!(ground, Ground::Rule(rule) if !rules.contains(rule));
    (wish.cut_to(&concerned), all.iter().filter(matters).copied().collect())
}
