//! Stops a task: gracefully first, and by force after a timeout. Also signals and removes it.

use std::{sync::atomic::Ordering, time::Duration};

use nomad_plugin::driver::{DriverError, Force, Signal, UnknownSignal};

use super::{Status, Task};
use crate::config::GarbageCollection;
use engine::{EngineError, persist};

/// How long the kill may take, and the exit after it.
const PATIENCE: Duration = Duration::from_secs(60);

impl Task {
    /// Sends `signal` (empty: the image's stop signal) and, `timeout` later, SIGKILL. 0 kills at once.
    pub async fn stop(&self, timeout: Duration, signal: &str) -> Result<(), DriverError> {
        let signal = if signal.is_empty() { None } else { Some(parse(signal)?) };
        self.ending.store(true, Ordering::Relaxed);
        let stopped = match (signal, timeout) {
            (_, Duration::ZERO) => persist(&self.container, PATIENCE, || self.signal_container("SIGKILL")).await,
            (None, grace) => {
                // The engine counts whole seconds; a kill may be late, but never early.
                let grace = Duration::from_secs(grace.as_secs() + u64::from(grace.subsec_nanos() > 0));
                let patience = grace.saturating_add(PATIENCE);
                persist(&self.container, patience, || self.engine.stop_container(&self.container, grace)).await
            }
            (Some(signal), grace) => {
                let signal = signal.to_string();
                persist(&self.container, PATIENCE, || self.signal_container(&signal)).await.map_err(|error| {
                    let container = &self.container;
                    DriverError::new(format!("Failed to signal container {container:?} while killing: {error}"))
                })?;
                if tokio::time::timeout(grace, self.ended()).await.is_ok() {
                    return Ok(());
                }
                persist(&self.container, PATIENCE, || self.signal_container("SIGKILL")).await
            }
        };
        stopped.map_err(|error| DriverError::new(format!("Failed to stop container {}: {error}", self.container)))?;
        match tokio::time::timeout(PATIENCE, self.ended()).await {
            Ok(()) => Ok(()),
            Err(_) => Err(DriverError::new(format!(
                "container {} still runs {} s after it was killed",
                self.container,
                PATIENCE.as_secs()
            ))),
        }
    }

    /// Sends a signal.
    pub async fn signal(&self, signal: &str) -> Result<(), DriverError> {
        let signal = parse(signal)?.to_string();
        let sent = self.engine.kill_container(&self.container, &signal).await;
        sent.map_err(|error| DriverError::new(error.to_string()))
    }

    /// Removes the container, if the operator enables that; a running one is only stopped by force.
    pub async fn destroy(&self, force: Force, gc: &GarbageCollection) -> Result<(), DriverError> {
        let running = match self.engine.inspect_container(&self.container).await {
            Ok(inspected) => inspected.is_running(),
            Err(error) if error.is_not_found() => false,
            Err(error) => return Err(DriverError::new(format!("failed to inspect container state: {error}"))),
        };
        if running && force == Force::No {
            let rejection = "must call StopTask for the given task before Destroy or set force to true";
            return Err(DriverError::new(rejection));
        }
        self.ending.store(true, Ordering::Relaxed);
        if running && let Err(error) = self.signal_container("SIGKILL").await {
            tracing::warn!(container = self.container, %error, "failed to kill the container before its removal");
        }
        if gc.container
            && let Err(error) = self.engine.remove_container(&self.container).await
        {
            tracing::error!(container = self.container, %error, "failed to remove the container");
        }
        // The host is about to remove the directories that are mounted there.
        if let Some(stage) = &self.stage {
            stage.remove();
        }
        Ok(())
    }

    /// Waits until the watcher has seen the exit, but not for the logs.
    async fn ended(&self) {
        let mut status = self.status.clone();
        let _destroyed_is_the_end_too = status.wait_for(|status| *status != Status::Running).await;
    }

    /// Signalling a container that has already exited is no error.
    async fn signal_container(&self, signal: &str) -> Result<(), EngineError> {
        match self.engine.kill_container(&self.container, signal).await {
            Err(error) if error.is_not_found() || error.is_conflict() => Ok(()),
            other => other,
        }
    }
}

fn parse(signal: &str) -> Result<Signal, DriverError> {
    signal.parse().map_err(|error: UnknownSignal| DriverError::new(error.to_string()))
}
