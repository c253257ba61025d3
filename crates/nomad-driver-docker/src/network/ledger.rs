//! On disk: the networks that this driver created or joined, in case nobody requests their removal.
//!
//! `<state dir>/networks/<engine's name>/<allocation>`, in JSON, is removed with the network. If it is lost or unreadable, no
//! harm is done: the network is kept.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use atomic_file::Durability;
use nomad_plugin::{driver::TaskConfig, id::AllocId};
use serde::{Deserialize, Serialize};

use super::left::Directory;
use crate::{labels::SANDBOX_CONTAINER, node::Identity};
use engine::EngineName;

/// The maximum size of an entry: a path and two names.
const LARGEST: u64 = 64 << 10;

/// The networks of one engine.
#[derive(Clone)]
pub struct Ledger(PathBuf);

/// The record of a network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct NetworkRecord {
    /// The allocation's directory; empty until a task has joined.
    alloc_dir: PathBuf,
    /// The id of the node that it was created for; empty if unknown.
    node: String,
    /// The host name in it, once its namespace is [persistent](super::persistent_namespace).
    #[serde(rename = "kept")]
    persistent: Option<String>,
    /// The id of its pause container; empty until that is created.
    pause: String,
    /// Whether its removal was requested, or its creation failed.
    over: bool,
}

