//! The rules of a workload, by what has to be looked at to ask them: sorted once, so that a step asks each no more often than it must.

use crate::index::coarse;
use crate::instance::Instance;
use crate::marks::is_local;
use crate::watch::topology_of;
use crate::{Constraint, Rule};

/// The rules of a workload, by what has to be looked at to ask them.
#[derive(Default)]
pub(crate) struct Asked {
    /// Hard rules that do not depend on the node (quotas).
    pub(crate) anywhere: Vec<usize>,
    /// Hard and soft rules over topologies that split groups: alike for a whole region.
    pub(crate) of_region: [Vec<usize>; 2],
    /// Preferences: alike for a whole group.
    pub(crate) of_group: Vec<usize>,
    /// Hard and soft rules over the other topologies, unless they are local ([`crate::marks`]).
    pub(crate) of_node: [Vec<usize>; 2],
    /// The soft rules that are local; those that are hard are marks only.
    pub(crate) local: Vec<usize>,
    /// Workloads whose nodes a rule over such a topology draws this one to.
    pub(crate) drawn_to: Vec<usize>,
    /// A hard rule that lets this workload only onto nodes that hold one of others, if there is one.
    pub(crate) beside: Option<usize>,
    /// The least that soft rules asked per node could add.
    pub(crate) floor: i64,
}

impl Asked {
    /// For each workload.
    pub(crate) fn all(instance: &Instance) -> Vec<Asked> {
        let coarse = coarse(instance);
        (0..instance.problem.workloads.len()).map(|workload| Asked::new(instance, &coarse, workload)).collect()
    }

    fn new(instance: &Instance, coarse: &[bool], workload: usize) -> Asked {
        let mut asked = Asked::default();
        for index in instance.rules_of[workload].iter().copied() {
            let Constraint { rule, weight } = &instance.problem.constraints[index];
            let hardness = usize::from(weight.is_some());
            match (rule, topology_of(rule)) {
                (Rule::Quota { .. }, _) => asked.anywhere.push(index),
                (Rule::Prefer { .. }, _) if weight.is_some() => asked.of_group.push(index),
                (_, Some(topology)) if coarse[topology] => asked.of_region[hardness].push(index),
                (_, Some(_)) if is_local(instance, index) => asked.local.extend(weight.map(|_| index)),
                (_, Some(topology)) => {
                    asked.of_node[hardness].push(index);
                    asked.look_around(instance, index, topology, workload);
                }
                _ => {}
            }
        }
        asked
    }

    /// What a rule that is asked per node says of where to look.
    fn look_around(&mut self, instance: &Instance, index: usize, topology: usize, workload: usize) {
        let Constraint { rule, weight } = &instance.problem.constraints[index];
        match rule {
            Rule::Near { workloads, to, .. } => {
                let (from, unbounded) = if to.contains(&workload) { (workloads, true) } else { (to, false) };
                self.drawn_to.extend(from.iter().filter(|other| **other != workload));
                if unbounded && weight.is_some() {
                    self.floor = i64::MIN / 4;
                }
                if !unbounded && weight.is_none() && instance.watch.node_of[topology].is_some() {
                    self.beside = self.beside.or(Some(index));
                }
            }
            Rule::Spread { .. } | Rule::DistinctDomains { .. } => {
                self.floor = self.floor.saturating_sub(i64::from(weight.unwrap_or(0)));
            }
            _ => {}
        }
    }
}
