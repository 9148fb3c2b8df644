//! Is a [`Problem`] well formed? Everything after this may index without looking.
//!
//! Amounts may be anything: they are added in 128 bits. What is refused is what has no meaning (indices out of range, names used
//! twice, a soft quota) and objectives whose value could leave 63 bits.

use crate::{Constraint, DeviceDemand, DeviceTake, Problem, Rule, Workload};
use std::collections::BTreeSet;

/// Why a problem has no meaning. The message names the thing concerned; it is the caller's mistake, never the cluster's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProblemError {
    /// A vector that should have one entry for each resource or topology.
    #[error("{what} has {found} entries where {expected} are needed")]
    Length {
        /// Which vector of what.
        what: String,
        /// One for each of these.
        expected: usize,
        /// Entries it has.
        found: usize,
    },
    /// A reference to something that does not exist.
    #[error("{what} refers to {kind} {index}, but there are {count}")]
    Index {
        /// Who refers.
        what: String,
        /// To what kind of thing.
        kind: &'static str,
        /// The position asked for.
        index: usize,
        /// How many there are.
        count: usize,
    },
    /// Two things of a kind share a name; ties could not be broken.
    #[error("the {kind} name `{name}` is used twice")]
    DuplicateName {
        /// Of what kind.
        kind: &'static str,
        /// The name.
        name: String,
    },
    /// A list that must be ascending, each entry once.
    #[error("{what} is not ascending without repetition")]
    NotAscending {
        /// Which list.
        what: String,
    },
    /// A number that must be at least one.
    #[error("{what} is zero; it must be at least 1")]
    Zero {
        /// Which number.
        what: String,
    },
    /// `prefer` cannot be hard, quotas and all-or-nothing cannot be soft.
    #[error("constraint {constraint} {problem}")]
    Hardness {
        /// Its position.
        constraint: usize,
        /// What is wrong.
        problem: &'static str,
    },
    /// A pair that runs is listed twice, or with no replicas.
    #[error("the running replicas of workload {workload} on node {node} are listed twice or with a count of zero")]
    Current {
        /// Which workload.
        workload: usize,
        /// Which node.
        node: usize,
    },
    /// More parts of a device than it has: take whole devices instead.
    #[error("workload `{workload}` takes {share} parts of a device that has {parts}")]
    Share {
        /// Which workload.
        workload: String,
        /// Parts it takes.
        share: u32,
        /// Parts there are.
        parts: u32,
    },
    /// More devices than can be counted.
    #[error("{devices} devices are asked for or held; the solver counts to 2^32")]
    TooManyDevices {
        /// All together.
        devices: u128,
    },
    /// The objective could exceed 2^63.
    #[error("{what} could exceed 2^63; use smaller weights, prices or counts")]
    TooLarge {
        /// Which sum.
        what: &'static str,
    },
    /// More replicas than any cluster this is meant for.
    #[error("{replicas} replicas are wanted or running; the solver takes at most {max}")]
    TooMany {
        /// All together.
        replicas: u128,
        /// The most it takes.
        max: u128,
    },
}

/// Replicas that are wanted or run, all together.
const REPLICAS_MAX: u128 = 2_000_000;

/// Sums of the objective stay below this, so that differences fit in an `i64`.
const TIER_LIMIT: u128 = i64::MAX as u128;

impl Problem {
    /// Looks at everything a solver would index or add; the first thing wrong is returned.
    pub fn validate(&self) -> Result<(), ProblemError> {
        self.validate_kinds()?;
        self.validate_nodes()?;
        self.validate_workloads()?;
        self.validate_devices()?;
        for (index, constraint) in self.constraints.iter().enumerate() {
            self.validate_rule(index, &constraint.rule, constraint.weight.is_none())?;
        }
        self.validate_current()?;
        self.validate_sums()
    }

    fn validate_kinds(&self) -> Result<(), ProblemError> {
        unique("resource", self.resources.iter().map(|r| r.name.as_str()))?;
        unique("topology", self.topologies.iter().map(|t| t.key.as_str()))?;
        for resource in &self.resources {
            if resource.scale == 0 {
                return Err(ProblemError::Zero { what: format!("the scale of resource `{}`", resource.name) });
            }
        }
        for topology in &self.topologies {
            unique("domain", topology.domains.iter().map(String::as_str))?;
        }
        Ok(())
    }

