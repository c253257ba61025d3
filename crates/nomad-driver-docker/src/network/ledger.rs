//! On disk: whose network a pause container holds, for the day on which nobody asks for its end.
//!
//! `<state dir>/networks/<engine's id>/<container's id>` holds the path of the allocation's directory. It is written when
//! the first task joins, and goes with the container. Lost or unreadable it does no harm: the container stays.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use nomad_plugin::driver::TaskConfig;

use super::CONTAINER_ID;
use crate::task::Surroundings;

/// The networks of one engine.
pub struct Ledger(PathBuf);

impl Ledger {
    /// The ledger of the engine; `None` where it does not say who it is.
    pub async fn of(around: &Surroundings) -> Option<Self> {
        let facts = around.engine.facts().await.ok()?;
        Some(Self::new(&around.plugin.state_dir, &facts.id))
    }

    fn new(state_dir: &Path, engine: &str) -> Self {
        let name: String = engine.chars().map(|char| if char.is_ascii_alphanumeric() { char } else { '-' }).collect();
        Self(state_dir.join("networks").join(name))
    }

    fn entry(&self, container: &str) -> Option<PathBuf> {
        let is_id = !container.is_empty() && container.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_id.then(|| self.0.join(container))
    }

    /// Notes whose network it is that a task joins, if it joins one.
    pub fn note(&self, task: &TaskConfig) {
        let joined = task.network_isolation.as_ref().and_then(|network| network.labels.get(CONTAINER_ID));
        let Some(entry) = joined.and_then(|container| self.entry(container)) else { return };
        if entry.exists() || task.alloc_dir.is_empty() {
            return;
        }
        let written = || {
            let new = entry.with_extension("new");
            fs::create_dir_all(&self.0)?;
            fs::write(&new, &task.alloc_dir)?;
            fs::rename(&new, &entry)
        };
        if let Err(error) = written() {
            tracing::warn!(ledger = %entry.display(), %error, "a network stays if nobody asks for its end");
        }
    }

    /// Whether the allocation whose network this is has gone: its directory, beside which others' may still be.
    pub fn is_orphan(&self, container: &str) -> bool {
        let directory = self.entry(container).and_then(|entry| fs::read_to_string(entry).ok()).map(PathBuf::from);
        directory.is_some_and(|directory| {
            let gone = fs::symlink_metadata(&directory).is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
            // A disk that is not mounted has lost no allocation.
            gone && directory.parent().is_some_and(Path::is_dir)
        })
    }

    /// Drops a container's entry.
    pub fn forget(&self, container: &str) {
        if let Some(entry) = self.entry(container) {
            let _not_there = fs::remove_file(entry);
        }
    }
}

#[cfg(test)]
mod tests {
    use nomad_plugin::driver::NetworkIsolation;

    use super::*;

    #[test]
    fn an_allocation_is_gone_when_its_directory_is_and_the_one_above_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let alloc_dir = directory.path().join("alloc/1");
        fs::create_dir_all(&alloc_dir).unwrap();
        let ledger = Ledger::new(&directory.path().join("state"), "AB:CD/..");
        let labels = [(CONTAINER_ID.to_owned(), "c0ffee".to_owned())].into();
        let task = TaskConfig {
            alloc_dir: alloc_dir.display().to_string(),
            network_isolation: Some(NetworkIsolation { labels, ..NetworkIsolation::default() }),
            ..TaskConfig::default()
        };

        ledger.note(&task);
        let there = ledger.is_orphan("c0ffee");
        fs::remove_dir(&alloc_dir).unwrap();
        let gone = ledger.is_orphan("c0ffee");
        fs::remove_dir(alloc_dir.parent().unwrap()).unwrap();
        let unmounted = ledger.is_orphan("c0ffee");

        assert_eq!((there, gone, unmounted), (false, true, false));
        assert!(!ledger.is_orphan("decaf") && !ledger.is_orphan("../state"));
        assert!(directory.path().join("state/networks/AB-CD---/c0ffee").is_file());
        ledger.forget("c0ffee");
        assert!(!directory.path().join("state/networks/AB-CD---/c0ffee").exists());
    }
}
