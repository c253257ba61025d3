//! Iterates over the entries of a tar archive, in bounded memory.
//!
//! The headers are parsed here rather than by the library's iterator, which reads names of any length into memory and ignores
//! the sizes of sparse files.

use std::io::{self, Read};

use tar::{EntryType, Header, PaxExtensions};

use super::Flaw;

/// Bytes of a block.
const BLOCK: usize = 512;

/// The maximum size of an extension header.
const EXTENSION: u64 = 1 << 20;

/// An archive entry's header.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// As written.
    pub(super) path: String,
    pub(super) kind: Kind,
    /// The size of its content in the archive.
    pub(super) size: u64,
    /// The size of its file after unpacking.
    pub(super) unpacked: u64,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Directory,
    /// The target of a symbolic link.
    Symlink(String),
    /// The target of a hard link.
    Link(String),
    /// A sparse file.
    Sparse,
    /// A device or a pipe.
    Special,
}

/// Reads an archive's entries.
pub(super) struct Entries<R> {
    archive: R,
    /// The remaining content of the entry, and the padding after it.
    content: u64,
    padding: u64,
}

/// Extension headers of the entry that follows.
#[derive(Default)]
struct Extended {
    path: Option<String>,
    link: Option<String>,
    size: Option<u64>,
    /// The logical size of a sparse file.
    real: Option<u64>,
    is_sparse: bool,
}

impl<R: Read> Entries<R> {
    pub(super) fn new(archive: R) -> Self {
        Self { archive, content: 0, padding: 0 }
    }

    /// Advances to the next entry, skipping the rest of the current one. `None` is the end of the archive.
    pub(super) fn next(&mut self) -> Result<Option<Entry>, Flaw> {
        let mut extended = Extended::default();
        loop {
            self.pass_over()?;
            let Some(header) = self.header()? else { return Ok(None) };
            let size = header.entry_size().map_err(|_| Flaw::Tar("a size that is none"))?;
            let kind = header.entry_type();
            match kind {
                EntryType::GNULongName => extended.path = Some(name(self.extension(size)?)?),
                EntryType::GNULongLink => extended.link = Some(name(self.extension(size)?)?),
                EntryType::XHeader | EntryType::XGlobalHeader => {
                    let records = self.extension(size)?;
                    let is_global = kind == EntryType::XGlobalHeader;
                    extended.take(&records, is_global)?;
                }
                _ => return self.entry(&header, extended, size).map(Some),
            }
        }
    }

    fn entry(&mut self, header: &Header, extended: Extended, size: u64) -> Result<Entry, Flaw> {
        let path = match extended.path {
            Some(path) => path,
            None => name(header.path_bytes().into_owned())?,
        };
        let target = || match &extended.link {
            Some(link) => Ok(link.clone()),
            None => name(header.link_name_bytes().unwrap_or_default().into_owned()),
        };
        let kind = match header.entry_type() {
            EntryType::Regular | EntryType::Continuous if path.ends_with('/') => Kind::Directory,
            _ if extended.is_sparse => Kind::Sparse,
            EntryType::Regular | EntryType::Continuous => Kind::File,
            EntryType::Directory => Kind::Directory,
            EntryType::Symlink => Kind::Symlink(target()?),
            EntryType::Link => Kind::Link(target()?),
            EntryType::GNUSparse => Kind::Sparse,
            EntryType::Fifo | EntryType::Block | EntryType::Char => Kind::Special,
            _ => return Err(Flaw::Tar("an entry of a kind that is not known")),
        };
        let mut real = extended.real.unwrap_or_default();
        if header.entry_type() == EntryType::GNUSparse {
            let gnu = header.as_gnu().ok_or(Flaw::Tar("a sparse file in another format"))?;
            real = real.max(gnu.real_size().map_err(|_| Flaw::Tar("a size that is none"))?);
            self.pass_over_map(gnu.is_extended())?;
        }
        // Go's reader expects no content after links, directories and devices, whatever their size field says.
        let has_content = matches!(kind, Kind::File | Kind::Sparse);
        let size = if has_content { extended.size.unwrap_or(size) } else { 0 };
        self.expect(size);
        Ok(Entry { path, kind, size, unpacked: size.max(real) })
    }

