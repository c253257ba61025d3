//! Images: looked at, pulled, loaded.

use bollard::{
    auth::DockerCredentials,
    models::{CreateImageInfo, ImageInspect},
    query_parameters::{CreateImageOptionsBuilder, ImportImageOptionsBuilder, RemoveImageOptionsBuilder},
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};

use super::{Engine, EngineError, QUICK, REGISTRY, SLOW, error, error::gone_is_fine};

/// One message of a pull.
pub type PullProgress = CreateImageInfo;

/// What a registry wants to know. Never shown.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Credentials {
    /// The user's name.
    pub username: String,
    /// The password.
    pub password: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials(..)")
    }
}

/// As the engine takes them.
fn header(credentials: Credentials) -> DockerCredentials {
    let Credentials { username, password } = credentials;
    DockerCredentials { username: Some(username), password: Some(password), ..DockerCredentials::default() }
}

impl Engine {
    /// All that the engine knows of an image, by id or reference.
    pub async fn inspect_image(&self, image: &str) -> Result<ImageInspect, EngineError> {
        let call = |docker: bollard::Docker| async move { docker.inspect_image(image).await };
        self.connection.call(("inspect image", image), QUICK, call).await
    }

    /// Pulls an image; the stream's end is the pull's. `tag` may be a digest.
    pub async fn pull_image(
        &self,
        repository: &str,
        tag: &str,
        credentials: Option<Credentials>,
    ) -> Result<impl Stream<Item = Result<PullProgress, EngineError>> + Send + Unpin + use<>, EngineError> {
        let subject = repository.to_owned();
        let failed = move |cause| EngineError { operation: "pull image", subject: subject.clone(), cause };
        let docker = self.connection.docker().await.map_err(&failed)?;
        let options = CreateImageOptionsBuilder::default().from_image(repository).tag(tag).build();
        let address = self.address().to_owned();
        let progress = docker.create_image(Some(options), None, credentials.map(header));
        Ok(Box::pin(progress.map(move |message| message.map_err(|error| failed(error::cause(error, &address))))))
    }

    /// Has the engine ask an image's registry for it, without pulling it.
    pub async fn ask_registry(&self, image: &str, credentials: Option<Credentials>) -> Result<(), EngineError> {
        let credentials = credentials.map(header);
        let call = |docker: bollard::Docker| async move { docker.inspect_registry_image(image, credentials).await };
        self.connection.call(("ask the registry for image", image), REGISTRY, call).await.map(drop)
    }

    /// Takes a name away from an image, and with its last name the image. Given an id, removes the image. The engine refuses
    /// where a container needs it. One that is gone is fine.
    pub async fn remove_image(&self, image: &str) -> Result<(), EngineError> {
        let options = RemoveImageOptionsBuilder::default().noprune(true).build();
        let call = |docker: bollard::Docker| async move { docker.remove_image(image, Some(options), None).await };
        gone_is_fine(self.connection.call(("remove image", image), SLOW, call).await.map(drop))
    }

    /// Loads an archive of images; returns when the engine has read it.
    pub async fn load_images<S>(&self, archive: &str, content: S) -> Result<(), EngineError>
    where
        S: Stream<Item = std::io::Result<Bytes>> + Send + 'static,
    {
        let failed = |cause| EngineError { operation: "load image", subject: archive.to_owned(), cause };
        let docker = self.connection.docker().await.map_err(failed)?;
        let options = ImportImageOptionsBuilder::default().quiet(true).build();
        let mut messages = Box::pin(docker.import_image_stream(options, content, None));
        while let Some(message) = messages.next().await {
            message.map_err(|error| failed(error::cause(error, self.address())))?;
        }
        Ok(())
    }
}
