//! Checks the contents of an image archive before the engine gets any of it.
//!
//! ```text
//! read -> checked -> sent
//!   \--------\---> refused
//! ```
//!
//! An archive assigns names to its images, including names that other tasks use. An engine also trusts an archive about layers
//! that it already has, and so would expose another task's image. So an archive is first read to its end. It must have exactly
//! the name that the task requests, contain each layer of its image with matching content, and stay within a bound when
//! unpacked. What is sent is rebuilt from what was read, entry by entry: the engine sees no header that was not understood
//! here, and no later change.

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
    /// It does not contain the requested image, but these.
    #[error("it has {}", .0.join(", "))]
    Lacks(Vec<String>),
    /// It contains images other than the requested one.
    #[error("it has other images: {}", .0.join(", "))]
    Others(Vec<String>),
    /// It is too large.
    #[error("unpacked it is larger than the {} MiB that it may take", .0 >> 20)]
    Large(u64),
    /// It is not an archive.
    #[error("this is no tar archive that engines read: it has {0}")]
    Tar(&'static str),
    /// It has too many of something.
    #[error("it has more than {0} {1}")]
    Many(u64, &'static str),
    /// It has two files with the same name.
    #[error("{0:?} is there more than once")]
    Twice(String),
    /// A referenced file is missing or of the wrong kind.
    #[error("{0:?} is not in it as its image names it: {1}")]
    Missing(String, &'static str),
    /// A manifest or index cannot be parsed.
    #[error("{0}: {1}")]
    Json(String, serde_json::Error),
    /// It has no manifest or index.
    #[error("it has neither manifest.json nor index.json")]
    NoManifest,
    /// It differs from the first read.
    #[error("it was changed while it was read")]
    Changed,
    /// It cannot be read.
    #[error("{}", read_failed(.0))]
    Io(io::Error),
}

/// In the engine's words, if they are known.
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

/// More was read than allowed.
#[derive(Debug, thiserror::Error)]
#[error("more than {0} bytes")]
struct OverBound(u64);

/// The limits of reading an archive.
#[derive(Debug)]
pub struct Bounds {
    most: u64,
    left: Cell<u64>,
    stop: Arc<AtomicBool>,
}

impl Bounds {
    /// At most `most` bytes, counting both the decompressed archive and the unpacked layers; reading fails once `stop` is set.
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

    /// Rejects a declared size that exceeds what is left.
    fn expect(&self, bytes: u64) -> Result<(), Flaw> {
        if bytes > self.left.get() { Err(Flaw::Large(self.most)) } else { Ok(()) }
    }

    fn metered<R: Read>(&self, content: R) -> Metered<'_, R> {
        Metered { content, bounds: self }
    }
}

/// Content whose bytes are counted.
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

/// An archive that contains exactly what the task requests.
#[derive(Debug, PartialEq, Eq)]
pub struct Checked {
    /// The files that are sent unchanged, by path, with size and digest.
    files: BTreeMap<String, (u64, String)>,
    /// The manifests and indexes, rewritten here.
    written: Vec<(&'static str, Vec<u8>)>,
    /// The layer digests of each of its images.
    layers: Vec<Vec<String>>,
}

impl Checked {
    /// Reads an archive to its end. Blocks.
    pub fn read(archive: impl Read, wanted: &ImageReference, bounds: &Bounds) -> Result<Self, Flaw> {
        let content = compression::decompressed(BufReader::with_capacity(64 << 10, archive))?;
        let contents = Contents::read(bounds.metered(content), bounds)?;
        manifest::check(&contents, wanted)
    }

    /// Whether it contains an image with these layers.
    pub fn has_layers(&self, layers: &[String]) -> bool {
        self.layers.iter().any(|own| own == layers)
    }

    /// Sends what was checked, from the same archive. Blocks.
    pub fn send(&self, archive: impl Read, to: impl io::Write, bounds: &Bounds) -> Result<(), Flaw> {
        let content = compression::decompressed(BufReader::with_capacity(64 << 10, archive))?;
        send(self, bounds.metered(content), to)
    }
}

#[cfg(test)]
mod tests;
