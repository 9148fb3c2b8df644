//! The OCI runtime specification of a replica, made from its spec and its image. Pure.
//!
//! What a container may do follows what people know from Docker: its default capabilities, masked paths and devices, its
//! rules for entrypoint, command and user. Beyond that, no new privileges are ever gained (no setuid).

use crate::manifest::RunConfig;
use crate::replica::Wanted;
use crate::users::UserDatabase;
use serde_json::{Value, json};
use std::path::Path;

/// Processes and threads a replica may have.
const PIDS_MAX: i64 = 4096;
/// The kernel's default period of cpu quotas.
const CPU_PERIOD_MICROS: u64 = 100_000;
const PATH_DEFAULT: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const CAPABILITIES: [&str; 14] = [
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

/// What a specification is made from, beside the replica.
#[derive(Debug, Clone, Copy)]
pub struct Surroundings<'a> {
    /// This node's name.
    pub node: &'a str,
    /// How the image wants to be run.
    pub image: &'a RunConfig,
    /// The image's users.
    pub users: &'a UserDatabase,
    /// The replica's network namespace.
    pub network_namespace: &'a Path,
    /// What becomes `/etc/hosts`.
    pub hosts_file: &'a Path,
    /// Absolute, below the cgroup mount.
    pub cgroup: &'a str,
    /// Whether the kernel can limit swap; without it a memory limit can be evaded by swapping.
    pub swap_limit: bool,
}

/// Why a replica cannot be run as it is written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// Nothing to run.
    #[error("image {0} has neither entrypoint nor command, and the spec gives none; write command \"…\" in the spec")]
    NoCommand(String),
    /// Its user does not exist in the image.
    #[error("image {image} wants to run as {user:?}, which its /etc/passwd or /etc/group does not know")]
    NoUser {
        /// Which image.
        image: String,
        /// As the image says it.
        user: String,
    },
}

