#![expect(clippy::disallowed_methods, reason = "an edge: network namespaces and their sysctls are files")]
//! Network namespaces: made, entered and removed. The outside.
//!
//! A namespace is kept by a bind mount below `/run/netns`, as `ip netns` does it, so that `ip netns exec` works on them.
//! Nothing here changes the namespace of a thread that goes on to do something else: each visit is a thread of its own.

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

const DIRECTORY: &str = "/run/netns";
/// `statfs` type of a mounted namespace.
const NSFS_MAGIC: i64 = 0x6e73_6673;

/// Something about a network namespace that did not work.
#[derive(Debug, thiserror::Error)]
#[error("network namespace {name}: cannot {what}")]
pub struct NetnsError {
    name: String,
    what: &'static str,
    #[source]
    source: io::Error,
}

/// Where the namespace of this name is.
pub fn path(name: &str) -> PathBuf {
    Path::new(DIRECTORY).join(name)
}

/// Makes the namespace if it is not there. True if it was made.
pub fn ensure(name: &str) -> Result<bool, NetnsError> {
    let error = |what| move |source| NetnsError { name: name.to_owned(), what, source };
    let path = path(name);
    if is_namespace(&path) {
        return Ok(false);
    }
    fs::create_dir_all(DIRECTORY).map_err(error("make /run/netns"))?;
    fs::File::create(&path).map_err(error("make its file"))?;
    let target = path.clone();
    let made = std::thread::spawn(move || -> io::Result<()> {
        unshare(CloneFlags::CLONE_NEWNET)?;
        // Before any link exists: no addresses of the kernel's own making, no routes from whoever sends advertisements.
        for (key, value) in [
            ("ipv6/conf/all/disable_ipv6", "0"),
            ("ipv6/conf/default/disable_ipv6", "0"),
            ("ipv6/conf/all/accept_ra", "0"),
            ("ipv6/conf/default/accept_ra", "0"),
            ("ipv6/conf/default/accept_dad", "0"),
            ("ipv6/conf/default/addr_gen_mode", "1"),
        ] {
            write_sysctl(key, value)?;
        }
        // As container engines do: the namespace is the replica's alone, low ports are harmless.
        write_sysctl("ipv4/ip_unprivileged_port_start", "0").ok();
        mount(Some("/proc/thread-self/ns/net"), &target, None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
        Ok(())
    });
    let made = made.join().unwrap_or_else(|_| Err(io::Error::other("its thread panicked")));
    made.map_err(error("make it"))?;
    Ok(true)
}

/// Removes the namespace. One that is not there is fine.
pub fn remove(name: &str) -> Result<(), NetnsError> {
    let error = |what| move |source| NetnsError { name: name.to_owned(), what, source };
    let path = path(name);
    if is_namespace(&path) {
        umount2(&path, MntFlags::MNT_DETACH).map_err(io::Error::from).map_err(error("unmount it"))?;
    }
    match fs::remove_file(&path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(error("remove its file")(source)),
        _ => Ok(()),
    }
}

/// The names that begin with `prefix`.
pub fn list(prefix: &str) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(DIRECTORY) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
        entries => entries?,
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    Ok(names.filter(|name| name.starts_with(prefix)).collect())
}

/// Opens the namespace, to hand it to the kernel.
pub fn open(name: &str) -> Result<fs::File, NetnsError> {
    fs::File::open(path(name)).map_err(|source| NetnsError { name: name.to_owned(), what: "open it", source })
}

/// Runs `visit` in the namespace, in a thread of its own that has the present runtime at hand (a socket made there stays there).
pub fn visit<T: Send + 'static>(
    name: &str,
    visit: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, NetnsError> {
    let error = |what| move |source| NetnsError { name: name.to_owned(), what, source };
    let namespace = open(name)?;
    let runtime = tokio::runtime::Handle::current();
    let visited = std::thread::spawn(move || -> io::Result<T> {
        setns(&namespace, CloneFlags::CLONE_NEWNET)?;
        let _entered = runtime.enter();
        visit()
    });
    let visited = visited.join().unwrap_or_else(|_| Err(io::Error::other("its thread panicked")));
    visited.map_err(error("work in it"))
}

/// Sets a value below `/proc/sys/net` of the calling thread's namespace.
pub fn write_sysctl(key: &str, value: &str) -> io::Result<()> {
    let path = format!("/proc/sys/net/{key}");
    fs::write(&path, value).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound if key.starts_with("ipv6/") && !Path::new("/proc/sys/net/ipv6").exists() => {
            io::Error::other(
                "this kernel runs without IPv6; remove ipv6.disable=1 from its command line or load the module ipv6",
            )
        }
        _ => io::Error::new(error.kind(), format!("{path} = {value}: {error}")),
    })
}

/// Lets this machine route between its replicas and the outside. Interfaces that learn their routes from advertisements would
/// stop doing so when routing is turned on; they are told to go on.
pub fn enable_forwarding() -> io::Result<()> {
    const ALL: &str = "/proc/sys/net/ipv6/conf/all/forwarding";
    let forwarding = fs::read_to_string(ALL).unwrap_or_default();
    if forwarding.trim() == "1" {
        return Ok(());
    }
    for entry in fs::read_dir("/proc/sys/net/ipv6/conf").into_iter().flatten().flatten() {
        let accept = entry.path().join("accept_ra");
        let name = entry.file_name();
        if name != "all" && name != "default" && fs::read_to_string(&accept).is_ok_and(|value| value.trim() == "1") {
            fs::write(&accept, "2")?;
        }
    }
    write_sysctl("ipv6/conf/all/forwarding", "1")
}

fn is_namespace(path: &Path) -> bool {
    nix::sys::statfs::statfs(path).is_ok_and(|stat| stat.filesystem_type().0 == NSFS_MAGIC)
}
