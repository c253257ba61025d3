//! The host's paths that a container is given: resolved before it is made, and looked at again before it starts.
//!
//! The engine takes paths as text and follows links once more when it starts the container. So it is handed paths that
//! have no links below the allocation's directory, and who swaps one in meanwhile is found out by the second look.

use std::{
    io,
    path::{Path, PathBuf},
};

use beneath::{Beneath, Links};
use nomad_plugin::driver::TaskConfig;

use super::{ContainerError, binds, refusals::Refusals};
use crate::config::{PluginConfig, TaskOptions};

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
    looked_at: Vec<(HostPath, PathBuf)>,
}

impl HostPaths {
    /// Looks at the allocation's own directories, and where volumes are not enabled at all that the task mounts.
    pub(super) fn look(
        task: &TaskConfig,
        options: &TaskOptions,
        plugin: &PluginConfig,
        refusals: &mut Refusals,
    ) -> Self {
        let mut paths = Self { alloc_dir: binds::clean(Path::new(&task.alloc_dir)), looked_at: Vec::new() };
        let chosen = if plugin.volumes.enabled { Vec::new() } else { binds::host_paths(task, options) };
        for path in chosen.into_iter().chain(binds::own_directories(task).iter().map(|path| Self::own(path))) {
            refusals.or_nothing(paths.add(path));
        }
        paths
    }

    /// Adds a file that the driver made for the task.
    pub(super) fn add_own(&mut self, path: &Path) -> Result<(), ContainerError> {
        self.add(Self::own(path))
    }

    /// Where a path led when it was looked at.
    pub(super) fn resolved<'a>(&'a self, path: &'a Path) -> &'a Path {
        let found = self.looked_at.iter().find(|(looked_at, _)| looked_at.path == path);
        found.map_or(path, |(_, resolved)| resolved)
    }

    /// Looks a second time: fails where a path leads elsewhere by now.
    pub fn look_again(&self) -> Result<(), ContainerError> {
        for (path, before) in &self.looked_at {
            if self.resolve(path)? != *before {
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

    fn add(&mut self, path: HostPath) -> Result<(), ContainerError> {
        let resolved = self.resolve(&path)?;
        self.looked_at.push((path, resolved));
        Ok(())
    }

    fn resolve(&self, path: &HostPath) -> Result<PathBuf, ContainerError> {
        let links = match path.origin {
            Origin::Allocation => Links::Refused,
            Origin::Mount | Origin::Volume => Links::Followed,
        };
        let resolved = Beneath::open(&self.alloc_dir).and_then(|beneath| beneath.resolve(&path.path, links));
        let resolved = resolved.and_then(|resolved| match path.origin {
            // The engine would take what is before the colon for the path.
            Origin::Volume if resolved != path.path && has_colon(&resolved) => {
                Err(io::Error::other("there is a colon in where it leads"))
            }
            _ => Ok(resolved),
        });
        resolved.map_err(|error| {
            tracing::warn!(path = %path.path.display(), %error, "a host path is refused");
            ContainerError(path.refusal.clone())
        })
    }
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
            let paths = HostPaths::look(&self.task, options, plugin, &mut refusals);
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
        let paths = allocation.look(&volume("local/data/x:/in")).unwrap();
        assert_eq!(paths.resolved(&allocation.at("web/local/data/x")), allocation.at("alloc/data/x"));
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
