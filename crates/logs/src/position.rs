//! Where collection stands, on disk: a killed process's successor goes on with the very next byte.
//!
//! No system call both writes to a pipe and notes that it did, and a kill may come between the two. So each write is
//! announced first, with a mark on the pipe that the write itself wipes off: the pipe's time of modification.
//!
//! ```text
//! mark the pipe (mtime = n) -> note "n: these bytes are next" -> write -> mark (mtime = n + 1) -> note ...
//! ```
//! A successor that finds note n with mark n knows that the bytes were not written, and with any other time that they were.
//! A line is delivered when its reader has it, and a pipe can be asked how much is unread: the note also says up to where the
//! reader had come. A successor that finds the very same pipe, held meanwhile, goes on behind what is in it; one that does not
//! asks the reader's own files.
//!
//! Where a file system keeps no such time (or the process may not set it) each write is noted right after it instead, and a
//! kill between the two repeats at most 4 KiB.

use std::{fs::File, io, os::unix::fs::FileExt as _};

use serde::{Deserialize, Serialize};

use super::sink::{Outlet, Stream};

/// The file's fixed size: a note overwrites the one before in one write.
pub(super) const SIZE: usize = 1024;

/// Where collection stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Position {
    /// Whose log it is.
    pub(super) container: String,
    /// Up to where it was written to the pipes.
    #[serde(flatten)]
    pub(super) place: Place,
    /// The last mark used.
    pub(super) mark: u64,
    /// The write that was next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) next: Option<Announced>,
    /// What the reader had not read when this was noted, if there was any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) read: Option<Unread>,
}

/// A place in a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    pub(super) source: Source,
    /// A file's offset at which a line begins, or a time in nanoseconds.
    pub(super) offset: u64,
    /// How many bytes of each stream behind the offset are before this place.
    pub(super) delivered: [u64; 2],
}

/// What was written and not read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Unread {
    /// Up to where the reader had come.
    pub(super) place: Place,
    /// How much of each stream lies between that and what was written.
    pub(super) unread: [u64; 2],
}

/// What the offset counts in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Source {
    /// A log file: by its number, and by its first line (length and hash), for numbers are used again.
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

/// How to see whether the write was made.
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

    /// A container's position from what is noted; `None` of another's, and of what no driver wrote.
    pub(super) fn parse(noted: &[u8], container: &str) -> Option<Self> {
        let position: Self = serde_json::from_slice(noted).ok()?;
        (position.container == container && position.is_possible()).then_some(position)
    }

    /// Whether all numbers are such that they can be counted on from.
    fn is_possible(&self) -> bool {
        let places = self.read.iter().map(|read| &read.place).chain([&self.place]);
        let numbers = places.flat_map(|place| place.delivered.into_iter().chain([place.offset]));
        let unread = self.read.iter().flat_map(|read| read.unread);
        let next = self.next.iter().map(|next| next.bytes);
        numbers.chain(unread).chain(next).chain([self.mark]).all(|number| number < 1 << 62)
    }

    /// Counts the announced write if it was made.
    fn settle(&mut self, outlets: &[Outlet; 2]) -> io::Result<()> {
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
    /// Whether it counts from the same line.
    pub(super) fn is_at(&self, other: &Self) -> bool {
        self.source.number() == other.source.number() && self.offset == other.offset
    }
}

/// The position's file; none where it cannot be kept.
pub(super) struct PositionFile(Option<File>);

impl PositionFile {
    pub(super) fn new(file: Option<File>) -> Self {
        Self(file)
    }

    /// What is noted for this container, with its last write decided.
    pub(super) fn load(&self, container: &str, outlets: &[Outlet; 2]) -> io::Result<Option<Position>> {
        let Some(file) = &self.0 else { return Ok(None) };
        let mut bytes = [0; SIZE];
        let length = file.read_at(&mut bytes, 0)?;
        let Some(mut position) = Position::parse(&bytes[..length], container) else { return Ok(None) };
        position.settle(outlets)?;
        Ok(Some(position))
    }

    pub(super) fn store(&self, position: &Position) -> io::Result<()> {
        let Some(file) = &self.0 else { return Ok(()) };
        let mut bytes = [b' '; SIZE];
        let mut rest = &mut bytes[..SIZE - 1];
        serde_json::to_writer(&mut rest, position).map_err(io::Error::other)?;
        bytes[SIZE - 1] = b'\n';
        file.write_all_at(&bytes, 0)
    }
}

/// A hash that stays the same over compilers and releases (FNV-1a), for it is kept on disk.
pub(super) fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

impl Announced {
    pub(super) fn new(stream: Stream, bytes: usize, to: To) -> Self {
        Self { stream: stream.index(), bytes: bytes as u64, to }
    }
}
