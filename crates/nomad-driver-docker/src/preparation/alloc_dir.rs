//! An allocation's directory, opened once for everything that is prepared there.

use std::{
    io,
    path::{Path, PathBuf},
};

use beneath::Beneath;
use nomad_plugin::driver::TaskConfig;

use crate::alloc_paths::{clean, task_dir};

/// The directory of a task's allocation.
pub(super) struct AllocDir {
    /// Its path.
    pub(super) path: PathBuf,
    /// The path of the task's own directory in it.
    pub(super) task: PathBuf,
    /// If it cannot be opened, that is the error of each use.
    opened: io::Result<Beneath>,
}

impl AllocDir {
    /// Opens the directory of a task's allocation.
    pub(super) fn open(task: &TaskConfig) -> Self {
        let path = clean(Path::new(&task.alloc_dir));
        let opened = Beneath::open(&path);
        Self { path, task: task_dir(task), opened }
    }

    /// Does something with it.
    pub(super) fn with<T>(&self, action: impl FnOnce(&Beneath) -> io::Result<T>) -> io::Result<T> {
        match &self.opened {
            Ok(directory) => action(directory),
            Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
        }
    }
}
