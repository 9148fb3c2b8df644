//! Why a workload is short, and what would help.
//!
//! The question put to the program is smaller than the problem: may the workload have all it wants while everything of its priority or higher
//! keeps as many replicas as it has, and everything lower has none? If the program proves that it may not, causes (capacity of a resource,
//! the per-node maximum, each hard rule naming the workload) are taken away one after the other as long as the proof survives;
//! what remains is a sufficient set, minimal as far as every test was decided (a deletion filter). With many nodes the program is
//! the one over classes: what a relaxation cannot do, nothing can. When nothing is proven, the answer lists what blocks each node
//! and says that this is not a proof.
//!
//! Every repair has been tried: the changed problem was solved from the present placement, and the workload was whole.

use crate::backend::{Linear, SolveLimits, Whole};
use crate::classes::classes;
use crate::deadline::Deadline;
use crate::instance::Instance;
use crate::layout::Layout;
use crate::lexicographic::{Effort, minimise};
use crate::model::{Model, Scope};
use crate::prune::prune;
use crate::solve::Search;
use crate::{Cause, Placed, Problem, Repair, Rule, Shortage, Tier};
use std::collections::BTreeSet;
use std::time::Duration;

/// No single test of a cause or a repair takes longer.
const TEST_MAX: Duration = Duration::from_millis(300);
/// Causes in one conflict, beyond which no minimal set is sought.
const CAUSES_MAX: usize = 16;
/// No repair adds more nodes than this.
const ADDED_NODES_MAX: u32 = 100;
/// Repairs for each shortage.
const REPAIRS_MAX: usize = 3;

/// Explains every shortage of a placement, the highest priority first, until the time is out.
pub(crate) struct Explainer<'i, 'p> {
    pub(crate) instance: &'i Instance<'p>,
    pub(crate) placed: &'i [Placed],
    pub(crate) exact_pairs_max: usize,
    pub(crate) deadline: Deadline,
}

impl Explainer<'_, '_> {
    pub(crate) fn shortages(&self) -> Vec<Shortage> {
        let layout = Layout::new(self.instance, self.placed);
        let problem = self.instance.problem;
        let mut short = layout.short();
        short.sort_by_key(|workload| (std::cmp::Reverse(problem.workloads[*workload].priority), *workload));
        let mut shortages: Vec<Shortage> = short.into_iter().map(|workload| self.shortage(&layout, workload)).collect();
        shortages.sort_by_key(|shortage| shortage.workload);
        shortages
    }

    fn shortage(&self, layout: &Layout, workload: usize) -> Shortage {
        let missing = layout.missing(workload);
        let (conflict, proven) = self.conflict(layout, workload);
        let repairs = self.repairs(layout, workload, &conflict);
        Shortage { workload, missing, conflict, repairs, proven }
    }

    fn conflict(&self, layout: &Layout, workload: usize) -> (Vec<Cause>, bool) {
        let problem = self.instance.problem;
        let spec = &problem.workloads[workload];
        if spec.eligible.is_empty() {
            return (vec![Cause::NotEligible], true);
        }
        let mut causes: Vec<Cause> = self.instance.rules_of[workload]
            .iter()
            .filter(|rule| problem.constraints[**rule].weight.is_none())
            .map(|rule| Cause::Rule(*rule))
            .collect();
        if spec.per_node_max.is_some() {
            causes.push(Cause::PerNodeMax);
        }
        // The least scarce resource is tried first: what remains is what matters.
        let mut resources: Vec<Cause> = (0..problem.resources.len())
            .filter(|resource| spec.demand[*resource] > 0)
            .map(|resource| self.capacity(layout, workload, resource))
            .collect();
        resources.sort_by_key(|cause| match cause {
            Cause::Capacity { needed, free, .. } => {
                std::cmp::Reverse(u128::from(*free) * 1000 / u128::from((*needed).max(1)))
            }
            _ => std::cmp::Reverse(0),
        });
        causes.extend(resources);
        let blocking = || (self.blocking(layout, workload), false);
        if causes.len() > CAUSES_MAX || !self.impossible(layout, workload, &causes) {
            return blocking();
        }
        let mut at = 0;
        while at < causes.len() {
            let cause = causes.remove(at);
            if !self.impossible(layout, workload, &causes) {
                causes.insert(at, cause);
                at += 1;
            }
        }
        if causes.is_empty() {
            // Rules between others, kept in the background, are enough: no cause of this workload's own.
            return blocking();
        }
        causes.sort_unstable();
        (causes, true)
    }

