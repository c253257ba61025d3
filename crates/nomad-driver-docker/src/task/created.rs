//! A task's container that was created and is not committed yet. Dropping it removes it.

use std::time::Duration;

use nomad_plugin::driver::{DriverError, TaskConfig};

use super::{namesake::Namesake, port_holder};
use crate::{container::CreateRequest, made::Made};
use background::{Backoff, Cleanup};
use engine::{Engine, Provisional};

/// How often a call is tried if the engine does not answer.
const TRANSIENT_ATTEMPTS: u32 = 5;
/// The pause before the second attempt.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// What is needed to create tasks' containers.
#[derive(Clone, Copy)]
pub(super) struct Creator<'a> {
    pub(super) engine: &'a Engine,
    pub(super) made: &'a Made,
    pub(super) cleanup: &'a Cleanup,
}

/// A task's container that is removed unless it is committed.
pub(super) struct Created {
    pub(super) id: String,
    /// Whether it is already running: an earlier attempt, or an earlier process of ours, started it.
    pub(super) running: bool,
    engine: Engine,
    container: Provisional,
}

impl Creator<'_> {
    /// Creates a task's container; `image` is the id of its image. A container that an earlier run of the task left under the
    /// name is adopted if it is running, and otherwise removed first. If the name belongs to [somebody
    /// else's](Namesake::Strange) container, that is not touched.
    pub(super) async fn create(
        &self,
        request: &CreateRequest,
        task: &TaskConfig,
        image: &str,
    ) -> Result<Created, DriverError> {
        let (mut taken, mut transient) = (0, 0);
        let (mut until_free, mut until_answered) = (backoff(), backoff());
        loop {
            let error = match self.engine.create_container(&request.name, request.body.clone()).await {
                Ok(id) => {
                    self.made.note(&id, &request.name);
                    return Ok(self.created(id, false));
                }
                Err(error) => error,
            };
            if error.is_name_conflict() && taken < request.attempts {
                match Namesake::look(self.engine, self.made, request, task, image).await? {
                    Namesake::Running(id) => return Ok(self.created(id, true)),
                    Namesake::Left(id) => self.purge(&id).await?,
                    Namesake::Strange | Namesake::Removed => {}
                }
                until_free.wait().await;
                taken += 1;
            } else if error.is_transient() && transient < TRANSIENT_ATTEMPTS {
                until_answered.wait().await;
                transient += 1;
            } else {
                let recoverable = error.is_transient() || error.is_not_found() || error.is_duplicate_mount();
                return Err(DriverError::recoverable_if(recoverable, format!("failed to create container: {error}")));
            }
        }
    }

    fn created(&self, id: String, running: bool) -> Created {
        let made = self.made.clone();
        let container = Provisional::new(self.engine, self.cleanup, id.clone(), move |id| made.forget(id));
        Created { id, running, engine: self.engine.clone(), container }
    }

    /// Makes room for another container of the same name.
    async fn purge(&self, id: &str) -> Result<(), DriverError> {
        self.engine.remove_container(id).await.map_err(|error| {
            DriverError::recoverable_if(error.is_transient(), format!("Failed to purge container {id}: {error}"))
        })?;
        self.made.forget(id);
        Ok(())
    }
}

impl Created {
    /// Connects it to the networks that it was not created with.
    pub(super) async fn connect(&self, request: &CreateRequest) -> Result<(), DriverError> {
        for (network, endpoint) in &request.networks {
            let connected = self.engine.connect_network(network, &self.id, endpoint.clone()).await;
            connected.map_err(|error| {
                let message = format!("Failed to connect container {} to network {network:?}: {error}", self.id);
                DriverError::recoverable_if(error.is_transient(), message)
            })?;
        }
        Ok(())
    }

    /// Starts it.
    pub(super) async fn start(&self, request: &CreateRequest) -> Result<(), DriverError> {
        let mut attempts = 0;
        let mut backoff = backoff();
        loop {
            match self.engine.start_container(&self.id).await {
                Ok(()) => return Ok(()),
                Err(error) if error.is_conflict() && self.is_running().await => return Ok(()),
                Err(error) if error.is_transient() && attempts < TRANSIENT_ATTEMPTS => {
                    backoff.wait().await;
                    attempts += 1;
                }
                Err(error) => {
                    let mut message = format!("Failed to start container {}: {error}", self.id);
                    if error.is_port_taken()
                        && let Some(hint) = port_holder::hint(&self.engine, &request.body).await
                    {
                        message.extend(["\n", &hint]);
                    }
                    // The container whose network it joins may be running later.
                    let recoverable = error.is_transient() || error.is_conflict();
                    return Err(DriverError::recoverable_if(recoverable, message));
                }
            }
        }
    }

    async fn is_running(&self) -> bool {
        let inspected = self.engine.inspect_container(&self.id).await;
        inspected.is_ok_and(|inspected| inspected.is_running())
    }

    /// Hands the container over to a task: it is no longer removed on drop.
    pub(super) fn commit(self) -> String {
        self.container.commit()
    }

    /// Removes it now and waits for the removal.
    pub(super) async fn undo(self) {
        self.container.undo().await;
    }
}

/// Bounded only by the number of attempts.
fn backoff() -> Backoff {
    Backoff::new(FIRST_PAUSE, Duration::MAX)
}
