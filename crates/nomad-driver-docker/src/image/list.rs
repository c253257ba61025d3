//! Lists the images that a driver manages, as the engine has them.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use image_service::{Fate, Image, Kept, Listed};

use super::{Images, lease::Known, ledger::ImageLedger};
use engine::{EngineError, InspectedImage};

impl Images {
    /// The images that are used, that this driver or the drivers of `state_dirs` pulled, or that are pinned. Before garbage
    /// collection starts, those recorded in `own` are listed as this driver's.
    pub async fn list(&self, own: &Path, state_dirs: Vec<PathBuf>) -> Result<Vec<Listed>, EngineError> {
        let engine = self.engine.ask_facts().await?.name.clone();
        let mut known: Vec<(Known, Option<PathBuf>)> =
            self.leases.known().into_iter().map(|known| (known, None)).collect();
        let uncollected = (!self.leases.collects_garbage()).then(|| (own.to_owned(), None));
        let asked = state_dirs.into_iter().map(|directory| (directory.clone(), Some(directory)));
        for (directory, of) in uncollected.into_iter().chain(asked) {
            let pulled_by_us = ImageLedger::new(&directory, &engine).read();
            let fate = Fate::Kept(Kept::Unattended);
            known.extend(
                pulled_by_us.into_iter().map(|(id, names)| (Known { id, names, used: false, fate }, of.clone())),
            );
        }

        let mut pinned = self.pinned().await?;
        let mut listed = Vec::new();
        for (Known { id, names, used, fate }, state_dir) in known {
            let Some(found) = self.look_up(&id).await? else { continue };
            let fate = if pinned.remove(&id).is_some() { Fate::Kept(Kept::Prefetched) } else { fate };
            let names = if named(&found).is_empty() { names.into_iter().collect() } else { named(&found) };
            listed.push(Listed { image: image(id, names, &found, used, fate), state_dir });
        }
        for (id, found) in pinned {
            let image = image(id, named(&found), &found, false, Fate::Kept(Kept::Prefetched));
            listed.push(Listed { image, state_dir: None });
        }
        Ok(listed)
    }

    /// The pinned images that exist, by id.
    async fn pinned(&self) -> Result<BTreeMap<String, InspectedImage>, EngineError> {
        let mut pinned = BTreeMap::new();
        for name in self.leases.pinned() {
            if let Some(found) = self.look_up(&name).await? {
                pinned.insert(found.id.clone(), found);
            }
        }
        Ok(pinned)
    }

    async fn look_up(&self, image: &str) -> Result<Option<InspectedImage>, EngineError> {
        match self.engine.inspect_image(image).await {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn image(id: String, names: Vec<String>, found: &InspectedImage, used: bool, fate: Fate) -> Image {
    Image { id, names, size: found.size, used, tasks: Vec::new(), fate }
}

/// The names by which the engine knows an image; its digests if it has no other.
fn named(found: &InspectedImage) -> Vec<String> {
    if found.tags.is_empty() { found.digests.clone() } else { found.tags.clone() }
}