/// The specification, JSON.
pub fn runtime_spec(wanted: &Wanted, around: &Surroundings) -> Result<Value, SpecError> {
    let image = &wanted.spec.image;
    let user = around
        .users
        .resolve(&around.image.user)
        .ok_or_else(|| SpecError::NoUser { image: image.clone(), user: around.image.user.clone() })?;
    let args = command(&wanted.spec.command, &wanted.spec.args, around.image);
    if args.is_empty() {
        return Err(SpecError::NoCommand(image.clone()));
    }
    let cwd = if around.image.working_dir.starts_with('/') { around.image.working_dir.as_str() } else { "/" };
    Ok(json!({
        "ociVersion": "1.0.2",
        "hostname": hostname(wanted),
        "root": { "path": "rootfs", "readonly": false },
        "process": {
            "terminal": false,
            "user": { "uid": user.uid, "gid": user.gid, "additionalGids": user.groups },
            "args": args,
            "env": environment(wanted, around, &user.home),
            "cwd": cwd,
            "noNewPrivileges": true,
            "capabilities": {
                "bounding": CAPABILITIES, "effective": CAPABILITIES, "permitted": CAPABILITIES
            },
        },
        "mounts": mounts(around.hosts_file),
        "linux": {
            "cgroupsPath": around.cgroup,
            "resources": resources(wanted, around.swap_limit),
            "namespaces": [
                { "type": "pid" }, { "type": "ipc" }, { "type": "uts" }, { "type": "mount" }, { "type": "cgroup" },
                { "type": "network", "path": around.network_namespace },
            ],
            "maskedPaths": [
                "/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
                "/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats",
                "/sys/devices/virtual/powercap", "/sys/firmware",
            ],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    }))
}

/// Docker's rule: a command replaces entrypoint and arguments; arguments alone replace the image's arguments.
fn command(command: &[String], args: &[String], image: &RunConfig) -> Vec<String> {
    let (first, rest) = match (command.is_empty(), args.is_empty()) {
        (false, _) => (command, args),
        (true, false) => (image.entrypoint.as_slice(), args),
        (true, true) => (image.entrypoint.as_slice(), image.cmd.as_slice()),
    };
    first.iter().chain(rest).cloned().collect()
}

/// `web-3`, at most 63 characters.
pub fn hostname(wanted: &Wanted) -> String {
    let (name, _) = wanted.id.name_and_team();
    let index = wanted.id.index.to_string();
    let name: String = name.chars().filter(|char| char.is_ascii_alphanumeric() || *char == '-').take(52).collect();
    format!("{}-{index}", name.trim_matches('-'))
}

/// The image's variables, then ours, then the spec's: the later wins, in the place of the first.
fn environment(wanted: &Wanted, around: &Surroundings, home: &str) -> Vec<String> {
    let own = [
        ("HYPHAE_WORKLOAD", wanted.id.workload.clone()),
        ("HYPHAE_REPLICA", wanted.id.index.to_string()),
        ("HYPHAE_ADDRESS", wanted.address.to_string()),
        ("HYPHAE_NODE", around.node.to_owned()),
    ];
    let image = around.image.env.iter().map(|entry| entry.split_once('=').unwrap_or((entry, "")));
    let spec = wanted.spec.env.iter().map(|env| (env.name.as_str(), env.value.as_str()));
    let all = [("PATH", PATH_DEFAULT), ("HOME", home)]
        .into_iter()
        .chain(image)
        .chain(own.iter().map(|(name, value)| (*name, value.as_str())))
        .chain(spec);
    let mut environment: Vec<(&str, &str)> = Vec::new();
    for (name, value) in all {
        match environment.iter_mut().find(|(known, _)| *known == name) {
            Some(entry) => entry.1 = value,
            None => environment.push((name, value)),
        }
    }
    environment.into_iter().map(|(name, value)| format!("{name}={value}")).collect()
}

fn mounts(hosts_file: &Path) -> Value {
    let mount = |destination: &str, kind: &str, source: &str, options: &[&str]| json!({ "destination": destination, "type": kind, "source": source, "options": options });
    json!([
        mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount("/dev/pts", "devpts", "devpts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
        mount("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
        mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
        mount("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", "ro"]),
        { "destination": "/etc/hosts", "type": "bind", "source": hosts_file, "options": ["bind", "ro", "nosuid", "nodev", "noexec"] },
    ])
}

fn resources(wanted: &Wanted, swap_limit: bool) -> Value {
    let reserved_cpu_millis = wanted.spec.reserved.as_ref().map_or(0, |reserved| reserved.cpu_millis);
    let mut cpu = json!({ "shares": cpu_shares(reserved_cpu_millis) });
    if wanted.spec.limit_cpu_millis > 0 {
        let quota_micros = wanted.spec.limit_cpu_millis.saturating_mul(CPU_PERIOD_MICROS / 1_000);
        // The kernel refuses quotas below a millisecond.
        cpu["quota"] = json!(quota_micros.clamp(1_000, i64::MAX.unsigned_abs()));
        cpu["period"] = json!(CPU_PERIOD_MICROS);
    }
    let mut resources = json!({
        "devices": [{ "allow": false, "access": "rwm" }],
        "pids": { "limit": PIDS_MAX },
        "cpu": cpu,
    });
    if wanted.spec.limit_memory_bytes > 0 {
        let limit = wanted.spec.limit_memory_bytes.min(i64::MAX.unsigned_abs());
        resources["memory"] =
            if swap_limit { json!({ "limit": limit, "swap": limit }) } else { json!({ "limit": limit }) };
    }
    resources
}

/// A core is 1024 shares; the kernel takes 2 to 262144.
fn cpu_shares(cpu_millis: u64) -> u64 {
    (cpu_millis.saturating_mul(1024) / 1_000).clamp(2, 262_144)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replica::WantedShare;
    use hyphae_api::v1;
    use std::sync::Arc;

    fn wanted(change: impl FnOnce(&mut v1::Replica)) -> Arc<Wanted> {
        let mut replica = v1::Replica {
            workload: "shop/web".into(),
            index: 3,
            kind: "service".into(),
            image: "x:1".into(),
            address: "fd00::3".into(),
            ..Default::default()
        };
        change(&mut replica);
        let share = WantedShare::read(&v1::Share { revision: 1, replicas: vec![replica] });
        share.replicas.into_values().next().expect("one")
    }

    fn spec(image: &RunConfig, wanted: &Wanted) -> Result<Value, SpecError> {
        runtime_spec(
            wanted,
            &Surroundings {
                node: "n1",
                image,
                users: &UserDatabase::read("app:x:1000:100::/srv:/bin/sh\n", "www:x:33:app\n"),
                network_namespace: Path::new("/run/netns/x"),
                hosts_file: Path::new("/state/hosts"),
                cgroup: "/hyphae/x",
                swap_limit: true,
            },
        )
    }

    fn strings(list: &[&str]) -> Vec<String> {
        list.iter().map(|entry| (*entry).to_owned()).collect()
    }

    #[test]
    fn commands_replace_entrypoints_and_arguments_replace_arguments() {
        let image = RunConfig { entrypoint: strings(&["e"]), cmd: strings(&["c"]), ..RunConfig::default() };
        for (command, args, expected) in [
            (vec![], vec![], vec!["e", "c"]),
            (vec!["x"], vec![], vec!["x"]),
            (vec![], vec!["a"], vec!["e", "a"]),
            (vec!["x"], vec!["a"], vec!["x", "a"]),
        ] {
            let wanted = wanted(|replica| (replica.command, replica.args) = (strings(&command), strings(&args)));
            let spec = spec(&image, &wanted).expect("good");
            assert_eq!(spec["process"]["args"], json!(expected));
        }
        let empty = spec(&RunConfig::default(), &wanted(|_| {}));
        assert!(matches!(empty, Err(SpecError::NoCommand(_))));
    }

    #[test]
    fn the_spec_environment_wins_over_the_image() {
        let image =
            RunConfig { cmd: strings(&["c"]), env: strings(&["PATH=/image", "A=1", "B"]), ..RunConfig::default() };
        let env = |name: &str, value: &str| v1::EnvVar { name: name.into(), value: value.into() };
        let wanted = wanted(|replica| replica.env = vec![env("A", "2=3"), env("HYPHAE_NODE", "mine")]);
        let spec = spec(&image, &wanted).expect("good");
        assert_eq!(
            spec["process"]["env"],
            json!([
                "PATH=/image",
                "HOME=/root",
                "A=2=3",
                "B=",
                "HYPHAE_WORKLOAD=shop/web",
                "HYPHAE_REPLICA=3",
                "HYPHAE_ADDRESS=fd00::3",
                "HYPHAE_NODE=mine"
            ])
        );
    }

    #[test]
    fn limits_become_kernel_units() {
        let image = RunConfig { cmd: strings(&["c"]), ..RunConfig::default() };
        let wanted = wanted(|replica| {
            replica.reserved = Some(v1::Resources { cpu_millis: 250, ..Default::default() });
            replica.limit_cpu_millis = 1_500;
            replica.limit_memory_bytes = 64 << 20;
        });
        let resources = spec(&image, &wanted).expect("good")["linux"]["resources"].clone();
        assert_eq!(resources["cpu"], json!({ "shares": 256, "quota": 150_000, "period": 100_000 }));
        assert_eq!(resources["memory"], json!({ "limit": 64 << 20, "swap": 64 << 20 }));
        let unlimited = self::wanted(|_| {});
        let resources = spec(&image, &unlimited).expect("good")["linux"]["resources"].clone();
        assert_eq!((resources["cpu"].clone(), resources.get("memory")), (json!({ "shares": 2 }), None));
    }

    #[test]
    fn users_are_resolved_in_the_image() {
        let user = |user: &str| {
            let image = RunConfig { cmd: strings(&["c"]), user: user.into(), ..RunConfig::default() };
            spec(&image, &wanted(|_| {})).map(|spec| spec["process"]["user"].clone())
        };
        assert_eq!(user("app"), Ok(json!({ "uid": 1000, "gid": 100, "additionalGids": [33] })));
        assert_eq!(user("7:8"), Ok(json!({ "uid": 7, "gid": 8, "additionalGids": [] })));
        let error = user("nobody").expect_err("unknown").to_string();
        assert_eq!(error, "image x:1 wants to run as \"nobody\", which its /etc/passwd or /etc/group does not know");
    }
}
