//! A task's container that was created and is not committed yet. Dropping it removes it.

use std::{pin::pin, time::Duration};

use nomad_plugin::driver::{DriverError, TaskConfig};
use tokio::time::sleep;

use super::{
    ANSWER, TaskStore,
    namesake::Namesake,
    port_holder,
    unanswered::{Left, Unanswered},
};
use crate::{checkpoint::reached, container::CreateRequest, made::Made};
use background::{Backoff, Cleanup};
use engine::{Engine, EngineError, Inspected, Provisional, persist, within};

/// How often a call is tried if the engine does not answer.
const TRANSIENT_ATTEMPTS: u32 = 5;
/// The pause before the second attempt.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// How long the engine may fail to say how a container is that may have been started.
pub(super) const LOOK: Duration = Duration::from_secs(30);
/// How long a start may be without an answer before the engine is asked how the container is, again and again.
const SILENCE: Duration = Duration::from_secs(5);

/// What is needed to create tasks' containers.
#[derive(Clone, Copy)]
pub(super) struct Creator<'a> {
    pub(super) engine: &'a Engine,
    pub(super) made: &'a Made,
    pub(super) cleanup: &'a Cleanup,
    pub(super) store: &'a TaskStore,
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
        let mut unanswered = self.unanswered(&request.name, task);
        loop {
            unanswered.begin();
            let error = match self.engine.create_container(&request.name, request.body.clone()).await {
                Ok(id) => {
                    reached("start: container created");
                    self.made.note(&id, &request.name);
                    reached("start: container recorded");
                    unanswered.settle();
                    return Ok(self.created(id, false));
                }
                Err(error) => error,
            };
            unanswered.failed(&error);
            if error.is_name_conflict() && taken < request.attempts {
                match Namesake::look(self.engine, self.made, request, task, image).await? {
                    Namesake::Running(id) => {
                        unanswered.settle();
                        return Ok(self.created(id, true));
                    }
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

    fn unanswered(&self, name: &str, task: &TaskConfig) -> Unanswered {
        let left = Left {
            engine: self.engine.clone(),
            made: self.made.clone(),
            store: self.store.clone(),
            name: name.to_owned(),
            task: task.clone(),
        };
        Unanswered::new(left, self.cleanup)
    }

    fn created(&self, id: String, running: bool) -> Created {
        let made = self.made.clone();
        let container = Provisional::new(self.engine, self.cleanup, id.clone(), move |id| made.forget(id));
        Created { id, running, engine: self.engine.clone(), container }
    }

    /// Makes room for another container of the same name.
    async fn purge(&self, id: &str) -> Result<(), DriverError> {
        persist(id, ANSWER, || self.engine.remove_container(id)).await.map_err(|error| {
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

    /// Starts it. After an attempt that may have had its effect, the engine is asked first: the program may have run, and even
    /// ended.
    pub(super) async fn start(&self, request: &CreateRequest) -> Result<(), DriverError> {
        let mut attempts = 0;
        let mut backoff = backoff();
        loop {
            let Err(error) = self.answer_to_start().await else { return Ok(()) };
            let found = if error.may_have_happened() || error.is_conflict() { Some(self.look().await) } else { None };
            let is_known = match found {
                Some(Ok(found)) if has_run(&found) => return Ok(()),
                Some(found) => found.is_ok(),
                None => true,
            };
            if !error.is_transient() || attempts == TRANSIENT_ATTEMPTS || !is_known {
                return Err(self.not_started(&error, request).await);
            }
            backoff.wait().await;
            attempts += 1;
        }
    }

    /// The answer to a start, or that of a look if the start has none although the program runs.
    async fn answer_to_start(&self) -> Result<(), EngineError> {
        let mut started = pin!(self.engine.start_container(&self.id));
        loop {
            tokio::select! {
                answer = &mut started => return answer,
                () = sleep(SILENCE) => {}
            }
            let found = within(ANSWER, self.engine.inspect_container(&self.id)).await;
            if found.is_ok_and(|found| has_run(&found)) {
                return Ok(());
            }
        }
    }

    /// How it is, as soon as the engine answers.
    async fn look(&self) -> Result<Inspected, EngineError> {
        persist(&self.id, LOOK, || within(ANSWER, self.engine.inspect_container(&self.id))).await
    }

    async fn not_started(&self, error: &EngineError, request: &CreateRequest) -> DriverError {
        let mut message = format!("Failed to start container {}: {error}", self.id);
        if error.is_port_taken()
            && let Some(hint) = port_holder::hint(&self.engine, &request.body).await
        {
            message.extend(["\n", &hint]);
        }
        // The container whose network it joins may be running later.
        DriverError::recoverable_if(error.is_transient() || error.is_conflict(), message)
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

/// Whether a container's program runs or has run.
fn has_run(found: &Inspected) -> bool {
    found.is_running() || found.started_at.is_some()
}

/// Bounded only by the number of attempts.
fn backoff() -> Backoff {
    Backoff::new(FIRST_PAUSE, Duration::MAX)
}
