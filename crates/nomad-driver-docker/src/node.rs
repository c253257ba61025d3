//! The node that this driver serves, as reported by its tasks. Its id distinguishes its containers from those of other nodes.
//!
//! `<state dir>/node.json` outlives the process, so that a new process can identify what a crash left before it has a task. The
//! latest task's data replaces it. If it is lost or damaged, no harm is done: the next task provides it again.
//!
//! Several agents' drivers may use one state directory, and then the file's owner is unknown. So each driver claims the
//! directory with a lock on `<state dir>/lock`. A driver that finds it claimed records that in the lock file, and from then on
//! nobody trusts `node.json`.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use atomic_file::Durability;
use nomad_plugin::driver::TaskConfig;
use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

/// How long an earlier process of the same agent's driver may take to exit.
const ENDING: Duration = Duration::from_secs(10);

/// The maximum size of the file: an id and a path.
const LARGEST: u64 = 64 << 10;

/// The node that this process serves. Clones share their state.
#[derive(Clone, Default)]
pub struct Node(Arc<Mutex<NodeState>>);

/// What is known of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Identity {
    /// Its id; empty before its first task.
    pub id: String,
    /// The parent directory of its allocations' directories, each named after its id; empty if no task has reported it.
    pub allocs: PathBuf,
}

#[derive(Default)]
struct NodeState {
    /// As reported by tasks of this process.
    said: Identity,
    claim: Option<Claim>,
}

/// The state directory, claimed as long as this lives.
struct Claim {
    lock: File,
    file: PathBuf,
    /// As an earlier process recorded it.
    found: Identity,
}

impl Identity {
    fn of(task: &TaskConfig) -> Self {
        let directory = Path::new(&task.alloc_dir);
        let is_named = directory.file_name().is_some_and(|name| name == task.alloc_id.as_str());
        let allocs = directory.parent().filter(|_| is_named).map(Path::to_owned).unwrap_or_default();
        Self { id: task.node_id.clone(), allocs }
    }
}

impl Node {
    fn lock(&self) -> MutexGuard<'_, NodeState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is currently known.
    pub fn known(&self) -> Identity {
        self.lock().known()
    }

    /// Whether this process alone uses the state directory, now and ever: all that is recorded there is the node's.
    pub fn owns_state_dir(&self) -> bool {
        self.lock().claim.as_ref().is_some_and(|claim| !claim.is_shared())
    }

    /// Records what a task reports, before anything is created for it.
    pub fn note(&self, state_dir: &Path, task: &TaskConfig) {
        let says = Identity::of(task);
        if says.id.is_empty() {
            return;
        }
        let mut state = self.lock();
        if state.claim.is_none() {
            state.claim = Claim::attempt(state_dir).ok().flatten();
        }
        let before = state.known();
        // A task that does not report the allocations' directory does not clear it.
        let adds_nothing = says.id == before.id && says.allocs.as_os_str().is_empty();
        state.said = if adds_nothing { before } else { says };
        state.persist();
    }

    /// Claims the state directory. Waits for an earlier process that is about to exit.
    pub async fn claim(&self, state_dir: &Path) {
        let deadline = Instant::now() + ENDING;
        loop {
            match self.attempt(state_dir) {
                Ok(true) => return,
                Ok(false) if Instant::now() < deadline => sleep(ENDING / 10).await,
                Ok(false) => return mark_shared(state_dir),
                Err(error) => {
                    let state_dir = state_dir.display();
                    return tracing::warn!(%state_dir, %error, "failed to record the node's id for the next process");
                }
            }
        }
    }

    /// Claims the state directory, unless another process has; returns whether it is claimed.
    pub fn attempt(&self, state_dir: &Path) -> io::Result<bool> {
        let mut state = self.lock();
        if state.claim.is_none() {
            state.claim = Claim::attempt(state_dir)?;
        }
        state.persist();
        Ok(state.claim.is_some())
    }
}

impl From<Identity> for Node {
    /// A node without a state directory.
    fn from(said: Identity) -> Self {
        Self(Arc::new(Mutex::new(NodeState { said, claim: None })))
    }
}

impl NodeState {
    fn known(&self) -> Identity {
        let found = || self.claim.as_ref().filter(|claim| !claim.is_shared()).map(|claim| claim.found.clone());
        if self.said.id.is_empty() { found().unwrap_or_default() } else { self.said.clone() }
    }

    fn persist(&mut self) {
        let Some(claim) = &mut self.claim else { return };
        if self.said.id.is_empty() || claim.found == self.said {
            return;
        }
        let written = serde_json::to_vec(&self.said).map_err(io::Error::from);
        match written.and_then(|content| atomic_file::replace(&claim.file, &content, Durability::Process)) {
            Ok(()) => claim.found = self.said.clone(),
            Err(error) => tracing::warn!(file = %claim.file.display(), %error, "failed to record the node's id"),
        }
    }
}

impl Claim {
    /// `None` if another process has claimed it.
    fn attempt(state_dir: &Path) -> io::Result<Option<Self>> {
        fs::create_dir_all(state_dir)?;
        let lock = open_lock(state_dir)?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        let file = state_dir.join("node.json");
        let claim = Self { found: read(&file), lock, file };
        if claim.is_shared() {
            warn_shared(state_dir);
        }
        Ok(Some(claim))
    }

