//! Keeps tasks without reserved cores on the processors that Nomad assigns to all such tasks.
//!
//! Nomad moves them by writing to the cgroup that a task's resources name. The kernel does not notify of every way in which a
//! cgroup's processors change: by its own file, by a parent cgroup, by a processor that is taken offline. So one timer, shared by
//! all tasks, reads the cgroup's file. Each task's own file is written only when that has changed.

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use nomad_plugin::driver::TaskConfig;
use tokio::sync::Notify;

use super::cgroup;
use background::Background;

/// What a non-root process cannot do.
pub(crate) const NOT_ROOT: &str =
    "not root: tasks stay on the processors that they were started on, whatever Nomad leaves them";

/// The interval of the built-in driver, which has a timer for each task.
const PERIOD: Duration = Duration::from_secs(3);

/// The tasks that follow a cgroup, and their single timer.
#[derive(Default)]
pub struct Cpusets {
    followers: Arc<Followers>,
    keeper: OnceLock<Background>,
    not_root_reported: AtomicBool,
}

#[derive(Default)]
struct Followers {
    /// By the container's own cgroup.
    groups: Mutex<HashMap<PathBuf, Followed>>,
    added: Notify,
}

struct Followed {
    /// The shared cgroup of all tasks.
    shared: PathBuf,
    /// What was last written to the container's cgroup.
    given: String,
}

/// A container that follows the shared cgroup until this is dropped.
#[must_use = "dropping it ends the following"]
pub struct Follower {
    group: PathBuf,
    followers: Arc<Followers>,
}

/// The processors of a cgroup, in list form.
pub(crate) fn processors(group: &Path) -> io::Result<String> {
    let read = |name: &str| fs::read_to_string(group.join(name));
    let cpus = read("cpuset.cpus.effective").or_else(|_| read("cpuset.effective_cpus"))?;
    Ok(cpus.trim().to_owned())
}

/// The cgroup that a task without reserved cores shares with others.
pub(crate) fn shared_group(task: &TaskConfig) -> Option<&Path> {
    let linux = task.resources.as_ref()?.linux.as_ref()?;
    (linux.cpuset_cpus.is_empty() && !linux.cpuset_cgroup.is_empty()).then(|| Path::new(&linux.cpuset_cgroup))
}

impl Cpusets {
    /// The limitation to report once per process, with the first task that would follow if this process were root.
    pub fn limitation(&self, task: &TaskConfig) -> Option<&'static str> {
        let limited = !rustix::process::geteuid().is_root() && shared_group(task).is_some();
        (limited && !self.not_root_reported.swap(true, Ordering::Relaxed)).then_some(NOT_ROOT)
    }

    /// Makes a container follow its task's shared cgroup, given its first process. Only root may write the required files.
    pub fn follow(&self, task: &TaskConfig, container: &str, process: i64) -> Option<Follower> {
        let shared = shared_group(task).filter(|_| rustix::process::geteuid().is_root())?;
        match cgroup::group_of(container, process, "cpuset") {
            Ok(group) => Some(self.follow_group(shared, group?)),
            Err(error) => {
                tracing::debug!(%error, "a container has no control group for its processors");
                None
            }
        }
    }

    fn follow_group(&self, shared: &Path, group: PathBuf) -> Follower {
        let followed = Followed { shared: shared.to_owned(), given: String::new() };
        self.followers.lock().insert(group.clone(), followed);
        self.keeper.get_or_init(|| {
            let followers = self.followers.clone();
            Background::persevere("keeping tasks on their processors", move || follow_all(followers.clone()))
        });
        self.followers.added.notify_one();
        Follower { group, followers: self.followers.clone() }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.followers.lock().remove(&self.group);
    }
}

impl Followers {
    fn lock(&self) -> MutexGuard<'_, HashMap<PathBuf, Followed>> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Assigns each container the processors of its shared cgroup, each of which is read once.
    fn give(&self) {
        let mut groups = self.lock();
        let mut known: HashMap<PathBuf, Option<String>> = HashMap::new();
        for (group, followed) in groups.iter_mut() {
            let now = known
                .entry(followed.shared.clone())
                .or_insert_with(|| processors(&followed.shared).ok().filter(|cpus| !cpus.is_empty()));
            let Some(cpus) = now.as_ref().filter(|cpus| **cpus != followed.given) else { continue };
            match fs::write(group.join("cpuset.cpus"), cpus) {
                Ok(()) => followed.given.clone_from(cpus),
                // It has just exited, or the engine changes it; the next round decides.
                Err(error) => {
                    tracing::debug!(group = %group.display(), %error, "failed to change a container's processors");
                }
            }
        }
    }
}

async fn follow_all(followers: Arc<Followers>) {
    loop {
        if followers.lock().is_empty() {
            followers.added.notified().await;
        }
        followers.give();
        tokio::time::sleep(PERIOD).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A cgroup directory with files like the kernel's.
    fn group(files: &[(&str, &str)]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (name, content) in files {
            fs::write(directory.path().join(name), content).unwrap();
        }
        directory
    }

    fn has(group: &tempfile::TempDir) -> String {
        fs::read_to_string(group.path().join("cpuset.cpus")).unwrap()
    }

    /// Lets two periods pass on a paused clock.
    async fn two_periods() {
        tokio::time::sleep(2 * PERIOD).await;
    }

    #[tokio::test(start_paused = true)]
    async fn containers_follow_the_group_that_they_share_until_they_end() {
        let shared = group(&[("cpuset.cpus.effective", "0-2\n")]);
        let (first, second) = (group(&[("cpuset.cpus", "0")]), group(&[("cpuset.cpus", "0")]));
        let cpusets = Cpusets::default();
        let first_follows = cpusets.follow_group(shared.path(), first.path().to_owned());
        let _second_follows = cpusets.follow_group(shared.path(), second.path().to_owned());

        two_periods().await;
        let began = (has(&first), has(&second));
        drop(first_follows);
        fs::write(shared.path().join("cpuset.cpus.effective"), "1\n").unwrap();
        two_periods().await;

        assert_eq!(began, ("0-2".into(), "0-2".into()));
        assert_eq!((has(&first), has(&second)), ("0-2".into(), "1".into()));
    }

    #[tokio::test(start_paused = true)]
    async fn what_did_not_change_is_not_written_and_what_is_empty_neither() {
        let shared = group(&[("cpuset.effective_cpus", "3\n")]);
        let own = group(&[("cpuset.cpus", "0")]);
        let cpusets = Cpusets::default();
        let _follows = cpusets.follow_group(shared.path(), own.path().to_owned());
        two_periods().await;
        fs::write(own.path().join("cpuset.cpus"), "by someone else").unwrap();

        two_periods().await;
        let unchanged = has(&own);
        fs::write(shared.path().join("cpuset.effective_cpus"), "\n").unwrap();
        two_periods().await;

        assert_eq!((unchanged.as_str(), has(&own).as_str()), ("by someone else", "by someone else"));
    }
}
