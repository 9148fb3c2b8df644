//! For every kind of mistake: what is said about it, what is underlined, and what the writer is told to do.

use crate::{checked, refused, refused_in_service, sources};
use hyphae_specs::{check, parse};

#[test]
fn unknown_names_are_errors_with_a_suggestion() {
    refused(
        "servce \"a\" { image \"a\" }",
        "servce",
        "there is no top-level node called `servce`",
        "did you mean \"service\"?",
    );
    refused_in_service("replica 3", "replica", "`service` has no part called `replica`", "did you mean \"replicas\"?");
    refused_in_service(
        "place { spraed over=\"zone\" }",
        "spraed",
        "`place` has no part called `spraed`",
        "did you mean \"spread\"?",
    );
    refused_in_service(
        "port \"http\" 80 hots=80",
        "hots",
        "`port` has no property called `hots`",
        "did you mean \"host\"?",
    );
    refused_in_service(
        "priority 1 weight=3",
        "weight",
        "`priority` has no property called `weight`",
        "takes no properties",
    );
    refused_in_service("priority 1 2", "2", "`priority` has a value too many", "takes no further values");
    refused_in_service("priority 1 { x }", "x", "`priority` has no block", "remove the block");
    refused_in_service(
        "update max-unavailble=1",
        "max-unavailble",
        "`update` has no property called `max-unavailble`",
        "max-unavailable",
    );
    refused(
        "objective { stratgy \"pack\" }",
        "stratgy",
        "`objective` has no part called `stratgy`",
        "did you mean \"strategy\"?",
    );
    refused("objective { strategy \"pak\" }", "\"pak\"", "there is no such strategy", "did you mean \"pack\"?");
    refused_in_service("port \"dns\" 53 protocol=\"ucp\"", "\"ucp\"", "there is no such protocol", "did you mean");
}

#[test]
fn wrong_units_name_the_right_one() {
    let unit = |written: &str, meant: &str| {
        let said = format!("did you mean \"{meant}\"?");
        let number = written.trim_end_matches(char::is_alphabetic).len();
        let message = format!("`{}` is not a unit of memory", &written[number..]);
        refused_in_service(&format!("resources memory=\"{written}\""), &format!("\"{written}\""), &message, &said);
    };
    unit("256Mb", "256MiB");
    unit("256Mi", "256MiB");
    unit("256M", "256MiB");
    unit("4gib", "4GiB");
    unit("1.5k", "1.5KiB");
    refused_in_service("resources memory=256", "256", "memory has no unit", "did you mean \"256MiB\"?");
    refused_in_service(
        "resources memory=\"256\"",
        "\"256\"",
        "memory has no unit",
        "KiB, MiB, GiB, TiB (powers of 1024)",
    );
    refused_in_service("resources memory=\"MiB\"", "\"MiB\"", "memory cannot be read", "for example \"256MiB\"");
    refused_in_service(
        "resources memory=\"0.3B\"",
        "\"0.3B\"",
        "memory is not a whole number of bytes",
        "smaller unit",
    );
    refused_in_service("stop-grace 30", "30", "stop-grace has no unit", "did you mean \"30s\"?");
    refused_in_service(
        "stop-grace \"30sec\"",
        "\"30sec\"",
        "`sec` is not a unit of stop-grace",
        "did you mean \"30s\"?",
    );
    refused_in_service("stop-grace \"2 days\"", "\"2 days\"", "`days` is not a unit of stop-grace", "ms, s, m or h");
    refused_in_service("stop-grace \"25h\"", "\"25h\"", "stop-grace is too long", "at most \"24h\"");
    refused_in_service("resources cpu=\"500m\"", "\"500m\"", "cpu must be a number", "write 0.5");
    refused_in_service("resources cpu=\"0.5\"", "\"0.5\"", "cpu must be a number", "without quotes: 0.5");
}

