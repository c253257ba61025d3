//! How old things are, whatever happens to the clock.
//!
//! Engines and files say when something was made, by a clock that may be set while this process runs. A clock that was set
//! forward makes everything look old, and one that was set back makes it look new. So what the clock gained is subtracted, and
//! anything is at least as old as this process has seen it.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, SystemTime},
};

use tokio::time::Instant;

/// One moment, by the clock and by the time that has passed, which nobody can set.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) clock: SystemTime,
    pub(super) passed: Instant,
}

impl Moment {
    pub(super) fn now() -> Self {
        Self { clock: SystemTime::now(), passed: Instant::now() }
    }
}

/// The ages of containers by id, and of networks by allocation.
#[derive(Debug)]
pub(super) struct Ages {
    began: Moment,
    now: Moment,
    /// When each was first seen.
    seen: HashMap<String, Instant>,
}

impl Ages {
    /// Nothing is seen yet.
    pub(super) fn new(began: Moment) -> Self {
        Self { began, now: began, seen: HashMap::new() }
    }

    /// Notes what is there now. What is no longer there is forgotten.
    pub(super) fn note<'a>(&mut self, there: impl Iterator<Item = &'a str>, now: Moment) {
        let there: HashSet<&str> = there.collect();
        self.now = now;
        self.seen.retain(|key, _| there.contains(key.as_str()));
        for key in there {
            self.seen.entry(key.to_owned()).or_insert(now.passed);
        }
    }

    /// The age of something by the time at which it was made; `None` is unknown.
    pub(super) fn since(&self, key: &str, made: Option<SystemTime>) -> Duration {
        let by_clock = made.and_then(|made| self.now.clock.duration_since(made).ok());
        self.of(key, by_clock.unwrap_or_default())
    }

    /// The age of something that is so old by the clock.
    pub(super) fn of(&self, key: &str, by_clock: Duration) -> Duration {
        let passed = self.now.passed - self.began.passed;
        let by_clock_passed = self.now.clock.duration_since(self.began.clock).unwrap_or_default();
        let gained = by_clock_passed.saturating_sub(passed);
        let seen = self.seen.get(key).map_or(Duration::ZERO, |first| self.now.passed - *first);
        by_clock.saturating_sub(gained).max(seen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

    fn began() -> Moment {
        Moment { clock: SystemTime::UNIX_EPOCH + 50 * YEAR, passed: Instant::now() }
    }

    #[test]
    fn without_a_change_of_the_clock_an_age_is_by_the_clock() {
        let began = began();
        let mut ages = Ages::new(began);
        let later = Moment { clock: began.clock + 2 * MINUTE, passed: began.passed + 2 * MINUTE };

        ages.note(["c1"].into_iter(), later);

        assert_eq!(ages.since("c1", Some(began.clock - 3 * MINUTE)), 5 * MINUTE);
        assert_eq!((ages.since("c1", None), ages.of("unseen", MINUTE)), (Duration::ZERO, MINUTE));
    }

    #[test]
    fn nothing_grows_old_by_a_clock_that_is_set_forward() {
        let began = began();
        let mut ages = Ages::new(began);
        let set_forward = Moment { clock: began.clock + YEAR, passed: began.passed + MINUTE };

        ages.note(["before", "after"].into_iter(), set_forward);

        assert_eq!(ages.since("before", Some(began.clock)), MINUTE);
        assert_eq!(ages.since("after", Some(set_forward.clock - MINUTE / 2)), Duration::ZERO);
    }

    #[test]
    fn what_a_clock_that_is_set_back_calls_new_grows_old_by_the_time_that_it_is_seen() {
        let began = began();
        let mut ages = Ages::new(began);
        let at = |minutes: u32| Moment {
            clock: began.clock - YEAR + minutes * MINUTE,
            passed: began.passed + minutes * MINUTE,
        };

        for minutes in 0..=7 {
            ages.note(if minutes == 2 { ["c1", "other"] } else { ["c1", "c2"] }.into_iter(), at(minutes));
        }

        assert_eq!(ages.since("c1", Some(began.clock)), 7 * MINUTE);
        assert_eq!(ages.since("c2", Some(began.clock)), 4 * MINUTE, "it was not there at minute 2");
        assert_eq!(ages.since("other", Some(began.clock)), Duration::ZERO);
    }
}
