#![expect(clippy::disallowed_methods, reason = "an edge: output is kept in files")]
//! A replica's output: two files that containerd's shim appends to, kept below a size, and read. The outside.
//!
//! The shim writes straight into the files, so output survives restarts of the agent and of containerd, and a container
//! never blocks on a reader. The price: no timestamps, and no common order of stdout and stderr. A file that grows beyond
//! its limit is copied to `….1` and truncated; what is written between the two is lost, and a container that writes faster than
//! the agent looks (once a second) exceeds the limit for that long.

use std::fs;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

const BLOCK_BYTES: u64 = 64 << 10;
/// Longer lines are cut when they are shown in a status.
const LINE_CHARS_MAX: usize = 200;

/// Which of a replica's two outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Output {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Stdout, Self::Stderr];

    /// "stdout" or "stderr".
    pub fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// The directory that holds a replica's output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logs {
    directory: PathBuf,
}

impl Logs {
    /// Output kept in this directory.
    pub fn in_directory(directory: &Path) -> Self {
        Self { directory: directory.to_owned() }
    }

    /// The file that is appended to.
    pub fn path(&self, output: Output) -> PathBuf {
        self.directory.join(output.name())
    }

    fn rotated(&self, output: Output) -> PathBuf {
        self.directory.join(format!("{}.1", output.name()))
    }

    /// Makes both files if they are not there: the shim opens files that exist.
    pub fn ensure(&self) -> io::Result<()> {
        for output in Output::ALL {
            fs::OpenOptions::new().create(true).append(true).open(self.path(output))?;
        }
        Ok(())
    }

    /// How much has been written since the last rotation, for stdout and stderr.
    pub fn sizes(&self) -> (u64, u64) {
        let size = |output| fs::metadata(self.path(output)).map_or(0, |metadata| metadata.len());
        (size(Output::Stdout), size(Output::Stderr))
    }

    /// Rotates what is larger than allowed.
    pub fn rotate(&self, bytes_max: u64) -> io::Result<()> {
        for output in Output::ALL {
            let path = self.path(output);
            if !fs::metadata(&path).is_ok_and(|metadata| metadata.len() > bytes_max) {
                continue;
            }
            let mut from = fs::OpenOptions::new().read(true).write(true).open(&path)?;
            // Not more than allowed, however much came: the newest part.
            let length = from.metadata()?.len();
            from.seek(SeekFrom::Start(length.saturating_sub(bytes_max)))?;
            let mut to = fs::File::create(self.rotated(output))?;
            io::copy(&mut from, &mut to)?;
            from.set_len(0)?;
        }
        Ok(())
    }

    /// The last lines written since `marks` (sizes at the start of the run), for a status: of stderr if it has any, else of stdout.
    pub fn last_lines(&self, marks: (u64, u64), lines_max: usize) -> Vec<String> {
        let lines = |output, mark| self.lines_since(output, mark, lines_max).unwrap_or_default();
        let errors: Vec<String> = lines(Output::Stderr, marks.1);
        if errors.is_empty() { lines(Output::Stdout, marks.0) } else { errors }
    }

    fn lines_since(&self, output: Output, mark: u64, lines_max: usize) -> io::Result<Vec<String>> {
        let mut file = fs::File::open(self.path(output))?;
        let length = file.metadata()?.len();
        // Rotated since: everything in the file is newer.
        let mark = if mark > length { 0 } else { mark };
        file.seek(SeekFrom::Start(mark.max(length.saturating_sub(BLOCK_BYTES))))?;
        let mut bytes = Vec::new();
        file.take(BLOCK_BYTES).read_to_end(&mut bytes)?;
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        let last = &lines[lines.len().saturating_sub(lines_max)..];
        Ok(last.iter().map(|line| line.chars().take(LINE_CHARS_MAX).collect()).collect())
    }

    /// A reader that begins so many lines before the end; 0: at the beginning.
    pub fn reader(&self, output: Output, tail_lines: u32) -> LogReader {
        let (path, rotated) = (self.path(output), self.rotated(output));
        let lines = u64::from(tail_lines);
        if lines == 0 {
            return LogReader { path, earlier: Some((rotated, 0)), position: 0 };
        }
        let (position, found) = tail_start(&path, lines).unwrap_or((0, 0));
        let earlier = (found < lines).then(|| {
            let start = tail_start(&rotated, lines - found).map_or(0, |(start, _)| start);
            (rotated, start)
        });
        LogReader { path, earlier, position }
    }
}

/// Reads one output from a place on, across rotations as well as it goes.
#[derive(Debug)]
pub struct LogReader {
    path: PathBuf,
    /// The rotated file, to be read first, and from where.
    earlier: Option<(PathBuf, u64)>,
    position: u64,
}

