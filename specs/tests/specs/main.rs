//! The specification language as its users meet it: texts in, models or reports out.

mod bad_input;
mod documentation;
mod language;
mod pools;
mod properties;
mod references;
mod reports;

use hyphae_specs::{Checked, Diagnostic, Severity, Source, Sources, check};

/// One source called "test.kdl".
fn sources(text: &str) -> Sources {
    Sources(vec![Source::file("test.kdl", text)])
}

fn checked(text: &str) -> Checked {
    check(&sources(text))
}

/// The one problem of a text: what is underlined, the message, and the help, which must contain these words.
#[track_caller]
fn only_problem(text: &str, severity: Severity, underlined: &str, message: &str, help: &str) -> Diagnostic {
    let sources = sources(text);
    let all: Vec<Diagnostic> = check(&sources).diagnostics.iter().cloned().collect();
    assert_eq!(all.len(), 1, "expected one problem:\n{}", hyphae_specs::render(&all, &sources, false));
    let only = &all[0];
    assert_eq!(only.message, message);
    assert_eq!(sources.slice(only.span), underlined, "underlined for: {message}");
    assert_eq!(only.severity, severity);
    let told = only.help.as_deref().unwrap_or_default();
    assert!(told.contains(help), "the help of `{message}` is: {told}");
    assert!(!only.label.is_empty(), "no label for: {message}");
    only.clone()
}

/// A text with exactly one error.
#[track_caller]
fn refused(text: &str, underlined: &str, message: &str, help: &str) -> Diagnostic {
    only_problem(text, Severity::Error, underlined, message, help)
}

/// A service with these lines in its block has exactly one error.
#[track_caller]
fn refused_in_service(lines: &str, underlined: &str, message: &str, help: &str) {
    refused(&format!("service \"web\" {{\n    image \"web\"\n    {lines}\n}}"), underlined, message, help);
}
