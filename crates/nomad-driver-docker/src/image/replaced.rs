//! Names that an archive's image took from another image, which gets them back when that image is removed.
//!
//! `<state dir>/images/<engine's name>.replaced` stores them for the next process, in JSON. If it is lost or unreadable, no
//! harm is done: the names are removed with the image.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use crate::reference::ImageReference;
use atomic_file::Durability;
use engine::Engine;

/// The maximum size of the file.
const LARGEST: u64 = 16 << 20;

/// By the id of the image that has the names now: each name, with the id of the image that had it before.
pub(super) type Replaced = BTreeMap<String, BTreeMap<String, String>>;

/// The path of the names' file, next to a ledger.
pub(super) fn beside(ledger: &Path) -> PathBuf {
    ledger.with_extension("replaced")
}

/// The names recorded by an earlier process.
pub(super) fn read(path: &Path) -> Replaced {
    let read = atomic_file::read(path, LARGEST).and_then(|content| Ok(serde_json::from_slice(&content)?));
    read.unwrap_or_else(|error: io::Error| {
        if error.kind() != io::ErrorKind::NotFound {
            tracing::warn!(file = %path.display(), %error, "failed to read which names archives took; they are not given back");
        }
        Replaced::new()
    })
}

/// Replaces the recorded names.
pub(super) fn write(path: &Path, replaced: &Replaced) {
    if replaced.is_empty() && !path.exists() {
        return;
    }
    let written = serde_json::to_vec(replaced).map_err(io::Error::from);
    if let Err(error) = written.and_then(|content| atomic_file::replace(path, &content, Durability::Process)) {
        tracing::warn!(file = %path.display(), %error, "failed to record names that archives took; they are not given back after a restart");
    }
}

/// Gives an unused name back to its former image, if that still exists.
pub(super) async fn give_back(engine: &Engine, name: &str, former: &str) {
    let is_free = matches!(engine.inspect_image(name).await, Err(error) if error.is_not_found());
    let Some(reference) = ImageReference::parse(name).filter(|reference| is_free && !reference.is_digest()) else {
        return;
    };
    match engine.tag_image(former, &reference.qualified(), reference.tag()).await {
        Ok(()) => {
            tracing::info!(image = former, name, "gave the image its name back that an archive's image had taken");
        }
        Err(error) => {
            tracing::warn!(image = former, name, %error, "failed to give an image its name back that an archive's image had taken");
        }
    }
}
