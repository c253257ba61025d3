//! On disk: which of an engine's images this driver brought. Only these are ever removed.
//!
//! `<state dir>/images/<engine's id>.json`, written anew and renamed into place. Lost or unreadable it does no harm: the
//! images in it stay.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
};

/// The images of one engine.
pub(super) struct Ledger(PathBuf);

impl Ledger {
    pub(super) fn new(state_dir: &Path, engine: &str) -> Self {
        let name: String = engine.chars().map(|char| if char.is_ascii_alphanumeric() { char } else { '-' }).collect();
        Self(state_dir.join("images").join(format!("{name}.json")))
    }

    /// The images' ids, each with the names by which it was brought.
    pub(super) fn read(&self) -> BTreeMap<String, BTreeSet<String>> {
        let failed = |error: io::Error| {
            if error.kind() != io::ErrorKind::NotFound {
                tracing::warn!(ledger = %self.0.display(), %error, "images of earlier tasks are not known and stay");
            }
            BTreeMap::new()
        };
        fs::read(&self.0).and_then(|bytes| Ok(serde_json::from_slice(&bytes)?)).unwrap_or_else(failed)
    }

    pub(super) fn write<'a>(&self, images: impl Iterator<Item = (&'a str, &'a BTreeSet<String>)>) {
        let images: BTreeMap<_, _> = images.collect();
        let replace = || {
            let new = self.0.with_extension("new");
            fs::create_dir_all(self.0.parent().unwrap_or(Path::new("/")))?;
            fs::write(&new, serde_json::to_vec_pretty(&images)?)?;
            fs::rename(&new, &self.0)
        };
        if let Err(error) = replace() {
            tracing::warn!(ledger = %self.0.display(), %error, "after a restart some images will not be known, and stay");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_what_is_spoiled_is_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let ledger = Ledger::new(directory.path(), "AB:CD/..");
        let names = BTreeSet::from(["app:1".to_owned()]);

        assert_eq!(ledger.read(), BTreeMap::new());
        ledger.write([("sha256:1", &names)].into_iter());
        assert_eq!(ledger.read(), BTreeMap::from([("sha256:1".to_owned(), names)]));

        fs::write(directory.path().join("images/AB-CD---.json"), "{ \"sha256:1\": [").unwrap();
        assert_eq!(ledger.read(), BTreeMap::new());
    }
}
