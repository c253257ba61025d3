//! The image of pause containers: the operator's, or else the built-in one.

use nomad_plugin::driver::{DriverError, Recoverability};

use crate::{
    image::{Freshness, ImageLease, ImageRequest, Images, LocalImage, PAUSE_IMAGE},
    made::Made,
    reference,
    settings::Settings,
};
use engine::Inspected;

/// An image for one pause container, present in the engine.
pub(super) struct PauseImage {
    /// The id from which the container is created: a name may refer to another image a moment later.
    pub(super) id: String,
    /// Its lease.
    pub(super) lease: ImageLease,
    /// Why it is not the operator's, for tasks' owners.
    pub(super) notice: Option<String>,
}

impl PauseImage {
    /// Ensures that the engine has one. An invalid name is a configuration error.
    pub(super) async fn ensure(images: &Images, settings: &Settings) -> Result<Self, DriverError> {
        let wanted = operators(images, settings).await;
        let error = match wanted {
            Ok(image) => return Ok(Self::from(image)),
            Err(error) => error,
        };
        let failed = format!(
            "unable to pull infra docker image {:?}: {error}",
            reference::written(&settings.plugin.infra_image)
        );
        if error.recoverability != Recoverability::Recoverable {
            return Err(DriverError::new(failed));
        }
        match Self::built_in(images).await {
            Ok(image) => {
                let notice = format!("The network uses the built-in image {PAUSE_IMAGE}: {failed}");
                tracing::warn!("{notice}");
                Ok(Self { notice: Some(notice), ..image })
            }
            Err(error) => Err(DriverError { message: format!("{failed}; {error}"), ..error }),
        }
    }

    /// The image of a pause container that an earlier process started; `None` if it is being removed.
    pub(super) async fn of(images: &Images, found: &Inspected) -> Option<Self> {
        // Pause containers are created from an id, except by earlier versions.
        let of = &found.image_name;
        let id = if of.starts_with("sha256:") { of } else { &found.image };
        let lease = images.lease(id, of).await?;
        Some(Self { id: lease.id().to_owned(), lease, notice: None })
    }

    /// The built-in image.
    pub(super) async fn built_in(images: &Images) -> Result<Self, DriverError> {
        images.built_in_pause().await.map(Self::from)
    }
}

impl From<LocalImage> for PauseImage {
    fn from(image: LocalImage) -> Self {
        Self { id: image.id, lease: image.lease, notice: None }
    }
}

/// The operator's image. No job can provide an image under its name. If a job did so under an earlier version, or before the
/// operator chose the name, the image is pulled again.
async fn operators(images: &Images, settings: &Settings) -> Result<LocalImage, DriverError> {
    let request =
        ImageRequest::of_pause_container(&settings.plugin).map_err(|error| DriverError::new(error.to_string()))?;
    let name = request.image.written();
    let pulled = Made::pause_images(settings.state_dir());
    let mut image = images.ensure(&request).await?;
    let is_noted = pulled.has(&image.id, name);
    let is_new = image.downloaded.is_some();
    if !is_noted && !is_new && images.has_pulled(&image.id, &request.image) {
        let again = ImageRequest { freshness: Freshness::Pulled, ..request.clone() };
        image = images.ensure(&again).await?;
        pulled.note(&image.id, name);
    } else if is_new {
        pulled.note(&image.id, name);
    }
    Ok(image)
}