impl LogReader {
    /// What there is to read now, at most so much; empty: nothing new.
    pub fn read(&mut self, bytes_max: u64) -> io::Result<Vec<u8>> {
        if let Some((path, start)) = &mut self.earlier {
            let bytes = read_at(path, *start, bytes_max)?;
            if !bytes.is_empty() {
                *start += bytes.len() as u64;
                return Ok(bytes);
            }
            self.earlier = None;
        }
        let length = fs::metadata(&self.path).map_or(0, |metadata| metadata.len());
        if length < self.position {
            // Truncated by a rotation.
            self.position = 0;
        }
        let bytes = read_at(&self.path, self.position, bytes_max)?;
        self.position += bytes.len() as u64;
        Ok(bytes)
    }
}

fn read_at(path: &Path, start: u64, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut file = match fs::File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
        file => file?,
    };
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(bytes_max).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Where the last `lines` lines begin, and how many there really are.
fn tail_start(path: &Path, lines: u64) -> io::Result<(u64, u64)> {
    let mut file = fs::File::open(path)?;
    let length = file.metadata()?.len();
    let (mut block_start, mut found) = (length, 0);
    while block_start > 0 {
        let block_end = block_start;
        block_start = block_end.saturating_sub(BLOCK_BYTES);
        file.seek(SeekFrom::Start(block_start))?;
        let mut block = vec![0; (block_end - block_start) as usize];
        file.read_exact(&mut block)?;
        for (index, _) in block.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n') {
            let line_start = block_start + index as u64 + 1;
            // The newline at the very end closes the last line; it does not begin one.
            if line_start < length {
                found += 1;
                if found == lines {
                    return Ok((line_start, found));
                }
            }
        }
    }
    Ok((0, found + u64::from(length > 0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logs(stdout: &str, rotated: &str) -> (tempfile::TempDir, Logs) {
        let directory = tempfile::tempdir().expect("a directory");
        let logs = Logs::in_directory(directory.path());
        logs.ensure().expect("files");
        fs::write(logs.path(Output::Stdout), stdout).expect("written");
        fs::write(logs.rotated(Output::Stdout), rotated).expect("written");
        (directory, logs)
    }

    fn read_all(reader: &mut LogReader) -> String {
        let mut text = Vec::new();
        loop {
            // Small reads, so that the seams are tested.
            let bytes = reader.read(5).expect("readable");
            if bytes.is_empty() {
                return String::from_utf8(text).expect("text");
            }
            text.extend(bytes);
        }
    }

    #[test]
    fn a_tail_reaches_into_the_rotated_file() {
        let (_directory, logs) = logs("3\n4\n5", "0\n1\n2\n");
        for (lines, expected) in [
            (0, "0\n1\n2\n3\n4\n5"),
            (1, "5"),
            (2, "4\n5"),
            (3, "3\n4\n5"),
            (4, "2\n3\n4\n5"),
            (99, "0\n1\n2\n3\n4\n5"),
        ] {
            assert_eq!(read_all(&mut logs.reader(Output::Stdout, lines)), expected, "{lines} lines");
        }
        assert_eq!(read_all(&mut logs.reader(Output::Stderr, 3)), "");
    }

    #[test]
    fn long_output_is_tailed_across_blocks() {
        let line = "x".repeat(1_000);
        let text: String = (0..200).map(|number| format!("{number} {line}\n")).collect();
        let (_directory, logs) = logs(&text, "");
        let tail = read_all(&mut logs.reader(Output::Stdout, 150));
        assert!(tail.starts_with("50 x"), "{}", &tail[..10]);
    }

    #[test]
    fn rotation_bounds_the_size_and_a_reader_goes_on() {
        let (_directory, logs) = logs("old\n", "");
        let mut reader = logs.reader(Output::Stdout, 1);
        assert_eq!(read_all(&mut reader), "old\n");
        fs::write(logs.path(Output::Stdout), "old\n0123456789\n").expect("written");
        logs.rotate(8).expect("rotated");
        assert_eq!(logs.sizes(), (0, 0));
        assert_eq!(fs::read_to_string(logs.rotated(Output::Stdout)).expect("kept"), "3456789\n");
        fs::write(logs.path(Output::Stdout), "n\n").expect("written");
        assert_eq!(read_all(&mut reader), "n\n");
        logs.rotate(8).expect("nothing to do");
        assert_eq!(logs.sizes(), (2, 0));
    }

    #[test]
    fn a_status_shows_only_lines_of_the_last_run() {
        let (_directory, logs) = logs("first run\nsecond run\nmore\n", "");
        assert_eq!(logs.last_lines((10, 0), 10), ["second run", "more"]);
        assert_eq!(logs.last_lines((10, 0), 1), ["more"]);
        assert_eq!(logs.last_lines((1_000, 0), 1), ["more"]);
        fs::write(logs.path(Output::Stderr), "wrong\n").expect("written");
        assert_eq!(logs.last_lines((10, 0), 10), ["wrong"]);
    }
}