#[test]
fn negative_zero_and_absurd_numbers_are_refused() {
    refused_in_service("resources cpu=-0.5", "-0.5", "cpu is negative", "positive");
    refused_in_service("resources cpu=0", "0", "cpu is zero", "leave it out");
    refused_in_service("resources cpu=0.0005", "0.0005", "cpu is too fine", "at most 3 decimals");
    refused_in_service("resources cpu=100001", "100001", "cpu is too large", "100,000 cores");
    refused_in_service("resources cpu=1e3", "1e3", "cpu is not a plain decimal number", "cpu=0.5");
    refused_in_service("resources cpu=#inf", "#inf", "cpu must be a finite number", "cpu=0.5");
    refused_in_service("resources cpu=#nan", "#nan", "cpu must be a finite number", "cpu=0.5");
    refused_in_service("resources cpu=#true", "#true", "cpu must be a number", "for example");
    refused_in_service("resources cpu=#null", "#null", "cpu must be a number", "for example");
    refused_in_service("resources memory=\"0MiB\"", "\"0MiB\"", "memory is zero", "leave it out");
    refused_in_service("resources memory=\"-1GiB\"", "\"-1GiB\"", "memory is negative", "positive");
    refused_in_service("resources memory=\"2PiB\"", "\"2PiB\"", "memory is too large", "at most \"1PiB\"");
    refused_in_service(
        "resources memory=\"99999999999999999999GiB\"",
        "\"99999999999999999999GiB\"",
        "memory is too large",
        "smaller",
    );
    refused_in_service("resources gpu=0", "0", "`gpu` is out of range", "from 1 to");
    refused_in_service("resources gpu=1.5", "1.5", "`gpu` must be a whole number", "without decimals");
    refused_in_service("replicas -1", "-1", "replicas is out of range", "from 0 to 1,000,000");
    refused_in_service("replicas 1000001", "1000001", "replicas is out of range", "1,000,000");
    refused_in_service("replicas \"3\"", "\"3\"", "replicas must be a number", "without quotes: 3");
    refused_in_service("replicas 2.5", "2.5", "replicas must be a whole number", "without decimals");
    refused_in_service("priority 2147483648", "2147483648", "priority is out of range", "2,147,483,647");
    refused_in_service("move-weight 0", "0", "move-weight is out of range", "from 1");
    refused_in_service("port \"http\" 0", "0", "the port is out of range", "from 1 to 65,535");
    refused_in_service("port \"http\" 65536", "65536", "the port is out of range", "65,535");
    refused_in_service("place { prefer disk=\"ssd\" weight=0 }", "0", "weight is out of range", "from 1");
    refused_in_service("place { separate within=\"node\" limit=0 }", "0", "limit is out of range", "from 1");
    refused_in_service("place { survive loss-of=\"zone\" keep=0 }", "0", "keeping none guarantees nothing", "keep=4");
    refused_in_service(
        "place { survive loss-of=\"zone\" keep=\"101%\" }",
        "\"101%\"",
        "keep must be a number or a percentage",
        "100%",
    );
    let digits = "9".repeat(60);
    refused_in_service(&format!("replicas {digits}"), &digits, "this number is too long", "smaller number");
    refused("node \"n\" price=-1 { capacity cpu=1 memory=\"1GiB\" }", "-1", "the price is negative", "positive");
}

#[test]
fn truth_values_of_kdl_1_do_not_hide_what_else_is_wrong() {
    refused_in_service("resources cpu=true", "true", "`true` is not a value in KDL 2", "`#true`");
    let found = checked("service \"web\" {\n    replicas null\n    imge \"web\"\n    image \"web\"\n}");
    let messages: Vec<&str> = found.diagnostics.errors.iter().map(|one| one.message.as_str()).collect();
    assert_eq!(messages, ["`null` is not a value in KDL 2", "`service` has no part called `imge`"]);
}

#[test]
fn names_are_kebab_case() {
    refused(
        "service \"Web\" { image \"a\" }",
        "\"Web\"",
        "the name of a service is not a valid name",
        "for example \"web\"",
    );
    refused(
        "service \"my web\" { image \"a\" }",
        "\"my web\"",
        "the name of a service is not a valid name",
        "\"my-web\"",
    );
    refused(
        "service \"1web\" { image \"a\" }",
        "\"1web\"",
        "the name of a service is not a valid name",
        "begin with a letter",
    );
    refused("service \"\" { image \"a\" }", "\"\"", "the name of a service is not a valid name", "letters");
    refused("service { image \"a\" }", "service", "`service` needs a name", "write `service \"web\" { … }`");
    let long = format!("\"{}\"", "a".repeat(64));
    refused(&format!("job {long} {{ image \"a\" }}"), &long, "the name of a job is not a valid name", "63 characters");
    refused("team \"a_b\"", "\"a_b\"", "the name of a team is not a valid name", "\"a-b\"");
    refused_in_service("env \"A B\"=\"x\"", "\"A B\"", "this is not the name of a variable", "letters, digits");
    refused_in_service("labels \"a b\"=\"x\"", "\"a b\"", "this is not a valid label key", "letters, digits");
}

