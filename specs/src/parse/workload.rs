//! `service`, `job` and `daemon` blocks.

use super::cursor::{Cx, Value};
use super::inventory::{Amounts, amounts, bounds, labels, texts, unique};
use super::value::{COUNT_MAX, Zero};
use super::{image, place};
use crate::diagnostic::suggest;
use crate::{
    AllOrNothing, Bytes, CountOrPercent, CpuMillis, Diagnostic, Health, Labels, Mounted, Port, Protocol, Replicas,
    Resources, Span, Spanned, Update, Workload, WorkloadKind,
};
use kdl::KdlNode;
use std::collections::BTreeMap;

/// What may stand in a workload's block once.
const SINGLE: [&str; 17] = [
    "image",
    "command",
    "args",
    "replicas",
    "scale",
    "resources",
    "device",
    "limits",
    "health",
    "update",
    "stop-grace",
    "priority",
    "move-weight",
    "all-or-nothing",
    "retries",
    "schedule",
    "place",
];

/// And what any number of times.
const MANY: [&str; 5] = ["port", "env", "config", "secret", "labels"];

/// Workload labels that are there by themselves.
const IMPLIED_LABELS: [&str; 3] = ["team", "kind", "name"];

/// `service "web" team="storefront" { … }`
pub(super) fn workload(cx: &mut Cx<'_>, node: &KdlNode, kind: WorkloadKind) -> Option<Workload> {
    let mut fields = cx.fields(node);
    let word = kind.as_str();
    let name = fields.required_arg(cx, "a name", &format!("{word} \"web\" {{ … }}"));
    let name = name.and_then(|value| cx.name(&value, &format!("the name of a {word}")));
    let team = fields.prop("team").and_then(|value| cx.name(&value, "the name of a team"));
    let head = fields.head;
    cx.finish(fields);
    let children = cx.children(node, &SINGLE, &MANY);
    if !children.iter().any(|child| child.name().value() == "image") {
        let help = "write `image \"registry.example/web:1.4.2\"` in its block";
        cx.error("hyphae::missing", head, format!("a {word} needs an `image`"), "has no image", help);
    }
    let replicas_written = children.iter().any(|child| child.name().value() == "replicas");
    let mut workload = empty(kind, name.clone().unwrap_or(Spanned { value: String::new(), span: head }), team, head);
    for child in children {
        part(cx, child, &mut workload);
    }
    nothing_twice(cx, &workload);
    limits_cover_demand(cx, &workload);
    let wanted = match &workload.replicas {
        // A number that could not be read is reported; the default says nothing then.
        Replicas::Fixed(count) if count.span != head || !replicas_written => Some((count.value, count.span)),
        Replicas::Fixed(_) | Replicas::Scale { .. } | Replicas::PerNode => None,
    };
    place::keep_fits(cx, &workload.place, wanted);
    name.map(|_| workload)
}

fn empty(kind: WorkloadKind, name: Spanned<String>, team: Option<Spanned<String>>, head: Span) -> Workload {
    Workload {
        kind,
        name,
        team,
        image: Spanned { value: String::new(), span: head },
        command: Vec::new(),
        args: Vec::new(),
        replicas: match kind {
            WorkloadKind::Daemon => Replicas::PerNode,
            WorkloadKind::Service | WorkloadKind::Job => Replicas::Fixed(Spanned { value: 1, span: head }),
        },
        resources: Resources::default(),
        device: None,
        limits: None,
        ports: Vec::new(),
        env: Vec::new(),
        configs: Vec::new(),
        secrets: Vec::new(),
        health: None,
        update: Update::default(),
        stop_grace: None,
        priority: None,
        move_weight: None,
        labels: Labels::new(),
        all_or_nothing: None,
        retries: None,
        schedule: None,
        place: Vec::new(),
        tolerates: Vec::new(),
    }
}

