//! An image from an archive that lies in the task's directory.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use beneath::{Beneath, Links};
use futures_util::StreamExt;
use nomad_plugin::driver::{DriverError, TaskConfig};
use tokio::time::timeout;
use tokio_util::io::ReaderStream;

use crate::engine::Engine;

/// An archive of images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Archive {
    /// What leads to it is trusted.
    trusted: PathBuf,
    /// The directory within `trusted` that the archive may not be out of, reached without a link.
    bound: PathBuf,
    /// Within `bound`.
    path: PathBuf,
}

impl Archive {
    /// The archive that a job names: in a directory that the operator allows, where it names one, or else in the task's
    /// `local`, where a path from `/` begins as well.
    pub fn of_task(task: &TaskConfig, path: &str, load_dirs: &[PathBuf]) -> Self {
        let allowed = load_dirs.iter().filter_map(|dir| Some((dir, Path::new(path).strip_prefix(dir).ok()?)));
        // Of directories in one another, the outer one reaches the most.
        if let Some((dir, path)) = allowed.max_by_key(|(_, path)| path.components().count()) {
            return Self { trusted: dir.clone(), bound: PathBuf::new(), path: path.to_owned() };
        }
        let bound = Path::new(&task.name).join("local");
        Self { trusted: task.alloc_dir.clone().into(), bound, path: path.trim_start_matches('/').into() }
    }

    /// Where it is.
    fn named(&self) -> PathBuf {
        self.trusted.join(&self.bound).join(&self.path)
    }

    fn open(&self) -> io::Result<File> {
        Beneath::open(&self.trusted)?.below(&self.bound)?.read(&self.path, Links::Followed)
    }

    /// Loads it into the engine. The names of what came out of it, and the ids of those without one, are added to `images`,
    /// also where not all did.
    pub(super) async fn load(
        &self,
        engine: &Engine,
        limit: Duration,
        images: &mut Vec<String>,
    ) -> Result<(), DriverError> {
        let named = self.named().display().to_string();
        let file = self
            .open()
            .map_err(|error| DriverError::new(format!("unable to open image archive: open {named}: {error}")))?;
        let content = ReaderStream::with_capacity(tokio::fs::File::from_std(file), 64 << 10).boxed();
        match timeout(limit, engine.load_images(&named, content, |image| images.push(image))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(DriverError::new(format!("unable to load image archive {named}: {error}"))),
            Err(_) => Err(DriverError::new(format!("loading {named} took over {} s", limit.as_secs_f64()))),
        }
    }

    /// It has these images, and not the one that it was loaded for.
    pub(super) fn lacks(&self, image: &str, images: &[String]) -> DriverError {
        let has = if images.is_empty() { "none that the engine names".to_owned() } else { images.join(", ") };
        let named = self.named();
        DriverError::fatal(format!("the image archive {} has no image {image:?}; it has {has}", named.display()))
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
            Archive::of_task(&task, path, &[]).open()?.read_to_string(&mut text)?;
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

    #[test]
    fn an_archive_of_the_host_is_beneath_a_directory_that_the_operator_allows() {
        let directory = tempfile::tempdir().unwrap();
        let at = |path: &str| directory.path().join(path);
        for (path, content) in
            [("images/a.tar", "a"), ("images/in/b.tar", "b"), ("secret", "not"), ("images2/c", "not")]
        {
            fs::create_dir_all(at(path).parent().unwrap()).unwrap();
            fs::write(at(path), content).unwrap();
        }
        symlink("../a.tar", at("images/in/up")).unwrap();
        symlink("../secret", at("images/out")).unwrap();
        fs::create_dir_all(at("a1/web/local")).unwrap();
        let task =
            TaskConfig { name: "web".into(), alloc_dir: at("a1").display().to_string(), ..TaskConfig::default() };
        let read = |path: &Path, dirs: &[PathBuf]| {
            let mut text = String::new();
            Archive::of_task(&task, &path.display().to_string(), dirs).open()?.read_to_string(&mut text)?;
            io::Result::Ok(text)
        };

        let dirs = [at("images/in"), at("images"), at("missing")];
        for (inside, content) in [("images/a.tar", "a"), ("images/in/b.tar", "b"), ("images/in/up", "a")] {
            assert_eq!(read(&at(inside), &dirs).unwrap(), content, "{inside}");
        }
        for outside in ["images/out", "images/../secret", "images2/c", "secret", "missing/x", "images", "images/in"] {
            assert!(read(&at(outside), &dirs).is_err(), "{outside}");
        }
        assert!(read(&at("images/in/up"), &dirs[..1]).is_err());
        assert!(read(&at("images/a.tar"), &[]).is_err());
        fs::create_dir_all(at("a1/web/local/srv")).unwrap();
        fs::write(at("a1/web/local/srv/x.tar"), "mine").unwrap();
        assert_eq!(read(Path::new("/srv/x.tar"), &dirs).unwrap(), "mine");
    }
}
