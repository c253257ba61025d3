//! A task and its lifecycle.
//!
//! ```text
//! start:    Requested -> ImageReady -> Created -> Running -> Exited -> destroyed
//! recover:                                        Running or Exited
//! ```
//!
//! The container survives the plugin process; everything known of it is in the handle and in the engine.

mod builtin_docklog;
mod connections;
mod created;
mod destroy;
pub(crate) mod exit;
mod handover;
mod left_over;
mod log_source;
mod lost_files;
mod namesake;
mod neighbours;
mod port_holder;
mod recover;
mod start;
pub(crate) mod state;
mod stop;
mod store;
mod unanswered;
mod watch_exit;

use std::{
    collections::BTreeMap,
    panic::AssertUnwindSafe,
    sync::{Arc, atomic::AtomicBool},
    time::{Duration, SystemTime},
};

use connections::Connections;
use exit::Exit;
use futures_util::{FutureExt, StreamExt, stream};
use nomad_plugin::driver::{
    BoxStream, DriverError, ExitResult, InspectedTask, NetworkOverride, TaskConfig, TaskState as Reported, TaskUsage,
    WaitResult,
};
use stop::ANSWER;
pub(crate) use store::TaskStore;
use tokio::sync::watch;

use crate::{
    events::EventSubject,
    image::ImageLease,
    machine::Machine,
    network::Membership,
    preparation::stage::Staged,
    process::Process,
    session::Session,
    settings::CurrentSettings,
    stats::{self, Sampler},
};
use background::Background;
use engine::{ContainerState, Engine, Inspected, Waker, WatchHandle, persist};
use logs::LogTask;

/// The tasks of this process. Clones share them.
#[derive(Clone)]
pub(crate) struct Tasks {
    /// The known tasks.
    pub store: TaskStore,
    /// The operator's settings.
    pub settings: CurrentSettings,
    /// The process's state.
    pub process: Process,
}

/// The status of a task. Only its exit watcher writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// It is running.
    Running,
    /// It exited; its last logs are being collected.
    Ended(Exit),
    /// It exited, and its logs are collected.
    Exited(Exit),
}

/// A container that was started for a task.
struct Container {
    id: String,
    network: NetworkOverride,
    networks: Connections,
    started_at: Option<SystemTime>,
    pid: Option<i64>,
    stop_signal: String,
    image: Option<ImageLease>,
    stage: Option<Staged>,
    membership: Option<Membership>,
}

/// A task with its container.
pub struct Task {
    /// The host's configuration of it.
    pub config: TaskConfig,
    /// The container's full id.
    pub container: String,
    /// Its address, as reported to the host.
    pub network: NetworkOverride,
    /// When it started.
    pub started_at: Option<SystemTime>,
    /// Its first process, on the engine's host.
    pid: Option<i64>,
    /// The signal that asks it to exit; empty is the engine's default.
    stop_signal: String,
    /// The machine's processors.
    machine: Machine,
    /// The engine that runs it.
    pub engine: Engine,
    /// Its status.
    pub status: watch::Receiver<Status>,
    /// The lease of its image.
    pub image: Option<ImageLease>,
    /// The stage of its mounts.
    stage: Option<Staged>,
    /// Whether this driver is ending it: then a kill is the driver's own.
    ending: Arc<AtomicBool>,
    /// Makes the watcher ask the engine.
    waker: Waker,
    /// Its exit watcher.
    _watcher: Background,
}

