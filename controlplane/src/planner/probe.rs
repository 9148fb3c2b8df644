//! What the checker says against one more replica of a workload, node by node.
//!
//! Asked about the whole cluster for each node, it would count every replica as often as there are nodes. It is asked about what can matter:
//!
//! ```text
//! the node   what lies on it, and one more: capacity, devices, how many a node may have
//! its rules  those that name the workload, and the replicas of the workloads they name
//! filled     the limits of pools, and which nodes hold anything
//! whole      reserves: everything, for the nodes that nothing else speaks against, as long as there is time
//! ```

use super::program::Program;
use super::verify::violation_text;
use hyphae_solver::{
    Constraint, ConstraintIdx, Node, NodeIdx, Placed, Problem, Rule, Violation, Workload, WorkloadIdx, check,
};
use std::time::{Duration, Instant};

/// Asks about one workload.
pub(super) struct Probe<'a> {
    program: &'a Program,
    workload: WorkloadIdx,
    /// Replicas by node: the workload, and how many.
    there: Vec<Vec<(WorkloadIdx, u32)>>,
    rules: Part,
    filled: Option<Part>,
    whole: Option<Part>,
    until: Instant,
}

impl<'a> Probe<'a> {
    /// One replica more is wanted, since whether it is wanted is not a node's fault. Reserves are asked about for so long.
    #[expect(clippy::disallowed_methods, reason = "how long reserves may be asked about")]
    pub(super) fn new(program: &'a Program, workload: WorkloadIdx, time_limit: Duration) -> Self {
        let mut there = vec![Vec::new(); program.nodes.len()];
        program.problem.current.iter().for_each(|placed| there[placed.node].push((placed.workload, placed.count)));
        Self {
            rules: rules(&program.problem, workload),
            filled: filled(&program.problem, &there),
            whole: whole(&program.problem, workload),
            program,
            workload,
            there,
            until: Instant::now() + time_limit,
        }
    }

    /// Replicas of the workload on a node.
    pub(super) fn replicas(&self, node: NodeIdx) -> u32 {
        self.there[node].iter().filter(|(workload, _)| *workload == self.workload).map(|(_, count)| count).sum()
    }

    /// What speaks against one more on the node, beyond what is broken already.
    #[expect(clippy::disallowed_methods, reason = "how long reserves may be asked about")]
    pub(super) fn reasons(&self, node: NodeIdx) -> Vec<String> {
        let keeps_off = self.program.ineligible[self.workload].iter().filter(|reason| reason.nodes.contains(&node));
        let keeps_off: Vec<String> = keeps_off
            .map(|reason| match &reason.origin {
                Some(origin) => format!("{} ({}:{})", reason.text, origin.file, origin.line),
                None => reason.text.clone(),
            })
            .collect();
        if !keeps_off.is_empty() {
            return keeps_off;
        }
        let mut against = self.on_node(node);
        against.extend(self.rules.with_one_more(self.workload, node));
        against.extend(self.filled.iter().flat_map(|filled| filled.with_one_more(0, node)));
        if let (Some(whole), true) = (&self.whole, against.is_empty()) {
            if Instant::now() >= self.until {
                return vec![self.not_asked()];
            }
            against = whole.with_one_more(self.workload, node);
        }
        against.sort_unstable();
        against.iter().map(|violation| violation_text(self.program, violation)).collect()
    }

    fn not_asked(&self) -> String {
        let problem = &self.program.problem;
        let reserve = problem.constraints.iter().position(is_hard_reserve);
        let name = reserve.map_or_else(String::new, |at| {
            let origin = &self.program.origins[at];
            format!("{} ({}:{})", origin.text, origin.file, origin.line)
        });
        format!("there was no time to find out whether it would keep {name}; nothing else speaks against it")
    }

    /// As if there were no other node.
    fn on_node(&self, node: NodeIdx) -> Vec<Violation> {
        let problem = &self.program.problem;
        let mut workloads: Vec<WorkloadIdx> = self.there[node].iter().map(|(workload, _)| *workload).collect();
        let at = workloads.iter().position(|workload| *workload == self.workload).unwrap_or(workloads.len());
        if at == workloads.len() {
            workloads.push(self.workload);
        }
        let counted = |workload: &WorkloadIdx| {
            let Workload { demand, per_node_max, device, .. } = &problem.workloads[*workload];
            let (demand, wanted, eligible) = (demand.clone(), u32::MAX, vec![0]);
            Workload { demand, wanted, eligible, per_node_max: *per_node_max, device: *device, ..Workload::default() }
        };
        let Node { capacity, devices, .. } = problem.nodes[node].clone();
        let alone = Problem {
            resources: problem.resources.clone(),
            devices: problem.devices.clone(),
            nodes: vec![Node { capacity, devices, ..Node::default() }],
            workloads: workloads.iter().map(counted).collect(),
            ..Problem::default()
        };
        let there = self.there[node].iter().enumerate();
        let placed = there.map(|(workload, (_, count))| Placed { workload, node: 0, count: *count }).collect();
        let mut against = Part::new(alone, placed, Vec::new()).with_one_more(at, 0);
        for violation in &mut against {
            match violation {
                Violation::Capacity { node: at, .. } | Violation::Devices { node: at, .. } => *at = node,
                Violation::PerNodeMax { workload, node: at, .. } => (*workload, *at) = (workloads[*workload], node),
                _ => {}
            }
        }
        against
    }
}

