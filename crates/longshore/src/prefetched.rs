//! The images that a person asked for: no driver of this data directory removes them.
//!
//! `<data dir>/prefetched.json` has their names, is written whole and renamed into place; `prefetched.lock` beside it is held
//! meanwhile.

use std::{collections::BTreeSet, fs, io};

use atomic_file::Durability;
use rustix::fs::{FlockOperation, flock};

use crate::data_dir::{DataDir, open_lock};

/// Their names.
pub(crate) fn read(data: &DataDir) -> io::Result<BTreeSet<String>> {
    match fs::read(data.path().join("prefetched.json")) {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeSet::new()),
        Err(error) => Err(error),
    }
}

/// Changes them; what they are then.
pub(crate) fn change(data: &DataDir, change: impl FnOnce(&mut BTreeSet<String>)) -> io::Result<BTreeSet<String>> {
    let at = |name: &str| data.path().join(name);
    let lock = open_lock(&at("prefetched.lock"))?;
    flock(&lock, FlockOperation::LockExclusive)?;
    let mut names = read(data)?;
    change(&mut names);
    atomic_file::replace(&at("prefetched.json"), &serde_json::to_vec_pretty(&names)?, Durability::Process)?;
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_changed_is_read_by_others() {
        let directory = tempfile::tempdir().unwrap();
        let data = DataDir::open(Some(directory.path())).unwrap();

        let none = read(&data).unwrap();
        let two = change(&data, |names| names.extend(["a:1".to_owned(), "b:1".to_owned()])).unwrap();
        let one = change(&data, |names| names.retain(|name| name != "a:1")).unwrap();

        assert_eq!((none.len(), two.len()), (0, 2));
        assert_eq!(one, BTreeSet::from(["b:1".to_owned()]));
        assert_eq!(read(&data).unwrap(), one);
    }
}
