//! A conflict: few grounds under which a wish is refused whatever else is given up.
//!
//! Where others take part, one linear relaxation under all grounds refuses the wish, and its dual values say which rows take part (by linear programming duality the
//! relaxation over those rows alone has the same value). The workloads and rules that have no part are cut away, and [`quickxplain`]
//! minimises what is left. When only whole numbers refuse it, every ground is a candidate and nothing is cut.

use super::certificate::certificate;
use super::ground::Ground;
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

/// Finds out whether a wish is impossible, and under how little: first by itself, then with those its own rules name, then with everybody.
/// What a few cannot do, they cannot do among others; so a reason that concerns nobody else is found without looking at them.
pub(super) fn conflict(wish: &Wish, deadline: Deadline) -> Conflict {
    let all = wish.grounds();
    let (alone, named) = (BTreeSet::from([wish.workload]), named_with(wish));
    for concerned in [&alone, &named] {
        let grounds = within(wish, &all, concerned);
        let cut = wish.cut_to(concerned);
        if is_refused(&cut, &grounds, deadline) {
            let certificate = certificate(&wish.problem, wish.workload, &Support::default());
            return minimised(wish, &cut, grounds, certificate, deadline);
        }
    }
    let support = wish.relaxed(&all.iter().copied().collect(), deadline);
    let certificate = certificate(&wish.problem, wish.workload, &support);
    if support.refused {
        let (cut, grounds) = narrowed(wish, &all, &support);
        if is_refused(&cut, &grounds, deadline) {
            return minimised(wish, &cut, grounds, certificate, deadline);
        }
    }
    if is_refused(wish, &all, deadline) {
        return minimised(wish, wish, all, certificate, deadline);
    }
    Conflict { proven: certificate.is_some(), certificate, ..Conflict::default() }
}

/// Whether a relaxation of the wish with only those its own rules name refuses it already: a test worth making before a search.
pub(super) fn is_hopeless(wish: &Wish, deadline: Deadline) -> bool {
    let named = named_with(wish);
    let standing = within(wish, &wish.grounds(), &named).into_iter().collect();
    wish.cut_to(&named).relaxed(&standing, deadline).refused
}

/// The wisher, and whom its own rules name.
fn named_with(wish: &Wish) -> BTreeSet<usize> {
    let rules = wish.problem.constraints.iter().map(|constraint| constraint.rule.workloads());
    rules.filter(|named| named.contains(&wish.workload)).flatten().chain([wish.workload]).collect()
}

fn is_refused(wish: &Wish, grounds: &[Ground], deadline: Deadline) -> bool {
    wish.decide(&grounds.iter().copied().collect(), deadline, false) == Verdict::Impossible
}

/// The grounds that say something about these workloads and nobody else.
fn within(wish: &Wish, all: &[Ground], concerned: &BTreeSet<usize>) -> Vec<Ground> {
    let speaks = |ground: &&Ground| match ground {
        Ground::Rule(rule) => {
            let rule = &wish.problem.constraints[*rule].rule;
            !matches!(rule, Rule::Reserve { .. })
                && rule.workloads().iter().all(|workload| concerned.contains(workload))
        }
        _ => true,
    };
    all.iter().filter(speaks).copied().collect()
}

/// A minimal part of `grounds`, which refuse the wish cut to those concerned.
fn minimised(
    wish: &Wish,
    cut: &Wish,
    grounds: Vec<Ground>,
    certificate: Option<Certificate>,
    deadline: Deadline,
) -> Conflict {
    let mut found = quickxplain(&grounds, |set| is_refused(cut, set, deadline));
    if !is_refused(cut, &found, deadline) {
        // Some test ran out of time: what was found by it may be too little.
        found = grounds;
    }
    let minimal = !found.is_empty() && found.len() <= GROUNDS_MAX && is_minimal(wish, &found, deadline);
    if found.len() > GROUNDS_MAX && certificate.is_some() {
        found.clear();
    }
    Conflict { grounds: found, proven: true, minimal, certificate }
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
