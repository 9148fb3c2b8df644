//! KDL nodes to items: everything that can be said about one top-level node without looking at any other.
//!
//! Goes on after errors: an item is returned whenever its name is known, holding what could be read, so that references to it
//! make no further noise. Whoever uses items must look at the diagnostics first.

mod cursor;
mod device;
mod image;
mod inventory;
mod place;
mod pool;
mod rules;
mod spare;
mod value;
mod workload;

use crate::diagnostic::{short, suggest};
use crate::{Diagnostic, Item, ItemBody, ItemKey, Sources, WorkloadKind, syntax};
use cursor::Cx;
use kdl::KdlNode;

/// The top-level nodes of the language.
const TOP_LEVEL: [&str; 12] = [
    "node",
    "pool",
    "team",
    "service",
    "job",
    "daemon",
    "constraint",
    "reserve",
    "safety",
    "balance",
    "objective",
    "load",
];

/// Reads every source: one item for each top-level KDL node, and everything that is wrong with any of them.
pub fn parse(sources: &Sources) -> (Vec<Item>, Vec<Diagnostic>) {
    let Read { items, problems, .. } = read(sources);
    (items, problems)
}

/// What reading the sources yields.
pub(crate) struct Read {
    pub(crate) items: Vec<Item>,
    pub(crate) problems: Vec<Diagnostic>,
    /// Every top-level node has become an item. Otherwise a name that leads nowhere may lead to what could not be read.
    pub(crate) whole: bool,
}

pub(crate) fn read(sources: &Sources) -> Read {
    let mut read = Read { items: Vec::new(), problems: Vec::new(), whole: true };
    for (index, source) in sources.0.iter().enumerate() {
        let (parsed, whole) = syntax::read(index, source, &TOP_LEVEL, &mut read.problems);
        read.whole &= whole;
        for stretch in parsed {
            let (base, blanked) = (stretch.base, stretch.text.as_str());
            let mut cx = Cx { source: index, text: &source.text, base, blanked, out: &mut read.problems };
            let before = read.items.len();
            read.items.extend(stretch.nodes.iter().filter_map(|node| item(&mut cx, node)));
            read.whole &= read.items.len() - before == stretch.nodes.len();
        }
    }
    read.problems.sort_by_key(|diagnostic| (diagnostic.span, diagnostic.code != "hyphae::syntax"));
    // What the lexer reported has been made harmless for the parser, and may have struck somebody again further on.
    read.problems
        .dedup_by(|again, first| again.span == first.span && (first.code == "hyphae::syntax" || again == first));
    read
}

fn item(cx: &mut Cx<'_>, node: &KdlNode) -> Option<Item> {
    if cx.is_full() {
        return None;
    }
    let span = cx.node_span(node);
    let body = match node.name().value() {
        "node" => ItemBody::Node(inventory::node(cx, node)?),
        "pool" => ItemBody::Pool(pool::pool(cx, node)?),
        "team" => ItemBody::Team(inventory::team(cx, node)?),
        "service" => ItemBody::Workload(Box::new(workload::workload(cx, node, WorkloadKind::Service)?)),
        "job" => ItemBody::Workload(Box::new(workload::workload(cx, node, WorkloadKind::Job)?)),
        "daemon" => ItemBody::Workload(Box::new(workload::workload(cx, node, WorkloadKind::Daemon)?)),
        "constraint" => ItemBody::Constraint(rules::constraint(cx, node)?),
        "reserve" => ItemBody::Reserve(spare::reserve(cx, node)?),
        "safety" => ItemBody::Safety(spare::safety(cx, node)),
        "balance" => ItemBody::Balance(spare::balance(cx, node)?),
        "objective" => ItemBody::Objective(rules::objective(cx, node)),
        "load" => ItemBody::Load(pool::load(cx, node)?),
        unknown => {
            let message = format!("there is no top-level node called `{}`", short(unknown));
            cx.error("hyphae::unknown_node", cx.name_span(node), message, "unknown node", suggest(unknown, TOP_LEVEL));
            return None;
        }
    };
    let key = match &body {
        ItemBody::Node(node) => ItemKey::Node(node.name.value.clone()),
        ItemBody::Pool(pool) => ItemKey::Pool(pool.name.value.clone()),
        ItemBody::Team(team) => ItemKey::Team(team.name.value.clone()),
        ItemBody::Workload(workload) => ItemKey::Workload(workload.full_name()),
        ItemBody::Constraint(rule) => ItemKey::Constraint(rule.name.value.clone()),
        ItemBody::Reserve(reserve) => ItemKey::Reserve(reserve.loss_of.value.clone()),
        ItemBody::Safety(_) => ItemKey::Safety,
        ItemBody::Balance(_) => ItemKey::Balance,
        ItemBody::Objective(_) => ItemKey::Objective,
        ItemBody::Load(load) => ItemKey::Load(load.workload.value.clone()),
    };
    Some(Item { key, span, body })
}
