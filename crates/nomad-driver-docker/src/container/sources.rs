//! The host paths of a container, and the source that the engine gets for each.

use std::path::{Path, PathBuf};

use nomad_plugin::driver::TaskConfig;

use crate::{
    alloc_paths::on_host,
    config::{MountKind, TaskOptions},
};

/// A path that must be beneath the allocation's directory, and the error if it is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPath {
    /// The path.
    pub path: PathBuf,
    /// Its origin.
    pub origin: Origin,
    /// The error message of its rejection.
    pub rejection: String,
    /// Whether the container can write to it.
    pub access: Access,
}

/// A container's access to a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Read-only.
    Read,
    /// Read and write.
    Write,
}

/// The origin of a path, which determines whether links on it are possible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Created by Nomad or the driver, without links.
    Allocation,
    /// A `mount` of the job.
    Mount,
    /// The job's `volumes`: texts in which a colon ends the path.
    Volume,
}

/// The checked paths, with where each leads. Other paths are passed to the engine unchanged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostPaths {
    /// The allocation's directory.
    pub alloc_dir: PathBuf,
    /// The task's name.
    pub task: String,
    /// Each path once.
    pub looked_at: Vec<LookedAt>,
    /// The directories next to the logs, if they are mounted separately from their parent.
    pub beside_logs: Option<Vec<PathBuf>>,
}

/// A checked path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LookedAt {
    /// The requested path.
    pub path: HostPath,
    /// Where it leads.
    pub leads_to: PathBuf,
    /// Where it is staged.
    pub staged: Option<PathBuf>,
    /// Whether it is the logs directory, or inside it.
    pub is_of_logs: bool,
}

/// The source that the engine gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source<'a> {
    /// The path.
    pub path: &'a Path,
    /// Whether it is the logs directory, or inside it.
    pub is_of_logs: bool,
}

impl HostPaths {
    /// The source that the engine gets for a path.
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

    /// The directories next to the logs, if they are mounted separately and their parent is read-only.
    pub fn beside_logs(&self) -> Option<&[PathBuf]> {
        self.beside_logs.as_deref()
    }
}

/// The host paths that a task mounts. They must be inside its allocation unless volumes are enabled.
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
