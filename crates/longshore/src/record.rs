//! What becomes of a job while it runs: kept on disk at each change, and waited for.

use std::{
    sync::{Mutex, PoisonError},
    time::SystemTime,
};

use tokio::sync::watch;

use crate::{
    report,
    state::{AllocState, DataDir, Event, JobState, NetworkState, Phase, TaskState},
};

/// How many events of a task are kept.
const EVENTS: usize = 50;

/// The job's state, written to disk at each change.
pub(crate) struct Record {
    data: DataDir,
    state: Mutex<JobState>,
    /// Told of each change.
    changes: watch::Sender<()>,
}

impl Record {
    /// A job's state, to be kept in a data directory.
    pub(crate) fn new(data: DataDir, state: JobState) -> Self {
        Self { data, state: Mutex::new(state), changes: watch::Sender::default() }
    }

    /// Changes the state.
    pub(crate) fn change(&self, change: impl FnOnce(&mut JobState)) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut state);
        if let Err(error) = self.data.store(&state) {
            report::error(&format!("failed to keep the job's state: {error}"));
        }
        drop(state);
        self.changes.send_replace(());
    }

    /// Waits until an instance is in a condition.
    pub(crate) async fn reached(&self, id: &str, condition: impl Fn(&AllocState) -> bool) {
        let mut changes = self.changes.subscribe();
        while !self.is(id, &condition) {
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// Where a task is in its life.
    pub(crate) fn phase(&self, alloc: &str, task: &str) -> Option<Phase> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let alloc = state.allocs.iter().find(|known| known.id == alloc)?;
        alloc.tasks.get(task).map(|task| task.phase)
    }

    /// An instance's network, as far as it is made.
    pub(crate) fn network(&self, alloc: &str) -> Option<NetworkState> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.allocs.iter().find(|known| known.id == alloc)?.network.clone()
    }

    fn is(&self, id: &str, condition: impl Fn(&AllocState) -> bool) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.allocs.iter().find(|alloc| alloc.id == id).is_none_or(condition)
    }

    /// Changes an instance's state.
    pub(crate) fn alloc(&self, id: &str, change: impl FnOnce(&mut AllocState)) {
        self.change(|state| {
            if let Some(alloc) = state.allocs.iter_mut().find(|known| known.id == id) {
                change(alloc);
            }
        });
    }

    /// What tells the job's containers from those of other agents on the same engine, each of which has a driver of its own.
    pub(crate) fn node_id(&self) -> String {
        self.data.job(&self.snapshot().id).display().to_string()
    }

    /// Changes a task's state.
    pub(crate) fn task(&self, alloc: &str, task: &str, change: impl FnOnce(&mut TaskState)) {
        self.alloc(alloc, |alloc| {
            if let Some(task) = alloc.tasks.get_mut(task) {
                change(task);
            }
        });
    }

    /// Keeps and tells an event of a task.
    pub(crate) fn event(&self, alloc: &str, task: &str, kind: &str, message: &str) {
        let event = Event { at: SystemTime::now(), kind: kind.to_owned(), message: message.to_owned() };
        report::event(alloc, task, &event);
        self.task(alloc, task, |state| {
            state.events.push(event);
            let surplus = state.events.len().saturating_sub(EVENTS);
            state.events.drain(..surplus);
        });
    }

    /// The state as it is now.
    pub(crate) fn snapshot(&self) -> JobState {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
