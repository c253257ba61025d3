//! Loads an image from an archive in the task's directory.

use std::{
    fs::File,
    io::{self, BufWriter, Seek, Write},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use beneath::{Beneath, Links};
use bytes::Bytes;
use futures_util::StreamExt;
use nomad_plugin::driver::{DriverError, TaskConfig};
use tokio::{
    sync::mpsc,
    task::{JoinError, spawn_blocking},
    time::timeout,
};
use tokio_stream::wrappers::ReceiverStream;

use super::archive::{Bounds, Checked, Flaw};
use crate::reference::ImageReference;
use engine::{Engine, EngineError};

/// An archive of images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Archive {
    /// A trusted base path.
    trusted: PathBuf,
    /// A directory within `trusted` that the archive must be in, reached without links.
    bound: PathBuf,
    /// The path within `bound`.
    path: PathBuf,
}

impl Archive {
    /// The archive that a job names. It is in a directory that the operator allows, if the path names one, or else in the
    /// task's `local`, which also is the root of absolute paths.
    pub fn of_task(task: &TaskConfig, path: &str, load_dirs: &[PathBuf]) -> Self {
        let allowed = load_dirs.iter().filter_map(|dir| Some((dir, Path::new(path).strip_prefix(dir).ok()?)));
        // Of nested directories, the outermost allows the most.
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

    /// Loads the requested image into the engine, if the archive contains that image and no other. `most` bounds its unpacked
    /// size. `on_send` is called before anything is sent to the engine. Returns what was checked.
    pub(super) async fn load(
        &self,
        engine: &Engine,
        wanted: &ImageReference,
        most: u64,
        limit: Duration,
        on_send: impl FnOnce(),
    ) -> Result<Arc<Checked>, DriverError> {
        let named = self.named().display().to_string();
        match timeout(limit, self.check_and_send(engine, wanted, most, on_send)).await {
            Ok(Ok(checked)) => Ok(checked),
            Ok(Err(LoadFailed::Open(error))) => {
                Err(DriverError::new(format!("unable to open image archive: open {named}: {error}")))
            }
            Ok(Err(LoadFailed::Flaw(Flaw::Lacks(has)))) => Err(self.lacks(wanted, &has)),
            Ok(Err(error)) => Err(DriverError::new(format!("unable to load image archive {named}: {error}"))),
            Err(_) => Err(DriverError::new(format!("loading {named} took over {} s", limit.as_secs_f64()))),
        }
    }

    async fn check_and_send(
        &self,
        engine: &Engine,
        wanted: &ImageReference,
        most: u64,
        on_send: impl FnOnce(),
    ) -> Result<Arc<Checked>, LoadFailed> {
        // Dropping the future stops the reading.
        let stop = Stop::default();
        let (archive, wanted_there, stopped) = (self.clone(), wanted.clone(), stop.0.clone());
        let reading = move || {
            let file = archive.open().map_err(LoadFailed::Open)?;
            let checked = Checked::read(&file, &wanted_there, &Bounds::new(most, stopped))?;
            Ok::<_, LoadFailed>((file, Arc::new(checked)))
        };
        let (mut file, checked) = spawn_blocking(reading).await??;
        on_send();
        let (parts, content) = mpsc::channel(4);
        let (sent, stopped) = (checked.clone(), stop.0.clone());
        let sending = spawn_blocking(move || {
            file.rewind()?;
            let to = BufWriter::with_capacity(256 << 10, Parts(parts.clone()));
            let outcome = sent.send(&file, to, &Bounds::new(u64::MAX, stopped));
            if outcome.is_err() {
                // The engine must not mistake this for the end of the archive.
                let _nobody_reads = parts.blocking_send(Err(io::Error::other("the archive is not whole")));
            }
            outcome
        });
        let content = ReceiverStream::new(content).boxed();
        let loaded = engine.load_images(&self.named().display().to_string(), content, drop).await;
        match (sending.await?, loaded) {
            (Err(Flaw::Changed), _) => Err(Flaw::Changed.into()),
            (_, Err(error)) => Err(error.into()),
            (sent, Ok(())) => Ok(sent.map(|()| checked)?),
        }
    }

    /// The archive has these images, but not the requested one.
    fn lacks(&self, image: &ImageReference, images: &[String]) -> DriverError {
        let has = if images.is_empty() { "none that it names".to_owned() } else { images.join(", ") };
        let (named, image) = (self.named(), image.to_string());
        DriverError::fatal(format!("the image archive {} has no image {image:?}; it has {has}", named.display()))
    }
}

/// Why an archive was not loaded.
#[derive(Debug, thiserror::Error)]
enum LoadFailed {
    #[error(transparent)]
    Open(io::Error),
    #[error(transparent)]
    Flaw(#[from] Flaw),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Panic(#[from] JoinError),
}

/// Stops the threads that read an archive when it is dropped.
#[derive(Default)]
struct Stop(Arc<AtomicBool>);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Content sent from a thread that may block.
struct Parts(mpsc::Sender<io::Result<Bytes>>);

impl Write for Parts {
    fn write(&mut self, part: &[u8]) -> io::Result<usize> {
        let sent = self.0.blocking_send(Ok(Bytes::copy_from_slice(part)));
        sent.map(|()| part.len()).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
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
