//! Shortens and sanitizes foreign texts before they are sent to a host: those of a job, an image, a registry or an engine.
//!
//! An error's text travels as a header, where most characters take three bytes. A host that receives a header above its limit
//! closes the connection, and with it every call of every task.

/// The maximum size of a text, encoded as a header.
const MOST: usize = 4 << 10;
/// How much of that is reserved for the end of a text that is too long: the last error is there.
const END: usize = 512;
/// Reserved for the note on how much is omitted.
const WORDS: usize = 128;

/// The text as it is sent to a host. A text that is too long keeps its beginning and its end. Of control characters only line
/// ends and tabs are kept.
pub fn short(text: &str) -> String {
    let clean = |char: char| if is_harmless(char) { char } else { char::REPLACEMENT_CHARACTER };
    let cost: usize = text.chars().map(clean).map(cost).take(MOST + 1).sum();
    if cost <= MOST {
        return text.chars().map(clean).collect();
    }
    let begin = taken(text.chars().map(clean), MOST - END - WORDS);
    let end = taken(text.chars().rev().map(clean), END);
    let of_chars = |count: usize, chars: &mut dyn Iterator<Item = char>| chars.take(count).map(char::len_utf8).sum();
    let begins: usize = of_chars(begin.len(), &mut text.chars());
    let ends: usize = of_chars(end.len(), &mut text.chars().rev());
    let left_out = text.len() - begins - ends;
    begin
        .into_iter()
        .chain(format!("... ({left_out} bytes left out) ...").chars())
        .chain(end.into_iter().rev())
        .collect()
}

/// The longest run of characters whose cost fits into `most`.
fn taken(chars: impl Iterator<Item = char>, most: usize) -> Vec<char> {
    let mut room = most;
    chars
        .map_while(|char| {
            room = room.checked_sub(cost(char))?;
            Some(char)
        })
        .collect()
}

/// Whether a terminal displays the character without acting on it: it moves no cursor, begins no escape sequence and changes no
/// text direction. Line ends and tabs are harmless.
pub fn is_harmless(char: char) -> bool {
    let turns = matches!(char, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    matches!(char, '\n' | '\t') || !(char.is_control() || turns)
}

/// What a character takes in a header: anything but plain ASCII is percent-encoded.
fn cost(char: char) -> usize {
    let is_plain = char.is_ascii_graphic() && !matches!(char, '"' | '#' | '<' | '>' | '`' | '?' | '{' | '}' | '%');
    if is_plain { 1 } else { 3 * char.len_utf8() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_short_is_unchanged_and_what_is_long_has_both_ends() {
        let long = format!("began {} ended", "x".repeat(1 << 20));

        assert_eq!(short("cannot start\nhint:\ttry again"), "cannot start\nhint:\ttry again");
        assert!(short(&long).starts_with("began xxx") && short(&long).ends_with("xxx ended"));
        assert!(short(&long).contains(" bytes left out) "), "{}", short(&long));
        assert_eq!(short("a\u{1b}[2J\0\r\u{9b}\u{202e}b"), "a\u{fffd}[2J\u{fffd}\u{fffd}\u{fffd}\u{fffd}b");
    }

    #[test]
    fn all_bytes_are_accounted_for() {
        let text = "é".repeat(100_000);
        let short = short(&text);

        let left_out: usize = short.split(" (").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
        assert_eq!(left_out + short.matches('é').count() * 2, text.len());
    }

    proptest! {
        #[test]
        fn no_text_takes_more_than_its_room(text in "\\PC{0,3000}|[\\x00-\\x20\"%]{0,6000}") {
            let short = short(&text);
            prop_assert!(short.chars().map(cost).sum::<usize>() <= MOST);
            prop_assert_eq!(super::short(&short), short);
        }
    }
}
