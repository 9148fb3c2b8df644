//! `hyphae logs`: what the replicas of a workload write to stdout and stderr.

use crate::client::{ServerArgs, full_name, refusal};
use crate::failure::{Failure, Outcome};
use crate::output;
use hyphae_api::v1::{LogsRequest, StatusRequest};
use std::collections::BTreeMap;

/// Longest line that is put together before it is written: a container need never write a newline.
const LINE_BYTES_MAX: usize = 64 << 10;

/// Show the output of a workload's replicas.
///
/// Both of their streams come on stdout. With several replicas each line begins with the replica's number.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  hyphae logs storefront/web                all that is kept, of all replicas
  hyphae logs storefront/web 2 --tail 20    the last 20 lines of replica 2
  hyphae logs storefront/web --follow")]
pub(crate) struct LogsArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// Whose; a bare name is in the team "default"
    workload: String,
    /// Only this replica
    index: Option<u32>,
    /// Go on with what is written from now
    #[arg(long, short)]
    follow: bool,
    /// Begin with so many lines of each replica [default: all that is kept]
    #[arg(long, value_name = "LINES", value_parser = clap::value_parser!(u32).range(1..))]
    tail: Option<u32>,
}

/// Asks and prints as it comes.
pub(crate) async fn run(args: LogsArgs) -> Result<Outcome, Failure> {
    let workload = full_name(&args.workload);
    let mut client = args.server.connect().await?;
    let several = args.index.is_none() && {
        let request = StatusRequest { workloads: vec![workload.clone()] };
        let reply = client.status(request).await.map_err(refusal)?.into_inner();
        reply.workloads.iter().any(|workload| workload.wanted > 1 || workload.replicas.len() > 1)
    };
    let request =
        LogsRequest { workload, index: args.index, follow: args.follow, tail_lines: args.tail.unwrap_or_default() };
    let mut chunks = client.logs(request).await.map_err(refusal)?.into_inner();
    let mut lines = Lines::default();
    while let Some(chunk) = chunks.message().await.map_err(refusal)? {
        match several {
            true => output::raw(&lines.add(chunk.index, &chunk.stream, &chunk.data))?,
            false => output::raw(&chunk.data)?,
        }
    }
    output::raw(&lines.rest())?;
    Ok(Outcome::Done)
}

/// Puts the lines of several streams together, so that they can be told apart: "2 | hello".
#[derive(Debug, Default)]
struct Lines {
    begun: BTreeMap<(u32, String), Vec<u8>>,
}

impl Lines {
    /// The whole lines that the data completes.
    fn add(&mut self, index: u32, stream: &str, data: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let begun = self.begun.entry((index, stream.to_string())).or_default();
        for piece in data.split_inclusive(|byte| *byte == b'\n') {
            begun.extend_from_slice(piece);
            if piece.ends_with(b"\n") || begun.len() >= LINE_BYTES_MAX {
                line(index, begun, &mut out);
                begun.clear();
            }
        }
        out
    }

    /// What was begun and never ended.
    fn rest(self) -> Vec<u8> {
        let mut out = Vec::new();
        for ((index, _), begun) in self.begun.iter().filter(|(_, begun)| !begun.is_empty()) {
            line(*index, begun, &mut out);
        }
        out
    }
}

fn line(index: u32, bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(format!("{index} | ").as_bytes());
    out.extend_from_slice(bytes.strip_suffix(b"\n").unwrap_or(bytes));
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_several_replicas_never_mix() {
        let mut lines = Lines::default();
        assert_eq!(lines.add(0, "stdout", b"hel"), b"");
        assert_eq!(lines.add(1, "stdout", b"one\ntwo\nthr"), b"1 | one\n1 | two\n");
        assert_eq!(lines.add(0, "stderr", b"err\n"), b"0 | err\n");
        assert_eq!(lines.add(0, "stdout", b"lo\n"), b"0 | hello\n");
        assert_eq!(lines.rest(), b"1 | thr\n");
    }

    #[test]
    fn a_line_without_end_does_not_fill_memory() {
        let mut lines = Lines::default();
        let written: usize = (0..100).map(|_| lines.add(0, "stdout", &[b'x'; 4096]).len()).sum();
        assert!(written > 300_000, "{written}");
        assert!(lines.rest().len() < LINE_BYTES_MAX + 10);
    }
}
