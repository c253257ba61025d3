//! On disk: which of an engine's images this driver pulled. Only these are ever removed.
//!
//! `<state dir>/images/<engine's name>.json`, rewritten and renamed into place. If it is lost or unreadable, no harm is done:
//! its images are kept.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
};

use atomic_file::Durability;
use engine::EngineName;

/// The images by id, each with the names under which it was pulled.
type PulledByUs = BTreeMap<String, BTreeSet<String>>;

/// The maximum size of a ledger: some ten thousand images.
const LARGEST: u64 = 16 << 20;

/// The images of one engine.
pub(super) struct ImageLedger(PathBuf);

impl ImageLedger {
    /// The ledger of an engine. The first engine that comes adopts a ledger with the name that earlier versions gave it.
    pub(super) fn new(state_dir: &Path, engine: &EngineName) -> Self {
        let named = |name: &str| state_dir.join("images").join(format!("{name}.json"));
        let (ledger, former) = (Self(named(&engine.now)), Self(named(&engine.former)));
        if former.0.exists() {
            let mut images = former.read();
            for (id, names) in ledger.read() {
                images.entry(id).or_default().extend(names);
            }
            if ledger.write(images.iter().map(|(id, names)| (id.as_str(), names))) {
                let _taken_over_again_next_time = fs::remove_file(&former.0);
            }
        }
        ledger
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// The images' ids, each with the names under which it was pulled.
    pub(super) fn read(&self) -> PulledByUs {
        let failed = |error: io::Error| {
            if error.kind() != io::ErrorKind::NotFound {
                tracing::warn!(file = %self.0.display(), %error, "failed to read the record of pulled images; images of earlier tasks are not removed");
            }
            BTreeMap::new()
        };
        atomic_file::read(&self.0, LARGEST).and_then(|bytes| Ok(serde_json::from_slice(&bytes)?)).unwrap_or_else(failed)
    }

    /// Replaces the ledger; returns whether that succeeded.
    pub(super) fn write<'a>(&self, images: impl Iterator<Item = (&'a str, &'a BTreeSet<String>)>) -> bool {
        let images: BTreeMap<_, _> = images.collect();
        let content = serde_json::to_vec_pretty(&images).map_err(io::Error::from);
        let written = content.and_then(|content| atomic_file::replace(&self.0, &content, Durability::Process));
        if let Err(error) = &written {
            tracing::warn!(file = %self.0.display(), %error, "failed to record pulled images; some are not removed after a restart");
        }
        written.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn engine(now: &str) -> EngineName {
        EngineName { now: now.to_owned(), former: "AB-CD".to_owned() }
    }

    fn pulled_by_us(images: &[(&str, &str)]) -> PulledByUs {
        let owned = |(id, name): &(&str, &str)| ((*id).to_owned(), BTreeSet::from([(*name).to_owned()]));
        images.iter().map(owned).collect()
    }

    fn write(ledger: &ImageLedger, images: &PulledByUs) {
        assert!(ledger.write(images.iter().map(|(id, names)| (id.as_str(), names))));
    }

    #[test]
    fn what_was_written_is_read_and_what_is_spoiled_is_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let ledger = ImageLedger::new(directory.path(), &engine("AB-CD-1"));
        let images = pulled_by_us(&[("sha256:1", "app:1")]);

        assert_eq!(ledger.read(), BTreeMap::new());
        write(&ledger, &images);
        assert_eq!(ledger.read(), images);

        fs::write(directory.path().join("images/AB-CD-1.json"), "{ \"sha256:1\": [").unwrap();
        assert_eq!(ledger.read(), BTreeMap::new());
    }

    #[test]
    fn engines_of_one_id_have_ledgers_of_their_own_and_the_first_takes_over_what_had_the_former_name() {
        let directory = tempfile::tempdir().unwrap();
        let former = directory.path().join("images/AB-CD.json");
        let by_former_name = ImageLedger(former.clone());
        write(&by_former_name, &pulled_by_us(&[("sha256:1", "app:1")]));

        let first = ImageLedger::new(directory.path(), &engine("AB-CD-1"));
        let other = ImageLedger::new(directory.path(), &engine("AB-CD-2"));
        write(&other, &pulled_by_us(&[("sha256:2", "app:2")]));

        assert_eq!(first.read(), pulled_by_us(&[("sha256:1", "app:1")]));
        assert_eq!(other.read(), pulled_by_us(&[("sha256:2", "app:2")]));
        assert!(!former.exists());

        // As after a downgrade and another upgrade.
        write(&by_former_name, &pulled_by_us(&[("sha256:3", "app:3")]));
        let first = ImageLedger::new(directory.path(), &engine("AB-CD-1"));
        assert_eq!(first.read(), pulled_by_us(&[("sha256:1", "app:1"), ("sha256:3", "app:3")]));
        assert!(!former.exists());
    }
}
