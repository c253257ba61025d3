//! A container that was made and is nobody's yet. Leaving it removes it.

use crate::{background::Finishing, engine::Engine, task::Surroundings};

/// A container that is removed unless it is kept.
pub struct HalfMade {
    id: String,
    undo: Option<(Engine, Finishing)>,
}

impl HalfMade {
    /// A container that was just made, by its id.
    pub fn new(around: &Surroundings, id: String) -> Self {
        Self { id, undo: Some((around.engine.clone(), around.finishing.clone())) }
    }

    /// It has become somebody's.
    pub fn keep(mut self) -> String {
        self.undo = None;
        std::mem::take(&mut self.id)
    }

    /// Removes it now, and waits for that.
    pub async fn undo(mut self) {
        if let Some((engine, _)) = self.undo.take() {
            remove(&engine, &self.id).await;
        }
    }
}

impl Drop for HalfMade {
    fn drop(&mut self) {
        if let Some((engine, finishing)) = self.undo.take() {
            let id = std::mem::take(&mut self.id);
            finishing.spawn(async move { remove(&engine, &id).await });
        }
    }
}

async fn remove(engine: &Engine, id: &str) {
    if let Err(error) = engine.remove_container(id).await {
        tracing::error!(container = id, %error, "failed to remove a container that was not started");
    }
}
