//! The pause image that is part of the driver, for where no other can be had.

use bytes::Bytes;
use futures_util::stream;
use nomad_plugin::driver::DriverError;

use super::{Images, LocalImage, before::Before, brought};
use crate::engine::EngineError;

/// Its name; `build.rs` gives the archive the same.
pub const PAUSE_IMAGE: &str = concat!("longshore/pause:", env!("CARGO_PKG_VERSION"));

/// Its id, where the engine names images by their configuration.
const PAUSE_IMAGE_ID: &str = env!("PAUSE_IMAGE_ID");

static ARCHIVE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/pause.tar"));

impl Images {
    /// Makes sure that the engine has the built-in pause image. It goes again as a pulled image does.
    pub async fn built_in_pause(&self) -> Result<LocalImage, DriverError> {
        let failed = |error: EngineError| {
            let text = format!("failed to load the built-in image {PAUSE_IMAGE}: {error}");
            DriverError::recoverable_or_unsaid(error.is_transient(), text)
        };
        let before = Before::look(&self.engine, &self.leases, PAUSE_IMAGE).await.map_err(failed)?;
        // Any other is of a driver that was built from something else.
        if let Some(found) = before.named.as_ref().filter(|found| found.id == PAUSE_IMAGE_ID) {
            return Ok(found.clone());
        }
        let content = stream::iter([Ok(Bytes::from_static(ARCHIVE))]);
        self.engine.load_images(PAUSE_IMAGE, content, drop).await.map_err(failed)?;
        brought(&self.engine, &self.leases, PAUSE_IMAGE, &before).await.map_err(failed)
    }
}
