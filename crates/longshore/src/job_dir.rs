//! The name of a job's directory.

use std::fmt::Write;

use sha2::{Digest, Sha256};

/// File systems take 255 bytes; what stands beside it in a path needs room as well.
const LONGEST: usize = 200;
/// So much of a longer one is kept to be read.
const PREFIX: usize = 100;

/// A name that no other id has: what could be more than a plain name is written as `%2F`. An id too long for a file
/// system continues with `+` and its digest; no short one has a `+`.
pub(crate) fn name(id: &str) -> String {
    let mut name = String::with_capacity(id.len());
    for (at, byte) in id.bytes().enumerate() {
        let is_plain = byte.is_ascii_alphanumeric() || b"-_".contains(&byte) || byte == b'.' && at > 0;
        if is_plain {
            name.push(byte.into());
        } else {
            let _a_string_takes_all = write!(name, "%{byte:02X}");
        }
    }
    if name.len() > LONGEST {
        name.truncate(PREFIX);
        name.push('+');
        for byte in Sha256::digest(id) {
            let _a_string_takes_all = write!(name, "{byte:02x}");
        }
    }
    name
}

/// The name that earlier versions gave it, which it shares with other ids.
pub(crate) fn earlier_name(id: &str) -> String {
    id.chars().map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_id_has_a_plain_name_of_its_own() {
        let long = "a".repeat(300);
        let ids = [
            "a",
            "A",
            "a_b",
            "a/b",
            "a%2Fb",
            "a%b",
            "a.b",
            "..",
            ".",
            "%2E",
            ".a",
            "a+b",
            "\u{fc}",
            "/",
            "a\nb",
            "a\0b",
            "~",
            &long,
            &format!("{long}b"),
            &name(&long),
            &"/".repeat(90),
        ];

        let names: BTreeSet<String> = ids.iter().map(|id| name(id)).collect();

        assert_eq!(names.len(), ids.len(), "{names:?}");
        for name in &names {
            assert!(name.len() <= LONGEST && !name.starts_with('.') && !name.contains(['/', '\0', '\n']), "{name}");
        }
        assert_eq!((name("web-1_a.b"), name("a/b"), name("..")), ("web-1_a.b".into(), "a%2Fb".into(), "%2E.".into()));
    }
}
