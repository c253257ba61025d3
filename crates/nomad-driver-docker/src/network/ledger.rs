//! On disk: whose networks this driver made or joined, for the day on which nobody asks for their end.
//!
//! `<state dir>/networks/<engine's name>/<allocation>`, in JSON, goes with the network. Lost or unreadable it does no harm:
//! the network stays.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use nomad_plugin::{driver::TaskConfig, id::AllocId};
use serde::{Deserialize, Serialize};

use super::CONTAINER_ID;
use crate::{engine::EngineName, task::Surroundings};

/// The networks of one engine.
pub struct Ledger(PathBuf);

/// What is known of a network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Entry {
    /// The allocation's directory; empty until a task has joined.
    alloc_dir: PathBuf,
    /// The host's name in it, once its namespace was [kept](super::kept).
    kept: Option<String>,
}

/// What is left of an allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    /// A task, or the container of one.
    pub tasks: bool,
    /// A pause container.
    pub pause: bool,
}

impl Ledger {
    /// The ledger of the engine; `None` where it does not say who it is.
    pub async fn of(around: &Surroundings) -> Option<Self> {
        let facts = around.engine.facts().await.ok()?;
        Some(Self::new(&around.plugin.state_dir, &facts.name))
    }

    /// An engine's. What has the name that earlier versions gave it is taken over, by the first engine that comes.
    fn new(state_dir: &Path, engine: &EngineName) -> Self {
        let networks = state_dir.join("networks");
        let (ledger, former) = (Self(networks.join(&engine.now)), networks.join(&engine.former));
        for file in fs::read_dir(&former).into_iter().flatten().flatten() {
            let to = ledger.0.join(file.file_name());
            if !to.exists() && fs::create_dir_all(&ledger.0).is_ok() {
                // What cannot be moved now is tried again next time.
                let _moved = fs::rename(file.path(), to);
            }
        }
        let _not_there_or_not_empty = fs::remove_dir(&former);
        ledger
    }

    fn path(&self, alloc: &AllocId) -> Option<PathBuf> {
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        let alloc = alloc.as_str();
        (!alloc.is_empty() && alloc.bytes().all(is_name)).then(|| self.0.join(alloc))
    }

    fn read(&self, alloc: &AllocId) -> Entry {
        let read = || serde_json::from_slice(&fs::read(self.path(alloc)?).ok()?).ok();
        read().unwrap_or_default()
    }

    fn write(&self, alloc: &AllocId, entry: &Entry) {
        let Some(path) = self.path(alloc) else { return };
        let written = || {
            let new = path.with_extension("new");
            fs::create_dir_all(&self.0)?;
            fs::write(&new, serde_json::to_vec(entry)?)?;
            fs::rename(&new, &path)
        };
        if let Err(error) = written() {
            tracing::warn!(ledger = %path.display(), %error, "a network stays if nobody asks for its end");
        }
    }

    /// Changes what is known of a network.
    fn note(&self, alloc: &AllocId, change: impl FnOnce(&mut Entry)) {
        let before = self.read(alloc);
        let mut entry = before.clone();
        change(&mut entry);
        if entry != before {
            self.write(alloc, &entry);
        }
    }

    /// Notes that a network is about to be made, or made again: from now on it is as young as that.
    pub(super) fn note_begun(&self, alloc: &AllocId) {
        self.write(alloc, &self.read(alloc));
    }

    /// Notes whose network it is that a task joins, if it joins one.
    pub fn note_joined(&self, task: &TaskConfig) {
        let joins = task.network_isolation.as_ref().is_some_and(|network| network.labels.contains_key(CONTAINER_ID));
        if joins && !task.alloc_dir.is_empty() {
            self.note(&task.alloc_id, |entry| entry.alloc_dir = PathBuf::from(&task.alloc_dir));
        }
    }

    /// Notes that a network's namespace is kept, and the host's name in it.
    pub(super) fn note_kept(&self, alloc: &AllocId, hostname: &str) {
        self.note(alloc, |entry| entry.kept = Some(hostname.to_owned()));
    }

    /// The host's name in a network whose namespace was kept.
    pub(super) fn kept(&self, alloc: &AllocId) -> Option<String> {
        self.read(alloc).kept
    }

    /// The allocations of all networks that were noted, and how long ago.
    pub fn allocs(&self) -> Vec<(AllocId, Duration)> {
        let files = fs::read_dir(&self.0).into_iter().flatten().flatten();
        let known = files.filter_map(|file| {
            let alloc = AllocId::from(file.file_name().into_string().ok()?);
            let age = file.metadata().ok()?.modified().ok()?.elapsed().unwrap_or_default();
            self.path(&alloc).map(|_| (alloc, age))
        });
        known.collect()
    }

