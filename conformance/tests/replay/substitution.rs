//! What stands in a recording and cannot be the same in a test: replaced by texts of the same length, so that no length
//! before them changes, in protobuf or msgpack, and all other bytes stay what an agent sent.

/// Pairs of texts of the same length.
#[derive(Clone, Default)]
pub(crate) struct Substitution(Vec<(Vec<u8>, Vec<u8>)>);

impl Substitution {
    /// Adds a pair; `false` where there is one for that text already. Where several begin at one place, the longest counts.
    pub(crate) fn add(&mut self, recorded: impl AsRef<[u8]>, ours: impl AsRef<[u8]>) -> bool {
        let (recorded, ours) = (recorded.as_ref(), ours.as_ref());
        let show = String::from_utf8_lossy;
        assert_eq!(recorded.len(), ours.len(), "the lengths of {} and {}", show(recorded), show(ours));
        let is_new = !self.0.iter().any(|(known, _)| known == recorded);
        if is_new {
            self.0.push((recorded.to_vec(), ours.to_vec()));
            self.0.sort_by_key(|(recorded, _)| std::cmp::Reverse(recorded.len()));
        }
        is_new
    }

    /// The bytes to send in the place of recorded ones.
    pub(crate) fn ours(&self, recorded: &[u8]) -> Vec<u8> {
        replaced(recorded, &self.0.iter().map(|(recorded, ours)| (&**recorded, &**ours)))
    }

    /// The text to have in the place of a recorded one.
    pub(crate) fn ours_of(&self, recorded: &serde_json::Value) -> String {
        String::from_utf8(self.ours(recorded.as_str().unwrap().as_bytes())).unwrap()
    }

    /// A text of ours in the words of the recording.
    pub(crate) fn recorded(&self, ours: &str) -> String {
        let bytes = replaced(ours.as_bytes(), &self.0.iter().map(|(recorded, ours)| (&**ours, &**recorded)));
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

fn replaced<'a>(bytes: &[u8], pairs: &(impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone)) -> Vec<u8> {
    let mut result = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((first, behind)) = rest.split_first() {
        if let Some((from, to)) = pairs.clone().find(|(from, _)| rest.starts_with(from)) {
            result.extend_from_slice(to);
            rest = &rest[from.len()..];
        } else {
            result.push(*first);
            rest = behind;
        }
    }
    result
}