/// One node of the block.
fn part(cx: &mut Cx<'_>, node: &KdlNode, workload: &mut Workload) {
    let name = node.name().value();
    if !allowed(cx, node, workload.kind) {
        return;
    }
    match name {
        "image" => {
            let image = single_arg(cx, node, "a reference", "image \"registry.example/web:1.4.2\"");
            if let Some(image) = image.and_then(|value| image::image(cx, &value)) {
                workload.image = image;
            }
        }
        "command" => {
            workload.command = texts(cx, node, "a word of the command", "command \"/bin/server\" \"--verbose\"")
        }
        "args" => workload.args = texts(cx, node, "an argument", "args \"--verbose\""),
        "replicas" => {
            let value = single_arg(cx, node, "a number", "replicas 3");
            if let Some(count) = value.and_then(|value| cx.count(&value, "replicas", 0..=COUNT_MAX)) {
                workload.replicas = Replicas::Fixed(count);
            }
        }
        "scale" => scale(cx, node, workload),
        "resources" => workload.resources = demand(cx, node),
        "device" => workload.device = super::device::demand(cx, node),
        "limits" => workload.limits = Some(limits(cx, node)),
        "port" => port(cx, node, workload),
        "env" => env(cx, node, workload),
        "config" => workload.configs.extend(mounted(cx, node)),
        "secret" => workload.secrets.extend(mounted(cx, node)),
        "health" => workload.health = health(cx, node),
        "update" => workload.update = update(cx, node),
        "labels" => labels(cx, node, &mut workload.labels, &IMPLIED_LABELS),
        "place" => (workload.place, workload.tolerates) = place::place(cx, node),
        _ => scalar(cx, node, workload),
    }
}

/// The nodes that hold one value.
fn scalar(cx: &mut Cx<'_>, node: &KdlNode, workload: &mut Workload) {
    match node.name().value() {
        "stop-grace" => {
            let value = single_arg(cx, node, "a duration", "stop-grace \"30s\"");
            workload.stop_grace = value.and_then(|value| cx.duration(&value, "stop-grace", Zero::Allowed));
        }
        "priority" => {
            let value = single_arg(cx, node, "a number", "priority 100");
            let range = i128::from(i32::MIN)..=i128::from(i32::MAX);
            let number = value.and_then(|value| cx.whole(&value, "priority", range));
            workload.priority = number
                .and_then(|number| i32::try_from(number.value).ok().map(|value| Spanned { value, span: number.span }));
        }
        "move-weight" => {
            let value = single_arg(cx, node, "a number", "move-weight 10");
            workload.move_weight = value.and_then(|value| cx.count(&value, "move-weight", 1..=COUNT_MAX));
        }
        "retries" => {
            let value = single_arg(cx, node, "a number", "retries 3");
            workload.retries = value.and_then(|value| cx.count(&value, "retries", 0..=COUNT_MAX));
        }
        "schedule" => {
            let value = single_arg(cx, node, "a cron expression", "schedule \"0 3 * * *\"");
            workload.schedule = value.and_then(|value| cx.full_text(&value, "the schedule"));
        }
        _ => {
            let mut fields = cx.fields(node);
            cx.no_children(node);
            let group = fields.prop("group").and_then(|value| cx.name(&value, "the name of a group"));
            cx.finish(fields);
            workload.all_or_nothing = Some(AllOrNothing { span: cx.node_span(node), group });
        }
    }
}

/// Whether this kind of workload has such a part.
fn allowed(cx: &mut Cx<'_>, node: &KdlNode, kind: WorkloadKind) -> bool {
    let help = match (node.name().value(), kind) {
        ("replicas" | "scale", WorkloadKind::Daemon) => {
            "it runs once on each node that `place` allows; remove this line"
        }
        ("scale", WorkloadKind::Job) => "write `replicas` for how many run at once",
        ("retries" | "schedule", WorkloadKind::Service | WorkloadKind::Daemon) => {
            "only a `job` ends by itself; remove this line"
        }
        ("health", WorkloadKind::Job) => "a job works when it ends with exit code 0; remove this line",
        _ => return true,
    };
    let message = format!("a {} has no `{}`", kind.as_str(), node.name().value());
    cx.error("hyphae::unknown_node", cx.name_span(node), message, "not expected here", help);
    false
}

