//! What if: changes to the world that a plan is made for, none of which happen.
//!
//! ```text
//! 'without FILE:LINE'             the statement at that line (a placement rule, a quota, all-or-nothing) is not there
//! 'replicas TEAM/NAME=N'          so many are wanted
//! 'drop TEAM/NAME'                none is wanted
//! 'nodes +N like NODE'            so many more nodes of that kind
//! 'lose node NODE'                that node is gone, and what runs on it
//! 'lose KEY=VALUE'                every node with that label is
//! ```
//!
//! A state, a merged model and these go in, a changed state and model come out; the planner does the rest. A plan made so says so
//! ([`crate::plan::WhatIfEntry`]), and nobody can apply it.

use super::program::Origin;
use super::sources::Merged;
use crate::plan::{PlanDocument, TierChange, UnplacedChange, WhatIfEntry};
use crate::state::{NodeRecord, State};
use hyphae_specs::{Replicas, Span, Spanned, WorkloadKind};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// Most nodes that one supposition adds.
const NODES_MAX: u32 = 10_000;
/// Most replicas that one wants: as many as a spec may.
const REPLICAS_MAX: u32 = 1_000_000;

/// One supposition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WhatIf {
    /// The statement that begins at this line is not there.
    Without {
        /// As the plan names it.
        file: String,
        /// From 1.
        line: usize,
    },
    /// So many replicas are wanted.
    Replicas {
        /// `team/name`.
        workload: String,
        /// So many.
        count: u32,
    },
    /// No replica is wanted.
    Drop {
        /// `team/name`.
        workload: String,
    },
    /// There are more nodes of a kind.
    Nodes {
        /// So many more.
        more: u32,
        /// A node there is.
        like: String,
    },
    /// A node is gone.
    LoseNode {
        /// Its name.
        node: String,
    },
    /// Every node with a label is gone.
    LoseDomain {
        /// The label, or "pool".
        key: String,
        /// Its value.
        value: String,
    },
}

/// Why a supposition makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("what if {what:?}: {problem}")]
pub struct WhatIfError {
    /// The supposition.
    pub what: String,
    /// What is wrong with it.
    pub problem: String,
}

impl FromStr for WhatIf {
    type Err = WhatIfError;

    fn from_str(text: &str) -> Result<Self, WhatIfError> {
        let error = |problem: &str| WhatIfError { what: text.to_owned(), problem: problem.to_owned() };
        let words: Vec<&str> = text.split_whitespace().collect();
        let count = |text: &str, most: u32| match text.parse::<u32>() {
            Ok(count) if count <= most => Ok(count),
            _ => Err(error(&format!("{text:?} is no number from 0 to {most}"))),
        };
        match words.as_slice() {
            ["without", place] => {
                let (file, line) = place.rsplit_once(':').ok_or_else(|| error("write it as FILE:LINE"))?;
                let line = line.parse().ok().filter(|line| *line > 0).ok_or_else(|| error("the line is no number"))?;
                Ok(Self::Without { file: file.to_owned(), line })
            }
            ["replicas", wanted] => {
                let (workload, number) = wanted.split_once('=').ok_or_else(|| error("write it as TEAM/NAME=NUMBER"))?;
                Ok(Self::Replicas { workload: full_name(workload), count: count(number, REPLICAS_MAX)? })
            }
            ["drop", workload] => Ok(Self::Drop { workload: full_name(workload) }),
            ["nodes", more, "like", node] => {
                let number = more.strip_prefix('+').ok_or_else(|| error("write it as `nodes +NUMBER like NODE`"))?;
                Ok(Self::Nodes { more: count(number, NODES_MAX)?, like: (*node).to_owned() })
            }
            ["lose", "node", node] => Ok(Self::LoseNode { node: (*node).to_owned() }),
            ["lose", label] => {
                let (key, value) =
                    label.split_once('=').ok_or_else(|| error("write it as `lose node NODE` or `lose KEY=VALUE`"))?;
                Ok(Self::LoseDomain { key: key.to_owned(), value: value.to_owned() })
            }
            _ => Err(error(
                "it is one of `without FILE:LINE`, `replicas TEAM/NAME=N`, `drop TEAM/NAME`, `nodes +N like NODE`, \
                 `lose node NODE`, `lose KEY=VALUE`",
            )),
        }
    }
}

