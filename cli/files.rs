//! The edge to the file system: specs and policies as the user named them.
//!
//! A directory is read whole, sorted, without hidden entries; of what it holds only `.kdl` and `.cedar` files count. Every file counts
//! once, however often it is named. All problems are reported at once.

#![expect(clippy::disallowed_methods, reason = "this file is where sources are read and formatted files are written")]

use crate::failure::Failure;
use hyphae_controlplane::plan::InputFile;
use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// Largest file read.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// Most bytes read in all: a plan carries its sources, escaped, within one message of `hyphae_api::MESSAGE_BYTES_MAX`.
const ALL_BYTES_MAX: u64 = 8 << 20;
/// Most files read.
const FILES_MAX: usize = 10_000;
/// Deepest nesting of directories.
const DEPTH_MAX: usize = 32;
/// The name that a text from standard input goes by.
pub(crate) const STDIN_NAME: &str = "stdin.kdl";

/// Which files count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kinds {
    /// `.kdl` and `.cedar`.
    All,
    /// `.kdl`.
    Kdl,
}

impl Kinds {
    fn has(self, path: &Path) -> bool {
        path.extension().is_some_and(|ending| ending == "kdl" || (self == Self::All && ending == "cedar"))
    }

    fn words(self) -> &'static str {
        match self {
            Self::All => ".kdl or .cedar",
            Self::Kdl => ".kdl",
        }
    }
}

/// Reads files, remembering which it has read already.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    /// Canonical paths of the files read.
    seen: BTreeSet<PathBuf>,
    /// Canonical paths of the directories read in this call: a link may lead in a circle.
    directories: BTreeSet<PathBuf>,
    bytes: u64,
    files: usize,
    problems: Vec<String>,
}

impl Reader {
    /// The files that the paths name and that have not been read before, in the order named.
    pub(crate) fn read(&mut self, paths: &[PathBuf], kinds: Kinds) -> Vec<InputFile> {
        let mut found = Vec::new();
        self.directories.clear();
        for path in paths {
            let before = found.len();
            match path.as_os_str().to_str() {
                Some("-") => self.stdin(&mut found),
                _ => self.path(path, kinds, 0, &mut found),
            }
            if path.is_dir() && found.len() == before && self.problems.is_empty() && !self.holds_something_seen(path) {
                self.problems.push(format!("{} holds no {} file", path.display(), kinds.words()));
            }
        }
        found
    }

    /// Fails with all that was wrong, if anything was.
    pub(crate) fn finish(self) -> Result<(), Failure> {
        if self.problems.is_empty() { Ok(()) } else { Err(Failure::Files(self.problems)) }
    }

    fn holds_something_seen(&self, directory: &Path) -> bool {
        directory.canonicalize().is_ok_and(|whole| self.seen.iter().any(|seen| seen.starts_with(&whole)))
    }

    fn path(&mut self, path: &Path, kinds: Kinds, depth: usize, found: &mut Vec<InputFile>) {
        let metadata = match fs::metadata(path) {
            Ok(metadata) => metadata,
            Err(error) => return self.problem(path, &error),
        };
        if metadata.is_dir() {
            return self.directory(path, kinds, depth, found);
        }
        if !kinds.has(path) {
            let problem = format!("{} is not a {} file", path.display(), kinds.words());
            return self.problems.push(problem);
        }
        match path.canonicalize() {
            Ok(whole) => {
                if self.seen.insert(whole) {
                    self.file(path, found);
                }
            }
            Err(error) => self.problem(path, &error),
        }
    }