#[test]
fn what_is_missing_is_asked_for() {
    refused(
        "service \"web\" { replicas 1 }",
        "service \"web\"",
        "a service needs an `image`",
        "image \"registry.example/web:1.4.2\"",
    );
    refused("node \"n\"", "node \"n\"", "a node needs a `capacity`", "capacity cpu=4");
    refused("node \"n\" { capacity cpu=4 }", "capacity cpu=4", "a machine needs `memory=`", "memory=\"16GiB\"");
    refused_in_service("port \"http\"", "port \"http\"", "`port` needs a number", "port \"http\" 8080");
    refused_in_service("port 8080", "8080", "a port needs a name", "port \"http\" 8080");
    refused_in_service("place { near \"web\" }", "near \"web\"", "`near` needs `within=`", "within=\"zone\"");
    refused_in_service("place { require }", "require", "no label is tested", "require arch=\"arm64\"");
    refused_in_service("place { require zone }", "zone", "what must `zone` be?", "exists");
    refused_in_service("place { require zone in }", "in", "there is nothing to compare with", "zone in \"a\" \"b\"");
    refused_in_service("env", "env", "no variable is set", "LOG_LEVEL");
    refused_in_service("env LOG_LEVEL", "LOG_LEVEL", "a variable needs a name and a value", "as a property");
    refused_in_service("labels", "labels", "these labels say nothing", "leave it out");
    refused(
        "constraint \"c\" { spread over=\"zone\" }",
        "constraint \"c\"",
        "a constraint needs `applies-to`",
        "tier=\"frontend\"",
    );
    refused("reserve", "reserve", "`reserve` needs `survive-loss-of=`", "reserve survive-loss-of=\"zone\"");
    refused("safety", "safety", "this says nothing of how full machines may be", "safety cpu=0.8");
    refused("balance cpu=1", "balance cpu=1", "`balance` needs `memory=`", "balance cpu=1 memory=\"4GiB\"");
    refused_in_service("device", "device", "a replica takes devices of one kind", "device gpu=0.5");
}

#[test]
fn what_keeps_room_is_refused_where_it_has_no_meaning() {
    refused("safety cpu=1.2", "1.2", "cpu is too large", "at most 1");
    refused("safety cpu=\"80%\"", "\"80%\"", "cpu must be a number", "0.6");
    refused("safety cpu=0.8 mem=0.9", "mem", "`safety` has no property called `mem`", "memory");
    refused("safety cpu=0.8\nsafety memory=0.8", "safety", "how full machines should be is said twice", "keep one");
    refused("balance cpu=0 memory=\"4GiB\"", "0", "cpu is zero", "positive");
    refused("balance cpu=1 memory=4", "4", "memory has no unit", "4MiB");
    refused("reserve survive-loss-of=\"zone\" weight=0", "0", "weight is out of range", "from 1");
    refused_in_service("device gpu=1.5", "1.5", "`gpu` is neither whole devices nor a share of one", "write 1 or 2");
    refused_in_service("device gpu=0", "0", "`gpu` is zero", "");
    refused_in_service(
        "device gpu=1 tpu=1",
        "device gpu=1 tpu=1",
        "a replica takes devices of one kind",
        "device gpu=2",
    );
    refused_in_service("device gpu=0.0001", "0.0001", "`gpu` is too fine", "3 decimals");
    refused(
        "node \"n\" { capacity cpu=1 memory=\"1GiB\"; devices gpu=0.5 }",
        "0.5",
        "`gpu` must be a whole number",
        "",
    );
    refused(
        "node \"n\" { capacity cpu=1 memory=\"1GiB\"; devices }",
        "devices",
        "this machine has no devices",
        "gpu=4",
    );
}

#[test]
fn label_tests_say_what_they_do_not_understand() {
    refused_in_service("place { require zone is \"a\" }", "is", "`is` tests nothing", "key=\"value\"");
    refused_in_service("place { require zone not in \"a\" }", "not", "`not` tests nothing", "did you mean `not-in`");
    refused_in_service("place { require zone exits }", "exits", "`exits` tests nothing", "did you mean \"exists\"?");
    refused_in_service("place { require gpu exists \"x\" }", "\"x\"", "`exists` has a value too many", "write `in`");
    refused_in_service(
        "place { require kernel >= \"6.1\" }",
        ">= \"6.1\"",
        "an operator must be in quotes",
        "write `\">=\" \"6.1\"`",
    );
    refused_in_service("place { require kernel \">=\" 6.1 }", "6.1", "a version must be a text", "\"6.1\"");
    refused_in_service(
        "place { require kernel \">=\" \"latest\" }",
        "\"latest\"",
        "this is not a version",
        "joined by dots",
    );
    refused_in_service("place { require cores=4 }", "4", "the value of a label must be a text", "in quotes: \"4\"");
    refused_in_service("place { require arch=\"a\" weight=5 }", "5", "`require` has no weight", "use `prefer`");
    refused_in_service(
        "place { survive loss-of=\"zone\" keep=1 weight=5 }\n    replicas 3",
        "5",
        "`survive` has no weight",
        "guarantee",
    );
}

