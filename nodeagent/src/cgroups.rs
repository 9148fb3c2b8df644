#![expect(clippy::disallowed_methods, reason = "an edge: cgroups are files")]
//! The little the agent does with cgroups itself: the runtime makes them and sets the limits. The outside; version 1 and 2.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

const MOUNT: &str = "/sys/fs/cgroup";

/// How many of a container's processes the kernel has killed for lack of memory. Its cgroup lives until its task is deleted.
pub(crate) fn oom_kills(cgroup: &str) -> u64 {
    let relative = cgroup.trim_start_matches('/');
    let files = [
        Path::new(MOUNT).join(relative).join("memory.events"),
        Path::new(MOUNT).join("memory").join(relative).join("memory.oom_control"),
    ];
    files.iter().find_map(|file| oom_kills_of(&fs::read_to_string(file).ok()?)).unwrap_or(0)
}

/// The line `oom_kill N`, which both versions write.
fn oom_kills_of(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

/// Whether swap can be limited, and there is any to limit.
pub(crate) fn swap_can_be_limited() -> bool {
    let swaps = fs::read_to_string("/proc/swaps").is_ok_and(|swaps| swaps.lines().count() > 1);
    let version_1 = Path::new(MOUNT).join("memory");
    swaps && (!version_1.exists() || version_1.join("memory.memsw.limit_in_bytes").exists())
}

/// Removes a cgroup that holds nothing any more, from every hierarchy. What is not there is fine.
pub(crate) fn remove(cgroup: &str) -> io::Result<()> {
    for directory in directories(cgroup) {
        match fs::remove_dir(&directory) {
            Err(error) if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Err(io::Error::new(error.kind(), format!("{}: {error}", directory.display())));
            }
            _ => {}
        }
    }
    Ok(())
}

/// The same cgroup in the unified hierarchy and in each controller's.
fn directories(cgroup: &str) -> Vec<PathBuf> {
    let relative = cgroup.trim_start_matches('/');
    let controllers = fs::read_dir(MOUNT).into_iter().flatten().flatten().map(|entry| entry.path().join(relative));
    controllers.chain([Path::new(MOUNT).join(relative)]).filter(|directory| directory.is_dir()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_count_kills_alike() {
        assert_eq!(oom_kills_of("low 0\nhigh 0\nmax 7\noom 1\noom_kill 2\noom_group_kill 0\n"), Some(2));
        assert_eq!(oom_kills_of("oom_kill_disable 0\nunder_oom 0\noom_kill 1\n"), Some(1));
        assert_eq!(oom_kills_of("low 0\n"), None);
    }
}
