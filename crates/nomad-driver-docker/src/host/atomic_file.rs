//! Files of the state directory: replaced as a whole, and read up to a bound.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};

/// Replaces a file, and makes the directories above it, for this user alone. Who reads meanwhile reads the old content or the new one.
pub(crate) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    DirBuilder::new().recursive(true).mode(0o700).create(path.parent().unwrap_or(Path::new("/")))?;
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(content)?;
    fs::rename(&new, path)
}

/// Reads a file of at most so many bytes. A larger one is an error.
pub(crate) fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    File::open(path)?.take(most + 1).read_to_end(&mut content)?;
    let is_larger = u64::try_from(content.len()).is_ok_and(|length| length > most);
    if is_larger { Err(io::Error::other(format!("it is larger than {most} bytes"))) } else { Ok(content) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_and_read_up_to_its_bound() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("deep/down/file.json");

        for content in ["first", "other"] {
            replace(&path, content.as_bytes()).unwrap();
            assert_eq!(read(&path, 5).unwrap(), content.as_bytes());
        }

        assert!(read(&path, 4).is_err() && read(directory.path(), 4).is_err());
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing else is left");
    }
}