fn single_arg(cx: &mut Cx<'_>, node: &KdlNode, what: &str, example: &str) -> Option<Value> {
    let mut fields = cx.fields(node);
    cx.no_children(node);
    let value = fields.required_arg(cx, what, example);
    cx.finish(fields);
    value
}

/// `scale min=3 max=40 { target cpu=0.6 }`
fn scale(cx: &mut Cx<'_>, node: &KdlNode, workload: &mut Workload) {
    let span = cx.node_span(node);
    let head = cx.name_span(node);
    let (min, max) = bounds(cx, node);
    let mut target_cpu_permille = None;
    for child in cx.children(node, &["target"], &[]) {
        let mut fields = cx.fields(child);
        cx.no_children(child);
        let cpu = fields.required_prop(cx, "cpu", "target cpu=0.6");
        target_cpu_permille = cpu.and_then(|value| cx.permille(&value, "the target"));
        cx.finish(fields);
    }
    if let Replicas::Fixed(count) = &workload.replicas
        && count.span != workload.image.span
        && cx.slice(count.span).starts_with(|c: char| c.is_ascii_digit())
    {
        let diagnostic =
            Diagnostic::error("hyphae::contradiction", head, "`scale` and `replicas` exclude each other", "given too")
                .other(count.span, "the number is fixed here")
                .help("keep one of the two");
        cx.push(diagnostic);
    }
    let (Some(min), Some(max)) = (min, max) else {
        let help = "write `scale min=3 max=40 { target cpu=0.6 }`";
        cx.error("hyphae::missing", head, "`scale` needs `min=` and `max=`", "a bound is missing", help);
        return;
    };
    workload.replicas = Replicas::Scale { span, min, max, target_cpu_permille };
}

/// `resources cpu=0.5 memory="256MiB" gpu=1`
fn demand(cx: &mut Cx<'_>, node: &KdlNode) -> Resources {
    let mut fields = cx.fields(node);
    cx.no_children(node);
    let demand = amounts(cx, &mut fields, &Amounts { zero: Zero::Refused, replicas: false });
    if node.entries().is_empty() {
        let help = "write `resources cpu=0.5 memory=\"256MiB\"`, or leave it out";
        cx.error("hyphae::missing", fields.head, "these resources ask for nothing", "no amounts", help);
    }
    cx.finish(fields);
    demand
}

/// `limits cpu=2 memory="512MiB"`
fn limits(cx: &mut Cx<'_>, node: &KdlNode) -> Resources {
    let mut fields = cx.fields(node);
    cx.no_children(node);
    let limits = Resources {
        cpu: fields.prop("cpu").and_then(|value| cx.cpu(&value, Zero::Refused)),
        memory: fields.prop("memory").and_then(|value| cx.bytes(&value, "memory", Zero::Refused)),
        ..Resources::default()
    };
    if node.entries().is_empty() {
        let help = "write `limits cpu=2 memory=\"512MiB\"`, or leave it out";
        cx.error("hyphae::missing", fields.head, "these limits bound nothing", "no amounts", help);
    }
    cx.finish(fields);
    limits
}

fn limits_cover_demand(cx: &mut Cx<'_>, workload: &Workload) {
    let Some(limits) = &workload.limits else { return };
    let mut below = |span: Span, reserved: Span, what: &str, amount: String| {
        let message = format!("the limit of {what} is below what is reserved");
        let diagnostic = Diagnostic::error("hyphae::contradiction", span, message, "less than reserved")
            .other(reserved, format!("{amount} reserved"))
            .help("raise the limit, or leave it out: then it is what is reserved");
        cx.push(diagnostic);
    };
    if let (Some(limit), Some(reserved)) = (&limits.cpu, &workload.resources.cpu) {
        let (CpuMillis(most), CpuMillis(least)) = (limit.value, reserved.value);
        if most < least {
            below(limit.span, reserved.span, "cpu", reserved.value.to_string());
        }
    }
    if let (Some(limit), Some(reserved)) = (&limits.memory, &workload.resources.memory) {
        let (Bytes(most), Bytes(least)) = (limit.value, reserved.value);
        if most < least {
            below(limit.span, reserved.span, "memory", reserved.value.to_string());
        }
    }
}