    fn validate_devices(&self) -> Result<(), ProblemError> {
        unique("device", self.devices.iter().map(|d| d.name.as_str()))?;
        for device in &self.devices {
            if device.parts == 0 {
                return Err(ProblemError::Zero { what: format!("the number of parts of device `{}`", device.name) });
            }
        }
        for node in self.nodes.iter().filter(|node| !node.devices.is_empty()) {
            length(|| format!("the devices of node `{}`", node.name), node.devices.len(), self.devices.len())?;
        }
        for workload in &self.workloads {
            let Some(DeviceDemand { kind, take }) = workload.device else { continue };
            let what = || format!("workload `{}`", workload.name);
            index(what, "device", kind, self.devices.len())?;
            match take {
                DeviceTake::Whole(0) | DeviceTake::Share(0) => {
                    return Err(ProblemError::Zero { what: format!("what {} takes of a device", what()) });
                }
                DeviceTake::Share(share) if share > self.devices[kind].parts => {
                    return Err(ProblemError::Share {
                        workload: workload.name.clone(),
                        share,
                        parts: self.devices[kind].parts,
                    });
                }
                DeviceTake::Whole(_) | DeviceTake::Share(_) => {}
            }
        }
        Ok(())
    }

    fn validate_nodes(&self) -> Result<(), ProblemError> {
        unique("node", self.nodes.iter().map(|n| n.name.as_str()))?;
        for node in &self.nodes {
            let (capacity, domains) = (node.capacity.len(), node.domains.len());
            length(|| format!("the capacity of node `{}`", node.name), capacity, self.resources.len())?;
            length(|| format!("the list of domains of node `{}`", node.name), domains, self.topologies.len())?;
            for (topology, domain) in self.topologies.iter().zip(&node.domains) {
                if let Some(domain) = *domain {
                    index(|| format!("node `{}`", node.name), "domain", domain, topology.domains.len())?;
                }
            }
        }
        Ok(())
    }

    fn validate_workloads(&self) -> Result<(), ProblemError> {
        unique("workload", self.workloads.iter().map(|w| w.name.as_str()))?;
        for workload in &self.workloads {
            let name = &workload.name;
            length(|| format!("the demand of workload `{name}`"), workload.demand.len(), self.resources.len())?;
            if workload.move_weight == 0 {
                return Err(ProblemError::Zero { what: format!("the move weight of workload `{name}`") });
            }
            let what = || format!("the list of eligible nodes of workload `{name}`");
            ascending(what, &workload.eligible, "node", self.nodes.len())?;
        }
        Ok(())
    }

    fn validate_rule(&self, position: usize, rule: &Rule, hard: bool) -> Result<(), ProblemError> {
        let what = || format!("constraint {position}");
        let workload = |w: usize| index(what, "workload", w, self.workloads.len());
        let over = |t: usize| index(what, "topology", t, self.topologies.len());
        let refuse = |problem| Err(ProblemError::Hardness { constraint: position, problem });
        match rule {
            Rule::Spread { workload: w, topology, .. } | Rule::Survive { workload: w, topology, .. } => {
                workload(*w)?;
                over(*topology)
            }
            Rule::LimitPerDomain { workloads, topology, .. } | Rule::DistinctDomains { workloads, topology, .. } => {
                workloads.iter().try_for_each(|w| workload(*w))?;
                no_repetition(|| format!("the list of workloads of constraint {position}"), workloads)?;
                over(*topology)
            }
            Rule::Near { workloads, to, topology } => {
                workloads.iter().chain(to).try_for_each(|w| workload(*w))?;
                no_repetition(|| format!("the list of workloads of constraint {position}"), workloads)?;
                no_repetition(|| format!("the list of workloads that constraint {position} is near to"), to)?;
                over(*topology)
            }
            Rule::Reserve { topology, except } => {
                let list = || format!("the list of workloads that constraint {position} leaves out");
                ascending(list, except, "workload", self.workloads.len())?;
                over(*topology)
            }
            Rule::NodesMost { nodes, .. } => {
                ascending(|| format!("the list of nodes of constraint {position}"), nodes, "node", self.nodes.len())
            }
            Rule::Safety { .. } | Rule::Balance { .. } if hard => {
                refuse("is about degrees, which can only be soft: give it a weight")
            }
            Rule::Moved { .. } | Rule::MovedMost { .. } | Rule::MovedFar { .. } if hard => {
                refuse("is about moves, which can only be soft: give it a weight")
            }
            Rule::Safety { resource, safe } => {
                index(what, "resource", *resource, self.resources.len())?;
                length(|| format!("the safety capacities of constraint {position}"), safe.len(), self.nodes.len())
            }
            Rule::Balance { first, second, unit } => {
                if *unit == 0 {
                    return Err(ProblemError::Zero { what: format!("the unit of constraint {position}") });
                }
                [first, second].iter().try_for_each(|(r, _)| index(what, "resource", *r, self.resources.len()))
            }
            Rule::Moved { workloads } => {
                workloads.iter().try_for_each(|(w, _)| workload(*w))?;
                let workloads: Vec<usize> = workloads.iter().map(|(w, _)| *w).collect();
                no_repetition(|| format!("the list of workloads of constraint {position}"), &workloads)
            }
            Rule::MovedMost { groups } => groups.iter().try_for_each(|group| {
                group.iter().try_for_each(|w| workload(*w))?;
                no_repetition(|| format!("a group of constraint {position}"), group)
            }),
            Rule::MovedFar { units } => {
                length(|| format!("the distances of constraint {position}"), units.len(), self.nodes.len())?;
                let row = |row: &Vec<u32>| {
                    length(|| format!("a row of distances of constraint {position}"), row.len(), self.nodes.len())
                };
                units.iter().try_for_each(row)
            }
            Rule::SeparateFrom { a, b, topology, .. } => {
                workload(*a)?;
                workload(*b)?;
                over(*topology)
            }
            Rule::Prefer { .. } if hard => refuse("prefers nodes, which can only be soft: give it a weight"),
            Rule::Prefer { workload: w, nodes } => {
                workload(*w)?;
                ascending(
                    || format!("the list of preferred nodes of constraint {position}"),
                    nodes,
                    "node",
                    self.nodes.len(),
                )
            }
            Rule::Quota { .. } | Rule::AllOrNothing { .. } if !hard => refuse("can only be hard: give it no weight"),
            Rule::Quota { workloads, max } => {
                workloads.iter().try_for_each(|w| workload(*w))?;
                no_repetition(|| format!("the list of workloads of constraint {position}"), workloads)?;
                max.iter().try_for_each(|(r, _)| index(what, "resource", *r, self.resources.len()))
            }
            Rule::AllOrNothing { workloads } => {
                workloads.iter().try_for_each(|w| workload(*w))?;
                no_repetition(|| format!("the list of workloads of constraint {position}"), workloads)
            }
        }
    }

