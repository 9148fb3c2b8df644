//! Everything that can be said, and what it means.

use crate::{checked, sources};
use hyphae_specs::*;

const EVERYTHING: &str = include_str!("everything.kdl");

#[test]
fn everything_the_design_shows_parses_and_resolves() {
    let sources = sources(EVERYTHING);
    let (items, problems) = parse(&sources);
    assert_eq!(problems, [], "{}", render(&problems, &sources, false));
    assert_eq!(items.len(), 17);
    let (model, problems) = resolve(items);
    assert_eq!(problems, [], "{}", render(&problems, &sources, false));
    assert_eq!(model.workloads.len(), 7);
}

#[test]
fn exactly_what_is_not_enforced_yet_is_refused() {
    let sources = sources(EVERYTHING);
    let (items, _) = parse(&sources);
    let refused: Vec<String> = unsupported(&items).iter().map(|one| one.message.clone()).collect();
    assert_eq!(
        refused,
        [
            "`config` is not supported yet",
            "`secret` is not supported yet",
            "`health` is not supported yet",
            "`max-surge` above 0 is not supported yet",
            "`schedule` is not supported yet",
            "`balance` beside a `pool` is not supported yet",
        ]
    );
}

#[test]
fn what_keeps_room_is_read_exactly() {
    let model = load(&sources(
        "reserve survive-loss-of=\"zone\"
         reserve survive-loss-of=\"node\" weight=3
         safety cpu=0.8 memory=0.9 weight=2
         balance cpu=1 memory=\"4GiB\"
         node \"n1\" { capacity cpu=4 memory=\"16GiB\"; devices gpu=4 }
         service \"half\" { image \"a\"; device gpu=0.5 }
         service \"two\" { image \"a\"; device gpu=2 }",
    ))
    .unwrap();
    let reserves: Vec<_> =
        model.reserves.iter().map(|r| (r.loss_of.value.as_str(), r.weight.clone().map(|w| w.value))).collect();
    assert_eq!(reserves, [("zone", None), ("node", Some(3))]);
    let safety = model.safety.unwrap();
    let shares = [safety.cpu_permille, safety.memory_permille, safety.disk_permille];
    assert_eq!(shares.map(|share| share.map(|share| share.value)), [Some(800), Some(900), None]);
    assert_eq!(safety.weight.unwrap().value, 2);
    let balance = model.balance.unwrap();
    assert_eq!((balance.cpu.value, balance.memory.value, balance.weight), (CpuMillis(1000), Bytes(4 << 30), None));
    assert_eq!(model.nodes["n1"].devices["gpu"].value, 4);
    let takes = ["default/half", "default/two"].map(|name| model.workloads[name].device.clone().unwrap().take);
    assert_eq!(takes, [DeviceTake::Permille(500), DeviceTake::Whole(2)]);
}

#[test]
fn an_item_spans_its_whole_node_and_nothing_else() {
    let sources =
        sources("// about x\nservice \"x\" {\n    image \"x\" // why\n} // end\n\njob \"y\" { image \"y\" } ;");
    let (items, _) = parse(&sources);
    let texts: Vec<&str> = items.iter().map(|item| sources.slice(item.span)).collect();
    assert_eq!(texts, ["service \"x\" {\n    image \"x\" // why\n}", "job \"y\" { image \"y\" }"]);
}

#[test]
fn bare_names_mean_ones_own_team() {
    let model = load(&sources(
        "service \"a\" team=\"t\" { image \"a\"; place { near \"b\" within=\"zone\"; separate from=\"u/b\" within=\"node\" } }
         service \"b\" team=\"t\" { image \"b\" }
         service \"b\" team=\"u\" { image \"b\" }",
    ))
    .unwrap();
    let others: Vec<&str> = model.workloads["t/a"]
        .place
        .iter()
        .map(|rule| match &rule.kind {
            PlaceKind::Near { to, .. } => to.value.as_str(),
            PlaceKind::SeparateFrom { from, .. } => from.value.as_str(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(others, ["t/b", "u/b"]);
}

#[test]
fn amounts_are_exact() {
    let checked = checked(
        "service \"a\" { image \"a\"; resources cpu=0.001 memory=\"1.5KiB\" disk=\"2GB\" }
         node \"n\" price=0.072501 { capacity cpu=0.3 memory=\"16GiB\" gpu-milli=1_500 }",
    );
    let resources = &checked.model.workloads["default/a"].resources;
    assert_eq!(resources.cpu.as_ref().map(|cpu| cpu.value), Some(CpuMillis(1)));
    assert_eq!(resources.memory.as_ref().map(|memory| memory.value), Some(Bytes(1536)));
    assert_eq!(resources.disk.as_ref().map(|disk| disk.value), Some(Bytes(2_000_000_000)));
    let node = &checked.model.nodes["n"];
    assert_eq!(node.price.as_ref().map(|price| price.value), Some(Micros(72_501)));
    assert_eq!(node.capacity.cpu.as_ref().map(|cpu| cpu.value), Some(CpuMillis(300)));
    assert_eq!(node.capacity.extras["gpu-milli"].value, 1500);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the test measures a duration")]
fn a_megabyte_is_read_in_reasonable_time() {
    let mut text = String::new();
    let mut number = 0;
    while text.len() < 1 << 20 {
        number += 1;
        text.push_str(&format!(
            "service \"web-{number}\" {{\n    image \"web:1\"\n    resources cpu=0.5 memory=\"256MiB\"\n    labels tier=\"frontend\"\n    place {{\n        require zone in \"a\" \"b\"\n        spread over=\"zone\"\n    }}\n}}\n"
        ));
    }
    let start = std::time::Instant::now();
    let read = checked(&text);
    assert_eq!(read.model.workloads.len(), number);
    let seconds = start.elapsed().as_secs_f64();
    assert!(seconds < 20.0, "{seconds} s for a megabyte, in which one or two are usual");
    println!("{seconds:.2} s");
}
