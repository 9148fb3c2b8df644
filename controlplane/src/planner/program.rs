//! From the model and the state to the solver's problem, keeping for every row where it was written.

use super::eligibility::{Eligibility, Ineligible};
use super::reserves;
use super::resources::{ResourceKey, ResourceTable};
use super::sources::Merged;
use super::template::template;
use super::{pools, scaling};
use crate::state::{State, Template};
use hyphae_solver::{Constraint, NodeIdx, Objective, Placed, Problem, Rule, Shape, Topology, TopologyIdx, WorkloadIdx};
use hyphae_specs::{IndexedSources, PlaceKind, PlaceRule, Replicas, Span, Strategy, Workload, WorkloadKind};
use std::collections::{BTreeMap, BTreeSet};

/// The solver's problem and what its indices mean.
pub(super) struct Program {
    pub(super) problem: Problem,
    pub(super) resources: ResourceTable,
    /// Names by [`NodeIdx`].
    pub(super) nodes: Vec<String>,
    /// The keys of all labels that any node has.
    pub(super) labels: BTreeSet<String>,
    /// Full names by [`WorkloadIdx`].
    pub(super) workloads: Vec<String>,
    /// By [`WorkloadIdx`].
    pub(super) templates: Vec<Template>,
    /// By constraint index.
    pub(super) origins: Vec<Origin>,
    /// By [`WorkloadIdx`]: what keeps it off which nodes.
    pub(super) ineligible: Vec<Vec<Ineligible>>,
}

/// Where a constraint is written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Origin {
    pub(super) file: String,
    pub(super) line: usize,
    pub(super) column: usize,
    /// The statement, on one line.
    pub(super) text: String,
}

impl Origin {
    pub(super) fn new(sources: &IndexedSources, span: Span) -> Self {
        let position = sources.position(span);
        let text = sources.slice(span).split_whitespace().collect::<Vec<_>>().join(" ");
        Self { file: position.file, line: position.line, column: position.column, text }
    }
}

/// A workload's own placement rules and those of every constraint that applies to it.
pub(super) fn rules_of<'a>(workload: &'a Workload, merged: &'a Merged) -> impl Iterator<Item = &'a PlaceRule> {
    let applying = merged.model.constraints.values().filter(|constraint| constraint.applies(workload));
    workload.place.iter().chain(applying.flat_map(|constraint| &constraint.place))
}

/// Builds the problem.
pub(super) fn program(state: &State, merged: &Merged) -> Program {
    let nodes: Vec<String> = state.nodes.keys().cloned().collect();
    let workloads: Vec<String> = merged.model.workloads.keys().cloned().collect();
    let templates: Vec<Template> = merged.model.workloads.values().map(template).collect();
    let current = current(state, &nodes, &workloads);
    let resources = resource_table(state, &nodes, &workloads, &templates, &current, merged);
    let eligibility = Eligibility::new(state, merged);

    let mut builder = Builder {
        merged,
        index: workloads.iter().enumerate().map(|(position, name)| (name.clone(), position)).collect(),
        topologies: Topologies::new(state),
        constraints: Vec::new(),
        origins: Vec::new(),
        wanted: Vec::new(),
    };
    let devices = reserves::device_kinds(&merged.model);
    let mut solver_workloads = Vec::new();
    let mut ineligible = Vec::new();
    let mut daemons = Vec::new();
    for (position, (name, workload)) in merged.model.workloads.iter().enumerate() {
        let held = |node: NodeIdx| current.contains_key(&(position, node));
        let (mut eligible, reasons) = eligibility.of(workload, held);
        if matches!(workload.kind, WorkloadKind::Daemon) {
            let here = pools::only_here(state, &eligible);
            daemons.push((resources.demand(name, &templates[position]), std::mem::replace(&mut eligible, here)));
        }
        let wanted = wanted(state, merged, name, &templates[position], eligible.len());
        builder.wanted.push(wanted);
        solver_workloads.push(hyphae_solver::Workload {
            name: name.clone(),
            demand: resources.demand(name, &templates[position]),
            wanted,
            surplus_max: scaling::surplus_max(merged, name, workload),
            priority: workload.priority.as_ref().map_or(0, |priority| priority.value),
            move_weight: workload.move_weight.as_ref().map_or(1, |weight| weight.value),
            eligible,
            per_node_max: matches!(workload.kind, WorkloadKind::Daemon).then_some(1),
            device: reserves::device_demand(workload, &devices),
        });
        ineligible.push(reasons);
    }
    for (position, workload) in merged.model.workloads.values().enumerate() {
        for rule in rules_of(workload, merged) {
            builder.place_rule(position, workload, rule, &eligibility);
        }
    }
    builder.quotas(&resources);
    builder.all_or_nothing();
    for (constraint, origin) in pools::limits(state, merged) {
        builder.constraints.push(constraint);
        builder.origins.push(origin);
    }
    let stated = reserves::reserves(&merged.model, |key| builder.topologies.position(key));
    builder.push_all(stated);

    let held = held(state, &nodes, &workloads, &resources, &current);
    let mut solver_nodes = solver_nodes(state, &nodes, &workloads, &resources, &current, &builder.topologies);
    pools::set_aside(&mut solver_nodes, &daemons);
    for (node, name) in solver_nodes.iter_mut().zip(&nodes) {
        node.devices = reserves::devices_of(&state.nodes[name].devices, &devices);
    }
    builder.push_all(reserves::safeties(&merged.model, &resources, &solver_nodes));
    builder.push_all(reserves::balances(&merged.model, &resources));
    let problem = Problem {
        resources: resources.solver_resources(),
        devices,
        topologies: builder.topologies.list,
        nodes: solver_nodes,
        workloads: solver_workloads,
        constraints: builder.constraints,
        current: current.iter().map(|(&(workload, node), &count)| Placed { workload, node, count }).collect(),
        held,
        objective: objective(merged),
    };
    let labels = state.nodes.values().flat_map(|node| node.labels.keys().cloned()).collect();
    Program { problem, resources, nodes, labels, workloads, templates, origins: builder.origins, ineligible }
}