    fn directory(&mut self, path: &Path, kinds: Kinds, depth: usize, found: &mut Vec<InputFile>) {
        if depth >= DEPTH_MAX {
            return self.problems.push(format!("{} is nested deeper than {DEPTH_MAX} directories", path.display()));
        }
        let whole = match path.canonicalize() {
            Ok(whole) => whole,
            Err(error) => return self.problem(path, &error),
        };
        if !self.directories.insert(whole) {
            return;
        }
        let mut entries = match fs::read_dir(path).and_then(Iterator::collect::<Result<Vec<_>, _>>) {
            Ok(entries) => entries,
            Err(error) => return self.problem(path, &error),
        };
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            let inner = if path == Path::new(".") { entry.file_name().into() } else { path.join(entry.file_name()) };
            if inner.is_dir() || kinds.has(&inner) {
                self.path(&inner, kinds, depth + 1, found);
            }
        }
    }

    fn file(&mut self, path: &Path, found: &mut Vec<InputFile>) {
        match fs::File::open(path).and_then(bounded) {
            Ok(bytes) => self.text(path.display().to_string(), bytes, found),
            Err(error) => self.problem(path, &error),
        }
    }

    fn stdin(&mut self, found: &mut Vec<InputFile>) {
        if !self.seen.insert(PathBuf::from("-")) {
            return;
        }
        match bounded(std::io::stdin().lock()) {
            Ok(bytes) => self.text(STDIN_NAME.to_string(), bytes, found),
            Err(error) => self.problems.push(format!("cannot read standard input: {error}")),
        }
    }

    fn text(&mut self, file: String, bytes: Vec<u8>, found: &mut Vec<InputFile>) {
        self.bytes += bytes.len() as u64;
        self.files += 1;
        if self.files == FILES_MAX + 1 {
            self.problems.push(format!("more than {FILES_MAX} files"));
        }
        if bytes.len() as u64 > FILE_BYTES_MAX {
            return self.problems.push(format!("{file} is larger than {}", mebibytes(FILE_BYTES_MAX)));
        }
        if self.bytes > ALL_BYTES_MAX {
            let all = "the files are larger than";
            if !self.problems.iter().any(|problem| problem.starts_with(all)) {
                self.problems.push(format!("{all} {} in all", mebibytes(ALL_BYTES_MAX)));
            }
            return;
        }
        match String::from_utf8(bytes) {
            Ok(text) => found.push(InputFile { file, text }),
            Err(error) => {
                let at = error.utf8_error().valid_up_to();
                self.problems.push(format!("{file} is not UTF-8 text: byte {at} does not belong to any character"));
            }
        }
    }

    fn problem(&mut self, path: &Path, error: &std::io::Error) {
        let what = match error.kind() {
            std::io::ErrorKind::NotFound => "no such file or directory".to_string(),
            _ => error.to_string(),
        };
        self.problems.push(format!("cannot read {}: {what}", path.display()));
    }
}

/// Reads the files that the paths name; all problems at once.
pub(crate) fn read(paths: &[PathBuf]) -> Result<Vec<InputFile>, Failure> {
    let mut reader = Reader::default();
    let files = reader.read(paths, Kinds::All);
    reader.finish()?;
    Ok(files)
}

/// Reads any one file as text: a saved plan, of at most one message.
pub(crate) fn read_one(path: &Path) -> Result<String, Failure> {
    let failure = |what: String| Failure::Files(vec![format!("cannot read {}: {what}", path.display())]);
    let file = fs::File::open(path).map_err(|error| failure(error.to_string()))?;
    let limit = hyphae_api::MESSAGE_BYTES_MAX as u64;
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(|error| failure(error.to_string()))?;
    if bytes.len() as u64 > limit {
        return Err(failure(format!("it is larger than {}", mebibytes(limit))));
    }
    String::from_utf8(bytes).map_err(|_| failure("it is not UTF-8 text".to_string()))
}

/// Replaces a file's content in one step: a reader sees the old text or the new one. Permissions stay, a symbolic link stays one.
pub(crate) fn replace(path: &Path, text: &str) -> Result<(), Failure> {
    let failure = |source| Failure::Write { path: path.to_path_buf(), source };
    let target = match path.canonicalize() {
        Ok(target) => target,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => path.to_path_buf(),
        Err(error) => return Err(failure(error)),
    };
    let mut name = target.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}.new", std::process::id()));
    let new = target.with_file_name(name);
    let written = write_beside(&new, &target, text).and_then(|()| fs::rename(&new, &target));
    written.map_err(|error| {
        let _ = fs::remove_file(&new);
        failure(error)
    })
}

