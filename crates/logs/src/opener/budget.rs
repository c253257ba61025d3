//! How much processor time the real-time thread may use, and who uses the most of it.

#![expect(clippy::disallowed_methods, reason = "the thread has no runtime, and no other clock")]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::time::{ClockId, clock_gettime};

use crate::rotation::LogFiles;

/// The accounting interval.
const SECOND: Duration = Duration::from_secs(1);
/// How much of it the thread may use: some thousand rotations.
const MOST: Duration = Duration::from_millis(100);

/// The usage in one interval.
pub(super) struct Budget {
    began: Instant,
    /// The thread's clock at the last reading.
    clock: Duration,
    spent: Vec<(Arc<LogFiles>, Duration)>,
}

impl Default for Budget {
    fn default() -> Self {
        Self { began: Instant::now(), clock: thread_time(), spent: Vec::new() }
    }
}

impl Budget {
    /// Runs work for a container's files and charges it the time since the last call. If all together exceed the budget,
    /// returns the files that used the most; they must not be passed again.
    pub(super) fn spend(&mut self, files: &Arc<LogFiles>, work: impl FnOnce()) -> Option<Arc<LogFiles>> {
        work();
        let now = thread_time();
        let cost = now.saturating_sub(self.clock);
        self.clock = now;
        self.count(files, cost, Instant::now())
    }

    fn count(&mut self, files: &Arc<LogFiles>, cost: Duration, now: Instant) -> Option<Arc<LogFiles>> {
        if now.saturating_duration_since(self.began) >= SECOND {
            self.began = now;
            self.spent.clear();
        }
        match self.spent.iter_mut().find(|(known, _)| Arc::ptr_eq(known, files)) {
            Some((_, spent)) => *spent += cost,
            None => self.spent.push((Arc::clone(files), cost)),
        }
        let total: Duration = self.spent.iter().map(|(_, spent)| *spent).sum();
        if total <= MOST {
            return None;
        }
        let greediest = self.spent.iter().enumerate().max_by_key(|(_, (_, spent))| *spent)?.0;
        Some(self.spent.swap_remove(greediest).0)
    }
}

/// The CPU time of this thread.
fn thread_time() -> Duration {
    clock_gettime(ClockId::ThreadCPUTime).try_into().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rotation::Bound;

    #[test]
    fn who_takes_the_most_of_a_second_is_named_and_nobody_who_remains_below() {
        let container = |id| Arc::new(LogFiles::new(id, "/none".into(), Bound::default()));
        let (quiet, stormy) = (container("quiet"), container("stormy"));
        let mut budget = Budget::default();
        let began = budget.began;
        let ms = Duration::from_millis;

        assert!(budget.count(&quiet, ms(60), began).is_none());
        assert!(budget.count(&quiet, ms(60), began + SECOND).is_none(), "another second");
        assert!(budget.count(&stormy, ms(39), began + SECOND).is_none());
        assert!(Arc::ptr_eq(&budget.count(&stormy, ms(30), began + SECOND).unwrap(), &stormy));
        assert!(budget.count(&quiet, ms(39), began + SECOND).is_none(), "the other one's share counts no more");
        assert!(Arc::ptr_eq(&budget.count(&quiet, ms(2), began + SECOND).unwrap(), &quiet));
    }
}
