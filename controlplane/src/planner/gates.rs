//! Asks the `deploy` and `operate` gates about a request; what they forbid becomes entries of the plan.

use super::eligibility::workload_facts;
use super::program::Program;
use super::sources::Merged;
use crate::plan::Denied;
use crate::state::{State, Template};
use hyphae_policy::{Decision, DeployAction, DeployFacts, OperateAction, UserFacts, WorkloadFacts, WorkloadKind};
use hyphae_specs::{Replicas, Workload};

/// What the request does to each workload that it changes, and what of that is forbidden.
pub(super) fn deploy(state: &State, merged: &Merged, program: &Program, user: &UserFacts) -> Vec<Denied> {
    let mut denied = Vec::new();
    for (position, (name, workload)) in merged.model.workloads.iter().enumerate() {
        let Some(action) = action(state, merged, name, workload) else { continue };
        let replicas = program.problem.workloads[position].wanted;
        let facts = deploy_facts(workload, &program.templates[position], replicas);
        let decision = merged.judges.deploy(user, action, &workload_facts(workload), &facts);
        denied.extend(denials(&decision, action.as_str(), name, user));
    }
    for key in &merged.removed {
        let Some((name, facts, deploy)) = removed_facts(state, key) else { continue };
        let decision = merged.judges.deploy(user, DeployAction::Delete, &facts, &deploy);
        denied.extend(denials(&decision, "delete", &name, user));
    }
    if merged.policies_changed {
        let decision = merged.judges.operate(user, &OperateAction::ChangePolicy);
        denied.extend(denials(&decision, "change-policy", "", user));
    }
    denied
}

/// Asks whether the user may carry out a plan of this extent.
pub(super) fn apply(merged: &Merged, user: &UserFacts, disrupted: u64, cost_change_micros: i64) -> Vec<Denied> {
    let disrupted = i64::try_from(disrupted).unwrap_or(i64::MAX);
    let decision = merged.judges.operate(user, &OperateAction::Apply { disrupted, cost_change_micros });
    denials(&decision, "apply", "", user)
}

/// What the request does to the workload; `None`: nothing.
pub(super) fn action(state: &State, merged: &Merged, name: &str, workload: &Workload) -> Option<DeployAction> {
    let key = format!("workload/{name}");
    let new = &merged.objects[&key].text;
    let Some(old) = state.objects.get(&key) else { return Some(DeployAction::Create) };
    if old.text == *new {
        return None;
    }
    let scaled = without_replicas(workload, &merged.sources, new).is_some_and(|(before, after)| {
        let old = &old.text;
        old.len() >= before.len() + after.len()
            && old.starts_with(before)
            && old.ends_with(after)
            && old[before.len()..old.len() - after.len()].bytes().all(|byte| byte.is_ascii_digit() || byte == b'_')
    });
    Some(if scaled { DeployAction::Scale } else { DeployAction::Update })
}

/// The spec's text before and after the number of replicas.
fn without_replicas<'a>(
    workload: &Workload,
    sources: &hyphae_specs::Sources,
    text: &'a str,
) -> Option<(&'a str, &'a str)> {
    let Replicas::Fixed(count) = &workload.replicas else { return None };
    let whole = &sources.0[count.span.source].text;
    let start = whole.find(text)?;
    let from = count.span.offset.checked_sub(start)?;
    let to = from + count.span.len;
    let number = text.get(from..to)?;
    (number.parse() == Ok(count.value)).then(|| (&text[..from], &text[to..]))
}

fn denials(decision: &Decision, action: &str, workload: &str, user: &UserFacts) -> Vec<Denied> {
    if decision.allowed {
        return Vec::new();
    }
    let subject = if workload.is_empty() { String::new() } else { format!(" {workload}") };
    let denied = |policy: Option<&hyphae_policy::PolicyRef>, message: String| Denied {
        policy: policy.map(|policy| policy.id.clone()),
        file: policy.map(|policy| policy.file.clone()),
        line: policy.map(|policy| policy.line),
        action: action.to_owned(),
        workload: workload.to_owned(),
        message,
    };
    if let (true, Some(error)) = (decision.policies.is_empty(), decision.errors.first()) {
        return vec![denied(
            None,
            format!("a policy could not be evaluated, so nothing it might forbid is allowed: {error}"),
        )];
    }
    if decision.policies.is_empty() {
        let teams =
            if user.teams.is_empty() { "no team".to_owned() } else { format!("team {}", user.teams.join(", ")) };
        return vec![denied(None, format!("no policy permits user {} ({teams}) to {action}{subject}", user.name))];
    }
    let message = |policy: &hyphae_policy::PolicyRef| {
        if let Some(failure) = decision.failure_of(policy) {
            return format!("nothing it might forbid is allowed: {failure}");
        }
        policy.message.clone().unwrap_or_else(|| format!("user {} may not {action}{subject}", user.name))
    };
    decision.policies.iter().map(|policy| denied(Some(policy), message(policy))).collect()
}

