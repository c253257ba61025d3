//! The allocation's directories.
//!
//! ```text
//! <data dir>/alloc                        0711
//! <alloc id>                              0700
//! <alloc id>/alloc/{data,logs,tmp}        0777, shared by the group's tasks
//! <alloc id>/<task>/{local,secrets,tmp}   0777
//! ```
//!
//! A task's user may be a name that only its image knows, or several users. So those directories are open, and the one
//! above them is closed to every other user of this machine: the engine mounts them into the containers as root. Tasks
//! plant links in them, so all that is below the allocation's directory is reached through [`AllocDir::open`].

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use beneath::Beneath;
use rustix::fs::Mode;

/// Of what the group's tasks share.
pub(crate) const SHARED: &str = "alloc";

const OPEN: Mode = Mode::from_raw_mode(0o777);

/// Where an allocation's files are.
#[derive(Clone, Debug)]
pub(crate) struct AllocDir(PathBuf);

impl AllocDir {
    /// The directory of an allocation.
    pub(crate) fn new(data_dir: &Path, alloc_id: &str) -> Self {
        Self(all(data_dir).join(alloc_id))
    }

    /// Makes what is missing of it.
    pub(crate) fn make(&self, tasks: &[String]) -> io::Result<()> {
        if let Some(all) = self.0.parent() {
            make(all, 0o711)?;
        }
        make(&self.0, 0o700)?;
        let alloc = self.open()?;
        for shared in ["data", "logs", "tmp"] {
            alloc.make_dirs(&Path::new(SHARED).join(shared), OPEN)?;
        }
        for task in tasks {
            for own in ["local", "secrets", "tmp"] {
                alloc.make_dirs(&Path::new(task).join(own), OPEN)?;
            }
        }
        Ok(())
    }

    /// Removes all of it.
    pub(crate) fn remove(&self) -> io::Result<()> {
        match fs::remove_dir_all(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// The whole, as a bound of what is read and written in it.
    pub(crate) fn open(&self) -> io::Result<Beneath> {
        Beneath::open(&self.0)
    }

    /// Where log files are.
    pub(crate) fn open_logs(&self) -> io::Result<Beneath> {
        self.open()?.below(&self.logs())
    }

    /// The whole.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Where log files are.
    pub(crate) fn logs(&self) -> PathBuf {
        self.0.join(SHARED).join("logs")
    }
}

/// Closes the directories of allocations that an earlier version left open to every user of this machine.
pub(crate) fn close(data_dir: &Path) -> io::Result<()> {
    let all = all(data_dir);
    let entries = match fs::read_dir(&all) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        if !entry.file_type()?.is_dir() {
            continue;
        }
        match set_mode(&entry.path(), 0o700) {
            // Its job was purged meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            closed => closed?,
        }
    }
    set_mode(&all, 0o711)
}

fn all(data_dir: &Path) -> PathBuf {
    data_dir.join("alloc")
}

/// Makes a directory whose parent is closed to tasks and other users.
pub(crate) fn make(path: &Path, mode: u32) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    // The process's umask does not count here.
    set_mode(path, mode)
}

fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    if fs::metadata(path)?.permissions().mode() & 0o7777 == mode {
        return Ok(());
    }
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}
