//! Log files with rotation: `<task>.stdout.0`, `.1`, ... in the allocation's `alloc/logs`.
//!
//! What a task writes moves from the pipe to the file inside the kernel, so an agent that is killed between reading and
//! writing has lost nothing: a byte is in the pipe or in the file.

use std::{
    ffi::OsString,
    fs::File,
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use beneath::{Beneath, Links};
use nomad_jobspec::job::Logs;
use rustix::{
    fs::{Mode, OFlags},
    pipe::{SpliceFlags, fcntl_setpipe_size, splice},
};
use tokio::{io::unix::AsyncFd, sync::watch, task::JoinHandle};

use crate::alloc::dir::AllocDir;

/// A pipe's capacity: what a task may write while the agent is busy.
const PIPE_SIZE: usize = 1 << 20;

/// One of a task's streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// The pipe that the driver writes a stream to.
pub(crate) fn pipe_path(logs: &Path, task: &str, stream: Stream) -> PathBuf {
    logs.join(format!(".{task}.{}.fifo", stream.name()))
}

/// A stream's log files. A task may plant anything among them, and none of it is followed.
pub(crate) struct LogFiles {
    directory: Beneath,
    task: String,
    stream: Stream,
}

impl LogFiles {
    /// Those of an allocation's task.
    pub(crate) fn open(dir: &AllocDir, task: &str, stream: Stream) -> io::Result<Self> {
        Ok(Self { directory: dir.open_logs()?, task: task.to_owned(), stream })
    }

    fn name(&self, number: u64) -> PathBuf {
        format!("{}.{}.{number}", self.task, self.stream.name()).into()
    }

    /// Their numbers, oldest first.
    pub(crate) fn numbers(&self) -> io::Result<Vec<u64>> {
        let prefix = format!("{}.{}.", self.task, self.stream.name());
        let number = |name: OsString| name.to_str()?.strip_prefix(&prefix)?.parse::<u32>().ok();
        let mut numbers: Vec<u64> = self.directory.names()?.into_iter().filter_map(number).map(u64::from).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// The first file of these that is one, with its number.
    pub(crate) fn first(&self, numbers: impl IntoIterator<Item = u64>) -> Option<(u64, File)> {
        let mut files =
            numbers.into_iter().map(|number| (number, self.directory.read(&self.name(number), Links::Refused)));
        files.find_map(|(number, file)| Some((number, file.ok()?)))
    }

    /// Opened at its end, but not for appending, which splice(2) does not take. What is no file is replaced.
    fn write(&self, number: u64) -> io::Result<File> {
        let (name, mode) = (self.name(number), Mode::from_raw_mode(0o644));
        let mut file = match self.directory.open_own(&name, mode) {
            Ok(file) => file,
            Err(_) => self.directory.replace(&name, mode)?,
        };
        io::Seek::seek(&mut file, io::SeekFrom::End(0))?;
        Ok(file)
    }
}

/// The collection of one stream, until it is finished.
pub(crate) struct Collection {
    ended: watch::Sender<bool>,
    work: JoinHandle<io::Result<()>>,
}

impl Collection {
    /// Makes the pipe if it is not there, and collects what comes through it.
    pub(crate) fn start(files: LogFiles, limits: Logs) -> io::Result<Self> {
        // Open for writing as well, so that the pipe has no end while the driver is away.
        let path = pipe_path(files.directory.path(), &files.task, files.stream);
        let flags = OFlags::RDWR | OFlags::NONBLOCK;
        let pipe = OwnedFd::from(files.directory.pipe(&path, Mode::RUSR | Mode::WUSR, flags)?);
        let _smaller_is_fine = fcntl_setpipe_size(&pipe, PIPE_SIZE);
        #[expect(deprecated, reason = "its successor is unsafe; an owned descriptor keeps what that one asks for")]
        let pipe = AsyncFd::new(pipe)?;
        let rotation = Rotation::open(files, limits)?;
        let (ended, watched) = watch::channel(false);
        #[expect(clippy::disallowed_methods, reason = "the collection holds it")]
        let work = tokio::spawn(collect(pipe, rotation, watched));
        Ok(Self { ended, work })
    }

    /// The task has ended and the driver has written all: takes what is in the pipe, and stops.
    pub(crate) async fn finish(self) -> io::Result<()> {
        self.ended.send_replace(true);
        self.work.await.unwrap_or(Ok(()))
    }
}

async fn collect(pipe: AsyncFd<OwnedFd>, mut rotation: Rotation, mut ended: watch::Receiver<bool>) -> io::Result<()> {
    loop {
        tokio::select! {
            ready = pipe.readable() => {
                let mut ready = ready?;
                match rotation.take(pipe.get_ref()) {
                    Ok(_) | Err(rustix::io::Errno::INTR) => {}
                    Err(rustix::io::Errno::AGAIN) => ready.clear_ready(),
                    Err(error) => return Err(error.into()),
                }
                tokio::task::yield_now().await;
            }
            () = over(&mut ended) => break,
        }
    }
    loop {
        match rotation.take(pipe.get_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

async fn over(ended: &mut watch::Receiver<bool>) {
    let _collection_dropped_is_the_end_too = ended.wait_for(|ended| *ended).await;
}

struct Rotation {
    files: LogFiles,
    max_files: u64,
    max_bytes: u64,
    number: u64,
    file: File,
    size: u64,
}

impl Rotation {
    fn open(files: LogFiles, limits: Logs) -> io::Result<Self> {
        let number = files.first(files.numbers()?.into_iter().rev()).map_or(0, |(number, _)| number);
        let file = files.write(number)?;
        let size = file.metadata()?.len();
        let max_bytes = u64::from(limits.max_file_size) << 20;
        Ok(Self { files, max_files: limits.max_files.into(), max_bytes, number, file, size })
    }

    /// Moves what is in the pipe to the file; AGAIN where the pipe is empty.
    fn take(&mut self, pipe: &OwnedFd) -> rustix::io::Result<usize> {
        if self.size >= self.max_bytes {
            self.rotate().map_err(|error| {
                error.raw_os_error().map_or(rustix::io::Errno::IO, rustix::io::Errno::from_raw_os_error)
            })?;
        }
        let room = usize::try_from(self.max_bytes - self.size).unwrap_or(PIPE_SIZE).min(PIPE_SIZE);
        let moved = splice(pipe, None, &self.file, None, room, SpliceFlags::NONBLOCK)?;
        self.size += moved as u64;
        Ok(moved)
    }

    fn rotate(&mut self) -> io::Result<()> {
        // A task may have put a directory where the next file would be.
        let taken = self.files.numbers()?;
        self.number = taken.last().map_or(self.number, |last| self.number.max(*last)) + 1;
        self.file = self.files.write(self.number)?;
        self.size = 0;
        for number in taken.into_iter().filter(|number| number + self.max_files <= self.number) {
            let _directory_that_a_task_put_there = self.files.directory.remove(&self.files.name(number));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::OpenOptions, io::Write, os::unix::fs::symlink};

    use super::*;

    /// A directory of logs, and a file of the host beside it.
    struct LogDirectory(tempfile::TempDir);

    impl LogDirectory {
        fn new() -> Self {
            let logs = Self(tempfile::tempdir().unwrap());
            std::fs::create_dir(logs.logs()).unwrap();
            std::fs::write(logs.secret(), "theirs").unwrap();
            logs
        }

        fn logs(&self) -> PathBuf {
            self.0.path().join("logs")
        }

        fn at(&self, name: &str) -> PathBuf {
            self.logs().join(name)
        }

        fn secret(&self) -> PathBuf {
            self.0.path().join("secret")
        }

        fn files(&self, stream: Stream) -> LogFiles {
            LogFiles { directory: Beneath::open(&self.logs()).unwrap(), task: "web".to_owned(), stream }
        }

        /// Collects what is written to the pipe.
        async fn collect(&self, stream: Stream, text: &[u8]) {
            let limits = Logs { max_files: 2, max_file_size: 1, disabled: false };
            let collection = Collection::start(self.files(stream), limits).unwrap();
            let (path, text) = (pipe_path(&self.logs(), "web", stream), text.to_owned());
            let writing = move || OpenOptions::new().write(true).open(path).unwrap().write_all(&text);
            tokio::task::spawn_blocking(writing).await.unwrap().unwrap();
            collection.finish().await.unwrap();
        }

        fn files_and_texts(&self, stream: Stream) -> Vec<(u64, Vec<u8>)> {
            let files = self.files(stream);
            let file =
                |number| files.first([number]).map(|(number, file)| (number, io::read_to_string(file).unwrap().into()));
            files.numbers().unwrap().into_iter().filter_map(file).collect()
        }
    }

    fn lines() -> Vec<u8> {
        (0..400_000).flat_map(|n: u32| format!("{n:07}\n").into_bytes()).collect()
    }

    #[tokio::test]
    async fn what_comes_is_kept_and_the_oldest_files_are_removed() {
        let logs = LogDirectory::new();
        let text = lines();

        logs.collect(Stream::Stdout, &text).await;

        let files_and_texts = logs.files_and_texts(Stream::Stdout);
        assert_eq!(files_and_texts.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [2, 3]);
        assert_eq!(files_and_texts.into_iter().flat_map(|(_, text)| text).collect::<Vec<_>>(), text[2 << 20..]);
    }

    #[tokio::test]
    async fn a_new_agent_continues_where_the_old_one_was() {
        let logs = LogDirectory::new();

        for line in ["one\n", "two\n"] {
            logs.collect(Stream::Stderr, line.as_bytes()).await;
        }

        assert_eq!(logs.files_and_texts(Stream::Stderr), [(0, b"one\ntwo\n".to_vec())]);
    }

    #[tokio::test]
    async fn nothing_that_was_planted_among_the_files_is_written_through_or_stops_the_log() {
        let logs = LogDirectory::new();
        symlink(logs.secret(), logs.at("web.stdout.0")).unwrap();
        symlink("../secret", logs.at("web.stdout.1")).unwrap();
        symlink(logs.0.path().join("made"), logs.at("web.stdout.2")).unwrap();
        symlink(logs.secret(), logs.at(".web.stdout.fifo")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, logs.at("web.stdout.3"), Mode::RUSR | Mode::WUSR).unwrap();
        for directory in ["web.stdout.4", "web.stdout.04", "web.stdout.18446744073709551615"] {
            std::fs::create_dir(logs.at(directory)).unwrap();
        }
        let text = lines();

        logs.collect(Stream::Stdout, &text).await;

        assert_eq!(std::fs::read_to_string(logs.secret()).unwrap(), "theirs");
        assert!(!logs.0.path().join("made").exists());
        let files_and_texts: Vec<u8> =
            logs.files_and_texts(Stream::Stdout).into_iter().flat_map(|(_, text)| text).collect();
        assert_eq!(files_and_texts, text[2 << 20..]);
    }

    #[tokio::test]
    async fn what_was_planted_where_the_next_file_would_be_is_left_alone() {
        let logs = LogDirectory::new();
        logs.collect(Stream::Stdout, b"before\n").await;
        let limits = Logs { max_files: 9, max_file_size: 1, disabled: false };
        let mut rotation = Rotation::open(logs.files(Stream::Stdout), limits).unwrap();

        for step in 1..4 {
            let next = logs.at(&format!("web.stdout.{}", rotation.number + 1));
            match step {
                1 => symlink(logs.secret(), next).unwrap(),
                2 => symlink("../made", next).unwrap(),
                _ => rustix::fs::mkfifoat(rustix::fs::CWD, next, Mode::RUSR | Mode::WUSR).unwrap(),
            }
            rotation.rotate().unwrap();
            rotation.file.write_all(b"ours").unwrap();
        }

        assert_eq!(std::fs::read_to_string(logs.secret()).unwrap(), "theirs");
        assert!(!logs.0.path().join("made").exists());
        assert_eq!(rotation.number, 6);
        assert_eq!(logs.files_and_texts(Stream::Stdout).iter().filter(|(_, text)| text == b"ours").count(), 3);
    }

    #[test]
    fn what_is_no_file_is_not_shown() {
        let logs = LogDirectory::new();
        symlink(logs.secret(), logs.at("web.stdout.0")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, logs.at("web.stdout.1"), Mode::RUSR | Mode::WUSR).unwrap();
        std::fs::create_dir(logs.at("web.stdout.2")).unwrap();
        std::fs::write(logs.at("web.stdout.3"), "mine").unwrap();
        symlink("web.stdout.3", logs.at("web.stdout.4")).unwrap();

        assert_eq!(logs.files_and_texts(Stream::Stdout), [(3, b"mine".to_vec())]);
    }
}
