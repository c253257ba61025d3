//! The names of images that pause containers are created from. Only the operator and the driver decide what they refer to: a
//! job cannot provide them.

use nomad_plugin::driver::DriverError;

use super::{ImageRequest, built_in::PAUSE};
use crate::reference::ImageReference;

/// Whether pause containers are created from an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reserved {
    /// They are not.
    No,
    /// They are: it is the operator's image.
    Operators,
    /// They are: it is the built-in image of this or another version of the driver.
    Drivers,
}

impl Reserved {
    /// Classifies an image by its name; `infra_image` is the operator's.
    pub(super) fn of(image: &ImageReference, infra_image: Option<&ImageReference>) -> Self {
        if PAUSE.is_beside(image) {
            Self::Drivers
        } else if infra_image.is_some_and(|infra| infra.is_same(image)) {
            Self::Operators
        } else {
            Self::No
        }
    }
}

/// What to request instead of an image that a job is about to provide: the operator's image is fetched as for pause containers.
pub(super) fn instead(request: &ImageRequest) -> Result<Option<ImageRequest>, DriverError> {
    match (request.reserved, &request.archive) {
        (Reserved::No, _) => Ok(None),
        (Reserved::Operators, None) => Ok(Some(ImageRequest { auth: None, auth_soft_fail: true, ..request.clone() })),
        (Reserved::Operators, Some(_)) | (Reserved::Drivers, _) => {
            let image = request.image.written();
            Err(DriverError::new(format!("image {image:?} is one of pause containers: a job cannot provide it")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reserved_name_is_known_in_every_spelling() {
        let parse = |image: &str| ImageReference::parse(image).unwrap();
        let of = |image: &str| Reserved::of(&parse(image), Some(&parse("docker.io/library/pause:3")));

        for image in ["pause:3", "library/pause:3", "docker.io/library/pause:3", "index.docker.io/pause:3"] {
            assert_eq!(of(image), Reserved::Operators, "{image}");
        }
        for image in ["longshore/pause:0.0.1", "docker.io/longshore/pause", PAUSE.written()] {
            assert_eq!(of(image), Reserved::Drivers, "{image}");
        }
        for image in ["pause:4", "r.test/pause:3", "longshore/pause2:1"] {
            assert_eq!(of(image), Reserved::No, "{image}");
        }
        assert_eq!(Reserved::of(&parse("pause:3"), None), Reserved::No);
    }
}
