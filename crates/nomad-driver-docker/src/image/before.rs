//! What an engine had before a pull or a load: none of that is removed together with what the driver pulls.

use super::{LocalImage, inventory::Inventory, lease::Leases, look};
use crate::reference::ImageReference;
use engine::{Engine, EngineError};

/// The engine's images at the start of a pull or a load.
pub(super) struct Before {
    /// The image that had the name. It is leased until the pull ends, so it still exists if the pull adds nothing new.
    pub(super) named: Option<LocalImage>,
    pub(super) images: Inventory,
}

impl Before {
    /// Asks the engine, before an image of that name is pulled or loaded.
    pub(super) async fn look(engine: &Engine, leases: &Leases, image: &ImageReference) -> Result<Self, EngineError> {
        let named = match look(engine, leases, image).await {
            Ok(found) => Some(found),
            Err(error) if error.is_not_found() => None,
            Err(error) => return Err(error),
        };
        Ok(Self { named, images: Inventory::ask(engine).await? })
    }
}