/// A part of the problem with what lies there.
struct Part {
    problem: Problem,
    placed: Vec<Placed>,
    /// What its constraints are in the whole problem.
    positions: Vec<ConstraintIdx>,
    before: Vec<Violation>,
}

impl Part {
    fn new(problem: Problem, mut placed: Vec<Placed>, positions: Vec<ConstraintIdx>) -> Self {
        placed.sort_unstable();
        let before = check(&problem, &placed);
        Self { problem, placed, positions, before }
    }

    fn with_one_more(&self, workload: WorkloadIdx, node: NodeIdx) -> Vec<Violation> {
        let mut placed = self.placed.clone();
        match placed.binary_search_by_key(&(workload, node), |placed| (placed.workload, placed.node)) {
            Ok(at) => placed[at].count += 1,
            Err(at) => placed.insert(at, Placed { workload, node, count: 1 }),
        }
        let mut after = check(&self.problem, &placed);
        after.retain(|violation| !self.before.contains(violation));
        for violation in &mut after {
            if let Violation::Rule { constraint, .. } = violation {
                *constraint = self.positions[*constraint];
            }
        }
        after
    }

    /// Without nodes' amounts: rules, labels and eligibility are all that is asked.
    fn of_rules(problem: Problem, placed: Vec<Placed>, positions: Vec<ConstraintIdx>) -> Self {
        let bare = |node: &Node| Node { domains: node.domains.clone(), ..Node::default() };
        let nodes = problem.nodes.iter().map(bare).collect();
        let uncounted = |workload: &Workload| Workload { per_node_max: None, device: None, ..workload.clone() };
        let workloads = problem.workloads.iter().map(uncounted).collect();
        Self::new(Problem { nodes, workloads, devices: Vec::new(), ..problem }, placed, positions)
    }
}

fn is_hard_reserve(constraint: &Constraint) -> bool {
    constraint.weight.is_none() && matches!(constraint.rule, Rule::Reserve { .. })
}

fn stated(problem: &Problem, is: impl Fn(&Constraint) -> bool) -> (Vec<Constraint>, Vec<ConstraintIdx>) {
    let constraints = problem.constraints.iter().enumerate();
    constraints.filter(|(_, constraint)| is(constraint)).map(|(at, constraint)| (constraint.clone(), at)).unzip()
}

fn one_more_wanted(problem: &Problem, workload: WorkloadIdx) -> Vec<Workload> {
    let mut workloads = problem.workloads.clone();
    workloads[workload].wanted = workloads[workload].wanted.saturating_add(1);
    workloads
}

fn rules(problem: &Problem, workload: WorkloadIdx) -> Part {
    let names = |constraint: &Constraint| constraint.rule.workloads().contains(&workload);
    let (constraints, positions) = stated(problem, |constraint| constraint.weight.is_none() && names(constraint));
    let mut named: Vec<WorkloadIdx> = constraints.iter().flat_map(|constraint| constraint.rule.workloads()).collect();
    named.push(workload);
    named.sort_unstable();
    let placed = problem.current.iter().filter(|placed| named.binary_search(&placed.workload).is_ok());
    let placed = placed.copied().collect();
    let part = Problem {
        resources: problem.resources.clone(),
        topologies: problem.topologies.clone(),
        nodes: problem.nodes.clone(),
        workloads: one_more_wanted(problem, workload),
        constraints,
        ..Problem::default()
    };
    Part::of_rules(part, placed, positions)
}

/// Where a limit on the nodes that hold anything is stated: one of a single workload on each that does.
fn filled(problem: &Problem, there: &[Vec<(WorkloadIdx, u32)>]) -> Option<Part> {
    let is_limit = |constraint: &Constraint| matches!(constraint.rule, Rule::NodesMost { .. });
    let (constraints, positions) = stated(problem, |constraint| constraint.weight.is_none() && is_limit(constraint));
    let anything = Workload { wanted: u32::MAX, eligible: (0..there.len()).collect(), ..Workload::default() };
    let part = Problem { nodes: problem.nodes.clone(), workloads: vec![anything], constraints, ..Problem::default() };
    let nodes = (0..there.len()).filter(|node| !there[*node].is_empty());
    let placed = nodes.map(|node| Placed { workload: 0, node, count: 1 }).collect();
    (!positions.is_empty()).then(|| Part::of_rules(part, placed, positions))
}

