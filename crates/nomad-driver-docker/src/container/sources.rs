//! What a container is given of the host: which paths, and what the engine is handed for each.

use std::path::{Path, PathBuf};

use nomad_plugin::driver::TaskConfig;

use crate::{
    alloc_paths::on_host,
    config::{MountKind, TaskOptions},
};

/// A path that must stay beneath the allocation's directory, and the words in which it is rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPath {
    /// The path.
    pub path: PathBuf,
    /// Where it comes from.
    pub origin: Origin,
    /// The words in which it is rejected.
    pub rejection: String,
    /// Whether the container can write to it.
    pub access: Access,
}

/// What a container can do with a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It reads it.
    Read,
    /// It reads and writes it.
    Write,
}

/// Where a path comes from, and with it what may be on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nomad or the driver made it, without links.
    Allocation,
    /// A `mount` of the job.
    Mount,
    /// The job's `volumes`: texts in which a colon ends the path.
    Volume,
}

/// Paths that were looked at, each with where it leads. What is not among them is handed to the engine as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostPaths {
    /// The allocation's directory.
    pub alloc_dir: PathBuf,
    /// The task's name.
    pub task: String,
    /// Each path once.
    pub looked_at: Vec<LookedAt>,
    /// The directories beside the logs, where they are handed over apart from the one that they are all in.
    pub beside_logs: Option<Vec<PathBuf>>,
}

/// A path that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LookedAt {
    /// As it was asked for.
    pub path: HostPath,
    /// Where it leads.
    pub leads_to: PathBuf,
    /// Where it is staged.
    pub staged: Option<PathBuf>,
    /// It is the logs, or in them.
    pub is_of_logs: bool,
}

/// What the engine is handed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source<'a> {
    /// The path.
    pub path: &'a Path,
    /// It is the logs, or in them.
    pub is_of_logs: bool,
}

impl HostPaths {
    /// What the engine is handed for a path.
    pub fn source<'a>(&'a self, path: &'a Path) -> Source<'a> {
        let found = self.looked_at.iter().find(|looked_at| looked_at.path.path == path);
        found.map_or(Source { path, is_of_logs: false }, |found| Source {
            path: found.staged.as_ref().unwrap_or(&found.leads_to),
            is_of_logs: found.is_of_logs,
        })
    }

    /// Whether the paths are staged.
    pub fn are_staged(&self) -> bool {
        self.looked_at.iter().any(|looked_at| looked_at.staged.is_some())
    }

    /// The directories beside the logs, where they are mounted apart and the one that they are all in is read-only.
    pub fn beside_logs(&self) -> Option<&[PathBuf]> {
        self.beside_logs.as_deref()
    }
}

/// The paths of the host that a task mounts, which must be inside of its allocation where volumes are not enabled.
pub fn host_paths(task: &TaskConfig, options: &TaskOptions) -> Vec<HostPath> {
    let mut paths = Vec::new();
    let rejection = |what: &str| format!("volumes are not enabled; cannot mount host path: {what:?}");
    for volume in options.volumes.iter().filter(|_| options.volume_driver.is_none()) {
        let path = on_host(task, &volume.source);
        let flags = volume.mode.as_deref().unwrap_or_default();
        let access = if flags.split(',').any(|flag| flag == "ro") { Access::Read } else { Access::Write };
        paths.push(HostPath { path, origin: Origin::Volume, rejection: rejection(&volume.text), access });
    }
    for mount in &options.mounts {
        if let MountKind::Bind(_) = mount.kind {
            let path = on_host(task, &mount.source);
            let access = if mount.readonly { Access::Read } else { Access::Write };
            paths.push(HostPath { path, origin: Origin::Mount, rejection: rejection(&mount.source), access });
        }
    }
    paths
}
