//! On disk: the task containers that this driver created or that an agent handed over by id, and the images that it pulled for
//! pause containers.
//!
//! `<state dir>/containers/<id>` holds the container's name, `<state dir>/pause-images/<id>` the image's, and
//! `<state dir>/destroyed/<id>` the name of a container that is to be ended. Anyone can set names and labels; what is recorded
//! here is certainly the driver's own. If it is lost, little harm is done: then only the labels identify a container's owner, an
//! image is pulled again, and the search for dangling containers finds what a destroyed task left.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use atomic_file::Durability;

/// The maximum size of a recorded name.
const LARGEST: u64 = 4 << 10;

/// How old what a killed process was writing must be: another process may be writing now.
const HALF_WRITTEN: Duration = Duration::from_secs(60);

/// The containers or images recorded in a state directory.
#[derive(Clone, Debug)]
pub(crate) struct Made(PathBuf);

impl Made {
    /// The containers recorded in a state directory.
    pub(crate) fn new(state_dir: &Path) -> Self {
        Self(state_dir.join("containers"))
    }

    /// The images of pause containers recorded in a state directory.
    pub(crate) fn pause_images(state_dir: &Path) -> Self {
        Self(state_dir.join("pause-images"))
    }

    /// The containers of destroyed tasks recorded in the same state directory.
    pub(crate) fn destroyed(&self) -> Self {
        Self(self.0.with_file_name("destroyed"))
    }

    /// The recorded containers or images.
    pub(crate) fn ids(&self) -> Vec<String> {
        let notes = fs::read_dir(&self.0).into_iter().flatten().flatten();
        let ids = notes.filter_map(|note| note.file_name().into_string().ok());
        ids.filter(|id| self.path(id).is_some()).collect()
    }

    /// Ids come from the engine and from handles.
    fn path(&self, id: &str) -> Option<PathBuf> {
        let id = id.strip_prefix("sha256:").unwrap_or(id);
        let is_id = (12..=64).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_id.then(|| self.0.join(id))
    }

    /// Records a container by the name of its task's container, or an image by the name that it was pulled by.
    pub(crate) fn note(&self, id: &str, name: &str) {
        let Some(path) = self.path(id) else { return };
        if let Err(error) = atomic_file::replace(&path, name.as_bytes(), Durability::Process) {
            tracing::warn!(file = %path.display(), %error, "failed to record a container; it is recognized by its labels alone");
        }
    }

    /// Whether the id is recorded under that name.
    pub(crate) fn has(&self, id: &str, name: &str) -> bool {
        let noted = self.path(id).and_then(|path| atomic_file::read(&path, LARGEST).ok());
        noted.is_some_and(|noted| noted == name.as_bytes())
    }

    /// Removes a container's record.
    pub(crate) fn forget(&self, id: &str) {
        if let Some(path) = self.path(id) {
            let _not_there = fs::remove_file(path);
        }
    }

    /// Removes records older than `grace` unless `is_there` holds for their id.
    pub(crate) fn retain(&self, is_there: impl Fn(&str) -> bool, grace: Duration) {
        for note in fs::read_dir(&self.0).into_iter().flatten().flatten() {
            let age = note.metadata().ok().and_then(|found| found.modified().ok()?.elapsed().ok()).unwrap_or_default();
            if age >= grace && note.file_name().to_str().is_some_and(|id| !is_there(id)) {
                let _not_there = fs::remove_file(note.path());
            }
        }
    }
}

/// Removes what killed processes have left of records that they were writing in a state directory.
pub(crate) fn sweep_half_written(state_dir: &Path) {
    let of_engines = fs::read_dir(state_dir.join("networks")).into_iter().flatten().flatten();
    let directories = ["", "containers", "destroyed", "pause-images", "images"].map(|name| state_dir.join(name));
    for directory in directories.into_iter().chain(of_engines.map(|engine| engine.path())) {
        atomic_file::sweep(&directory, HALF_WRITTEN);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "c0ffee00c0ffee00";

    #[test]
    fn a_container_is_noted_by_its_id_and_name_until_it_is_forgotten() {
        let directory = tempfile::tempdir().unwrap();
        let made = Made::new(directory.path());

        made.note(ID, "web-a1");
        made.note("../../evil", "web-a1");

        assert_eq!(made.ids(), [ID]);
        assert!(made.has(ID, "web-a1") && !made.has(ID, "other-a1") && !made.has("../../evil", "web-a1"));
        assert!(Made::new(directory.path()).has(ID, "web-a1"), "another process knows it");
        fs::write(directory.path().join("containers/.half-written"), "").unwrap();
        assert_eq!((made.ids(), made.destroyed().ids()), (vec![ID.to_owned()], vec![]));
        made.retain(|_| false, Duration::from_secs(60));
        made.retain(|id| id == ID, Duration::ZERO);
        assert!(made.has(ID, "web-a1"));
        made.retain(|_| false, Duration::ZERO);
        assert!(!made.has(ID, "web-a1"));
        made.note(ID, "web-a1");
        made.forget(ID);
        assert!(!made.has(ID, "web-a1"));
    }
}
