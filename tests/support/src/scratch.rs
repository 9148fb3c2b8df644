//! A directory for one test, and the removal of everything that belongs to a directory.

use crate::process::{command_lines, is_alive, kill9, start_ticks};
use crate::wait::try_wait_until;
use crate::{netns, remains};
use nix::mount::{MntFlags, umount2};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// How the names of all our directories begin. Short: a Unix socket's path has at most 107 bytes.
const PREFIX: &str = "hyp-";
/// The file in a directory that names the process it belongs to.
const OWNER: &str = "owner";
/// The file in a directory that lists network namespaces to be deleted with it.
const NAMESPACES: &str = "namespaces";
/// The file in a directory that lists cgroups to be removed with it.
const CGROUPS: &str = "cgroups";

/// A name that no other test of this or of a parallel run uses: at most 15 bytes longer than `prefix`.
pub fn unique(prefix: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{prefix}-{:x}-{:x}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A directory that goes away with everything that belongs to it; unless HYPHAE_KEEP is set, for a look at what happened.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// A new directory, after what killed runs left behind has been swept (once for each process).
    ///
    /// # Panics
    /// When the temporary directory cannot be written.
    pub fn new() -> Self {
        static SWEPT: std::sync::Once = std::sync::Once::new();
        SWEPT.call_once(|| {
            sweep();
        });
        let path = std::env::temp_dir().join(unique("hyp"));
        std::fs::create_dir(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let pid = std::process::id();
        let ticks = start_ticks(pid).expect("this process has a start time");
        std::fs::write(path.join(OWNER), format!("{pid} {ticks}")).expect("the directory is new and ours");
        Self { path }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A path inside.
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Notes a network namespace, so that it goes even if this process is killed; a name that ends with "-" means all that
    /// begin so.
    pub fn note_namespace(&self, name: &str) {
        self.note(NAMESPACES, name);
    }

    /// Notes a cgroup, by its path in every hierarchy, so that it goes even if nothing in it tells of it any more.
    pub fn note_cgroup(&self, path: &str) {
        self.note(CGROUPS, path);
    }

    fn note(&self, file: &str, line: &str) {
        let file = self.path.join(file);
        let before = std::fs::read_to_string(&file).unwrap_or_default();
        std::fs::write(&file, format!("{before}{line}\n")).expect("the directory is ours");
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if std::env::var_os("HYPHAE_KEEP").is_some() {
            // Without an owner no sweep takes it.
            let _ = std::fs::remove_file(self.path.join(OWNER));
            eprintln!("kept: {}; remove it with `hyphae-sweep {0}`", self.path.display());
            return;
        }
        tear_down(&self.path);
    }
}

/// Tears down every directory of ours whose owner is dead; how many there were.
pub fn sweep() -> usize {
    let Ok(entries) = std::fs::read_dir(std::env::temp_dir()) else { return 0 };
    let ours = entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with(PREFIX));
    let orphaned = ours.map(|entry| entry.path()).filter(|path| is_orphaned(path));
    orphaned.map(|path| tear_down(&path)).count()
}

fn is_orphaned(path: &Path) -> bool {
    let Ok(owner) = std::fs::read_to_string(path.join(OWNER)) else { return false };
    let mut words = owner.split_whitespace();
    let pid = words.next().and_then(|word| word.parse::<u32>().ok());
    let ticks = words.next().and_then(|word| word.parse::<u64>().ok());
    match (pid, ticks) {
        (Some(pid), Some(ticks)) => start_ticks(pid) != Some(ticks),
        _ => false,
    }
}

/// Ends and removes all that belongs to a directory: processes that name it in their command line (hyphae first, so that it
/// restarts nothing, then containerd, its shims, registries), the containers in its bundles with their cgroups and
/// network namespaces, mounts below it, and itself.
pub fn tear_down(path: &Path) {
    end_processes(path, |words| words[0].ends_with("hyphae"));
    end_processes(path, |words| words[0].ends_with("containerd") || words.iter().any(|word| word == "containerd"));
    let containers = remains::containers(path);
    end_processes(path, |_| true);
    for container in &containers {
        container.remove();
    }
    let noted = std::fs::read_to_string(path.join(CGROUPS)).unwrap_or_default();
    noted.lines().for_each(remains::remove_cgroup_everywhere);
    let noted = std::fs::read_to_string(path.join(NAMESPACES)).unwrap_or_default();
    let mut namespaces = Vec::new();
    for name in noted.lines().filter(|name| name.len() > 3) {
        match name.ends_with('-') {
            true => {
                namespaces.extend(remains::network_namespaces(name).into_iter().filter(|one| one.starts_with(name)))
            }
            false => namespaces.push(name.to_owned()),
        }
    }
    namespaces.extend(containers.iter().filter_map(|container| container.network_namespace.clone()));
    for name in namespaces {
        netns::delete(&name);
    }
    for mount in remains::mounts_below(path).into_iter().rev() {
        let _ = umount2(&mount, MntFlags::MNT_DETACH);
    }
    let removed = std::fs::remove_dir_all(path);
    if let Err(error) = removed.or_else(|error| if path.exists() { Err(error) } else { Ok(()) }) {
        eprintln!("{} could not be removed: {error}", path.display());
    }
}

fn end_processes(path: &Path, chosen: impl Fn(&[String]) -> bool) {
    let here = std::process::id();
    let find = || -> Vec<u32> {
        let all =
            command_lines().into_iter().filter(|(pid, words)| *pid != here && names(words, path) && chosen(words));
        all.map(|(pid, _)| pid).collect()
    };
    // More than one round: a process may have started another between being listed and being killed.
    for _ in 0..5 {
        let pids = find();
        if pids.is_empty() {
            return;
        }
        for pid in &pids {
            kill9(*pid);
        }
        try_wait_until(Duration::from_secs(5), || pids.iter().all(|pid| !is_alive(*pid)).then_some(()));
    }
}

/// Whether a command line names a directory or something in it.
pub(crate) fn names(words: &[String], path: &Path) -> bool {
    let path = path.to_string_lossy();
    words.iter().any(|word| {
        word.match_indices(path.as_ref())
            .any(|(start, found)| matches!(word.as_bytes().get(start + found.len()), None | Some(b'/' | b':' | b',')))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::process::Stdio;

    #[test]
    fn a_command_line_names_a_directory_only_by_its_whole_name() {
        let words = |word: &str| vec!["containerd".to_owned(), word.to_owned()];
        assert!(names(&words("--config=/tmp/hyp-1-2/config.toml"), Path::new("/tmp/hyp-1-2")));
        assert!(names(&words("/tmp/hyp-1-2"), Path::new("/tmp/hyp-1-2")));
        assert!(!names(&words("/tmp/hyp-1-23/config.toml"), Path::new("/tmp/hyp-1-2")));
    }

    #[test]
    fn a_scratch_directory_and_its_processes_go_with_the_handle() {
        let scratch = Scratch::new();
        let path = scratch.path().to_owned();
        let marker = path.join("marker");
        let mut command = std::process::Command::new("sh");
        command.args(["-c", "echo; sleep 60; :", &marker.to_string_lossy()]).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // Its command line can be read only some time after `spawn`; once it speaks it can.
        child.stdout.take().unwrap().read_exact(&mut [0]).unwrap();
        drop(scratch);
        assert!(!path.exists());
        assert!(!child.wait().unwrap().success());
    }

    #[test]
    fn only_directories_of_dead_owners_are_orphaned() {
        let scratch = Scratch::new();
        assert!(!is_orphaned(scratch.path()));
        std::fs::write(scratch.join(OWNER), format!("{} 1", std::process::id())).unwrap();
        assert!(is_orphaned(scratch.path()), "the same pid, but another process");
        std::fs::write(scratch.join(OWNER), "").unwrap();
        assert!(!is_orphaned(scratch.path()), "one that is being written is nobody's to remove");
    }
}
