//! Merges what the cluster has stored with the files of a request into one model.
//!
//! A file's item replaces the stored item with the same key; everything else stays. Cedar files, when there are any, replace the
//! whole policy set: a set is judged as one, and a security team keeps it in one place.

use super::PlanError;
use crate::plan::{InputFile, Inputs};
use crate::state::{State, StoredSource};
use hyphae_policy::{Policies, PolicySource};
use hyphae_specs::{Diagnostic, IndexedSources, Item, ItemBody, ItemKey, Model, Severity, Source, Sources};
use std::collections::{BTreeMap, BTreeSet};

/// The wanted world: specs and policies after the request, and how they differ from what is stored.
pub(super) struct Merged {
    pub(super) sources: IndexedSources,
    pub(super) model: Model,
    /// The text of every spec after the request, by key.
    pub(super) objects: BTreeMap<String, StoredSource>,
    /// Keys of stored specs that the request removes.
    pub(super) removed: Vec<String>,
    pub(super) policies: Policies,
    pub(super) policy_files: Vec<StoredSource>,
    /// The policies that judge the request itself: those in force, or the new ones where none are.
    pub(super) judges: Policies,
    pub(super) policies_changed: bool,
    /// Warnings about the sources, for people.
    pub(super) warnings: Vec<String>,
}

/// The key under which a spec is stored.
pub(super) fn object_key(key: &ItemKey) -> String {
    match key {
        ItemKey::Node(name) => format!("node/{name}"),
        ItemKey::Pool(name) => format!("pool/{name}"),
        ItemKey::Team(name) => format!("team/{name}"),
        ItemKey::Workload(name) => format!("workload/{name}"),
        ItemKey::Constraint(name) => format!("constraint/{name}"),
        ItemKey::Reserve(name) => format!("reserve/{name}"),
        ItemKey::Safety => "safety".to_owned(),
        ItemKey::Balance => "balance".to_owned(),
        ItemKey::Objective => "objective".to_owned(),
        ItemKey::Load(name) => format!("load/{name}"),
    }
}

pub(super) fn is_cedar(file: &InputFile) -> bool {
    file.file.ends_with(".cedar")
}

/// Reads everything; all problems of all files come back together.
pub(super) fn merge(state: &State, inputs: &Inputs) -> Result<Merged, PlanError> {
    let deleted = deletions(state, inputs)?;
    let (sources, new_sources) = all_sources(state, inputs);
    let (items, mut diagnostics) = hyphae_specs::parse(&sources);
    let sources = IndexedSources::from(sources);
    let items = supersede(items, new_sources, &deleted);
    diagnostics.extend(hyphae_specs::unsupported(&items));
    diagnostics.extend(nodes_out_of_place(&items));
    if !super::offline::is_offline(state) {
        diagnostics.extend(devices_out_of_place(&items));
    }
    let objects = stored_texts(&items, &sources);
    let (model, found) = hyphae_specs::resolve(items);
    diagnostics.extend(found);

    let new_policies: Vec<StoredSource> = inputs.files.iter().filter(|file| is_cedar(file)).map(stored_whole).collect();
    let policies_changed = !new_policies.is_empty() && new_policies != state.policies;
    let policy_files = if new_policies.is_empty() { state.policies.clone() } else { new_policies };
    let policies = load_policies(&policy_files);
    let judges = if state.policies.is_empty() || state.policies == policy_files {
        policies.clone()
    } else {
        load_policies(&state.policies)
    };

    let (errors, warnings): (Vec<_>, Vec<_>) =
        diagnostics.into_iter().partition(|found| found.severity == Severity::Error);
    match (errors.is_empty(), policies, judges) {
        (true, Ok(policies), Ok(judges)) => Ok(Merged {
            removed: state.objects.keys().filter(|key| !objects.contains_key(*key)).cloned().collect(),
            warnings: warnings
                .iter()
                .map(|warning| hyphae_specs::render(std::slice::from_ref(warning), &sources, false))
                .collect(),
            sources,
            model,
            objects,
            policies,
            policy_files,
            judges,
            policies_changed,
        }),
        (_, policies, judges) => Err(PlanError::Sources {
            diagnostics: errors,
            policies: policies.err().or(judges.err()).unwrap_or_default(),
            sources: sources.into(),
        }),
    }
}

