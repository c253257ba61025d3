//! What an engine had before a pull or a load: none of that goes with what the driver brings.

use std::collections::HashMap;

use super::{
    LocalImage,
    lease::Leases,
    look,
    reference::{ImageReference, canonical},
};
use crate::engine::{Engine, EngineError, model::ImageSummary};

/// What an engine had when a pull or a load began.
#[derive(Default)]
pub(super) struct Before {
    /// What the name stood for. Held until the pull is over, it is still there when that has nothing new.
    pub(super) named: Option<LocalImage>,
    /// All images by id, untagged ones as well.
    images: HashMap<String, Names>,
}

struct Names {
    tags: Vec<ImageReference>,
    digests: Vec<ImageReference>,
}

impl Before {
    /// Asks the engine, before it pulls or loads an image of that name.
    pub(super) async fn look(engine: &Engine, leases: &Leases, image: &str) -> Result<Self, EngineError> {
        let named = match look(engine, leases, image).await {
            Ok(found) => Some(found),
            Err(error) if error.is_not_found() => None,
            Err(error) => return Err(error),
        };
        let images = engine.images().await?.into_iter().map(|image| (image.id.clone(), Names::of(&image))).collect();
        Ok(Self { named, images })
    }

    /// Whether the engine had the image by that name.
    pub(super) fn had(&self, id: &str, name: &str) -> bool {
        self.images.get(id).is_some_and(|had| name == id || had.all().any(|had| had.canonical() == canonical(name)))
    }

    /// Whether the engine had the image, and would have less than that when the name goes.
    pub(super) fn loses(&self, id: &str, name: &str) -> bool {
        let Some(had) = self.images.get(id) else { return false };
        let Some(repository) = ImageReference::parse(name).map(|name| name.qualified()) else { return true };
        let here = |names: &[ImageReference]| names.iter().any(|name| name.qualified() == repository);
        // With the last tag of a repository the engine takes its digests away, with the last name the image.
        self.had(id, name) || had.tags.is_empty() || (here(&had.digests) && !here(&had.tags))
    }
}

impl Names {
    fn of(image: &ImageSummary) -> Self {
        // Some engines call one without a name `<none>:<none>`.
        let parsed = |names: &[String]| names.iter().filter_map(|name| ImageReference::parse(name)).collect();
        Self { tags: parsed(&image.repo_tags), digests: parsed(&image.repo_digests) }
    }

    fn all(&self) -> impl Iterator<Item = &ImageReference> {
        self.tags.iter().chain(&self.digests)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "sha256:1";
    const DIGEST: &str = "@sha256:7cc4b5aefd1d0cadf8d97d4350462ba51c694ebca145b08d7d41b41acc8db5aa";

    /// An engine that has one image, by these names; those that end with `@` by a digest.
    fn before(names: &[&str]) -> Before {
        let spelled = names.iter().map(|name| name.replace('@', DIGEST));
        let (repo_digests, repo_tags) = spelled.partition(|name| name.ends_with(DIGEST));
        let image = ImageSummary { repo_tags, repo_digests, ..ImageSummary::default() };
        Before { named: None, images: HashMap::from([(ID.to_owned(), Names::of(&image))]) }
    }

    #[test]
    fn what_was_there_by_a_digest_alone_or_without_a_name_is_not_lost_with_a_new_name() {
        for names in [&["r.test/app@"][..], &["other@"], &["<none>:<none>"], &[]] {
            assert!(before(names).loses(ID, "r.test/app:1"), "{names:?}");
            assert!(!before(names).had(ID, "r.test/app:1"), "{names:?}");
        }
        assert!(before(&["other:1", "r.test/app@"]).loses(ID, "r.test/app:1"), "the digest goes with the tag");
        assert!(before(&["other:1"]).loses(ID, ID));
    }

    #[test]
    fn a_new_name_may_go_where_another_keeps_what_was_there() {
        for names in [&["other:1"][..], &["r.test/app:2", "r.test/app@"], &["other:1", "other@"]] {
            assert!(!before(names).loses(ID, "r.test/app:1"), "{names:?}");
        }
        assert!(!before(&["other:1"]).loses("sha256:2", "r.test/app:1"), "another image");
    }

    #[test]
    fn a_name_is_known_in_every_spelling() {
        for name in ["app", "docker.io/library/app:latest"] {
            assert!(before(&["app:latest"]).had(ID, name) && before(&["app:latest"]).loses(ID, name), "{name}");
        }
        assert!(before(&["app@"]).had(ID, &format!("app:1{DIGEST}")));
        assert!(!before(&["app:latest"]).had("sha256:2", "app"));
    }
}
