//! What becomes of a job while it runs: changed in memory, waited for, and written to disk by a task of its own.
//!
//! A change is written at once, those that come meanwhile together after it. Events alone wait a moment for more. What
//! must be on disk before something is done is changed and then [`Record::persist`]ed.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use tokio::{
    sync::watch,
    task::{JoinHandle, spawn_blocking},
    time::timeout,
};

use crate::{
    data_dir::DataDir,
    report,
    state::{AllocState, Event, JobState, NetworkState, Phase, TaskState},
};

/// How many events of a task are kept.
const EVENTS: usize = 50;

/// How long an event may wait for others before it is written.
const GATHER: Duration = Duration::from_millis(100);

/// The job's state, and the task that writes it.
pub(crate) struct Record {
    shared: Arc<Shared>,
    written: watch::Receiver<u64>,
    writer: JoinHandle<()>,
}

struct Shared {
    data: DataDir,
    state: Mutex<JobState>,
    changes: watch::Sender<Changes>,
}

/// How many changes there were.
#[derive(Clone, Copy, Default)]
struct Changes {
    all: u64,
    /// Those up to the last one that is to be written at once.
    urgent: u64,
}

impl Record {
    /// A job's state, which is written to a data directory from its first change on.
    pub(crate) fn new(data: DataDir, state: JobState) -> Self {
        let changes = watch::Sender::default();
        let shared = Arc::new(Shared { data, state: Mutex::new(state), changes });
        let (sender, written) = watch::channel(0);
        #[expect(clippy::disallowed_methods, reason = "the record holds it")]
        let writer = tokio::spawn(write(shared.clone(), sender));
        Self { shared, written, writer }
    }

    /// Changes the state.
    pub(crate) fn change(&self, change: impl FnOnce(&mut JobState)) {
        change(&mut self.shared.lock());
        self.shared.changes.send_modify(|changes| {
            changes.all += 1;
            changes.urgent = changes.all;
        });
    }

    /// Waits until all changes so far are on disk. A write that fails is reported, and not waited for.
    pub(crate) async fn persist(&self) {
        let mut target = 0;
        self.shared.changes.send_modify(|changes| {
            changes.urgent = changes.all;
            target = changes.all;
        });
        let mut written = self.written.clone();
        let _writer_ended_with_the_program = written.wait_for(|written| *written >= target).await;
    }

