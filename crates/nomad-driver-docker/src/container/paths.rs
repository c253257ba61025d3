//! The host's paths that a container is given: looked at before it is made, and handed to the engine as a [`Stage`]'s.
//!
//! Where there is no stage the engine takes paths as text and follows links once more when it starts the container. So it
//! is handed paths that have no links below the allocation's directory, and who swaps one in meanwhile is found out by a
//! second look.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

use beneath::{Beneath, Links, Trace};
use nomad_plugin::driver::TaskConfig;
use rustix::fs::Mode;

use super::{
    ContainerError, binds,
    log_guard::{self, Place},
    refusals::Refusals,
};
use crate::{
    config::{PluginConfig, TaskOptions},
    stage::{Logs, Shape, Stage},
};

/// The mode of a directory that a volume names and that is not there, as the engine makes it.
const MADE: Mode = Mode::from_raw_mode(0o755);

/// A path that must stay beneath the allocation's directory, and the words in which it is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HostPath {
    pub(super) path: PathBuf,
    pub(super) origin: Origin,
    pub(super) refusal: String,
}

/// Where a path comes from, and with it what may be on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
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
    alloc_dir: PathBuf,
    looked_at: Vec<LookedAt>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct LookedAt {
    path: HostPath,
    leads_to: PathBuf,
    /// Where it is staged.
    staged: Option<PathBuf>,
    is_of_logs: bool,
}

/// What the engine is handed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Source<'a> {
    pub(super) path: &'a Path,
    /// It is the logs, or in them.
    pub(super) is_of_logs: bool,
}

impl HostPaths {
    /// Looks at the allocation's own directories, and where volumes are not enabled at all that the task mounts.
    pub(super) fn look(
        task: &TaskConfig,
        options: &TaskOptions,
        plugin: &PluginConfig,
        mut stage: Option<&mut Stage>,
        refusals: &mut Refusals,
    ) -> Self {
        let mut paths = Self { alloc_dir: binds::clean(Path::new(&task.alloc_dir)), looked_at: Vec::new() };
        let chosen = if plugin.volumes.enabled { Vec::new() } else { binds::host_paths(task, options) };
        for path in chosen.into_iter().chain(binds::own_directories(task).iter().map(|path| Self::own(path))) {
            refusals.or_nothing(paths.add(path, stage.as_deref_mut()));
        }
        paths
    }

    /// Adds a file that the driver made for the task.
    pub(super) fn add_own(&mut self, path: &Path, stage: Option<&mut Stage>) -> Result<(), ContainerError> {
        self.add(Self::own(path), stage)
    }

    /// What the engine is handed for a path.
    pub(super) fn source<'a>(&'a self, path: &'a Path) -> Source<'a> {
        let found = self.looked_at.iter().find(|looked_at| looked_at.path.path == path);
        found.map_or(Source { path, is_of_logs: false }, |found| Source {
            path: found.staged.as_ref().unwrap_or(&found.leads_to),
            is_of_logs: found.is_of_logs,
        })
    }

    /// Whether the paths are staged.
    pub(super) fn are_staged(&self) -> bool {
        self.looked_at.iter().any(|looked_at| looked_at.staged.is_some())
    }

    /// Looks a second time at what is handed over by its name: fails where a path leads elsewhere by now.
    pub fn look_again(&self) -> Result<(), ContainerError> {
        for LookedAt { path, leads_to, .. } in self.looked_at.iter().filter(|looked_at| looked_at.staged.is_none()) {
            if self.trace(path)?.path != *leads_to {
                let problem = format!("{}: it leads elsewhere since the container was made", path.refusal);
                return Err(ContainerError(problem));
            }
        }
        Ok(())
    }

    fn own(path: &Path) -> HostPath {
        let path = binds::clean(path);
        let refusal = format!("cannot mount {}: it is not the allocation's own any more", path.display());
        HostPath { path, origin: Origin::Allocation, refusal }
    }

