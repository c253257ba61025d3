//! The tasks that this process knows.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use nomad_plugin::{driver::DriverError, id::TaskId};

use super::Task;

/// The tasks that this process knows, by id.
#[derive(Clone, Default)]
pub struct TaskStore {
    tasks: Arc<Mutex<HashMap<TaskId, Known>>>,
    /// The node's id, as the last task told it.
    node: Arc<Mutex<String>>,
}

#[derive(Clone)]
enum Known {
    Starting,
    Task(Arc<Task>),
}

/// A task's place, held while it starts. Dropping it gives the place up.
pub struct Reservation {
    store: TaskStore,
    id: TaskId,
}

impl TaskStore {
    fn lock(&self) -> MutexGuard<'_, HashMap<TaskId, Known>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The task, or the error that hosts know.
    pub fn get(&self, id: &TaskId) -> Result<Arc<Task>, DriverError> {
        match self.lock().get(id) {
            Some(Known::Task(task)) => Ok(task.clone()),
            Some(Known::Starting) | None => Err(DriverError::task_not_found()),
        }
    }

    /// Takes a task's place; `None` where it is taken.
    pub fn reserve(&self, id: &TaskId) -> Option<Reservation> {
        let mut known = self.lock();
        if known.contains_key(id) {
            return None;
        }
        known.insert(id.clone(), Known::Starting);
        Some(Reservation { store: self.clone(), id: id.clone() })
    }

    /// The full ids of the tasks' containers.
    pub fn containers(&self) -> HashSet<String> {
        let container = |known: &Known| match known {
            Known::Task(task) => Some(task.container.clone()),
            Known::Starting => None,
        };
        self.lock().values().filter_map(container).collect()
    }

    /// The id of the node that the tasks run on; empty before the first one.
    pub fn node(&self) -> String {
        self.node.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Forgets a task.
    pub fn remove(&self, id: &TaskId) {
        self.lock().remove(id);
    }
}

impl Reservation {
    /// Puts the task in its place.
    pub fn fill(self, task: Arc<Task>) {
        if !task.config.node_id.is_empty() {
            self.store.node.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&task.config.node_id);
        }
        self.store.lock().insert(self.id.clone(), Known::Task(task));
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut known = self.store.lock();
        if let Some(Known::Starting) = known.get(&self.id) {
            known.remove(&self.id);
        }
    }
}
