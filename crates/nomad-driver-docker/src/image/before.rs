//! What an engine had before a pull or a load: none of that is removed together with what the driver pulls.

use std::sync::Arc;

use super::{LocalImage, inventory::Inventory, lease::Leases, look};
use crate::reference::ImageReference;
use engine::{Engine, EngineError};

/// The engine's images at the start of an attempt to pull or load one. Dropping this while the attempt's end is unknown makes
/// the driver look for what came of it.
pub(super) struct Before {
    /// The image that had the name. It is leased until the pull ends, so it still exists if the pull adds nothing new.
    pub(super) named: Option<LocalImage>,
    images: Arc<Inventory>,
    leases: Leases,
    name: ImageReference,
    /// The number of the attempt, while its end is unknown.
    attempt: Option<u64>,
}

impl Before {
    /// Asks the engine, before an image of that name is pulled or loaded.
    pub(super) async fn look(engine: &Engine, leases: &Leases, image: &ImageReference) -> Result<Self, EngineError> {
        let named = match look(engine, leases, image).await {
            Ok(found) => Some(found),
            Err(error) if error.is_not_found() => None,
            Err(error) => return Err(error),
        };
        let images = Arc::new(Inventory::ask(engine).await?);
        Ok(Self { named, images, leases: leases.clone(), name: image.clone(), attempt: None })
    }

    /// From now on the engine may have the image.
    pub(super) fn begin(&mut self) {
        self.attempt = Some(self.leases.begin_attempt(&self.name, &self.images));
    }

    /// The attempt has ended, and it is known how.
    pub(super) fn end(&mut self) {
        if let Some(attempt) = self.attempt.take() {
            self.leases.end_attempt(attempt);
        }
    }

    /// Records the image that was just pulled or loaded.
    pub(super) async fn pulled_by_us(&mut self, engine: &Engine) -> Result<LocalImage, EngineError> {
        let found = look(engine, &self.leases, &self.name).await?;
        self.leases.pulled_by_us(&found.id, &self.name, &self.images);
        self.end();
        Ok(found)
    }
}

impl Drop for Before {
    fn drop(&mut self) {
        if let Some(attempt) = self.attempt.take() {
            self.leases.leave_attempt(attempt);
        }
    }
}
