//! How tests wait: for a condition, with a pause between two looks and a deadline. Each wait has an async form and, in
//! [`blocking`], one for a thread.

use std::{sync::LazyLock, time::Duration};

use tokio::time::Instant;

/// How long anything may take before a test fails: a minute, `LONGSHORE_TEST_PATIENCE` times as long where that is set, as on
/// an emulated machine.
pub static DEADLINE: LazyLock<Duration> = LazyLock::new(|| {
    let patience = std::env::var("LONGSHORE_TEST_PATIENCE").ok().and_then(|patience| patience.parse().ok());
    Duration::from_secs(60) * patience.unwrap_or(1)
});

/// The first pause between two looks. Each is twice as long as the one before, for what a test waits for needs the processors
/// as well.
const PAUSE: Duration = Duration::from_millis(5);

/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_millis(80);

/// Waits for a condition.
///
/// # Panics
///
/// When it does not come within [`DEADLINE`].
pub async fn until(what: &str, condition: impl FnMut() -> bool) {
    until_within(*DEADLINE, what, condition).await;
}

/// Waits for a condition.
///
/// # Panics
///
/// When it does not come in time.
pub async fn until_within(time: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let came = look_within(time, || condition().then_some(())).await;
    assert!(came.is_some(), "{what}: not within {time:?}");
}

/// Waits for a value, for a caller that has more to say than its name when none comes.
pub async fn look_within<T>(time: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let (deadline, mut pause) = (Instant::now() + time, PAUSE);
    loop {
        let found = look();
        if found.is_some() || Instant::now() >= deadline {
            return found;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// The same for a thread.
pub mod blocking {
    use std::time::{Duration, Instant};

    use crate::{DEADLINE, LONGEST_PAUSE, PAUSE};

    /// Waits for a condition.
    ///
    /// # Panics
    ///
    /// When it does not come within [`DEADLINE`].
    pub fn until(what: &str, condition: impl FnMut() -> bool) {
        until_within(*DEADLINE, what, condition);
    }

    /// Waits for a condition.
    ///
    /// # Panics
    ///
    /// When it does not come in time.
    pub fn until_within(time: Duration, what: &str, mut condition: impl FnMut() -> bool) {
        let came = look_within(time, || condition().then_some(()));
        assert!(came.is_some(), "{what}: not within {time:?}");
    }

    /// Waits for a value.
    ///
    /// # Panics
    ///
    /// When it does not come within [`DEADLINE`].
    pub fn until_some<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
        look_within(*DEADLINE, look).unwrap_or_else(|| panic!("{what}: not within {:?}", *DEADLINE))
    }

    /// Waits for a value, for a caller that has more to say than its name when none comes.
    #[expect(clippy::disallowed_methods, reason = "this is how a thread waits, and it has no other clock")]
    pub fn look_within<T>(time: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
        let (deadline, mut pause) = (Instant::now() + time, PAUSE);
        loop {
            let found = look();
            if found.is_some() || Instant::now() >= deadline {
                return found;
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_condition_that_comes_late_is_waited_for() {
        let begin = Instant::now();

        until("half a minute", || begin.elapsed() > Duration::from_secs(30)).await;

        assert!(begin.elapsed() < *DEADLINE);
    }

    #[tokio::test(start_paused = true)]
    #[should_panic(expected = "the sun: not within 5s")]
    async fn a_condition_that_does_not_come_is_named() {
        until_within(Duration::from_secs(5), "the sun", || false).await;
    }

    #[test]
    fn a_thread_waits_for_a_condition_and_for_a_value() {
        let mut looks = 0;
        let third = blocking::until_some("the third look", || {
            looks += 1;
            (looks == 3).then_some(looks)
        });
        let late = catch_unwind(|| blocking::until_within(Duration::ZERO, "the sun", || false));

        assert_eq!(third, 3);
        assert_eq!(late.unwrap_err().downcast_ref::<String>().unwrap(), "the sun: not within 0ns");
    }
}