/// Everything, where a reserve is stated.
fn whole(problem: &Problem, workload: WorkloadIdx) -> Option<Part> {
    let positions = (0..problem.constraints.len()).collect();
    let part = || Problem { workloads: one_more_wanted(problem, workload), ..problem.clone() };
    problem.constraints.iter().any(is_hard_reserve).then(|| Part::new(part(), problem.current.clone(), positions))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::planner::program::program;
    use crate::planner::tests::{request, state};
    use crate::planner::{ExplainRequest, explain_planned, sources};

    const NODES: &str = r#"
        node "n1" { capacity cpu=4 memory="8GiB"; labels zone="a"; devices gpu=2 }
        node "n2" { capacity cpu=4 memory="8GiB"; labels zone="a" rack="r1" }
        node "n3" { capacity cpu=4 memory="8GiB"; labels zone="b" rack="r1"; devices gpu=1 }
        node "n4" { capacity cpu=2 memory="2GiB"; labels zone="c" rack="r2" }
        node "n5" { capacity cpu=4 memory="8GiB"; labels rack="r2"; taint "own" }
    "#;
    const SPECS: &str = r#"
        team "default" { quota cpu=14 }
        daemon "agent" { image "x/x:1"; resources cpu=0.2 memory="64MiB" }
        service "web" { image "x/x:1"; replicas 4; resources cpu=1 memory="1GiB"; port "http" 80 host=80
            place { spread over="zone"; survive loss-of="zone" keep=2 } }
        service "api" { image "x/x:1"; replicas 2; resources cpu=1 memory="1GiB"
            place { separate within="rack"; separate from="web" within="node"; near "web" within="zone" } }
        service "train" { image "x/x:1"; replicas 2; resources cpu=0.5 memory="1GiB"; device gpu=0.7; all-or-nothing }
        service "cache" { image "x/x:1"; replicas 1; resources cpu=0.5 memory="1GiB"; place { require zone="a" } }
    "#;

    #[test]
    fn the_parts_say_what_the_whole_says() {
        let state = state(NODES);
        for specs in [SPECS.to_owned(), format!("reserve survive-loss-of=\"node\"\n{SPECS}")] {
            let request = request(&state, &[("spec.kdl", &specs)]);
            let merged = sources::merge(&state, &request.inputs).unwrap();
            let mut program = program(&state, &merged);
            let solved = hyphae_solver::solve(&program.problem, &hyphae_solver::SolveOptions::default()).unwrap();
            program.problem.current = solved.placed;
            let mut against = 0;
            for workload in 0..program.workloads.len() {
                let whole = Part::new(
                    Problem { workloads: one_more_wanted(&program.problem, workload), ..program.problem.clone() },
                    program.problem.current.clone(),
                    (0..program.problem.constraints.len()).collect(),
                );
                let probe = Probe::new(&program, workload, Duration::from_secs(60));
                for node in 0..program.nodes.len() {
                    let kept_off = program.ineligible[workload].iter().any(|reason| reason.nodes.contains(&node));
                    let all = whole.with_one_more(workload, node);
                    let expected: Vec<String> = all.iter().map(|found| violation_text(&program, found)).collect();
                    let found = probe.reasons(node);
                    let where_to = format!("{} on {}", program.workloads[workload], program.nodes[node]);
                    assert_eq!(found.is_empty(), expected.is_empty(), "{where_to}: {found:?}, {expected:?}");
                    // A reserve is asked about only where nothing else speaks against it.
                    let missing: Vec<_> = expected.iter().filter(|text| !found.contains(text)).collect();
                    let only_reserves = missing.iter().all(|text| text.starts_with("reserve"));
                    assert!(kept_off || only_reserves, "{where_to}: {found:?}, {expected:?}");
                    assert!(kept_off || found.iter().all(|text| expected.contains(text)), "{where_to}: {found:?}");
                    against += usize::from(!found.is_empty());
                }
            }
            assert!(against > 10, "{against}");
        }
    }

    #[test]
    fn what_there_was_no_time_to_ask_is_said() {
        let state = state(NODES);
        let specs =
            "reserve survive-loss-of=\"zone\"\nservice \"web\" { image \"x/x:1\"; resources cpu=1 memory=\"1GiB\" }";
        let inputs = request(&state, &[("spec.kdl", specs)]).inputs;
        let (workload, deadline) = ("default/web".to_owned(), Duration::ZERO);
        let request = ExplainRequest { state: &state, inputs, workload, costs: false, deadline, cancel: None };
        let nodes = explain_planned(&request).unwrap().nodes;
        let not_asked = nodes.iter().filter(|node| node.reasons.iter().any(|reason| reason.contains("no time")));
        assert!(not_asked.clone().count() > 0 && not_asked.clone().all(|node| !node.fits), "{nodes:?}");
    }
}
