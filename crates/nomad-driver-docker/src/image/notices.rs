//! What a task's owner is told of a pull, and when.
//!
//! Agents keep the last ten events of a task, so a long pull is told of ever more seldom.

use std::time::Duration;

use tokio::time::Instant;

use super::pull::PullState;

/// After what time a pull is told of, and from which on the pauses double.
const FIRST: Duration = Duration::from_secs(10);
/// The longest pause.
const PAUSE: Duration = Duration::from_secs(120);

/// What one task's owner was told of a pull so far.
#[derive(Debug)]
pub(super) struct Notices {
    told: Told,
    due: Instant,
    pause: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Nothing,
    Downloading,
}

impl Notices {
    pub(super) fn new(now: Instant) -> Self {
        Self { told: Told::Nothing, due: now + FIRST, pause: FIRST }
    }

    /// When there may be something to tell though nothing has changed.
    pub(super) fn due(&self) -> Instant {
        self.due
    }

    /// What to tell now.
    pub(super) fn of(&mut self, state: &PullState, now: Instant) -> Option<String> {
        match (state, self.told) {
            (PullState::Pulling { .. }, Told::Nothing) => {
                *self = Self { told: Told::Downloading, ..Self::new(now) };
                Some("Downloading image".to_owned())
            }
            (PullState::Pulling { since, progress }, Told::Downloading) if self.is_due(now) => {
                Some(format!("Docker image pull progress: {}", progress.describe(now - *since)))
            }
            (PullState::Pulling { .. }, Told::Downloading) => None,
        }
    }

    /// Whether it is time to tell something again; then the next time is later.
    fn is_due(&mut self, now: Instant) -> bool {
        if now < self.due {
            return false;
        }
        self.pause = PAUSE.min(2 * self.pause);
        self.due = now + self.pause;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Progress;

    /// The seconds at which something is told, each with the text, where the state is looked at every second.
    fn told(seconds: u64, state: impl Fn(u64) -> PullState) -> Vec<(u64, String)> {
        let begin = Instant::now();
        let mut notices = Notices::new(begin);
        let of = |second| Some((second, notices.of(&state(second), begin + Duration::from_secs(second))?));
        (0..seconds).filter_map(of).collect()
    }

    #[test]
    fn an_owner_hears_of_a_pull_at_once_after_ten_seconds_and_ever_more_seldom() {
        let since = Instant::now();

        let told = told(600, |_| PullState::Pulling { since, progress: Progress::default() });

        let seconds: Vec<u64> = told.iter().map(|(second, _)| *second).collect();
        assert_eq!(seconds, [0, 10, 30, 70, 150, 270, 390, 510]);
        assert_eq!(told[0].1, "Downloading image");
        assert_eq!(told[1].1, "Docker image pull progress: No progress");
    }
}
