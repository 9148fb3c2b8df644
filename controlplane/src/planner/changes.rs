//! The difference between what runs and what is wanted, replica by replica.
//!
//! Pure and deterministic: `verify` derives the same changes from the same assignments again.

use super::program::Program;
use super::template::difference;
use crate::plan::{Action, Change};
use crate::state::State;
use hyphae_solver::{Placed, Rule};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// Replicas of one workload on their nodes: node name to (index, generation), ascending.
type OnNodes<'a> = BTreeMap<&'a str, Vec<(u32, u64)>>;

/// The generation each workload has after the request: one more where its template changes.
pub(super) fn generations(state: &State, program: &Program) -> Vec<u64> {
    let generation = |(name, template): (&String, &crate::state::Template)| match state.workloads.get(name) {
        None => 1,
        Some(record) if record.templates.get(&record.generation) == Some(template) => record.generation,
        Some(record) => record.generation + 1,
    };
    program.workloads.iter().zip(&program.templates).map(generation).collect()
}

/// All changes, sorted by workload, then action, then nodes.
pub(super) fn changes(state: &State, program: &Program, placed: &[Placed]) -> Vec<Change> {
    let generations = generations(state, program);
    let mut running: BTreeMap<&str, OnNodes<'_>> = BTreeMap::new();
    for (id, replica) in &state.replicas {
        let nodes = running.entry(&id.workload).or_default();
        nodes.entry(&replica.node).or_default().push((id.index, replica.generation));
    }
    let mut wanted_of: Vec<BTreeMap<&str, u32>> = vec![BTreeMap::new(); program.workloads.len()];
    for placed in placed {
        wanted_of[placed.workload].insert(&program.nodes[placed.node], placed.count);
    }
    let mut changes = Vec::new();
    let rules = super::reasons::rules_by_workload(program);
    let mut crowded_out: BTreeSet<&str> = BTreeSet::new();
    for ((position, name), wanted) in program.workloads.iter().enumerate().zip(wanted_of) {
        let runs = running.remove(name.as_str()).unwrap_or_default();
        let (generation, placed) = (generations[position], wanted.values().sum());
        let rules = &rules[position];
        let difference = Difference { state, program, name, position, rules, generation, placed };
        changes.extend(difference.changes(&runs, &wanted));
        if difference.wanted() >= count(&runs) {
            crowded_out.insert(name);
        }
    }
    for (name, nodes) in running {
        changes.extend(nodes.into_iter().map(|(node, replicas)| {
            let replicas = replicas.iter().map(|(index, _)| *index).collect();
            change(Action::Stop, name, Some(node), None, "deleted".to_owned(), replicas)
        }));
    }
    name_displacers(program, &crowded_out, &mut changes);
    changes.sort_by(|a, b| {
        (&a.workload, a.action, &a.from, &a.to, &a.replicas).cmp(&(&b.workload, b.action, &b.from, &b.to, &b.replicas))
    });
    changes
}

fn count(runs: &OnNodes<'_>) -> usize {
    runs.values().map(Vec::len).sum()
}

/// Says of what stops though it is wanted which workloads of a higher priority come where it was.
fn name_displacers(program: &Program, crowded_out: &BTreeSet<&str>, changes: &mut [Change]) {
    let position = |name: &String| program.workloads.binary_search(name).ok();
    let priority = |name: &String| position(name).map(|position| program.problem.workloads[position].priority);
    let mut arrivals: BTreeMap<String, BTreeSet<(Reverse<i32>, String)>> = BTreeMap::new();
    for change in changes.iter().filter(|change| matches!(change.action, Action::Start | Action::Move)) {
        if let (Some(node), Some(priority)) = (&change.to, priority(&change.workload)) {
            arrivals.entry(node.clone()).or_default().insert((Reverse(priority), change.workload.clone()));
        }
    }
    let crowded =
        |change: &&mut Change| change.action == Action::Stop && crowded_out.contains(change.workload.as_str());
    for change in changes.iter_mut().filter(crowded) {
        let (Some(own), Some(node)) = (priority(&change.workload), &change.from) else { continue };
        let higher = arrivals.get(node).into_iter().flatten().filter(|(priority, _)| priority.0 > own);
        let names: Vec<String> = higher.map(|(priority, name)| format!("{name} (priority {})", priority.0)).collect();
        match names.as_slice() {
            [] => {}
            [few @ .., last] if few.len() < 3 => {
                let others = few.iter().map(|name| format!("{name}, ")).collect::<String>();
                change.why = format!("makes room for {others}{last}");
            }
            [first, others @ ..] => change.why = format!("makes room for {first} and {} more workloads", others.len()),
        }
    }
}

fn change(
    action: Action,
    workload: &str,
    from: Option<&str>,
    to: Option<&str>,
    why: String,
    replicas: Vec<u32>,
) -> Change {
    Change {
        action,
        workload: workload.to_owned(),
        from: from.map(str::to_owned),
        to: to.map(str::to_owned),
        count: replicas.len() as u32,
        why,
        replicas,
        new_replicas: Vec::new(),
    }
}

struct Difference<'a> {
    state: &'a State,
    program: &'a Program,
    name: &'a str,
    position: usize,
    /// Those that name it.
    rules: &'a [usize],
    generation: u64,
    /// Replicas that the plan places.
    placed: u32,
}

