//! Loading policy files: what is refused, where it is underlined, and that nothing makes it fall over.

use hyphae_policy::{DEV_POLICIES, Policies, PolicyError, PolicySource, render};
use proptest::prelude::*;

fn source(name: &str, text: &str) -> PolicySource {
    PolicySource { name: name.to_owned(), text: text.to_owned(), first_line: 1 }
}

fn errors(files: &[PolicySource]) -> Vec<PolicyError> {
    Policies::load(files).expect_err("the files have problems")
}

fn error(text: &str) -> PolicyError {
    let mut all = errors(&[source("a.cedar", text)]);
    assert_eq!(all.len(), 1, "{}", render(&all, false));
    all.remove(0)
}

const PERMIT: &str = "permit (principal, action == Action::\"place\", resource);";

#[test]
fn the_policies_that_ship_are_valid() {
    let policies = Policies::load(&[source("dev.cedar", DEV_POLICIES)]).unwrap();
    let ids: Vec<_> = policies.references().iter().map(|policy| policy.id.as_str()).collect();
    assert_eq!(ids, ["dev-admins", "dev-place", "dev-connect"]);
    assert!(!policies.is_empty());
}

#[test]
fn no_file_is_no_set_and_an_empty_file_is_a_set_that_permits_nothing() {
    assert!(Policies::load(&[]).unwrap().is_empty());
    assert!(!Policies::load(&[source("a.cedar", "// nothing yet\n")]).unwrap().is_empty());
}

#[test]
fn lines_are_those_of_the_first_token_of_each_policy() {
    let text = format!(
        "// heading; still a comment\n\n@id(\"one\")\n@message(\"no; never\")\n{PERMIT} {PERMIT}\n\n  {PERMIT}"
    );
    let policies = Policies::load(&[PolicySource { first_line: 11, ..source("a.cedar", &text) }]).unwrap();
    let found: Vec<_> = policies.references().iter().map(|policy| (policy.id.as_str(), policy.line)).collect();
    assert_eq!(found, [("one", 13), ("a.cedar#2", 15), ("a.cedar#3", 17)]);
    assert_eq!(policies.references()[0].message.as_deref(), Some("no; never"));
}

#[test]
fn an_unknown_attribute_is_underlined_with_a_suggestion() {
    let text = "permit (principal, action == Action::\"create\", resource)\nwhen { context.image.registri == \"r\" };";
    let error = error(text);
    assert_eq!((error.line, error.column), (2, 8));
    assert_eq!(error.underlined(), ["context.image.registri"]);
    assert!(error.help.as_deref().unwrap().contains("did you mean `registry`?"), "{:?}", error.help);
    assert!(error.message.contains("registri"), "{}", error.message);
}

/// A file that parses is parsed at once, another statement by statement: positions are the same.
#[test]
fn positions_do_not_depend_on_other_mistakes_in_the_file() {
    let mistyped = "\n\n  forbid (principal, action == Action::\"create\", resource)\nwhen { context.nothing };\n";
    let unparsable = "permit (principal);";
    let alone = error(mistyped);
    let both = errors(&[source("a.cedar", &format!("{mistyped}{unparsable}"))]);
    assert_eq!((both[0].line, both[0].column), (alone.line, alone.column));
    assert_eq!((alone.line, alone.column), (4, 8));
    assert_eq!(alone.underlined(), ["context.nothing"]);
    assert_eq!(both[0].underlined(), alone.underlined());
}

#[test]
fn unknown_actions_and_entity_types_are_refused() {
    let action = error("permit (principal, action == Action::\"creat\", resource);");
    assert_eq!(action.underlined(), ["Action::\"creat\""]);
    let kind = error("permit (principal in Teem::\"a\", action == Action::\"create\", resource);");
    assert_eq!(kind.underlined(), ["Teem"]);
}

#[test]
fn an_optional_attribute_must_be_tested_before_it_is_read() {
    let error =
        error("permit (principal, action == Action::\"create\", resource) when { context.image.tag == \"1\" };");
    assert_eq!(error.underlined(), ["context.image.tag"]);
    assert!(error.help.unwrap().contains("has"), "the help says how to test");
}

#[test]
fn a_policy_that_can_never_apply_is_refused() {
    let text = "forbid (principal is Service, action == Action::\"create\", resource);";
    let found = errors(&[source("a.cedar", text)]);
    assert_eq!(found[0].line, 1);
    assert!(render(&found, false).contains("forbid (principal is Service"));
}

#[test]
fn one_mistake_hides_no_other_in_any_file() {
    let first = format!(
        "permit (principal action, resource);\n{PERMIT}\nforbid (principal, action, resource) when {{ principal.x }};"
    );
    let second = "\npermit (principal, action == Action::\"nope\", resource);\npermit (principal, action, resource";
    let found = errors(&[source("b.cedar", &first), source("a.cedar", second)]);
    let at: Vec<_> = found.iter().map(|error| (error.file.as_str(), error.line)).collect();
    let mut lines = at.clone();
    lines.dedup();
    assert_eq!(lines, [("b.cedar", 1), ("b.cedar", 3), ("a.cedar", 2), ("a.cedar", 3)]);
}

