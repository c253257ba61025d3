use std::time::Duration;

use tokio::time::sleep;

/// The pauses between attempts: each is twice as long as the last, up to the longest.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    /// From the first pause to the longest one.
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, next: first }
    }

    /// The pause before the next attempt.
    pub fn pause(&mut self) -> Duration {
        let pause = self.next;
        self.next = pause.saturating_mul(2).min(self.longest);
        pause
    }

    /// Waits for the pause before the next attempt.
    pub async fn wait(&mut self) {
        sleep(self.pause()).await;
    }

    /// Starts over with the first pause, for example after a success.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_begin_again_after_a_success() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(500));

        let pauses: Vec<_> = (0..5).map(|_| backoff.pause().as_millis()).collect();
        assert_eq!(pauses, [100, 200, 400, 500, 500]);
        backoff.reset();
        assert_eq!(backoff.pause().as_millis(), 100);
    }

    #[test]
    fn pauses_without_a_longest_do_not_overflow() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::MAX);

        assert_eq!((0..200).map(|_| backoff.pause()).last(), Some(Duration::MAX));
    }
}
