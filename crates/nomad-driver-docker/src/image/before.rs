//! What an engine had before a pull or a load: none of that is removed with what the driver brings.

use super::{LocalImage, inventory::Inventory, lease::Leases, look};
use engine::{Engine, EngineError};

/// What an engine had when a pull or a load began.
pub(super) struct Before {
    /// What the name stood for. Held until the pull is over, it is still there when that has nothing new.
    pub(super) named: Option<LocalImage>,
    pub(super) images: Inventory,
}

impl Before {
    /// Asks the engine, before it pulls or loads an image of that name.
    pub(super) async fn look(engine: &Engine, leases: &Leases, image: &str) -> Result<Self, EngineError> {
        let named = match look(engine, leases, image).await {
            Ok(found) => Some(found),
            Err(error) if error.is_not_found() => None,
            Err(error) => return Err(error),
        };
        Ok(Self { named, images: Inventory::ask(engine).await? })
    }
}