/// Running replicas by (workload, node). Replicas of workloads that go away, or on nodes that are gone, are not in it.
fn current(state: &State, nodes: &[String], workloads: &[String]) -> BTreeMap<(WorkloadIdx, NodeIdx), u32> {
    let mut current = BTreeMap::new();
    for (id, replica) in &state.replicas {
        if let (Ok(workload), Ok(node)) = (workloads.binary_search(&id.workload), nodes.binary_search(&replica.node)) {
            *current.entry((workload, node)).or_insert(0) += 1;
        }
    }
    current
}

/// What the running replicas hold, by the templates they were started with; in the order of `current`.
fn held(
    state: &State,
    nodes: &[String],
    workloads: &[String],
    resources: &ResourceTable,
    current: &BTreeMap<(WorkloadIdx, NodeIdx), u32>,
) -> Vec<Vec<u64>> {
    let mut held: BTreeMap<(WorkloadIdx, NodeIdx), Vec<u64>> =
        current.keys().map(|pair| (*pair, vec![0; resources.len()])).collect();
    for (id, replica) in &state.replicas {
        let (Ok(workload), Ok(node)) = (workloads.binary_search(&id.workload), nodes.binary_search(&replica.node))
        else {
            continue;
        };
        let template = state.workloads.get(&id.workload).and_then(|record| record.templates.get(&replica.generation));
        if let (Some(template), Some(held)) = (template, held.get_mut(&(workload, node))) {
            let demand = resources.demand(&id.workload, template);
            held.iter_mut().zip(demand).for_each(|(held, demand)| *held = held.saturating_add(demand));
        }
    }
    held.into_values().collect()
}

fn resource_table(
    state: &State,
    nodes: &[String],
    workloads: &[String],
    templates: &[Template],
    current: &BTreeMap<(WorkloadIdx, NodeIdx), u32>,
    merged: &Merged,
) -> ResourceTable {
    let extras = templates.iter().flat_map(|template| template.extras.keys());
    let quotas = merged.model.teams.values().filter_map(|team| team.quota.as_ref());
    let extras = extras.chain(quotas.flat_map(|quota| quota.extras.keys()));
    let ports = templates.iter().flat_map(|template| &template.ports);
    let host_ports = ports.filter_map(|port| Some(ResourceKey::HostPort(port.host?, port.protocol.clone())));
    let cordoned =
        current.keys().filter(|(_, node)| !state.nodes[&nodes[*node]].schedulable).map(|(workload, node)| {
            ResourceKey::Cordoned { node: nodes[*node].clone(), workload: workloads[*workload].clone() }
        });
    let mut others: Vec<ResourceKey> =
        extras.map(|name| ResourceKey::Extra(name.clone())).chain(host_ports).chain(cordoned).collect();
    others.sort();
    ResourceTable::new(others)
}

