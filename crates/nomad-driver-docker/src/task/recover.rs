//! Recovers a task that an earlier process of the driver started.

use std::{sync::Arc, time::Duration};

use nomad_plugin::driver::{DriverError, TaskHandle};

use super::{
    Task, Tasks, destroy,
    found::{Finder, Known, Later, Origin},
    state::TaskState,
};
use crate::{made::Made, names::container_name, session::Session};
use engine::within;

/// How long the engine may take to say how the container is; then the task is recovered without that. A host recovers its tasks
/// one after another.
const PATIENCE: Duration = Duration::from_secs(5);

impl Tasks {
    /// Finds the container of a handle and watches it again. If it has exited, its exit is reported at once. If the engine does
    /// not answer, the task is known by its handle alone until it does.
    pub(crate) async fn recover(&self, session: &Arc<Session>, handle: TaskHandle) -> Result<(), DriverError> {
        self.store.note_recovery();
        // A task that is already known is no error.
        let TaskHandle { config, driver_state, .. } = handle;
        let Some(place) = self.store.reserve(&config.id) else { return Ok(()) };
        let settings = self.settings.now();
        // A task whose container was removed identifies this node, too.
        self.process.node.note(settings.state_dir(), &config);
        let state = TaskState::decode(&driver_state).map_err(|error| DriverError::new(error.to_string()))?;
        if destroy::destroyed(&self.settings).has(&state.container_id, &container_name(&config)) {
            return Err(DriverError::new("the task was destroyed; its container is being removed"));
        }
        // Recorded even if it cannot be recovered now: a container that the host names by its id is the task's when that is
        // started again.
        Made::new(settings.state_dir()).note(&state.container_id, &container_name(&config));
        let TaskState { container_id: container, network, logger } = state;
        let handle = session.watch.watch(&container);
        let finder = self.finder(session);
        let known = match within(PATIENCE, finder.look(&container)).await {
            Ok(look) => {
                let found = finder.found(&config, &container, &look, Origin::Recovered(logger)).await;
                tracing::info!(container, task = config.id.as_str(), "recovered");
                Known::Found(Box::new(found))
            }
            Err(error) if error.is_transient() => {
                tracing::warn!(container, task = config.id.as_str(), %error, "recovered without Docker, which does not answer");
                Known::Later(Box::new(Later { finder, config: config.clone(), origin: Origin::Recovered(logger) }))
            }
            Err(error) => {
                return Err(DriverError::new(format!("failed to inspect container for id {container:?}: {error}")));
            }
        };
        place.fill(Task::watched(self, session, config, container, network, handle, known));
        Ok(())
    }

    pub(super) fn finder(&self, session: &Arc<Session>) -> Finder {
        Finder { process: self.process.clone(), settings: self.settings.clone(), session: session.clone() }
    }
}
