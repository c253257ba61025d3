//! The built-in pause image, used if no other can be had.

use std::sync::LazyLock;

use bytes::Bytes;
use futures_util::stream;
use nomad_plugin::driver::DriverError;

use super::{Images, LocalImage, before::Before};
use crate::reference::ImageReference;
use engine::{EngineError, ImageConfig, InspectedImage};

/// Its name; `build.rs` gives it to the archive as well.
pub const PAUSE_IMAGE: &str = concat!("longshore/pause:", env!("CARGO_PKG_VERSION"));

/// Its name, parsed.
pub(super) static PAUSE: LazyLock<ImageReference> =
    LazyLock::new(|| ImageReference::parse(PAUSE_IMAGE).unwrap_or_default());

/// Its id, if the engine identifies images by their configuration.
const PAUSE_IMAGE_ID: &str = env!("PAUSE_IMAGE_ID");

/// The digest of its single layer, which engines compute from what they unpack.
const PAUSE_IMAGE_LAYER: &str = env!("PAUSE_IMAGE_LAYER");

static ARCHIVE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/pause.tar"));

impl Images {
    /// Ensures that the engine has the built-in pause image. It is removed like a pulled image.
    pub async fn built_in_pause(&self) -> Result<LocalImage, DriverError> {
        let failed = |error: EngineError| {
            let text = format!("failed to load the built-in image {PAUSE_IMAGE}: {error}");
            DriverError::recoverable_or_unsaid(error.is_transient() || error.may_have_happened(), text)
        };
        let mut before = Before::look(&self.engine, &self.leases, &PAUSE).await.map_err(failed)?;
        // Any other image is from a different build of the driver, or somebody took the name.
        if let Some(found) = &before.named
            && self.is_built_in(&found.id).await.map_err(failed)?
        {
            return Ok(found.clone());
        }
        before.begin();
        let content = stream::iter([Ok(Bytes::from_static(ARCHIVE))]);
        self.engine.load_images(PAUSE_IMAGE, content, drop).await.map_err(failed)?;
        let found = before.pulled_by_us(&self.engine).await.map_err(failed)?;
        if self.is_built_in(&found.id).await.map_err(failed)? {
            return Ok(found);
        }
        let text = format!("failed to load the built-in image {PAUSE_IMAGE}: another one has its name");
        Err(DriverError::recoverable(text))
    }

    /// Whether the image with this id is the built-in one.
    async fn is_built_in(&self, id: &str) -> Result<bool, EngineError> {
        Ok(id == PAUSE_IMAGE_ID || is_as_built(&self.engine.inspect_image(id).await?))
    }
}

/// Whether an image, which its engine may identify by a manifest's digest, has the driver's layer and no other settings.
fn is_as_built(image: &InspectedImage) -> bool {
    let config = ImageConfig { entrypoint: vec!["/pause".to_owned()], ..ImageConfig::default() };
    image.layers == [PAUSE_IMAGE_LAYER] && image.config == Some(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_image_is_known_by_its_layer_and_by_all_that_it_says() {
        let texts = |text: &str| vec![text.to_owned()];
        let config = ImageConfig { entrypoint: texts("/pause"), ..ImageConfig::default() };
        let image = |layer: &str, config: &ImageConfig| InspectedImage {
            layers: texts(layer),
            config: Some(config.clone()),
            ..InspectedImage::default()
        };

        assert!(is_as_built(&image(PAUSE_IMAGE_LAYER, &config)));
        assert!(!is_as_built(&image("sha256:other", &config)) && !is_as_built(&InspectedImage::default()));
        for other in [
            ImageConfig { entrypoint: texts("/other"), ..config.clone() },
            ImageConfig { env: texts("LD_PRELOAD=/x"), ..config.clone() },
            ImageConfig { user: "1".to_owned(), ..config.clone() },
            ImageConfig { has_healthcheck: true, ..config.clone() },
        ] {
            assert!(!is_as_built(&image(PAUSE_IMAGE_LAYER, &other)), "{other:?}");
        }
    }
}
