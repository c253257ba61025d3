//! Checks the host paths of a container before it is created, and passes them to the engine, if possible in a [`Stage`].
//!
//! Without a stage, the engine takes paths as text and follows links again when it starts the container. So the paths that it
//! gets contain no links below the allocation's directory, and a second check detects links that are swapped in meanwhile.

#[cfg(test)]
mod tests;

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use beneath::{Beneath, Links, Trace};
use nomad_plugin::driver::TaskConfig;
use rustix::fs::Mode;

use super::stage::{Logs, Shape, Stage};
use crate::{
    alloc_paths::{LOGS, clean, own_directories},
    config::{PluginConfig, TaskOptions},
    container::{
        ContainerError,
        read_only_logs::{self, Place},
        rejections::Rejections,
        sources::{Access, HostPath, HostPaths, LookedAt, Origin, host_paths},
    },
};
use logs::view;

/// The mode of a missing directory that a volume names, as the engine would create it.
const MADE: Mode = Mode::from_raw_mode(0o755);

/// How sources are passed to the engine.
#[derive(Debug)]
pub enum HandoverMode<'a> {
    /// Opened, and mounted in a stage.
    Staged(&'a mut Stage),
    /// By name. Another task can change what is below one of these paths.
    ByName(&'a [PathBuf]),
    /// By name; the operator trusts the job.
    Trusted,
}

impl HostPaths {
    /// Checks the allocation's own directories and, unless volumes are enabled, everything that the task mounts.
    pub(super) fn look(
        task: &TaskConfig,
        options: &TaskOptions,
        plugin: &PluginConfig,
        mode: &mut HandoverMode<'_>,
        rejections: &mut Rejections,
    ) -> Self {
        let alloc_dir = clean(Path::new(&task.alloc_dir));
        let mut paths = Self { alloc_dir, task: task.name.clone(), ..Self::default() };
        let chosen = if plugin.volumes.enabled { Vec::new() } else { host_paths(task, options) };
        for path in chosen.into_iter().chain(own_directories(task).iter().map(|path| Self::own(path))) {
            rejections.or_nothing(paths.add(path, mode));
        }
        if let HandoverMode::ByName(_) = mode {
            // If the allocation has none, that is already among the rejections.
            let beside_logs = paths.find_beside_logs().unwrap_or_default();
            for path in &beside_logs {
                rejections.or_nothing(paths.add(Self::own(path), mode));
            }
            paths.beside_logs = Some(beside_logs);
        }
        paths
    }

    /// Adds a file that the driver created for the task.
    pub(super) fn add_own(&mut self, path: &Path, mode: &mut HandoverMode<'_>) -> Result<(), ContainerError> {
        self.add(Self::own(path), mode)
    }

    /// Repeats the check of sources passed by name: fails if a path now leads elsewhere.
    pub fn look_again(&self) -> Result<(), ContainerError> {
        for LookedAt { path, leads_to, .. } in self.looked_at.iter().filter(|looked_at| looked_at.staged.is_none()) {
            if self.trace(path)?.path != *leads_to {
                let problem = format!("{}: it leads elsewhere since the container was made", path.rejection);
                return Err(ContainerError(problem));
            }
        }
        Ok(())
    }

    fn own(path: &Path) -> HostPath {
        let path = clean(path);
        let rejection = format!("cannot mount {}: it is not the allocation's own any more", path.display());
        HostPath { path, origin: Origin::Allocation, rejection, access: Access::Write }
    }

    fn add(&mut self, path: HostPath, mode: &mut HandoverMode<'_>) -> Result<(), ContainerError> {
        let Trace { path: leads_to, found } = self.trace(&path)?;
        self.check_owner(&path, &leads_to)?;
        let place = read_only_logs::place(&self.logs(), &leads_to);
        let is_of_logs = place == Place::Within;
        let staged = match mode {
            HandoverMode::Trusted => None,
            HandoverMode::ByName(writable) => {
                self.check_name(&path, &leads_to, &place, writable)?;
                None
            }
            // The allocation's directory contains them.
            HandoverMode::Staged(_) if is_of_logs && path.origin == Origin::Allocation => None,
            HandoverMode::Staged(stage) => {
                let found = found.map_or_else(|| self.make(stage, &path, &leads_to, &place), Ok)?;
                // A single mount on the host can be in the container at any number of places.
                let known = |known: &&LookedAt| known.leads_to == leads_to && known.path.access == path.access;
                let known = self.looked_at.iter().find(known).and_then(|known| known.staged.clone());
                let staged = known.map_or_else(|| self.stage(stage, &found, place, path.access), Ok);
                Some(staged.map_err(|error| {
                    ContainerError(format!("failed to mount {} for the container: {error}", leads_to.display()))
                })?)
            }
        };
        self.looked_at.push(LookedAt { path, leads_to, staged, is_of_logs });
        Ok(())
    }

    /// Rejects what drivers without images may have in their tasks' directories: `exec` and `java` put hard links of the host's
    /// programs and configuration there, and mount `alloc` again. They do that after such a directory and its `local` exist, so
    /// the source must already be open.
    fn check_owner(&self, path: &HostPath, leads_to: &Path) -> Result<(), ContainerError> {
        let mut below = leads_to.strip_prefix(&self.alloc_dir).unwrap_or(leads_to).iter();
        let Some(owner) = below.next().filter(|_| path.origin != Origin::Allocation) else { return Ok(()) };
        let directory = self.alloc_dir.join(owner);
        let is_tasks_own = below.next().is_some_and(|name| ["local", "secrets", "tmp"].iter().any(|own| name == *own));
        let has_no_host_files = || is_tasks_own && fs::symlink_metadata(directory.join("alloc")).is_err();
        let is_file = || fs::symlink_metadata(&directory).is_ok_and(|found| found.is_file());
        if owner == "alloc" || owner == self.task.as_str() || has_no_host_files() || is_file() {
            return Ok(());
        }
        Err(ContainerError(format!("{}: it may have files of the host in it", path.rejection)))
    }

    /// Rejects sources that another task can replace with a link, and sources that would make the logs writable.
    fn check_name(
        &self,
        path: &HostPath,
        leads_to: &Path,
        place: &Place,
        writable: &[PathBuf],
    ) -> Result<(), ContainerError> {
        let is_own = path.origin == Origin::Allocation;
        if !is_own && path.access == Access::Write && matches!(place, Place::Enclosing(_)) {
            let problem = "it has the logs in it, and is not read-only";
            return Err(ContainerError(format!("{}: {problem}", path.rejection)));
        }
        if !is_own && leads_to == self.alloc_dir {
            return Err(ContainerError(format!("{}: it has the directories of other tasks in it", path.rejection)));
        }
        let alloc = self.alloc_dir.join("alloc");
        // Earlier versions of the driver gave every task the whole directory; what is in it is checked again.
        let can_be_swapped = |above: &PathBuf| {
            leads_to.starts_with(above) && leads_to != above.as_path() && !(is_own && *above == alloc)
        };
        if writable.iter().any(can_be_swapped) {
            let problem = "a running task of the allocation can change what is there";
            return Err(ContainerError(format!("{}: {problem}", path.rejection)));
        }
        Ok(())
    }

    fn find_beside_logs(&self) -> io::Result<Vec<PathBuf>> {
        let alloc = Beneath::open(&self.alloc_dir)?.below(Path::new("alloc"))?;
        let names = alloc.names()?.into_iter().filter(|name| name != "logs");
        let mut paths: Vec<PathBuf> = names
            .filter(|name| !has_colon(Path::new(name)) && alloc.below(Path::new(name)).is_ok())
            .map(|name| alloc.path().join(name))
            .collect();
        paths.sort();
        Ok(paths)
    }

    fn logs(&self) -> PathBuf {
        self.alloc_dir.join(LOGS)
    }

    fn stage(&self, stage: &mut Stage, found: &File, place: Place, access: Access) -> io::Result<PathBuf> {
        match place {
            Place::Apart => stage.add(found, &Shape::Plain),
            Place::Within => match found.metadata()? {
                metadata if metadata.is_file() => stage.add(found, &Shape::ReadOnly),
                metadata if metadata.is_dir() => {
                    let shown = view::open(&self.alloc_dir)?;
                    stage.add(shown.as_ref().unwrap_or(found), &Shape::ReadOnly)
                }
                // A pipe accepts writes through any mount.
                _ => Err(io::Error::other("it is no log file")),
            },
            Place::Enclosing(path) => {
                let logs = Beneath::open(&self.alloc_dir)?.make_dirs(Path::new(LOGS), MADE)?;
                let shown = view::open(&self.alloc_dir)?;
                let mut logs = Logs { path, found: logs.into(), shown };
                let is_all = logs.path == Path::new(LOGS);
                if is_all {
                    logs.path = "logs".into();
                }
                let (enclosing, plain) = match access {
                    Access::Read => (Shape::ReadOnlyEnclosing(&logs), Shape::ReadOnly),
                    Access::Write => (Shape::Enclosing(&logs), Shape::Plain),
                };
                if !is_all {
                    return stage.add(found, &enclosing);
                }
                // Without the other tasks' directories.
                let all = Beneath::open(&self.alloc_dir)?;
                let opened = |name: &Path| all.below(name).map(File::from);
                let own =
                    Path::new(&self.task).file_name().ok_or_else(|| io::Error::other("the task has no directory"))?;
                let (alloc, own) = (Path::new("alloc"), Path::new(own));
                stage.add_together(&[(alloc, opened(alloc)?, enclosing), (own, opened(own)?, plain)])
            }
        }
    }

    /// Creates a missing directory where the engine would.
    fn make(&self, stage: &Stage, path: &HostPath, leads_to: &Path, place: &Place) -> Result<File, ContainerError> {
        if path.origin == Origin::Mount || *place == Place::Within {
            let problem = format!("bind source path does not exist: {}", leads_to.display());
            return Err(ContainerError(format!("invalid mount config for type \"bind\": {problem}")));
        }
        let made = Beneath::open(&self.alloc_dir).and_then(|beneath| beneath.make_dirs(leads_to, MADE));
        let made = made.map(File::from).and_then(|made| stage.own(&made).map(|()| made));
        made.map_err(|error| refused(path, &error))
    }

    fn trace(&self, path: &HostPath) -> Result<Trace, ContainerError> {
        let links = match path.origin {
            Origin::Allocation => Links::Refused,
            Origin::Mount | Origin::Volume => Links::Followed,
        };
        let trace = Beneath::open(&self.alloc_dir).and_then(|beneath| beneath.trace(&path.path, links));
        let trace = trace.and_then(|trace| match path.origin {
            // The engine would take what precedes the colon for the path.
            Origin::Volume if trace.path != path.path && has_colon(&trace.path) => {
                Err(io::Error::other("there is a colon in where it leads"))
            }
            _ => Ok(trace),
        });
        trace.map_err(|error| refused(path, &error))
    }
}

fn refused(path: &HostPath, error: &io::Error) -> ContainerError {
    tracing::warn!(path = %path.path.display(), %error, "a host path is rejected");
    ContainerError(path.rejection.clone())
}

fn has_colon(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().contains(&b':')
}
