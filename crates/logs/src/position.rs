//! Where collection stands, on disk: the successor of a killed process resumes with the very next byte.
//!
//! No system call both writes to a pipe and records that it did, and a kill may come between the two. So each write is
//! announced first, with a mark on the pipe that the write itself erases: the pipe's modification time.
//!
//! ```text
//! mark the pipe (mtime = n) -> note "n: these bytes are next" -> write -> mark (mtime = n + 1) -> note ...
//! ```
//! If a successor finds note n with mark n, the bytes were not written; with any other time, they were. A line is delivered
//! when its reader has read it, and a pipe reports how much is unread. So the note also records how far the reader had come. A
//! successor that finds the very same pipe, held meanwhile, resumes after its content; one that does not checks the reader's
//! own files.
//!
//! If a file system does not store such times (or the process may not set them), each write is recorded right after it instead.
//! A kill between the two then repeats at most 4 KiB.

use std::io;

use serde::{Deserialize, Serialize};

use super::sink::{Outlet, Stream};

/// The file's fixed size: a note overwrites the previous one in a single write.
pub(super) const SIZE: usize = 1024;

/// Where collection stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Position {
    /// The container's id.
    pub(super) container: String,
    /// How far it was written to the pipes.
    #[serde(flatten)]
    pub(super) place: Place,
    /// The last mark used.
    pub(super) mark: u64,
    /// The announced write.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) next: Option<Announced>,
    /// What the reader had not read at the time of the note, if anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) read: Option<Unread>,
}

/// A place in a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    pub(super) source: Source,
    /// A file's offset at which a line begins, or a time in nanoseconds.
    pub(super) offset: u64,
    /// How many bytes of each stream, counted from the offset, precede this place.
    pub(super) delivered: [u64; 2],
}

/// What was written but not read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Unread {
    /// How far the reader had come.
    pub(super) place: Place,
    /// How much of each stream is between there and the end of what was written.
    pub(super) unread: [u64; 2],
}

/// The source, and with it the unit of the offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Source {
    /// A log file, by its inode and by its first line (length and hash), because inode numbers are reused.
    File { device: u64, inode: u64, first: Option<(u64, u64)> },
    /// The engine's log API.
    Engine,
}

/// A write about to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Announced {
    /// Index of the stream.
    pub(super) stream: usize,
    pub(super) bytes: u64,
    pub(super) to: To,
}

/// How to find out whether the write was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum To {
    /// A pipe with this mark on it.
    Marked(u64),
    /// A file of this size.
    Sized(u64),
}

impl Source {
    fn number(&self) -> Option<(u64, u64)> {
        match self {
            Self::File { device, inode, .. } => Some((*device, *inode)),
            Self::Engine => None,
        }
    }
}

impl Position {
    pub(super) fn new(container: &str, source: Source) -> Self {
        let place = Place { source, offset: 0, delivered: [0, 0] };
        Self { container: container.to_owned(), place, mark: 0, next: None, read: None }
    }

    /// Parses a container's position; `None` if it is another container's, or if no driver wrote it.
    pub(super) fn parse(noted: &[u8], container: &str) -> Option<Self> {
        let position: Self = serde_json::from_slice(noted).ok()?;
        (position.container == container && position.is_possible()).then_some(position)
    }

    /// Whether all numbers are small enough to continue counting.
    fn is_possible(&self) -> bool {
        let places = self.read.iter().map(|read| &read.place).chain([&self.place]);
        let numbers = places.flat_map(|place| place.delivered.into_iter().chain([place.offset]));
        let unread = self.read.iter().flat_map(|read| read.unread);
        let next = self.next.iter().map(|next| next.bytes);
        numbers.chain(unread).chain(next).chain([self.mark]).all(|number| number < 1 << 62)
    }

    /// Counts the announced write if it was made.
    pub(super) fn settle(&mut self, outlets: &[Outlet; 2]) -> io::Result<()> {
        let Some(next) = self.next.take() else { return Ok(()) };
        let Some(outlet) = outlets.get(next.stream) else { return Ok(()) };
        let made = match next.to {
            To::Marked(mark) if outlet.has_mark(mark)? => 0,
            To::Marked(_) => next.bytes,
            To::Sized(before) => outlet.size()?.saturating_sub(before).min(next.bytes),
        };
        self.place.delivered[next.stream] += made;
        if let Some(read) = &mut self.read {
            read.unread[next.stream] += made;
        }
        Ok(())
    }
}

impl Place {
    /// Whether both count from the same line.
    pub(super) fn is_at(&self, other: &Self) -> bool {
        self.source.number() == other.source.number() && self.offset == other.offset
    }
}

/// A hash that is stable across compilers and releases (FNV-1a), because it is stored on disk.
pub(super) fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

impl Announced {
    pub(super) fn new(stream: Stream, bytes: usize, to: To) -> Self {
        Self { stream: stream.index(), bytes: bytes as u64, to }
    }
}
