//! A container that was created and has no owner yet. Dropping it removes it.

use std::time::Duration;

use super::{Engine, insist};
use background::Cleanup;

/// How long an undo is waited for; it continues afterwards.
const UNDO: Duration = Duration::from_secs(10);

/// A container that is removed unless it is [committed](Self::commit), however long the engine is away.
pub struct Provisional {
    id: String,
    undo: Option<Undo>,
}

struct Undo {
    engine: Engine,
    cleanup: Cleanup,
    removed: Box<dyn FnOnce(&str) + Send + Sync>,
}

impl Provisional {
    /// A container that was just created, by id. `removed` is called with the id after the removal.
    pub fn new(
        engine: &Engine,
        cleanup: &Cleanup,
        id: String,
        removed: impl FnOnce(&str) + Send + Sync + 'static,
    ) -> Self {
        let undo = Undo { engine: engine.clone(), cleanup: cleanup.clone(), removed: Box::new(removed) };
        Self { id, undo: Some(undo) }
    }

    /// The container's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Hands the container to an owner: it is no longer removed on drop.
    pub fn commit(mut self) -> String {
        self.undo = None;
        std::mem::take(&mut self.id)
    }

    /// Removes it now. Waits for the removal, but no longer than 10 s: it continues by itself.
    pub async fn undo(mut self) {
        if let Some(undo) = self.undo.take() {
            let cleanup = undo.cleanup.clone();
            cleanup.run(UNDO, undo.remove(std::mem::take(&mut self.id))).await;
        }
    }
}

impl Drop for Provisional {
    fn drop(&mut self) {
        if let Some(undo) = self.undo.take() {
            let cleanup = undo.cleanup.clone();
            cleanup.spawn(undo.remove(std::mem::take(&mut self.id)));
        }
    }
}

impl Undo {
    async fn remove(self, id: String) {
        if insist("remove a container that was not started", &id, || self.engine.remove_container(&id)).await {
            (self.removed)(&id);
        }
    }
}
