//! Creates, replaces and removes our own files, directories and pipes beneath a directory, without following links.

use std::{
    ffi::OsStr,
    fs::File,
    hash::{BuildHasher, Hasher, RandomState},
    io::{self, Write},
    os::fd::AsRawFd,
    path::{Component, Path},
};

use rustix::{
    fs::{AtFlags, CWD, FileType, Mode, OFlags, fchmod, fstat, linkat, mkdirat, mknodat, openat, renameat, unlinkat},
    io::Errno,
};

use crate::{
    Beneath, Links, NAMED,
    opened::{open_regular, reopen},
};

/// How often a lookup is retried while others swap the entry.
const MAX_TRIES: usize = 100;

impl Beneath {
    /// Opens a regular file of ours for reading and writing, creating it if missing, without following links.
    pub fn open_own(&self, path: &Path, mode: Mode) -> io::Result<File> {
        let (parent, name) = self.parent(path)?;
        for _ in 0..MAX_TRIES {
            match openat(&parent, name, NAMED, Mode::empty()) {
                Ok(found) => return open_regular(&found.into(), OFlags::RDWR),
                Err(Errno::NOENT) => match make(&parent, name, OFlags::RDWR, mode) {
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                    opened => return opened,
                },
                Err(error) => return Err(error.into()),
            }
        }
        Err(Errno::BUSY.into())
    }

    /// Creates a file of ours. It is an error if the name exists, whatever it is.
    pub fn create_new(&self, path: &Path, mode: Mode) -> io::Result<File> {
        let (parent, name) = self.parent(path)?;
        make(&parent, name, OFlags::WRONLY, mode)
    }

    /// Creates a file of ours, replacing whatever has its name.
    pub fn replace(&self, path: &Path, mode: Mode) -> io::Result<File> {
        let (parent, name) = self.parent(path)?;
        match unlinkat(&parent, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => self.create_new(path, mode),
            Err(error) => Err(error.into()),
        }
    }

    /// Replaces whatever has the name, except a directory, with a whole file. Readers see either the old content or the new.
    pub fn write(&self, path: &Path, content: &[u8], mode: Mode) -> io::Result<()> {
        let (parent, name) = self.parent(path)?;
        // A name that nobody can predict, so nothing can be planted there.
        let fresh = format!(".{:016x}.new", RandomState::new().build_hasher().finish());
        let mut file = make(&parent, OsStr::new(&fresh), OFlags::WRONLY, Mode::RUSR | Mode::WUSR)?;
        let written = file.write_all(content).and_then(|()| {
            // The mode must not depend on the umask.
            fchmod(&file, mode)?;
            Ok(renameat(&parent, &fresh, &parent, name)?)
        });
        if written.is_err() {
            let _absent_already = unlinkat(&parent, &fresh, AtFlags::empty());
        }
        written
    }

    /// Creates the missing directories of a path with this mode, without following links.
    pub fn make_dirs(&self, path: &Path, mode: Mode) -> io::Result<Self> {
        let mut reached = Self { path: self.path.clone(), directory: self.directory.try_clone()? };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        for part in self.relative(path)?.components() {
            let name = match part {
                Component::Normal(name) => name,
                Component::CurDir => continue,
                Component::ParentDir | Component::RootDir | Component::Prefix(_) => return Err(self.leads_out()),
            };
            let is_new = match mkdirat(&reached.directory, name, mode) {
                Ok(()) => true,
                Err(Errno::EXIST) => false,
                Err(error) => return Err(error.into()),
            };
            let directory = openat(&reached.directory, name, flags, Mode::empty()).map_err(|error| match error {
                Errno::NOTDIR | Errno::LOOP => {
                    let place = reached.path.join(name);
                    io::Error::new(io::ErrorKind::NotADirectory, format!("{} is no directory", place.display()))
                }
                error => error.into(),
            })?;
            if is_new {
                // The mode must not depend on the umask.
                fchmod(&directory, mode)?;
            }
            reached = Self { path: reached.path.join(name), directory };
        }
        Ok(reached)
    }

    /// Opens the pipe of a name with these flags. Anything else of that name, except a directory, is replaced with a new pipe.
    pub fn pipe(&self, path: &Path, mode: Mode, flags: OFlags) -> io::Result<File> {
        let (parent, name) = self.parent(path)?;
        for _ in 0..MAX_TRIES {
            match openat(&parent, name, NAMED, Mode::empty()) {
                Ok(found) if FileType::from_raw_mode(fstat(&found)?.st_mode) == FileType::Fifo => {
                    return reopen(&found.into(), flags);
                }
                Ok(_) => unlinkat(&parent, name, AtFlags::empty())?,
                Err(Errno::NOENT) => match mknodat(&parent, name, FileType::Fifo, mode, 0) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(error) => return Err(error.into()),
                },
                Err(error) => return Err(error.into()),
            }
        }
        Err(Errno::BUSY.into())
    }

    /// Removes a file, or the link itself.
    pub fn remove(&self, path: &Path) -> io::Result<()> {
        let (parent, name) = self.parent(path)?;
        Ok(unlinkat(&parent, name, AtFlags::empty())?)
    }

    /// Removes an empty directory.
    pub fn remove_dir(&self, path: &Path) -> io::Result<()> {
        let (parent, name) = self.parent(path)?;
        Ok(unlinkat(&parent, name, AtFlags::REMOVEDIR)?)
    }

    /// Links what was found into this directory under another name, which must be a single component and unused.
    pub fn link(&self, found: &File, name: &OsStr) -> io::Result<()> {
        let path = format!("/proc/self/fd/{}", found.as_raw_fd());
        Ok(linkat(CWD, path, &self.directory, name, AtFlags::SYMLINK_FOLLOW)?)
    }

    /// The parent directory of a file of ours, and its name there.
    fn parent<'a>(&self, path: &'a Path) -> io::Result<(File, &'a OsStr)> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(Errno::ISDIR.into());
        };
        Ok((self.find(parent, Links::Refused)?, name))
    }
}

/// Creates a file that does not exist yet.
fn make(parent: &File, name: &OsStr, flags: OFlags, mode: Mode) -> io::Result<File> {
    let flags = flags | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(parent, name, flags, mode)?.into())
}
