//! What people see on their terminal.

use crate::sources;
use hyphae_specs::{Source, Sources, check};

fn report(sources: &Sources) -> String {
    check(sources).diagnostics.render(sources, false)
}

#[test]
fn a_unit_that_does_not_exist() {
    insta::assert_snapshot!(report(&sources(
        "service \"web\" {\n    image \"web:1\"\n    resources memory=\"256Mb\"\n}\n"
    )));
}

#[test]
fn a_circle_of_near() {
    let text = "service \"a\" { image \"i\"; place { near \"b\" within=\"zone\" } }\nservice \"b\" { image \"i\"; place { near \"a\" within=\"zone\" } }\n";
    insta::assert_snapshot!(report(&sources(text)));
}

#[test]
fn a_name_given_in_two_files_of_which_one_is_a_fragment() {
    let sources = Sources(vec![
        Source { name: "stored.kdl".into(), text: "team \"a\"\nteam \"b\"".into(), first_line: 40 },
        Source::file("new.kdl", "// mine\nteam \"b\"\n"),
    ]);
    insta::assert_snapshot!(report(&sources));
}

#[test]
fn a_construct_that_is_not_supported_yet_beside_a_warning() {
    let text = "service \"web\" {\n    image \"web:1\"\n    health http=\"/\" port=\"http\"\n    port \"http\" 80\n}\nconstraint \"c\" {\n    applies-to tier=\"frontend\"\n    spread over=\"zone\"\n}\n";
    insta::assert_snapshot!(report(&sources(text)));
}

#[test]
fn a_report_in_colour_has_the_same_words() {
    let sources = sources("servce \"web\"");
    let all: Vec<_> = check(&sources).diagnostics.iter().cloned().collect();
    let coloured = hyphae_specs::render(&all, &sources, true);
    assert!(coloured.contains("\u{1b}["));
    assert!(coloured.contains("did you mean \"service\"?"));
}