    fn validate_current(&self) -> Result<(), ProblemError> {
        let entries = if self.held.is_empty() { 0 } else { self.current.len() };
        if self.held.len() != entries {
            let what = "the list of what running replicas hold".to_owned();
            return Err(ProblemError::Length { what, expected: entries, found: self.held.len() });
        }
        if let Some(held) = self.held.iter().find(|held| held.len() != self.resources.len()) {
            let (what, expected) = ("what running replicas hold".to_owned(), self.resources.len());
            return Err(ProblemError::Length { what, expected, found: held.len() });
        }
        for placed in &self.current {
            let what = || "a running replica".to_owned();
            index(what, "workload", placed.workload, self.workloads.len())?;
            index(what, "node", placed.node, self.nodes.len())?;
            if placed.count == 0 {
                return Err(ProblemError::Current { workload: placed.workload, node: placed.node });
            }
        }
        let mut pairs: Vec<(usize, usize)> = self.current.iter().map(|placed| (placed.workload, placed.node)).collect();
        pairs.sort_unstable();
        if let Some(twice) = pairs.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(ProblemError::Current { workload: twice[0].0, node: twice[0].1 });
        }
        Ok(())
    }

    /// Upper bounds on every tier, with indices known to be good.
    fn validate_sums(&self) -> Result<(), ProblemError> {
        let wanted: u128 = self.workloads.iter().map(|w| u128::from(w.wanted) + u128::from(w.surplus_max)).sum();
        let running: u128 = self.current.iter().map(|p| u128::from(p.count)).sum();
        let replicas = wanted + running;
        if replicas > REPLICAS_MAX {
            return Err(ProblemError::TooMany { replicas, max: REPLICAS_MAX });
        }
        let weighted =
            |c: &Constraint| u128::from(c.weight.unwrap_or(1)).saturating_mul(self.units_most(&c.rule, replicas));
        let weights = self.constraints.iter().map(weighted).fold(0, u128::saturating_add);
        limit("the weighted sum of soft constraints", weights)?;
        let disruption: u128 =
            self.current.iter().map(|p| u128::from(p.count) * u128::from(self.workloads[p.workload].move_weight)).sum();
        let devices = |workload: usize, replicas: u128| match self.workloads[workload].device.map(|demand| demand.take)
        {
            Some(DeviceTake::Whole(devices)) => u128::from(devices).saturating_mul(replicas),
            Some(DeviceTake::Share(_)) | None => 0,
        };
        let asked = |(index, w): (usize, &Workload)| devices(index, u128::from(w.wanted) + u128::from(w.surplus_max));
        let asked: u128 = self.workloads.iter().enumerate().map(asked).sum();
        let held: u128 = self.current.iter().map(|p| devices(p.workload, u128::from(p.count))).sum();
        if asked + held > u128::from(u32::MAX) {
            return Err(ProblemError::TooManyDevices { devices: asked + held });
        }
        let cost: u128 = self.nodes.iter().map(|n| u128::from(n.price_micros)).sum();
        let moves = disruption.saturating_mul(u128::from(self.objective.move_price_micros.unwrap_or(1)));
        limit("the price of the nodes and of the moves", moves.saturating_add(cost))?;
        let mut overload = 0u128;
        for placed in &self.current {
            let node = &self.nodes[placed.node];
            for ((resource, demand), capacity) in
                self.resources.iter().zip(&self.workloads[placed.workload].demand).zip(&node.capacity)
            {
                let used = u128::from(*demand) * u128::from(placed.count);
                overload = overload.saturating_add(used / u128::from(resource.scale) + 1);
                if resource.shapes && *capacity > 0 {
                    overload = overload.saturating_add(used.saturating_mul(3000) / u128::from(*capacity) + 3);
                }
            }
        }
        limit("the overload of the nodes at present", overload.saturating_mul(self.constraints.len() as u128 + 1))?;
        limit("the sum of the nodes' peaks", 3000 * self.nodes.len() as u128)
    }
}

