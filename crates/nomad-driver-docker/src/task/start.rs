//! Starts a task.
//!
//! ```text
//! Requested -> ImageReady -> Created -> Running
//! ```
//!
//! With a local image these are four engine calls: the image, create, start, inspect. Leaving early removes what was
//! made.

use std::{collections::BTreeMap, sync::Arc};

use nomad_plugin::driver::{DriverError, StartedTask, TaskConfig, TaskHandle, TaskState as HandleState};

use super::{
    Container, Surroundings, Task, TaskStore,
    connections::Connections,
    created::Created,
    exit::Exit,
    handover::Handover,
    logging::{Logging, Subject},
    namesake,
    state::TaskState,
};
use crate::{
    config::TaskOptions,
    container::{self, CreateRequest, Machine, Request, files},
    engine::EngineFacts,
    events::EventSubject,
    image::{ImageRequest, LocalImage},
    logs::LogTask,
    network::{self, Ledger},
    stage::Stages,
};

/// Starts a task and puts it into the store.
pub async fn start(around: &Surroundings, store: &TaskStore, mut task: TaskConfig) -> Result<StartedTask, DriverError> {
    let Some(place) = store.reserve(&task.id) else {
        return Err(DriverError::new(format!("task with ID {:?} already started", task.id.as_str())));
    };
    // Before anything is made: what a crash leaves of it is known as this node's.
    around.node.note(&around.plugin.state_dir, &task);
    // A task that never starts leaves its network all the same.
    if let Some(ledger) = Ledger::of(around).await {
        ledger.note_joined(&task);
    }
    let options = TaskOptions::parse(&task.driver_config).map_err(|errors| DriverError::new(errors.to_string()))?;
    if let Some(notice) = container::dropped_labels(&options) {
        around.events.emit(&EventSubject::from(&task), notice, BTreeMap::new());
    }
    let requested = tokio::select! {
        requested = requested(around, store, &mut task, &options) => Some(requested?),
        () = place.given_up() => None,
    };
    let Some((request, image, handover)) = requested.filter(|_| place.go_on()) else {
        return Err(DriverError::recoverable("the task was stopped while it waited for its image"));
    };
    let config = TaskConfig { env: request.env.clone(), ..task };

    let created = Created::create(around, &request, &config, &image.id).await?;
    let signal = around.exits.watch(&created.id);
    match running(around, &created, &config, &options, &request).await {
        Ok((container, logs, ended)) => {
            let container = Container { image: Some(image.lease), ..container };
            // One that runs already has its own.
            if let (Handover::Staged(stage), false) = (handover, created.running) {
                stage.keep();
            }
            let id = created.keep();
            tracing::info!(container = id, task = config.id.as_str(), "started");
            container.networks.note(&config, &id);
            let state = TaskState { container_id: id, network: container.network.clone(), logger: None };
            let network = container.network.clone();
            place.fill(Task::watched(around, config.clone(), container, signal, logs, ended));
            let handle = TaskHandle { version: 1, config, state: HandleState::Unknown, driver_state: state.encode() };
            Ok(StartedTask { handle, network })
        }
        Err(error) => {
            around.logs.release(&created.id).await;
            created.undo().await;
            Err(error)
        }
    }
}

/// Everything before the container: the engine's facts, the image, the request.
async fn requested(
    around: &Surroundings,
    store: &TaskStore,
    task: &mut TaskConfig,
    options: &TaskOptions,
) -> Result<(CreateRequest, LocalImage, Handover), DriverError> {
    if let Some(sibling) = container::sibling(task, options) {
        joinable(around, task, &sibling).await?;
    }
    let facts = facts(around).await?;
    container::check_image(&options.image, &around.plugin).map_err(|error| DriverError::new(error.to_string()))?;
    let image = around.images.ensure(&ImageRequest::of_task(task, options, &around.plugin)).await?;
    if options.network_mode.is_none() {
        network::join(around, store, task).await?;
    }
    let mut handover = Handover::of(around, store, task).await?;
    let request = container::create_request(&Request {
        task,
        options,
        plugin: &around.plugin,
        machine: Machine { cgroup_version: facts.cgroup_version, ..around.machine },
        runtimes: &facts.runtimes,
        api: facts.api,
        files: files::prepare(task, options, &around.plugin, &mut handover.way()),
    });
    match request {
        Ok(request) => Ok((request, image, handover)),
        Err(error) => {
            let LocalImage { name, id, .. } = &image;
            let text = format!("Failed to create container configuration for image {name:?} ({id:?}): {error}");
            Err(DriverError::new(text))
        }
    }
}

/// Whether the network of the group's task with this container can be joined; a later attempt may find it running.
async fn joinable(around: &Surroundings, task: &TaskConfig, sibling: &str) -> Result<(), DriverError> {
    if sibling == container::container_name(task) {
        return Err(DriverError::new("network_mode: a task cannot join its own network"));
    }
    let running = match around.engine.inspect_container(sibling).await {
        Ok(inspected) => namesake::is_of_group(around, &inspected, task, sibling) && inspected.is_running(),
        Err(error) if error.is_not_found() => false,
        Err(error) => return Err(DriverError::recoverable(format!("Failed to inspect container {sibling}: {error}"))),
    };
    let refusal = || format!("network_mode: the task to join does not run: there is no running container {sibling}");
    if running { Ok(()) } else { Err(DriverError::recoverable(refusal())) }
}

async fn facts(around: &Surroundings) -> Result<Arc<EngineFacts>, DriverError> {
    let facts = around.engine.facts().await;
    facts.map_err(|error| {
        let text = format!("failed to fetch docker daemon info: {error}");
        DriverError::recoverable_or_unsaid(error.is_transient(), text)
    })
}

/// Starts the container, its log watched from before on, and asks once how it is.
async fn running(
    around: &Surroundings,
    created: &Created,
    config: &TaskConfig,
    options: &TaskOptions,
    request: &CreateRequest,
) -> Result<(Container, Option<LogTask>, Option<Exit>), DriverError> {
    let facts = facts(around).await?;
    let driver = request.body.host_config.as_ref().and_then(|host| host.log_config.as_ref()?.typ.as_deref());
    let subject = Subject { task: config, container: &created.id, driver: driver.unwrap_or_default() };
    let logging = if created.running {
        Logging::adopted(around, subject, None).await
    } else {
        Logging::new(around, subject).await?
    };
    let logs = logging.begin(&facts).await?;
    if !created.running {
        request.paths.look_again().map_err(|error| DriverError::new(error.to_string()))?;
        created.connect(around, request).await?;
        created.start(around, request).await?;
    }
    let inspected =
        around.engine.inspect_container(&created.id).await.map_err(|error| {
            DriverError::recoverable(format!("Failed to inspect container {}: {error}", created.id))
        })?;
    let container = Container {
        id: created.id.clone(),
        network: container::driver_network(&inspected, options),
        networks: Connections::of(&inspected),
        started_at: inspected.started_at,
        pid: inspected.pid(),
        image: None,
        stage: Stages::of(around).await.and_then(|stages| stages.of_mounts(&inspected.mounts)),
    };
    Ok((container, logs, Exit::of(&inspected.state)))
}