fn solver_nodes(
    state: &State,
    nodes: &[String],
    workloads: &[String],
    resources: &ResourceTable,
    current: &BTreeMap<(WorkloadIdx, NodeIdx), u32>,
    topologies: &Topologies,
) -> Vec<hyphae_solver::Node> {
    let node = |(position, name): (NodeIdx, &String)| {
        let record = &state.nodes[name];
        let held = |workload: &str| {
            let workload = workloads.binary_search_by(|name| name.as_str().cmp(workload));
            workload.ok().and_then(|workload| current.get(&(workload, position))).map_or(0, |count| u64::from(*count))
        };
        hyphae_solver::Node {
            name: name.clone(),
            capacity: resources.capacity(name, record, held),
            price_micros: pools::counted_price(state, record),
            domains: topologies.of_node.iter().map(|domains| domains[position]).collect(),
            standing: pools::standing(record),
            ..hyphae_solver::Node::default()
        }
    };
    nodes.iter().enumerate().map(node).collect()
}

/// How many replicas are wanted. A job's that have ended are not wanted again, unless what it runs has changed since.
fn wanted(state: &State, merged: &Merged, name: &str, template: &Template, eligible_nodes: usize) -> u32 {
    let workload = &merged.model.workloads[name];
    let configured = match &workload.replicas {
        Replicas::Fixed(count) => count.value,
        Replicas::Scale { min, .. } => {
            scaling::scaling(merged, name, workload).map_or(min.value, |scaling| scaling.wanted)
        }
        Replicas::PerNode => eligible_nodes as u32,
    };
    let finished = state.workloads.get(name).map_or(0, |record| {
        let same = record.templates.get(&record.generation) == Some(template);
        if same { record.finished.len() as u32 } else { 0 }
    });
    configured.saturating_sub(finished)
}

fn objective(merged: &Merged) -> Objective {
    let objective = merged.model.objective.as_ref();
    Objective {
        shape: match objective.map(|objective| objective.strategy).unwrap_or_default() {
            Strategy::Pack => Shape::Pack,
            Strategy::Spread => Shape::Spread,
        },
        move_price_micros: objective.and_then(|objective| Some(objective.move_price.as_ref()?.value.0)),
    }
}

/// The topologies that rules name, made when first named.
struct Topologies<'a> {
    state: &'a State,
    list: Vec<Topology>,
    /// By topology, then by node.
    of_node: Vec<Vec<Option<usize>>>,
}

impl<'a> Topologies<'a> {
    fn new(state: &'a State) -> Self {
        Self { state, list: Vec::new(), of_node: Vec::new() }
    }

    fn position(&mut self, key: &str) -> TopologyIdx {
        if let Some(position) = self.list.iter().position(|topology| topology.key == key) {
            return position;
        }
        let value = |(name, node): (&'a String, &'a crate::state::NodeRecord)| match key {
            "node" => Some(name.as_str()),
            "pool" if !node.pool.is_empty() => Some(node.pool.as_str()),
            key => node.labels.get(key).map(String::as_str),
        };
        let values: Vec<Option<&str>> = self.state.nodes.iter().map(value).collect();
        let mut domains: Vec<String> = values.iter().flatten().map(|value| (*value).to_owned()).collect();
        domains.sort();
        domains.dedup();
        let domain = |value: &str| domains.binary_search_by(|domain| domain.as_str().cmp(value)).ok();
        self.of_node.push(values.iter().map(|value| value.and_then(domain)).collect());
        self.list.push(Topology { key: key.to_owned(), domains });
        self.list.len() - 1
    }
}

struct Builder<'a> {
    merged: &'a Merged,
    index: BTreeMap<String, WorkloadIdx>,
    topologies: Topologies<'a>,
    constraints: Vec<Constraint>,
    origins: Vec<Origin>,
    wanted: Vec<u32>,
}