impl Problem {
    /// An upper bound on the units by which a rule can be broken, when `replicas` are wanted or running.
    fn units_most(&self, rule: &Rule, replicas: u128) -> u128 {
        // What all replicas together could take of a resource.
        let demand = |resource: usize| {
            let of = |w: &Workload| u128::from(w.demand[resource]) * (u128::from(w.wanted) + u128::from(w.surplus_max));
            self.workloads.iter().map(of).fold(0, u128::saturating_add)
        };
        match rule {
            Rule::Safety { resource, .. } => (demand(*resource) / u128::from(self.resources[*resource].scale))
                .saturating_add(self.nodes.len() as u128),
            Rule::Balance { first: (first, factor), second: (second, other), unit } => {
                let left: u128 = self.nodes.iter().map(|node| u128::from(node.capacity[*first])).sum();
                let sum = left.saturating_mul(u128::from(*factor));
                let sum = sum.saturating_add(demand(*second).saturating_mul(u128::from(*other)));
                (sum / u128::from(*unit)).saturating_add(self.nodes.len() as u128)
            }
            Rule::Moved { workloads } => {
                let largest = workloads.iter().map(|(_, units)| u128::from(*units)).max().unwrap_or(0);
                largest.saturating_mul(replicas)
            }
            Rule::MovedFar { units } => {
                let largest = units.iter().flatten().map(|units| u128::from(*units)).max().unwrap_or(0);
                largest.saturating_mul(replicas)
            }
            Rule::Reserve { topology, .. } => replicas.saturating_mul(self.topologies[*topology].domains.len() as u128),
            Rule::DistinctDomains { .. } | Rule::NodesMost { .. } => {
                (self.nodes.len() as u128).saturating_add(replicas)
            }
            Rule::Spread { .. }
            | Rule::LimitPerDomain { .. }
            | Rule::Survive { .. }
            | Rule::SeparateFrom { .. }
            | Rule::Near { .. }
            | Rule::Prefer { .. }
            | Rule::Quota { .. }
            | Rule::AllOrNothing { .. }
            | Rule::MovedMost { .. } => replicas,
        }
    }
}

fn limit(what: &'static str, sum: u128) -> Result<(), ProblemError> {
    if sum > TIER_LIMIT { Err(ProblemError::TooLarge { what }) } else { Ok(()) }
}

fn length(what: impl Fn() -> String, found: usize, expected: usize) -> Result<(), ProblemError> {
    if found == expected { Ok(()) } else { Err(ProblemError::Length { what: what(), expected, found }) }
}

fn index(what: impl Fn() -> String, kind: &'static str, index: usize, count: usize) -> Result<(), ProblemError> {
    if index < count { Ok(()) } else { Err(ProblemError::Index { what: what(), kind, index, count }) }
}

fn ascending(what: impl Fn() -> String, list: &[usize], kind: &'static str, count: usize) -> Result<(), ProblemError> {
    if list.windows(2).any(|pair| pair[0] >= pair[1]) {
        return Err(ProblemError::NotAscending { what: what() });
    }
    list.last().map_or(Ok(()), |last| index(what, kind, *last, count))
}

fn no_repetition(what: impl Fn() -> String, list: &[usize]) -> Result<(), ProblemError> {
    let distinct: BTreeSet<_> = list.iter().collect();
    if distinct.len() == list.len() { Ok(()) } else { Err(ProblemError::NotAscending { what: what() }) }
}

fn unique<'a>(kind: &'static str, names: impl Iterator<Item = &'a str>) -> Result<(), ProblemError> {
    let mut seen = BTreeSet::new();
    for name in names {
        if !seen.insert(name) {
            return Err(ProblemError::DuplicateName { kind, name: name.to_owned() });
        }
    }
    Ok(())
}
