//! A container that was made and is nobody's yet. Leaving it removes it.

use crate::{background::Finishing, engine::Engine, made::Made, task::Surroundings};

/// A container that is removed unless it is kept.
pub struct HalfMade {
    id: String,
    undo: Option<(Engine, Made, Finishing)>,
}

impl HalfMade {
    /// A container that was just made, by its id.
    pub fn new(around: &Surroundings, id: String) -> Self {
        let made = Made::new(&around.plugin.state_dir);
        Self { id, undo: Some((around.engine.clone(), made, around.finishing.clone())) }
    }

    /// It has become somebody's.
    pub fn keep(mut self) -> String {
        self.undo = None;
        std::mem::take(&mut self.id)
    }

    /// Removes it now, and waits for that.
    pub async fn undo(mut self) {
        if let Some((engine, made, _)) = self.undo.take() {
            remove(&engine, &made, &self.id).await;
        }
    }
}

impl Drop for HalfMade {
    fn drop(&mut self) {
        if let Some((engine, made, finishing)) = self.undo.take() {
            let id = std::mem::take(&mut self.id);
            finishing.spawn(async move { remove(&engine, &made, &id).await });
        }
    }
}

async fn remove(engine: &Engine, made: &Made, id: &str) {
    match engine.remove_container(id).await {
        Ok(()) => made.forget(id),
        Err(error) => tracing::error!(container = id, %error, "failed to remove a container that was not started"),
    }
}