    fn capacity(&self, layout: &Layout, workload: usize, resource: usize) -> Cause {
        let demand = self.instance.problem.workloads[workload].demand[resource];
        let free = |node: &usize| layout.free(*node, resource);
        let allowed = &self.instance.allowed[workload];
        let total: u128 = allowed.iter().map(free).fold(0, u128::saturating_add);
        Cause::Capacity {
            resource,
            needed: demand.saturating_mul(u64::from(layout.missing(workload))),
            free: u64::try_from(total).unwrap_or(u64::MAX),
            fragmented: total >= u128::from(demand) && !allowed.iter().any(|node| free(node) >= u128::from(demand)),
        }
    }

    /// Whether it is proven that the wish cannot be met while only `causes` of the workload's own stand.
    fn impossible(&self, layout: &Layout, workload: usize, causes: &[Cause]) -> bool {
        if self.deadline.passed() {
            return false;
        }
        let problem = self.wish(layout, workload, causes);
        let instance = Instance::new(&problem);
        let small = instance.pairs() <= self.exact_pairs_max;
        let whole = Scope::whole(&instance);
        let scope = if small { whole } else { Scope { bins: classes(&instance), whole_counts: false, ..whole } };
        let model = Model::build(&instance, &scope);
        let mut missing = Linear::default();
        for (tier, expression) in &model.tiers {
            if matches!(tier, Tier::Shortage(_)) {
                missing.add(1.0, expression);
            }
        }
        [Whole::None, Whole::All].into_iter().any(|whole| {
            let limits = SolveLimits { deadline: self.deadline.within(TEST_MAX), whole, gap: 0.5, relative_gap: 0.0 };
            model.program.minimise(&missing, &[], None, limits).bound.is_some_and(|bound| bound > 1e-3)
        })
    }

    /// The smaller problem, with everything else of the workload's own taken away.
    fn wish(&self, layout: &Layout, workload: usize, causes: &[Cause]) -> Problem {
        let mut problem = self.instance.problem.clone();
        let priority = problem.workloads[workload].priority;
        let mut together = BTreeSet::from([workload]);
        for (index, constraint) in self.instance.problem.constraints.iter().enumerate() {
            let Rule::AllOrNothing { workloads } = &constraint.rule else { continue };
            if workloads.contains(&workload) && causes.contains(&Cause::Rule(index)) {
                together.extend(workloads);
            }
        }
        for (index, spec) in problem.workloads.iter_mut().enumerate() {
            if spec.priority < priority && !together.contains(&index) {
                spec.wanted = 0;
            } else if !together.contains(&index) {
                spec.wanted -= layout.missing(index);
            }
        }
        for (index, constraint) in problem.constraints.iter_mut().enumerate() {
            let own = constraint.weight.is_none() && constraint.rule.workloads().contains(&workload);
            if own && !causes.contains(&Cause::Rule(index)) {
                constraint.rule = nothing();
            }
        }
        if !causes.contains(&Cause::PerNodeMax) {
            problem.workloads[workload].per_node_max = None;
        }
        for resource in 0..problem.resources.len() {
            let kept =
                causes.iter().any(|cause| matches!(cause, Cause::Capacity { resource: r, .. } if *r == resource));
            if !kept && self.instance.problem.workloads[workload].demand[resource] > 0 {
                problem.nodes.iter_mut().for_each(|node| node.capacity[resource] = u64::MAX);
            }
        }
        problem
    }

