//! Resolves a path part by part.

use std::{
    ffi::OsString,
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStringExt,
    },
    path::{Component, Path},
};

use rustix::{
    fs::{FileType, Mode, fstat, openat, readlinkat},
    io::Errno,
};

use crate::{Beneath, Links, NAMED};

/// The maximum number of symbolic links in a path, as in the kernel.
const MAX_LINKS: usize = 40;

/// Where a path leads.
pub(crate) struct Place {
    /// The directories and the last part, each with its name.
    pub(crate) parts: Vec<(OsString, OwnedFd)>,
    /// The trailing names that do not exist.
    pub(crate) missing: Vec<OsString>,
}

impl Beneath {
    pub(crate) fn walk(&self, path: &Path, links: Links) -> io::Result<Place> {
        let mut place = Place { parts: Vec::new(), missing: Vec::new() };
        let mut todo: Vec<OsString> = components(path);
        let mut followed = 0;
        while let Some(name) = todo.pop() {
            match Path::new(&name).components().next() {
                Some(Component::Normal(_)) => {}
                Some(Component::ParentDir) if !place.missing.is_empty() => return Err(Errno::NOENT.into()),
                Some(Component::ParentDir) => {
                    place.parts.pop().ok_or_else(|| self.leads_out())?;
                    continue;
                }
                Some(Component::RootDir | Component::Prefix(_)) => return Err(self.leads_out()),
                Some(Component::CurDir) | None => continue,
            }
            if !place.missing.is_empty() {
                place.missing.push(name);
                continue;
            }
            let found = match openat(self.last(&place), &name, NAMED, Mode::empty()) {
                Ok(found) => found,
                Err(Errno::NOENT) => {
                    place.missing.push(name);
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            if FileType::from_raw_mode(fstat(&found)?.st_mode) != FileType::Symlink {
                place.parts.push((name, found));
                continue;
            }
            followed += 1;
            if links == Links::Refused || followed > MAX_LINKS {
                return Err(Errno::LOOP.into());
            }
            let target = readlinkat(&found, "", Vec::new())?;
            todo.extend(components(Path::new(&OsString::from_vec(target.into_bytes()))));
        }
        Ok(place)
    }

    fn last<'a>(&'a self, place: &'a Place) -> BorrowedFd<'a> {
        place.parts.last().map_or(self.directory.as_fd(), |(_, found)| found.as_fd())
    }
}

/// A path's parts, in reverse order.
fn components(path: &Path) -> Vec<OsString> {
    path.components().rev().map(|part| part.as_os_str().to_owned()).collect()
}
