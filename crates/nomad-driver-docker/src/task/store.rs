//! The tasks that this process knows.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use nomad_plugin::{driver::DriverError, id::TaskId};

use super::Task;

/// The tasks that this process knows, by id.
#[derive(Default)]
pub struct TaskStore(Mutex<HashMap<TaskId, Arc<Task>>>);

impl TaskStore {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<TaskId, Arc<Task>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The task, or the error that hosts know.
    pub fn get(&self, id: &TaskId) -> Result<Arc<Task>, DriverError> {
        self.find(id).ok_or_else(DriverError::task_not_found)
    }

    /// The task, if it is known.
    pub fn find(&self, id: &TaskId) -> Option<Arc<Task>> {
        self.lock().get(id).cloned()
    }

    /// Adds a task.
    pub fn insert(&self, task: Arc<Task>) {
        self.lock().insert(task.config.id.clone(), task);
    }

    /// Forgets a task.
    pub fn remove(&self, id: &TaskId) {
        self.lock().remove(id);
    }
}
