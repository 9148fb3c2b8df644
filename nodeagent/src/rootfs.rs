//! Reads single files of an image out of its snapshot, without mounting it. The outside.

use crate::users::UserDatabase;
use containerd_client::types::Mount;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Larger files are cut off; no sane /etc/passwd is.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The users an image knows. A file that is missing is as good as empty.
pub(crate) fn users(mounts: &[Mount]) -> UserDatabase {
    let layers = layers(mounts);
    let read = |path: &str| layers.iter().find_map(|layer| read_beneath(layer, path)).unwrap_or_default();
    UserDatabase::read(&read("etc/passwd"), &read("etc/group"))
}

/// The directories a snapshot is stacked from, uppermost first.
fn layers(mounts: &[Mount]) -> Vec<String> {
    mounts
        .iter()
        .flat_map(|mount| {
            let option =
                |name: &str| mount.options.iter().find_map(|option| option.strip_prefix(name).map(str::to_owned));
            match mount.r#type.as_str() {
                "overlay" => {
                    let lower = option("lowerdir=").unwrap_or_default();
                    option("upperdir=").into_iter().chain(lower.split(':').map(str::to_owned)).collect()
                }
                _ => vec![mount.source.clone()],
            }
        })
        .collect()
}

/// The text of a file; symbolic links are resolved inside the directory, never out of it.
fn read_beneath(directory: &str, path: &str) -> Option<String> {
    let directory = nix::fcntl::open(
        directory,
        OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
        nix::sys::stat::Mode::empty(),
    )
    .ok()?;
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT);
    let file = File::from(openat2(&directory, Path::new(path), how).ok()?);
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}