    fn add(&mut self, path: HostPath, stage: Option<&mut Stage>) -> Result<(), ContainerError> {
        let Trace { path: leads_to, found } = self.trace(&path)?;
        let place = log_guard::place(&self.logs(), &leads_to);
        let is_of_logs = place == Place::Within;
        let staged = match stage {
            None => None,
            // The allocation's directory has them in it.
            Some(_) if is_of_logs && path.origin == Origin::Allocation => None,
            Some(stage) => {
                let found = found.map_or_else(|| self.make(&path, &leads_to, &place), Ok)?;
                let staged = self.stage(stage, &found, place);
                Some(staged.map_err(|error| {
                    ContainerError(format!("failed to mount {} for the container: {error}", leads_to.display()))
                })?)
            }
        };
        self.looked_at.push(LookedAt { path, leads_to, staged, is_of_logs });
        Ok(())
    }

    fn logs(&self) -> PathBuf {
        self.alloc_dir.join(binds::LOGS)
    }

    fn stage(&self, stage: &mut Stage, found: &File, place: Place) -> io::Result<PathBuf> {
        match place {
            Place::Apart => stage.add(found, &Shape::Plain),
            Place::Within => stage.add(found, &Shape::ReadOnly),
            Place::Around(path) => {
                let logs = Beneath::open(&self.alloc_dir)?.make_dirs(Path::new(binds::LOGS), MADE)?;
                stage.add(found, &Shape::Around(&Logs { path, found: logs.into() }))
            }
        }
    }

    /// Makes a directory that is not there, where the engine would.
    fn make(&self, path: &HostPath, leads_to: &Path, place: &Place) -> Result<File, ContainerError> {
        if path.origin == Origin::Mount || *place == Place::Within {
            let problem = format!("bind source path does not exist: {}", leads_to.display());
            return Err(ContainerError(format!("invalid mount config for type \"bind\": {problem}")));
        }
        let made = Beneath::open(&self.alloc_dir).and_then(|beneath| beneath.make_dirs(leads_to, MADE));
        made.map(File::from).map_err(|error| refused(path, &error))
    }

    fn trace(&self, path: &HostPath) -> Result<Trace, ContainerError> {
        let links = match path.origin {
            Origin::Allocation => Links::Refused,
            Origin::Mount | Origin::Volume => Links::Followed,
        };
        let trace = Beneath::open(&self.alloc_dir).and_then(|beneath| beneath.trace(&path.path, links));
        let trace = trace.and_then(|trace| match path.origin {
            // The engine would take what is before the colon for the path.
            Origin::Volume if trace.path != path.path && has_colon(&trace.path) => {
                Err(io::Error::other("there is a colon in where it leads"))
            }
            _ => Ok(trace),
        });
        trace.map_err(|error| refused(path, &error))
    }
}

fn refused(path: &HostPath, error: &io::Error) -> ContainerError {
    tracing::warn!(path = %path.path.display(), %error, "a host path is refused");
    ContainerError(path.refusal.clone())
}