fn deploy_facts(workload: &Workload, template: &Template, replicas: u32) -> DeployFacts {
    DeployFacts {
        secrets: workload.secrets.iter().map(|secret| secret.name.value.clone()).collect(),
        priority: workload.priority.as_ref().map_or(0, |priority| i64::from(priority.value)),
        ..template_facts(template, replicas)
    }
}

fn template_facts(template: &Template, replicas: u32) -> DeployFacts {
    let image = ImageParts::of(&template.image);
    DeployFacts {
        image_registry: image.registry.to_owned(),
        image_name: image.name.to_owned(),
        image_tag: image.tag.map(str::to_owned),
        image_pinned: image.pinned,
        replicas: i64::from(replicas),
        cpu_millis: i64::try_from(template.cpu_millis).unwrap_or(i64::MAX),
        memory_bytes: i64::try_from(template.memory_bytes).unwrap_or(i64::MAX),
        ports: template.ports.iter().map(|port| port.number).collect(),
        host_ports: template.ports.iter().filter_map(|port| port.host).collect(),
        secrets: Vec::new(),
        privileges: Vec::new(),
        priority: 0,
    }
}

/// A stored workload that the request deletes, as policies see it.
fn removed_facts(state: &State, key: &str) -> Option<(String, WorkloadFacts, DeployFacts)> {
    let full_name = key.strip_prefix("workload/")?;
    let record = state.workloads.get(full_name)?;
    let template = record.templates.get(&record.generation)?;
    let (team, name) = full_name.split_once('/')?;
    let facts = WorkloadFacts {
        kind: match record.kind.as_str() {
            "job" => WorkloadKind::Job,
            "daemon" => WorkloadKind::Daemon,
            _ => WorkloadKind::Service,
        },
        team: team.to_owned(),
        name: name.to_owned(),
        labels: template.labels.clone(),
    };
    Some((full_name.to_owned(), facts, template_facts(template, record.wanted)))
}

/// The parts of an image reference that policies can see.
#[derive(Debug, PartialEq, Eq)]
struct ImageParts<'a> {
    registry: &'a str,
    name: &'a str,
    tag: Option<&'a str>,
    pinned: bool,
}

impl<'a> ImageParts<'a> {
    /// `[registry/]name[:tag][@digest]`; the first part is a registry when it looks like a host, as everywhere in the field.
    fn of(reference: &'a str) -> Self {
        let (rest, pinned) = reference.split_once('@').map_or((reference, false), |(rest, _)| (rest, true));
        let (path, tag) = match rest.rsplit_once(':') {
            Some((path, tag)) if !tag.contains('/') && !tag.contains(']') => (path, Some(tag)),
            _ => (rest, None),
        };
        let is_host = |part: &str| part.contains(['.', ':', '[']) || part == "localhost";
        match path.split_once('/') {
            Some((registry, name)) if is_host(registry) => Self { registry, name, tag, pinned },
            _ => Self { registry: "docker.io", name: path, tag, pinned },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn image_references_fall_into_their_parts() {
        let parts = |registry, name, tag, pinned| ImageParts { registry, name, tag, pinned };
        assert_eq!(ImageParts::of("nginx"), parts("docker.io", "nginx", None, false));
        assert_eq!(ImageParts::of("team/web:1.2"), parts("docker.io", "team/web", Some("1.2"), false));
        assert_eq!(ImageParts::of("r.example/web:1"), parts("r.example", "web", Some("1"), false));
        assert_eq!(ImageParts::of("localhost:5000/a/b"), parts("localhost:5000", "a/b", None, false));
        assert_eq!(ImageParts::of("[::1]:5000/a:t@sha256:00"), parts("[::1]:5000", "a", Some("t"), true));
    }
}
