//! What is printed: answers on standard output, everything else on standard error.

use std::{
    io::Write as _,
    time::{Duration, SystemTime},
};

use time::{OffsetDateTime, UtcOffset};

use crate::{
    bars::aside,
    state::Event,
    text::{escaped, harmless, without_commands},
    verbosity::{Verbosity, is_at_least},
};

/// A line of an answer. That nobody reads it ends nothing.
pub(crate) fn line(text: &str) {
    let text = without_commands(text);
    let _no_reader = aside(|| writeln!(std::io::stdout().lock(), "{text}"));
}

/// A table with a header, two blanks between its columns; `right` is the column whose cells end together.
pub(crate) fn table<const N: usize>(rows: &[[String; N]], right: Option<usize>) {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: [usize; N] = std::array::from_fn(width);
    for row in rows {
        let cell = |(column, text): (usize, &String)| match widths[column] {
            width if right == Some(column) => format!("{text:>width$}"),
            _ if column + 1 == N => text.clone(),
            width => format!("{text:<width$}"),
        };
        line(&row.iter().enumerate().map(cell).collect::<Vec<_>>().join("  "));
    }
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
