//! Starts a task.
//!
//! ```text
//! Requested -> ImageReady -> Created -> Running
//! ```
//!
//! With a local image these are four engine calls: the image, create, start, inspect. An early return removes what was created.

use std::{collections::BTreeMap, sync::Arc};

use nomad_plugin::driver::{
    DriverError, NetworkOverride, StartedTask, TaskConfig, TaskHandle, TaskState as HandleState,
};

use super::{
    ANSWER, Task, Tasks,
    created::{Created, Creator, LOOK},
    found::{Known, Later, Origin},
    handover::Handover,
    log_source::{LogSource, Subject},
    namesake,
    state::TaskState,
};
use crate::{
    checkpoint::reached,
    config::TaskOptions,
    container::{self, CreateRequest, Request},
    events::EventSubject,
    image::{ImageLease, ImageRequest, LocalImage},
    labels::SANDBOX_CONTAINER,
    machine::Machine,
    made::Made,
    names::container_name,
    network::Membership,
    preparation,
    session::Session,
    settings::Settings,
};
use engine::{EngineFacts, Inspected, persist, within};

/// The context of a start.
struct Start<'a> {
    tasks: &'a Tasks,
    session: &'a Arc<Session>,
    settings: &'a Settings,
    made: &'a Made,
}

/// Everything a container is created from.
struct Requested {
    request: CreateRequest,
    image: LocalImage,
    handover: Handover,
    membership: Option<Membership>,
}

impl Tasks {
    /// Starts a task and puts it into the store.
    pub(crate) async fn start(&self, session: &Arc<Session>, mut task: TaskConfig) -> Result<StartedTask, DriverError> {
        let Some(place) = self.store.reserve(&task.id) else {
            return Err(DriverError::new(format!("task with ID {:?} already started", task.id.as_str())));
        };
        let settings = self.settings.now();
        let made = Made::new(settings.state_dir());
        let start = Start { tasks: self, session, settings: &settings, made: &made };
        // Before anything is created, so that the leftovers of a crash are known as this node's.
        self.process.node.note(settings.state_dir(), &task);
        reached("start: node recorded");
        // A task that never starts leaves its network all the same.
        if let Some(ledger) = session.networks.ledger().await {
            ledger.note_joined(&task);
        }
        reached("start: network recorded");
        let options = TaskOptions::parse(&task.driver_config).map_err(|errors| DriverError::new(errors.to_string()))?;
        if let Some(notice) = container::dropped_labels(&options) {
            self.process.events.emit(&EventSubject::from(&task), notice, BTreeMap::new());
        }
        let requested = tokio::select! {
            requested = start.requested(&mut task, &options) => Some(requested?),
            () = place.given_up() => None,
        };
        let Some(requested) = requested.filter(|_| place.go_on()) else {
            return Err(DriverError::recoverable("the task was stopped while it waited for its image"));
        };
        let Requested { request, image, handover, membership } = requested;
        let config = TaskConfig { env: request.env.clone(), ..task };
        let (engine, cleanup) = (&session.engine, &self.process.cleanup);
        let creator = Creator { engine, made: &made, cleanup, store: &self.store };
        let created = creator.create(&request, &config, &image.id).await?;
        let handle = session.watch.watch(&created.id);
        match start.running(&created, &config, &options, &request, image.lease, membership).await {
            Ok((known, network)) => {
                // A container that is already running has its own.
                if let (Handover::Staged(stage), false) = (handover, created.running) {
                    stage.commit();
                }
                let id = created.commit();
                reached("start: committed");
                tracing::info!(container = id, task = config.id.as_str(), "started");
                let state = TaskState { container_id: id.clone(), network: network.clone(), logger: None };
                place.fill(Task::watched(self, session, config.clone(), id, network.clone(), handle, known));
                let handle =
                    TaskHandle { version: 1, config, state: HandleState::Unknown, driver_state: state.encode() };
                Ok(StartedTask { handle, network })
            }
            Err(error) => {
                self.process.logs.release(&created.id).await;
                created.undo().await;
                Err(error)
            }
        }
    }
}

