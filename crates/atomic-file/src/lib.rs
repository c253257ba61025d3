//! Files that are replaced as a whole, and read up to a bound. Another process reads the old content or the new one.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
    time::Duration,
};

/// What the new content's name ends in until it has the file's name.
const NEW: &str = ".new";

/// What the old or the new content survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// The death of the process. After that of the machine the file may be empty or missing, and who reads it must do without.
    Process,
    /// Also the death of the machine: the content is on the disk before it has the file's name.
    Machine,
}

/// Replaces a file, and makes the directories above it, for this user alone. The new content has the name `<path>.new` first:
/// two writers of one file must exclude each other. If it fails, for example on a full disk, the old content remains, and nothing
/// of the new one. What a process leaves that is killed meanwhile is for [`sweep`].
pub fn replace(path: &Path, content: &[u8], durability: Durability) -> io::Result<()> {
    let mut new = path.as_os_str().to_owned();
    new.push(NEW);
    DirBuilder::new().recursive(true).mode(0o700).create(path.parent().unwrap_or(Path::new("/")))?;
    let written = write(Path::new(&new), content, durability).and_then(|()| fs::rename(&new, path));
    if written.is_err() {
        let _not_there = fs::remove_file(&new);
    }
    written
}

fn write(new: &Path, content: &[u8], durability: Durability) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(new)?;
    file.write_all(content)?;
    if durability == Durability::Machine {
        file.sync_data()?;
    }
    Ok(())
}

/// Removes what killed processes have left in a directory, of replacements that began at least `age` ago.
pub fn sweep(directory: &Path, age: Duration) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let is_new = entry.file_name().as_encoded_bytes().ends_with(NEW.as_bytes());
        let Some(found) = entry.metadata().ok().filter(|found| is_new && found.is_file()) else { continue };
        let elapsed = found.modified().ok().and_then(|modified| modified.elapsed().ok()).unwrap_or_default();
        if elapsed >= age {
            let _removed_by_another = fs::remove_file(entry.path());
        }
    }
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

    #[test]
    fn a_replacement_that_fails_leaves_the_old_content_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let taken = directory.path().join("taken");
        fs::create_dir_all(taken.join("in use")).unwrap();

        // A directory cannot be replaced by a file, so that the content is written and the last step fails.
        assert!(replace(&taken, b"new", Durability::Process).is_err());

        let left = fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name());
        assert_eq!(left.collect::<Vec<_>>(), ["taken"]);
    }

    #[test]
    fn what_a_killed_process_was_writing_is_swept_once_it_is_old() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["a", "a.new", "b.new", "newer"] {
            fs::write(directory.path().join(name), "half").unwrap();
        }
        fs::create_dir(directory.path().join("d.new")).unwrap();
        let left = || {
            let names = fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name());
            let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
            names.sort();
            names
        };

        sweep(directory.path(), Duration::from_secs(60));
        let young = left();
        sweep(directory.path(), Duration::ZERO);
        sweep(&directory.path().join("nowhere"), Duration::ZERO);

        assert_eq!(young, ["a", "a.new", "b.new", "d.new", "newer"]);
        assert_eq!(left(), ["a", "d.new", "newer"]);
    }
}
