//! The image of pause containers: the operator's, or else the built-in one.

use nomad_plugin::driver::{DriverError, Recoverability};

use crate::{
    engine::model::ContainerInspectResponse,
    image::{ImageLease, ImageRequest, LocalImage, PAUSE_IMAGE},
    task::Surroundings,
};

/// An image that the engine has, for one pause container.
pub(super) struct PauseImage {
    /// The name by which the container is made.
    pub(super) name: String,
    /// What keeps it.
    pub(super) lease: ImageLease,
    /// Why it is not the operator's, for tasks' owners.
    pub(super) notice: Option<String>,
}

impl PauseImage {
    /// Makes sure that the engine has one. A name that is none is a mistake, and an error.
    pub(super) async fn ensure(around: &Surroundings) -> Result<Self, DriverError> {
        let wanted = around.images.ensure(&ImageRequest::of_pause_container(&around.plugin)).await;
        let error = match wanted {
            Ok(image) => return Ok(Self::from(image)),
            Err(error) => error,
        };
        let failed = format!("unable to pull infra docker image {:?}: {error}", around.plugin.infra_image);
        if error.recoverability != Recoverability::Recoverable {
            return Err(DriverError::new(failed));
        }
        match Self::built_in(around).await {
            Ok(image) => {
                let notice = format!("The network is kept by the built-in image {PAUSE_IMAGE}: {failed}");
                tracing::warn!("{notice}");
                Ok(Self { notice: Some(notice), ..image })
            }
            Err(error) => Err(DriverError { message: format!("{failed}; {error}"), ..error }),
        }
    }

    /// That of a pause container that an earlier process started; `None` where it is just being removed.
    pub(super) async fn of(around: &Surroundings, found: &ContainerInspectResponse) -> Option<Self> {
        let name = found.config.as_ref().and_then(|config| config.image.clone()).unwrap_or_default();
        let lease = around.images.keep(found.image.as_deref().unwrap_or_default(), &name).await?;
        Some(Self { name, lease, notice: None })
    }

    /// The one that is part of the driver.
    pub(super) async fn built_in(around: &Surroundings) -> Result<Self, DriverError> {
        around.images.built_in_pause().await.map(Self::from)
    }
}

impl From<LocalImage> for PauseImage {
    fn from(image: LocalImage) -> Self {
        Self { name: image.name, lease: image.lease, notice: None }
    }
}