    fn expect(&mut self, size: u64) {
        self.content = size;
        self.padding = size.wrapping_neg() % BLOCK as u64;
    }

    /// Skips the blocks that map a sparse file.
    fn pass_over_map(&mut self, mut is_extended: bool) -> Result<(), Flaw> {
        while is_extended {
            let mut block = [0; BLOCK];
            self.archive.read_exact(&mut block)?;
            is_extended = block[504] == 1;
        }
        Ok(())
    }

    /// The next header; `None` at two zero blocks or at the end of the content.
    fn header(&mut self) -> Result<Option<Header>, Flaw> {
        let mut zeros = 0;
        loop {
            let mut header = Header::new_old();
            if !self.block(header.as_mut_bytes())? {
                return Ok(None);
            }
            if header.as_bytes().iter().all(|byte| *byte == 0) {
                zeros += 1;
                if zeros == 2 {
                    return Ok(None);
                }
                continue;
            }
            if zeros > 0 || !is_intact(&header) {
                return Err(Flaw::Tar("a header that is none"));
            }
            return Ok(Some(header));
        }
    }

    /// Reads one block; returns whether there is one.
    fn block(&mut self, block: &mut [u8; BLOCK]) -> Result<bool, Flaw> {
        let mut read = 0;
        while read < BLOCK {
            match self.archive.read(&mut block[read..])? {
                0 if read == 0 => return Ok(false),
                0 => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                more => read += more,
            }
        }
        Ok(true)
    }

    fn extension(&mut self, size: u64) -> Result<Vec<u8>, Flaw> {
        if size > EXTENSION {
            return Err(Flaw::Tar("a name that is too long"));
        }
        self.expect(size);
        let mut content = Vec::new();
        self.by_ref().read_to_end(&mut content)?;
        Ok(content)
    }

    fn pass_over(&mut self) -> Result<(), Flaw> {
        io::copy(self, &mut io::sink())?;
        let padding = std::mem::take(&mut self.padding);
        let passed = io::copy(&mut self.archive.by_ref().take(padding), &mut io::sink())?;
        // The last padding may be missing.
        if passed < padding && passed > 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        Ok(())
    }
}

/// The content of the current entry.
impl<R: Read> Read for Entries<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.content).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        match self.archive.read(&mut buffer[..most])? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            read => {
                self.content -= read as u64;
                Ok(read)
            }
        }
    }
}

impl Extended {
    /// Applies the records of a PAX header.
    fn take(&mut self, records: &[u8], is_global: bool) -> Result<(), Flaw> {
        for record in PaxExtensions::new(records) {
            let record = record.map_err(|_| Flaw::Tar("a PAX record that is none"))?;
            let (Ok(key), Ok(value)) = (record.key(), record.value()) else { continue };
            let number = || value.parse().map_err(|_| Flaw::Tar("a size that is none"));
            let matters = matches!(key, "path" | "linkpath" | "size") || key.starts_with("GNU.sparse.");
            match key {
                _ if matters && is_global => return Err(Flaw::Tar("names and sizes for all entries at once")),
                "path" | "GNU.sparse.name" => self.path = Some(value.to_owned()),
                "linkpath" => self.link = Some(value.to_owned()),
                "size" => self.size = Some(number()?),
                "GNU.sparse.realsize" | "GNU.sparse.size" => self.real = Some(number()?),
                _ => {}
            }
            self.is_sparse |= key.starts_with("GNU.sparse.");
        }
        Ok(())
    }
}

/// Whether a header's checksum is right, with bytes taken as signed or unsigned.
fn is_intact(header: &Header) -> bool {
    let Ok(said) = header.cksum() else { return false };
    let bytes = header.as_bytes();
    let sum = |value: fn(u8) -> i64| -> i64 {
        let own = bytes.iter().enumerate().map(|(at, byte)| if (148..156).contains(&at) { b' ' } else { *byte });
        own.map(value).sum()
    };
    [sum(i64::from), sum(|byte| i64::from(byte.cast_signed()))].contains(&i64::from(said))
}

/// A name ends at a zero byte.
fn name(mut bytes: Vec<u8>) -> Result<String, Flaw> {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    bytes.truncate(end);
    String::from_utf8(bytes).map_err(|_| Flaw::Tar("a name that is no text"))
}
