//! A task's state and end.

use std::{collections::BTreeMap, time::SystemTime};

use super::NetworkOverride;
use crate::id::TaskId;

/// A task's state in a host's words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TaskState {
    /// Not running, or nothing known.
    #[default]
    Unknown,
    /// It runs.
    Running,
    /// It ended and its remains are removed.
    Exited,
}

/// How a task or a command ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExitResult {
    /// The exit code.
    pub exit_code: i32,
    /// The signal that ended it; 0 is none.
    pub signal: i32,
    /// Whether the kernel killed it for its memory.
    pub oom_killed: bool,
}

/// How a task ended, in numbers and in words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WaitResult {
    /// In numbers.
    pub result: ExitResult,
    /// What went wrong, for the task's events; empty is nothing.
    pub error: String,
}

/// A task as it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct InspectedTask {
    /// The run.
    pub id: TaskId,
    /// The task's name.
    pub name: String,
    /// Its state.
    pub state: TaskState,
    /// When it started; `None` is never.
    pub started_at: Option<SystemTime>,
    /// When it ended; `None` is not yet.
    pub completed_at: Option<SystemTime>,
    /// How it ended.
    pub result: ExitResult,
    /// The driver's own attributes.
    pub attributes: BTreeMap<String, String>,
    /// The task's address.
    pub network: NetworkOverride,
}