fn has_colon(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().contains(&b':')
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;
    use crate::config::{BindOptions, MountKind, MountOptions, Volume};

    struct Allocation {
        _directory: tempfile::TempDir,
        task: TaskConfig,
    }

    impl Allocation {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let alloc_dir = directory.path().join("a1");
            for part in ["alloc/logs", "alloc/data", "web/local", "web/secrets"] {
                fs::create_dir_all(alloc_dir.join(part)).unwrap();
            }
            let task =
                TaskConfig { name: "web".into(), alloc_dir: alloc_dir.display().to_string(), ..TaskConfig::default() };
            Self { _directory: directory, task }
        }

        fn at(&self, path: &str) -> PathBuf {
            Path::new(&self.task.alloc_dir).join(path)
        }

        fn look(&self, options: &TaskOptions) -> Result<HostPaths, ContainerError> {
            self.look_as(options, &PluginConfig::default())
        }

        fn look_as(&self, options: &TaskOptions, plugin: &PluginConfig) -> Result<HostPaths, ContainerError> {
            let mut refusals = Refusals::default();
            let paths = HostPaths::look(&self.task, options, plugin, None, &mut refusals);
            refusals.or(paths)
        }
    }

    fn volume(text: &str) -> TaskOptions {
        let mut parts = text.split(':').map(str::to_owned);
        let (source, target, mode) = (parts.next().unwrap(), parts.next().unwrap(), parts.next());
        TaskOptions { volumes: vec![Volume { text: text.into(), source, target, mode }], ..TaskOptions::default() }
    }

    fn bind(source: &str) -> TaskOptions {
        let kind = MountKind::Bind(BindOptions::default());
        let mount = MountOptions { kind, target: "/in".into(), source: source.into(), readonly: false };
        TaskOptions { mounts: vec![mount], ..TaskOptions::default() }
    }

    #[test]
    fn what_leads_out_is_refused_in_known_words_and_what_stays_is_resolved() {
        let allocation = Allocation::new();
        symlink("/etc", allocation.at("web/local/etc")).unwrap();
        symlink("../../../..", allocation.at("web/local/out")).unwrap();
        symlink("../../alloc/data", allocation.at("web/local/data")).unwrap();

        for source in ["local/etc", "local/etc/passwd", "local/out", "../..", "/etc", "/etc/../etc", "local/out/a1"] {
            let in_text = format!("{source}:/in:ro");
            let words = |quoted: &str| format!("volumes are not enabled; cannot mount host path: {quoted:?}");
            assert_eq!(allocation.look(&volume(&in_text)), Err(ContainerError(words(&in_text))));
            assert_eq!(allocation.look(&bind(source)), Err(ContainerError(words(source))));
        }
        let (paths, path) = (allocation.look(&volume("local/data/x:/in")).unwrap(), allocation.at("web/local/data/x"));
        let source = paths.source(&path).path;
        assert_eq!(source, allocation.at("alloc/data/x"));
    }

    #[test]
    fn a_colon_where_a_link_leads_cannot_cut_a_volumes_path_short() {
        let allocation = Allocation::new();
        fs::create_dir_all(allocation.at("web/local/p:/t")).unwrap();
        symlink("/", allocation.at("web/local/p")).unwrap();
        symlink("p:/t", allocation.at("web/local/link")).unwrap();

        let refused = allocation.look(&volume("local/link:ro"));

        let words = "volumes are not enabled; cannot mount host path: \"local/link:ro\"";
        assert_eq!(refused, Err(ContainerError(words.into())));
        assert!(allocation.look(&bind("local/link")).is_ok(), "a mount's source is no text with parts");
    }

    #[test]
    fn what_is_swapped_between_the_two_looks_is_found_out() {
        let allocation = Allocation::new();
        fs::create_dir(allocation.at("web/local/there")).unwrap();
        symlink("there", allocation.at("web/local/link")).unwrap();
        let swaps = [
            ("local/there", "/etc"),
            ("local/not-yet", "/etc"),
            ("local/link", "/etc"),
            // Inside of the allocation as well: the container was made for another directory.
            ("local/link", "../secrets"),
        ];

        for (source, target) in swaps {
            let paths = allocation.look(&bind(source)).unwrap();
            assert_eq!(paths.look_again(), Ok(()));
            let (path, kept) = (allocation.at(&format!("web/{source}")), allocation.at("web/kept"));
            let was_there = fs::rename(&path, &kept).is_ok();
            symlink(target, &path).unwrap();

            let error = paths.look_again().unwrap_err().0;

            assert!(
                error.starts_with(&format!("volumes are not enabled; cannot mount host path: {source:?}")),
                "{error}"
            );
            fs::remove_file(&path).unwrap();
            if was_there {
                fs::rename(&kept, &path).unwrap();
            }
        }
    }

    #[test]
    fn the_allocations_own_directories_are_no_links_even_where_volumes_are_enabled() {
        let mut plugin = PluginConfig::default();
        plugin.volumes.enabled = true;
        for own in ["alloc/logs", "alloc", "web/local", "web/secrets", "web"] {
            let allocation = Allocation::new();
            let paths = allocation.look_as(&bind("/etc"), &plugin).unwrap();
            fs::rename(allocation.at(own), allocation.at("moved")).unwrap();
            symlink(allocation.at("moved"), allocation.at(own)).unwrap();

            assert!(paths.look_again().is_err(), "{own}");
            let refused = allocation.look_as(&TaskOptions::default(), &plugin).unwrap_err().0;
            assert!(refused.ends_with("it is not the allocation's own any more"), "{refused}");
        }
    }
}
