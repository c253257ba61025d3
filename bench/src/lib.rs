//! What the benches share: how a figure is shown.

use std::{io::Write, time::Duration};

/// Prints a line of a bench's table.
pub fn row(what: &str, figure: &str) {
    let _reader_gone = writeln!(std::io::stdout().lock(), "| {what} | {figure} |");
}

/// The middle of some durations, in milliseconds.
pub fn median_ms(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times.get(times.len() / 2).map_or(f64::NAN, |time| time.as_secs_f64() * 1000.0)
}
