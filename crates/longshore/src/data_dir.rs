//! The data directory: where jobs, their states, their locks and their allocations are.
//!
//! `<data dir>/jobs/<name made of the job's id>/state.json` is replaced as a whole at each write; `lock` beside it is held
//! while an agent runs the job. No other user reads any of it: tasks' secrets are in it.

mod homes;

use std::{
    fs::{self, File},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use atomic_file::Durability;
use rustix::fs::{FlockOperation, flock};

pub(crate) use self::homes::Held;
use crate::{Failure, alloc::dir, job_dir, state::JobState};

/// Where everything is kept.
#[derive(Clone, Debug)]
pub(crate) struct DataDir(PathBuf);

impl DataDir {
    /// The one asked for, root's, or the user's own; made if it is missing.
    pub(crate) fn open(asked: Option<&Path>) -> io::Result<Self> {
        let own = || {
            let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from);
            let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".local/state"));
            let directory = state.or_else(home).map(|state| state.join("longshore"));
            directory.ok_or_else(|| io::Error::other("neither HOME nor XDG_STATE_HOME is set"))
        };
        let path = match asked {
            Some(path) => std::path::absolute(path)?,
            None if rustix::process::geteuid().is_root() => "/var/lib/longshore".into(),
            None => own()?,
        };
        fs::DirBuilder::new().recursive(true).mode(0o711).create(&path)?;
        // Earlier versions left these open to every user of this machine.
        for closed in ["jobs", "driver", "run"] {
            dir::make(&path.join(closed), 0o700)?;
        }
        dir::close(&path)?;
        Ok(Self(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Where drivers' sockets are.
    pub(crate) fn run(&self) -> PathBuf {
        self.0.join("run")
    }

    /// The error for a person when it cannot be used.
    pub(crate) fn failed(&self, error: &io::Error) -> Failure {
        let hint = match error.kind() {
            io::ErrorKind::PermissionDenied => {
                "\nhint: run as the user whose jobs these are, or name another --data-dir"
            }
            _ => "",
        };
        Failure::Usage(format!("{}: {error}{hint}", self.0.display()))
    }

    /// A job's directory.
    pub(crate) fn job(&self, id: &str) -> PathBuf {
        let jobs = self.0.join("jobs");
        let own = jobs.join(job_dir::name(id));
        let earlier = jobs.join(job_dir::earlier_name(id));
        // What an earlier version ran is kept where its agent and its containers have it.
        let is_there = || !own.exists() && matches!(read(&earlier), Ok(Some(state)) if state.id == id);
        if earlier != own && is_there() { earlier } else { own }
    }

    /// A job's state, if it was ever run.
    pub(crate) fn load(&self, id: &str) -> io::Result<Option<JobState>> {
        Ok(read(&self.job(id))?.filter(|state| state.id == id))
    }

    fn make_job(&self, id: &str) -> io::Result<PathBuf> {
        let directory = self.job(id);
        dir::make(&directory, 0o700)?;
        Ok(directory)
    }

    /// Writes a job's state: the old one or the new one is there whenever the machine stops.
    pub(crate) fn store(&self, state: &JobState) -> io::Result<()> {
        let directory = self.make_job(&state.id)?;
        // For this user alone: the tasks' environments are in it, in their handles, and secrets perhaps in those.
        atomic_file::replace(&directory.join("state.json"), &serde_json::to_vec_pretty(state)?, Durability::Machine)
    }

    /// Notes that an allocation is to end; its agent looks when it is asked to.
    pub(crate) fn ask_to_stop(&self, job: &str, alloc: &str) -> io::Result<()> {
        let directory = self.stops(job);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory)?;
        File::options().write(true).create(true).truncate(false).mode(0o600).open(directory.join(alloc))?;
        Ok(())
    }

    /// The allocations that are to end.
    pub(crate) fn asked_to_stop(&self, job: &str) -> io::Result<Vec<String>> {
        match fs::read_dir(self.stops(job)) {
            Ok(entries) => entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Forgets that an allocation is to end, which it has.
    pub(crate) fn has_stopped(&self, job: &str, alloc: &str) -> io::Result<()> {
        match fs::remove_file(self.stops(job).join(alloc)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn stops(&self, job: &str) -> PathBuf {
        self.job(job).join("stop")
    }

    /// Forgets a job. Its lock is kept: another agent may wait for it.
    pub(crate) fn forget(&self, id: &str) -> io::Result<()> {
        match fs::remove_file(self.job(id).join("state.json")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Removes all that is kept of a job, whose lock this process holds.
    pub(crate) fn purge(&self, id: &str) -> io::Result<()> {
        fs::remove_dir_all(self.job(id))
    }

    /// The states of all jobs.
    pub(crate) fn all(&self) -> io::Result<Vec<JobState>> {
        let mut states = Vec::new();
        for entry in fs::read_dir(self.0.join("jobs"))? {
            states.extend(read(&entry?.path())?);
        }
        states.sort_by(|a: &JobState, b| a.id.cmp(&b.id));
        Ok(states)
    }

    /// Keeps other agents from giving out ports, until it is dropped.
    pub(crate) fn lock_ports(&self) -> io::Result<File> {
        let file = open_lock(&self.0.join("ports.lock"))?;
        flock(&file, FlockOperation::LockExclusive)?;
        Ok(file)
    }

    /// Takes a job for this process; `None` where another agent runs it.
    pub(crate) fn lock(&self, id: &str) -> io::Result<Option<File>> {
        let directory = self.make_job(id)?;
        if let Some(other) = read(&directory)?.map(|state| state.id).filter(|other| other != id) {
            let message = format!("job {other:?} of an earlier version is stored where {id:?} belongs");
            return Err(io::Error::other(format!("{message}\nhint: longshore stop -purge {other}")));
        }
        let file = open_lock(&directory.join("lock"))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            // Its job was purged meanwhile.
            Ok(()) if file.metadata()?.nlink() == 0 => self.lock(id),
            Ok(()) => Ok(Some(file)),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// The state in a job's directory.
fn read(directory: &Path) -> io::Result<Option<JobState>> {
    match fs::read(directory.join("state.json")) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        // Where a file stands in the directory's place, too.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A file to be locked, by this user alone: who can open it can keep the others waiting.
pub(crate) fn open_lock(path: &Path) -> io::Result<File> {
    let file = File::options().write(true).create(true).truncate(false).mode(0o600).open(path)?;
    // An earlier version's.
    if file.metadata()?.mode() & 0o077 != 0 {
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::process::Process;

    fn modes(root: &Path) -> BTreeMap<String, u32> {
        let mut modes = BTreeMap::new();
        let mut todo = vec![root.to_owned()];
        while let Some(path) = todo.pop() {
            let metadata = fs::symlink_metadata(&path).unwrap();
            if metadata.is_dir() {
                todo.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            }
            modes.insert(path.strip_prefix(root).unwrap().display().to_string(), metadata.mode() & 0o7777);
        }
        modes
    }

    #[test]
    fn what_an_earlier_version_left_open_is_closed() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        let at = |path: &str| root.join(path);
        for made in ["jobs/web/driver", "driver", "alloc/id/web/secrets"] {
            fs::create_dir_all(at(made)).unwrap();
        }
        let files = ["ports.lock", "prefetched.lock", "prefetched.json", "jobs/web/lock", "alloc/id/web/secrets/key"];
        for file in files {
            fs::write(at(file), "[]").unwrap();
        }
        for path in modes(root).keys() {
            fs::set_permissions(at(path), fs::Permissions::from_mode(0o777)).unwrap();
        }

        let data = DataDir::open(Some(root)).unwrap();
        drop((data.lock("web").unwrap().unwrap(), data.lock_ports().unwrap()));
        crate::prefetched::change(&data, |_| ()).unwrap();

        let modes = modes(root);
        for (path, mode) in [("alloc", 0o711), ("alloc/id", 0o700), ("jobs", 0o700), ("driver", 0o700), ("run", 0o700)]
        {
            assert_eq!(modes[path], mode, "{path}");
        }
        for file in ["ports.lock", "prefetched.lock", "prefetched.json", "jobs/web/lock"] {
            assert_eq!(modes[file], 0o600, "{file}");
        }
        // Behind a closed directory it is left as its task has it.
        assert_eq!(
            (modes[""], modes["alloc/id/web/secrets/key"]),
            (0o777, 0o777),
            "a directory that a person made is theirs"
        );
    }

    #[test]
    fn ids_that_were_one_directory_are_two_and_an_earlier_versions_is_found() {
        let directory = tempfile::tempdir().unwrap();
        let data = DataDir::open(Some(directory.path())).unwrap();
        let state = |id: &str| JobState { id: id.into(), ..JobState::default() };
        for id in ["a/b", "a_b"] {
            data.store(&state(id)).unwrap();
        }
        assert_eq!((data.load("a/b").unwrap(), data.load("a_b").unwrap()), (Some(state("a/b")), Some(state("a_b"))));
        assert!(data.lock("a/b").unwrap().is_some());

        let earlier = directory.path().join("jobs/c_d");
        fs::create_dir(&earlier).unwrap();
        fs::write(earlier.join("state.json"), serde_json::to_vec(&state("c/d")).unwrap()).unwrap();
        let locked = data.lock("c/d").unwrap();
        assert!(locked.is_some() && earlier.join("lock").exists(), "where the earlier version's agent locks it");
        assert_eq!((data.load("c/d").unwrap(), data.load("c_d").unwrap()), (Some(state("c/d")), None));
        let refused = data.lock("c_d").unwrap_err().to_string();
        assert_eq!(
            refused,
            "job \"c/d\" of an earlier version is stored where \"c_d\" belongs\nhint: longshore stop -purge c/d"
        );
        data.purge("c/d").unwrap();
        assert!(data.lock("c_d").unwrap().is_some() && data.lock("c/d").unwrap().is_some());
        assert!(directory.path().join("jobs/c%2Fd").exists());
    }

    #[test]
    fn a_state_of_an_earlier_version_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let data = DataDir::open(Some(directory.path())).unwrap();
        let own = Process::own();
        fs::create_dir(directory.path().join("jobs/web")).unwrap();
        let host = serde_json::to_string(&own).unwrap();
        let written = format!(r#"{{"id":"web","host":{host},"driver":null,"allocs":[]}}"#);
        fs::write(directory.path().join("jobs/web/state.json"), written).unwrap();

        let state = data.load("web").unwrap().unwrap();

        assert_eq!((state.agent, state.placed), (own, false));
        data.store(&state).unwrap();
        let stored = fs::read_to_string(directory.path().join("jobs/web/state.json")).unwrap();
        assert!(stored.contains("\"host\": {"), "an earlier version finds it too: {stored}");
    }

    #[test]
    fn an_allocation_that_is_to_end_is_known_until_it_has() {
        let directory = tempfile::tempdir().unwrap();
        let data = DataDir::open(Some(directory.path())).unwrap();
        assert_eq!(data.asked_to_stop("job").unwrap(), Vec::<String>::new());

        data.ask_to_stop("job", "a1").unwrap();
        data.ask_to_stop("job", "a1").unwrap();
        assert_eq!(data.asked_to_stop("job").unwrap(), ["a1"]);
        data.has_stopped("job", "a1").unwrap();
        data.has_stopped("job", "a1").unwrap();

        assert_eq!(data.asked_to_stop("job").unwrap(), Vec::<String>::new());
    }

    #[test]
    fn a_state_is_found_again_and_a_job_has_one_agent() {
        let directory = tempfile::tempdir().unwrap();
        let data = DataDir::open(Some(directory.path())).unwrap();
        let state = JobState { id: "a/b".into(), agent: Process::own(), ..JobState::default() };

        data.store(&state).unwrap();

        assert_eq!(data.load("a/b").unwrap(), Some(state.clone()));
        assert_eq!(data.all().unwrap(), [state]);
        assert_eq!(data.load("c").unwrap(), None);
        let held = data.lock("a/b").unwrap();
        assert!(held.is_some() && data.lock("a/b").unwrap().is_none());
        drop(held);
        assert!(data.lock("a/b").unwrap().is_some());
    }
}
