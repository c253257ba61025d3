//! Files that a running task has mounted and that were lost on the host: written again as the task still sees them.

use std::{
    fs,
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use beneath::{Beneath, Links};
use nomad_plugin::driver::TaskConfig;

use crate::{
    container::files::READABLE,
    engine::model::{ContainerInspectResponse, MountPoint},
};

const WRITTEN: [&str; 2] = ["/etc/hosts", "/etc/resolv.conf"];

/// More than such a file has.
const MAX_BYTES: u64 = 1 << 20;

/// Writes those files of an allocation again that are missing. A task that does not run gets them when it starts.
pub(super) fn restore(task: &TaskConfig, inspected: &ContainerInspectResponse) {
    let Some(pid) = inspected.state.as_ref().and_then(|state| state.pid).filter(|pid| *pid > 0) else { return };
    let root = PathBuf::from(format!("/proc/{pid}/root"));
    for mount in inspected.mounts.iter().flatten() {
        let Some((inside, path)) = missing(task, mount) else { continue };
        match copy(&root, inside, Path::new(&task.alloc_dir), path) {
            Ok(()) => tracing::info!(path = %path.display(), "wrote a lost file again"),
            Err(error) => tracing::warn!(path = %path.display(), %error, "a lost file cannot be written again"),
        }
    }
}

/// Where a task sees a file that is the driver's to write and that the host has not any more, and where that was.
fn missing<'a>(task: &TaskConfig, mount: &'a MountPoint) -> Option<(&'static str, &'a Path)> {
    let inside = WRITTEN.into_iter().find(|inside| mount.destination.as_deref() == Some(inside))?;
    let path = Path::new(mount.source.as_deref()?);
    let is_ours = !task.alloc_dir.is_empty() && path.starts_with(&task.alloc_dir);
    let gone = || fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
    (is_ours && gone()).then_some((inside, path))
}

fn copy(root: &Path, inside: &str, alloc_dir: &Path, path: &Path) -> io::Result<()> {
    let mut content = Vec::new();
    let seen = Beneath::open(root)?.read(Path::new(inside.trim_start_matches('/')), Links::Refused)?;
    seen.take(MAX_BYTES).read_to_end(&mut content)?;
    Beneath::open(alloc_dir)?.create_new(path, READABLE)?.write_all(&content)
}
