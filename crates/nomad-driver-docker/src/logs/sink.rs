//! Where a container's output goes: the pipes that the host made, or files in their place.

use std::{
    fs::{File, FileTimes, Metadata, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::OFlags,
};
use tokio::io::unix::AsyncFd;

/// The paths that the host names for a task's output. They exist already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSink {
    /// Standard output's.
    pub stdout: PathBuf,
    /// Standard error's.
    pub stderr: PathBuf,
}

/// One of a task's two output streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output; all there is of a task with a terminal.
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

/// The most that a pipe takes whole or not at all (POSIX's `PIPE_BUF` on Linux).
const WHOLE: usize = 4096;

/// An open end.
pub(super) enum Outlet {
    /// A named pipe. Open for reading too, so that what is in it outlives a reader that goes away.
    Pipe(AsyncFd<File>),
    /// A regular file or a device.
    File(File),
    /// `/dev/null`.
    Nowhere,
}

impl Outlet {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let is_pipe = std::fs::symlink_metadata(path)?.file_type().is_fifo();
        let mut options = OpenOptions::new();
        let mut flags = OFlags::NOFOLLOW;
        if is_pipe {
            options.read(true).write(true);
            flags |= OFlags::NONBLOCK;
        } else {
            options.append(true);
        }
        let file = options.custom_flags(flags.bits().cast_signed()).open(path)?;
        let metadata = file.metadata()?;
        if metadata.file_type().is_fifo() != is_pipe {
            return Err(io::Error::other("it was replaced while it was opened"));
        }
        if is_pipe {
            #[expect(
                deprecated,
                reason = "its successor is unsafe; an owned descriptor keeps what that one asks for"
            )]
            return Ok(Self::Pipe(AsyncFd::new(file)?));
        }
        Ok(if is_null(&metadata) { Self::Nowhere } else { Self::File(file) })
    }

    /// How much may be written at once: what goes in whole, so that a killed process leaves no half of it.
    pub(super) fn piece(&self, bytes: usize) -> usize {
        match self {
            Self::Pipe(_) => bytes.min(WHOLE),
            Self::File(_) => bytes.min(64 * 1024),
            Self::Nowhere => bytes,
        }
    }

    /// Writes without waiting; `None` when there is no room.
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

    /// Puts a mark on a pipe that the next write wipes off; see [`position`](super::position).
    pub(super) fn mark(&self, mark: u64) -> io::Result<()> {
        let Self::Pipe(pipe) = self else { return Ok(()) };
        pipe.get_ref().set_times(FileTimes::new().set_modified(time_of(mark)))
    }

    /// Whether the mark is still there.
    pub(super) fn has_mark(&self, mark: u64) -> io::Result<bool> {
        let Self::Pipe(pipe) = self else { return Ok(false) };
        Ok(pipe.get_ref().metadata()?.modified()? == time_of(mark))
    }

    /// The size of a regular file.
    pub(super) fn size(&self) -> io::Result<u64> {
        match self {
            Self::File(file) => Ok(file.metadata()?.size()),
            Self::Pipe(_) | Self::Nowhere => Ok(0),
        }
    }
}

/// Marks are times of modification in the years from 1970 to 1978, when nothing was written to this pipe.
fn time_of(mark: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(mark % (1 << 28))
}

fn is_null(metadata: &Metadata) -> bool {
    metadata.file_type().is_char_device()
        && (rustix::fs::major(metadata.rdev()), rustix::fs::minor(metadata.rdev())) == (1, 3)
}