impl fmt::Display for WhatIf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Without { file, line } => write!(f, "without {file}:{line}"),
            Self::Replicas { workload, count } => write!(f, "replicas {workload}={count}"),
            Self::Drop { workload } => write!(f, "drop {workload}"),
            Self::Nodes { more, like } => write!(f, "nodes +{more} like {like}"),
            Self::LoseNode { node } => write!(f, "lose node {node}"),
            Self::LoseDomain { key, value } => write!(f, "lose {key}={value}"),
        }
    }
}

impl WhatIf {
    fn error(&self, problem: String) -> WhatIfError {
        WhatIfError { what: self.to_string(), problem }
    }
}

fn full_name(workload: &str) -> String {
    if workload.contains('/') { workload.to_owned() } else { format!("default/{workload}") }
}

/// The state with nodes added and gone.
pub(super) fn state_if(state: &State, suppositions: &[WhatIf]) -> Result<State, WhatIfError> {
    let mut state = state.clone();
    for what in suppositions {
        match what {
            WhatIf::Nodes { more, like } => add_nodes(&mut state, what, *more, like)?,
            WhatIf::LoseNode { node } => {
                state.nodes.remove(node).ok_or_else(|| what.error(unknown("node", node, state.nodes.keys())))?;
            }
            WhatIf::LoseDomain { key, value } => state.nodes.retain(|name, node| !is_in(name, node, key, value)),
            WhatIf::Without { .. } | WhatIf::Replicas { .. } | WhatIf::Drop { .. } => {}
        }
    }
    Ok(state)
}

fn is_in(name: &str, node: &NodeRecord, key: &str, value: &str) -> bool {
    match key {
        "node" => name == value,
        "pool" => node.pool == value,
        key => node.labels.get(key).is_some_and(|label| label == value),
    }
}

fn add_nodes(state: &mut State, what: &WhatIf, more: u32, like: &str) -> Result<(), WhatIfError> {
    let mut node =
        state.nodes.get(like).cloned().ok_or_else(|| what.error(unknown("node", like, state.nodes.keys())))?;
    node.schedulable = true;
    for number in 1..=more {
        let mut name = format!("{like}-what-if-{number}");
        while state.nodes.contains_key(&name) {
            name.push('x');
        }
        (node.id, state.next_node_id) = (state.next_node_id, state.next_node_id.saturating_add(1));
        state.nodes.insert(name, node.clone());
    }
    Ok(())
}

/// Changes the model; `state` is the one as it is.
pub(super) fn suppose(state: &State, merged: &mut Merged, suppositions: &[WhatIf]) -> Result<(), WhatIfError> {
    for what in suppositions {
        match what {
            WhatIf::Replicas { workload, count } => want(merged, what, workload, *count)?,
            WhatIf::Drop { workload } => want(merged, what, workload, 0)?,
            WhatIf::Without { file, line } => without(merged, what, file, *line)?,
            WhatIf::LoseDomain { key, value } => {
                let offered = lose_offers(merged, key, value);
                if !offered && !state.nodes.iter().any(|(name, node)| is_in(name, node, key, value)) {
                    return Err(what.error(format!("no node has the label {key}={value}")));
                }
            }
            WhatIf::Nodes { .. } | WhatIf::LoseNode { .. } => {}
        }
    }
    if suppositions.iter().any(|what| matches!(what, WhatIf::LoseNode { .. } | WhatIf::LoseDomain { .. })) {
        spend_reserves(merged);
    }
    Ok(())
}

/// In a domain that is lost no machine can be had either. Whether any could.
fn lose_offers(merged: &mut Merged, key: &str, value: &str) -> bool {
    let mut any = false;
    for (name, pool) in &mut merged.model.pools {
        let zones = pool.zones.len();
        pool.zones.retain(|zone| key != "zone" || zone.value != value);
        let has_label = pool.labels.get(key).is_some_and(|label| label.value == value);
        any |= pool.zones.len() < zones;
        // A pool of no zones would offer machines in none.
        if (pool.zones.is_empty() && zones > 0) || has_label || (key == "pool" && name == value) {
            pool.instances.clear();
            any = true;
        }
    }
    any
}

