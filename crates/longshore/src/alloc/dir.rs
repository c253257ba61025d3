//! The allocation's directories, with Nomad's modes.
//!
//! ```text
//! <alloc id>/alloc/{data,logs,tmp}            0777, shared by the group's tasks
//! <alloc id>/<task>/{local,tmp}               0777
//! <alloc id>/<task>/secrets                   0777: the container's user need not be root
//! ```

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// Where an allocation's files are.
#[derive(Clone, Debug)]
pub(crate) struct AllocDir(PathBuf);

impl AllocDir {
    /// The directory of an allocation.
    pub(crate) fn new(data_dir: &Path, alloc_id: &str) -> Self {
        Self(data_dir.join("alloc").join(alloc_id))
    }

    /// Makes what is missing of it.
    pub(crate) fn make(&self, tasks: &[String]) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o755).create(&self.0)?;
        for shared in ["", "data", "logs", "tmp"] {
            make(&self.0.join("alloc").join(shared), 0o777)?;
        }
        for task in tasks {
            make(&self.task(task), 0o777)?;
            for own in ["local", "secrets", "tmp"] {
                make(&self.task(task).join(own), 0o777)?;
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

    /// The whole.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// A task's own.
    pub(crate) fn task(&self, task: &str) -> PathBuf {
        self.0.join(task)
    }

    /// Where log files are.
    pub(crate) fn logs(&self) -> PathBuf {
        self.0.join("alloc/logs")
    }
}

fn make(path: &Path, mode: u32) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    // The process's umask does not count here.
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}
