//! On disk: the tasks' containers that this driver made, and those that an agent handed over by their ids; the images that it
//! pulled for pause containers.
//!
//! `<state dir>/containers/<id>` has the container's name, `<state dir>/pause-images/<id>` the image's. Names and labels are
//! for everybody to give; what is noted here is the driver's own beyond doubt. Lost, it does little harm: then only the labels
//! say whose a container is, and an image is pulled again.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use atomic_file::Durability;

/// Bytes of the longest name that is read.
const LARGEST: u64 = 4 << 10;

/// The containers, or the images, that are noted in a state directory.
#[derive(Clone, Debug)]
pub(crate) struct Made(PathBuf);

impl Made {
    /// The containers of a state directory.
    pub(crate) fn new(state_dir: &Path) -> Self {
        Self(state_dir.join("containers"))
    }

    /// The images of pause containers.
    pub(crate) fn pause_images(state_dir: &Path) -> Self {
        Self(state_dir.join("pause-images"))
    }

    /// Ids come from the engine and from handles.
    fn path(&self, id: &str) -> Option<PathBuf> {
        let id = id.strip_prefix("sha256:").unwrap_or(id);
        let is_id = (12..=64).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_id.then(|| self.0.join(id))
    }

    /// Notes a container, by the name that its task's has, or an image by the name that it was pulled by.
    pub(crate) fn note(&self, id: &str, name: &str) {
        let Some(path) = self.path(id) else { return };
        if let Err(error) = atomic_file::replace(&path, name.as_bytes(), Durability::Process) {
            tracing::warn!(file = %path.display(), %error, "failed to record a container; it is recognized by its labels alone");
        }
    }

    /// Whether one is noted, under that name.
    pub(crate) fn has(&self, id: &str, name: &str) -> bool {
        let noted = self.path(id).and_then(|path| atomic_file::read(&path, LARGEST).ok());
        noted.is_some_and(|noted| noted == name.as_bytes())
    }

    /// Drops a container's note.
    pub(crate) fn forget(&self, id: &str) {
        if let Some(path) = self.path(id) {
            let _not_there = fs::remove_file(path);
        }
    }

    /// Drops the notes that are older than `grace` and not of one of these containers.
    pub(crate) fn retain(&self, is_there: impl Fn(&str) -> bool, grace: Duration) {
        for note in fs::read_dir(&self.0).into_iter().flatten().flatten() {
            let age = note.metadata().ok().and_then(|found| found.modified().ok()?.elapsed().ok()).unwrap_or_default();
            if age >= grace && note.file_name().to_str().is_some_and(|id| !is_there(id)) {
                let _not_there = fs::remove_file(note.path());
            }
        }
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

        assert!(made.has(ID, "web-a1") && !made.has(ID, "other-a1") && !made.has("../../evil", "web-a1"));
        assert!(Made::new(directory.path()).has(ID, "web-a1"), "another process knows it");
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
