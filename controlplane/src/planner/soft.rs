//! Which soft statements a plan breaks, and what each costs: the checker's units as if they were hard, times the weight.

use super::program::{Origin, Program};
use super::reasons::written;
use crate::plan::BrokenSoft;
use hyphae_solver::{Constraint, Placed, Problem, Rule, Violation};
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// Each statement once, the dearest first. Together they are the soft tier.
pub(super) fn broken(program: &Program, placed: &[Placed]) -> Vec<BrokenSoft> {
    let constraints = &program.problem.constraints;
    if constraints.iter().all(|constraint| constraint.weight.is_none()) {
        return Vec::new();
    }
    let hard = |constraint: &Constraint| match constraint.weight {
        Some(_) => Constraint { rule: constraint.rule.clone(), weight: None },
        None => Constraint { rule: Rule::AllOrNothing { workloads: Vec::new() }, weight: None },
    };
    let problem = Problem { constraints: constraints.iter().map(hard).collect(), ..program.problem.clone() };
    let mut costs: BTreeMap<&Origin, u64> = BTreeMap::new();
    for violation in hyphae_solver::check(&problem, placed) {
        if let Violation::Rule { constraint, units } = violation {
            let cost = units.saturating_mul(constraints[constraint].weight.map_or(0, u64::from));
            let sum = costs.entry(&program.origins[constraint]).or_default();
            *sum = sum.saturating_add(cost);
        }
    }
    let mut broken: Vec<BrokenSoft> = costs
        .into_iter()
        .map(|(origin, cost)| BrokenSoft { rule: written(origin, origin.text.clone()), cost })
        .collect();
    broken.sort_by_key(|broken| Reverse(broken.cost));
    broken
}
