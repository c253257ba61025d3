//! What an engine had before a pull or a load: none of that goes with what the driver brings.

use std::collections::HashMap;

use super::{LocalImage, lease::Leases, look, names::Names};
use engine::{Engine, EngineError, ListedImage};

/// What an engine had when a pull or a load began.
#[derive(Default)]
pub(super) struct Before {
    /// What the name stood for. Held until the pull is over, it is still there when that has nothing new.
    pub(super) named: Option<LocalImage>,
    /// All images by id, untagged ones as well.
    images: HashMap<String, Names>,
}

impl Before {
    /// Asks the engine, before it pulls or loads an image of that name.
    pub(super) async fn look(engine: &Engine, leases: &Leases, image: &str) -> Result<Self, EngineError> {
        let named = match look(engine, leases, image).await {
            Ok(found) => Some(found),
            Err(error) if error.is_not_found() => None,
            Err(error) => return Err(error),
        };
        let by_id = |image: ListedImage| {
            let of_image = Names::of(&image.tags, &image.digests);
            (image.id, of_image)
        };
        let images = engine.images().await?.into_iter().map(by_id).collect();
        Ok(Self { named, images })
    }

    /// Whether the engine had the image by that name.
    pub(super) fn had(&self, id: &str, name: &str) -> bool {
        self.images.get(id).is_some_and(|had| name == id || had.has(name))
    }

    /// Whether the engine had the image, and would have less than that when the name goes.
    pub(super) fn removal_would_take(&self, id: &str, name: &str) -> bool {
        self.had(id, name) || self.images.get(id).is_some_and(|had| had.removal_would_take_others(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_known_by_its_id_as_well_and_another_by_nothing() {
        let names = Names::of(&["app:1".to_owned()], &[]);
        let before = Before { named: None, images: HashMap::from([("sha256:1".to_owned(), names)]) };

        assert!(before.had("sha256:1", "sha256:1") && before.removal_would_take("sha256:1", "sha256:1"));
        assert!(before.had("sha256:1", "app:1") && !before.removal_would_take("sha256:1", "app:2"));
        assert!(!before.had("sha256:2", "app:1") && !before.removal_would_take("sha256:2", "app:1"));
    }
}