/// `port "http" 8080 host=80 protocol="tcp"`
fn port(cx: &mut Cx<'_>, node: &KdlNode, workload: &mut Workload) {
    let mut fields = cx.fields(node);
    cx.no_children(node);
    let example = "port \"http\" 8080";
    let name = fields.required_arg(cx, "a name", example);
    let unnamed = name.as_ref().is_some_and(|value| value.kdl.is_integer());
    if let Some(value) = name.as_ref().filter(|_| unnamed) {
        let number = cx.slice(value.span).to_owned();
        cx.error(
            "hyphae::missing",
            value.span,
            "a port needs a name",
            "the number comes second",
            format!("write `port \"http\" {number}`"),
        );
    }
    let name = name.filter(|_| !unnamed).and_then(|value| cx.name(&value, "the name of a port"));
    let number = if unnamed { fields.arg() } else { fields.required_arg(cx, "a number", example) };
    let number = number.and_then(|value| port_number(cx, &value, "the port"));
    let host = fields.prop("host").and_then(|value| port_number(cx, &value, "the host's port"));
    let protocol = fields.prop("protocol").map_or(Some(Protocol::Tcp), |value| protocol(cx, &value));
    cx.finish(fields);
    let (Some(name), Some(number), Some(protocol)) = (name, number, protocol) else { return };
    workload.ports.push(Port { name, number, host, protocol });
}

/// Ports, variables, configs and secrets: each once.
fn nothing_twice(cx: &mut Cx<'_>, workload: &Workload) {
    unique(cx, workload.env.iter().map(|(name, _)| name), "variable");
    unique(cx, workload.configs.iter().map(|one| &one.name), "config");
    unique(cx, workload.secrets.iter().map(|one| &one.name), "secret");
    unique(cx, workload.ports.iter().map(|port| &port.name), "port");
    let own = workload.ports.iter().map(|port| (port.protocol, false, &port.number));
    let claimed = workload.ports.iter().filter_map(|port| Some((port.protocol, true, port.host.as_ref()?)));
    let mut taken = BTreeMap::new();
    for (protocol, of_host, number) in own.chain(claimed) {
        match taken.get(&(protocol, of_host, number.value)) {
            None => drop(taken.insert((protocol, of_host, number.value), number.span)),
            Some(first) => {
                let message = format!("port {} is taken twice", number.value);
                let diagnostic = Diagnostic::error("hyphae::duplicate", number.span, message, "given again here")
                    .other(*first, "first given here")
                    .help("ports of one workload differ in number or protocol");
                cx.push(diagnostic);
            }
        }
    }
}

fn port_number(cx: &mut Cx<'_>, value: &Value, what: &str) -> Option<Spanned<u16>> {
    let number = cx.whole(value, what, 1..=65535)?;
    u16::try_from(number.value).ok().map(|value| Spanned { value, span: number.span })
}

fn protocol(cx: &mut Cx<'_>, value: &Value) -> Option<Protocol> {
    let text = cx.text(value, "the protocol")?;
    match text.as_str() {
        "tcp" => Some(Protocol::Tcp),
        "udp" => Some(Protocol::Udp),
        other => {
            cx.error(
                "hyphae::bad_value",
                value.span,
                "there is no such protocol",
                "unknown protocol",
                suggest(other, ["tcp", "udp"]),
            );
            None
        }
    }
}

/// `env LOG_LEVEL="info"`
fn env(cx: &mut Cx<'_>, node: &KdlNode, workload: &mut Workload) {
    let mut fields = cx.fields(node);
    cx.no_children(node);
    let props = fields.rest_props();
    if props.is_empty() && node.entries().is_empty() {
        cx.error(
            "hyphae::missing",
            fields.head,
            "no variable is set",
            "nothing here",
            "write `env LOG_LEVEL=\"info\"`",
        );
    }
    if props.is_empty() && !node.entries().is_empty() {
        let values = fields.rest_args();
        if let Some(value) = values.first() {
            let help = "write the variable as a property: `env LOG_LEVEL=\"info\"`";
            cx.error(
                "hyphae::unknown_value",
                value.span,
                "a variable needs a name and a value",
                "not `NAME=\"value\"`",
                help,
            );
        }
    }
    cx.finish(fields);
    for prop in props {
        let valid = prop.name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            && prop.name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        if !valid {
            let help = "letters, digits and `_`, not beginning with a digit";
            cx.error("hyphae::bad_value", prop.name.span, "this is not the name of a variable", "not valid", help);
            continue;
        }
        let what = format!("the value of {}", prop.name.value);
        if let Some(value) = cx.text(&prop.value, &what) {
            workload.env.push((prop.name, value));
        }
    }
}

