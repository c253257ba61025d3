//! Where a container's output is written: the pipes that the host created, or files in their place.

use std::{
    fs::{File, FileTimes, Metadata},
    io::{self, Write as _},
    os::unix::fs::{FileTypeExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use beneath::{Beneath, Links, find_anywhere, reopen};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::OFlags,
};
use tokio::io::unix::AsyncFd;

use background::apart;

/// The paths that the host names for a task's output. They already exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSink {
    /// The allocation's directory. Paths beneath it are opened without following links, because tasks can write there.
    pub alloc_dir: PathBuf,
    /// For standard output.
    pub stdout: PathBuf,
    /// For standard error.
    pub stderr: PathBuf,
}

/// One of a task's two output streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output; the only stream of a task with a terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    pub(super) const BOTH: [Self; 2] = [Self::Stdout, Self::Stderr];

    pub(super) fn index(self) -> usize {
        self as usize
    }
}

/// The most that a pipe accepts atomically (POSIX's `PIPE_BUF` on Linux).
const WHOLE: usize = 4096;

/// The timeout for file system operations in a task's directory.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// What is at an outlet's path.
enum Found {
    Pipe(File),
    File(File),
    Null,
}

impl Found {
    fn look(alloc_dir: &Path, path: &Path) -> io::Result<Self> {
        let alloc_dir = Beneath::open(alloc_dir)?;
        let found = if path.starts_with(alloc_dir.path()) {
            alloc_dir.find(path, Links::Refused)?
        } else {
            find_anywhere(path, Links::Refused)?
        };
        let metadata = found.metadata()?;
        if metadata.file_type().is_fifo() {
            return Ok(Self::Pipe(found));
        }
        if metadata.is_file() {
            return Ok(Self::File(reopen(&found, OFlags::WRONLY | OFlags::APPEND)?));
        }
        if is_null(&metadata) { Ok(Self::Null) } else { Err(io::Error::other("it is neither a pipe nor a file")) }
    }
}

/// An open output.
pub(super) enum Outlet {
    /// A named pipe. It is also open for reading, so that its content survives a reader that leaves.
    Pipe(AsyncFd<File>),
    /// A regular file or a device.
    File(File),
    /// `/dev/null`.
    Nowhere,
}

impl Outlet {
    /// Opens a pipe, a regular file or `/dev/null`, whatever else was put in its place or on the way to it. Nothing is opened
    /// before its type is known: a disk's device node would be written to.
    pub(super) async fn open(alloc_dir: &Path, path: &Path) -> io::Result<Self> {
        let (alloc_dir, path) = (alloc_dir.to_owned(), path.to_owned());
        match apart(PATIENCE, move || Found::look(&alloc_dir, &path)).await? {
            Found::Pipe(pipe) => Self::of_pipe(&pipe),
            Found::File(file) => Ok(Self::File(file)),
            Found::Null => Ok(Self::Nowhere),
        }
    }

    /// Opens a pipe that was found, or is held.
    pub(super) fn of_pipe(found: &File) -> io::Result<Self> {
        let pipe = reopen(found, OFlags::RDWR | OFlags::NONBLOCK)?;
        #[expect(deprecated, reason = "its successor is unsafe; an owned descriptor keeps what that one asks for")]
        Ok(Self::Pipe(AsyncFd::new(pipe)?))
    }

    /// Another, write-only end of a pipe: while held open, it does not count as a reader.
    pub(super) fn writing_end(&self) -> io::Result<Option<File>> {
        let Self::Pipe(pipe) = self else { return Ok(None) };
        reopen(pipe.get_ref(), OFlags::WRONLY | OFlags::NONBLOCK).map(Some)
    }

    /// How many unread bytes are in a pipe.
    pub(super) fn unread(&self) -> io::Result<u64> {
        match self {
            Self::Pipe(pipe) => Ok(rustix::io::ioctl_fionread(pipe.get_ref())?),
            Self::File(_) | Self::Nowhere => Ok(0),
        }
    }

    /// How much may be written at once: a write that is atomic, so that a killed process leaves no partial one.
    pub(super) fn piece(&self, bytes: usize) -> usize {
        match self {
            Self::Pipe(_) => bytes.min(WHOLE),
            Self::File(_) => bytes.min(64 * 1024),
            Self::Nowhere => bytes,
        }
    }

