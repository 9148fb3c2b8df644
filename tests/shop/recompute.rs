//! Recomputes from a plan's JSON and the KDL what holds: every hard rule, and the value of every tier.

use crate::world::{Amounts, World, amounts, demand, passes};
use hyphae_specs::{PlaceKind, PlaceRule, Workload, WorkloadKind};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Replicas by workload and machine.
struct Placement<'a> {
    world: &'a World,
    counts: BTreeMap<(&'a str, &'a str), u64>,
}

/// Everything that is wrong with a plan made from nothing, for people to read.
pub(crate) fn violations(world: &World, plan: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let placement = Placement { world, counts: assignments(world, plan, &mut found) };
    placement.check_counts(&mut found);
    placement.check_eligibility(&mut found);
    placement.check_capacity(&mut found);
    placement.check_quotas(&mut found);
    for (name, workload) in &world.model.workloads {
        for rule in world.rules(workload) {
            let units = placement.broken(name, workload, rule);
            if rule.weight.is_none() && units > 0 {
                found.push(format!("{name}: {:?} is broken by {units}", rule.kind));
            }
        }
    }
    placement.check_tiers(plan, &mut found);
    check_document(plan, &mut found);
    check_changes(&placement, plan, &mut found);
    found
}

/// The assignments, as far as they name what there is.
fn assignments<'a>(world: &'a World, plan: &Value, found: &mut Vec<String>) -> BTreeMap<(&'a str, &'a str), u64> {
    let mut counts = BTreeMap::new();
    for assignment in plan["assignments"].as_array().expect("a list of assignments") {
        let workload = world.model.workloads.get_key_value(assignment["workload"].as_str().unwrap_or_default());
        let machine = world.machines.get_key_value(assignment["node"].as_str().unwrap_or_default());
        let count = assignment["count"].as_u64().unwrap_or_default();
        match (workload, machine) {
            (Some((workload, _)), Some((machine, _))) if count > 0 => {
                if counts.insert((workload.as_str(), machine.as_str()), count).is_some() {
                    found.push(format!("listed twice: {assignment}"));
                }
            }
            _ => found.push(format!("makes no sense: {assignment}")),
        }
    }
    counts
}

