//! Whether a task that ended is started again.

use std::{
    collections::VecDeque,
    time::{Duration, SystemTime},
};

use nomad_jobspec::job::{JobKind, Restart, RestartMode};
use serde::{Deserialize, Serialize};

/// How a run of a task ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// With exit code 0.
    Success,
    /// Otherwise, or it could not be started.
    Failure,
    /// It could not be started, and no new attempt would help.
    Fatal,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Start it again after a pause.
    Restart(Duration),
    /// It is done.
    Complete,
    /// It has failed, for a reason.
    Failed(&'static str),
}

/// When a task was started again, as far as it still counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct History(VecDeque<SystemTime>);

impl History {
    /// Decides, and remembers a restart.
    pub(crate) fn next(&mut self, policy: &Restart, kind: JobKind, outcome: Outcome, now: SystemTime) -> Next {
        let runs_on = matches!(kind, JobKind::Service | JobKind::System);
        match outcome {
            Outcome::Fatal => return Next::Failed("Error was unrecoverable"),
            Outcome::Success if !runs_on => return Next::Complete,
            Outcome::Success | Outcome::Failure => {}
        }
        while self.0.front().is_some_and(|at| now.duration_since(*at).unwrap_or_default() >= policy.interval) {
            self.0.pop_front();
        }
        if self.0.len() < policy.attempts as usize {
            self.0.push_back(now);
            return Next::Restart(policy.delay);
        }
        match (policy.mode, self.0.front()) {
            (_, None) => Next::Failed("Policy allows no restarts"),
            (RestartMode::Fail, Some(_)) => Next::Failed("Exceeded allowed attempts"),
            (RestartMode::Delay, Some(first)) => {
                let over = now.duration_since(*first).unwrap_or_default();
                let pause = policy.interval.saturating_sub(over) + policy.delay;
                self.0.clear();
                self.0.push_back(now + pause);
                Next::Restart(pause)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(attempts: u32, mode: RestartMode) -> Restart {
        Restart { attempts, interval: Duration::from_secs(60), delay: Duration::from_secs(1), mode }
    }

    #[test]
    fn attempts_within_an_interval_are_counted() {
        let (mut history, policy) = (History::default(), policy(2, RestartMode::Fail));
        let mut next = |second| {
            let now = SystemTime::UNIX_EPOCH + Duration::from_secs(second);
            history.next(&policy, JobKind::Service, Outcome::Failure, now)
        };

        let restart = Next::Restart(Duration::from_secs(1));
        assert_eq!((next(0), next(10)), (restart.clone(), restart.clone()));
        assert_eq!(next(20), Next::Failed("Exceeded allowed attempts"));
        assert_eq!(next(61), restart);
    }

    #[test]
    fn delay_waits_for_the_next_interval() {
        let (mut history, policy) = (History::default(), policy(1, RestartMode::Delay));
        let now = SystemTime::UNIX_EPOCH;
        history.next(&policy, JobKind::Service, Outcome::Failure, now);
        let next = history.next(&policy, JobKind::Service, Outcome::Failure, now + Duration::from_secs(10));
        assert_eq!(next, Next::Restart(Duration::from_secs(51)));
    }

    #[test]
    fn a_batch_that_succeeds_is_complete_and_a_service_runs_again() {
        let (mut history, policy) = (History::default(), policy(1, RestartMode::Fail));
        let now = SystemTime::UNIX_EPOCH;
        assert_eq!(history.next(&policy, JobKind::Batch, Outcome::Success, now), Next::Complete);
        let again = Next::Restart(Duration::from_secs(1));
        assert_eq!(history.next(&policy, JobKind::Service, Outcome::Success, now), again);
        let failed = Next::Failed("Error was unrecoverable");
        assert_eq!(history.next(&policy, JobKind::Service, Outcome::Fatal, now), failed);
    }

    #[test]
    fn a_service_that_ends_and_may_not_be_started_again_has_failed_however_it_ended() {
        for mode in [RestartMode::Fail, RestartMode::Delay] {
            for outcome in [Outcome::Success, Outcome::Failure] {
                let next = History::default().next(&policy(0, mode), JobKind::Service, outcome, SystemTime::UNIX_EPOCH);
                assert_eq!(next, Next::Failed("Policy allows no restarts"));
            }
        }
    }
}