    /// Writes without blocking; `None` if there is no room.
    pub(super) fn write(&self, bytes: &[u8]) -> io::Result<Option<usize>> {
        let written = match self {
            Self::Pipe(pipe) => pipe.get_ref().write(bytes),
            Self::File(file) => (&*file).write(bytes),
            Self::Nowhere => Ok(bytes.len()),
        };
        match written {
            Ok(0) if !bytes.is_empty() => Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => Ok(Some(written)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(Some(0)),
            Err(error) => Err(error),
        }
    }

    /// Waits for room.
    pub(super) async fn room(&self) -> io::Result<()> {
        let Self::Pipe(pipe) = self else { return Ok(()) };
        loop {
            let mut ready = pipe.writable().await?;
            let mut asked = [PollFd::new(pipe.get_ref(), PollFlags::OUT)];
            if poll(&mut asked, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))? > 0 {
                return Ok(());
            }
            ready.clear_ready();
        }
    }

    /// Puts a mark on a pipe that the next write erases; see [`position`](super::position).
    pub(super) fn mark(&self, mark: u64) -> io::Result<()> {
        let Self::Pipe(pipe) = self else { return Ok(()) };
        pipe.get_ref().set_times(FileTimes::new().set_modified(time_of(mark)))
    }

    /// Whether the mark is still there.
    pub(super) fn has_mark(&self, mark: u64) -> io::Result<bool> {
        let Self::Pipe(pipe) = self else { return Ok(false) };
        Ok(pipe.get_ref().metadata()?.modified()? == time_of(mark))
    }

    /// When something was last written to it, or a mark was put on it.
    pub(super) fn written(&self) -> io::Result<Option<SystemTime>> {
        match self {
            Self::Pipe(pipe) => pipe.get_ref().metadata()?.modified().map(Some),
            Self::File(file) => file.metadata()?.modified().map(Some),
            Self::Nowhere => Ok(None),
        }
    }

    /// The size of a regular file.
    pub(super) fn size(&self) -> io::Result<u64> {
        match self {
            Self::File(file) => Ok(file.metadata()?.size()),
            Self::Pipe(_) | Self::Nowhere => Ok(0),
        }
    }
}

/// Marks are modification times in the years 1970 to 1978, when nothing was written to this pipe.
fn time_of(mark: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(mark % (1 << 28))
}

fn is_null(metadata: &Metadata) -> bool {
    metadata.file_type().is_char_device()
        && (rustix::fs::major(metadata.rdev()), rustix::fs::minor(metadata.rdev())) == (1, 3)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};

    use super::*;

    fn make_pipe(path: &Path) {
        mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    }

    #[tokio::test]
    async fn only_what_the_host_made_is_opened_whatever_a_task_put_in_its_place() {
        let directory = tempfile::tempdir().unwrap();
        let at = |path: &str| directory.path().join(path);
        fs::create_dir_all(at("a1/logs")).unwrap();
        fs::create_dir(at("other")).unwrap();
        make_pipe(&at("other/out.fifo"));
        make_pipe(&at("a1/logs/out.fifo"));
        fs::write(at("a1/logs/file"), "").unwrap();
        symlink("out.fifo", at("a1/logs/link")).unwrap();
        symlink(at("other"), at("a1/swapped")).unwrap();
        symlink(at("a1/logs/file"), at("link-outside")).unwrap();
        fs::create_dir(at("a1/logs/directory")).unwrap();
        let open = async |path: PathBuf| Outlet::open(&at("a1"), &path).await;

        assert!(matches!(open(at("a1/logs/out.fifo")).await, Ok(Outlet::Pipe(_))));
        assert!(matches!(open(at("other/out.fifo")).await, Ok(Outlet::Pipe(_))));
        assert!(matches!(open(at("a1/logs/file")).await, Ok(Outlet::File(_))));
        assert!(matches!(open("/dev/null".into()).await, Ok(Outlet::Nowhere)));
        for refused in ["a1/logs/link", "a1/swapped/out.fifo", "link-outside", "a1/logs/directory", "a1/logs/missing"] {
            assert!(open(at(refused)).await.is_err(), "{refused}");
        }
        let mut devices = vec![PathBuf::from("/dev/full")];
        // Requires the permission to create devices; a task may have it, with Docker's default capabilities.
        let mode = Mode::RUSR | Mode::WUSR;
        if mknodat(CWD, at("a1/logs/disk"), FileType::BlockDevice, mode, makedev(7, 200)).is_ok() {
            devices.push(at("a1/logs/disk"));
        }
        for device in devices {
            assert_eq!(open(device).await.err().unwrap().to_string(), "it is neither a pipe nor a file");
        }
    }
}
