//! Why a command could not do its work, in the words its user reads.

use std::path::PathBuf;
use thiserror::Error;

/// How a command ended that did its work; `main` maps it to the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// 0.
    Done,
    /// 1: the command has said why already.
    Failed,
    /// 2: there are changes (`plan --detailed-exitcode`).
    Changes,
    /// 3: a policy denies it.
    Denied,
    /// 4: something wanted cannot be placed.
    Shortage,
}

impl Outcome {
    /// The exit code of DESIGN §5.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Changes => 2,
            Self::Denied => 3,
            Self::Shortage => 4,
        }
    }
}

/// Why a command failed. Exit code 1.
#[derive(Debug, Error)]
pub(crate) enum Failure {
    /// The reader of our output has gone (`hyphae status | head`): nobody is left to be told.
    #[error("the reader of the output is gone")]
    ClosedPipe,
    /// Our output cannot be written.
    #[error("cannot write the output")]
    Output(#[source] std::io::Error),
    /// Problems in what the user wrote, each rendered for people.
    #[error("{outcome}")]
    Problems { problems: Vec<String>, outcome: &'static str },
    /// Files that cannot be read, all of them.
    #[error("{}", .0.join("\nerror: "))]
    Files(Vec<String>),
    /// A file cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// Nothing listens on the socket, or it is not ours to use.
    #[error("cannot reach the server at {}", socket.display())]
    Connect {
        socket: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// The server answered with an error, or the connection broke in the middle.
    #[error("{message}")]
    Server { message: String, help: Option<String> },
    /// What the user asked for makes no sense.
    #[error("{message}")]
    Usage { message: String, help: String },
    /// A part of hyphae failed to do its work (a daemon that could not start).
    #[error("{what}")]
    Part {
        what: String,
        help: Option<String>,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Failure {
    /// What the user may do about it.
    pub(crate) fn help(&self) -> Option<String> {
        match self {
            Self::Connect { source, .. } => Some(connect_help(source).to_string()),
            Self::Server { help, .. } | Self::Part { help, .. } => help.clone(),
            Self::Usage { help, .. } => Some(help.clone()),
            Self::ClosedPipe | Self::Output(_) | Self::Problems { .. } | Self::Files(_) | Self::Write { .. } => None,
        }
    }
}

fn connect_help(source: &std::io::Error) -> &'static str {
    match source.kind() {
        std::io::ErrorKind::PermissionDenied => {
            "the socket belongs to the user who started the server: run this as that user (root, for `sudo hyphae dev`)"
        }
        _ => {
            "is the server running? Start one with `hyphae dev` (control plane and agent on this machine) or `hyphae server`, \
             or name its socket with --socket or HYPHAE_SOCKET"
        }
    }
}
