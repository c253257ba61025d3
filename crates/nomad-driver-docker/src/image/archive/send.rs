//! Writes an archive from the checked content of another one.

use std::{
    collections::BTreeSet,
    io::{Read, Write},
};

use tar::{Builder, Header};

use super::{
    Checked, Flaw,
    contents::{Hashed, clean},
    entries::{Entries, Kind},
};

/// Writes the checked files, and the manifests last: an engine has no use for them before.
pub(super) fn send(checked: &Checked, archive: impl Read, to: impl Write) -> Result<(), Flaw> {
    let mut entries = Entries::new(archive);
    let mut sent = BTreeSet::new();
    let mut builder = Builder::new(to);
    while let Some(entry) = entries.next()? {
        let path = clean(&entry.path)?;
        let Some((size, digest)) = checked.files.get(&path).filter(|_| entry.kind == Kind::File) else { continue };
        if entry.size != *size {
            return Err(Flaw::Changed);
        }
        if !sent.insert(path.clone()) {
            continue;
        }
        let mut content = Hashed::new(&mut entries);
        builder.append_data(&mut header(*size), &path, &mut content)?;
        if content.digest() != *digest {
            return Err(Flaw::Changed);
        }
    }
    if sent.len() != checked.files.len() {
        return Err(Flaw::Changed);
    }
    for (path, content) in &checked.written {
        builder.append_data(&mut header(content.len() as u64), path, content.as_slice())?;
    }
    builder.into_inner()?.flush().map_err(Flaw::from)
}

fn header(size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_size(size);
    header.set_mode(0o644);
    header.set_mtime(0);
    header
}
