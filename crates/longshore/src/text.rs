//! Texts of strangers, made harmless to a terminal.

use std::fmt::Write as _;

use nomad_plugin::text::is_harmless;

/// A text of strangers on one line, without what a terminal would obey.
pub(crate) fn harmless(text: &str) -> String {
    without_commands(text).replace('\n', " ")
}

/// A text without what a terminal would obey. Every text is written through this: a registry, an image or a job file may
/// have had a part in it.
pub(crate) fn without_commands(text: &str) -> String {
    text.chars().map(|char| if is_harmless(char) { char } else { char::REPLACEMENT_CHARACTER }).collect()
}

/// JSON of the same meaning without what a terminal would obey. Between its strings there is none.
pub(crate) fn escaped(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for char in json.chars() {
        if is_harmless(char) {
            out.push(char);
        } else {
            let _a_string_takes_all = write!(out, "\\u{:04x}", u32::from(char));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{escaped, harmless, without_commands};

    #[test]
    fn a_strangers_text_cannot_command_a_terminal() {
        assert_eq!(harmless("a\tb\u{1b}[2J\r\n\u{9b}c\u{202e}d"), "a\tb\u{fffd}[2J\u{fffd} \u{fffd}c\u{fffd}d");
        assert_eq!(harmless("Größe ✓"), "Größe ✓");
        assert_eq!(without_commands("a\n\tb\r\u{200f}\u{1b}]0;x\u{7}"), "a\n\tb\u{fffd}\u{fffd}\u{fffd}]0;x\u{fffd}");
        let json = serde_json::json!({ "a\u{9b}": "\u{202e}\u{1b}\u{7f}\n" });
        let text = escaped(&json.to_string());
        assert_eq!(text, r#"{"a\u009b":"\u202e\u001b\u007f\n"}"#);
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), json);
    }
}
