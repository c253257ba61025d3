//! Files, directories and pipes of ours beneath a directory: made, replaced and removed without a link on the way.

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

/// How often something is looked for again that others swap meanwhile.
const MAX_TRIES: usize = 100;

impl Beneath {
    /// Opens a regular file of ours for reading and writing, made where it is missing, without a link on the way.
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

    /// Makes a file of ours; one that is there already, whatever it is, is an error.
    pub fn create_new(&self, path: &Path, mode: Mode) -> io::Result<File> {
        let (parent, name) = self.parent(path)?;
        make(&parent, name, OFlags::WRONLY, mode)
    }

    /// Makes a file of ours in the place of whatever has its name.
    pub fn replace(&self, path: &Path, mode: Mode) -> io::Result<File> {
        let (parent, name) = self.parent(path)?;
        match unlinkat(&parent, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => self.create_new(path, mode),
            Err(error) => Err(error.into()),
        }
    }

    /// Puts a whole file of ours in the place of whatever has its name, but for a directory: the old content is there, or
    /// the new one.
    pub fn write(&self, path: &Path, content: &[u8], mode: Mode) -> io::Result<()> {
        let (parent, name) = self.parent(path)?;
        // A name that nobody can have put something at.
        let fresh = format!(".{:016x}.new", RandomState::new().build_hasher().finish());
        let mut file = make(&parent, OsStr::new(&fresh), OFlags::WRONLY, Mode::RUSR | Mode::WUSR)?;
        let written = file.write_all(content).and_then(|()| {
            // The process's umask does not count here.
            fchmod(&file, mode)?;
            Ok(renameat(&parent, &fresh, &parent, name)?)
        });
        if written.is_err() {
            let _absent_already = unlinkat(&parent, &fresh, AtFlags::empty());
        }
        written
    }

    /// Makes the directories of a path that are missing, with this mode, without a link on the way.
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
                // The process's umask does not count here.
                fchmod(&directory, mode)?;
            }
            reached = Self { path: reached.path.join(name), directory };
        }
        Ok(reached)
    }

    /// The pipe of a name, opened with these flags; made in the place of whatever else has the name, but for a directory.
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

    /// Removes a file, or a link itself.
    pub fn remove(&self, path: &Path) -> io::Result<()> {
        let (parent, name) = self.parent(path)?;
        Ok(unlinkat(&parent, name, AtFlags::empty())?)
    }

    /// Removes an empty directory.
    pub fn remove_dir(&self, path: &Path) -> io::Result<()> {
        let (parent, name) = self.parent(path)?;
        Ok(unlinkat(&parent, name, AtFlags::REMOVEDIR)?)
    }

    /// Gives what was found another name, in this directory: a name alone, which nothing has yet.
    pub fn link(&self, found: &File, name: &OsStr) -> io::Result<()> {
        let path = format!("/proc/self/fd/{}", found.as_raw_fd());
        Ok(linkat(CWD, path, &self.directory, name, AtFlags::SYMLINK_FOLLOW)?)
    }

    /// The directory of a file of ours, and the file's name in it.
    fn parent<'a>(&self, path: &'a Path) -> io::Result<(File, &'a OsStr)> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(Errno::ISDIR.into());
        };
        Ok((self.find(parent, Links::Refused)?, name))
    }
}

/// Makes a file that is not there yet.
fn make(parent: &File, name: &OsStr, flags: OFlags, mode: Mode) -> io::Result<File> {
    let flags = flags | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(parent, name, flags, mode)?.into())
}
