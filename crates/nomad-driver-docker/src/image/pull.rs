//! A single pull: read to its end, with a limit on the time without progress.
//!
//! ```text
//! queued -> pulling -> ended
//! ```

use std::time::Duration;

use futures_util::{Stream, StreamExt, pin_mut};
use tokio::time::{Instant, timeout};

use super::progress::Progress;
use engine::{EngineError, PullMessage};

/// How long a pull may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The total time, for each waiter; time in the queue does not count.
    pub whole: Duration,
    /// The time without progress.
    pub silence: Duration,
}

/// The state of a pull that has not ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PullState {
    /// It waits for other pulls.
    Queued {
        /// How many must begin first, including this one.
        place: usize,
    },
    /// The engine is pulling.
    Pulling {
        /// Since when.
        since: Instant,
        /// Its progress.
        progress: Progress,
    },
}

impl PullState {
    /// A pull that has just begun.
    pub(super) fn begun(now: Instant) -> Self {
        Self::Pulling { since: now, progress: Progress::default() }
    }
}

/// Why a pull was not completed.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum PullError {
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error("not finished within {} s: {state}", whole.as_secs_f64())]
    Late { whole: Duration, state: String },
    #[error("aborted after {} s without progress: {state}", silence.as_secs_f64())]
    Silent { silence: Duration, state: String },
}

impl PullError {
    /// Whether the engine has certainly not pulled the image, and is not about to.
    pub(super) fn is_final(&self) -> bool {
        matches!(self, Self::Engine(error) if !error.may_have_happened() || matches!(error, EngineError::Stream(_)))
    }
}

/// Reads a pull's messages to their end; `report` receives the progress with each of them. Dropping this ends the pull.
pub(super) async fn follow(
    messages: impl Stream<Item = Result<PullMessage, EngineError>>,
    silence: Duration,
    report: impl Fn(&Progress),
) -> Result<(), PullError> {
    pin_mut!(messages);
    let begin = Instant::now();
    let mut progress = Progress::default();
    loop {
        match timeout(silence, messages.next()).await {
            Ok(None) => return Ok(()),
            Ok(Some(message)) => {
                progress.take(&message?);
                report(&progress);
            }
            Err(_) => {
                tracing::error!("image pull aborted due to inactivity");
                return Err(PullError::Silent { silence, state: progress.describe(begin.elapsed()) });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use futures_util::stream;
    use tokio::time::sleep;

    use super::*;

    const SILENCE: Duration = Duration::from_secs(60);

    fn downloading() -> PullMessage {
        PullMessage { id: "a".into(), status: "Downloading".into(), ..PullMessage::default() }
    }

    /// One message each `pause`, `count` times.
    fn messages(count: u32, pause: Duration) -> impl Stream<Item = Result<PullMessage, EngineError>> {
        stream::iter(0..count).then(move |_| async move {
            sleep(pause).await;
            Ok(downloading())
        })
    }

    #[tokio::test(start_paused = true)]
    async fn a_pull_that_is_slow_but_not_silent_comes_to_its_end_and_each_message_is_reported() {
        let reported = RefCell::new(Vec::new());

        let pulled = follow(messages(60, Duration::from_secs(59)), SILENCE, |progress| {
            reported.borrow_mut().push(progress.layers.len());
        });

        assert!(pulled.await.is_ok());
        assert_eq!(reported.into_inner(), [1; 60]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pull_that_falls_silent_is_given_up() {
        let begin = Instant::now();
        let silent = messages(1, Duration::from_secs(1)).chain(stream::pending());

        let error = follow(silent, SILENCE, |_| {}).await.unwrap_err();

        let expected = "aborted after 60 s without progress: Pulled 0/1 (0B/0B) layers: 0 waiting/1 pulling";
        assert_eq!(error.to_string(), expected);
        assert_eq!(begin.elapsed().as_secs(), 61);
    }

    #[tokio::test]
    async fn the_engines_own_error_is_reported_in_its_words() {
        let cause = EngineError::Stream("manifest unknown".into());
        let failed = cause;

        let error = follow(stream::iter([Ok(downloading()), Err(failed)]), SILENCE, |_| {}).await.unwrap_err();

        assert_eq!(error.to_string(), "manifest unknown");
    }
}
