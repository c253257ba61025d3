//! One pull: read to its end, within its time, and never silent for too long.

use std::time::Duration;

use futures_util::{Stream, StreamExt, pin_mut};
use tokio::time::{Instant, timeout, timeout_at};

use super::progress::Progress;
use crate::engine::{EngineError, PullProgress};

/// How often a pull is looked after.
const TICK: Duration = Duration::from_secs(10);
/// How often a task's owner hears of it.
const REPORT: Duration = Duration::from_secs(120);

/// How long a pull may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// From begin to end.
    pub whole: Duration,
    /// Without a sign of progress.
    pub silence: Duration,
}

/// Why a pull did not come to its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum PullError {
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error("not finished within {} s", .0.as_secs_f64())]
    Late(Duration),
    #[error("aborted after {} s without progress", .0.as_secs_f64())]
    Silent(Duration),
}

/// Reads a pull's messages to their end; `report` hears how far it is from time to time. Dropping this ends the pull.
pub(super) async fn follow(
    messages: impl Stream<Item = Result<PullProgress, EngineError>>,
    limits: Limits,
    report: impl Fn(String),
) -> Result<(), PullError> {
    let reading = async {
        pin_mut!(messages);
        let begin = Instant::now();
        let (mut tick, mut heard, mut reported) = (begin + TICK, begin, begin);
        let mut progress = Progress::default();
        loop {
            match timeout_at(tick, messages.next()).await {
                Ok(None) => return Ok(()),
                Ok(Some(message)) => {
                    progress.take(&message?);
                    heard = Instant::now();
                }
                Err(_) => {
                    let now = Instant::now();
                    if now - heard > limits.silence {
                        tracing::error!("image pull aborted due to inactivity");
                        return Err(PullError::Silent(limits.silence));
                    }
                    let state = progress.describe(now - begin);
                    tracing::debug!(%state, "image pull progress");
                    if now - reported > REPORT {
                        reported = now;
                        report(state);
                    }
                    tick = now + TICK;
                }
            }
        }
    };
    timeout(limits.whole, reading).await.map_err(|_| PullError::Late(limits.whole))?
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use futures_util::stream;
    use tokio::time::sleep;

    use super::*;
    use crate::engine::Cause;

    const LIMITS: Limits = Limits { whole: Duration::from_secs(600), silence: Duration::from_secs(60) };

    fn downloading() -> PullProgress {
        PullProgress { id: Some("a".into()), status: Some("Downloading".into()), ..PullProgress::default() }
    }

    /// A message each `pause`, `count` times.
    fn messages(count: u32, pause: Duration) -> impl Stream<Item = Result<PullProgress, EngineError>> {
        stream::iter(0..count).then(move |_| async move {
            sleep(pause).await;
            Ok(downloading())
        })
    }

    #[tokio::test(start_paused = true)]
    async fn an_owner_hears_of_a_long_pull_every_two_minutes_and_a_tick() {
        let reports = Mutex::new(Vec::new());
        let report = |text| reports.lock().unwrap().push(text);

        let pulled = follow(messages(27, Duration::from_secs(10)), LIMITS, report).await;

        assert!(pulled.is_ok());
        let heard = reports.into_inner().unwrap();
        assert_eq!(heard, ["Pulled 0/1 (0B/0B) layers: 0 waiting/1 pulling"; 2]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pull_that_falls_silent_is_given_up() {
        let begin = Instant::now();
        let silent = messages(1, Duration::from_secs(1)).chain(stream::pending());

        let error = follow(silent, LIMITS, |_| {}).await.unwrap_err();

        assert_eq!(error.to_string(), "aborted after 60 s without progress");
        assert_eq!(begin.elapsed().as_secs(), 70);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pull_that_never_ends_is_given_up_when_its_time_is_over() {
        let begin = Instant::now();

        let error = follow(messages(u32::MAX, Duration::from_secs(5)), LIMITS, |_| {}).await.unwrap_err();

        assert_eq!(error.to_string(), "not finished within 600 s");
        assert_eq!(begin.elapsed().as_secs(), 600);
    }

    #[tokio::test]
    async fn the_engines_own_error_is_told_in_its_words() {
        let cause = Cause::Stream("manifest unknown".into());
        let failed = EngineError { operation: "pull image", subject: "a".into(), cause };

        let error = follow(stream::iter([Ok(downloading()), Err(failed)]), LIMITS, |_| {}).await.unwrap_err();

        assert_eq!(error.to_string(), "manifest unknown");
    }
}