#[test]
fn an_id_is_used_once_over_all_files() {
    let text = format!("@id(\"same\") {PERMIT}");
    let found = errors(&[source("a.cedar", &text), source("b.cedar", &format!("\n{text}"))]);
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].file.as_str(), found[0].line), ("b.cedar", 2));
    assert!(found[0].message.contains("a.cedar:1"), "{}", found[0].message);
}

#[test]
fn ids_are_not_empty_and_messages_hold_no_escape_sequences() {
    assert!(error(&format!("@id(\"\") {PERMIT}")).message.contains("empty"));
    assert!(error(&format!("@message(\"\\u{{1b}}[2J\") {PERMIT}")).message.contains("control character"));
}

#[test]
fn templates_are_refused() {
    assert!(error("permit (principal == ?principal, action, resource);").message.contains("template"));
}

#[test]
fn hostile_files_get_a_clear_error() {
    let condition =
        |inner: String| format!("permit (principal, action == Action::\"place\", resource) when {{ {inner} }};");
    for depth in [33, 5_000] {
        let error = error(&condition(format!("{}true{}", "(".repeat(depth), ")".repeat(depth))));
        assert!(error.message.contains("brackets"), "{}", error.message);
        assert!(error.help.is_some());
    }
    assert!(error(&condition(format!("true{}", " && true".repeat(5_000)))).message.contains("operators"));
    assert!(
        error(&condition(format!("{}true", "if true then true else ".repeat(5_000)))).message.contains("operators")
    );
    assert!(error(&" ".repeat(1_048_577)).message.contains("bytes"));
    assert!(Policies::load(&[source("a.cedar", &"(".repeat(1_000_000))]).is_err());
    assert!(error(&PERMIT.repeat(10_001)).message.contains("more than 10000"));
    let refused = errors(&[source("a.cedar", &";\n".repeat(5_000)), source("b.cedar", &";".repeat(5_000))]);
    assert_eq!(refused.len(), 1_000, "what is told has an end");
    assert_eq!((refused[999].file.as_str(), refused[999].line), ("a.cedar", 1_000));
}

/// Cedar's validator passes what is too deep for its stack; what the bounds let through must not be.
#[test]
fn within_the_bounds_the_validator_sees_everything() {
    let condition =
        |inner: String| format!("permit (principal, action == Action::\"create\", resource) when {{ {inner} }};");
    let wrong = [
        format!("context{} == 1", ".image".repeat(380)),
        format!("{}context.nothing{}", "(".repeat(30), ")".repeat(30)),
        format!("{}context.nothing{}", "[".repeat(30), "]".repeat(30)),
        format!("context.image.pinned{} || context.nothing", " || context.image.pinned".repeat(130)),
        format!("{}context.nothing", "if context.image.pinned then true else ".repeat(130)),
        format!("{}context.nothing{}", "if context.image.pinned then ".repeat(130), " else true".repeat(130)),
        format!("{}context.nothing{}", "(if context.image.pinned then ".repeat(30), " else true)".repeat(30)),
    ];
    for inner in wrong {
        assert!(Policies::load(&[source("a.cedar", &condition(inner.clone()))]).is_err(), "{inner}");
    }
}

#[test]
fn problems_are_rendered_with_file_line_and_help() {
    let text = "permit (principal, action == Action::\"create\", resource)\nwhen { context.image.registri == \"r\" };";
    let found = errors(&[PolicySource { first_line: 41, ..source("shop/deploy.cedar", text) }]);
    insta::assert_snapshot!(render(&found, false));
    assert!(render(&found, true).contains('\u{1b}'));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn garbage_never_panics(text in "\\PC{0,200}", first_line in 0usize..5) {
        let _ = Policies::load(&[PolicySource { first_line, ..source("a.cedar", &text) }]).map_err(|errors| render(&errors, true));
    }

    #[test]
    fn scrambled_policies_never_panic(
        pieces in proptest::collection::vec(
            prop_oneof![
                Just("permit"), Just("forbid"), Just("("), Just(")"), Just("principal"), Just(","), Just("action"), Just("resource"),
                Just(";"), Just("when"), Just("{"), Just("}"), Just("\""), Just("@id(\"a\")"), Just("// ä\n"), Just("\\"), Just("=="),
                Just("Action::\"place\""), Just("in"), Just("["), Just("]"), Just("if"), Just("ö"), Just("?principal"), Just(PERMIT),
            ],
            0..40,
        )
    ) {
        let text = pieces.join(" ");
        let _ = Policies::load(&[source("a.cedar", &text)]).map_err(|errors| render(&errors, false));
    }
}