    /// Waits until an instance is in a condition.
    pub(crate) async fn reached(&self, id: &str, condition: impl Fn(&AllocState) -> bool) {
        let mut changes = self.shared.changes.subscribe();
        while !self.is(id, &condition) {
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// Where a task is in its life.
    pub(crate) fn phase(&self, alloc: &str, task: &str) -> Option<Phase> {
        let state = self.shared.lock();
        let alloc = state.allocs.iter().find(|known| known.id == alloc)?;
        alloc.tasks.get(task).map(|task| task.phase)
    }

    /// An instance's network, as far as it is made.
    pub(crate) fn network(&self, alloc: &str) -> Option<NetworkState> {
        let state = self.shared.lock();
        state.allocs.iter().find(|known| known.id == alloc)?.network.clone()
    }

    /// Notes how far an instance's network is made, on disk before the next step.
    pub(crate) async fn persist_network(&self, alloc: &str, network: &NetworkState) {
        self.alloc(alloc, |alloc| alloc.network = Some(network.clone()));
        self.persist().await;
    }

    fn is(&self, id: &str, condition: impl Fn(&AllocState) -> bool) -> bool {
        self.shared.lock().allocs.iter().find(|alloc| alloc.id == id).is_none_or(condition)
    }

    /// Changes an instance's state.
    pub(crate) fn alloc(&self, id: &str, change: impl FnOnce(&mut AllocState)) {
        self.change(|state| {
            if let Some(alloc) = state.allocs.iter_mut().find(|known| known.id == id) {
                change(alloc);
            }
        });
    }

    /// Distinguishes the job's containers from those of other agents on the same engine, each of which has a driver of its own.
    pub(crate) fn node_id(&self) -> String {
        self.shared.data.job(&self.shared.lock().id).display().to_string()
    }

    /// Changes a task's state.
    pub(crate) fn task(&self, alloc: &str, task: &str, change: impl FnOnce(&mut TaskState)) {
        self.alloc(alloc, |alloc| {
            if let Some(task) = alloc.tasks.get_mut(task) {
                change(task);
            }
        });
    }

    /// Prints an event of a task and adds it to the task's last ones.
    pub(crate) fn event(&self, alloc: &str, task: &str, kind: &str, message: &str) {
        let event = Event { at: SystemTime::now(), kind: kind.to_owned(), message: message.to_owned() };
        report::event(alloc, task, &event);
        if let Some(task) = self.shared.lock().task(alloc, task) {
            task.events.push(event);
            let surplus = task.events.len().saturating_sub(EVENTS);
            task.events.drain(..surplus);
        }
        self.shared.changes.send_modify(|changes| changes.all += 1);
    }

    /// The state as it is now.
    pub(crate) fn snapshot(&self) -> JobState {
        self.shared.lock().clone()
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.writer.abort();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, JobState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes the state whenever it has changed, off the threads that run tasks.
async fn write(shared: Arc<Shared>, written: watch::Sender<u64>) {
    let mut changes = shared.changes.subscribe();
    loop {
        let done = *written.borrow();
        let Ok(seen) = changes.wait_for(|changes| changes.all > done).await.map(|changes| *changes) else { return };
        if seen.urgent <= done {
            let _events_alone = timeout(GATHER, changes.wait_for(|changes| changes.urgent > done)).await;
        }
        let upto = changes.borrow_and_update().all;
        let (data, state) = (shared.data.clone(), shared.lock().clone());
        match spawn_blocking(move || data.store(&state)).await {
            Ok(Err(error)) => report::error(&format!("failed to write the job's state: {error}")),
            Ok(Ok(())) => {}
            Err(panic) => report::error(&format!("failed to write the job's state: {panic}")),
        }
        written.send_replace(upto);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn record(data: &DataDir) -> Record {
        let alloc = AllocState::of_test(BTreeMap::from([("t".into(), TaskState::default())]));
        Record::new(data.clone(), JobState { id: "job".into(), allocs: vec![alloc], ..JobState::default() })
    }

    fn stored(data: &DataDir) -> TaskState {
        data.load("job").unwrap().unwrap().allocs[0].tasks["t"].clone()
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_that_is_persisted_is_on_disk() {
        let directory = tempfile::tempdir().unwrap();
        let data = DataDir::open(Some(directory.path())).unwrap();
        let record = record(&data);

        for restarts in 1..=3 {
            record.task("a", "t", |task| task.restarts = restarts);
            record.persist().await;
            assert_eq!(stored(&data).restarts, restarts);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn events_are_written_together_a_moment_later() {
        let directory = tempfile::tempdir().unwrap();
        let data = DataDir::open(Some(directory.path())).unwrap();
        let record = record(&data);
        record.change(|_| ());
        record.persist().await;
        let before = *record.written.borrow();

        record.event("a", "t", "Driver", "one");
        tokio::time::sleep(GATHER / 2).await;
        record.event("a", "t", "Driver", "two");
        let at_first = stored(&data).events.len();
        let mut written = record.written.clone();
        written.wait_for(|written| *written > before).await.unwrap();

        assert_eq!((at_first, stored(&data).events.len(), *written.borrow()), (0, 2, before + 2), "one write has both");
    }

    #[tokio::test(start_paused = true)]
    async fn an_event_does_not_delay_a_change() {
        let directory = tempfile::tempdir().unwrap();
        let data = DataDir::open(Some(directory.path())).unwrap();
        let record = record(&data);
        record.change(|_| ());
        record.persist().await;
        let begin = tokio::time::Instant::now();

        record.event("a", "t", "Terminated", "Exit Code: 1");
        record.task("a", "t", |task| task.phase = Phase::Failed);
        let mut written = record.written.clone();
        written.wait_for(|written| *written == 3).await.unwrap();

        assert_eq!((stored(&data).phase, begin.elapsed()), (Phase::Failed, Duration::ZERO));
    }
}
