//! The tasks that this process knows.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use nomad_plugin::{
    driver::{DriverError, TaskConfig},
    id::{AllocId, TaskId},
};
use tokio::{sync::watch, time::Instant};

use super::{
    Task,
    neighbours::{Turn, Turns},
};

/// The tasks that this process knows, by id.
#[derive(Clone, Default)]
pub struct TaskStore {
    tasks: Arc<Mutex<HashMap<TaskId, Slot>>>,
    /// When a task was last handed over for recovery.
    recovered: Arc<Mutex<Option<Instant>>>,
    turns: Turns,
}

#[derive(Clone)]
enum Slot {
    /// Nothing is created yet; the value is whether to give up.
    Waiting(watch::Sender<bool>),
    Starting,
    Task(Arc<Task>),
}

/// A task's reserved place in the store while it starts. Dropping it releases the place.
pub struct Reservation {
    store: TaskStore,
    id: TaskId,
    give_up: watch::Receiver<bool>,
}

impl TaskStore {
    fn lock(&self) -> MutexGuard<'_, HashMap<TaskId, Slot>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The task, or the error that hosts recognize.
    pub fn get(&self, id: &TaskId) -> Result<Arc<Task>, DriverError> {
        match self.lock().get(id) {
            Some(Slot::Task(task)) => Ok(task.clone()),
            Some(Slot::Waiting(_) | Slot::Starting) | None => Err(DriverError::task_not_found()),
        }
    }

    /// Reserves a task's place; `None` if it is taken.
    pub fn reserve(&self, id: &TaskId) -> Option<Reservation> {
        let mut known = self.lock();
        if known.contains_key(id) {
            return None;
        }
        let (asked, give_up) = watch::channel(false);
        known.insert(id.clone(), Slot::Waiting(asked));
        Some(Reservation { store: self.clone(), id: id.clone(), give_up })
    }

    /// Makes a task give up its start, if nothing of it is created yet; returns whether there is such a task.
    pub fn give_up(&self, id: &TaskId) -> bool {
        let known = self.lock();
        let Some(Slot::Waiting(asked)) = known.get(id) else { return false };
        asked.send_replace(true);
        true
    }

    /// The tasks that were started.
    pub fn started(&self) -> Vec<Arc<Task>> {
        let task = |known: &Slot| match known {
            Slot::Task(task) => Some(task.clone()),
            Slot::Waiting(_) | Slot::Starting => None,
        };
        self.lock().values().filter_map(task).collect()
    }

    /// The full ids of the tasks' containers.
    pub fn containers(&self) -> HashSet<String> {
        self.started().into_iter().map(|task| task.container.clone()).collect()
    }

    /// Waits for a task's turn to start among those of its allocation.
    pub(super) async fn turn(&self, alloc: &AllocId) -> Turn {
        self.turns.take(alloc).await
    }

    /// Whether an allocation has tasks, including those that are being started.
    pub fn has_tasks_of(&self, alloc: &AllocId) -> bool {
        let of_alloc = |(id, known): (&TaskId, &Slot)| match known {
            Slot::Task(task) => task.config.alloc_id == *alloc,
            // Task ids begin with their allocation's.
            Slot::Waiting(_) | Slot::Starting => id.as_str().starts_with(alloc.as_str()),
        };
        self.lock().iter().any(of_alloc)
    }

    /// Whether an allocation has a task that is being started or recovered.
    pub fn begins_one_of(&self, alloc: &AllocId) -> bool {
        let begins = |(id, known): (&TaskId, &Slot)| match known {
            Slot::Task(_) => false,
            Slot::Waiting(_) | Slot::Starting => id.as_str().starts_with(alloc.as_str()),
        };
        self.lock().iter().any(begins)
    }

    /// Records that a task is about to be recovered.
    pub fn note_recovery(&self) {
        *self.recovered.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// The time since the last recovery; `None` if there was none.
    pub fn since_recovery(&self) -> Option<Duration> {
        self.recovered.lock().unwrap_or_else(PoisonError::into_inner).map(|at| at.elapsed())
    }

    /// Whether there is a run of a task, by its allocation and name, including one that is being started.
    pub fn has_runs_of(&self, task: &TaskConfig) -> bool {
        let begin = format!("{}/{}/", task.alloc_id, task.name);
        self.lock().keys().any(|id| id.as_str().starts_with(&begin))
    }

    /// Forgets a task that was started, and returns it, or the error that hosts recognize.
    pub fn remove(&self, id: &TaskId) -> Result<Arc<Task>, DriverError> {
        let mut known = self.lock();
        match known.get(id) {
            Some(Slot::Task(task)) => {
                let task = task.clone();
                known.remove(id);
                Ok(task)
            }
            Some(Slot::Waiting(_) | Slot::Starting) | None => Err(DriverError::task_not_found()),
        }
    }
}

impl Reservation {
    /// Waits until the task is to give up.
    pub async fn given_up(&self) {
        if self.give_up.clone().wait_for(|asked| *asked).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// From now on the task cannot give up, because something is being created. `false` means that it was already asked to.
    pub fn go_on(&self) -> bool {
        let mut known = self.store.lock();
        if *self.give_up.borrow() {
            return false;
        }
        known.insert(self.id.clone(), Slot::Starting);
        true
    }

    /// Puts the task in its place.
    pub fn fill(self, task: Arc<Task>) {
        self.store.lock().insert(self.id.clone(), Slot::Task(task));
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut known = self.store.lock();
        if let Some(Slot::Waiting(_) | Slot::Starting) = known.get(&self.id) {
            known.remove(&self.id);
        }
    }
}