impl Builder<'_> {
    fn push(&mut self, rule: Rule, weight: Option<u32>, span: Span) {
        self.constraints.push(Constraint { rule, weight });
        self.origins.push(Origin::new(&self.merged.sources, span));
    }

    fn push_all(&mut self, stated: Vec<reserves::Stated>) {
        stated.into_iter().for_each(|(rule, weight, span)| self.push(rule, weight, span));
    }

    fn place_rule(
        &mut self,
        position: WorkloadIdx,
        workload: &Workload,
        rule: &PlaceRule,
        eligibility: &Eligibility<'_>,
    ) {
        let weight = rule.weight.as_ref().map(|weight| weight.value);
        let rule_of = match &rule.kind {
            PlaceKind::Require(_) => return, // part of eligibility
            PlaceKind::Prefer(tests) => Rule::Prefer { workload: position, nodes: eligibility.matching(tests) },
            PlaceKind::Spread { over, max_skew } => Rule::Spread {
                workload: position,
                topology: self.topologies.position(over),
                max_skew: max_skew.as_ref().map_or(1, |skew| skew.value),
            },
            PlaceKind::SeparateWithin { within, limit } => Rule::LimitPerDomain {
                workloads: vec![position],
                topology: self.topologies.position(within),
                limit: limit.as_ref().map_or(1, |limit| limit.value),
            },
            PlaceKind::SeparateFrom { from, within } => Rule::SeparateFrom {
                a: position,
                b: self.index[&from.value],
                topology: self.topologies.position(within),
                limit: 0,
            },
            PlaceKind::Near { to, within } => Rule::Near {
                workloads: vec![position],
                to: vec![self.index[&to.value]],
                topology: self.topologies.position(within),
            },
            PlaceKind::Survive { loss_of, keep } => Rule::Survive {
                workload: position,
                topology: self.topologies.position(loss_of),
                keep: self.kept(position, workload, keep.value),
            },
        };
        self.push(rule_of, weight, rule.span);
    }

    /// How many of the replicas wanted must remain. What a job has finished needs no keeping.
    fn kept(&self, position: WorkloadIdx, workload: &Workload, keep: hyphae_specs::CountOrPercent) -> u32 {
        let wanted = self.wanted[position];
        let configured = match &workload.replicas {
            Replicas::Fixed(count) => count.value,
            Replicas::Scale { .. } | Replicas::PerNode => wanted,
        };
        keep.of(configured).saturating_sub(configured.saturating_sub(wanted))
    }

    fn quotas(&mut self, resources: &ResourceTable) {
        for (name, team) in &self.merged.model.teams {
            let Some(quota) = &team.quota else { continue };
            let model = &self.merged.model;
            let of_team = model.workloads.values().enumerate().filter(|(_, workload)| workload.team_name() == name);
            let workloads: Vec<WorkloadIdx> = of_team.map(|(position, _)| position).collect();
            let fixed = [
                (ResourceKey::Cpu, quota.cpu.as_ref().map(|cpu| cpu.value.0)),
                (ResourceKey::Memory, quota.memory.as_ref().map(|memory| memory.value.0)),
                (ResourceKey::Disk, quota.disk.as_ref().map(|disk| disk.value.0)),
                (ResourceKey::Replicas, quota.replicas.as_ref().map(|replicas| replicas.value)),
            ];
            let extras = quota.extras.iter().map(|(name, max)| (ResourceKey::Extra(name.clone()), Some(max.value)));
            let max = fixed.into_iter().chain(extras);
            let max = max.filter_map(|(key, max)| Some((resources.position(&key)?, max?))).collect();
            self.push(Rule::Quota { workloads, max }, None, quota.span);
        }
    }

    /// A group is named within its team; a workload without a group stands alone.
    fn all_or_nothing(&mut self) {
        let mut groups: BTreeMap<(String, String), (Vec<WorkloadIdx>, Span)> = BTreeMap::new();
        for (position, (name, workload)) in self.merged.model.workloads.iter().enumerate() {
            let Some(statement) = &workload.all_or_nothing else { continue };
            let key = match &statement.group {
                Some(group) => (workload.team_name().to_owned(), group.value.clone()),
                None => (name.clone(), String::new()),
            };
            groups.entry(key).or_insert_with(|| (Vec::new(), statement.span)).0.push(position);
        }
        for (workloads, span) in groups.into_values() {
            self.push(Rule::AllOrNothing { workloads }, None, span);
        }
    }
}
