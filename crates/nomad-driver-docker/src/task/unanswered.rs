//! Creations of a container of which nobody knows whether they had their effect.
//!
//! ```text
//! begun -> answered or rejected
//!       -> no answer, or given up -> what is there by the name is removed, unless it is somebody's
//! ```

use std::time::Duration;

use nomad_plugin::driver::TaskConfig;
use tokio::time::sleep;

use super::{TaskStore, namesake};
use crate::made::Made;
use background::Cleanup;
use engine::{Engine, EngineError, insist};

/// The pause between two looks at a container that a start in progress may have created.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// The creations of one task's container. If one of them is without an answer in the end, dropping this removes its container.
pub(super) struct Unanswered {
    /// Whether one of them may have created a container that nobody knows.
    is_open: bool,
    /// Whether one is in progress.
    is_begun: bool,
    left: Option<Left>,
    cleanup: Cleanup,
}

/// A container that may be there.
pub(super) struct Left {
    pub(super) engine: Engine,
    pub(super) made: Made,
    pub(super) store: TaskStore,
    pub(super) name: String,
    pub(super) task: TaskConfig,
}

impl Unanswered {
    pub(super) fn new(left: Left, cleanup: &Cleanup) -> Self {
        Self { is_open: false, is_begun: false, left: Some(left), cleanup: cleanup.clone() }
    }

    /// A creation begins.
    pub(super) fn begin(&mut self) {
        self.is_begun = true;
    }

    /// It has failed.
    pub(super) fn failed(&mut self, error: &EngineError) {
        self.is_begun = false;
        self.is_open |= error.may_have_happened();
    }

    /// The container that has the name is known: that of an answered creation, or one that was adopted.
    pub(super) fn settle(&mut self) {
        (self.is_begun, self.is_open) = (false, false);
    }
}

impl Drop for Unanswered {
    fn drop(&mut self) {
        if (self.is_begun || self.is_open)
            && let Some(left) = self.left.take()
        {
            self.cleanup.spawn(async move {
                insist("remove a container that was not started", &left.name, || left.remove()).await;
            });
        }
    }
}

impl Left {
    /// Removes the container that has the name if it is the task's, was never started, and no start knows it.
    async fn remove(&self) -> Result<(), EngineError> {
        loop {
            let found = match self.engine.inspect_container(&self.name).await {
                Err(error) if error.is_not_found() => return Ok(()),
                found => found?,
            };
            let is_left = namesake::is_of(&found, &self.task)
                && !found.is_running()
                && found.started_at.is_none()
                && !self.made.has(&found.id, &self.name);
            if !is_left {
                return Ok(());
            }
            // A start in progress may have just created it. The start that this container is left of may also still be here.
            if !self.store.has_runs_of(&self.task) {
                return self.engine.remove_container(&found.id).await;
            }
            sleep(ASK_AGAIN).await;
        }
    }
}
