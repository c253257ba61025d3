//! Files that are replaced as a whole, and read up to a bound. Another process reads the old content or the new one.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};

/// What the old or the new content survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// The death of the process. After that of the machine the file may be empty or missing, and who reads it must do without.
    Process,
    /// Also the death of the machine: the content is on the disk before it has the file's name.
    Machine,
}

/// Replaces a file, and makes the directories above it, for this user alone. The new content has the name `<path>.new` first:
/// two writers of one file must exclude each other.
pub fn replace(path: &Path, content: &[u8], durability: Durability) -> io::Result<()> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    DirBuilder::new().recursive(true).mode(0o700).create(path.parent().unwrap_or(Path::new("/")))?;
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(content)?;
    if durability == Durability::Machine {
        file.sync_data()?;
    }
    fs::rename(&new, path)
}

/// Reads a file of at most so many bytes. A larger one is an error.
pub fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
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

        for (content, durability) in [("first", Durability::Process), ("other", Durability::Machine)] {
            replace(&path, content.as_bytes(), durability).unwrap();
            assert_eq!(read(&path, 5).unwrap(), content.as_bytes());
        }

        assert!(read(&path, 4).is_err() && read(directory.path(), 4).is_err());
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing else is left");
    }
}
