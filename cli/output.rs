//! The edge to the terminal: data goes to stdout, everything else to stderr; colours only where somebody sees them.

use crate::failure::Failure;
use crate::render::style::{BAD, GOOD, WARN, clean, paint};
use anstream::ColorChoice;
use std::error::Error;
use std::io::{ErrorKind, IsTerminal, Write};

/// Writes data to stdout; colours are stripped where they would not be seen.
pub(crate) fn data(text: &str) -> Result<(), Failure> {
    let mut stdout = anstream::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(output_failure)
}

/// Writes bytes to stdout as they are: what containers print belongs to them.
pub(crate) fn raw(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(output_failure)
}

/// Writes one JSON document to stdout.
pub(crate) fn json(document: &impl serde::Serialize) -> Result<(), Failure> {
    let mut text = serde_json::to_string_pretty(document)
        .map_err(|source| Failure::Output(std::io::Error::new(ErrorKind::InvalidData, source)))?;
    text.push('\n');
    raw(text.as_bytes())
}

/// Writes a JSON document on a line of its own to stdout: one of a stream.
pub(crate) fn json_line(document: &impl serde::Serialize) -> Result<(), Failure> {
    let mut text = serde_json::to_string(document)
        .map_err(|source| Failure::Output(std::io::Error::new(ErrorKind::InvalidData, source)))?;
    text.push('\n');
    raw(text.as_bytes())
}

/// Tells the user something on stderr. A stderr that is gone is no reason to stop.
pub(crate) fn note(text: &str) {
    let _ = writeln!(anstream::stderr(), "{}", text.strip_suffix('\n').unwrap_or(text));
}

/// A warning on stderr.
pub(crate) fn warn(text: &str) {
    note(&format!("{} {text}", paint(WARN, "warning:")));
}

/// Why the command fails, after what led to it has been shown.
pub(crate) fn problem(text: &str) {
    note(&format!("{} {text}", paint(BAD, "error:")));
}

/// Reports why the command failed: what happened, why, what to do.
pub(crate) fn report(failure: &Failure) {
    if let Failure::Problems { problems, .. } = failure {
        for problem in problems {
            note(&format!("{}\n", problem.trim_end_matches('\n')));
        }
    }
    problem(&failure.to_string());
    let mut source = failure.source();
    while let Some(cause) = source {
        note(&format!("  because: {}", clean(&cause.to_string())));
        source = cause.source();
    }
    if let Some(help) = failure.help() {
        note(&format!("{} {help}", paint(GOOD, "help:")));
    }
}

/// Whether what goes to stderr is shown with colours.
pub(crate) fn stderr_colours() -> bool {
    anstream::AutoStream::choice(&std::io::stderr()) != ColorChoice::Never
}

/// Whether somebody looks at stderr, so that progress may move.
pub(crate) fn stderr_is_terminal() -> bool {
    std::io::stderr().is_terminal()
}

fn output_failure(source: std::io::Error) -> Failure {
    match source.kind() {
        ErrorKind::BrokenPipe => Failure::ClosedPipe,
        _ => Failure::Output(source),
    }
}

/// Logs to stderr: what RUST_LOG says, or else from this level on.
pub(crate) fn log(level: &str) {
    use tracing_subscriber::EnvFilter;
    // The back-end's warnings are about its own limits, which the solver sets and looks at.
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(format!("{level},highs=error")));
    let subscriber =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(stderr_colours());
    // Fails only where a subscriber is installed already, which then stays.
    let _ = subscriber.try_init();
}