/// The workloads to delete, checked: each has to be stored.
fn deletions(state: &State, inputs: &Inputs) -> Result<BTreeSet<String>, PlanError> {
    let stored: BTreeSet<&str> = state.objects.keys().filter_map(|key| key.strip_prefix("workload/")).collect();
    match inputs.delete.iter().find(|name| !stored.contains(name.as_str())) {
        Some(name) => Err(PlanError::NoSuchWorkload {
            name: name.clone(),
            known: stored.into_iter().map(str::to_owned).collect(),
        }),
        None => Ok(inputs.delete.iter().cloned().collect()),
    }
}

/// The request's files first, so that a position below the returned number is theirs; then the stored texts.
fn all_sources(state: &State, inputs: &Inputs) -> (Sources, usize) {
    let new = inputs.files.iter().filter(|file| !is_cedar(file));
    let mut sources: Vec<Source> =
        new.map(|file| Source { name: file.file.clone(), text: file.text.clone(), first_line: 1 }).collect();
    let new_sources = sources.len();
    let stored = state.objects.values();
    sources.extend(stored.map(|stored| Source {
        name: stored.file.clone(),
        text: stored.text.clone(),
        first_line: stored.line,
    }));
    (Sources(sources), new_sources)
}

/// Drops stored items that the request replaces or deletes.
fn supersede(items: Vec<Item>, new_sources: usize, deleted: &BTreeSet<String>) -> Vec<Item> {
    let replaced: BTreeSet<ItemKey> =
        items.iter().filter(|item| item.span.source < new_sources).map(|item| item.key.clone()).collect();
    let stays = |item: &Item| {
        let stored = item.span.source >= new_sources;
        let gone = matches!(&item.key, ItemKey::Workload(name) if deleted.contains(name));
        !(stored && (gone || replaced.contains(&item.key)))
    };
    items.into_iter().filter(stays).collect()
}

pub(super) fn stored_texts(items: &[Item], sources: &IndexedSources) -> BTreeMap<String, StoredSource> {
    let stored = |item: &Item| {
        let position = sources.position(item.span);
        StoredSource { file: position.file, line: position.line, text: sources.slice(item.span).to_owned() }
    };
    items.iter().map(|item| (object_key(&item.key), stored(item))).collect()
}

/// A cluster's nodes are its agents; `node` blocks are only for `--inventory`, which takes them out of the request.
fn nodes_out_of_place(items: &[Item]) -> Vec<Diagnostic> {
    let nodes = items.iter().filter(|item| matches!(item.key, ItemKey::Node(_)));
    nodes
        .map(|item| {
            Diagnostic::error("hyphae::node_in_specs", item.span, "a `node` block among the specs to plan", "describes a machine")
                .help("give the file with --inventory to plan offline; a cluster's nodes are the machines that run `hyphae agent`")
        })
        .collect()
}

/// No agent hands a device to a container yet: only a plan offline may ask for any.
fn devices_out_of_place(items: &[Item]) -> Vec<Diagnostic> {
    let device = |item: &Item| match &item.body {
        ItemBody::Workload(workload) => workload.device.as_ref().map(|device| device.span),
        _ => None,
    };
    let refused = |span: hyphae_specs::Span| {
        Diagnostic::error(
            "hyphae::not_supported_yet",
            span,
            "`device` is planned offline only",
            "would not be handed in",
        )
        .help("agents cannot give devices to containers yet: plan with --inventory, or reserve an extra of `resources`")
    };
    items.iter().filter_map(device).map(refused).collect()
}

fn stored_whole(file: &InputFile) -> StoredSource {
    StoredSource { file: file.file.clone(), line: 1, text: file.text.clone() }
}

fn load_policies(files: &[StoredSource]) -> Result<Policies, Vec<hyphae_policy::PolicyError>> {
    if files.is_empty() {
        return Ok(Policies::none());
    }
    let files: Vec<PolicySource> = files
        .iter()
        .map(|file| PolicySource { name: file.file.clone(), text: file.text.clone(), first_line: file.line })
        .collect();
    Policies::load(&files)
}
