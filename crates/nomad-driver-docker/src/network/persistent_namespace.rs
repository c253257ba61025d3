//! Network namespaces that outlive their pause containers: each is mounted on a file of its own.
//!
//! ```text
//! persistent -> (its pause container dies, another one moves in) -> removed
//! ```

use std::{
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use nomad_plugin::id::AllocId;
use rustix::{
    fs::statfs,
    io::Errno,
    mount::{UnmountFlags, mount_bind, unmount},
};

/// The directory of named network namespaces, as used by `ip netns`.
const DIRECTORY: &str = "/run/netns";

/// The prefix of persistent namespaces' names.
const NAME: &str = "longshore-";

/// The file system of namespaces, from `linux/magic.h`.
const NSFS: u64 = 0x6e73_6673;

/// The mount point of an allocation's namespace, whether it exists or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PersistentNamespace(PathBuf);

/// Identifies a namespace: device and inode.
pub(super) type NamespaceIdentity = (u64, u64);

impl PersistentNamespace {
    /// The namespace of an allocation.
    pub(super) fn of(alloc: &AllocId) -> Self {
        let alloc: String =
            alloc.as_str().chars().map(|char| if char.is_ascii_alphanumeric() { char } else { '-' }).collect();
        Self(Path::new(DIRECTORY).join(format!("{NAME}{alloc}")))
    }

    /// Its mount point.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Mounts a namespace, replacing any earlier mount.
    pub(super) fn persist(&self, namespace: &Path) -> io::Result<()> {
        if !is_namespace(namespace)? {
            return Err(io::Error::other(format!("{} is no namespace here", namespace.display())));
        }
        self.remove()?;
        fs::create_dir_all(DIRECTORY)?;
        File::create(&self.0)?;
        mount_bind(namespace, &self.0).map_err(Into::into)
    }

    /// The namespace's identity; `None` if there is none.
    pub(super) fn identity(&self) -> Option<NamespaceIdentity> {
        is_namespace(&self.0).ok().filter(|namespace| *namespace)?;
        identity(&self.0)
    }

    /// Removes the mount, and with it the namespace once no process is in it. It is no error if it does not exist.
    pub(super) fn remove(&self) -> io::Result<()> {
        match unmount(&self.0, UnmountFlags::DETACH) {
            Ok(()) | Err(Errno::INVAL | Errno::NOENT) => {}
            // A process that may not mount has mounted nothing.
            Err(Errno::PERM) if self.identity().is_none() => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        match fs::remove_file(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

fn is_namespace(path: &Path) -> io::Result<bool> {
    Ok(u64::try_from(statfs(path)?.f_type).is_ok_and(|kind| kind == NSFS))
}

/// The identity of the namespace at a path.
pub(super) fn identity(path: &Path) -> Option<NamespaceIdentity> {
    fs::metadata(path).ok().map(|found| (found.dev(), found.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_namespace_is_not_kept() {
        let directory = tempfile::tempdir().unwrap();
        let kept = PersistentNamespace::of(&AllocId::from("../a1"));

        assert_eq!(kept.path(), Path::new("/run/netns/longshore----a1"));
        assert!(kept.persist(directory.path()).is_err());
        assert_eq!(kept.identity(), None);
    }
}
