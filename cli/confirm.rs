//! The edge to the one who must say yes.

use crate::failure::Failure;
use std::io::{BufRead, IsTerminal, Write};

/// Asks on stderr; only "y" or "yes" is a yes. Without a terminal nobody can be asked: then it is an error to ask.
pub(crate) fn confirm(question: &str) -> Result<bool, Failure> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Err(Failure::Usage {
            message: "nobody can be asked: standard input is not a terminal".to_string(),
            help: "use --yes to go on without being asked; nothing has been changed".to_string(),
        });
    }
    let mut stderr = anstream::stderr();
    let _ = write!(stderr, "{question} [y/N] ");
    let _ = stderr.flush();
    let mut answer = String::new();
    // An unreadable answer is no yes.
    let _ = stdin.lock().read_line(&mut answer);
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}
