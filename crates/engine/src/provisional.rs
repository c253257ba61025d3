//! A container that was created and is nobody's yet. Dropping it removes it.

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
    /// A container that was just created, by its id. `removed` is called with it once it is removed.
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

    /// It has become somebody's.
    pub fn commit(mut self) -> String {
        self.undo = None;
        std::mem::take(&mut self.id)
    }

    /// Removes it now, and waits for that.
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
