//! Keeps the directory in which the host keeps logs read-only under whatever name a task mounts it.
//!
//! The host opens log files and pipes there by their names, as its own user. A task that could write there would put links
//! in their places. `$NOMAD_ALLOC_DIR/logs` is read-only; a mount of `../alloc`, or of the allocation as a whole, is
//! another name for it.

use std::path::{Path, PathBuf};

use nomad_plugin::driver::TaskConfig;

use super::{ContainerError, Request, binds};
use crate::config::{MountKind, Propagation, Volume};

/// A mount on top of a task's. The outer ones are there because what is mounted on cannot be renamed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cover {
    pub(super) source: PathBuf,
    pub(super) target: PathBuf,
    pub(super) read_only: bool,
}

/// Whether a mount of the task's is of the logs, or of something in them, and so is read-only.
pub(super) fn holds(request: &Request<'_>, source: &Path) -> bool {
    !request.plugin.volumes.enabled && source.starts_with(logs(request.task))
}

/// What goes on top of the task's mounts that have the logs in them and can be written to.
pub(super) fn covers(request: &Request<'_>) -> Result<Vec<Cover>, ContainerError> {
    let Request { task, options, plugin, files, .. } = request;
    if plugin.volumes.enabled {
        return Ok(Vec::new());
    }
    let (logs, taken) = (logs(task), targets(request));
    let mut covers = Vec::new();
    let mut cover = |source: &str, target: &str, shared: bool, entry: &str| {
        let (source, target) = (binds::on_host(task, source), binds::clean(Path::new(target)));
        let found = covers_of(&logs, files.paths.resolved(&source), &target, &taken);
        // What is mounted in a shared mount is mounted on the host as well.
        if shared && !found.is_empty() {
            let words = format!("cannot mount host path: {entry:?}: it is shared and has the logs in it");
            return Err(ContainerError(format!("volumes are not enabled; {words}")));
        }
        covers.extend(found);
        Ok(())
    };
    for Volume { text, source, target, mode } in &options.volumes {
        let has = |flags: &[&str]| mode.iter().any(|mode| mode.split(',').any(|flag| flags.contains(&flag)));
        if !has(&["ro"]) {
            cover(source, target, has(&["shared", "rshared"]), text)?;
        }
    }
    for mount in options.mounts.iter().filter(|mount| !mount.readonly) {
        if let MountKind::Bind(bind) = &mount.kind {
            let shared = matches!(bind.propagation, Some(Propagation::Shared | Propagation::RShared));
            cover(&mount.source, &mount.target, shared, &mount.source)?;
        }
    }
    Ok(covers)
}

/// A volume's mode, made read-only.
pub(super) fn read_only(mode: Option<&str>) -> String {
    let kept = mode.unwrap_or_default().split(',').filter(|flag| !matches!(*flag, "" | "rw" | "ro"));
    ["ro"].into_iter().chain(kept).collect::<Vec<_>>().join(",")
}

fn logs(task: &TaskConfig) -> PathBuf {
    let [.., logs] = binds::own_directories(task);
    binds::clean(&logs)
}

/// Where the container has mounts of the task's own or of the job's.
fn targets(request: &Request<'_>) -> Vec<PathBuf> {
    let Request { task, options, .. } = request;
    let of_env = |name: &str| task.env.get(name).map(PathBuf::from);
    let logs = of_env("NOMAD_ALLOC_DIR").map(|alloc| alloc.join("logs"));
    let own = ["NOMAD_ALLOC_DIR", "NOMAD_TASK_DIR", "NOMAD_SECRETS_DIR"].into_iter().filter_map(of_env).chain(logs);
    let volumes = options.volumes.iter().map(|volume| &volume.target);
    let mounts = options.mounts.iter().map(|mount| &mount.target);
    own.chain(volumes.chain(mounts).map(|target| binds::clean(Path::new(target)))).collect()
}

/// From the outer one to the logs themselves. What is among the `taken` targets hides what is below.
fn covers_of(logs: &Path, source: &Path, target: &Path, taken: &[PathBuf]) -> Vec<Cover> {
    let Ok(rest) = logs.strip_prefix(source) else { return Vec::new() };
    let (mut source, mut target) = (source.to_owned(), target.to_owned());
    let mut covers = Vec::new();
    for name in rest {
        source.push(name);
        target.push(name);
        if taken.contains(&target) {
            break;
        }
        covers.push(Cover { read_only: source == logs, source: source.clone(), target: target.clone() });
    }
    covers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(source: &str, taken: &[&str]) -> Vec<Cover> {
        let taken: Vec<PathBuf> = taken.iter().map(PathBuf::from).collect();
        covers_of(Path::new("/a1/alloc/logs"), Path::new(source), Path::new("/x"), &taken)
    }

    fn cover(source: &str, target: &str, read_only: bool) -> Cover {
        Cover { source: source.into(), target: target.into(), read_only }
    }

    #[test]
    fn every_mount_that_has_the_logs_in_it_is_covered() {
        assert_eq!(seen("/a1/alloc", &[]), [cover("/a1/alloc/logs", "/x/logs", true)]);
        let both = [cover("/a1/alloc", "/x/alloc", false), cover("/a1/alloc/logs", "/x/alloc/logs", true)];
        assert_eq!(seen("/a1", &[]), both);
        for without in ["/a1/alloc/logs", "/a1/alloc/data", "/a1/web/local", "/a1/alloc/logs-of-mine", "/a2"] {
            assert_eq!(seen(without, &[]), [], "{without}");
        }
    }

    #[test]
    fn what_another_mount_hides_needs_no_cover() {
        assert_eq!(seen("/a1/alloc", &["/x/logs"]), []);
        assert_eq!(seen("/a1", &["/x/alloc/logs"]), [cover("/a1/alloc", "/x/alloc", false)]);
    }

    #[test]
    fn a_mode_is_made_read_only_and_keeps_its_other_flags() {
        assert_eq!(read_only(None), "ro");
        assert_eq!(read_only(Some("rw,z")), "ro,z");
        assert_eq!(read_only(Some("ro,rshared")), "ro,rshared");
    }
}
