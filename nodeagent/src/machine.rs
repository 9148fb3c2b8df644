#![expect(clippy::disallowed_methods, reason = "an edge: the kernel tells about the machine in files")]
//! What this machine is and has. The outside.

use hyphae_api::v1;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Replicas a node takes unless configured otherwise: what a node of a few cores can start and route comfortably.
const REPLICAS_MAX: u64 = 250;

/// Cores, memory and the disk that holds `state_directory`. Totals: nothing is held back for the system.
pub(crate) fn capacity(state_directory: &Path) -> v1::Resources {
    let cores = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    let memory_kib = fs::read_to_string("/proc/meminfo").ok().and_then(|text| memory_total_kib(&text)).unwrap_or(0);
    let disk = nix::sys::statvfs::statvfs(state_directory).ok();
    v1::Resources {
        cpu_millis: cores * 1_000,
        memory_bytes: memory_kib * 1_024,
        disk_bytes: disk.map_or(0, |disk| disk.blocks().saturating_mul(disk.fragment_size())),
        replicas: REPLICAS_MAX,
        extras: std::collections::HashMap::new(),
    }
}

fn memory_total_kib(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

/// Labels every node has: `arch`, `kernel` (a dotted version), `hostname`, `os`.
pub(crate) fn labels() -> BTreeMap<String, String> {
    let arch = crate::manifest::architecture(std::env::consts::ARCH).to_owned();
    let mut labels = BTreeMap::from([("arch".to_owned(), arch), ("os".to_owned(), "linux".to_owned())]);
    if let Ok(name) = nix::sys::utsname::uname() {
        labels.insert("kernel".to_owned(), kernel_version(&name.release().to_string_lossy()));
        labels.insert("hostname".to_owned(), name.nodename().to_string_lossy().into_owned());
    }
    labels
}

/// `6.1.0` of `6.1.0-18-amd64`.
fn kernel_version(release: &str) -> String {
    let version: String = release.chars().take_while(|char| char.is_ascii_digit() || *char == '.').collect();
    version.trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_is_understood() {
        assert_eq!(kernel_version("6.1.0-18-amd64"), "6.1.0");
        assert_eq!(kernel_version("6.18.44.-x"), "6.18.44");
        assert_eq!(memory_total_kib("MemFree: 1 kB\nMemTotal:       16318480 kB\n"), Some(16_318_480));
        assert_eq!(memory_total_kib("MemTotal: much"), None);
    }
}
