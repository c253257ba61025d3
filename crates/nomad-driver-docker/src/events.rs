//! What the driver tells tasks' owners, to every host that listens.

use std::{collections::BTreeMap, time::SystemTime};

use futures_util::{Stream, StreamExt};
use nomad_plugin::{
    driver::{TaskConfig, TaskEvent},
    id::{AllocId, TaskId},
};
use tokio::sync::broadcast;
use tokio_stream::wrappers::BroadcastStream;

/// How many events a slow listener may be behind before it loses the oldest.
const BACKLOG: usize = 1024;

/// Where events are told and heard.
#[derive(Clone, Debug)]
pub struct TaskEvents(broadcast::Sender<TaskEvent>);

/// Whom an event is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventSubject {
    /// The task's run.
    pub task_id: TaskId,
    /// Its allocation.
    pub alloc_id: AllocId,
    /// Its name.
    pub task_name: String,
}

impl From<&TaskConfig> for EventSubject {
    fn from(task: &TaskConfig) -> Self {
        Self { task_id: task.id.clone(), alloc_id: task.alloc_id.clone(), task_name: task.name.clone() }
    }
}

impl Default for TaskEvents {
    fn default() -> Self {
        Self(broadcast::channel(BACKLOG).0)
    }
}

impl TaskEvents {
    /// Tells an event; where nobody listens it is lost, as Nomad expects.
    pub fn emit(&self, subject: &EventSubject, message: impl Into<String>, annotations: BTreeMap<String, String>) {
        let EventSubject { task_id, alloc_id, task_name } = subject.clone();
        let event =
            TaskEvent { task_id, alloc_id, task_name, at: SystemTime::now(), message: message.into(), annotations };
        let _nobody_listens = self.0.send(event);
    }

    /// Events from now on.
    pub fn subscribe(&self) -> impl Stream<Item = TaskEvent> + Send + 'static + use<> {
        BroadcastStream::new(self.0.subscribe()).filter_map(|event| std::future::ready(event.ok()))
    }
}
