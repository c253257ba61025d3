//! Stops a task: gracefully first, and by force after a timeout. Also signals it.

use std::{sync::atomic::Ordering, time::Duration};

use nomad_plugin::driver::{DriverError, Signal, UnknownSignal};

use super::{Status, Task, destroy::kill};
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

    /// Waits until the watcher has seen the exit, but not for the logs.
    async fn ended(&self) {
        let mut status = self.status.clone();
        let _destroyed_is_the_end_too = status.wait_for(|status| *status != Status::Running).await;
    }

    /// Signalling a container that has already exited is no error.
    async fn signal_container(&self, signal: &str) -> Result<(), EngineError> {
        kill(&self.engine, &self.container, signal).await
    }
}

fn parse(signal: &str) -> Result<Signal, DriverError> {
    signal.parse().map_err(|error: UnknownSignal| DriverError::new(error.to_string()))
}
