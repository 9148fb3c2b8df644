//! What containers leave in a system, found by the directory of their containerd: used to clean up, and to assert that
//! there was nothing left to clean up.

use crate::process::{command_lines, kill9};
use crate::scratch::names;
use crate::wait::try_wait_until;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where runc keeps its state, one directory for each containerd namespace, whatever containerd's own state directory.
const RUNC_ROOT: &str = "/run/containerd/runc";
/// Where the kernel shows cgroups.
const CGROUP_ROOT: &str = "/sys/fs/cgroup";

/// A container of a containerd, as its bundle describes it.
#[derive(Debug)]
pub(crate) struct Container {
    containerd_namespace: String,
    id: String,
    cgroup: Option<String>,
    shim_socket: Option<PathBuf>,
    /// The name of its network namespace, if it has one of those in /run/netns.
    pub(crate) network_namespace: Option<String>,
}

/// The containers of the containerd whose state lies below this directory.
pub(crate) fn containers(path: &Path) -> Vec<Container> {
    let mut found = Vec::new();
    for tasks in directories_named(path, "io.containerd.runtime.v2.task", 4) {
        for namespace in subdirectories(&tasks) {
            found.extend(subdirectories(&namespace).iter().map(|bundle| Container::read(&namespace, bundle)));
        }
    }
    found
}

/// The ids and first processes of the tasks of the containerd whose state lies below this directory.
pub fn tasks(path: &Path) -> Vec<(String, u32)> {
    let namespaces = directories_named(path, "io.containerd.runtime.v2.task", 4).into_iter();
    let bundles = namespaces.flat_map(|tasks| subdirectories(&tasks)).flat_map(|namespace| subdirectories(&namespace));
    let pid = |bundle: &Path| std::fs::read_to_string(bundle.join("init.pid")).ok()?.trim().parse().ok();
    bundles.filter_map(|bundle| Some((file_name(&bundle), pid(&bundle)?))).collect()
}

impl Container {
    fn read(namespace: &Path, bundle: &Path) -> Self {
        let text = std::fs::read_to_string(bundle.join("config.json")).unwrap_or_default();
        let spec: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        let namespaces = spec.pointer("/linux/namespaces").and_then(|all| all.as_array()).cloned().unwrap_or_default();
        let network = namespaces.iter().find(|one| one["type"] == "network").and_then(|one| one["path"].as_str());
        let socket = std::fs::read_to_string(bundle.join("address")).unwrap_or_default();
        Self {
            containerd_namespace: file_name(namespace),
            id: file_name(bundle),
            cgroup: spec.pointer("/linux/cgroupsPath").and_then(|path| path.as_str()).map(str::to_owned),
            shim_socket: socket.strip_prefix("unix://").map(PathBuf::from),
            network_namespace: network
                .and_then(|path| path.strip_prefix("/run/netns/").or_else(|| path.strip_prefix("/var/run/netns/")))
                .map(str::to_owned),
        }
    }

    /// Ends what runs in its cgroups, and removes these, runc's state and the shim's socket.
    pub(crate) fn remove(&self) {
        for cgroup in self.cgroup.iter().flat_map(|path| cgroup_directories(path)) {
            remove_cgroup(&cgroup);
            // The parent is one for the whole containerd namespace: removed with the last of them.
            let parent = cgroup.parent().filter(|parent| file_name(parent).contains(&self.containerd_namespace));
            if let Some(parent) = parent {
                let _ = std::fs::remove_dir(parent);
            }
        }
        let state = Path::new(RUNC_ROOT).join(&self.containerd_namespace);
        let _ = std::fs::remove_dir_all(state.join(&self.id));
        let _ = std::fs::remove_dir(state);
        if let Some(socket) = &self.shim_socket {
            let _ = std::fs::remove_file(socket);
        }
    }
}

/// The directories of a cgroup in all hierarchies: one with cgroup v2, one for each controller with v1.
fn cgroup_directories(path: &str) -> Vec<PathBuf> {
    let relative = path.trim_start_matches('/');
    if relative.is_empty() || relative.contains("..") {
        return Vec::new();
    }
    let mut roots = subdirectories(Path::new(CGROUP_ROOT));
    roots.push(PathBuf::from(CGROUP_ROOT));
    roots
        .into_iter()
        .map(|root| root.join(relative))
        .filter(|directory| directory.join("cgroup.procs").exists())
        .collect()
}

fn remove_cgroup(directory: &Path) {
    for child in subdirectories(directory) {
        remove_cgroup(&child);
    }
    try_wait_until(Duration::from_secs(5), || {
        let processes = std::fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
        for pid in processes.lines().filter_map(|line| line.parse().ok()) {
            kill9(pid);
        }
        (std::fs::remove_dir(directory).is_ok() || !directory.exists()).then_some(())
    });
}

/// The mount points below a directory, outermost first.
pub fn mounts_below(path: &Path) -> Vec<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = mounts
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(|point| PathBuf::from(point.replace("\\040", " ")));
    points.filter(|point| point.starts_with(path) && point != path).collect()
}

/// The network namespaces in /run/netns whose names hold this text.
pub fn network_namespaces(part: &str) -> Vec<String> {
    entries(Path::new("/run/netns")).into_iter().filter(|name| name.contains(part)).collect()
}

/// The cgroups, in any hierarchy, whose own names hold this text.
pub fn cgroups(part: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![(PathBuf::from(CGROUP_ROOT), 0)];
    while let Some((directory, depth)) = open.pop() {
        for child in subdirectories(&directory) {
            if file_name(&child).contains(part) {
                found.push(child.clone());
            }
            if depth < 5 {
                open.push((child, depth + 1));
            }
        }
    }
    found
}

/// Ends what runs in a cgroup and removes it from all hierarchies; then the one above it, unless others are in that.
pub(crate) fn remove_cgroup_everywhere(path: &str) {
    for directory in cgroup_directories(path) {
        remove_cgroup(&directory);
    }
    let parent = Path::new(path).parent().and_then(Path::to_str).unwrap_or_default();
    for directory in cgroup_directories(parent) {
        let _ = std::fs::remove_dir(directory);
    }
}

/// The processes whose command lines name a directory or something in it.
pub fn processes(path: &Path) -> Vec<(u32, String)> {
    let ours = command_lines().into_iter().filter(|(pid, words)| *pid != std::process::id() && names(words, path));
    ours.map(|(pid, words)| (pid, words.join(" "))).collect()
}

fn directories_named(path: &Path, name: &str, depth: u32) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for child in subdirectories(path) {
        if file_name(&child) == name {
            found.push(child);
        } else if depth > 0 {
            found.extend(directories_named(&child, name, depth - 1));
        }
    }
    found
}

fn subdirectories(path: &Path) -> Vec<PathBuf> {
    let names = entries(path).into_iter().map(|name| path.join(name));
    names.filter(|child| child.symlink_metadata().is_ok_and(|metadata| metadata.is_dir())).collect()
}

fn entries(path: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(path) else { return Vec::new() };
    entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}
