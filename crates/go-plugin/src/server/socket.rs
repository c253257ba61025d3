//! The unix socket that a plugin listens on, in a directory of its own; both are removed when the plugin ends.

use std::{
    env, fs, io,
    os::unix::{
        fs::{PermissionsExt, chown},
        net::UnixListener,
    },
    path::{Path, PathBuf},
};

use nix::unistd::{Group, mkdtemp};

/// The socket's name in its directory.
const SOCKET: &str = "s";
/// What is replaced by letters that nobody knows before.
const RANDOM: &str = "XXXXXX";
/// Bytes of the longest path that a socket may have: `sun_path` less the zero at its end.
const LONGEST: usize = 107;

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// No socket's path may be so long.
    #[error(
        "{} is too long for a socket in it\nhint: set TMPDIR, or PLUGIN_UNIX_SOCKET_DIR, to a directory of at most 97 bytes",
        .0.display()
    )]
    TooLong(PathBuf),
    /// No directory can be made for it.
    #[error("failed to make a directory for the socket in {}", path.display())]
    Directory {
        /// Where.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The path cannot be bound.
    #[error("failed to listen on {}", path.display())]
    Bind {
        /// The socket's path.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// `PLUGIN_UNIX_SOCKET_GROUP` names no group.
    #[error("no such group: {0}")]
    Group(String),
    /// The socket cannot be given to the group.
    #[error("failed to give the socket to the group {group}")]
    Permission {
        /// The group, as the host named it.
        group: String,
        /// What the system says.
        source: io::Error,
    },
}

/// A bound socket in a directory of its own, which nobody else can enter. Both are removed on drop.
pub(super) struct Socket {
    directory: PathBuf,
    path: PathBuf,
    listener: UnixListener,
}

impl Socket {
    /// Binds in `PLUGIN_UNIX_SOCKET_DIR` or the temporary directory; for `PLUGIN_UNIX_SOCKET_GROUP` too when that is set.
    pub(super) fn bind_from_environment() -> Result<Self, SocketError> {
        let parent = env::var_os("PLUGIN_UNIX_SOCKET_DIR").map_or_else(env::temp_dir, PathBuf::from);
        let group = env::var("PLUGIN_UNIX_SOCKET_GROUP").ok().filter(|group| !group.is_empty());
        Self::bind_in(&parent, group.as_deref())
    }

    fn bind_in(parent: &Path, group: Option<&str>) -> Result<Self, SocketError> {
        let template = template(parent).ok_or_else(|| SocketError::TooLong(parent.to_owned()))?;
        // A name that nobody can have taken before, whatever others make in the same directory.
        let made = mkdtemp(&template);
        let directory =
            made.map_err(|errno| SocketError::Directory { path: parent.to_owned(), source: errno.into() })?;
        let path = directory.join(SOCKET);
        let bind = || {
            // Whatever the process's umask is: others are kept out before there is a socket, and this user is not.
            fs::set_permissions(&directory, fs::Permissions::from_mode(0o700))?;
            let listener = UnixListener::bind(&path)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
            Ok(listener)
        };
        let bound = bind().map_err(|source| SocketError::Bind { path: path.clone(), source });
        let listener = bound.inspect_err(|_| drop(fs::remove_dir(&directory)))?;
        let socket = Self { directory, path, listener };
        if let Some(group) = group {
            socket.share_with(group)?;
        }
        Ok(socket)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The listener for the runtime that this is called in.
    pub(super) fn listen(&self) -> Result<tokio::net::UnixListener, SocketError> {
        let listener = || {
            let listener = self.listener.try_clone()?;
            listener.set_nonblocking(true)?;
            tokio::net::UnixListener::from_std(listener)
        };
        listener().map_err(|source| SocketError::Bind { path: self.path.clone(), source })
    }

    fn share_with(&self, group: &str) -> Result<(), SocketError> {
        let gid = group_id(group).ok_or_else(|| SocketError::Group(group.to_owned()))?;
        let share = || {
            for (path, mode) in [(&self.path, 0o660), (&self.directory, 0o710)] {
                chown(path, None, Some(gid))?;
                fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
            }
            Ok(())
        };
        share().map_err(|source| SocketError::Permission { group: group.to_owned(), source })
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _removed_already = fs::remove_file(&self.path);
        let _removed_already = fs::remove_dir(&self.directory);
    }
}

/// The name to make a directory by, short where the path of the socket would be too long; `None` where that does not help.
fn template(parent: &Path) -> Option<PathBuf> {
    let names = [format!("plugin{}-{RANDOM}", std::process::id()), format!("p{RANDOM}")];
    let mut templates = names.into_iter().map(|name| parent.join(name));
    templates.find(|directory| directory.join(SOCKET).as_os_str().len() <= LONGEST)
}

fn group_id(group: &str) -> Option<u32> {
    if let Ok(id) = group.parse() {
        return Some(id);
    }
    Some(Group::from_name(group).ok()??.gid.as_raw())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn the_socket_is_in_a_directory_of_its_own_that_is_removed_with_it() {
        let parent = tempfile::tempdir().unwrap();
        let own = fs::metadata(parent.path()).unwrap().gid().to_string();

        let socket = Socket::bind_in(parent.path(), None).unwrap();
        let shared = Socket::bind_in(parent.path(), Some(&own)).unwrap();

        assert_eq!((mode(&socket.directory), mode(&socket.path)), (0o700, 0o600));
        assert_eq!((mode(&shared.directory), mode(&shared.path)), (0o710, 0o660));
        let stranger = Socket::bind_in(parent.path(), Some("no such group")).err().unwrap();
        assert_eq!(stranger.to_string(), "no such group: no such group");
        drop((socket, shared));
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_long_directory_gets_a_short_name_and_one_that_is_too_long_is_named() {
        let parent = tempfile::tempdir().unwrap();
        let deep = |length: usize| {
            let rest = length - parent.path().as_os_str().len() - 1;
            let path = parent.path().join("d".repeat(rest));
            fs::create_dir(&path).unwrap();
            path
        };
        let (long, too_long) = (deep(LONGEST - "/pXXXXXX/s".len()), deep(LONGEST - "/pXXXXXX/s".len() + 1));

        let socket = Socket::bind_in(&long, None).unwrap();
        let refused = Socket::bind_in(&too_long, None).err().unwrap().to_string();

        assert_eq!(socket.path.as_os_str().len(), LONGEST);
        assert!(refused.contains("is too long for a socket in it\nhint: "), "{refused}");
        assert!(matches!(Socket::bind_in(Path::new("/no/such"), None), Err(SocketError::Directory { .. })));
    }
}