impl Difference<'_> {
    fn changes(&self, runs: &OnNodes<'_>, wanted: &BTreeMap<&str, u32>) -> Vec<Change> {
        let mut changes = Vec::new();
        let mut leaving: Vec<(&str, u32)> = Vec::new();
        for (node, replicas) in runs {
            let (stay, leave) = self.who_stays(replicas, wanted.get(node).copied().unwrap_or(0));
            leaving.extend(leave.into_iter().map(|index| (*node, index)));
            let outdated: Vec<u32> =
                stay.iter().filter(|(_, g)| *g != self.generation).map(|(index, _)| *index).collect();
            if !outdated.is_empty() {
                let why = self.why_update(stay.iter().map(|(_, generation)| *generation).min().unwrap_or(0));
                changes.push(change(Action::Update, self.name, Some(node), Some(node), why, outdated));
            }
        }
        let arriving = wanted.iter().flat_map(|(node, count)| {
            let running = runs.get(node).map_or(0, Vec::len);
            std::iter::repeat_n(*node, (*count as usize).saturating_sub(running))
        });
        let arriving: Vec<&str> = arriving.collect();
        let mut free = self.free_indices(runs);
        let arriving: Vec<(&str, u32)> = arriving.into_iter().zip(&mut free).collect();
        let moves = leaving.len().min(arriving.len());
        changes.extend(self.moves(&leaving[..moves], &arriving[..moves]));
        changes.extend(self.grouped(Action::Start, &arriving[moves..], runs));
        changes.extend(self.grouped(Action::Stop, &leaving[moves..], runs));
        changes
    }

    /// How many should run: a `survive` may need more than are wanted.
    fn wanted(&self) -> usize {
        self.program.problem.workloads[self.position].wanted.max(self.placed) as usize
    }

    /// Up to date ones stay first, then those with the lowest index.
    fn who_stays(&self, replicas: &[(u32, u64)], wanted: u32) -> (Vec<(u32, u64)>, Vec<u32>) {
        let mut order = replicas.to_vec();
        order.sort_by_key(|(index, generation)| (*generation != self.generation, *index));
        let mut leave: Vec<u32> = order.split_off((wanted as usize).min(order.len())).iter().map(|r| r.0).collect();
        order.sort_unstable();
        leave.sort_unstable();
        (order, leave)
    }

    /// Indices that no running replica has, nor one of a job that has ended.
    fn free_indices(&self, runs: &OnNodes<'_>) -> impl Iterator<Item = u32> + use<> {
        let mut used: BTreeSet<u32> = runs.values().flatten().map(|(index, _)| *index).collect();
        if let Some(record) = self.state.workloads.get(self.name)
            && record.generation == self.generation
        {
            used.extend(record.finished.keys());
        }
        (0..).filter(move |index| !used.contains(index))
    }

    fn moves(&self, leaving: &[(&str, u32)], arriving: &[(&str, u32)]) -> Vec<Change> {
        let mut moves: BTreeMap<(&str, &str), Change> = BTreeMap::new();
        for ((from, old), (to, new)) in leaving.iter().zip(arriving) {
            let moved = moves.entry((from, to)).or_insert_with(|| {
                change(Action::Move, self.name, Some(from), Some(to), self.why_move(from), Vec::new())
            });
            moved.replicas.push(*old);
            moved.new_replicas.push(*new);
            moved.count += 1;
        }
        moves.into_values().collect()
    }

    fn grouped(&self, action: Action, replicas: &[(&str, u32)], runs: &OnNodes<'_>) -> Vec<Change> {
        let mut nodes: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
        for (node, index) in replicas {
            nodes.entry(node).or_default().push(*index);
        }
        let (running, wanted) = (count(runs), self.wanted());
        let why = match action {
            Action::Start if !self.state.workloads.contains_key(self.name) => format!("new{}", self.guided()),
            Action::Start => format!("{running} running, {wanted} wanted{}", self.guided()),
            _ if wanted < running => format!("{running} running, only {wanted} wanted"),
            _ => "no longer has a place".to_owned(),
        };
        let change_on = |(node, indices): (&str, Vec<u32>)| {
            let (from, to) = if action == Action::Start { (None, Some(node)) } else { (Some(node), None) };
            change(action, self.name, from, to, why.clone(), indices)
        };
        nodes.into_iter().map(change_on).collect()
    }

    fn why_update(&self, from_generation: u64) -> String {
        let record = self.state.workloads.get(self.name);
        match record.and_then(|record| record.templates.get(&from_generation)) {
            Some(old) => difference(old, &self.program.templates[self.position]),
            None => "spec changed".to_owned(),
        }
    }

    /// The node has become ineligible, or the rest of the plan is better so.
    fn why_move(&self, from: &str) -> String {
        let node = self.program.nodes.binary_search_by(|node| node.as_str().cmp(from)).ok();
        let Some(node) = node else { return format!("{from} is gone") };
        let keeps_off = self.program.ineligible[self.position].iter().find(|reason| reason.nodes.contains(&node));
        match keeps_off {
            Some(reason) => format!("{from} is no longer allowed: {}", reason.text),
            None => format!("keeps the constraints at the lowest cost{}", self.guided()),
        }
    }

    /// What decided where its replicas go: its `require`s, policies and rules as written; without any, the cluster's objective alone.
    fn guided(&self) -> String {
        // What is written nowhere (taints, cordons) holds for nearly every workload and would only make each reason longer.
        let written = self.program.ineligible[self.position].iter().filter(|reason| reason.origin.is_some());
        let keeps_off = written.map(|reason| reason.text.as_str());
        let where_to = |position: &usize| {
            let rule = &self.program.problem.constraints[*position].rule;
            !matches!(rule, Rule::Quota { .. } | Rule::AllOrNothing { .. })
        };
        let rules = self.rules.iter().filter(|position| where_to(position));
        let rules = rules.map(|position| self.program.origins[*position].text.as_str());
        let mut texts: Vec<&str> = Vec::new();
        for text in keeps_off.chain(rules) {
            if !texts.contains(&text) {
                texts.push(text);
            }
        }
        if texts.is_empty() { String::new() } else { format!("; by {}", texts.join(", ")) }
    }
}
