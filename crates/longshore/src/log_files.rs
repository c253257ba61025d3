//! Log files with rotation: `<task>.stdout.0`, `.1`, ... in the allocation's `alloc/logs`.
//!
//! What a task writes goes from the pipe to the file inside the kernel, so a host that is killed between reading and
//! writing has lost nothing: a byte is in the pipe or in the file.

use std::{
    fs::{File, OpenOptions},
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use nomad_jobspec::job::Logs;
use rustix::{
    fs::{CWD, FileType, Mode, OFlags, mknodat, open},
    pipe::{SpliceFlags, fcntl_setpipe_size, splice},
};
use tokio::{io::unix::AsyncFd, sync::watch, task::JoinHandle};

/// A pipe's capacity: what a task may write while the host is busy.
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

/// The log files of a stream, oldest first, with their numbers.
pub(crate) fn files(logs: &Path, task: &str, stream: Stream) -> io::Result<Vec<(u64, PathBuf)>> {
    let prefix = format!("{task}.{}.", stream.name());
    let mut files = Vec::new();
    for entry in std::fs::read_dir(logs)? {
        let entry = entry?;
        let number = entry.file_name().to_str().and_then(|name| name.strip_prefix(&prefix)?.parse().ok());
        files.extend(number.map(|number| (number, entry.path())));
    }
    files.sort();
    Ok(files)
}

/// The collection of one stream; goes on until it is finished.
pub(crate) struct Collection {
    ended: watch::Sender<bool>,
    work: JoinHandle<io::Result<()>>,
}

impl Collection {
    /// Makes the pipe if it is not there, and collects what comes through it.
    pub(crate) fn start(directory: &Path, task: &str, stream: Stream, limits: Logs) -> io::Result<Self> {
        let path = pipe_path(directory, task, stream);
        match mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o600), 0) {
            Err(error) if error != rustix::io::Errno::EXIST => return Err(error.into()),
            _ => {}
        }
        // Open for writing as well, so that the pipe has no end while the driver is away.
        let pipe = open(&path, OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())?;
        let _smaller_is_fine = fcntl_setpipe_size(&pipe, PIPE_SIZE);
        #[expect(deprecated, reason = "its successor is unsafe; an owned descriptor keeps what that one asks for")]
        let pipe = AsyncFd::new(pipe)?;
        let rotation = Rotation::open(directory, task, stream, limits)?;
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
    directory: PathBuf,
    task: String,
    stream: Stream,
    max_files: u64,
    max_bytes: u64,
    number: u64,
    file: File,
    size: u64,
}

impl Rotation {
    fn open(directory: &Path, task: &str, stream: Stream, limits: Logs) -> io::Result<Self> {
        let number = files(directory, task, stream)?.last().map_or(0, |(number, _)| *number);
        let file = open_file(directory, task, stream, number)?;
        let size = file.metadata()?.len();
        Ok(Self {
            directory: directory.to_owned(),
            task: task.to_owned(),
            stream,
            max_files: limits.max_files.into(),
            max_bytes: u64::from(limits.max_file_size) << 20,
            number,
            file,
            size,
        })
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
        self.number += 1;
        self.file = open_file(&self.directory, &self.task, self.stream, self.number)?;
        self.size = 0;
        let files = files(&self.directory, &self.task, self.stream)?;
        for (_, path) in files.iter().filter(|(number, _)| number + self.max_files <= self.number) {
            std::fs::remove_file(path)?;
        }
        Ok(())
    }
}

/// Opened at its end, but not for appending, which splice(2) does not take.
fn open_file(directory: &Path, task: &str, stream: Stream, number: u64) -> io::Result<File> {
    let path = directory.join(format!("{task}.{}.{number}", stream.name()));
    let mut file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
    io::Seek::seek(&mut file, io::SeekFrom::End(0))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[tokio::test]
    async fn what_comes_is_kept_and_the_oldest_files_go() {
        let directory = tempfile::tempdir().unwrap();
        let limits = Logs { max_files: 2, max_file_size: 1, disabled: false };
        let collection = Collection::start(directory.path(), "web", Stream::Stdout, limits).unwrap();
        let path = pipe_path(directory.path(), "web", Stream::Stdout);
        let text: Vec<u8> = (0..400_000).flat_map(|n: u32| format!("{n:07}\n").into_bytes()).collect();

        let written = text.clone();
        tokio::task::spawn_blocking(move || OpenOptions::new().write(true).open(path).unwrap().write_all(&written))
            .await
            .unwrap()
            .unwrap();
        collection.finish().await.unwrap();

        let files = files(directory.path(), "web", Stream::Stdout).unwrap();
        assert_eq!(files.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [2, 3]);
        let kept: Vec<u8> = files.iter().flat_map(|(_, path)| std::fs::read(path).unwrap()).collect();
        assert_eq!(kept, text[2 << 20..]);
    }

    #[tokio::test]
    async fn a_new_host_goes_on_where_the_old_one_was() {
        let directory = tempfile::tempdir().unwrap();
        let limits = Logs { max_files: 2, max_file_size: 1, disabled: false };
        let path = pipe_path(directory.path(), "web", Stream::Stderr);
        for line in ["one\n", "two\n"] {
            let collection = Collection::start(directory.path(), "web", Stream::Stderr, limits).unwrap();
            OpenOptions::new().write(true).open(&path).unwrap().write_all(line.as_bytes()).unwrap();
            collection.finish().await.unwrap();
        }

        let files = files(directory.path(), "web", Stream::Stderr).unwrap();
        assert_eq!(std::fs::read_to_string(&files[0].1).unwrap(), "one\ntwo\n");
    }
}