    /// Whether an allocation has gone of which this is left: its directory has, beside which others' may still be.
    pub fn has_gone(&self, alloc: &AllocId, left: Left) -> bool {
        let directory = self.read(alloc).alloc_dir;
        if directory.as_os_str().is_empty() {
            return left == Left { tasks: false, pause: false };
        }
        let gone = fs::symlink_metadata(&directory).is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
        // A disk that is not mounted has lost no allocation.
        !left.tasks && gone && directory.parent().is_some_and(Path::is_dir)
    }

    /// Drops a network's entry.
    pub(super) fn forget(&self, alloc: &AllocId) {
        if let Some(path) = self.path(alloc) {
            let _not_there = fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use nomad_plugin::driver::NetworkIsolation;

    use super::*;

    fn engine(now: &str) -> EngineName {
        EngineName { now: now.to_owned(), former: "AB-CD".to_owned() }
    }

    const PAUSE: Left = Left { tasks: false, pause: true };
    const TASKS: Left = Left { tasks: true, pause: true };
    const NOTHING: Left = Left { tasks: false, pause: false };

    #[test]
    fn an_allocation_has_gone_when_its_directory_has_and_the_one_above_has_not() {
        let directory = tempfile::tempdir().unwrap();
        let alloc_dir = directory.path().join("alloc/a-1");
        fs::create_dir_all(&alloc_dir).unwrap();
        let ledger = Ledger::new(&directory.path().join("state"), &engine("AB-CD-1"));
        let labels = [(CONTAINER_ID.to_owned(), "c0ffee".to_owned())].into();
        let alloc = AllocId::from("a-1");
        let task = TaskConfig {
            alloc_id: alloc.clone(),
            alloc_dir: alloc_dir.display().to_string(),
            network_isolation: Some(NetworkIsolation { labels, ..NetworkIsolation::default() }),
            ..TaskConfig::default()
        };

        ledger.note_joined(&task);
        ledger.note_kept(&alloc, "web-1");
        let there = ledger.has_gone(&alloc, PAUSE);
        fs::remove_dir(&alloc_dir).unwrap();
        let gone = ledger.has_gone(&alloc, PAUSE);
        let in_use = ledger.has_gone(&alloc, TASKS);
        fs::remove_dir(alloc_dir.parent().unwrap()).unwrap();
        let unmounted = ledger.has_gone(&alloc, PAUSE);

        assert_eq!((there, gone, in_use, unmounted), (false, true, false, false));
        assert_eq!(ledger.kept(&alloc).as_deref(), Some("web-1"));
        let known: Vec<_> = ledger.allocs().into_iter().map(|(alloc, _)| alloc).collect();
        assert_eq!(known.iter().collect::<Vec<_>>(), [&alloc]);
        assert!(directory.path().join("state/networks/AB-CD-1/a-1").is_file());
        ledger.forget(&alloc);
        assert!(ledger.allocs().is_empty() && ledger.kept(&alloc).is_none());
    }

    #[test]
    fn an_allocation_that_no_task_joined_has_gone_when_nothing_is_left() {
        let directory = tempfile::tempdir().unwrap();
        let ledger = Ledger::new(directory.path(), &engine("AB-CD-1"));
        let alloc = AllocId::from("a-1");

        ledger.note_begun(&alloc);

        assert_eq!(ledger.allocs().len(), 1);
        assert!(ledger.has_gone(&alloc, NOTHING));
        assert!(!ledger.has_gone(&alloc, PAUSE) && !ledger.has_gone(&alloc, TASKS));
        assert!(ledger.path(&AllocId::from("../a-1")).is_none() && ledger.path(&AllocId::from("")).is_none());
    }

    #[test]
    fn engines_of_one_id_have_ledgers_of_their_own_and_the_first_takes_over_what_had_the_former_name() {
        let directory = tempfile::tempdir().unwrap();
        let alloc = AllocId::from("a-1");
        let by_former_name = Ledger(directory.path().join("networks/AB-CD"));
        by_former_name.note_kept(&alloc, "web-1");

        let first = Ledger::new(directory.path(), &engine("AB-CD-1"));
        let other = Ledger::new(directory.path(), &engine("AB-CD-2"));

        assert_eq!(first.kept(&alloc).as_deref(), Some("web-1"));
        assert!(other.allocs().is_empty() && !by_former_name.0.exists());
    }
}
