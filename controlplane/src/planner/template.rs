//! From a workload's spec to the template of its replicas: exactly what makes a running replica outdated when it changes.

use crate::state::{Template, TemplatePort};
use hyphae_specs::{Protocol, Resources, Workload};
use std::collections::BTreeMap;

/// Time between SIGTERM and SIGKILL when the spec says nothing.
const STOP_GRACE_MILLIS: u64 = 10_000;

/// What one replica of the workload runs.
pub(super) fn template(workload: &Workload) -> Template {
    let reserved = &workload.resources;
    let limits = workload.limits.as_ref();
    let texts = |list: &[hyphae_specs::Spanned<String>]| list.iter().map(|text| text.value.clone()).collect();
    Template {
        image: workload.image.value.clone(),
        command: texts(&workload.command),
        args: texts(&workload.args),
        env: workload.env.iter().map(|(key, value)| (key.value.clone(), value.value.clone())).collect(),
        cpu_millis: cpu(reserved),
        memory_bytes: memory(reserved),
        disk_bytes: reserved.disk.as_ref().map_or(0, |disk| disk.value.0),
        extras: extras(reserved),
        limit_cpu_millis: limits.and_then(|limits| limits.cpu.as_ref()).map_or(cpu(reserved), |cpu| cpu.value.0),
        limit_memory_bytes: limits
            .and_then(|limits| limits.memory.as_ref())
            .map_or(memory(reserved), |memory| memory.value.0),
        ports: workload.ports.iter().map(port).collect(),
        stop_grace_millis: workload.stop_grace.as_ref().map_or(STOP_GRACE_MILLIS, |grace| grace.value.0),
        retries: workload.retries.as_ref().map_or(0, |retries| retries.value),
        labels: workload.labels.iter().map(|(key, value)| (key.clone(), value.value.clone())).collect(),
    }
}

fn cpu(resources: &Resources) -> u64 {
    resources.cpu.as_ref().map_or(0, |cpu| cpu.value.0)
}

fn memory(resources: &Resources) -> u64 {
    resources.memory.as_ref().map_or(0, |memory| memory.value.0)
}

pub(super) fn extras(resources: &Resources) -> BTreeMap<String, u64> {
    resources.extras.iter().map(|(name, amount)| (name.clone(), amount.value)).collect()
}

fn port(port: &hyphae_specs::Port) -> TemplatePort {
    TemplatePort {
        name: port.name.value.clone(),
        number: port.number.value,
        host: port.host.as_ref().map(|host| host.value),
        protocol: match port.protocol {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        }
        .to_owned(),
    }
}

/// The names of what differs, for people: "image registry/web:1 → registry/web:2, env".
pub(super) fn difference(old: &Template, new: &Template) -> String {
    let mut parts = Vec::new();
    if old.image != new.image {
        parts.push(format!("image {} → {}", old.image, new.image));
    }
    let resources = |template: &Template| {
        (template.cpu_millis, template.memory_bytes, template.disk_bytes, template.extras.clone())
    };
    let limits = |template: &Template| (template.limit_cpu_millis, template.limit_memory_bytes);
    let changed = [
        ("command", old.command != new.command),
        ("args", old.args != new.args),
        ("env", old.env != new.env),
        ("resources", resources(old) != resources(new)),
        ("limits", limits(old) != limits(new) && resources(old) == resources(new)),
        ("ports", old.ports != new.ports),
        ("stop-grace", old.stop_grace_millis != new.stop_grace_millis),
        ("retries", old.retries != new.retries),
        ("labels", old.labels != new.labels),
    ];
    parts.extend(changed.iter().filter(|(_, changed)| *changed).map(|(name, _)| (*name).to_owned()));
    parts.join(", ")
}
