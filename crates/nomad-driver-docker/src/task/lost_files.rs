//! Restores host files that a running task has mounted and that were lost on the host, with the content that the task still
//! sees.

use std::{
    fs,
    io::{self, Read, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use beneath::{Beneath, Links};
use nomad_plugin::driver::TaskConfig;

use crate::host::cgroup;
use crate::{
    alloc_paths::{hosts_path, resolv_conf_path, task_dir},
    preparation::READABLE,
    preparation::stage::Staged,
};
use background::apart;
use engine::{Inspected, MountPoint};

/// The time limit for reading and writing a file.
const PATIENCE: Duration = Duration::from_secs(5);

/// More than such a file has.
const MAX_BYTES: u64 = 1 << 20;

/// Restores the missing files of an allocation. A task that is not running gets them when it starts. A task that has them from
/// a stage keeps them; they are written for the other tasks.
pub(super) async fn restore(task: &TaskConfig, inspected: &Inspected, stage: Option<&Staged>) {
    // What another process sees does not belong to this task.
    let is_its = |pid: &i64| cgroup::is_in(&inspected.id, *pid);
    let Some(pid) = inspected.pid().filter(is_its) else { return };
    let root = PathBuf::from(format!("/proc/{pid}/root"));
    for mount in &inspected.mounts {
        let Some((inside, path)) = ours(task, mount, stage) else { continue };
        let (root, alloc_dir, to) = (root.clone(), PathBuf::from(&task.alloc_dir), path.clone());
        // The task's file of that name may be on any file system.
        match apart(PATIENCE, move || copy_missing(&root, inside, &alloc_dir, &to)).await {
            Ok(true) => tracing::info!(path = %path.display(), "restored a lost file"),
            Ok(false) => {}
            Err(error) => tracing::warn!(path = %path.display(), %error, "failed to restore a lost file"),
        }
    }
}

/// The path at which a task sees a file that the driver writes, and its path on the host.
fn ours(task: &TaskConfig, mount: &MountPoint, stage: Option<&Staged>) -> Option<(&'static str, PathBuf)> {
    let written =
        [("/etc/hosts", hosts_path(task.alloc_dir.as_ref())), ("/etc/resolv.conf", resolv_conf_path(&task_dir(task)))];
    let (inside, written) = written.into_iter().find(|(inside, _)| mount.destination == *inside)?;
    let source = mount.source.as_deref()?;
    let path = if stage.is_some_and(|stage| stage.has(source)) { written } else { source.to_owned() };
    (!task.alloc_dir.is_empty() && path.starts_with(&task.alloc_dir)).then_some((inside, path))
}

/// Copies it if it is missing on the host; returns whether it did.
fn copy_missing(root: &Path, inside: &str, alloc_dir: &Path, path: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => copy(root, inside, alloc_dir, path).map(|()| true),
        there => there.map(|_| false),
    }
}

fn copy(root: &Path, inside: &str, alloc_dir: &Path, path: &Path) -> io::Result<()> {
    let mut content = Vec::new();
    let seen = Beneath::open(root)?.read(Path::new(inside.trim_start_matches('/')), Links::Refused)?;
    seen.take(MAX_BYTES).read_to_end(&mut content)?;
    Beneath::open(alloc_dir)?.create_new(path, READABLE)?.write_all(&content)
}
