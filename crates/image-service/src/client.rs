//! The host's end.

use std::path::PathBuf;

use futures_util::{Stream, StreamExt};
use tonic::{Code, Status, transport::Channel};

use crate::{
    Listed, Prefetched, Pull,
    proto::{self as wire, images_client::ImagesClient},
};

/// Why a driver did not answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// It does not serve this service: another driver, or an older one.
    #[error("the driver does not report its images")]
    Unserved,
    /// What it was asked for is a mistake.
    #[error("{0}")]
    Refused(String),
    /// What it says, or what the connection does.
    #[error("{0}")]
    Failed(String),
}

impl From<Status> for ImageError {
    fn from(status: Status) -> Self {
        match status.code() {
            Code::Unimplemented => Self::Unserved,
            Code::InvalidArgument => Self::Refused(status.message().to_owned()),
            _ => Self::Failed(status.message().to_owned()),
        }
    }
}

/// The images of a driver in another process. See [`crate::ImageService`] for what each call does.
#[derive(Clone, Debug)]
pub struct ImageClient(ImagesClient<Channel>);

impl ImageClient {
    /// Over the channel of a plugin.
    pub fn new(channel: Channel) -> Self {
        Self(ImagesClient::new(channel))
    }

    /// See [`crate::ImageService::list`].
    pub async fn list(&mut self, state_dirs: &[PathBuf]) -> Result<Vec<Listed>, ImageError> {
        let state_dirs = state_dirs.iter().map(|directory| directory.display().to_string()).collect();
        let answer = self.0.list(wire::ListRequest { state_dirs }).await?.into_inner();
        Ok(answer.images.into_iter().map(Into::into).collect())
    }

    /// See [`crate::ImageService::pin`].
    pub async fn pin(&mut self, names: Vec<String>) -> Result<(), ImageError> {
        self.0.keep(wire::KeepRequest { names }).await?;
        Ok(())
    }

    /// See [`crate::ImageService::prefetch`].
    pub async fn prefetch(
        &mut self,
        configs: Vec<Vec<u8>>,
    ) -> Result<impl Stream<Item = Result<Prefetched, ImageError>> + Unpin + Send + use<>, ImageError> {
        let steps = self.0.prefetch(wire::PrefetchRequest { configs }).await?.into_inner();
        Ok(steps.map(|step| Ok(step?.into())))
    }

    /// See [`crate::ImageService::watch`].
    pub async fn watch(
        &mut self,
    ) -> Result<impl Stream<Item = Result<Vec<Pull>, ImageError>> + Unpin + Send + use<>, ImageError> {
        let answers = self.0.watch(wire::WatchRequest {}).await?.into_inner();
        Ok(answers.map(|answer| Ok(answer?.pulls.into_iter().map(Into::into).collect())))
    }
}
