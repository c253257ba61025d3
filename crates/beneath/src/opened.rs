//! Reopens what a lookup found, not whatever its path names by now.

use std::{fs::File, io, os::fd::AsRawFd, path::Path};

use rustix::{
    fs::{Mode, OFlags, open},
    io::Errno,
};

use crate::{Links, NAMED};

/// A handle to what a path names, anywhere. Links before the last part are trusted.
pub fn find_anywhere(path: &Path, links: Links) -> io::Result<File> {
    let flags = if links == Links::Followed { NAMED.difference(OFlags::NOFOLLOW) } else { NAMED };
    let found = File::from(open(path, flags, Mode::empty())?);
    if found.metadata()?.is_symlink() { Err(Errno::LOOP.into()) } else { Ok(found) }
}

/// Opens what was found for reading, if it is a regular file.
pub fn read_regular(found: &File) -> io::Result<File> {
    open_regular(found, OFlags::RDONLY)
}

pub(crate) fn open_regular(found: &File, flags: OFlags) -> io::Result<File> {
    if found.metadata()?.is_file() { reopen(found, flags) } else { Err(io::Error::other("it is no regular file")) }
}

/// Reopens what was found, not whatever its path names by now.
pub fn reopen(found: &File, flags: OFlags) -> io::Result<File> {
    let path = format!("/proc/self/fd/{}", found.as_raw_fd());
    Ok(open(path, flags | OFlags::CLOEXEC, Mode::empty())?.into())
}
