//! What is told to the person: answers on standard output, everything else on standard error.

use std::{
    io::Write,
    time::{Duration, SystemTime},
};

use time::{OffsetDateTime, UtcOffset};

use crate::{bars::aside, state::Event};

/// A line of an answer. A reader that is gone ends nothing.
pub(crate) fn line(text: &str) {
    let _reader_gone = aside(|| writeln!(std::io::stdout().lock(), "{text}"));
}

/// A value for a program.
pub(crate) fn json(value: &impl serde::Serialize) {
    let mut out = std::io::stdout().lock();
    let _reader_gone = serde_json::to_writer(&mut out, value).map(|()| writeln!(out));
}

/// Bytes as they are.
pub(crate) fn bytes(bytes: &[u8]) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()
}

/// A remark.
pub(crate) fn note(text: &str) {
    let _reader_gone = aside(|| writeln!(std::io::stderr().lock(), "==> {text}"));
}

/// A text of strangers on one line, without what a terminal would obey.
pub(crate) fn harmless(text: &str) -> String {
    let is_harmful =
        |c: char| c != '\t' && (c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'));
    let harmless = |c: char| match c {
        '\n' => ' ',
        c if is_harmful(c) => '\u{fffd}',
        c => c,
    };
    text.chars().map(harmless).collect()
}

/// Why it did not work.
pub(crate) fn error(text: &str) {
    let _reader_gone = aside(|| writeln!(std::io::stderr().lock(), "Error: {}", text.trim_end()));
}

/// Something that happened to a task.
pub(crate) fn event(alloc: &str, task: &str, event: &Event) {
    let Event { at, kind, message } = event;
    let line = format!("    {} {} {task}: {kind}: {}", clock(*at), short(alloc), harmless(message));
    let _reader_gone = aside(|| writeln!(std::io::stderr().lock(), "{line}"));
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
    use super::harmless;

    #[test]
    fn a_strangers_text_cannot_command_a_terminal() {
        assert_eq!(harmless("a\tb\u{1b}[2J\r\n\u{9b}c\u{202e}d"), "a\tb\u{fffd}[2J\u{fffd} \u{fffd}c\u{fffd}d");
        assert_eq!(harmless("Größe ✓"), "Größe ✓");
    }
}