#[test]
fn what_is_said_twice_names_both_places() {
    let found = refused("team \"a\" { quota cpu=1 cpu=2 }", "cpu", "`cpu` is given twice", "keep one");
    assert_eq!((found.span.offset, found.others[0].0.offset), (23, 17));
    refused_in_service("replicas 1\n    replicas 2", "replicas", "`replicas` is given twice", "keep one");
    refused_in_service("env A=\"1\"\n    env A=\"2\"", "A", "the variable \"A\" is given twice", "keep one");
    refused_in_service("port \"a\" 1\n    port \"a\" 2", "\"a\"", "the port \"a\" is given twice", "rename one");
    refused_in_service("port \"a\" 1\n    port \"b\" 1", "1", "port 1 is taken twice", "differ in number or protocol");
    refused_in_service(
        "place { separate within=\"node\" limit=1 { limit 2 } }",
        "2",
        "`limit` is given twice",
        "keep one",
    );
    refused_in_service("labels a=\"1\"\n    labels a=\"2\"", "a", "the label \"a\" is given twice", "keep one");
    refused_in_service("labels team=\"x\"", "team", "the label `team` is there by itself", "remove it");
}

#[test]
fn what_contradicts_itself_is_refused() {
    refused_in_service(
        "limits cpu=1\n    resources cpu=2",
        "1",
        "the limit of cpu is below what is reserved",
        "raise the limit",
    );
    refused_in_service("update max-unavailable=0", "0", "nothing could ever be updated", "max-unavailable=1");
    refused_in_service(
        "replicas 3\n    place { survive loss-of=\"zone\" keep=3 }",
        "3",
        "3 of 3 replicas cannot remain when any zone may be lost",
        "keep at most 2",
    );
    refused(
        "service \"web\" { image \"w\"; place { separate from=\"b\" within=\"node\" limit=2 } }\njob \"b\" { image \"b\" }",
        "2",
        "`limit` and `from=` exclude each other",
        "statement of its own",
    );
    refused("daemon \"d\" { image \"d\"; replicas 2 }", "replicas", "a daemon has no `replicas`", "once on each node");
    refused("service \"s\" { image \"s\"; retries 2 }", "retries", "a service has no `retries`", "`job`");
    refused_in_service("resources replicas=2", "2", "a replica cannot ask for replicas", "replicas 3");
}

#[test]
fn misspelt_resources_do_not_pass_for_extras() {
    for (written, meant) in [
        ("cores=2", "cpu"),
        ("mem=\"1GiB\"", "memory"),
        ("memroy=\"1GiB\"", "memory"),
        ("CPU=2", "cpu"),
        ("dsik=3", "disk"),
    ] {
        let name = written.split('=').next().unwrap();
        let message = format!("there is no resource called `{name}`");
        refused_in_service(&format!("resources {written}"), name, &message, &format!("did you mean `{meant}=`?"));
    }
    let fine = checked("service \"web\" { image \"web\"; resources gpu=1 gpu-milli=500 fpga=1 }");
    assert!(fine.diagnostics.errors.is_empty());
    assert_eq!(fine.model.workloads["default/web"].resources.extras.len(), 3);
}

#[test]
fn images_are_checked() {
    let image = |written: &str, help: &str| {
        let text = format!("service \"web\" {{ image {written} }}");
        refused(&text, written, "this is not an image reference", help);
    };
    image("\"registry.example/we b:1\"", "registry.example/shop/web");
    image("\"https://registry.example/web:1\"", "leave it out: \"registry.example/web:1\"");
    image("\"Web:1\"", "did you mean \"web:1\"?");
    refused("service \"web\" { image \"\" }", "\"\"", "the image is empty", "write something");
    refused("service \"web\" { image 1 }", "1", "the image must be a text", "in quotes: \"1\"");
}

#[test]
fn syntax_errors_point_to_their_place_and_hide_nothing_else() {
    let text = "service \"a {\n    image \"a\"\n}\nservce \"b\"\n}\nteam \"x\" {\n    quota cpu=1\n\nteam \"y\" { quotas cpu=1 }\n";
    let (found, sources) = (checked(text), sources(text));
    let seen: Vec<(&str, &str)> =
        found.diagnostics.errors.iter().map(|one| (one.message.as_str(), sources.slice(one.span))).collect();
    assert_eq!(
        seen,
        [
            ("this text is never closed", "\"a {"),
            ("there is no top-level node called `servce`", "servce"),
            ("this brace closes nothing", "}"),
            ("this block is never closed", "{"),
            ("`team` has no part called `quotas`", "quotas"),
        ]
    );
}

