//! Takes a task back that an earlier process of the driver started.

use nomad_plugin::driver::{DriverError, TaskHandle};

use super::{
    Container, Surroundings, Task, TaskStore,
    connections::Connections,
    exit::Exit,
    logging::{Logging, Subject},
    lost_files,
    state::TaskState,
};
use crate::{
    container::container_name,
    made::Made,
    network::{self, Ledger},
    stage::Stages,
};

/// Finds the container of a handle and watches it again. An ended one is fine: its end is told at once.
pub async fn recover(around: &Surroundings, store: &TaskStore, handle: TaskHandle) -> Result<(), DriverError> {
    store.note_recovery();
    // One that is known already is fine.
    let TaskHandle { config, driver_state, .. } = handle;
    let Some(place) = store.reserve(&config.id) else { return Ok(()) };
    // Also a task whose container is gone says which node this is.
    around.node.note(&around.plugin.state_dir, &config);
    let state = TaskState::decode(&driver_state).map_err(|error| DriverError::new(error.to_string()))?;
    // Also where it cannot be had for now: what the host names by its id is the task's when that is started again.
    Made::new(&around.plugin.state_dir).note(&state.container_id, &container_name(&config));
    let signal = around.exits.watch(&state.container_id);
    // A host that does not give the task up at once may ask again when the engine is back.
    let inspected = around.engine.inspect_container(&state.container_id).await.map_err(|error| {
        let message = format!("failed to inspect container for id {:?}: {error}", state.container_id);
        DriverError::recoverable_or_unsaid(error.is_transient(), message)
    })?;
    let subject = Subject { task: &config, container: &state.container_id, driver: &inspected.log_driver };
    let logging = Logging::adopted(around, subject, state.logger.as_ref()).await;
    let facts = around.engine.facts().await;
    let facts = facts.map_err(|error| {
        DriverError::recoverable_or_unsaid(error.is_transient(), format!("failed to fetch docker daemon info: {error}"))
    })?;
    let logs = logging.begin(&facts).await?;
    let image = around.images.keep(&inspected.image, &inspected.image_name).await;
    let container = Container {
        networks: Connections::since_the_start(&config, &state.container_id, &inspected),
        id: state.container_id,
        network: state.network,
        started_at: inspected.started_at,
        pid: inspected.pid(),
        image,
        stage: Stages::of(around).await.and_then(|stages| stages.of_mounts(&inspected.mounts)),
    };
    if let Some(ledger) = Ledger::of(around).await {
        ledger.note_joined(&config);
    }
    network::look_after_that_of(around, store, &config);
    lost_files::restore(&config, &inspected, container.stage.as_ref()).await;
    tracing::info!(container = container.id, task = config.id.as_str(), "recovered");
    place.fill(Task::watched(around, config, container, signal, logs, Exit::of(&inspected.state)));
    Ok(())
}
