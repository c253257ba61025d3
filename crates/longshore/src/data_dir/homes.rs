//! The directories of jobs as such, whatever is in them: `gc` looks at each.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, flock};

use super::{DataDir, open_lock, read};
use crate::{alloc::dir, state::JobState};

/// Who has a job.
#[derive(Debug)]
pub(crate) enum Held {
    /// This process, as long as this lives.
    ByUs { _lock: File },
    /// Its agent.
    ByAgent,
}

impl DataDir {
    /// Where the directories of all jobs are.
    pub(crate) fn jobs(&self) -> PathBuf {
        self.0.join("jobs")
    }

    /// The directories of all jobs, also of those without a state.
    pub(crate) fn homes(&self) -> io::Result<Vec<PathBuf>> {
        let mut homes = Vec::new();
        for entry in fs::read_dir(self.jobs())? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                homes.push(entry.path());
            }
        }
        homes.sort();
        Ok(homes)
    }

    /// The state in a job's directory.
    pub(crate) fn state_at(home: &Path) -> io::Result<Option<JobState>> {
        read(home)
    }

    /// Takes a job for this process by its directory, unless its agent runs.
    pub(crate) fn hold(home: &Path) -> io::Result<Held> {
        let lock = open_lock(&home.join("lock"))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Held::ByUs { _lock: lock }),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(Held::ByAgent),
            Err(error) => Err(error.into()),
        }
    }

    /// The same of a directory that somebody removed; it is made again, so that it can be locked.
    pub(crate) fn hold_lost(home: &Path) -> io::Result<Held> {
        dir::make(home, 0o700)?;
        Self::hold(home)
    }

    /// Removes a job's directory that this process holds, unless a job has moved in.
    pub(crate) fn remove_home(home: &Path) -> io::Result<()> {
        if Self::state_at(home)?.is_some() { Ok(()) } else { fs::remove_dir_all(home) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_jobs_directory_is_found_and_held_by_one() {
        let directory = tempfile::tempdir().unwrap();
        let data = DataDir::open(Some(directory.path())).unwrap();
        let state = JobState { id: "a/b".into(), ..JobState::default() };
        data.store(&state).unwrap();
        let lost = data.jobs().join("lost");
        fs::write(data.jobs().join("file"), "").unwrap();

        let agent = data.lock("a/b").unwrap();
        let held = DataDir::hold_lost(&lost).unwrap();

        let homes = [data.job("a/b"), lost.clone()];
        assert_eq!(data.homes().unwrap(), homes);
        assert!(matches!(DataDir::hold(&homes[0]).unwrap(), Held::ByAgent));
        assert!(matches!(DataDir::hold(&lost).unwrap(), Held::ByAgent), "held by another descriptor");
        drop((agent, held));
        assert!(matches!(DataDir::hold(&homes[0]).unwrap(), Held::ByUs { .. }));
        assert_eq!((DataDir::state_at(&homes[0]).unwrap(), DataDir::state_at(&lost).unwrap()), (Some(state), None));
        DataDir::remove_home(&homes[0]).unwrap();
        DataDir::remove_home(&lost).unwrap();
        assert_eq!(data.homes().unwrap(), homes[..1]);
    }
}