impl Ledger {
    /// The ledger of an engine. The first engine that comes adopts a ledger with the name that earlier versions gave it.
    pub fn new(state_dir: &Path, engine: &EngineName) -> Self {
        let networks = state_dir.join("networks");
        let (ledger, former) = (Self(networks.join(&engine.now)), networks.join(&engine.former));
        for file in fs::read_dir(&former).into_iter().flatten().flatten() {
            let to = ledger.0.join(file.file_name());
            if !to.exists() && fs::create_dir_all(&ledger.0).is_ok() {
                // A failed move is retried next time.
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

    fn read(&self, alloc: &AllocId) -> NetworkRecord {
        let read = || serde_json::from_slice(&atomic_file::read(&self.path(alloc)?, LARGEST).ok()?).ok();
        read().unwrap_or_default()
    }

    fn write(&self, alloc: &AllocId, entry: &NetworkRecord) {
        let Some(path) = self.path(alloc) else { return };
        let content = serde_json::to_vec(entry).map_err(io::Error::from);
        if let Err(error) = content.and_then(|content| atomic_file::replace(&path, &content, Durability::Process)) {
            tracing::warn!(file = %path.display(), %error, "failed to write the network's record; the network is kept unless Nomad asks for its removal");
        }
    }

    /// Changes the record of a network.
    fn note(&self, alloc: &AllocId, change: impl FnOnce(&mut NetworkRecord)) {
        let before = self.read(alloc);
        let mut entry = before.clone();
        change(&mut entry);
        if entry != before {
            self.write(alloc, &entry);
        }
    }

    /// Records that a network is about to be created, or created again, for a node: its age counts from now. The id is empty if
    /// unknown.
    pub(super) fn note_begun(&self, alloc: &AllocId, node: &str) {
        let before = self.read(alloc);
        let node = if node.is_empty() { before.node.clone() } else { node.to_owned() };
        self.write(alloc, &NetworkRecord { node, over: false, ..before });
    }

    /// Records that the network is to be removed, in case this process does not finish that.
    pub(super) fn note_over(&self, alloc: &AllocId) {
        if self.path(alloc).is_some_and(|path| path.exists()) {
            self.note(alloc, |entry| entry.over = true);
        }
    }

    /// Whether the network is to be removed.
    pub fn is_over(&self, alloc: &AllocId) -> bool {
        self.read(alloc).over
    }

    /// Records the owner of the network that a task joins, if it joins one.
    pub fn note_joined(&self, task: &TaskConfig) {
        let joins =
            task.network_isolation.as_ref().is_some_and(|network| network.labels.contains_key(SANDBOX_CONTAINER));
        if joins && !task.alloc_dir.is_empty() {
            self.note(&task.alloc_id, |entry| entry.alloc_dir = PathBuf::from(&task.alloc_dir));
        }
    }

    /// Records that a network's namespace is persistent, and the host name in it.
    pub(super) fn note_persistent(&self, alloc: &AllocId, hostname: &str) {
        self.note(alloc, |entry| entry.persistent = Some(hostname.to_owned()));
    }

    /// Records the id of the pause container that was created for a network.
    pub(super) fn note_pause(&self, alloc: &AllocId, id: &str) {
        self.note(alloc, |entry| id.clone_into(&mut entry.pause));
    }

    /// The id of the pause container that was created for a network.
    pub(crate) fn pause(&self, alloc: &AllocId) -> Option<String> {
        Some(self.read(alloc).pause).filter(|id| !id.is_empty())
    }

    /// The host name in a network whose namespace was persistent.
    pub(super) fn persistent(&self, alloc: &AllocId) -> Option<String> {
        self.read(alloc).persistent
    }

    /// The allocations of all recorded networks, with the age of each record.
    pub fn allocs(&self) -> Vec<(AllocId, Duration)> {
        let files = fs::read_dir(&self.0).into_iter().flatten().flatten();
        let known = files.filter_map(|file| {
            let alloc = AllocId::from(file.file_name().into_string().ok()?);
            let age = file.metadata().ok()?.modified().ok()?.elapsed().unwrap_or_default();
            self.path(&alloc).map(|_| (alloc, age))
        });
        known.collect()
    }

    /// The state of an allocation's directory: the one that its first task named, or else, if the network was created for this
    /// node, the one below the node's allocations. `pause_node` is the node that its pause container names.
    pub fn directory(&self, alloc: &AllocId, node: &Identity, pause_node: Option<&str>) -> Directory {
        let entry = self.read(alloc);
        if !entry.alloc_dir.as_os_str().is_empty() {
            return Directory::at(&entry.alloc_dir);
        }
        let made_here = !node.id.is_empty() && (entry.node == node.id || pause_node == Some(node.id.as_str()));
        if made_here && !node.allocs.as_os_str().is_empty() && self.path(alloc).is_some() {
            return Directory::at(&node.allocs.join(alloc.as_str()));
        }
        Directory::Unknown
    }

    /// Removes a network's entry. It is no error if there is none.
    pub(super) fn forget(&self, alloc: &AllocId) -> io::Result<()> {
        match self.path(alloc).map(fs::remove_file) {
            Some(Err(error)) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
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

    fn here(allocs: &Path) -> Identity {
        Identity { id: "here".to_owned(), allocs: allocs.to_owned() }
    }

    fn joined(alloc_dir: &Path) -> TaskConfig {
        let labels = [(SANDBOX_CONTAINER.to_owned(), "c0ffee".to_owned())].into();
        TaskConfig {
            alloc_id: "a-1".into(),
            alloc_dir: alloc_dir.display().to_string(),
            network_isolation: Some(NetworkIsolation { labels, ..NetworkIsolation::default() }),
            ..TaskConfig::default()
        }
    }

    #[test]
    fn a_networks_entry_is_kept_until_it_is_forgotten() {
        let directory = tempfile::tempdir().unwrap();
        let ledger = Ledger::new(directory.path(), &engine("AB-CD-1"));
        let alloc = AllocId::from("a-1");

        ledger.note_begun(&alloc, "here");
        ledger.note_joined(&joined(Path::new("/data/alloc/a-1")));
        ledger.note_persistent(&alloc, "web-1");
        ledger.note_pause(&alloc, "c0ffee");
        ledger.note_begun(&alloc, "here");

        assert_eq!(ledger.persistent(&alloc).as_deref(), Some("web-1"));
        assert_eq!(ledger.pause(&alloc).as_deref(), Some("c0ffee"));
        assert_eq!(ledger.read(&alloc).alloc_dir, Path::new("/data/alloc/a-1"));
        let known: Vec<_> = ledger.allocs().into_iter().map(|(alloc, _)| alloc).collect();
        assert_eq!(known.iter().collect::<Vec<_>>(), [&alloc]);
        assert!(directory.path().join("networks/AB-CD-1/a-1").is_file());
        ledger.note_over(&alloc);
        assert!(ledger.is_over(&alloc));
        ledger.note_begun(&alloc, "here");
        assert!(!ledger.is_over(&alloc), "it is created again");
        ledger.forget(&alloc).unwrap();
        ledger.note_over(&alloc);
        assert!(ledger.allocs().is_empty() && ledger.persistent(&alloc).is_none());
        assert!(ledger.path(&AllocId::from("../a-1")).is_none() && ledger.path(&AllocId::from("")).is_none());
    }

    #[test]
    fn an_allocations_directory_is_the_one_that_its_task_named() {
        let directory = tempfile::tempdir().unwrap();
        let ledger = Ledger::new(&directory.path().join("state"), &engine("AB-CD-1"));
        let alloc_dir = directory.path().join("alloc/a-1");
        fs::create_dir_all(&alloc_dir).unwrap();
        let seen = || ledger.directory(&"a-1".into(), &here(Path::new("/nowhere")), None);

        ledger.note_joined(&joined(&alloc_dir));
        let there = seen();
        fs::remove_dir(&alloc_dir).unwrap();
        let removed = seen();
        fs::remove_dir(alloc_dir.parent().unwrap()).unwrap();
        let unmounted = seen();

        assert_eq!((there, removed, unmounted), (Directory::There, Directory::Removed, Directory::Hidden));
    }

    #[test]
    fn where_no_task_has_joined_the_directory_is_known_of_this_nodes_networks_alone() {
        let directory = tempfile::tempdir().unwrap();
        let ledger = Ledger::new(&directory.path().join("state"), &engine("AB-CD-1"));
        let allocs = directory.path().join("alloc");
        fs::create_dir_all(allocs.join("living")).unwrap();
        let node = here(&allocs);
        for (alloc, of) in [("living", "here"), ("over", "here"), ("others", "there"), ("early", "")] {
            ledger.note_begun(&alloc.into(), of);
        }
        let seen = |alloc: &str, pause: Option<&str>| ledger.directory(&alloc.into(), &node, pause);

        assert_eq!([seen("living", None), seen("over", None)], [Directory::There, Directory::Removed]);
        assert_eq!([seen("others", None), seen("early", None)], [Directory::Unknown; 2]);
        // Its entry is lost.
        assert_eq!([seen("lost", Some("here")), seen("lost", Some("there"))], [Directory::Removed, Directory::Unknown]);
        assert_eq!(seen("../alloc", Some("here")), Directory::Unknown);
        assert_eq!(ledger.directory(&"over".into(), &Identity::default(), Some("")), Directory::Unknown);
        let without_allocs = Identity { id: "here".to_owned(), ..Identity::default() };
        assert_eq!(ledger.directory(&"over".into(), &without_allocs, None), Directory::Unknown);
    }

    #[test]
    fn engines_of_one_id_have_ledgers_of_their_own_and_the_first_takes_over_what_had_the_former_name() {
        let directory = tempfile::tempdir().unwrap();
        let alloc = AllocId::from("a-1");
        let by_former_name = Ledger(directory.path().join("networks/AB-CD"));
        by_former_name.note_joined(&joined(Path::new("/data/alloc/a-1")));

        let first = Ledger::new(directory.path(), &engine("AB-CD-1"));
        let other = Ledger::new(directory.path(), &engine("AB-CD-2"));

        assert_eq!(first.read(&alloc).alloc_dir, Path::new("/data/alloc/a-1"));
        assert!(other.allocs().is_empty() && !by_former_name.0.exists());
    }
}