impl Placement<'_> {
    fn placed(&self, name: &str) -> u64 {
        self.counts.iter().filter(|((workload, _), _)| *workload == name).map(|(_, count)| count).sum()
    }

    /// Replicas of a workload in each domain of a label; domains without any are left out.
    fn by_domain(&self, name: &str, key: &str) -> BTreeMap<&str, u64> {
        let mut counts = BTreeMap::new();
        for ((_, machine), count) in self.counts.iter().filter(|((workload, _), _)| *workload == name) {
            if let Some(domain) = self.world.machines[*machine].labels.get(key) {
                *counts.entry(domain.as_str()).or_insert(0) += count;
            }
        }
        counts
    }

    fn check_counts(&self, found: &mut Vec<String>) {
        let mut groups: BTreeMap<String, Vec<(u64, u64)>> = BTreeMap::new();
        for (name, workload) in &self.world.model.workloads {
            let (placed, wanted) = (self.placed(name), self.world.wanted(workload));
            if placed != wanted {
                found.push(format!("{name}: {placed} placed, {wanted} wanted"));
            }
            if workload.kind == WorkloadKind::Daemon {
                for machine in self.world.eligible(workload) {
                    if self.counts.get(&(name, machine)) != Some(&1) {
                        found.push(format!("daemon {name} does not run once on {machine}"));
                    }
                }
            }
            if let Some(together) = &workload.all_or_nothing {
                let group =
                    together.group.as_ref().map_or_else(|| format!("alone {name}"), |group| group.value.clone());
                groups.entry(group).or_default().push((placed, wanted));
            }
        }
        for (group, members) in groups {
            let all = members.iter().all(|(placed, wanted)| placed == wanted);
            let nothing = members.iter().all(|(placed, _)| *placed == 0);
            if !all && !nothing {
                found.push(format!("all-or-nothing {group}: {members:?}"));
            }
        }
    }

    fn check_eligibility(&self, found: &mut Vec<String>) {
        for (name, machine) in self.counts.keys() {
            let workload = &self.world.model.workloads[*name];
            let obstacles = self.world.obstacles(workload, &self.world.machines[*machine]);
            found.extend(obstacles.iter().map(|obstacle| format!("{name} on {machine}: {obstacle}")));
        }
    }

    fn check_capacity(&self, found: &mut Vec<String>) {
        for (machine, properties) in &self.world.machines {
            let mut used = Amounts::new();
            for ((name, _), count) in self.counts.iter().filter(|((_, on), _)| on == machine) {
                for (resource, amount) in demand(&self.world.model.workloads[*name]) {
                    *used.entry(resource).or_insert(0) += amount * count;
                }
            }
            for (resource, used) in used {
                let port = u64::from(resource.starts_with("port "));
                let capacity = properties.capacity.get(&resource).copied().unwrap_or(port);
                if used > capacity {
                    found.push(format!("{machine} has {capacity} of {resource}, and {used} are used"));
                }
            }
        }
    }

    fn check_quotas(&self, found: &mut Vec<String>) {
        for (team, quota) in self.world.model.teams.iter().filter_map(|(name, team)| Some((name, team.quota.as_ref()?)))
        {
            let members = self.world.model.workloads.iter().filter(|(_, workload)| workload.team_name() == team);
            let members: Vec<_> = members.collect();
            for (resource, max) in amounts(&quota.value) {
                let of = |workload: &Workload| demand(workload).get(&resource).copied().unwrap_or(0);
                let used: u64 = members.iter().map(|(name, workload)| self.placed(name) * of(workload)).sum();
                if used > max {
                    found.push(format!("quota of {team}: {used} of {max} {resource}"));
                }
            }
        }
    }

    /// By how many units a rule is broken (DESIGN §4, "What the constraints mean").
    fn broken(&self, name: &str, workload: &Workload, rule: &PlaceRule) -> u64 {
        if self.placed(name) == 0 {
            return 0;
        }
        let beyond = |key: &str, limit: u64| -> u64 {
            self.by_domain(name, key).values().map(|count| count.saturating_sub(limit)).sum()
        };
        match &rule.kind {
            PlaceKind::Require(_) => 0, // see check_eligibility
            PlaceKind::Prefer(tests) => {
                let placed = self.counts.iter().filter(|((workload, _), _)| *workload == name);
                placed.filter(|((_, on), _)| !passes(tests, &self.world.machines[*on])).map(|(_, count)| count).sum()
            }
            PlaceKind::Spread { over, max_skew } => {
                let counts = self.by_domain(name, over);
                let eligible = self.world.eligible(workload);
                let labels =
                    eligible.iter().filter_map(|machine| self.world.machines[*machine].labels.get(&over.value));
                let domains: BTreeSet<&str> = labels.map(String::as_str).collect();
                let of = |domain: &&str| counts.get(domain).copied().unwrap_or(0);
                let (max, min) = (domains.iter().map(of).max(), domains.iter().map(of).min());
                let skew = max.unwrap_or(0) - min.unwrap_or(0);
                skew.saturating_sub(u64::from(max_skew.as_ref().map_or(1, |skew| skew.value)))
            }
            PlaceKind::SeparateWithin { within, limit } => {
                beyond(within, u64::from(limit.as_ref().map_or(1, |limit| limit.value)))
            }
            PlaceKind::Survive { loss_of, keep } => {
                let wanted = self.world.wanted(workload);
                let keep = u64::from(keep.value.of(u32::try_from(wanted).expect("few")));
                beyond(loss_of, wanted.saturating_sub(keep))
            }
            PlaceKind::SeparateFrom { from, within } => {
                let theirs = self.by_domain(from, within);
                let both = self.by_domain(name, within).into_iter();
                both.map(|(domain, count)| count.min(theirs.get(domain).copied().unwrap_or(0))).sum()
            }
            PlaceKind::Near { to, within } => {
                let theirs = self.by_domain(to, within);
                let alone = self.by_domain(name, within).into_iter().filter(|(domain, _)| !theirs.contains_key(domain));
                alone.map(|(_, count)| count).sum()
            }
        }
    }

    fn check_tiers(&self, plan: &Value, found: &mut Vec<String>) {
        let model = &self.world.model;
        let mut shortage: BTreeMap<i64, u64> = BTreeMap::new();
        let mut soft = 0;
        for (name, workload) in &model.workloads {
            let priority = workload.priority.as_ref().map_or(0, |priority| i64::from(priority.value));
            *shortage.entry(priority).or_default() += self.world.wanted(workload).saturating_sub(self.placed(name));
            for rule in self.world.rules(workload) {
                soft += rule.weight.as_ref().map_or(0, |weight| u64::from(weight.value))
                    * self.broken(name, workload, rule);
            }
        }
        let used: BTreeSet<&str> = self.counts.keys().map(|(_, machine)| *machine).collect();
        let cost: u64 = used.iter().map(|machine| self.world.machines[*machine].price_micros).sum();
        let priced = model.objective.as_ref().is_some_and(|objective| objective.move_price.is_some());
        let mut expected: Vec<(&str, Option<i64>, u64)> =
            shortage.into_iter().rev().map(|(priority, missing)| ("shortage", Some(priority), missing)).collect();
        expected.extend([("repair", None, 0), ("soft", None, soft)]);
        match priced {
            true => expected.push(("priced-cost", None, cost)),
            false => expected.extend([("disruption", None, 0), ("cost", None, cost)]),
        }
        expected.push(("shape", None, used.len() as u64));
        let entries = plan["tiers"].as_array().expect("a list of tiers");
        let told: Vec<_> = entries
            .iter()
            .map(|entry| {
                (entry["tier"].as_str().unwrap_or_default(), entry["priority"].as_i64(), entry["value"].as_u64())
            })
            .collect();
        let expected: Vec<_> =
            expected.into_iter().map(|(tier, priority, value)| (tier, priority, Some(value))).collect();
        if told != expected {
            found.push(format!("tiers: {told:?} in the plan, {expected:?} in truth"));
        }
        if (&plan["cost"]["before_micros"], &plan["cost"]["after_micros"]) != (&Value::from(0), &Value::from(cost)) {
            found.push(format!("cost: {} in the plan, {cost} in truth", plan["cost"]));
        }
        check_proofs(entries, plan, found);
    }
}

