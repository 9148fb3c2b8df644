//! The wanted world as the recomputation sees it: the KDL model, the machines, and what may run where.

use hyphae_specs::{
    ConstraintRule, LabelOp, LabelTest, Model, PlaceKind, PlaceRule, Replicas, Resources, Source, Sources, VersionOp,
    Workload, WorkloadKind,
};
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Amounts by resource.
pub(crate) type Amounts = BTreeMap<String, u64>;

/// A machine.
pub(crate) struct Machine {
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) taints: Vec<String>,
    pub(crate) capacity: Amounts,
    pub(crate) price_micros: u64,
}

/// Everything the recomputation knows besides the plan.
pub(crate) struct World {
    pub(crate) model: Model,
    pub(crate) machines: BTreeMap<String, Machine>,
}

impl World {
    /// Reads every KDL file of a directory, without those below it.
    pub(crate) fn read(directory: &Path) -> Self {
        let entries = std::fs::read_dir(directory).expect("a directory");
        let paths = entries.map(|entry| entry.expect("an entry").path());
        let mut files: Vec<PathBuf> = paths.filter(|path| path.extension().is_some_and(|end| end == "kdl")).collect();
        files.sort();
        Self::read_all(&files)
    }

    /// Reads these KDL files.
    pub(crate) fn read_all(files: &[PathBuf]) -> Self {
        let specs = files.iter().filter(|path| path.extension().is_some_and(|end| end == "kdl"));
        let sources = specs.map(|path| Source {
            name: path.display().to_string(),
            text: std::fs::read_to_string(path).expect("a file"),
            first_line: 1,
        });
        let sources = Sources(sources.collect());
        let loaded = hyphae_specs::load(&sources);
        let model = loaded.unwrap_or_else(|diagnostics| panic!("{}", diagnostics.render(&sources, false)));
        let machines = model.nodes.iter().map(|(name, node)| (name.clone(), machine(name, node))).collect();
        Self { model, machines }
    }

    /// The domains of a label.
    pub(crate) fn domains(&self, key: &str) -> BTreeSet<&str> {
        self.machines.values().filter_map(|machine| machine.labels.get(key)).map(String::as_str).collect()
    }

    /// The statements that hold for a workload: its own and those of matching constraints.
    pub(crate) fn rules<'a>(&'a self, workload: &'a Workload) -> Vec<&'a PlaceRule> {
        let matching = self.model.constraints.values().filter(|rule| applies(rule, workload));
        workload.place.iter().chain(matching.flat_map(|rule| &rule.place)).collect()
    }

    /// Why a workload may not be on a machine; empty: it may.
    pub(crate) fn obstacles(&self, workload: &Workload, machine: &Machine) -> Vec<String> {
        let mut found = Vec::new();
        for rule in self.rules(workload) {
            match &rule.kind {
                PlaceKind::Require(tests) if !passes(tests, machine) => found.push(format!("require {}", keys(tests))),
                PlaceKind::Spread { over: key, .. }
                | PlaceKind::SeparateWithin { within: key, .. }
                | PlaceKind::SeparateFrom { within: key, .. }
                | PlaceKind::Near { within: key, .. }
                | PlaceKind::Survive { loss_of: key, .. }
                    if rule.weight.is_none() && !machine.labels.contains_key(&key.value) =>
                {
                    found.push(format!("no label {}", key.value));
                }
                _ => {}
            }
        }
        let tolerated = |taint: &str| workload.tolerates.iter().any(|own| own.value == taint);
        found.extend(machine.taints.iter().filter(|taint| !tolerated(taint)).map(|taint| format!("taint {taint}")));
        found.extend(place_policies(workload, machine));
        found
    }

    /// The machines a workload may be on.
    pub(crate) fn eligible(&self, workload: &Workload) -> Vec<&str> {
        let machines = self.machines.iter().filter(|(_, machine)| self.obstacles(workload, machine).is_empty());
        machines.map(|(name, _)| name.as_str()).collect()
    }

    /// Replicas wanted.
    pub(crate) fn wanted(&self, workload: &Workload) -> u64 {
        match &workload.replicas {
            Replicas::Fixed(count) => u64::from(count.value),
            Replicas::Scale { .. } => panic!("the shop does not scale"),
            Replicas::PerNode => self.eligible(workload).len() as u64,
        }
    }
}

