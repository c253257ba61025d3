//! Recovers a task that an earlier process of the driver started.

use nomad_plugin::driver::{DriverError, TaskHandle};

use super::{
    Container, Task, Tasks,
    connections::Connections,
    destroy,
    exit::Exit,
    log_source::{LogSource, Subject},
    lost_files,
    state::TaskState,
};
use crate::{made::Made, names::container_name, preparation::stage::Stages, session::Session};

impl Tasks {
    /// Finds the container of a handle and watches it again. If it has exited, its exit is reported at once.
    pub(crate) async fn recover(&self, session: &Session, handle: TaskHandle) -> Result<(), DriverError> {
        self.store.note_recovery();
        // A task that is already known is no error.
        let TaskHandle { config, driver_state, .. } = handle;
        let Some(place) = self.store.reserve(&config.id) else { return Ok(()) };
        let settings = self.settings.now();
        let (engine, process) = (&session.engine, &self.process);
        // A task whose container was removed identifies this node, too.
        process.node.note(settings.state_dir(), &config);
        let state = TaskState::decode(&driver_state).map_err(|error| DriverError::new(error.to_string()))?;
        if destroy::destroyed(&self.settings).has(&state.container_id, &container_name(&config)) {
            return Err(DriverError::new("the task was destroyed; its container is being removed"));
        }
        // Recorded even if it cannot be recovered now: a container that the host names by its id is the task's when that is
        // started again.
        Made::new(settings.state_dir()).note(&state.container_id, &container_name(&config));
        let handle = session.watch.watch(&state.container_id);
        // A host that does not give the task up at once may retry when the engine is back.
        let inspected = engine.inspect_container(&state.container_id).await.map_err(|error| {
            let message = format!("failed to inspect container for id {:?}: {error}", state.container_id);
            DriverError::recoverable_or_unsaid(error.is_transient(), message)
        })?;
        let subject = Subject { task: &config, container: &state.container_id, driver: &inspected.log_driver };
        let source = LogSource::adopted(process, &settings, subject, state.logger.as_ref()).await;
        let facts = engine.facts().await.map_err(|error| {
            let message = format!("failed to fetch docker daemon info: {error}");
            DriverError::recoverable_or_unsaid(error.is_transient(), message)
        })?;
        let logs = source.collect(engine, &facts).await?;
        let image = session.images.lease(&inspected.image, &inspected.image_name).await;
        let stages = Stages::of(engine, &settings).await;
        if let Some(ledger) = session.networks.ledger().await {
            ledger.note_joined(&config);
        }
        let container = Container {
            networks: Connections::since_the_start(&config, &state.container_id, &inspected),
            id: state.container_id,
            network: state.network,
            started_at: inspected.started_at,
            pid: inspected.pid(),
            stop_signal: inspected.stop_signal.clone(),
            image,
            stage: stages.and_then(|stages| stages.of_mounts(&inspected.mounts)),
            membership: session.networks.rejoin(&config),
        };
        lost_files::restore(&config, &inspected, container.stage.as_ref()).await;
        tracing::info!(container = container.id, task = config.id.as_str(), "recovered");
        place.fill(Task::watched(self, session, config, container, handle, logs, Exit::of(&inspected.state)));
        Ok(())
    }
}
