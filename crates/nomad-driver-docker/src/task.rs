//! A task and its lifecycle.
//!
//! ```text
//! start:    Requested -> ImageReady -> Created -> Running -> Exited -> destroyed
//! recover:                                        Running or Exited, or not known until the engine answers
//! ```
//!
//! The container survives the plugin process; everything known of it is in the handle and in the engine.

mod builtin_docklog;
mod connections;
mod created;
mod destroy;
pub(crate) mod exit;
mod found;
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
mod watched;

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock, atomic::AtomicBool},
    time::{Duration, SystemTime},
};

use exit::Exit;
use found::Details;
use futures_util::{StreamExt, stream};
use nomad_plugin::driver::{
    BoxStream, DriverError, ExitResult, InspectedTask, NetworkOverride, TaskConfig, TaskState as Reported, TaskUsage,
    WaitResult,
};
pub(crate) use store::TaskStore;
use tokio::sync::watch;

use crate::{
    image::ImageLease,
    machine::Machine,
    process::Process,
    settings::CurrentSettings,
    stats::{self, Sampler},
};
use background::Background;
use engine::{ContainerState, Engine, Inspected, Waker, persist};

/// How long an inspect of a task may take: less than those that ask for it wait.
const INSPECT: Duration = Duration::from_secs(3);

/// How long one answer of the engine may take that has no deadline of its caller's.
const ANSWER: Duration = Duration::from_secs(10);

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

/// A task with its container.
pub struct Task {
    /// The host's configuration of it.
    pub config: TaskConfig,
    /// The container's full id.
    pub container: String,
    /// Its address, as reported to the host.
    pub network: NetworkOverride,
    /// What the engine says of it, once it has been asked.
    details: Arc<OnceLock<Details>>,
    /// The machine's processors.
    machine: Machine,
    /// The engine that runs it.
    pub engine: Engine,
    /// Its status.
    pub status: watch::Receiver<Status>,
    /// Whether this driver is ending it: then a kill is the driver's own.
    ending: Arc<AtomicBool>,
    /// Makes the watcher ask the engine.
    waker: Waker,
    /// Its exit watcher.
    _watcher: Background,
}

impl Task {
    /// The lease of its image; `None` if it has none, or the engine has not said yet which it is.
    pub fn image(&self) -> Option<&ImageLease> {
        self.details.get()?.image.as_ref()
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
        let inspected = match persist(&self.container, INSPECT, inspect).await {
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
            started_at: inspected.started_at.or(self.details.get().and_then(|details| details.started_at)),
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
        let Some(details) = self.details.get() else {
            return Err(DriverError::recoverable("Docker has not answered for the task's container yet"));
        };
        let sampler = Sampler::open(&self.container, details.pid.unwrap_or_default(), self.machine);
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