impl Task {
    /// A task whose container was started, watched from now on. `ended` is set if it has already exited.
    fn watched(
        tasks: &Tasks,
        session: &Session,
        config: TaskConfig,
        container: Container,
        handle: WatchHandle,
        logs: Option<LogTask>,
        ended: Option<Exit>,
    ) -> Arc<Self> {
        let (writer, status) = watch::channel(Status::Running);
        let ending = Arc::<AtomicBool>::default();
        let Container { id, network, networks, started_at, pid, stop_signal, image, stage, membership } = container;
        let waker = handle.waker();
        let Process { events, cpusets, .. } = &tasks.process;
        let follower =
            pid.filter(|_| session.engine.is_local()).and_then(|process| cpusets.follow(&config, &id, process));
        if let Some(limitation) = cpusets.limitation(&config) {
            tracing::warn!("{limitation}");
            events.emit(&EventSubject::from(&config), limitation, BTreeMap::new());
        }
        let watching = {
            let (engine, events, id) = (session.engine.clone(), events.clone(), id.clone());
            let (subject, ending) = (EventSubject::from(&config), ending.clone());
            async move {
                let report = |message: &str| events.emit(&subject, message, BTreeMap::new());
                let exit = match ended {
                    Some(exit) => exit,
                    None => watch_exit::watch(&engine, &id, &handle, &networks, &ending, report).await,
                };
                // Nothing more is reported about it.
                drop((handle, follower, membership));
                writer.send_replace(Status::Ended(exit.clone()));
                if let Some(logs) = logs {
                    // The exit is reported whatever happens to the log.
                    if let Ok(summary) = AssertUnwindSafe(logs.finish()).catch_unwind().await {
                        tracing::debug!(container = id, ?summary, "collected the whole log");
                    } else {
                        tracing::error!(container = id, "the end of the log panicked; the rest of it is lost");
                    }
                }
                writer.send_replace(Status::Exited(exit));
            }
        };
        Arc::new(Self {
            config,
            container: id,
            network,
            started_at,
            pid,
            stop_signal,
            machine: tasks.settings.now().machine,
            engine: session.engine.clone(),
            status,
            image,
            stage,
            ending,
            waker,
            _watcher: Background::spawn(watching),
        })
    }

    /// Waits for the exit, logs included.
    pub async fn exited(&self) -> Exit {
        let mut status = self.status.clone();
        loop {
            if let Status::Exited(exit) = &*status.borrow_and_update() {
                return exit.clone();
            }
            if status.changed().await.is_err() {
                // The watcher ends without a status only if the task is destroyed while it is waited for.
                let error = "the task was destroyed while it was waited for".to_owned();
                let result = WaitResult { result: ExitResult::default(), error };
                return Exit { result, at: SystemTime::now() };
            }
        }
    }

    /// The task in the form that hosts expect.
    pub async fn inspect(&self) -> Result<InspectedTask, DriverError> {
        let inspect = || self.engine.inspect_container(&self.container);
        let inspected = match persist(&self.container, ANSWER, inspect).await {
            Ok(inspected) => inspected,
            // Removed by somebody else: it is not running, which is the answer.
            Err(error) if error.is_not_found() => Inspected::default(),
            Err(error) => return Err(DriverError::new(error.to_string())),
        };
        let reported = match inspected.state {
            ContainerState::Running { .. } | ContainerState::Restarting => Reported::Running,
            ContainerState::Dead(_) => Reported::Exited,
            ContainerState::Unknown | ContainerState::Created | ContainerState::Exited(_) => Reported::Unknown,
        };
        let exit = match &*self.status.borrow() {
            Status::Running => None,
            Status::Ended(exit) | Status::Exited(exit) => Some(exit.clone()),
        };
        Ok(InspectedTask {
            id: self.config.id.clone(),
            name: self.config.name.clone(),
            state: reported,
            started_at: inspected.started_at.or(self.started_at),
            completed_at: inspected.finished_at,
            result: exit.map(|exit| exit.result.result).unwrap_or_default(),
            attributes: BTreeMap::from([("container_id".to_owned(), self.container.clone())]),
            network: self.network.clone(),
        })
    }

    /// Its resource usage, one sample per interval, until it exits. A task that has exited has no samples, which is no error:
    /// hosts query tasks whose exit they have not seen yet.
    pub fn stats(&self, interval: Duration) -> Result<BoxStream<Result<TaskUsage, DriverError>>, DriverError> {
        if *self.status.borrow() != Status::Running {
            return Ok(stream::empty().boxed());
        }
        if !self.engine.is_local() {
            return Err(DriverError::fatal("statistics of a remote engine's tasks are not supported yet"));
        }
        let sampler = Sampler::open(&self.container, self.pid.unwrap_or_default(), self.machine);
        let sampler = sampler.map_err(|error| {
            DriverError::recoverable(format!("failed to read the container's control group: {error}"))
        })?;
        let Some(sampler) = sampler else { return Ok(stream::empty().boxed()) };
        let mut status = self.status.clone();
        let ended = async move {
            let _destroyed_is_the_end_too = status.wait_for(|status| *status != Status::Running).await;
        };
        Ok(stats::stream(sampler, interval, ended))
    }
}
