//! What an archive of images has, read before an engine is given any of it.
//!
//! ```text
//! read -> checked -> sent
//!   \--------\---> refused
//! ```
//!
//! An archive that a job names gives the names that it has to what it has: to the images that others use as well. An engine also
//! takes its word for layers that the engine has already, and so gives out another one's image. So an archive is read to its end
//! first: it has the one name that the task asks for, each layer that its image names is in it with its own content, and
//! what it takes unpacked is within a bound. What is sent is written from what was read, entry by entry: the engine reads no
//! header that was not understood here, and nothing that was changed meanwhile.

mod compression;
mod contents;
mod entries;
mod manifest;
mod send;

use std::{
    cell::Cell,
    collections::BTreeMap,
    io::{self, BufReader, Read},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use contents::Contents;
use send::send;

use crate::reference::ImageReference;

/// Why an archive is not loaded.
#[derive(Debug, thiserror::Error)]
pub enum Flaw {
    /// It has not the image that the task asks for, but these.
    #[error("it has {}", .0.join(", "))]
    Lacks(Vec<String>),
    /// It has other images than the one that the task asks for.
    #[error("it has other images: {}", .0.join(", "))]
    Others(Vec<String>),
    /// It takes too much.
    #[error("unpacked it is larger than the {} MiB that it may take", .0 >> 20)]
    Large(u64),
    /// It is no archive.
    #[error("this is no tar archive that engines read: it has {0}")]
    Tar(&'static str),
    /// It has too many of something.
    #[error("it has more than {0} {1}")]
    Many(u64, &'static str),
    /// It has two files of one name.
    #[error("{0:?} is there more than once")]
    Twice(String),
    /// A file that others name is not there as they need it.
    #[error("{0:?} is not in it as its image names it: {1}")]
    Missing(String, &'static str),
    /// What says what it has cannot be read.
    #[error("{0}: {1}")]
    Json(String, serde_json::Error),
    /// It says nowhere what it has.
    #[error("it has neither manifest.json nor index.json")]
    NoManifest,
    /// It is another one than before.
    #[error("it was changed while it was read")]
    Changed,
    /// It cannot be read.
    #[error("{}", read_failed(.0))]
    Io(io::Error),
}

/// In the engine's words, where those are known.
fn read_failed(error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::UnexpectedEof { "unexpected EOF".to_owned() } else { error.to_string() }
}

impl From<io::Error> for Flaw {
    fn from(error: io::Error) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<OverBound>()) {
            Some(OverBound(most)) => Self::Large(*most),
            None => Self::Io(error),
        }
    }
}

/// More was read than may be.
#[derive(Debug, thiserror::Error)]
#[error("more than {0} bytes")]
struct OverBound(u64);

/// What reading an archive may take.
#[derive(Debug)]
pub struct Bounds {
    most: u64,
    left: Cell<u64>,
    stop: Arc<AtomicBool>,
}

impl Bounds {
    /// So many bytes, of the archive itself without compression and of what its layers unpack to; and no more once `stop` says
    /// so.
    pub fn new(most: u64, stop: Arc<AtomicBool>) -> Self {
        Self { most, left: Cell::new(most), stop }
    }

    fn spend(&self, bytes: u64) -> io::Result<()> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(io::Error::other("nobody waits for it any more"));
        }
        let left = self.left.get().checked_sub(bytes).ok_or_else(|| io::Error::other(OverBound(self.most)))?;
        self.left.set(left);
        Ok(())
    }

    /// Refuses what says of itself that it takes more than is left.
    fn expect(&self, bytes: u64) -> Result<(), Flaw> {
        if bytes > self.left.get() { Err(Flaw::Large(self.most)) } else { Ok(()) }
    }

    fn metered<R: Read>(&self, content: R) -> Metered<'_, R> {
        Metered { content, bounds: self }
    }
}

/// Content of which each byte counts.
struct Metered<'a, R> {
    content: R,
    bounds: &'a Bounds,
}

impl<R: Read> Read for Metered<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.content.read(buffer)?;
        self.bounds.spend(read as u64)?;
        Ok(read)
    }
}

/// An archive that has what the task asks for and nothing else.
#[derive(Debug, PartialEq, Eq)]
pub struct Checked {
    /// The files that are sent as they are, by path, with the digest of each.
    files: BTreeMap<String, (u64, String)>,
    /// Those that say what is there, written here.
    written: Vec<(&'static str, Vec<u8>)>,
    /// The digests of the layers of each image that it has.
    layers: Vec<Vec<String>>,
}

impl Checked {
    /// Reads an archive to its end. Blocks.
    pub fn read(archive: impl Read, wanted: &ImageReference, bounds: &Bounds) -> Result<Self, Flaw> {
        let content = compression::decompressed(BufReader::with_capacity(64 << 10, archive))?;
        let contents = Contents::read(bounds.metered(content), bounds)?;
        manifest::check(&contents, wanted)
    }

    /// Whether an image with these layers is one that it has.
    pub fn has_layers(&self, layers: &[String]) -> bool {
        self.layers.iter().any(|own| own == layers)
    }

    /// Writes what was read, from the same archive. Blocks.
    pub fn send(&self, archive: impl Read, to: impl io::Write, bounds: &Bounds) -> Result<(), Flaw> {
        let content = compression::decompressed(BufReader::with_capacity(64 << 10, archive))?;
        send(self, bounds.metered(content), to)
    }
}

#[cfg(test)]
mod tests;
