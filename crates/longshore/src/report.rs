//! What is printed: answers on standard output, everything else on standard error.

use std::{
    fmt::Write as _,
    io::Write as _,
    sync::atomic::{AtomicU8, Ordering},
    time::{Duration, SystemTime},
};

use nomad_plugin::text::is_harmless;
use time::{OffsetDateTime, UtcOffset};

use crate::{bars::aside, state::Event};

/// How much is printed to standard error beside errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Verbosity {
    /// Nothing.
    Quiet,
    /// Notes, events of tasks, warnings of the driver.
    Normal,
    /// Also what the driver logs at the level info, or what `LONGSHORE_LOG` selects.
    Info,
    /// Also what it logs at the level debug.
    Debug,
}

/// The verbosity of the command; unit tests print nothing.
static VERBOSITY: AtomicU8 = AtomicU8::new(if cfg!(test) { Verbosity::Quiet } else { Verbosity::Normal } as u8);

/// Sets the verbosity of this process.
pub(crate) fn set_verbosity(verbosity: Verbosity) {
    VERBOSITY.store(verbosity as u8, Ordering::Relaxed);
}

/// Whether the command prints that much.
pub(crate) fn is_at_least(verbosity: Verbosity) -> bool {
    VERBOSITY.load(Ordering::Relaxed) >= verbosity as u8
}

/// A line of an answer. That nobody reads it ends nothing.
pub(crate) fn line(text: &str) {
    let text = without_commands(text);
    let _no_reader = aside(|| writeln!(std::io::stdout().lock(), "{text}"));
}

/// A value for a program.
pub(crate) fn json(value: &impl serde::Serialize) {
    let mut out = std::io::stdout().lock();
    let _no_reader = serde_json::to_string(value).map(|text| writeln!(out, "{}", escaped(&text)));
}

/// Bytes as they are.
pub(crate) fn bytes(bytes: &[u8]) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()
}

/// A remark.
pub(crate) fn note(text: &str) {
    if !is_at_least(Verbosity::Normal) {
        return;
    }
    let text = without_commands(text);
    let _no_reader = aside(|| writeln!(std::io::stderr().lock(), "==> {text}"));
}

/// A text of strangers on one line, without what a terminal would obey.
pub(crate) fn harmless(text: &str) -> String {
    without_commands(text).replace('\n', " ")
}

/// A text without what a terminal would obey. Every text is written through this: a registry, an image or a job file may
/// have had a part in it.
fn without_commands(text: &str) -> String {
    text.chars().map(|char| if is_harmless(char) { char } else { char::REPLACEMENT_CHARACTER }).collect()
}

/// JSON of the same meaning without what a terminal would obey. Between its strings there is none.
fn escaped(json: &str) -> String {
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

/// Why it did not work.
pub(crate) fn error(text: &str) {
    let text = without_commands(text.trim_end());
    let _no_reader = aside(|| writeln!(std::io::stderr().lock(), "Error: {text}"));
}

/// Something that happened to a task.
pub(crate) fn event(alloc: &str, task: &str, event: &Event) {
    if !is_at_least(Verbosity::Normal) {
        return;
    }
    let Event { at, kind, message } = event;
    let line = harmless(&format!("    {} {} {task}: {kind}: {message}", clock(*at), short(alloc)));
    let _no_reader = aside(|| writeln!(std::io::stderr().lock(), "{line}"));
}

/// The first part of an id, as Nomad shows it.
pub(crate) fn short(id: &str) -> &str {
    id.get(..8).unwrap_or(id)
}

/// The time of day, UTC.
pub(crate) fn clock(at: SystemTime) -> String {
    let at = OffsetDateTime::from(at).to_offset(UtcOffset::UTC);
    let (hour, minute, second, milli) = (at.hour(), at.minute(), at.second(), at.millisecond());
    format!("{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
}

/// How long ago something was.
pub(crate) fn ago(at: SystemTime) -> String {
    let seconds = SystemTime::now().duration_since(at).unwrap_or(Duration::ZERO).as_secs();
    match seconds {
        0..60 => format!("{seconds}s ago"),
        60..3600 => format!("{}m{}s ago", seconds / 60, seconds % 60),
        _ => format!("{}h{}m ago", seconds / 3600, seconds / 60 % 60),
    }
}

/// Bytes in the unit that reads well.
pub(crate) fn mib(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    let mib = bytes as f64 / f64::from(1 << 20);
    format!("{mib:.1} MiB")
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
