//! Indexes the files of an archive: sizes and digests, and the content of small metadata files.

use std::{
    collections::{BTreeMap, btree_map::Entry as Place},
    fmt::Write,
    io::{self, BufRead, BufReader, Read},
};

use sha2::{Digest, Sha256};

use super::{
    Bounds, Flaw,
    compression::decompressed,
    entries::{Entries, Kind},
};

/// The maximum number of entries.
const ENTRIES: u64 = 20_000;

/// The maximum size of a path, and of all paths.
const PATH: usize = 1 << 10;
const PATHS: usize = 8 << 20;

/// The maximum size of a metadata file, and of all metadata files.
const SMALL: u64 = 4 << 20;
const ALL_SMALL: u64 = 32 << 20;

/// The maximum length of a chain of links.
const HOPS: usize = 8;

/// The entries of an archive, by path.
#[derive(Debug, Default)]
pub(super) struct Contents(BTreeMap<String, Found>);

#[derive(Debug, PartialEq, Eq)]
enum Found {
    File(File),
    Link(String),
}

/// A file in an archive.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct File {
    /// Its bytes in the archive.
    pub(super) size: u64,
    /// Its digest, in hexadecimal.
    pub(super) digest: String,
    /// The digest of its decompressed content, or else its own.
    pub(super) content: String,
    /// Whether it is a tar archive.
    pub(super) is_tar: bool,
    /// Its content, if it is small and may be JSON.
    pub(super) text: Option<Vec<u8>>,
}

impl Contents {
    pub(super) fn read(archive: impl Read, bounds: &Bounds) -> Result<Self, Flaw> {
        let mut entries = Entries::new(archive);
        let (mut contents, mut count, mut paths, mut small) = (Self::default(), 0, 0, ALL_SMALL);
        while let Some(entry) = entries.next()? {
            bounds.expect(entry.size)?;
            let path = clean(&entry.path)?;
            count += 1;
            paths += path.len();
            if count > ENTRIES || paths > PATHS {
                return Err(Flaw::Many(ENTRIES, "entries"));
            }
            let found = match entry.kind {
                Kind::Directory => continue,
                Kind::File => Found::File(file(&mut entries, entry.size, &mut small, bounds)?),
                Kind::Symlink(to) if to.starts_with('/') => Found::Link(clean(&to)?),
                Kind::Symlink(to) => Found::Link(beside(&path, &to)?),
                Kind::Link(to) => Found::Link(clean(&to)?),
                Kind::Sparse => return Err(Flaw::Tar("a file with holes")),
                Kind::Special => return Err(Flaw::Tar("a device or a pipe")),
            };
            match contents.0.entry(path) {
                Place::Vacant(place) => drop(place.insert(found)),
                Place::Occupied(place) if *place.get() == found => {}
                Place::Occupied(place) => return Err(Flaw::Twice(place.key().clone())),
            }
        }
        Ok(contents)
    }

    /// The file that a path resolves to, with its own path.
    pub(super) fn file(&self, path: &str) -> Option<(&str, &File)> {
        let mut path = clean(path).ok()?;
        for _ in 0..HOPS {
            match self.0.get_key_value(&path)? {
                (path, Found::File(file)) => return Some((path, file)),
                (_, Found::Link(to)) => to.clone_into(&mut path),
            }
        }
        None
    }

    /// A metadata file; links are not followed.
    pub(super) fn text(&self, path: &str) -> Result<Option<&[u8]>, Flaw> {
        match self.0.get(path) {
            None => Ok(None),
            Some(Found::File(File { text: Some(text), .. })) => Ok(Some(text)),
            Some(_) => Err(Flaw::Missing(path.to_owned(), "it is no JSON, or too large")),
        }
    }
}

/// Normalizes a path from the archive's root; invalid paths are rejected.
pub(super) fn clean(path: &str) -> Result<String, Flaw> {
    if path.len() > PATH {
        return Err(Flaw::Tar("a name that is too long"));
    }
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop().ok_or(Flaw::Tar("a name that leads out of it"))?),
            part => parts.push(part),
        }
    }
    Ok(parts.join("/"))
}

/// Resolves the link target of a path.
fn beside(path: &str, to: &str) -> Result<String, Flaw> {
    let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
    clean(&format!("{directory}/{to}"))
}

/// Content that is hashed while it is read.
pub(super) struct Hashed<R> {
    content: R,
    hash: Sha256,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.content.read(buffer)?;
        self.hash.update(&buffer[..read]);
        Ok(read)
    }
}

impl<R> Hashed<R> {
    pub(super) fn new(content: R) -> Self {
        Self { content, hash: Sha256::new() }
    }

    /// The digest of everything read, in hexadecimal.
    pub(super) fn digest(self) -> String {
        self.hash.finalize().iter().fold(String::new(), |mut text, byte| {
            let _never_fails = write!(text, "{byte:02x}");
            text
        })
    }
}

/// Reads a file to its end.
fn file(content: impl Read, size: u64, small: &mut u64, bounds: &Bounds) -> Result<File, Flaw> {
    let mut whole = BufReader::with_capacity(64 << 10, Hashed::new(content));
    let may_be_json = whole.fill_buf()?.iter().find(|byte| !byte.is_ascii_whitespace());
    let may_be_json = matches!(may_be_json, Some(b'{' | b'[')) && size <= SMALL && size <= *small;
    let (text, plain, is_tar) = if may_be_json {
        let mut text = Vec::new();
        whole.read_to_end(&mut text)?;
        *small -= size;
        let (plain, is_tar) = unpacked(&text[..], bounds)?;
        (Some(text), plain, is_tar)
    } else {
        let (plain, is_tar) = unpacked(decompressed(&mut whole)?, bounds)?;
        // The bytes after the compressed content.
        io::copy(&mut whole, &mut io::sink())?;
        (None, plain, is_tar)
    };
    let digest = whole.into_inner().digest();
    Ok(File { size, digest, content: plain, is_tar, text })
}

/// Reads a layer's unpacked content: its digest, and whether it is an archive. What it takes on disk counts.
fn unpacked(content: impl Read, bounds: &Bounds) -> Result<(String, bool), Flaw> {
    let mut content = Hashed::new(bounds.metered(content));
    let is_tar = is_tar(&mut content, bounds)?;
    io::copy(&mut content, &mut io::sink())?;
    Ok((content.digest(), is_tar))
}

/// Whether the content is a complete archive.
fn is_tar(content: &mut impl Read, bounds: &Bounds) -> Result<bool, Flaw> {
    let mut entries = Entries::new(content);
    loop {
        match entries.next() {
            Ok(Some(entry)) => {
                bounds.expect(entry.unpacked)?;
                bounds.spend(entry.unpacked - entry.size)?;
            }
            Ok(None) => return Ok(true),
            Err(Flaw::Tar(_)) => return Ok(false),
            Err(Flaw::Io(error)) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            Err(flaw) => return Err(flaw),
        }
    }
}
