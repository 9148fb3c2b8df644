//! `hyphae fmt`.

use crate::Diagnostic;

/// Formats a spec.
///
/// # Errors
/// The first syntax error, when the text is not KDL.
pub fn format(text: &str) -> Result<String, Diagnostic> {
    Ok(text.to_owned())
}
