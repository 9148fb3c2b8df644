//! Nodes that the rules about single nodes close to a workload, or make dearer, known before anybody asks.
//!
//! A limit per node and a separation on nodes depend on nothing but what lies on the node. They are asked when that changes, and the answers kept as a
//! bit for each workload and node, so that a search steps over closed nodes by the bit.

use crate::instance::Instance;
use crate::layout::Layout;
use crate::{Constraint, Rule};

/// Bits that may be kept: beyond, no rule is local.
const BITS_MAX: usize = 1 << 31;
/// A rule that names more workloads, or one that more rules name, is not local: a change would ask too many.
const NAMED_MAX: usize = 8;

/// A bit for each node, none of them held while no node is marked.
#[derive(Clone, Default)]
struct Bits(Vec<u64>);

impl Bits {
    fn get(&self, node: usize) -> bool {
        self.0.get(node / 64).is_some_and(|word| word >> (node % 64) & 1 == 1)
    }

    fn set(&mut self, node: usize, nodes: usize, on: bool) {
        if on && self.0.is_empty() {
            self.0 = vec![0; nodes.div_ceil(64)];
        }
        if let Some(word) = self.0.get_mut(node / 64) {
            *word = *word & !(1 << (node % 64)) | u64::from(on) << (node % 64);
        }
    }
}

/// What is known of one workload.
#[derive(Clone, Default)]
struct Marked {
    /// Its hard and soft local rules.
    rules: [Vec<usize>; 2],
    /// Nodes on which one more would break a hard local rule.
    closed: Bits,
    /// Nodes on which one more would cost something by the soft ones.
    dear: Bits,
}

/// The marks of all workloads, for one layout.
pub(crate) struct Marks {
    nodes: usize,
    of: Vec<Marked>,
    /// Per workload, those whose local rules look at it.
    watchers: Vec<Vec<u32>>,
}

impl Marks {
    pub(crate) fn new(layout: &Layout) -> Marks {
        let problem = layout.instance.problem;
        let workloads = problem.workloads.len();
        let mut marks = Marks {
            nodes: problem.nodes.len(),
            of: vec![Marked::default(); workloads],
            watchers: vec![Vec::new(); workloads],
        };
        for workload in 0..workloads {
            for index in layout.instance.rules_of[workload].iter().filter(|index| is_local(layout.instance, **index)) {
                let Constraint { rule, weight } = &problem.constraints[*index];
                marks.of[workload].rules[usize::from(weight.is_some())].push(*index);
                rule.workloads().iter().for_each(|other| marks.watchers[*other].push(workload as u32));
            }
            if problem.workloads[workload].per_node_max.is_some() {
                marks.watchers[workload].push(workload as u32);
            }
        }
        for watchers in &mut marks.watchers {
            watchers.sort_unstable();
            watchers.dedup();
        }
        for (workload, spec) in problem.workloads.iter().enumerate() {
            if spec.per_node_max == Some(0) {
                (0..marks.nodes).for_each(|node| marks.mark(layout, workload, node));
            }
            layout.nodes_of(workload).for_each(|(node, _)| marks.touch(layout, workload, node));
        }
        marks
    }

    /// The count of a workload on a node has changed.
    pub(crate) fn touch(&mut self, layout: &Layout, workload: usize, node: usize) {
        for at in 0..self.watchers[workload].len() {
            self.mark(layout, self.watchers[workload][at] as usize, node);
        }
    }

    fn mark(&mut self, layout: &Layout, workload: usize, node: usize) {
        let problem = layout.instance.problem;
        let Marked { rules: [hard, soft], closed, dear } = &mut self.of[workload];
        let breaks = |index: &usize| layout.breaks(*index, &problem.constraints[*index].rule, workload, node, false);
        closed.set(node, self.nodes, layout.is_crowded(workload, node) || hard.iter().any(breaks));
        let costs = |index: &usize| layout.units_change(*index, &problem.constraints[*index].rule, workload, node) > 0;
        dear.set(node, self.nodes, soft.iter().any(costs));
    }

    /// Whether one more would break a hard local rule.
    pub(crate) fn is_closed(&self, workload: usize, node: usize) -> bool {
        self.of[workload].closed.get(node)
    }

    /// Whether the soft local rules make a node dearer for one more; they never make one cheaper.
    pub(crate) fn is_dear(&self, workload: usize, node: usize) -> bool {
        self.of[workload].dear.get(node)
    }

    /// Whether any node is.
    pub(crate) fn any_dear(&self, workload: usize) -> bool {
        !self.of[workload].dear.0.is_empty()
    }
}

/// Whether a rule depends on nothing but what lies on a node, and says nothing of a node on which none of its workloads lies.
pub(crate) fn is_local(instance: &Instance, index: usize) -> bool {
    let single = |topology: usize| instance.watch.node_of[topology].is_some();
    let bits = instance.problem.nodes.len().saturating_mul(2 * instance.problem.workloads.len());
    let rule = &instance.problem.constraints[index].rule;
    let local = match rule {
        Rule::LimitPerDomain { topology, limit, .. } => *limit > 0 && single(*topology),
        Rule::SeparateFrom { a, b, topology, limit } => (a != b || *limit > 0) && single(*topology),
        _ => false,
    };
    let few = |named: &[usize]| {
        named.len() <= NAMED_MAX && named.iter().all(|workload| instance.rules_of[*workload].len() <= NAMED_MAX)
    };
    // What the present state excuses may be mended, which no single node tells.
    local && bits <= BITS_MAX && instance.excess[index] == 0 && few(&rule.workloads())
}
