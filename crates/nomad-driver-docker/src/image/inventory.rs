//! The images that an engine had at one moment.

use std::collections::{BTreeMap, HashMap};

use super::names::Names;
use crate::reference::ImageReference;
use engine::{Engine, EngineError, ListedImage};

/// All images by id, including untagged ones.
pub(super) struct Inventory(HashMap<String, Names>);

/// The names of an image as the engine lists them: those with tags, and digests.
pub(super) type ListedNames = (Vec<String>, Vec<String>);

impl Inventory {
    /// Asks the engine.
    pub(super) async fn ask(engine: &Engine) -> Result<Self, EngineError> {
        let by_id = |image: ListedImage| (image.id, (image.tags, image.digests));
        Ok(Self::of(engine.images().await?.into_iter().map(by_id)))
    }

    /// The images of a list.
    pub(super) fn of(images: impl IntoIterator<Item = (String, ListedNames)>) -> Self {
        Self(images.into_iter().map(|(id, (tags, digests))| (id, Names::of(&tags, &digests))).collect())
    }

    /// The images as a list.
    pub(super) fn listed(&self) -> BTreeMap<String, ListedNames> {
        self.0.iter().map(|(id, names)| (id.clone(), names.listed())).collect()
    }

    /// Whether the engine had the image by that name.
    pub(super) fn had(&self, id: &str, name: &ImageReference) -> bool {
        self.0.get(id).is_some_and(|had| name.written() == id || had.has(name))
    }

    /// Whether the engine had the image, and removing the name would take away part of that.
    pub(super) fn removal_would_take(&self, id: &str, name: &ImageReference) -> bool {
        self.had(id, name) || self.0.get(id).is_some_and(|had| had.removal_would_take_others(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_an_inventory_is_that_inventory() {
        let listed = BTreeMap::from([
            ("sha256:1".to_owned(), (vec!["app:1".to_owned(), format!("app@sha256:{}", "a".repeat(64))], vec![])),
            ("sha256:2".to_owned(), (vec![], vec![format!("r.test/other@sha256:{}", "b".repeat(64))])),
            ("sha256:3".to_owned(), (vec![], vec![])),
        ]);

        assert_eq!(Inventory::of(listed.clone()).listed(), listed);
    }

    #[test]
    fn an_image_is_known_by_its_id_as_well_and_another_by_nothing() {
        let names = Names::of(&["app:1".to_owned()], &[]);
        let before = Inventory(HashMap::from([("sha256:1".to_owned(), names)]));
        let had = |id: &str, name: &str| before.had(id, &ImageReference::parse(name).unwrap());
        let would_take = |id: &str, name: &str| before.removal_would_take(id, &ImageReference::parse(name).unwrap());

        assert!(had("sha256:1", "sha256:1") && would_take("sha256:1", "sha256:1"));
        assert!(had("sha256:1", "app:1") && !would_take("sha256:1", "app:2"));
        assert!(!had("sha256:2", "app:1") && !would_take("sha256:2", "app:1"));
    }
}
