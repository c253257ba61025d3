//! Resolves paths chosen by others beneath a directory and never outside it, even if entries are swapped meanwhile.
//!
//! Each part is opened from the descriptor of the one before, so what was checked is what is used, on every kernel. The rules
//! are those of Go's `os.Root`, which Nomad's users know. A symbolic link is followed if it leads no further up. An absolute link
//! escapes, and so does a `..` at the top.
//!
//! `cap-std` has much of this, but not all. It can refuse a link only in the last part of a path and follows those before it.
//! It resolves only paths that exist, and it creates no pipes. Combining it with a walk of our own would let two sets of rules
//! decide where one path leads.

mod opened;
mod own_files;
#[cfg(test)]
mod tests;
mod walk;

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io,
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{Dir, Mode, OFlags, open, openat},
    io::Errno,
};

pub use opened::{find_anywhere, read_regular, reopen};
use walk::Place;

/// A handle only: it reads and writes nothing, and opens no device.
const NAMED: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// How symbolic links on the way are treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Links {
    /// Links are followed as long as they stay beneath.
    Followed,
    /// Links are refused: somebody replaced a file that was created without one.
    Refused,
}

/// A directory that paths may not escape.
#[derive(Debug)]
pub struct Beneath {
    path: PathBuf,
    directory: OwnedFd,
}

/// Where a path led.
#[derive(Debug)]
pub struct Trace {
    /// The path without links. If it does not exist, where it would be created.
    pub path: PathBuf,
    /// A handle to what is there, if anything.
    pub found: Option<File>,
}

impl Beneath {
    /// Opens a directory, which must exist. Its own path is trusted.
    pub fn open(path: &Path) -> io::Result<Self> {
        let directory = open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self { path: path.to_owned(), directory })
    }

    /// The directory's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A directory beneath, reached without links.
    pub fn below(&self, path: &Path) -> io::Result<Self> {
        let found = self.find(path, Links::Refused)?;
        if !found.metadata()?.is_dir() {
            return Err(Errno::NOTDIR.into());
        }
        Ok(Self { path: self.path.join(self.relative(path)?), directory: found.into() })
    }

    /// The path without links that `path` resolves to, and what is there, from a single walk.
    pub fn trace(&self, path: &Path, links: Links) -> io::Result<Trace> {
        let Place { mut parts, missing } = self.walk(self.relative(path)?, links)?;
        let names = parts.iter().map(|(name, _)| name).chain(&missing);
        let path = names.fold(self.path.clone(), |resolved, name| resolved.join(name));
        let found = match parts.pop() {
            _ if !missing.is_empty() => None,
            Some((_, found)) => Some(found.into()),
            None => Some(self.directory.try_clone()?.into()),
        };
        Ok(Trace { path, found })
    }

    /// The path without links that `path` resolves to. If it does not exist, where it would be created.
    pub fn resolve(&self, path: &Path, links: Links) -> io::Result<PathBuf> {
        Ok(self.trace(path, links)?.path)
    }

    /// A handle to what is there, to be inspected before it is opened with [`reopen`].
    pub fn find(&self, path: &Path, links: Links) -> io::Result<File> {
        self.trace(path, links)?.found.ok_or_else(|| Errno::NOENT.into())
    }

    /// Opens a regular file for reading.
    pub fn read(&self, path: &Path, links: Links) -> io::Result<File> {
        read_regular(&self.find(path, links)?)
    }

    /// The names of the directory's entries, unordered.
    pub fn names(&self) -> io::Result<Vec<OsString>> {
        self.names_up_to(usize::MAX)
    }

    /// Like [`names`](Self::names), for a directory where others may create any number of entries: more than `most` are an
    /// error.
    pub fn names_up_to(&self, most: usize) -> io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        for entry in Dir::new(openat(&self.directory, ".", flags, Mode::empty())?)? {
            let name = OsStr::from_bytes(entry?.file_name().to_bytes()).to_owned();
            names.extend(Some(name).filter(|name| name != "." && name != ".."));
            if names.len() > most {
                return Err(io::Error::other(format!("it has more than {most} entries")));
            }
        }
        Ok(names)
    }

    fn relative<'a>(&self, path: &'a Path) -> io::Result<&'a Path> {
        if path.is_relative() {
            return Ok(path);
        }
        path.strip_prefix(&self.path).map_err(|_| self.leads_out())
    }

    fn leads_out(&self) -> io::Error {
        io::Error::new(io::ErrorKind::PermissionDenied, format!("it leads out of {}", self.path.display()))
    }
}

impl From<Beneath> for File {
    fn from(beneath: Beneath) -> Self {
        beneath.directory.into()
    }
}
