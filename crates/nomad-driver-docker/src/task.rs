//! A task and its life.
//!
//! ```text
//! start:    Requested -> ImageReady -> Created -> Running -> Exited -> destroyed
//! recover:                                        Running or Exited
//! ```
//!
//! A plugin process that ends leaves the container and all that is said of it in the handle and in the engine.

pub mod exits;
pub mod signal;
pub mod state;
mod stop;
mod store;
pub mod watch_exit;

use std::{collections::BTreeMap, time::SystemTime};

use nomad_plugin::driver::{
    DriverError, ExitResult, InspectedTask, NetworkOverride, TaskConfig, TaskState as Reported, WaitResult,
};
pub use store::TaskStore;
use tokio::sync::watch;
use watch_exit::Exit;

use crate::{background::Background, engine::Engine};

/// How a task stands. Its exit watcher is the only one who writes this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// It runs.
    Running,
    /// It ended; its last logs are on their way.
    Ended(Exit),
    /// It ended, and its logs are collected.
    Exited(Exit),
}

/// A task with its container.
pub struct Task {
    /// As the host asked for it.
    pub config: TaskConfig,
    /// The container's full id.
    pub container: String,
    /// Its address, as the host was told.
    pub network: NetworkOverride,
    /// When it started.
    pub started_at: Option<SystemTime>,
    /// The engine that runs it.
    pub engine: Engine,
    /// How it stands.
    pub status: watch::Receiver<Status>,
    /// Its exit watcher.
    _watcher: Background,
}

impl Task {
    /// Waits for the end, logs included.
    pub async fn exited(&self) -> Exit {
        let mut status = self.status.clone();
        loop {
            if let Status::Exited(exit) = &*status.borrow_and_update() {
                return exit.clone();
            }
            if status.changed().await.is_err() {
                // The watcher ends without a word only when the task is destroyed under its caller.
                let error = "the task was destroyed while it was waited for".to_owned();
                let result = WaitResult { result: ExitResult::default(), error };
                return Exit { result, at: SystemTime::now() };
            }
        }
    }

    /// As hosts want to see it.
    pub async fn inspect(&self) -> Result<InspectedTask, DriverError> {
        let inspected = self.engine.inspect_container(&self.container).await;
        let state = inspected.map_err(|error| DriverError::new(error.to_string()))?.state.unwrap_or_default();
        let reported = match (state.running, state.dead) {
            (Some(true), _) => Reported::Running,
            (_, Some(true)) => Reported::Exited,
            _ => Reported::Unknown,
        };
        let exit = match &*self.status.borrow() {
            Status::Running => None,
            Status::Ended(exit) | Status::Exited(exit) => Some(exit.clone()),
        };
        Ok(InspectedTask {
            id: self.config.id.clone(),
            name: self.config.name.clone(),
            state: reported,
            started_at: state.started_at.as_deref().and_then(watch_exit::time).or(self.started_at),
            completed_at: state.finished_at.as_deref().and_then(watch_exit::time),
            result: exit.map(|exit| exit.result.result).unwrap_or_default(),
            attributes: BTreeMap::from([("container_id".to_owned(), self.container.clone())]),
            network: self.network.clone(),
        })
    }
}