fn write_beside(new: &Path, target: &Path, text: &str) -> std::io::Result<()> {
    let mut file = fs::File::create_new(new)?;
    if let Ok(metadata) = fs::metadata(target) {
        file.set_permissions(metadata.permissions())?;
    }
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// At most one byte more than is allowed, so that too much can be told from enough.
fn bounded(source: impl Read) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(files: &[&str]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().expect("a temporary directory");
        for file in files {
            let path = directory.path().join(file);
            fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
            fs::write(path, *file).expect("a file");
        }
        directory
    }

    fn names(directory: &tempfile::TempDir, files: &[InputFile]) -> Vec<String> {
        let root = format!("{}/", directory.path().display());
        files.iter().map(|file| file.file.strip_prefix(&root).expect("within").to_string()).collect()
    }

    #[test]
    fn a_directory_is_read_whole_and_sorted_without_hidden_or_foreign_files() {
        let root = directory(&["b.kdl", "a/z.cedar", "a/c.kdl", "notes.txt", ".git/x.kdl", ".hidden.kdl"]);
        let files = read(&[root.path().to_path_buf()]).expect("readable");
        assert_eq!(names(&root, &files), ["a/c.kdl", "a/z.cedar", "b.kdl"]);
        assert_eq!(files[0].text, "a/c.kdl");
    }

    #[test]
    fn a_file_named_twice_or_linked_counts_once() {
        let root = directory(&["a.kdl", "b.kdl"]);
        std::os::unix::fs::symlink(root.path().join("a.kdl"), root.path().join("c.kdl")).expect("a link");
        std::os::unix::fs::symlink(root.path(), root.path().join("loop")).expect("a link");
        let mut reader = Reader::default();
        assert_eq!(names(&root, &reader.read(&[root.path().join("a.kdl")], Kinds::All)), ["a.kdl"]);
        assert_eq!(names(&root, &reader.read(&[root.path().to_path_buf()], Kinds::All)), ["b.kdl"]);
        assert_eq!(reader.read(&[root.path().to_path_buf()], Kinds::All), []);
        assert_eq!(reader.problems, Vec::<String>::new());
    }

    #[test]
    fn policies_beside_an_inventory_are_still_read_with_the_specs() {
        let root = directory(&["inventory/nodes.kdl", "inventory/a.cedar", "web.kdl"]);
        let mut reader = Reader::default();
        let inventory = reader.read(&[root.path().join("inventory")], Kinds::Kdl);
        assert_eq!(names(&root, &inventory), ["inventory/nodes.kdl"]);
        let files = reader.read(&[root.path().to_path_buf()], Kinds::All);
        assert_eq!(names(&root, &files), ["inventory/a.cedar", "web.kdl"]);
    }

    #[test]
    fn all_problems_come_at_once() {
        let root = directory(&["notes.txt", "empty/x.md"]);
        fs::write(root.path().join("bad.kdl"), [b'a', 0xff]).expect("a file");
        let big = fs::File::create(root.path().join("big.kdl")).expect("a file");
        big.set_len(100 << 20).expect("a sparse file");
        let paths = ["gone.kdl", "notes.txt", "bad.kdl", "big.kdl"].map(|name| root.path().join(name));
        let Err(Failure::Files(problems)) = read(&paths) else { panic!("must fail") };
        let root_name = format!("{}/", root.path().display());
        let problems: Vec<String> = problems.iter().map(|problem| problem.replace(&root_name, "")).collect();
        assert_eq!(
            problems,
            [
                "cannot read gone.kdl: no such file or directory",
                "notes.txt is not a .kdl or .cedar file",
                "bad.kdl is not UTF-8 text: byte 1 does not belong to any character",
                "big.kdl is larger than 4 MiB",
            ]
        );
        let Err(Failure::Files(problems)) = read(&[root.path().join("empty")]) else { panic!("must fail") };
        assert!(problems[0].ends_with("empty holds no .kdl or .cedar file"), "{problems:?}");
    }

    #[test]
    fn replacing_keeps_permissions_and_links() {
        use std::os::unix::fs::PermissionsExt;
        let root = directory(&["a.kdl"]);
        let (file, link) = (root.path().join("a.kdl"), root.path().join("link.kdl"));
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).expect("permissions");
        std::os::unix::fs::symlink("a.kdl", &link).expect("a link");
        replace(&link, "new\n").expect("writable");
        assert_eq!(fs::read_to_string(&file).expect("readable"), "new\n");
        assert_eq!(fs::metadata(&file).expect("there").permissions().mode() & 0o777, 0o640);
        assert!(fs::symlink_metadata(&link).expect("there").is_symlink());
        assert_eq!(fs::read_dir(root.path()).expect("readable").count(), 2);
    }
}
