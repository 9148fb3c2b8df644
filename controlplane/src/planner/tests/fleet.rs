//! Pools and scaling: what is bought, returned and refused, and how many replicas follow a load.

use super::*;
use crate::plan::{NodesBought, Status};
use crate::planner::{ExplainRequest, VerifyError, explain_planned, plan_what_if};
use std::collections::BTreeMap;

const POOL: &str = r#"
pool "general" {
    instance "large" cpu=2 memory="4GiB" price=0.07
    instance "xlarge" cpu=4 memory="8GiB" price=0.13
    zones "a" "b" "c"
    count max=6
}
"#;

fn web(replicas: &str, place: &str) -> String {
    format!(
        r#"
service "web" {{ image "r.example/web:1"; {replicas}; resources cpu=1 memory="1GiB"; place {{ {place} }} }}"#
    )
}

/// Machines bought by type, whatever the zone.
fn bought(document: &PlanDocument) -> BTreeMap<&str, u32> {
    let mut bought = BTreeMap::new();
    for NodesBought { instance, count, .. } in &document.nodes_bought {
        *bought.entry(instance.as_str()).or_insert(0) += count;
    }
    bought
}

fn pool_node(name: &str, zone: &str) -> String {
    format!(r#"node "{name}" pool="general" price=0.07 {{ capacity cpu=2 memory="4GiB"; labels zone="{zone}" }}"#)
        + "\n"
}

#[test]
fn the_cheapest_machines_for_what_is_wanted_are_bought() {
    let state = state("");
    let document = planned(&state, &(POOL.to_owned() + &web("replicas 5", "")));
    assert_eq!(document.status, Status::Optimal);
    assert_eq!(bought(&document), BTreeMap::from([("large", 1), ("xlarge", 1)]));
    assert_eq!((document.cost.before_micros, document.cost.after_micros), (0, 200_000));
    let held: u32 = document.nodes_bought.iter().flat_map(|bought| &bought.holds).map(|held| held.count).sum();
    assert_eq!(held, 5);
    let named: Vec<&String> = document.nodes_bought.iter().flat_map(|bought| &bought.nodes).collect();
    assert!(document.assignments.iter().all(|assignment| named.contains(&&assignment.node)));
    let cheapest = document.cheapest_fleet.unwrap();
    assert_eq!((cheapest.cost_micros, cheapest.bound_micros, cheapest.proven), (200_000, 200_000, true));
}

#[test]
fn a_plan_that_buys_is_not_committed() {
    let state = state("");
    let document = planned(&state, &(POOL.to_owned() + &web("replicas 2", "")));
    let error = verify(&state, &document, &admin()).unwrap_err();
    assert!(matches!(error, VerifyError::NotThere(_)));
    let text = error.to_string();
    assert!(text.contains("1 node") && text.contains("large in zone") && text.contains("plan again"), "{text}");
}

#[test]
fn machines_are_bought_in_the_zones_that_a_spread_asks_for() {
    let state = state(&pool_node("n1", "a"));
    let document = planned(&state, &(POOL.to_owned() + &web("replicas 3", r#"spread over="zone" max-skew=1"#)));
    let zones: Vec<&str> = document.nodes_bought.iter().map(|bought| bought.zone.as_str()).collect();
    assert_eq!((bought(&document), zones), (BTreeMap::from([("large", 2)]), vec!["b", "c"]));
    assert_eq!(document.cost.after_micros, 210_000);
}

#[test]
fn nodes_of_a_pool_that_end_empty_are_returned_down_to_its_min() {
    let nodes = ["n1", "n2", "n3", "n4"].map(|name| pool_node(name, "a")).concat();
    let mut state = state(&nodes);
    let spec = POOL.to_owned() + &web("replicas 6", r#"separate within="node" limit=2"#);
    let document = planned(&state, &spec);
    assert_eq!(document.nodes_bought, []);
    assert_eq!(document.nodes_returned.len(), 1);
    assert_eq!((document.cost.before_micros, document.cost.after_micros), (280_000, 210_000));
    carry_out(&mut state, &document);
    let fewer = spec.replace("replicas 6", "replicas 2");
    assert_eq!(planned(&state, &fewer).nodes_returned.len(), 3);
    let document = planned(&state, &fewer.replace("max=6", "min=3 max=6"));
    assert_eq!((document.nodes_returned.len(), document.nodes_bought.len()), (1, 0));
    carry_out(&mut state, &document);
}

#[test]
fn a_pool_below_its_min_is_filled_up_with_the_cheapest_over_the_zones() {
    let mut state = state(&pool_node("n1", "b"));
    let spec = POOL.replace("max=6", "min=3 max=6") + &web("replicas 1", "");
    let document = planned(&state, &spec);
    let machines: Vec<(&str, &str, u32)> =
        document.nodes_bought.iter().map(|b| (b.instance.as_str(), b.zone.as_str(), b.count)).collect();
    assert_eq!(machines, [("large", "a", 1), ("large", "c", 1)]);
    assert!(document.nodes_bought.iter().all(|bought| bought.holds.is_empty()));
    assert_eq!(document.cost.after_micros, 210_000);
    // Nothing waits for them, so the rest can be carried out.
    carry_out(&mut state, &document);
}

#[test]
fn a_shortage_names_the_line_that_bounds_the_pool() {
    let state = state("");
    let document = planned(&state, &(POOL.replace("max=6", "max=2") + &web("replicas 9", "")));
    assert_eq!(document.status, Status::Shortage);
    assert_eq!(document.unplaced[0].count, 1);
    let line = |conflict: &crate::plan::Conflict| (conflict.line, conflict.constraint.clone());
    let lines: Vec<_> = document.unplaced[0].conflict.iter().map(line).collect();
    assert!(lines.contains(&(Some(6), "count max=2".to_owned())), "{lines:?}");
}

#[test]
fn existing_nodes_count_towards_the_max() {
    let state = state(&(pool_node("n1", "a") + &pool_node("n2", "b")));
    let document = planned(&state, &(POOL.replace("max=6", "max=3") + &web("replicas 9", "")));
    // An empty node may be returned for a larger one: three of the largest hold all.
    assert_eq!((document.unplaced.len(), bought(&document)), (0, BTreeMap::from([("xlarge", 2)])));
    assert_eq!(document.nodes_returned.len(), 1);
}

#[test]
fn of_a_burstable_type_only_the_sustained_share_is_planned_with() {
    let pool =
        r#"pool "burst" { instance "t4g.large" cpu=2 memory="8GiB" price=0.05 burst-baseline=0.5; count max=9 }"#;
    let state = state("");
    let document = planned(&state, &(pool.to_owned() + &web("replicas 3", "")));
    assert_eq!(bought(&document), BTreeMap::from([("t4g.large", 3)]));
    assert_eq!(document.nodes_bought[0].zone, "");
}

#[test]
fn replicas_follow_the_load_within_their_bounds() {
    let state = state(NODES);
    let wanted = |load: &str| {
        let spec = web("scale min=3 max=10 { target cpu=0.6 }", "") + load;
        let document = planned(&state, &spec);
        assert_eq!(document.scaling.len(), 1);
        assert_eq!(document.scaling[0].wanted, document.scaling[0].placed);
        document.scaling[0].wanted
    };
    assert_eq!(wanted(""), 3);
    assert_eq!(wanted("\nload \"web\" cpu=0.1"), 3);
    assert_eq!(wanted("\nload \"web\" cpu=4.2"), 7);
    assert_eq!(wanted("\nload \"web\" cpu=4.201"), 8);
    assert_eq!(wanted("\nload \"web\" cpu=900"), 10);
}

#[test]
fn a_load_of_the_inventory_counts_until_a_file_says_another() {
    let state = state(&(NODES.to_owned() + "load \"web\" cpu=3"));
    let spec = web("scale min=1 max=10 { target cpu=0.6 }", "");
    assert_eq!(planned(&state, &spec).scaling[0].wanted, 5);
    assert_eq!(planned(&state, &(spec + "\nload \"web\" cpu=1.2")).scaling[0].wanted, 2);
}

#[test]
fn the_program_adds_the_replicas_that_a_loss_would_take() {
    let mut state = state(NODES);
    let spec = web("scale min=1 max=10 { target cpu=0.6 }", r#"survive loss-of="zone" keep="100%""#);
    let document = planned(&state, &(spec.clone() + "\nload \"web\" cpu=3.6"));
    let scaled = &document.scaling[0];
    assert_eq!((scaled.wanted, scaled.placed, scaled.survives.as_slice()), (6, 9, &["zone".to_owned()][..]));
    assert_eq!(document.status, Status::Optimal);
    carry_out(&mut state, &document);
    assert_eq!(running(&state).values().collect::<Vec<_>>(), [&3, &3, &3]);
    let record = &state.workloads["default/web"];
    assert_eq!((record.wanted, record.unplaced), (9, 0));
    // And takes them away again when the load falls: 2 wanted, 3 placed.
    let document = planned(&state, &(spec + "\nload \"web\" cpu=1.2"));
    carry_out(&mut state, &document);
    assert_eq!(running(&state).values().sum::<u32>(), 3);
    assert!(state.check_invariants().is_empty());
}

#[test]
fn a_loss_that_max_does_not_allow_for_is_a_shortage() {
    let state = state(NODES);
    let spec = web("scale min=6 max=7", r#"survive loss-of="zone" keep="100%""#);
    let document = planned(&state, &spec);
    assert_eq!(document.status, Status::Shortage);
    let conflict = &document.unplaced[0].conflict;
    assert!(conflict.iter().any(|conflict| conflict.constraint.contains("survive")), "{conflict:?}");
}

#[test]
fn what_daemons_will_take_of_a_bought_node_is_set_aside() {
    let state = state("");
    let daemon = r#"
daemon "shipper" { image "r.example/s:1"; resources cpu=0.5 memory="1GiB" }"#;
    let document = planned(&state, &(POOL.to_owned() + &web("replicas 4", "") + daemon));
    // Three on an xlarge with 3.5 free, one on a large with 1.5 free.
    assert_eq!(bought(&document), BTreeMap::from([("large", 1), ("xlarge", 1)]));
    assert!(document.assignments.iter().all(|assignment| assignment.workload == "default/web"));
}

#[test]
fn the_cheapest_fleet_is_weighed_against_what_is_there() {
    let dear = r#"node "old" pool="general" price=0.9 { capacity cpu=8 memory="16GiB"; labels zone="a" }"#;
    let mut state = state(dear);
    let bare = web("replicas 4", "");
    let document = planned(&state, &bare);
    carry_out(&mut state, &document);
    let document = planned(&state, &(POOL.to_owned() + &bare));
    assert_eq!(document.nodes_bought, [], "what runs is not moved for a price, unless moves are priced");
    let cheapest = document.cheapest_fleet.as_ref().unwrap();
    assert_eq!((cheapest.cost_micros, document.cost.after_micros, cheapest.proven), (130_000, 900_000, true));
    let moved = planned(&state, &(POOL.to_owned() + &bare + "\nobjective { move-price 0.1 }"));
    assert_eq!((moved.cost.after_micros, moved.nodes_returned.len()), (130_000, 1));
}

/// Enumerates how many of each of two types are bought.
fn cheapest_by_enumeration(replicas: u64, cpu: u64, types: [(u64, u64); 2], most: u64) -> Option<u64> {
    let pairs = (0..=most).flat_map(|first| (0..=most - first).map(move |second| (first, second)));
    let holds = |(first, second): &(u64, u64)| first * (types[0].0 / cpu) + second * (types[1].0 / cpu) >= replicas;
    pairs.filter(holds).map(|(first, second)| first * types[0].1 + second * types[1].1).min()
}

#[test]
fn small_fleets_cost_what_enumeration_says() {
    let mut seed = 7u64;
    let mut random = |most: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        1 + (seed >> 33) % most
    };
    let state = state("");
    for case in 0..60 {
        let (replicas, cpu, most) = (random(7), random(3), random(5));
        let types = [(random(6), random(90)), (random(9), random(150))];
        let spec = format!(
            r#"pool "p" {{
                instance "one" cpu={} memory="64GiB" price=0.{:03}
                instance "two" cpu={} memory="64GiB" price=0.{:03}
                count max={most}
            }}
            service "w" {{ image "i:1"; replicas {replicas}; resources cpu={cpu} }}"#,
            types[0].0, types[0].1, types[1].0, types[1].1
        );
        let document = planned(&state, &spec);
        match cheapest_by_enumeration(replicas, cpu, types, most) {
            Some(cost) => {
                assert_eq!(document.status, Status::Optimal, "case {case}: {spec}");
                assert_eq!(document.cost.after_micros, cost * 1000, "case {case}: {spec}");
            }
            None => assert_eq!(document.status, Status::Shortage, "case {case}: {spec}"),
        }
    }
}

#[test]
fn in_a_zone_that_is_lost_no_machine_is_bought() {
    let specs = POOL.to_owned() + &web("replicas 6", "spread over=zone");
    let zones = |document: &PlanDocument| -> Vec<String> {
        document.nodes_bought.iter().map(|bought| bought.zone.clone()).collect()
    };
    for nodes in [String::new(), pool_node("n1", "a") + &pool_node("n2", "b")] {
        let state = state(&nodes);
        let request = request(&state, &[("spec.kdl", &specs)]);
        let document = plan_what_if(&request, &["lose zone=a".parse().unwrap()]).unwrap();
        assert!(document.unplaced.is_empty() && !zones(&document).contains(&"a".to_owned()), "{document:?}");
        assert!(!zones(&document).is_empty());
        let all = ["lose zone=a", "lose zone=b", "lose zone=c"].map(|what| what.parse().unwrap());
        let document = plan_what_if(&request, &all).unwrap();
        assert_eq!((document.nodes_bought.len(), document.unplaced[0].count), (0, 6));
        assert!(plan_what_if(&request, &["lose zone=d".parse().unwrap()]).is_err());
    }
}

#[test]
fn explained_is_where_the_plan_puts_it_with_what_it_buys() {
    let state = state(&pool_node("n1", "a"));
    let inputs = request(&state, &[("spec.kdl", &(POOL.to_owned() + &web("replicas 5", "")))]).inputs;
    let document = plan(&Request { inputs: inputs.clone(), ..request(&state, &[]) }).unwrap();
    let (workload, deadline) = ("default/web".to_owned(), Duration::from_secs(20));
    let request = ExplainRequest { state: &state, inputs, workload, costs: true, deadline, cancel: None };
    let explained = explain_planned(&request).unwrap();
    assert_eq!((explained.placed, explained.wanted), (5, 5));
    let held: u32 = explained.nodes.iter().map(|node| node.replicas).sum();
    assert_eq!(held, document.assignments.iter().map(|assignment| assignment.count).sum::<u32>());
    // What is not bought is not there.
    assert!(explained.nodes.iter().all(|node| node.node == "n1" || node.replicas > 0), "{:?}", explained.nodes);
}