    /// What keeps one more replica off the nodes it may be on, one by one.
    fn blocking(&self, layout: &Layout, workload: usize) -> Vec<Cause> {
        let spec = &self.instance.problem.workloads[workload];
        let mut causes = BTreeSet::new();
        for node in &self.instance.allowed[workload] {
            for (resource, demand) in spec.demand.iter().enumerate() {
                if layout.free(*node, resource) < u128::from(*demand) {
                    causes.insert(self.capacity(layout, workload, resource));
                }
            }
            if spec.per_node_max.is_some_and(|max| layout.count(workload, *node) >= max) {
                causes.insert(Cause::PerNodeMax);
            }
            causes.extend(layout.forbidden_by(workload, *node, false).map(Cause::Rule));
        }
        causes.extend(crate::survival::in_the_way(layout, workload).into_iter().map(Cause::Rule));
        let constraints = &self.instance.problem.constraints;
        for rule in &self.instance.rules_of[workload] {
            let all = matches!(constraints[*rule].rule, Rule::AllOrNothing { .. });
            if all || self.instance.allowed[workload].is_empty() && constraints[*rule].weight.is_none() {
                causes.insert(Cause::Rule(*rule));
            }
        }
        causes.into_iter().collect()
    }

    /// Changes after which the workload is whole and no other is worse off, cheapest first: a rule less, more nodes, fewer replicas.
    fn repairs(&self, layout: &Layout, workload: usize, conflict: &[Cause]) -> Vec<Repair> {
        let by = self.surplus(layout, workload);
        let mut ideas: Vec<Repair> = Vec::new();
        for cause in conflict {
            if let Cause::Rule(rule) = cause {
                ideas.push(Repair::DropRule(*rule));
            }
        }
        let empty = |node: &usize| self.room_when_empty(workload, *node);
        let candidate =
            self.instance.allowed[workload].iter().copied().max_by_key(|node| (empty(node), std::cmp::Reverse(*node)));
        if let Some((like, room)) = candidate.map(|node| (node, empty(&node))).filter(|(_, room)| *room > 0) {
            let count = by.div_ceil(room);
            if (1..=ADDED_NODES_MAX).contains(&count) {
                ideas.push(Repair::AddNodes { like, count });
            }
        }
        if by > 0 {
            ideas.push(Repair::WantFewer { workload, by });
        }
        let mut repairs = Vec::new();
        for idea in ideas {
            if repairs.len() < REPAIRS_MAX && !self.deadline.passed() && self.helps(layout, workload, &idea) {
                repairs.push(idea);
            }
        }
        repairs
    }

    /// How many replicas of a workload a node like this one holds when nothing else is on it.
    fn room_when_empty(&self, workload: usize, node: usize) -> u32 {
        let spec = &self.instance.problem.workloads[workload];
        let capacity = &self.instance.problem.nodes[node].capacity;
        let pairs = spec.demand.iter().zip(capacity).filter(|(demand, _)| **demand > 0);
        let room = pairs.map(|(demand, capacity)| capacity / demand).min().unwrap_or(u64::from(spec.wanted));
        u32::try_from(room).unwrap_or(u32::MAX).min(spec.per_node_max.unwrap_or(u32::MAX)).min(spec.wanted)
    }

    /// Solves the changed problem from the present placement: is the workload whole, and nobody shorter than before?
    fn helps(&self, layout: &Layout, workload: usize, repair: &Repair) -> bool {
        let mut problem = changed(self.instance.problem, repair);
        if problem.validate().is_err() {
            return false;
        }
        // Others that are short must not take what is meant for this one (those that come with it, all or nothing, may).
        let together =
            self.instance.rules_of[workload].iter().filter_map(|rule| match &problem.constraints[*rule].rule {
                Rule::AllOrNothing { workloads } => Some(workloads.clone()),
                _ => None,
            });
        let together: BTreeSet<usize> = together.flatten().chain([workload]).collect();
        for (index, spec) in problem.workloads.iter_mut().enumerate().filter(|(index, _)| !together.contains(index)) {
            spec.wanted -= layout.missing(index);
        }
        let instance = Instance::new(&problem);
        let after = Layout::new(&instance, &self.solved(&instance));
        let no_worse =
            |w: usize| after.missing(w) == 0 || together.contains(&w) && after.missing(w) <= layout.missing(w);
        after.missing(workload) == 0 && (0..problem.workloads.len()).all(no_worse)
    }

