//! A container that was created and has no owner yet. Dropping it removes it.

use super::Engine;
use background::Cleanup;

/// A container that is removed unless it is [committed](Self::commit).
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

    /// Removes it now and waits for the removal.
    pub async fn undo(mut self) {
        if let Some(undo) = self.undo.take() {
            undo.remove(&self.id).await;
        }
    }
}

impl Drop for Provisional {
    fn drop(&mut self) {
        if let Some(undo) = self.undo.take() {
            let id = std::mem::take(&mut self.id);
            let cleanup = undo.cleanup.clone();
            cleanup.spawn(async move { undo.remove(&id).await });
        }
    }
}

impl Undo {
    async fn remove(self, id: &str) {
        match self.engine.remove_container(id).await {
            Ok(()) => (self.removed)(id),
            Err(error) => tracing::error!(container = id, %error, "failed to remove a container that was not started"),
        }
    }
}
