//! Destroys a task: it is forgotten at once, and its container is ended, however long that takes.
//!
//! ```text
//! known -> forgotten, and recorded as destroyed -> container killed or removed -> record removed
//! ```
//!
//! A host destroys a task once, whatever the answer. So the task does not depend on the engine's being there, and a record on
//! disk lets the next process continue.

use std::{sync::atomic::Ordering, time::Duration};

use nomad_plugin::{
    driver::{DriverError, Force},
    id::TaskId,
};

use super::{Status, Task, Tasks};
use crate::{
    checkpoint::reached, image::ImageLease, made::Made, names::container_name, session::Session,
    settings::CurrentSettings,
};
use engine::{Engine, EngineError, insist, persist};

/// How long a host waits for the end of the container; it is ended all the same.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// The container of a destroyed task, until it is ended.
struct Ending {
    engine: Engine,
    settings: CurrentSettings,
    container: String,
    /// The image may be removed afterwards.
    image: Option<ImageLease>,
}

impl Tasks {
    /// Forgets a task and ends its container, which is removed if the operator enables that. A running one is only ended by
    /// force. With force, what an earlier process left of an unknown task is ended, too.
    pub(crate) async fn destroy(&self, session: &Session, id: &TaskId, force: Force) -> Result<(), DriverError> {
        if self.store.give_up(id) {
            return Ok(());
        }
        match (self.store.get(id), force) {
            (Ok(task), Force::No) => task.check_ended().await?,
            (Err(_), Force::Yes) => self.end_left_over(session, id).await,
            _ => {}
        }
        let task = self.store.remove(id)?;
        task.ending.store(true, Ordering::Relaxed);
        reached("destroy: forgotten");
        destroyed(&self.settings).note(&task.container, &container_name(&task.config));
        reached("destroy: recorded");
        let ending = Ending {
            engine: task.engine.clone(),
            settings: self.settings.clone(),
            container: task.container.clone(),
            image: task.image().cloned(),
        };
        self.process.cleanup.run(PATIENCE, ending.end()).await;
        reached("destroy: record removed");
        // The host is about to remove the directories that are mounted there. A container that is still running keeps its mounts.
        if let Some(stage) = task.details.get().and_then(|details| details.stage.as_ref()) {
            stage.remove();
        }
        reached("destroy: mounts removed");
        self.process.logs.release(&task.container).await;
        reached("destroy: log released");
        self.hide_logs(session, &task.config).await;
        Ok(())
    }

    /// Continues to end the containers of tasks that were destroyed in an earlier process.
    pub(crate) fn end_destroyed(&self, session: &Session) {
        for container in destroyed(&self.settings).ids() {
            let (engine, settings) = (session.engine.clone(), self.settings.clone());
            self.process.cleanup.spawn(Ending { engine, settings, container, image: None }.end());
        }
    }
}

/// The containers of tasks that were destroyed, and may still be there.
pub(super) fn destroyed(settings: &CurrentSettings) -> Made {
    Made::new(settings.now().state_dir()).destroyed()
}

impl Ending {
    async fn end(self) {
        let Self { engine, settings, container, image } = self;
        let is_removed = || settings.now().plugin.gc.container;
        let end = || async {
            if is_removed() {
                engine.remove_container(&container).await
            } else {
                kill(&engine, &container, "SIGKILL").await
            }
        };
        if insist("end the container of a destroyed task", &container, end).await {
            reached("destroy: container removed");
            if is_removed() {
                Made::new(settings.now().state_dir()).forget(&container);
            }
            destroyed(&settings).forget(&container);
        }
        drop(image);
    }
}

impl Task {
    /// Rejects to destroy a container that is running.
    async fn check_ended(&self) -> Result<(), DriverError> {
        if *self.status.borrow() != Status::Running {
            return Ok(());
        }
        match persist(&self.container, PATIENCE, || self.engine.inspect_container(&self.container)).await {
            Ok(inspected) if inspected.is_running() => {
                Err(DriverError::new("must call StopTask for the given task before Destroy or set force to true"))
            }
            Err(error) if !error.is_not_found() => {
                let message = format!("failed to inspect container state: {error}");
                Err(DriverError::recoverable_or_unsaid(error.is_transient(), message))
            }
            _ => Ok(()),
        }
    }
}

/// Sends a signal. It is no error if the container has already exited or does not exist.
pub(super) async fn kill(engine: &Engine, container: &str, signal: &str) -> Result<(), EngineError> {
    match engine.kill_container(container, signal).await {
        Err(error) if error.is_not_found() || error.is_conflict() => Ok(()),
        other => other,
    }
}
