//! Time as the engine writes it, and as a paused clock passes it.

use std::time::{Duration, SystemTime};

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// How far a paused clock moves at once.
const STEP: Duration = Duration::from_millis(5);

/// The engine's "never".
pub(crate) const YEAR_ONE: &str = "0001-01-01T00:00:00Z";

/// Moves a paused clock by small steps: the runtime lets a paused clock leap to the next timer although bytes lie in a
/// socket, and so each deadline would pass before its answer is read.
pub(crate) async fn pass() {
    loop {
        tokio::time::sleep(STEP).await;
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
