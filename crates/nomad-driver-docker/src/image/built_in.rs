//! The pause image that is part of the driver, for where no other can be had.

use bytes::Bytes;
use futures_util::stream;
use nomad_plugin::driver::DriverError;

use super::{Images, LocalImage, before::Before, pulled_by_us};
use engine::{EngineError, ImageConfig, InspectedImage};

/// Its name; `build.rs` gives the archive the same.
pub const PAUSE_IMAGE: &str = concat!("longshore/pause:", env!("CARGO_PKG_VERSION"));

/// Its id, where the engine names images by their configuration.
const PAUSE_IMAGE_ID: &str = env!("PAUSE_IMAGE_ID");

/// The digest of its one layer, which engines take of what they unpack.
const PAUSE_IMAGE_LAYER: &str = env!("PAUSE_IMAGE_LAYER");

static ARCHIVE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/pause.tar"));

impl Images {
    /// Makes sure that the engine has the built-in pause image. It goes again as a pulled image does.
    pub async fn built_in_pause(&self) -> Result<LocalImage, DriverError> {
        let failed = |error: EngineError| {
            let text = format!("failed to load the built-in image {PAUSE_IMAGE}: {error}");
            DriverError::recoverable_or_unsaid(error.is_transient(), text)
        };
        let before = Before::look(&self.engine, &self.leases, PAUSE_IMAGE).await.map_err(failed)?;
        // Any other is of a driver that was built from something else, or of somebody who took the name.
        if let Some(found) = &before.named
            && self.is_built_in(&found.id).await.map_err(failed)?
        {
            return Ok(found.clone());
        }
        let content = stream::iter([Ok(Bytes::from_static(ARCHIVE))]);
        self.engine.load_images(PAUSE_IMAGE, content, drop).await.map_err(failed)?;
        let found = pulled_by_us(&self.engine, &self.leases, PAUSE_IMAGE, &before).await.map_err(failed)?;
        if self.is_built_in(&found.id).await.map_err(failed)? {
            return Ok(found);
        }
        let text = format!("failed to load the built-in image {PAUSE_IMAGE}: another one has its name");
        Err(DriverError::recoverable(text))
    }

    /// Whether the image of an id is what the driver was built with.
    async fn is_built_in(&self, id: &str) -> Result<bool, EngineError> {
        Ok(id == PAUSE_IMAGE_ID || is_as_built(&self.engine.inspect_image(id).await?))
    }
}

/// Whether an image, which its engine may know by the digest of a manifest, has the driver's layer and says no more than that.
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
