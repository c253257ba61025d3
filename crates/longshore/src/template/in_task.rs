//! A path as a task names it, and where that is in its allocation.

use std::{
    io,
    path::{Component, Path, PathBuf},
};

use beneath::Beneath;
use rustix::fs::Mode;

use crate::alloc::{
    dir::SHARED,
    environment::{ALLOC_DIR, SECRETS_DIR, TASK_DIR},
};

/// A path as the task sees it.
pub(super) struct InTask {
    /// The directory that it may not lead out of, beneath the allocation's.
    pub(super) bound: PathBuf,
    /// The rest.
    pub(super) path: PathBuf,
}

impl InTask {
    /// `None` where the path leads outside.
    pub(super) fn new(task: &str, path: &str) -> Option<Self> {
        let under =
            |directory: &str| path.strip_prefix(directory).filter(|rest| rest.is_empty() || rest.starts_with('/'));
        let task = Path::new(task);
        let (bound, below, rest) = if let Some(rest) = under(ALLOC_DIR) {
            (Path::new(SHARED), "", rest)
        } else if let Some(rest) = under(TASK_DIR) {
            (task, "local", rest)
        } else if let Some(rest) = under(SECRETS_DIR) {
            (task, "secrets", rest)
        } else if path.starts_with('/') {
            return None;
        } else {
            (task, "", path)
        };
        let rest = Path::new(rest.trim_start_matches('/'));
        let plain = rest.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        plain.then(|| Self { bound: bound.to_owned(), path: Path::new(below).join(rest) })
    }

    /// Writes a file. Nothing is followed on the way: the task, or another one of its group, may have put links there.
    pub(super) fn write(&self, alloc: &Beneath, text: &str, mode: Mode) -> io::Result<()> {
        let (Some(parent), Some(name)) = (self.path.parent(), self.path.file_name()) else {
            return Err(io::ErrorKind::IsADirectory.into());
        };
        let bound = alloc.below(&self.bound)?;
        let parent = bound.make_dirs(parent, Mode::from_raw_mode(0o755))?;
        parent.write(Path::new(name), text.as_bytes(), mode)
    }
}