    /// Whether drivers of several agents have used the directory at once.
    fn is_shared(&self) -> bool {
        self.lock.metadata().is_ok_and(|lock| lock.len() > 0)
    }
}

fn open_lock(state_dir: &Path) -> io::Result<File> {
    File::options().append(true).create(true).open(state_dir.join("lock"))
}

fn read(file: &Path) -> Identity {
    let read = atomic_file::read(file, LARGEST).and_then(|content| Ok(serde_json::from_slice(&content)?));
    read.unwrap_or_else(|error: io::Error| {
        if error.kind() != io::ErrorKind::NotFound {
            tracing::warn!(file = %file.display(), %error, "failed to read the node's id; it is unknown until the next task");
        }
        Identity::default()
    })
}

fn mark_shared(state_dir: &Path) {
    warn_shared(state_dir);
    if let Err(error) = open_lock(state_dir).and_then(|mut lock| lock.write_all(b"shared\n")) {
        tracing::warn!(%error, "failed to write the lock of the state directory");
    }
}

fn warn_shared(state_dir: &Path) {
    tracing::warn!(
        state_dir = %state_dir.display(),
        "drivers of several agents use this state directory: a new process does not know its node's containers before its \
         first task; give each agent a state_dir of its own, and remove the file lock"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(node: &str, alloc_dir: &str) -> TaskConfig {
        TaskConfig {
            node_id: node.to_owned(),
            alloc_id: "a-1".into(),
            alloc_dir: alloc_dir.to_owned(),
            ..TaskConfig::default()
        }
    }

    fn identity(id: &str, allocs: &str) -> Identity {
        Identity { id: id.to_owned(), allocs: allocs.into() }
    }

    async fn claimed(state_dir: &Path) -> Node {
        let node = Node::default();
        node.claim(state_dir).await;
        node
    }

    #[tokio::test]
    async fn a_new_process_knows_the_node_that_the_last_task_of_the_old_one_named() {
        let directory = tempfile::tempdir().unwrap();
        let state_dir = directory.path().join("state");
        let old = claimed(&state_dir).await;
        assert_eq!(old.known(), Identity::default());

        old.note(&state_dir, &task("first", "/data/alloc/a-1"));
        old.note(&state_dir, &task("second", "/elsewhere/a-1"));
        old.note(&state_dir, &task("second", "/nowhere"));
        old.note(&state_dir, &task("", "/data/alloc/a-1"));
        let said = old.known();
        drop(old);
        let new = claimed(&state_dir).await;
        let found = new.known();
        new.note(&state_dir, &task("third", ""));

        assert_eq!((said, found), (identity("second", "/elsewhere"), identity("second", "/elsewhere")));
        assert_eq!(new.known(), identity("third", ""), "another node's directories are not this one's");
    }

    #[tokio::test]
    async fn a_damaged_or_oversized_file_is_as_none_and_is_replaced_by_the_next_task() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("node.json");
        let large = format!("{{\"id\": \"here\"}}{}", " ".repeat(usize::try_from(LARGEST).unwrap()));

        for content in ["", "{ \"id\": \"he", "{ \"id\": 3 }", "\u{0}", &large] {
            fs::write(&file, content).unwrap();
            let node = claimed(directory.path()).await;
            assert_eq!(node.known(), Identity::default(), "{} bytes", content.len());
            node.note(directory.path(), &task("here", "/data/alloc/a-1"));
            drop(node);
            assert_eq!(claimed(directory.path()).await.known(), identity("here", "/data/alloc"));
        }
    }

    #[tokio::test]
    async fn a_task_is_noted_though_nobody_has_claimed_the_directory_before() {
        let directory = tempfile::tempdir().unwrap();

        Node::default().note(directory.path(), &task("here", "/data/alloc/a-1"));

        assert_eq!(claimed(directory.path()).await.known(), identity("here", "/data/alloc"));
    }

    #[tokio::test(start_paused = true)]
    async fn drivers_that_share_a_directory_never_take_the_other_ones_node_for_theirs() {
        let directory = tempfile::tempdir().unwrap();
        let first = claimed(directory.path()).await;
        first.note(directory.path(), &task("first", "/one/a-1"));

        let second = claimed(directory.path()).await;
        let before = second.known();
        second.note(directory.path(), &task("second", "/two/a-1"));
        let said = (first.known(), second.known());
        drop((first, second));
        let next = claimed(directory.path()).await;

        assert_eq!(before, Identity::default());
        assert_eq!(said, (identity("first", "/one"), identity("second", "/two")));
        assert_eq!(next.known(), Identity::default(), "nobody can say whose the file is");
    }

    #[tokio::test]
    async fn a_process_waits_for_the_one_before_that_is_about_to_end() {
        let directory = tempfile::tempdir().unwrap();
        let old = claimed(directory.path()).await;
        old.note(directory.path(), &task("here", "/data/alloc/a-1"));
        let new = Node::default();

        tokio::time::pause();
        let (path, ending) = (directory.path(), async {
            sleep(ENDING / 2).await;
            drop(old);
        });
        tokio::join!(new.claim(path), ending);

        assert_eq!(new.known(), identity("here", "/data/alloc"));
    }
}
