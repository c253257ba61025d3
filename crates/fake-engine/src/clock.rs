//! Time in the engine's format, and the advance of a paused clock.

use std::time::{Duration, SystemTime};

use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tokio::sync::watch;

/// How far a paused clock moves at once, and how far after a while without requests.
const STEP: Duration = Duration::from_millis(5);
const LONG_STEP: Duration = Duration::from_millis(100);
/// How many steps that while has.
const WHILE: u64 = 400;
/// How many steps without requests are quiet.
pub(crate) const QUIET: u64 = 20;
/// The minimum duration of a step.
const PACE: Duration = Duration::from_micros(20);

/// The engine's "never".
pub(crate) const YEAR_ONE: &str = "0001-01-01T00:00:00Z";

/// Moves a paused clock in small steps. Otherwise it jumps to the next timer whenever the runtime waits, even for a thread that
/// works for the code under test. The deadline for that work would then pass before it has begun. `quiet` counts the steps since
/// the last request.
pub(crate) async fn pass(mut asked: watch::Receiver<u64>, quiet: watch::Sender<u64>) {
    loop {
        let is_asked = asked.has_changed().unwrap_or_default();
        asked.mark_unchanged();
        quiet.send_modify(|steps| *steps = if is_asked { 0 } else { *steps + 1 });
        let step = if *quiet.borrow() < WHILE { STEP } else { LONG_STEP };
        tokio::time::sleep(step).await;
        #[expect(
            clippy::disallowed_methods,
            reason = "the thread has no other way to let time pass, and the paused clock stands still"
        )]
        std::thread::sleep(PACE);
    }
}

/// RFC 3339 with nanoseconds.
pub(crate) fn written(at: Option<SystemTime>) -> String {
    let written = at.and_then(|at| OffsetDateTime::from(at).format(&Rfc3339).ok());
    written.unwrap_or_else(|| YEAR_ONE.to_owned())
}

/// Seconds and nanoseconds since 1970.
pub(crate) fn since_1970(at: SystemTime) -> Duration {
    at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}