#[test]
fn a_name_that_may_lead_to_what_could_not_be_read_is_not_called_unknown() {
    let found =
        checked("service \"a\" { image \"a\"; place { near \"b\" within=\"zone\" } }\nservice \"b\" { image \"b }\n");
    let messages: Vec<&str> = found.diagnostics.errors.iter().map(|one| one.message.as_str()).collect();
    assert_eq!(messages, ["this text is never closed"]);
}

#[test]
fn hostile_texts_are_refused_and_do_no_harm() {
    let deep = "a {".repeat(100_000);
    let messages = |text: &str| -> Vec<String> { parse(&sources(text)).1.into_iter().map(|one| one.message).collect() };
    assert!(messages(&deep).contains(&"blocks are nested too deeply".to_owned()));
    assert_eq!(messages(&"}".repeat(100_000)).len(), 1000, "no more than so many problems are collected");
    assert!(
        messages(&format!("a {}{}", "/-{ b ".repeat(200), "}".repeat(200)))
            .contains(&"blocks are commented out within each other too deeply".to_owned())
    );
    assert_eq!(messages(&"/*".repeat(100_000)), ["comments are nested too deeply"]);
    assert_eq!(messages(&format!("// x\n/*{}*/", "*".repeat(100_000))), [""; 0], "a comment of asterisks is a comment");
    assert_eq!(messages(&format!("a \"{}", "x".repeat(100_000))), ["this text is never closed"]);
    assert_eq!(messages("a \"\"\"\n  x\n"), ["this text is never closed"]);
    assert_eq!(messages("team \"a\u{0}\""), ["this character is not allowed in KDL"]);
    let braces_in_texts = format!("team \"a\" // {}\n/* {} */ team \"b\"", "{".repeat(100), "{".repeat(100));
    assert_eq!(messages(&braces_in_texts), [""; 0]);
    let large = "x".repeat((16 << 20) + 1);
    assert_eq!(messages(&large), ["test.kdl is too large"]);
}

#[test]
fn many_of_anything_are_read_in_linear_time() {
    let many = |piece: &dyn Fn(usize) -> String| (0..10_000).map(piece).collect::<String>();
    let service = |lines: String| format!("service \"a\" {{\n image \"a\"\n{lines}}}");
    for text in [
        service(format!("env {}\n", many(&|n| format!("A{n}=\"\" ")))),
        service(many(&|n| format!("env A{n}=\"\"\n"))),
        service(many(&|n| format!("labels a{n}=\"x\"\n"))),
        service(format!("place {{ {} }}\n", many(&|_| "require zone in a b; ".to_owned()))),
        service(format!("place {{ {} }}\n", many(&|n| format!("tolerate t{n}; ")))),
        many(&|n| format!("team \"t{n}\"\n")),
        many(&|n| format!("srvice \"t{n}\"\n")),
    ] {
        let found = checked(&text).diagnostics;
        assert!(found.errors.len() <= 1000);
    }
}

#[test]
fn a_line_too_long_to_show_is_still_located() {
    let text = format!("team \"a\" {{ quota {} }}", "cpu=1 ".repeat(2000));
    let sources = sources(&text);
    let report = check(&sources).diagnostics.render(&sources, false);
    assert!(report.contains("[test.kdl:1:24]"), "{}", &report[..200]);
    assert!(report.len() < 100_000);
}

#[test]
fn values_that_touch_are_told_apart() {
    refused_in_service("command \"a\"\"b\"", "\"b\"", "a space is missing before this", "put a space");
    refused_in_service("labels a=(string)\"b\"", "string", "type annotations have no meaning here", "remove it");
}

#[test]
fn every_source_is_read_and_named() {
    let two = hyphae_specs::Sources(vec![
        hyphae_specs::Source::file("a.kdl", "tem \"a\""),
        hyphae_specs::Source {
            name: "b.kdl".into(),
            text: "job \"b\" {\n    imag \"b\"\n    image \"b\"\n}".into(),
            first_line: 40,
        },
    ]);
    let positions: Vec<String> = check(&two)
        .diagnostics
        .errors
        .iter()
        .map(|one| two.position(one.span))
        .map(|at| format!("{}:{}:{}", at.file, at.line, at.column))
        .collect();
    assert_eq!(positions, ["a.kdl:1:1", "b.kdl:41:5"]);
}
