//! Problems with so many rules that no linear program of theirs is affordable: searched without programs, and without bounds but trivial
//! ones.
//!
//! A rule becomes a row or a few for each domain of its topology, and a program is held several times at once (as stated, as handed over, in
//! the back-end, in its presolve): 100,000 rules over 50 nodes took 7 GB and four times the deadline, none of which a clock could stop.

use crate::deadline::Deadline;
use crate::solve::Search;
use crate::{Problem, Rule};

/// Rows of rules, at most, with which a program is made at all: about 2 GB in the back-end.
const ROWS_MAX: usize = 600_000;

/// Fewer rules are never too many, over however many nodes: their nodes fall into classes.
const RULES_MIN: usize = 10_000;

/// Whether the rules alone make any program over all nodes too large. An upper bound: classes of nodes may need fewer rows.
pub(crate) fn too_many(problem: &Problem) -> bool {
    let rows = |rule: &Rule| match rule {
        Rule::Spread { topology, .. }
        | Rule::LimitPerDomain { topology, .. }
        | Rule::SeparateFrom { topology, .. }
        | Rule::Near { topology, .. }
        | Rule::DistinctDomains { topology, .. }
        | Rule::Survive { topology, .. } => problem.topologies[*topology].domains.len(),
        _ => 1,
    };
    let named = problem.constraints.iter().map(|constraint| rows(&constraint.rule));
    problem.constraints.len() > RULES_MIN && named.fold(0, usize::saturating_add) > ROWS_MAX
}

impl Search<'_, '_> {
    /// What finds placements without any program.
    pub(crate) fn without_programs(&mut self, deadline: Deadline) {
        self.stats.method = "greedy".to_owned();
        if self.is_short() {
            self.place_everything(deadline.within(deadline.remaining() / 2));
        }
        self.ruin_and_recreate(deadline);
        self.stats.method = self.stats.method.trim_end_matches(" with class bounds").to_owned();
    }
}