/// `config "web.toml" mount="/etc/web.toml"`, `secret "db-password" env="DB_PASSWORD"`
fn mounted(cx: &mut Cx<'_>, node: &KdlNode) -> Option<Mounted> {
    let word = node.name().value();
    let mut fields = cx.fields(node);
    cx.no_children(node);
    let example = format!("{word} \"web.toml\" mount=\"/etc/web.toml\"");
    let name = fields.required_arg(cx, "a name", &example);
    let name = name.and_then(|value| cx.full_text(&value, &format!("the name of a {word}")));
    let mount = fields.prop("mount").and_then(|value| cx.full_text(&value, "the path"));
    let env = fields.prop("env").and_then(|value| cx.full_text(&value, "the variable"));
    if let Some(path) = mount.as_ref().filter(|path| !path.starts_with('/')) {
        let help = format!("write \"/{}\"", path.value);
        cx.error("hyphae::bad_value", path.span, "the path must be absolute", "does not begin with `/`", help);
    }
    if !fields.has("mount") && !fields.has("env") {
        let help = format!("write `{example}`, or `env=\"NAME\"` for a variable");
        cx.error(
            "hyphae::missing",
            fields.head,
            format!("this {word} goes nowhere"),
            "neither `mount=` nor `env=`",
            help,
        );
    }
    cx.finish(fields);
    let name = name?;
    Some(Mounted { span: cx.node_span(node), name, mount, env })
}

/// `health http="/healthz" port="http" interval="5s"`
fn health(cx: &mut Cx<'_>, node: &KdlNode) -> Option<Health> {
    let mut fields = cx.fields(node);
    cx.no_children(node);
    let http = fields.prop("http").and_then(|value| cx.full_text(&value, "the path"));
    let port = fields.required_prop(cx, "port", "health http=\"/healthz\" port=\"http\"");
    let port = port.and_then(|value| cx.name(&value, "the name of a port"));
    let interval = fields.prop("interval").and_then(|value| cx.duration(&value, "the interval", Zero::Refused));
    cx.finish(fields);
    if let Some(path) = http.as_ref().filter(|path| !path.starts_with('/')) {
        let help = format!("write \"/{}\"", path.value);
        cx.error("hyphae::bad_value", path.span, "the path must begin with `/`", "not a path", help);
    }
    Some(Health { span: cx.node_span(node), http, port: port?, interval })
}

/// `update max-unavailable=1 max-surge=1`
fn update(cx: &mut Cx<'_>, node: &KdlNode) -> Update {
    let mut fields = cx.fields(node);
    cx.no_children(node);
    let max_unavailable =
        fields.prop("max-unavailable").and_then(|value| cx.count_or_percent(&value, "max-unavailable"));
    let max_surge = fields.prop("max-surge").and_then(|value| cx.count_or_percent(&value, "max-surge"));
    if node.entries().is_empty() {
        let help = "write `update max-unavailable=1`, or leave it out";
        cx.error("hyphae::missing", fields.head, "this update says nothing", "no bounds", help);
    }
    cx.finish(fields);
    let none = |amount: CountOrPercent| matches!(amount, CountOrPercent::Count(0) | CountOrPercent::Percent(0));
    if let Some(down) = max_unavailable.as_ref().filter(|down| none(down.value))
        && max_surge.as_ref().is_none_or(|surge| none(surge.value))
    {
        let help = "allow at least one: `max-unavailable=1`";
        cx.error(
            "hyphae::contradiction",
            down.span,
            "nothing could ever be updated",
            "none may be down, none may be added",
            help,
        );
    }
    Update { max_unavailable, max_surge }
}
