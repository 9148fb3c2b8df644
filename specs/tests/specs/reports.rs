//! What people see on their terminal.

use crate::sources;
use hyphae_specs::{Source, Sources, check};

fn report(text: &str) -> String {
    let sources = sources(text);
    check(&sources).diagnostics.render(&sources, false)
}

#[test]
fn all_problems_of_a_file_are_shown_at_once() {
    let text = std::fs::read_to_string("/tmp/bad.kdl").unwrap();
    println!("{}", report(&text));
}
