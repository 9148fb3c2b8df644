//! Nodes and events for people.

use crate::render::amounts::{age, bytes, cores};
use crate::render::style::{BAD, DIM, GOOD, WARN, clean, paint};
use crate::render::table::{Cell, table};
use hyphae_api::v1::{Event, NodeStatus, Resources};

/// One row for each node.
pub(crate) fn nodes(nodes: &[NodeStatus], now_unix_millis: u64) -> String {
    let rows: Vec<Vec<Cell>> = nodes.iter().map(|node| node_row(node, now_unix_millis)).collect();
    table(&["NODE", "STATE", "POOL", "CPU", "MEMORY", "DISK", "REPLICAS", "HEARD", "PREFIX", "LABELS"], &rows)
}

fn node_row(node: &NodeStatus, now_unix_millis: u64) -> Vec<Cell> {
    let (style, state) = match (node.connected, node.schedulable) {
        (true, true) => (GOOD, "ready"),
        (true, false) => (WARN, "cordoned"),
        (false, true) => (BAD, "away"),
        (false, false) => (BAD, "away, cordoned"),
    };
    let none = Resources::default();
    let (used, capacity) = (node.used.as_ref().unwrap_or(&none), node.capacity.as_ref().unwrap_or(&none));
    let mut labels: Vec<String> = node.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    labels.sort_unstable();
    vec![
        Cell::plain(&node.name),
        Cell::styled(style, state),
        Cell::plain(&node.pool),
        Cell::plain(format!("{}/{}", cores(used.cpu_millis), cores(capacity.cpu_millis))),
        Cell::plain(format!("{}/{}", bytes(used.memory_bytes), bytes(capacity.memory_bytes))),
        Cell::plain(format!("{}/{}", bytes(used.disk_bytes), bytes(capacity.disk_bytes))),
        Cell::plain(format!("{}/{}", used.replicas, capacity.replicas)),
        Cell::plain(age(now_unix_millis, node.heard_unix_millis)),
        Cell::plain(&node.prefix),
        Cell::plain(labels.join(",")),
    ]
}

/// One line for an event: when (RFC 3339), what, of whom, where.
pub(crate) fn event(event: &Event) -> String {
    let whose = [("", &event.workload), ("on ", &event.node)];
    let whose = whose.iter().filter(|(_, name)| !name.is_empty()).map(|(word, name)| format!("{word}{}", clean(name)));
    let whose = whose.collect::<Vec<_>>().join(" ");
    let text = clean(&event.text);
    let text = [whose.as_str(), &*text].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(": ");
    format!("{}  {:<16}  {text}\n", paint(DIM, time(event.unix_millis)), clean(&event.kind))
}

/// RFC 3339 in UTC to the millisecond; "-" for what is no time.
pub(crate) fn time(unix_millis: u64) -> String {
    let timestamp = i64::try_from(unix_millis).ok().and_then(|millis| jiff::Timestamp::from_millisecond(millis).ok());
    timestamp.map_or_else(|| "-".to_string(), |timestamp| format!("{timestamp:.3}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_show_state_use_and_labels() {
        let resources = |factor: u64| Resources {
            cpu_millis: 500 * factor,
            memory_bytes: (256 << 20) * factor,
            disk_bytes: factor << 30,
            replicas: factor,
            ..Default::default()
        };
        let node = |name: &str, connected, schedulable| NodeStatus {
            name: name.into(),
            pool: "general".into(),
            connected,
            schedulable,
            labels: [("zone", "a"), ("arch", "arm64")].map(|(key, value)| (key.to_string(), value.to_string())).into(),
            capacity: Some(resources(8)),
            used: Some(resources(1)),
            prefix: "fd00:1:2:0:1::/80".into(),
            heard_unix_millis: 1_000,
        };
        let nodes = nodes(&[node("n1", true, true), node("n2", true, false), node("n3", false, true)], 3_000);
        insta::assert_snapshot!(anstream::adapter::strip_str(&nodes).to_string());
    }

    #[test]
    fn an_event_is_one_line_whatever_it_says() {
        let whole = Event {
            unix_millis: 1_700_000_000_000,
            kind: "replica-exited".into(),
            workload: "storefront/web".into(),
            node: "n1".into(),
            text: "exit code 3\nnext start in 8 s".into(),
        };
        let text = |it: &Event| anstream::adapter::strip_str(&event(it)).to_string();
        assert_eq!(
            text(&whole),
            "2023-11-14T22:13:20.000Z  replica-exited    storefront/web on n1: exit code 3 next start in 8 s\n"
        );
        let bare =
            Event { kind: "applied".into(), text: "revision 3".into(), unix_millis: u64::MAX, ..Default::default() };
        assert_eq!(text(&bare), "-  applied           revision 3\n");
    }
}
