//! Calls that survive an engine restart, and lost answers.

use std::time::Duration;

use super::EngineError;
use background::Backoff;

/// The pauses between the attempts.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));
/// How long a question is silent before it is asked beside.
pub(super) const SILENCE: Duration = Duration::from_secs(10);
/// The longest silence before it is asked beside again.
const LONGEST_SILENCE: Duration = Duration::from_secs(80);

/// Makes a call again while its error is [transient](EngineError::is_transient): an engine restart must not fail a request that
/// is made only once. Pauses grow from 100 ms to a second. It is over within `patience`, which also ends an attempt in progress;
/// so a caller's deadline bounds the whole. To give up a single attempt earlier, wrap the call in [`within`].
///
/// # Errors
///
/// The call's first error that is not transient. When the patience is over, a transient one; if any attempt
/// [may have had its effect](EngineError::may_have_happened), so says this error.
pub async fn persist<T, F: Future<Output = Result<T, EngineError>>>(
    subject: &str,
    patience: Duration,
    call: impl Fn() -> F,
) -> Result<T, EngineError> {
    let mut failed: Option<EngineError> = None;
    let mut is_in_progress = true;
    let attempts = async {
        let mut backoff = Backoff::new(PAUSES.0, PAUSES.1);
        loop {
            is_in_progress = true;
            let error = match call().await {
                Err(error) if error.is_transient() => error,
                other => return other,
            };
            is_in_progress = false;
            if failed.is_none() {
                tracing::warn!(subject, %error, "cannot reach Docker; retrying");
            }
            if !failed.as_ref().is_some_and(EngineError::may_have_happened) {
                failed = Some(error);
            }
            backoff.wait().await;
        }
    };
    let answer = tokio::time::timeout(patience, Box::pin(attempts)).await;
    match (answer, failed) {
        (Ok(answer), _) => answer,
        (Err(_), Some(error)) if !is_in_progress || error.may_have_happened() => Err(error),
        (Err(_), _) => Err(EngineError::Deadline(patience)),
    }
}

/// A call whose answer is waited for no longer than `limit`, whatever deadline its kind has.
///
/// # Errors
///
/// The call's error, or [`EngineError::Deadline`].
pub async fn within<T>(limit: Duration, call: impl Future<Output = Result<T, EngineError>>) -> Result<T, EngineError> {
    tokio::time::timeout(limit, call).await.unwrap_or(Err(EngineError::Deadline(limit)))
}

/// Makes a call that only reads. If it is silent, it is made beside, after `silence` and then after growing pauses; the first
/// answer counts. A lost answer costs no more than that, and a slow engine still has the call's whole deadline.
pub(super) async fn ask<T, F>(silence: Duration, call: impl Fn() -> F) -> Result<T, EngineError>
where
    F: Future<Output = Result<T, EngineError>>,
{
    let mut silence = Backoff::new(silence, LONGEST_SILENCE);
    let mut first = Box::pin(call());
    if let Ok(answer) = tokio::time::timeout(silence.pause(), &mut first).await {
        return answer;
    }
    loop {
        tokio::select! {
            answer = &mut first => return answer,
            answer = tokio::time::timeout(silence.pause(), Box::pin(call())) => {
                if let Ok(answer) = answer {
                    return answer;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, collections::VecDeque, future::pending};

    use tokio::time::Instant;

    use super::*;

    type Outcome = Result<u8, EngineError>;

    fn broken() -> Outcome {
        Err(EngineError::Broken("cut".to_owned()))
    }

    fn unreachable() -> Outcome {
        Err(EngineError::Unreachable { address: String::new(), reason: "refused".to_owned() })
    }

    /// What comes of a call whose first attempts have these outcomes and all others the last one, or none; and when, in
    /// milliseconds.
    async fn outcome(patience: Duration, first: &[Outcome], others: Option<Outcome>) -> (Outcome, u128) {
        let left = RefCell::new(first.iter().cloned().collect::<VecDeque<_>>());
        let begun = Instant::now();
        let answer = persist("c1", patience, || async {
            let next = left.borrow_mut().pop_front().or_else(|| others.clone());
            match next {
                Some(next) => next,
                None => pending().await,
            }
        });
        (answer.await, begun.elapsed().as_millis())
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_is_made_again_with_growing_pauses_until_it_is_answered() {
        let failures: Vec<Outcome> = [broken(), unreachable()].into_iter().cycle().take(6).collect();

        let answered = outcome(Duration::from_secs(60), &failures, Some(Ok(7))).await;

        assert_eq!(answered, (Ok(7), 100 + 200 + 400 + 800 + 1000 + 1000));
    }

    #[tokio::test(start_paused = true)]
    async fn a_rejection_is_the_answer() {
        let rejected = Err(EngineError::Unusable("no such name".to_owned()));

        let answered = outcome(Duration::from_secs(60), &[broken()], Some(rejected.clone())).await;

        assert_eq!(answered, (rejected, 100));
    }

    #[tokio::test(start_paused = true)]
    async fn neither_failures_nor_silence_outlast_the_patience() {
        let patience = Duration::from_secs(5);
        let silent = |patience| Err(EngineError::Deadline(patience));

        let failing = outcome(patience, &[], Some(unreachable())).await;
        let hanging = outcome(patience, &[unreachable()], None).await;
        let impatient = outcome(Duration::ZERO, &[], None).await;

        assert_eq!((failing, hanging), ((unreachable(), 5000), (silent(patience), 5000)));
        assert_eq!(impatient.0, silent(Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_that_may_have_had_its_effect_is_not_forgotten() {
        let (answer, _) = outcome(Duration::from_secs(5), &[unreachable(), broken()], Some(unreachable())).await;

        assert_eq!(answer, broken());
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_that_hangs_is_given_up_and_made_again() {
        let attempts = RefCell::new(0);
        let limit = Duration::from_secs(1);

        let answer = persist("c1", Duration::MAX, || {
            within(limit, async {
                *attempts.borrow_mut() += 1;
                if *attempts.borrow() < 3 { pending().await } else { Ok(7) }
            })
        });

        assert_eq!(answer.await, Ok(7));
    }

    /// What comes of a question of which the attempts take so long, in seconds; and when, in seconds.
    async fn asked(attempts: &[u64]) -> (Outcome, u64) {
        let left = RefCell::new(attempts.iter().copied().collect::<VecDeque<_>>());
        let begun = Instant::now();
        let answer = ask(SILENCE, || async {
            let takes = left.borrow_mut().pop_front().unwrap_or(u64::MAX >> 32);
            let number = u8::try_from(attempts.len() - left.borrow().len()).unwrap();
            tokio::time::sleep(Duration::from_secs(takes)).await;
            Ok(number)
        });
        (answer.await, begun.elapsed().as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn a_question_whose_answer_is_lost_is_asked_beside_and_a_slow_engine_has_its_time() {
        const LOST: u64 = 1_000_000;

        assert_eq!(asked(&[9]).await, (Ok(1), 9));
        assert_eq!(asked(&[LOST, 1]).await, (Ok(2), 11));
        assert_eq!(asked(&[LOST, LOST, 1]).await, (Ok(3), 31));
        assert_eq!(asked(&[290, LOST, LOST, LOST, LOST, LOST, LOST]).await, (Ok(1), 290));
    }
}
