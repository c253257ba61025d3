//! Something worth telling a task's owner.

use std::{collections::BTreeMap, time::SystemTime};

use crate::id::{AllocId, TaskId};

/// Something worth telling a task's owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskEvent {
    /// The task's run.
    pub task_id: TaskId,
    /// Its allocation.
    pub alloc_id: AllocId,
    /// Its name.
    pub task_name: String,
    /// When it happened.
    pub at: SystemTime,
    /// In words.
    pub message: String,
    /// In names and values.
    pub annotations: BTreeMap<String, String>,
}