/// `policies/placement.cedar`, said again in Rust.
fn place_policies(workload: &Workload, machine: &Machine) -> Vec<String> {
    let certified = machine.labels.get("pci").is_some_and(|value| value == "true");
    let payments = workload.team_name() == "payments";
    let platform_daemon = workload.kind == WorkloadKind::Daemon && workload.team_name() == "platform";
    let mut found = Vec::new();
    if payments && !certified {
        found.push("policy payments-on-certified-machines".to_owned());
    }
    if certified && !payments && !platform_daemon {
        found.push("policy certified-machines-for-payments".to_owned());
    }
    found
}

fn machine(name: &str, node: &hyphae_specs::Node) -> Machine {
    let mut labels: BTreeMap<String, String> =
        node.labels.iter().map(|(key, value)| (key.clone(), value.value.clone())).collect();
    labels.insert("node".to_owned(), name.to_owned());
    labels.extend(node.pool.iter().map(|pool| ("pool".to_owned(), pool.value.clone())));
    Machine {
        labels,
        taints: node.taints.iter().map(|taint| taint.value.clone()).collect(),
        capacity: amounts(&node.capacity),
        price_micros: node.price.as_ref().map_or(0, |price| price.value.0),
    }
}

/// What is written, by resource.
pub(crate) fn amounts(resources: &Resources) -> Amounts {
    let mut amounts: Amounts = resources.extras.iter().map(|(name, amount)| (name.clone(), amount.value)).collect();
    amounts.extend(resources.cpu.iter().map(|cpu| ("cpu".to_owned(), cpu.value.0)));
    amounts.extend(resources.memory.iter().map(|memory| ("memory".to_owned(), memory.value.0)));
    amounts.extend(resources.disk.iter().map(|disk| ("disk".to_owned(), disk.value.0)));
    amounts.extend(resources.replicas.iter().map(|replicas| ("replicas".to_owned(), replicas.value)));
    amounts
}

/// What one replica takes; ports of the node are resources of their own.
pub(crate) fn demand(workload: &Workload) -> Amounts {
    let mut demand = amounts(&workload.resources);
    demand.insert("replicas".to_owned(), 1);
    for port in &workload.ports {
        if let Some(host) = &port.host {
            demand.insert(format!("port {}/{:?}", host.value, port.protocol), 1);
        }
    }
    demand
}

fn applies(rule: &ConstraintRule, workload: &Workload) -> bool {
    rule.applies_to.iter().all(|(key, value)| match key.as_str() {
        "team" => workload.team_name() == value.value,
        "kind" => workload.kind.as_str() == value.value,
        "name" => workload.name.value == value.value,
        _ => workload.labels.get(key).is_some_and(|own| own.value == value.value),
    })
}

/// Whether a machine's labels pass every test.
pub(crate) fn passes(tests: &[LabelTest], machine: &Machine) -> bool {
    tests.iter().all(|test| {
        let value = machine.labels.get(&test.key.value);
        match &test.op {
            LabelOp::In(values) => value.is_some_and(|own| values.iter().any(|one| one.value == *own)),
            LabelOp::NotIn(values) => value.is_none_or(|own| values.iter().all(|one| one.value != *own)),
            LabelOp::Exists => value.is_some(),
            LabelOp::Absent => value.is_none(),
            LabelOp::Version(op, wanted) => value.is_some_and(|own| {
                let order = numbers(own).cmp(&numbers(&wanted.value));
                match op {
                    VersionOp::Less => order == Ordering::Less,
                    VersionOp::AtMost => order != Ordering::Greater,
                    VersionOp::Equal => order == Ordering::Equal,
                    VersionOp::AtLeast => order != Ordering::Less,
                    VersionOp::Greater => order == Ordering::Greater,
                }
            }),
        }
    })
}

/// The shop's versions are plain numbers joined by dots.
fn numbers(version: &str) -> Vec<u64> {
    version.split('.').map(|part| part.parse().expect("a number")).collect()
}

fn keys(tests: &[LabelTest]) -> String {
    tests.iter().map(|test| test.key.value.as_str()).collect::<Vec<_>>().join(" ")
}
