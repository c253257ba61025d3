//! The names of an image in an engine, and what removing each of them takes away.
//!
//! Removing the last tag of a repository removes its digests, and removing the last name removes the image. In containerd's
//! store a pulled digest is a name of its own, which the engine lists among the tags. Removing that also removes the tags of
//! its repository.

use std::collections::BTreeSet;

use crate::reference::{ImageReference, canonical};

/// The names of one image.
#[derive(Default)]
pub(super) struct Names {
    tags: Vec<ImageReference>,
    digests: Vec<ImageReference>,
    /// The digests that are names of their own.
    pulled: Vec<ImageReference>,
}

impl Names {
    /// As an engine lists them.
    pub(super) fn of(tags: &[String], digests: &[String]) -> Self {
        // Some engines list an unnamed image as `<none>:<none>`.
        let parsed = |names: &[String]| names.iter().filter_map(|name| ImageReference::parse(name)).collect();
        let names: Vec<_> = parsed(tags);
        let (pulled, tags) = names.into_iter().partition(ImageReference::is_digest);
        Self { tags, digests: parsed(digests), pulled }
    }

    /// As an engine lists them: those with tags, and digests.
    pub(super) fn listed(&self) -> (Vec<String>, Vec<String>) {
        let written = |name: &ImageReference| name.written().to_owned();
        (self.tags.iter().chain(&self.pulled).map(written).collect(), self.digests.iter().map(written).collect())
    }

    /// Whether the image has this name.
    pub(super) fn has(&self, name: &ImageReference) -> bool {
        self.all().any(|other| other.is_same(name))
    }

    /// Whether adding this name and removing it again would remove others.
    pub(super) fn removal_would_take_others(&self, name: &ImageReference) -> bool {
        let here = |names: &[ImageReference]| names.iter().any(|other| other.is_beside(name));
        let digests_here = here(&self.digests) || here(&self.pulled);
        self.has(name) || self.tags.is_empty() || (digests_here && !here(&self.tags))
    }

    /// Whether removing this name of ours also removes names that are not `ours`.
    pub(super) fn would_take_another(&self, name: &str, ours: &BTreeSet<String>) -> bool {
        let Some(name) = ImageReference::parse(name) else { return false };
        let ours: Vec<_> = ours.iter().map(|name| canonical(name)).collect();
        let own = || self.tags.iter().chain(&self.pulled);
        let is_removed = |other: &ImageReference| other.is_beside(&name) && other.is_digest() != name.is_digest();
        own().any(|other| other.is_same(&name))
            && own().any(|other| is_removed(other) && !ours.contains(&other.canonical()))
    }

    /// Whether no names are left but digests that came with `ours`.
    pub(super) fn are_none_but(&self, ours: &BTreeSet<String>) -> bool {
        let ours: Vec<_> = ours.iter().filter_map(|name| ImageReference::parse(name)).collect();
        let came = |digest: &ImageReference| ours.iter().any(|name| name.is_beside(digest));
        self.tags.is_empty() && self.pulled.is_empty() && self.digests.iter().all(came)
    }

    fn all(&self) -> impl Iterator<Item = &ImageReference> {
        self.tags.iter().chain(&self.digests).chain(&self.pulled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "@sha256:7cc4b5aefd1d0cadf8d97d4350462ba51c694ebca145b08d7d41b41acc8db5aa";

    /// `@` stands for a digest, `+` for one that is a name of its own.
    fn spelled(name: &str) -> String {
        name.replace(['@', '+'], DIGEST)
    }

    fn name(name: &str) -> ImageReference {
        ImageReference::parse(&spelled(name)).unwrap()
    }

    fn names(names: &[&str]) -> Names {
        let (digests, tags): (Vec<&str>, Vec<_>) = names.iter().partition(|name| name.ends_with('@'));
        let [tags, digests] = [tags, digests].map(|names| names.into_iter().map(spelled).collect::<Vec<_>>());
        Names::of(&tags, &digests)
    }

    fn ours(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| spelled(name)).collect()
    }

    #[test]
    fn a_digest_alone_and_no_name_at_all_are_lost_by_a_new_name() {
        for there in [&["r.test/app@"][..], &["r.test/app+"], &["other@"], &["other+"], &["<none>:<none>"], &[]] {
            assert!(names(there).removal_would_take_others(&name("r.test/app:1")), "{there:?}");
            assert!(!names(there).has(&name("r.test/app:1")), "{there:?}");
        }
        for digest in ["r.test/app@", "r.test/app+"] {
            assert!(
                names(&["other:1", digest]).removal_would_take_others(&name("r.test/app:1")),
                "the digest is removed with the tag"
            );
        }
    }

    #[test]
    fn nothing_is_lost_by_a_new_name_where_another_holds_it() {
        for there in
            [&["other:1"][..], &["r.test/app:2", "r.test/app@"], &["other:1", "other@"], &["other:1", "other+"]]
        {
            assert!(!names(there).removal_would_take_others(&name("r.test/app:1")), "{there:?}");
        }
    }

    #[test]
    fn a_name_is_known_in_every_spelling() {
        for spelling in ["app", "docker.io/library/app:latest"] {
            assert!(
                names(&["app:latest"]).has(&name(spelling))
                    && names(&["app:latest"]).removal_would_take_others(&name(spelling)),
                "{spelling}"
            );
        }
        assert!(names(&["app@"]).has(&name("app:1@")) && names(&["app+"]).has(&name("app:1@")));
    }

    #[test]
    fn a_digest_that_somebody_else_pulled_is_removed_with_a_tag_and_his_tag_with_a_digest() {
        for (there, name) in [(["app:1", "app+"], "app:1"), (["docker.io/library/app:1", "app+"], "app+")] {
            assert!(names(&there).would_take_another(&spelled(name), &ours(&[name])), "{name}");
            assert!(
                !names(&there).would_take_another(&spelled(name), &ours(&["app:1", "app+"])),
                "{name}: both are ours"
            );
        }
        for there in [["app:1", "app:2"], ["app:1", "app@"], ["app:1", "other+"]] {
            assert!(!names(&there).would_take_another("app:1", &ours(&["app:1"])), "{there:?}");
        }
        assert!(
            !names(&["app:1", "app@"]).would_take_another(&spelled("app@"), &ours(&["app@"])),
            "it is no name of its own"
        );
    }

    #[test]
    fn an_image_is_nobodys_when_only_digests_of_our_repositories_are_left() {
        for (left, nobodys) in
            [(&[][..], true), (&["app@"], true), (&["other@"], false), (&["app:2"], false), (&["app+"], false)]
        {
            assert_eq!(names(left).are_none_but(&ours(&["app:1"])), nobodys, "{left:?}");
        }
    }
}
