//! The specification language as its users meet it: texts in, models or reports out.

mod language;
mod reports;

use hyphae_specs::{Checked, Source, Sources, check};

/// One source called "test.kdl".
fn sources(text: &str) -> Sources {
    Sources(vec![Source::file("test.kdl", text)])
}

fn checked(text: &str) -> Checked {
    check(&sources(text))
}
