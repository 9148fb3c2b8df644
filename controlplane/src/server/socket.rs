//! The Unix socket, and who is at its other end.

use hyphae_policy::UserFacts;
use nix::unistd::{Gid, Group, Uid, User, geteuid, getgrouplist};
use std::ffi::CString;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use tokio::net::{UnixListener, UnixStream};
use tonic::transport::server::UdsConnectInfo;

/// The team of the local administrator.
const ADMINS: &str = "admins";

/// Why the server can not listen.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Another server answers there.
    #[error("another server is listening on {}", .0.display())]
    InUse(PathBuf),
    /// Something else is there.
    #[error("{} is there and is not a socket: remove it, or choose another path", .0.display())]
    NotASocket(PathBuf),
    /// Anything else.
    #[error("the server can not listen on {}: {problem}", path.display())]
    Io { path: PathBuf, problem: io::Error },
}

/// Why a caller is not known.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// The kernel does not tell.
    #[error("the kernel does not tell who is at the other end of the socket")]
    NoCredentials,
}

/// Listens on a path with mode 0600. A socket that a dead server has left is replaced; one that answers is not.
pub(super) async fn listen(path: &Path) -> Result<UnixListener, SocketError> {
    let io_error = |problem| SocketError::Io { path: path.to_owned(), problem };
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(io_error)?;
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(io_error(error)),
        Ok(found) if !found.file_type().is_socket() => return Err(SocketError::NotASocket(path.to_owned())),
        Ok(_) if UnixStream::connect(path).await.is_ok() => return Err(SocketError::InUse(path.to_owned())),
        Ok(_) => {}
    }
    // Bound where nobody else can reach it, given its mode, and only then put in its place: at no moment can another user connect.
    let private = dir.join(format!(".{}", std::process::id()));
    match std::fs::remove_dir_all(&private) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io_error(error)),
        _ => {}
    }
    std::fs::DirBuilder::new().mode(0o700).create(&private).map_err(io_error)?;
    let bound = bind_private(&private.join("s"), path);
    let removed = std::fs::remove_dir_all(&private);
    let listener = bound.map_err(io_error)?;
    removed.map_err(io_error)?;
    Ok(listener)
}

fn bind_private(private: &Path, path: &Path) -> io::Result<UnixListener> {
    let listener = UnixListener::bind(private)?;
    std::fs::set_permissions(private, std::fs::Permissions::from_mode(0o600))?;
    std::fs::rename(private, path)?;
    Ok(listener)
}

/// Takes the socket away.
pub(super) fn remove(path: &Path) {
    if let Err(error) = std::fs::remove_file(path) {
        tracing::warn!(%error, socket = %path.display(), "the socket could not be removed");
    }
}

/// Who calls: the Unix user at the other end of the socket, told by the kernel (SO_PEERCRED). Its groups are its teams; root and the server's
/// own user are of the team "admins".
pub(super) fn user<T>(request: &tonic::Request<T>) -> Result<UserFacts, UserError> {
    let credentials = request.extensions().get::<UdsConnectInfo>().and_then(|info| info.peer_cred);
    let credentials = credentials.ok_or(UserError::NoCredentials)?;
    Ok(facts(Uid::from_raw(credentials.uid()), Gid::from_raw(credentials.gid())))
}

fn facts(uid: Uid, gid: Gid) -> UserFacts {
    let account = User::from_uid(uid).ok().flatten();
    let name = account.as_ref().map_or_else(|| format!("uid-{uid}"), |account| account.name.clone());
    let mut teams = Vec::new();
    if uid.is_root() || uid == geteuid() {
        teams.push(ADMINS.to_owned());
    }
    let gids = account
        .and_then(|account| CString::new(account.name).ok())
        .and_then(|name| getgrouplist(&name, gid).ok())
        .unwrap_or_else(|| vec![gid]);
    // A group that happens to be called "admins" makes nobody an administrator.
    let groups = gids.into_iter().filter_map(|gid| Some(Group::from_gid(gid).ok()??.name));
    teams.extend(groups.filter(|group| group != ADMINS));
    teams.sort();
    teams.dedup();
    UserFacts { name, teams }
}

/// Whether agents may come from this user: root, or whoever runs the server.
pub(super) fn is_trusted(user: &UserFacts) -> bool {
    user.teams.iter().any(|team| team == ADMINS)
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "it puts a file in the socket's place")]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_socket_is_for_its_owner_only_and_a_stale_one_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/server.sock");
        drop(listen(&path).await.unwrap());
        let listener = listen(&path).await.unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing else is left there");
        assert!(matches!(listen(&path).await, Err(SocketError::InUse(_))), "it answers");
        drop(listener);
    }

    #[tokio::test]
    async fn a_file_in_the_sockets_place_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("precious");
        std::fs::write(&path, "data").unwrap();
        assert!(matches!(listen(&path).await, Err(SocketError::NotASocket(_))));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "data");
    }

    #[test]
    fn root_is_an_administrator_and_an_unknown_user_is_not() {
        let root = facts(Uid::from_raw(0), Gid::from_raw(0));
        assert_eq!(root.name, "root");
        assert!(is_trusted(&root));
        let unknown = facts(Uid::from_raw(3_999_999_999), Gid::from_raw(3_999_999_999));
        assert_eq!(unknown, UserFacts { name: "uid-3999999999".to_owned(), teams: vec![] });
    }
}
