//! Parses image names: registry, repository, and tag or digest.

use std::{fmt, sync::LazyLock};

use regex::Regex;

/// The registry of names without one.
pub(super) const HUB: &str = "docker.io";

/// `ReferenceRegexp` of github.com/distribution/reference, in the same parts.
static REFERENCE: LazyLock<Regex> = LazyLock::new(|| {
    const ALNUM: &str = "[a-zA-Z0-9]";
    let label = format!("(?:{ALNUM}|{ALNUM}[a-zA-Z0-9-]*{ALNUM})");
    let host = format!(r"(?:{label}(?:\.{label})*|\[[a-fA-F0-9:]+\])");
    let component = "[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*";
    let name = format!("(?:{host}(?::[0-9]+)?/)?{component}(?:/{component})*");
    let tag = "[0-9A-Za-z_][0-9A-Za-z_.-]{0,127}";
    let digest = "[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}";
    Regex::new(&format!("^({name})(?::({tag}))?(?:@({digest}))?$")).expect("a constant that a test compiles")
});

/// A parsed image name. The default stands for a name that was rejected: no image has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageReference {
    written: String,
    /// As written, without tag and digest.
    repository: String,
    version: Version,
}

/// A name that is no image's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unable to create local docker image {0:?}: does not match registry specification")]
pub struct InvalidReference(String);

/// A name as its author wrote it, valid or not.
pub fn written(name: &Result<ImageReference, InvalidReference>) -> &str {
    match name {
        Ok(reference) => reference.written(),
        Err(InvalidReference(written)) => written,
    }
}

/// The version of an image within its repository.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Version {
    Tag(String),
    Digest(String),
}

impl Default for Version {
    fn default() -> Self {
        Self::Tag(String::new())
    }
}

impl ImageReference {
    /// Parses a name; `None` if it is invalid. A name without tag means `latest`; a tag next to a digest is ignored.
    pub fn parse(image: &str) -> Option<Self> {
        let parts = REFERENCE.captures(image)?;
        let part = |index: usize| parts.get(index).map(|part| part.as_str().to_owned());
        let version = match (part(3), part(2)) {
            (Some(digest), _) => Version::Digest(digest),
            (None, Some(tag)) => Version::Tag(tag),
            (None, None) => Version::Tag("latest".to_owned()),
        };
        Some(Self { written: image.to_owned(), repository: part(1)?, version })
    }

    /// Parses a name that a person wrote, which may begin with `https://`.
    pub fn of_person(image: &str) -> Result<Self, InvalidReference> {
        let image = image.strip_prefix("https://").unwrap_or(image);
        Self::parse(image).ok_or_else(|| InvalidReference(image.to_owned()))
    }

    /// The name as its author wrote it, without a leading `https://`.
    pub fn written(&self) -> &str {
        &self.written
    }

    /// Whether both name the same image, however each is written.
    pub fn is_same(&self, other: &Self) -> bool {
        self.canonical() == other.canonical()
    }

    /// Whether the name may refer to another image over time.
    pub fn is_latest(&self) -> bool {
        matches!(&self.version, Version::Tag(tag) if tag == "latest")
    }

    /// Whether it always refers to the same image.
    pub fn is_digest(&self) -> bool {
        matches!(&self.version, Version::Digest(_))
    }

    /// Whether both are in the same repository.
    pub fn is_beside(&self, other: &Self) -> bool {
        self.qualified() == other.qualified()
    }

    /// The tag, or the digest.
    pub fn tag(&self) -> &str {
        match &self.version {
            Version::Tag(version) | Version::Digest(version) => version,
        }
    }

    /// The repository for error messages: with the digest, without the tag.
    pub fn repository(&self) -> String {
        match &self.version {
            Version::Tag(_) => self.repository.clone(),
            Version::Digest(digest) => format!("{}@{digest}", self.repository),
        }
    }

    /// The registry's host (and port).
    pub fn registry(&self) -> &str {
        self.split().0
    }

