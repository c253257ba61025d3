//! The path of a call: the only way for a name, an id or an image reference into a path of the Engine API.
//!
//! The client library builds a path by joining texts, in which `..` climbs, `?` begins a query and `%2e` is a dot. So each text
//! is rejected or encoded here, and [`transport`](super::transport) sends a request only to the path of its route.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::error::EngineError;

/// Longer than any name that an engine gives or takes.
const MOST_BYTES: usize = 1024;

/// Characters that are not encoded: they have no special meaning in a path.
const PLAIN: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b':').remove(b'@');

/// One encoded text of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment(String);

impl Segment {
    /// For a name or an id: one segment, in which nothing climbs, ends or begins anything.
    pub fn of(text: &str) -> Result<Self, Unsafe> {
        if text.contains('/') { Err(Unsafe::of(text)) } else { Self::of_reference(text) }
    }

    /// For an image reference or id, whose slashes the engine's routes accept.
    pub fn of_reference(text: &str) -> Result<Self, Unsafe> {
        let is_safe = |part: &str| !matches!(part, "" | "." | "..") && !part.contains(char::is_control);
        if text.len() > MOST_BYTES || !text.split('/').all(is_safe) {
            return Err(Unsafe::of(text));
        }
        let encoded: Vec<String> = text.split('/').map(|part| utf8_percent_encode(part, PLAIN).to_string()).collect();
        Ok(Self(encoded.join("/")))
    }

    /// As it appears in a path.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A text that cannot be part of a path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is no name that the Docker daemon could know")]
pub struct Unsafe(String);

impl Unsafe {
    fn of(text: &str) -> Self {
        let shown: String = text.chars().take(64).collect();
        Self(if shown.len() < text.len() { format!("{shown:?}...") } else { format!("{shown:?}") })
    }
}

/// How long the engine's response may be, including its head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// A word, an id or an error.
    Short,
    /// All details of one container, network or exec, or of the engine.
    Thing,
    /// A list, or all details of an image, of which a part of bounded size is kept.
    Picked,
    /// An endless stream; each line or frame is bounded where it is read. An error instead of it is [`Answer::Short`].
    Stream,
}

impl Answer {
    /// In bytes.
    pub(super) const fn most(self) -> u64 {
        match self {
            Self::Short | Self::Stream => 1 << 20,
            Self::Thing => 16 << 20,
            Self::Picked => 1 << 30,
        }
    }
}

/// A call's path, its subject, and how long its response may be.
#[derive(Clone, Debug)]
pub(super) struct Route {
    /// For messages.
    pub(super) subject: String,
    pub(super) answer: Answer,
    to: Result<To, Unsafe>,
}

#[derive(Clone, Debug)]
struct To {
    path: String,
    segment: Segment,
}

/// Accompanies each request; a request without one is not sent.
#[derive(Clone, Debug)]
pub(super) struct Permit {
    /// The full path, without the API version.
    pub(super) path: String,
    pub(super) answer: Answer,
}

impl Route {
    /// A path without variable parts.
    pub(super) fn fixed(path: &'static str, subject: &str, answer: Answer) -> Self {
        let to = To { path: path.to_owned(), segment: Segment(String::new()) };
        Self { subject: subject.to_owned(), answer, to: Ok(to) }
    }

    /// A path about one object: the part before its name or id, and the part after.
    pub(super) fn about(before: &'static str, name: &str, behind: &'static str, answer: Answer) -> Self {
        Self::new(before, name, Segment::of(name), behind, answer)
    }

    /// A path about an image.
    pub(super) fn image(before: &'static str, image: &str, behind: &'static str, answer: Answer) -> Self {
        Self::new(before, image, Segment::of_reference(image), behind, answer)
    }

    fn new(before: &str, name: &str, segment: Result<Segment, Unsafe>, behind: &str, answer: Answer) -> Self {
        let to = segment.map(|segment| To { path: format!("{before}{}{behind}", segment.as_str()), segment });
        Self { subject: name.to_owned(), answer, to }
    }

    /// The permit, and the path's subject as encoded there: the client library builds the same path from it. Or why the path is
    /// invalid.
    pub(super) fn permit(&self) -> Result<(Permit, String), EngineError> {
        let To { path, segment } = self.to.clone().map_err(|error| EngineError::Unusable(error.to_string()))?;
        Ok((Permit { path, answer: self.answer }, segment.0))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_text_is_one_segment_or_none() {
        let encoded = |text: &str| Segment::of(text).map(|segment| segment.0);

        assert_eq!(encoded("my_net-1.2").unwrap(), "my_net-1.2");
        assert_eq!(encoded("a net?x#y%2e\\").unwrap(), "a%20net%3Fx%23y%252e%5C");
        assert_eq!(encoded("%2e%2e").unwrap(), "%252e%252e");
        for text in ["", ".", "..", "../x", "a/b", "/", "a\r\nb", "a\0", "\u{85}", &"x".repeat(MOST_BYTES + 1)] {
            assert!(encoded(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_reference_has_its_slashes_and_no_more() {
        let encoded = |text: &str| Segment::of_reference(text).map(|segment| segment.0);

        assert_eq!(encoded("r.test:5000/a/b:1").unwrap(), "r.test:5000/a/b:1");
        assert_eq!(encoded("[::1]:5000/a@sha256:ab").unwrap(), "%5B::1%5D:5000/a@sha256:ab");
        for text in ["", "a//b", "/a", "a/", "a/../b", "./a", "a/.", "a\n/b"] {
            assert!(encoded(text).is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_back_from_its_segment(text in "\\PC{0,40}|[./%?#\\\\a]{0,9}") {
            if let Ok(Segment(segment)) = Segment::of(&text) {
                let decoded = percent_encoding::percent_decode_str(&segment).decode_utf8().unwrap();
                prop_assert_eq!(decoded, text.as_str());
                prop_assert!(!segment.contains(['/', '?', '#', '\\']) && !matches!(segment.as_str(), "" | "." | ".."));
            }
        }
    }
}
