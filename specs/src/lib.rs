//! KDL text to a typed model in which every value knows its source span.
//!
//! ```text
//! files --Sources--> parse (one KDL node -> one Item) --> resolve (names, references, cycles, not-yet-supported) --> Model
//!                        \______________________ all Diagnostics of all files at once ______________________/
//! ```
//!
//! The crate does no IO: it is handed texts with names. It knows neither policies nor the solver.

mod diagnostic;
mod format;
mod labels;
mod model;
mod parse;
mod report;
mod resolve;
mod source;
mod syntax;
mod units;
mod unsupported;

pub use diagnostic::{Diagnostic, Diagnostics, Severity, did_you_mean};
pub use format::format;
pub use model::*;
pub use parse::parse;
pub use report::{Report, render};
pub use resolve::resolve;
pub use source::*;
pub use units::*;
pub use unsupported::unsupported;

/// Everything that reading specs yields, whether they are fine or not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checked {
    /// One for each top-level KDL node.
    pub items: Vec<Item>,
    /// What the items say together. Only to be trusted when `diagnostics` has no errors.
    pub model: Model,
    /// All problems, of all sources.
    pub diagnostics: Diagnostics,
}

/// Parses, resolves and looks for what is not supported yet, and keeps everything.
pub fn check(sources: &Sources) -> Checked {
    let parse::Read { items, problems: mut all, whole } = parse::read(sources);
    let (model, problems) = resolve(items.clone());
    all.extend(problems.into_iter().filter(|problem| whole || problem.code != "hyphae::unknown_name"));
    all.extend(unsupported(&items));
    Checked { items, model, diagnostics: Diagnostics::new(all) }
}

/// The model of specs that are fine; otherwise everything that is wrong with them, at once.
///
/// Warnings of specs that are fine are dropped here; [`check`] keeps them.
///
/// # Errors
/// All problems of all sources, when at least one of them is an error.
pub fn load(sources: &Sources) -> Result<Model, Diagnostics> {
    let Checked { model, diagnostics, .. } = check(sources);
    match diagnostics.errors.is_empty() {
        true => Ok(model),
        false => Err(diagnostics),
    }
}