    /// The full registry and path, as the engine resolves them: `busybox` is `docker.io/library/busybox`.
    pub fn qualified(&self) -> String {
        let (registry, path) = self.split();
        if registry == HUB && !path.contains('/') {
            format!("{HUB}/library/{path}")
        } else {
            format!("{registry}/{path}")
        }
    }

    /// The canonical spelling of the name.
    pub fn canonical(&self) -> String {
        format!("{}:{}", self.qualified(), self.tag())
    }

    fn split(&self) -> (&str, &str) {
        match self.repository.split_once('/') {
            Some(("index.docker.io", path)) => (HUB, path),
            // The first component is a host if nothing else can look like it.
            Some((first, path))
                if first.contains(['.', ':'])
                    || first == "localhost"
                    || first.contains(|letter: char| letter.is_ascii_uppercase()) =>
            {
                (first, path)
            }
            _ => (HUB, &self.repository),
        }
    }
}

/// The canonical spelling of a name; an invalid name is returned unchanged.
pub(super) fn canonical(name: &str) -> String {
    ImageReference::parse(name).map_or_else(|| name.to_owned(), |reference| reference.canonical())
}

impl fmt::Display for ImageReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.version {
            Version::Tag(tag) => write!(f, "{}:{tag}", self.repository),
            Version::Digest(digest) => write!(f, "{}@{digest}", self.repository),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:7cc4b5aefd1d0cadf8d97d4350462ba51c694ebca145b08d7d41b41acc8db5aa";

    fn parse(image: &str) -> ImageReference {
        ImageReference::parse(image).unwrap_or_else(|| panic!("{image} is no reference"))
    }

    #[test]
    fn a_name_without_tag_means_the_latest() {
        let busybox = parse("busybox");

        assert_eq!(busybox.to_string(), "busybox:latest");
        assert!(busybox.is_latest());
        assert_eq!((busybox.registry(), busybox.qualified().as_str()), ("docker.io", "docker.io/library/busybox"));
    }

    #[test]
    fn spellings_of_one_name_have_one_canonical_form() {
        for name in ["busybox", "busybox:latest", "library/busybox", "docker.io/library/busybox:latest"] {
            assert_eq!(canonical(name), "docker.io/library/busybox:latest", "{name}");
        }
        assert_eq!(canonical("No Name"), "No Name");
    }

    #[test]
    fn a_tag_beside_a_digest_says_nothing() {
        let image = parse(&format!("example.com:5000/a/b:latest@{DIGEST}"));

        assert_eq!(image.to_string(), format!("example.com:5000/a/b@{DIGEST}"));
        assert_eq!(image.repository(), image.to_string());
        assert!(!image.is_latest());
        assert_eq!((image.qualified().as_str(), image.tag()), ("example.com:5000/a/b", DIGEST));
    }

    #[test]
    fn the_first_component_is_a_registry_only_when_it_looks_like_one() {
        for (image, registry, qualified) in [
            ("org/app:1", "docker.io", "docker.io/org/app"),
            ("localhost/app:1", "localhost", "localhost/app"),
            ("127.0.0.1:5000/app:1", "127.0.0.1:5000", "127.0.0.1:5000/app"),
            ("[::1]:5000/app:1", "[::1]:5000", "[::1]:5000/app"),
            ("index.docker.io/app", "docker.io", "docker.io/library/app"),
            ("docker.io/library/app", "docker.io", "docker.io/library/app"),
            ("registry:5000/a/b/c", "registry:5000", "registry:5000/a/b/c"),
        ] {
            let reference = parse(image);
            assert_eq!((reference.registry(), reference.qualified().as_str()), (registry, qualified), "{image}");
        }
    }

    #[test]
    fn what_the_registry_specification_does_not_know_is_no_reference() {
        let long_tag = format!("app:{}", "t".repeat(129));
        for image in [
            "",
            " app",
            "App",
            "app:",
            "app:-1",
            "a//b",
            "-a/b",
            "app@sha256:abc",
            "a b",
            "app\n",
            "https://a/b",
            &long_tag,
        ] {
            assert_eq!(ImageReference::parse(image), None, "{image:?}");
        }
    }
}
