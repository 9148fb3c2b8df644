//! Pools, scaling and loads: what can be said, and what is said about mistakes.

use crate::{checked, only_problem, refused, refused_in_service};
use hyphae_specs::{CpuMillis, Micros, Replicas, Severity};

const LARGE: &str = "instance \"c7g.large\" cpu=2 memory=\"4GiB\" price=0.0725";
const SCALED: &str = "service \"web\" team=\"shop\" { image \"w\"; scale min=3 max=40; resources cpu=1 }\n";

fn pool_refused(lines: &str, underlined: &str, message: &str, help: &str) {
    refused(&format!("pool \"general\" {{\n    {lines}\n}}"), underlined, message, help);
}

#[test]
fn a_pool_says_what_can_be_had_where_and_how_much() {
    let text = "pool \"general\" { instance \"t4g\" cpu=2 memory=\"8GiB\" gpu=1 price=0.067 burst-baseline=0.3
        zones \"a\" \"b\"; count min=1 max=4; labels disk=\"ssd\" }";
    let checked = checked(text);
    assert!(checked.diagnostics.errors.is_empty());
    let pool = &checked.model.pools["general"];
    let instance = &pool.instances[0];
    assert_eq!(instance.price.as_ref().map(|price| price.value), Some(Micros(67_000)));
    assert_eq!(instance.burst_baseline_permille.as_ref().map(|share| share.value), Some(300));
    assert_eq!(instance.capacity.extras.keys().collect::<Vec<_>>(), ["gpu"]);
    let count = pool.count.map(|span| &text[span.offset..span.offset + span.len]);
    assert_eq!((count, pool.zones.len()), (Some("count min=1 max=4"), 2));
}

#[test]
fn a_pool_that_makes_no_sense_is_refused() {
    refused("pool \"general\" { zones \"a\" }", "pool \"general\"", "a pool needs an `instance`", "price=0.0725");
    pool_refused(
        "instance \"x\" cpu=2 memory=\"4GiB\"",
        "instance \"x\" cpu=2 memory=\"4GiB\"",
        "`instance` needs `price=`",
        "price=0.0725",
    );
    pool_refused(
        "instance \"x\" cpu=2 price=1",
        "instance \"x\" cpu=2 price=1",
        "a machine needs `memory=`",
        "add `memory=",
    );
    pool_refused("instance \"x\" cpu=0 memory=\"4GiB\" price=1", "0", "cpu is zero", "positive");
    pool_refused("instance \"x\" cpu=2 memory=\"4Gb\" price=1", "\"4Gb\"", "`Gb` is not a unit of memory", "4GiB");
    pool_refused(&format!("{LARGE}\n    count min=5 max=3"), "5", "min is greater than max", "exchange");
    pool_refused(&format!("{LARGE}\n    zones \"a\" \"a\""), "\"a\"", "the zone \"a\" is given twice", "keep one");
    pool_refused(&format!("{LARGE}\n    zones \" \""), "\" \"", "a zone needs a name", "leave `zones` out");
    pool_refused(
        &format!("{LARGE}\n    {LARGE}"),
        "\"c7g.large\"",
        "the instance \"c7g.large\" is given twice",
        "keep",
    );
    pool_refused(
        &format!("{LARGE}\n    zones \"a\"\n    labels zone=\"b\""),
        "\"b\"",
        "the label `zone` of these machines is given by `zones`",
        "keep one",
    );
    pool_refused(&format!("{LARGE} burst-baseline=1.5"), "1.5", "the baseline is too large", "at most 1");
    pool_refused(&format!("{LARGE} burst-baseline=0"), "0", "the baseline is zero", "positive");
    pool_refused(&format!("{LARGE}\n    size 3"), "size", "`pool` has no part called `size`", "known here");
}

#[test]
fn a_scale_has_both_bounds_in_their_order() {
    refused_in_service("scale min=5 max=3", "5", "min is greater than max", "exchange");
    refused_in_service("scale min=5", "scale", "`scale` needs `min=` and `max=`", "target cpu=0.6");
    refused_in_service("scale min=1 max=2 { target cpu=0 }", "0", "the target is zero", "positive");
    refused_in_service("scale min=1 max=2 { target cpu=60 }", "60", "the target is too large", "at most 1");
    refused_in_service(
        "scale min=1 max=2 { traget cpu=0.6 }",
        "traget",
        "`scale` has no part called `traget`",
        "target",
    );
    let checked = checked(SCALED);
    assert!(checked.diagnostics.errors.is_empty());
    assert!(matches!(&checked.model.workloads["shop/web"].replicas, Replicas::Scale { min, max, .. }
        if (min.value, max.value) == (3, 40)));
}

#[test]
fn a_load_is_of_a_workload_by_its_full_name() {
    let checked = checked(&format!("{SCALED}load \"shop/web\" cpu=7.2"));
    assert!(checked.diagnostics.iter().next().is_none());
    assert_eq!(checked.model.loads["shop/web"].cpu.value, CpuMillis(7_200));
    refused("load \"web\"", "load \"web\"", "`load` needs `cpu=`", "cpu=7.2");
    refused("load \"web\" cpu=-1", "-1", "cpu is negative", "positive");
    refused("load \"a/b/c\" cpu=1", "\"a/b/c\"", "this is not the name of a workload", "payments/cache");
    refused(
        "load \"web\" cpu=1\nload \"default/web\" cpu=2",
        "\"default/web\"",
        "the load of \"default/web\" is given twice",
        "keep one",
    );
}

#[test]
fn a_load_that_changes_nothing_is_told() {
    let warned = |text: &str, underlined: &str, message: &str, help: &str| {
        only_problem(text, Severity::Warning, underlined, message, help);
    };
    let web = "\"web\"";
    warned(&format!("{SCALED}load {web} cpu=1"), web, "there is no workload \"default/web\"", "shop/web");
    let fixed = "service \"web\" { image \"w\"; resources cpu=1 }\n";
    warned(&format!("load {web} cpu=1\n{fixed}"), web, "\"default/web\" does not scale", "scale min=3");
    let no_cpu = "service \"web\" { image \"w\"; scale min=1 max=3 }\n";
    warned(&format!("load {web} cpu=1\n{no_cpu}"), web, "\"default/web\" reserves no cpu", "resources cpu=0.5");
    // An inventory by itself knows no workloads.
    assert!(checked("load \"web\" cpu=1").diagnostics.iter().next().is_none());
}