impl Start<'_> {
    /// Everything before the container: the engine's facts, the image, the request.
    async fn requested(&self, task: &mut TaskConfig, options: &TaskOptions) -> Result<Requested, DriverError> {
        let (session, plugin) = (self.session, &self.settings.plugin);
        if let Some(sibling) = container::sibling(task, options) {
            self.joinable(task, &sibling).await?;
        }
        let facts = self.facts().await?;
        container::check_image(&options.image, plugin).map_err(|error| DriverError::new(error.to_string()))?;
        let image = session.images.ensure(&ImageRequest::of_task(task, options, plugin)).await?;
        reached("start: image ready");
        let membership = if options.network_mode.is_none() { session.networks.join(task).await? } else { None };
        reached("start: network joined");
        if let (Some(membership), Some(isolation)) = (&membership, &mut task.network_isolation) {
            isolation.labels.insert(SANDBOX_CONTAINER.to_owned(), membership.container.clone());
        }
        let mut handover = Handover::of(&session.engine, self.settings, &self.tasks.store, task).await?;
        reached("start: mounts staged");
        let request = container::create_request(&Request {
            task,
            options,
            plugin,
            machine: Machine { cgroup_version: facts.cgroup_version, ..self.settings.machine },
            runtimes: &facts.runtimes,
            api: facts.api,
            files: preparation::prepare(task, options, plugin, &mut handover.mode()),
        });
        match request {
            Ok(request) => Ok(Requested { request, image, handover, membership }),
            Err(error) => {
                let LocalImage { name, id, .. } = &image;
                let text = format!("Failed to create container configuration for image {name:?} ({id:?}): {error}");
                Err(DriverError::new(text))
            }
        }
    }

    /// Whether the network of the sibling task with this container can be joined; it may be running at a later attempt.
    async fn joinable(&self, task: &TaskConfig, sibling: &str) -> Result<(), DriverError> {
        if sibling == container_name(task) {
            return Err(DriverError::new("network_mode: a task cannot join its own network"));
        }
        let running = match self.session.engine.inspect_container(sibling).await {
            Ok(inspected) => namesake::is_of_group(self.made, &inspected, task, sibling) && inspected.is_running(),
            Err(error) if error.is_not_found() => false,
            Err(error) => {
                return Err(DriverError::recoverable(format!("Failed to inspect container {sibling}: {error}")));
            }
        };
        let rejection =
            || format!("network_mode: the task to join does not run: there is no running container {sibling}");
        if running { Ok(()) } else { Err(DriverError::recoverable(rejection())) }
    }

    async fn facts(&self) -> Result<Arc<EngineFacts>, DriverError> {
        let facts = self.session.engine.facts().await;
        facts.map_err(|error| {
            let text = format!("failed to fetch docker daemon info: {error}");
            DriverError::recoverable_or_unsaid(error.is_transient(), text)
        })
    }

    /// Starts the container, with its log already watched, and inspects it once.
    async fn running(
        &self,
        created: &Created,
        config: &TaskConfig,
        options: &TaskOptions,
        request: &CreateRequest,
        image: ImageLease,
        membership: Option<Membership>,
    ) -> Result<(Known, NetworkOverride), DriverError> {
        let (engine, process) = (&self.session.engine, &self.tasks.process);
        let facts = self.facts().await?;
        let driver = request.body.host_config.as_ref().and_then(|host| host.log_config.as_ref()?.typ.as_deref());
        let subject = Subject { task: config, container: &created.id, driver: driver.unwrap_or_default() };
        let source = if created.running {
            LogSource::adopted(process, self.settings, subject, None).await
        } else {
            LogSource::new(process, self.settings, subject).await?
        };
        reached("start: log ends held");
        let logs = source.collect(engine, &facts).await?;
        reached("start: log followed");
        if !created.running {
            request.paths.look_again().map_err(|error| DriverError::new(error.to_string()))?;
            created.connect(request).await?;
            created.start(request).await?;
            reached("start: container started");
        }
        let (finder, origin) = (self.tasks.finder(self.session), Origin::Started { image, membership, logs });
        match persist(&created.id, LOOK, || within(ANSWER, finder.look(&created.id))).await {
            Ok(look) => {
                let network = container::driver_network(&look.inspected, options);
                Ok((Known::Found(Box::new(finder.found(config, &created.id, &look, origin).await)), network))
            }
            Err(error) if error.is_not_found() => {
                Err(DriverError::recoverable(format!("Failed to inspect container {}: {error}", created.id)))
            }
            // The program runs: another container would run it twice.
            Err(error) => {
                tracing::warn!(container = created.id, %error, "started, but Docker does not say how the container is");
                let network = container::driver_network(&Inspected::default(), options);
                Ok((Known::Later(Box::new(Later { finder, config: config.clone(), origin })), network))
            }
        }
    }
}
