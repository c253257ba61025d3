//! The unix socket that a plugin listens on; it goes when the plugin does.

use std::{
    env, fs, io,
    os::unix::{fs::PermissionsExt, net::UnixListener},
    path::{Path, PathBuf},
};

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
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

/// A bound socket, unlinked on drop.
pub(super) struct Socket {
    path: PathBuf,
    listener: UnixListener,
}

impl Socket {
    /// Binds in `PLUGIN_UNIX_SOCKET_DIR` or the temporary directory; for `PLUGIN_UNIX_SOCKET_GROUP` too when that is set.
    pub(super) fn bind_from_environment() -> Result<Self, SocketError> {
        let directory = env::var_os("PLUGIN_UNIX_SOCKET_DIR").map_or_else(env::temp_dir, PathBuf::from);
        // The process id is unique among the living; what a dead one left behind may go.
        let path = directory.join(format!("plugin{}", std::process::id()));
        let _absent_as_a_rule = fs::remove_file(&path);
        // Whatever the process's umask is, another user cannot connect.
        let bind = || {
            let listener = UnixListener::bind(&path)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
            Ok(listener)
        };
        let listener = bind().map_err(|source| SocketError::Bind { path: path.clone(), source })?;
        let socket = Self { path, listener };
        match env::var("PLUGIN_UNIX_SOCKET_GROUP") {
            Ok(group) if !group.is_empty() => socket.share_with(&group)?,
            _ => {}
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
            std::os::unix::fs::chown(&self.path, None, Some(gid))?;
            fs::set_permissions(&self.path, fs::Permissions::from_mode(0o660))
        };
        share().map_err(|source| SocketError::Permission { group: group.to_owned(), source })
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _gone_already = fs::remove_file(&self.path);
    }
}

fn group_id(group: &str) -> Option<u32> {
    if let Ok(id) = group.parse() {
        return Some(id);
    }
    Some(nix::unistd::Group::from_name(group).ok()??.gid.as_raw())
}