/// What a reserve has kept free is what a loss uses: no second loss is provided for.
fn spend_reserves(merged: &mut Merged) {
    for reserve in std::mem::take(&mut merged.model.reserves) {
        let Origin { file, line, text, .. } = Origin::new(&merged.sources, reserve.span);
        merged.warnings.push(format!(
            "after the loss, `{text}` ({file}:{line}) asks for nothing more: this is what it kept room for"
        ));
    }
}

fn want(merged: &mut Merged, what: &WhatIf, name: &str, count: u32) -> Result<(), WhatIfError> {
    let help = unknown("workload", name, merged.model.workloads.keys());
    let workload = merged.model.workloads.get_mut(name).ok_or_else(|| what.error(help))?;
    if workload.kind == WorkloadKind::Daemon && count > 0 {
        return Err(what.error("a daemon runs once on every node it may be on".to_owned()));
    }
    workload.replicas = Replicas::Fixed(Spanned { value: count, span: workload.name.span });
    Ok(())
}

fn without(merged: &mut Merged, what: &WhatIf, file: &str, line: usize) -> Result<(), WhatIfError> {
    let Merged { sources, model, .. } = merged;
    let mut statements: BTreeMap<usize, String> = BTreeMap::new();
    let mut found = false;
    let mut is_there = |span: Span| {
        let origin = Origin::new(sources, span);
        let here = (origin.file == file, origin.line == line) == (true, true);
        found |= here;
        if origin.file == file {
            statements.insert(origin.line, origin.text);
        }
        here
    };
    for workload in model.workloads.values_mut() {
        workload.place.retain(|rule| !is_there(rule.span));
        if workload.all_or_nothing.as_ref().is_some_and(|statement| is_there(statement.span)) {
            workload.all_or_nothing = None;
        }
    }
    model.constraints.values_mut().for_each(|constraint| constraint.place.retain(|rule| !is_there(rule.span)));
    for team in model.teams.values_mut() {
        if team.quota.as_ref().is_some_and(|quota| is_there(quota.span)) {
            team.quota = None;
        }
    }
    model.reserves.retain(|reserve| !is_there(reserve.span));
    if found {
        return Ok(());
    }
    let near = statements.iter().min_by_key(|(at, _)| at.abs_diff(line));
    Err(what.error(match near {
        Some((at, text)) => format!("no constraint begins at line {line} of {file}; the nearest is at {at}: `{text}`"),
        None => format!("{file} has no constraint"),
    }))
}

fn unknown<'a>(kind: &str, name: &str, known: impl Iterator<Item = &'a String>) -> String {
    let near = hyphae_specs::did_you_mean(name, known.map(String::as_str));
    let near = near.map(|near| format!("; did you mean {near:?}?")).unwrap_or_default();
    format!("there is no {kind} {name:?}{near}")
}

/// What differs between the plan as things are and the plan as they are supposed to be.
pub(super) fn difference(suppositions: &[WhatIf], now: &PlanDocument, then: &PlanDocument) -> WhatIfEntry {
    let value = |document: &PlanDocument, tier: &str, priority: Option<i32>| {
        document.tiers.iter().find(|t| t.tier == tier && t.priority == priority).map(|t| t.value)
    };
    let mut keys: Vec<(String, Option<i32>)> = Vec::new();
    for tier in now.tiers.iter().chain(&then.tiers) {
        let key = (tier.tier.clone(), tier.priority);
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    let changed = keys.into_iter().map(|(tier, priority)| TierChange {
        now: value(now, &tier, priority),
        then: value(then, &tier, priority),
        tier,
        priority,
    });
    let missing = |document: &PlanDocument| -> BTreeMap<String, u32> {
        document.unplaced.iter().map(|unplaced| (unplaced.workload.clone(), unplaced.count)).collect()
    };
    let (missing_now, missing_then) = (missing(now), missing(then));
    let short = missing_now.keys().chain(missing_then.keys()).collect::<std::collections::BTreeSet<_>>();
    let of = |missing: &BTreeMap<String, u32>, name: &String| missing.get(name).copied().unwrap_or(0);
    let unplaced = short.into_iter().map(|name| UnplacedChange {
        workload: name.clone(),
        now: of(&missing_now, name),
        then: of(&missing_then, name),
    });
    WhatIfEntry {
        suppositions: suppositions.iter().map(ToString::to_string).collect(),
        tiers: changed.collect(),
        unplaced: unplaced.collect(),
        cost_now_micros: now.cost.after_micros,
        cost_then_micros: then.cost.after_micros,
    }
}