    /// The least shortage found quickly for a changed problem, from the present placement.
    fn solved(&self, instance: &Instance) -> Vec<Placed> {
        let mut search = Search::new(instance, prune(instance, self.placed));
        search.greedy();
        let deadline = self.deadline.within(TEST_MAX);
        if search.is_short() && instance.pairs() <= self.exact_pairs_max {
            let model = Model::build(instance, &Scope::whole(instance));
            let start =
                Some(model.start_from(&search.best)).filter(|start| model.program.broken_by(start, &[]).is_none());
            let tiers = model.tiers.iter().filter(|(tier, _)| matches!(tier, Tier::Shortage(_))).count();
            let found = minimise(&model, start, &[], Effort { deadline, each: TEST_MAX, relative_gap: 0.0, tiers });
            if let Some(values) = found.values {
                search.offer(model.placement(&values));
            }
        } else if search.is_short() {
            search.neighbourhoods(deadline);
        }
        search.best
    }

    /// How many replicas are too many: those missing, or, when all or nothing is asked for, those that would be missing if it were not.
    fn surplus(&self, layout: &Layout, workload: usize) -> u32 {
        let alone = |rule: &&usize| match &self.instance.problem.constraints[**rule].rule {
            Rule::AllOrNothing { workloads } => workloads.len() == 1,
            _ => false,
        };
        let Some(rule) = self.instance.rules_of[workload].iter().find(alone).copied() else {
            return layout.missing(workload);
        };
        let problem = changed(self.instance.problem, &Repair::DropRule(rule));
        let instance = Instance::new(&problem);
        Layout::new(&instance, &self.solved(&instance)).missing(workload)
    }
}

/// A rule that says nothing, in the place of one taken away.
fn nothing() -> Rule {
    Rule::Quota { workloads: Vec::new(), max: Vec::new() }
}

/// The problem after a repair.
fn changed(problem: &Problem, repair: &Repair) -> Problem {
    let mut problem = problem.clone();
    match *repair {
        Repair::DropRule(rule) => {
            problem.constraints[rule].rule = nothing();
            problem.constraints[rule].weight = None;
        }
        Repair::WantFewer { workload, by } => {
            let spec = &mut problem.workloads[workload];
            spec.wanted = spec.wanted.saturating_sub(by);
        }
        Repair::AddNodes { like, count } => (0..count).for_each(|_| add_node(&mut problem, like)),
    }
    problem
}

/// One more node like another: in the same domains, except that where every domain is one node it gets one of its own.
fn add_node(problem: &mut Problem, like: usize) {
    let added = problem.nodes.len();
    let mut node = problem.nodes[like].clone();
    node.name = format!("{} (new {added})", node.name);
    for (index, topology) in problem.topologies.iter_mut().enumerate() {
        let Some(domain) = node.domains[index] else { continue };
        let shared = problem.nodes.iter().filter(|other| other.domains[index] == Some(domain)).count() > 1;
        let single = !shared && topology.domains.len() * 2 > added;
        if single {
            topology.domains.push(node.name.clone());
            node.domains[index] = Some(topology.domains.len() - 1);
        }
    }
    problem.nodes.push(node);
    for workload in &mut problem.workloads {
        if workload.eligible.binary_search(&like).is_ok() {
            workload.eligible.push(added);
        }
    }
    for constraint in &mut problem.constraints {
        match &mut constraint.rule {
            Rule::Prefer { nodes, .. } | Rule::NodesMost { nodes, .. } if nodes.binary_search(&like).is_ok() => {
                nodes.push(added);
            }
            Rule::Safety { safe, .. } => safe.push(safe[like]),
            Rule::MovedFar { units } => {
                units.iter_mut().for_each(|row| row.push(row[like]));
                units.push(units[like].clone());
            }
            _ => {}
        }
    }
}
