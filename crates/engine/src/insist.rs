//! Calls that nobody makes again, such as the removal of what has no owner: they are repeated until the engine has done them.

use std::time::Duration;

use tokio::sync::Semaphore;

use super::{EngineError, within};
use background::Backoff;

/// The pauses between the attempts.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// How long one attempt may take. What the engine does for longer, the next attempt finds done.
const ATTEMPT: Duration = Duration::from_secs(30);
/// The maximum number of calls that are repeated at the same time.
const MOST: usize = 1024;

/// Makes a call until it succeeds, as long as this process lives, with pauses that grow from a second to a minute. `what` is for
/// the log, such as `remove a container`.
///
/// Returns whether it succeeded. It does not if the engine cannot be sent the call at all, or if more than 1024 other calls are
/// being repeated.
pub async fn insist<F: Future<Output = Result<(), EngineError>>>(
    what: &str,
    subject: &str,
    call: impl Fn() -> F,
) -> bool {
    static FREE: Semaphore = Semaphore::const_new(MOST);
    let attempt = || within(ATTEMPT, call());
    let Err(error) = attempt().await else { return true };
    let place = FREE.try_acquire();
    if matches!(error, EngineError::Unusable(_)) || place.is_err() {
        tracing::error!(subject, %error, "failed to {what}");
        return false;
    }
    tracing::warn!(subject, %error, "failed to {what}; retrying until it succeeds");
    let mut backoff = Backoff::new(PAUSES.0, PAUSES.1);
    loop {
        backoff.wait().await;
        match attempt().await {
            Ok(()) => {
                tracing::info!(subject, "done after all: {what}");
                return true;
            }
            Err(error) => tracing::debug!(subject, %error, "failed to {what}; retrying until it succeeds"),
        }
    }
}
