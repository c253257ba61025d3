//! What a task's owner is notified of during a pull, and when.
//!
//! A host keeps few events of a task, so a long wait is reported less and less often.

use std::time::Duration;

use tokio::time::Instant;

use super::pull::PullState;

/// When a pull is first reported; the pauses double from then on.
const FIRST: Duration = Duration::from_secs(10);
/// The longest pause.
const PAUSE: Duration = Duration::from_secs(120);

/// What one task's owner was notified of about a pull.
#[derive(Debug)]
pub(super) struct Notices {
    reported: Reported,
    due: Instant,
    pause: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reported {
    Nothing,
    Place(usize),
    Downloading,
}

/// Something to report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Notice {
    /// It is queued.
    Queued {
        /// How many must begin first, including this one.
        place: usize,
    },
    /// It begins.
    Downloading,
    /// Its progress.
    Progress(String),
}

impl Notices {
    pub(super) fn new(now: Instant) -> Self {
        Self { reported: Reported::Nothing, due: now + FIRST, pause: FIRST }
    }

    /// When something may have to be reported even if nothing has changed.
    pub(super) fn due(&self) -> Instant {
        self.due
    }

    /// What to report now.
    pub(super) fn of(&mut self, state: &PullState, now: Instant) -> Option<Notice> {
        match (state, self.reported) {
            (PullState::Queued { place }, Reported::Nothing) => Some(self.report_place(*place)),
            (PullState::Queued { place }, reported) => {
                (self.is_due(now) && reported != Reported::Place(*place)).then(|| self.report_place(*place))
            }
            (PullState::Pulling { since, progress }, Reported::Downloading) => {
                self.is_due(now).then(|| Notice::Progress(progress.describe(now - *since)))
            }
            (PullState::Pulling { .. }, Reported::Nothing | Reported::Place(_)) => {
                *self = Self { reported: Reported::Downloading, ..Self::new(now) };
                Some(Notice::Downloading)
            }
        }
    }

    fn report_place(&mut self, place: usize) -> Notice {
        self.reported = Reported::Place(place);
        Notice::Queued { place }
    }

    /// Whether it is time for another report; if so, schedules the next one.
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

    /// The seconds at which something is reported if the state is checked every second.
    fn reported(seconds: u64, state: impl Fn(u64) -> PullState) -> Vec<(u64, Notice)> {
        let begin = Instant::now();
        let mut notices = Notices::new(begin);
        let of = |second| Some((second, notices.of(&state(second), begin + Duration::from_secs(second))?));
        (0..seconds).filter_map(of).collect()
    }

    #[test]
    fn an_owner_is_notified_of_a_pull_at_once_after_ten_seconds_and_ever_more_seldom() {
        let since = Instant::now();

        let reported = reported(600, |_| PullState::Pulling { since, progress: Progress::default() });

        let progress = |second| (second, Notice::Progress("No progress".to_owned()));
        assert_eq!(reported[0], (0, Notice::Downloading));
        assert_eq!(reported[1..], [10, 30, 70, 150, 270, 390, 510].map(progress));
    }

    #[test]
    fn a_place_in_the_queue_is_reported_at_once_and_again_where_it_has_changed_meanwhile() {
        let since = Instant::now();
        let state = |second| match second {
            0..5 => PullState::Queued { place: 9 },
            5..40 => PullState::Queued { place: 7 },
            40..100 => PullState::Queued { place: 2 },
            _ => PullState::Pulling { since, progress: Progress::default() },
        };

        let reported = reported(105, state);

        let queued = |second, place| (second, Notice::Queued { place });
        assert_eq!(reported, [queued(0, 9), queued(10, 7), queued(70, 2), (100, Notice::Downloading)]);
    }
}
