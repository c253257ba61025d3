//! Bind-mounts opened sources on opened targets.

use std::{
    fs::{File, Metadata},
    io,
    os::{fd::AsRawFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
};

use beneath::{Beneath, Links};
use rustix::{
    fs::{StatVfsMountFlags, fstatvfs},
    mount::{MountFlags, MountPropagationFlags, mount_bind_recursive, mount_change, mount_remount},
};

use super::Logs;

pub(super) fn is_same(one: &Metadata, other: &Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

/// The path of an opened file.
fn of(opened: &File) -> String {
    format!("/proc/self/fd/{}", opened.as_raw_fd())
}

/// Mounts a source on a name, and opens the mount.
pub(super) fn bind(source: &File, directory: &Beneath, name: &Path) -> io::Result<File> {
    mount_bind_recursive(of(source), of(&directory.find(name, Links::Refused)?))?;
    let mounted = directory.find(name, Links::Refused)?;
    if is_same(&mounted.metadata()?, &source.metadata()?) {
        Ok(mounted)
    } else {
        Err(io::Error::other("something else is there now"))
    }
}

/// Mounts each directory on the way to the logs on itself, because a mount point cannot be moved, and mounts the visible logs
/// read-only; returns the mounts on the way.
pub(super) fn close(source: &Beneath, logs: &Logs) -> io::Result<Vec<File>> {
    let mut path = PathBuf::new();
    let mut on_the_way = Vec::new();
    for name in &logs.path {
        path.push(name);
        let there = source.find(&path, Links::Refused)?;
        if path != logs.path {
            on_the_way.push(bind(&there, source, &path)?);
        } else if is_same(&there.metadata()?, &logs.found.metadata()?) {
            make_read_only(&bind(logs.shown.as_ref().unwrap_or(&logs.found), source, &path)?)?;
        } else {
            return Err(io::Error::other("the log directory has moved"));
        }
    }
    Ok(on_the_way)
}

pub(super) fn make_read_only(mounted: &File) -> io::Result<()> {
    // A remount clears flags that are not named.
    let has = fstatvfs(mounted)?.f_flag;
    let kept = [
        (StatVfsMountFlags::NOSUID, MountFlags::NOSUID),
        (StatVfsMountFlags::NODEV, MountFlags::NODEV),
        (StatVfsMountFlags::NOEXEC, MountFlags::NOEXEC),
    ];
    let kept = kept.into_iter().filter(|(flag, _)| has.contains(*flag)).map(|(_, flag)| flag);
    let flags = kept.fold(MountFlags::BIND | MountFlags::RDONLY, MountFlags::union);
    Ok(mount_remount(of(mounted), flags, "")?)
}

/// Later mounts in here do not propagate to the source.
pub(super) fn make_slave(mounted: &File) -> io::Result<()> {
    Ok(mount_change(of(mounted), MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)?)
}