/// Bounds are below values, what is called proven has none below, and the status says whether all are.
fn check_proofs(entries: &[Value], plan: &Value, found: &mut Vec<String>) {
    let mut all_proven = true;
    for entry in entries {
        let exact = entry["bound"] == entry["value"];
        if entry["bound"].as_u64() > entry["value"].as_u64() {
            found.push(format!("bound above value: {entry}"));
        }
        all_proven &= exact;
        if entry["proven"] != all_proven {
            found.push(format!("proven is not what the bounds say: {entry}"));
        }
    }
    let status = if all_proven { "optimal" } else { "feasible" };
    if plan["status"] != status {
        found.push(format!("status: {} in the plan, {status} in truth", plan["status"]));
    }
}

fn check_document(plan: &Value, found: &mut Vec<String>) {
    for empty in ["unplaced", "denied", "nodes_bought"] {
        if plan[empty].as_array().is_none_or(|list| !list.is_empty()) {
            found.push(format!("{empty}: {}", plan[empty]));
        }
    }
    if plan["solve"]["checked"] != true {
        found.push("the plan was not checked".to_owned());
    }
}

/// From nothing to the assignments there are only starts; every change is in a wave, and replicas are told apart.
fn check_changes(placement: &Placement<'_>, plan: &Value, found: &mut Vec<String>) {
    let changes = plan["changes"].as_array().expect("a list of changes");
    let mut started: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    let mut replicas: BTreeSet<(&str, u64)> = BTreeSet::new();
    for change in changes {
        let (workload, to) =
            (change["workload"].as_str().unwrap_or_default(), change["to"].as_str().unwrap_or_default());
        let count = change["count"].as_u64().unwrap_or_default();
        *started.entry((workload, to)).or_default() += count;
        let indices = change["replicas"].as_array().into_iter().flatten().filter_map(Value::as_u64);
        let fresh = indices.filter(|index| replicas.insert((workload, *index))).count() as u64;
        let nothing_said = change["why"].as_str().is_none_or(str::is_empty);
        if change["action"] != "start" || !change["from"].is_null() || fresh != count || nothing_said {
            found.push(format!("not a start of new replicas, with a reason: {change}"));
        }
    }
    if started != placement.counts {
        found.push("the changes do not lead to the assignments".to_owned());
    }
    let waves = plan["waves"].as_array().expect("a list of waves").iter();
    let in_waves: BTreeSet<u64> =
        waves.flat_map(|wave| wave.as_array().into_iter().flatten()).filter_map(Value::as_u64).collect();
    if in_waves != (0..changes.len() as u64).collect() {
        found.push("the waves do not hold every change".to_owned());
    }
}
