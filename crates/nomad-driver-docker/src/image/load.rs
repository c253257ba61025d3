//! An image from an archive that lies in the task's directory.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use futures_util::StreamExt;
use nomad_plugin::driver::{DriverError, TaskConfig};
use tokio::time::timeout;
use tokio_util::io::ReaderStream;

use crate::{
    beneath::{Beneath, Links},
    engine::Engine,
};

/// An archive in the directory `local` of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Archive {
    alloc_dir: PathBuf,
    local: PathBuf,
    /// Within `local`.
    path: PathBuf,
}

impl Archive {
    /// The archive that a job names; a path from `/` begins in `local` as well.
    pub fn of_task(task: &TaskConfig, path: &str) -> Self {
        let local = Path::new(&task.name).join("local");
        Self { alloc_dir: task.alloc_dir.clone().into(), local, path: path.trim_start_matches('/').into() }
    }

    /// Where it is, as the job has it.
    fn named(&self) -> PathBuf {
        self.alloc_dir.join(&self.local).join(&self.path)
    }

    fn open(&self) -> io::Result<File> {
        Beneath::open(&self.alloc_dir)?.below(&self.local)?.read(&self.path, Links::Followed)
    }
}

/// Loads the archive into the engine.
pub(super) async fn load(engine: &Engine, archive: &Archive, limit: Duration) -> Result<(), DriverError> {
    let named = archive.named().display().to_string();
    let file = archive
        .open()
        .map_err(|error| DriverError::new(format!("unable to open image archive: open {named}: {error}")))?;
    let content = ReaderStream::with_capacity(tokio::fs::File::from_std(file), 64 << 10).boxed();
    match timeout(limit, engine.load_images(&named, content)).await {
        Ok(loaded) => loaded.map_err(|error| DriverError::new(error.to_string())),
        Err(_) => Err(DriverError::new(format!("loading {named} took over {} s", limit.as_secs_f64()))),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Read, os::unix::fs::symlink};

    use super::*;

    #[test]
    fn an_archive_is_in_the_tasks_own_directory_and_nowhere_else() {
        let directory = tempfile::tempdir().unwrap();
        let at = |path: &str| directory.path().join(path);
        for (path, content) in [("a1/web/local/in/image.tar", "mine"), ("a1/web/secrets/x", "not"), ("secret", "not")] {
            fs::create_dir_all(at(path).parent().unwrap()).unwrap();
            fs::write(at(path), content).unwrap();
        }
        symlink("in/image.tar", at("a1/web/local/link")).unwrap();
        symlink("../secrets/x", at("a1/web/local/out")).unwrap();
        symlink(at("secret"), at("a1/web/local/absolute")).unwrap();
        let task =
            TaskConfig { name: "web".into(), alloc_dir: at("a1").display().to_string(), ..TaskConfig::default() };
        let read = |path: &str| {
            let mut text = String::new();
            Archive::of_task(&task, path).open()?.read_to_string(&mut text)?;
            io::Result::Ok(text)
        };

        for inside in ["in/image.tar", "/in/image.tar", "link", "in/../link"] {
            assert_eq!(read(inside).unwrap(), "mine", "{inside}");
        }
        let secret = at("secret").display().to_string();
        for outside in ["../secrets/x", "../../../secret", "out", "absolute", &secret, "in"] {
            assert!(read(outside).is_err(), "{outside}");
        }
        fs::rename(at("a1/web"), at("a1/moved")).unwrap();
        symlink(at("a1/moved"), at("a1/web")).unwrap();
        assert!(read("in/image.tar").is_err(), "through a task's directory that was swapped");
    }
}
