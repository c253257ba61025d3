//! Images: looked at, pulled, loaded.

use base64::{Engine as _, engine::general_purpose::URL_SAFE};
use bollard::{
    Docker,
    models::{CreateImageInfo, ImageInspect, ImageSummary},
    query_parameters::{
        CreateImageOptionsBuilder, ImportImageOptionsBuilder, ListImagesOptionsBuilder, RemoveImageOptionsBuilder,
    },
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use http::HeaderValue;
use serde::Serialize;

use super::{Engine, EngineError, QUICK, REGISTRY, SLOW, error, error::gone_is_fine};

/// One message of a pull.
pub type PullProgress = CreateImageInfo;

/// What a registry wants to know, in the engine's words. Never shown.
#[derive(Clone, Default, PartialEq, Eq, Hash, Serialize)]
pub struct Credentials {
    /// The user's name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub username: String,
    /// The password.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub password: String,
    /// What the registry's token service takes in place of a password.
    #[serde(rename = "identitytoken", skip_serializing_if = "String::is_empty")]
    pub identity_token: String,
    /// What the registry itself takes, without a token service.
    #[serde(rename = "registrytoken", skip_serializing_if = "String::is_empty")]
    pub registry_token: String,
    /// Whom they are for. An engine with containerd's image store shows them to no other.
    #[serde(rename = "serveraddress", skip_serializing_if = "String::is_empty")]
    pub server_address: String,
}

impl Credentials {
    /// The header `X-Registry-Auth`. The engine reads base64 in the alphabet of URLs; of any other it says nothing, and pulls
    /// without credentials.
    fn header(&self) -> HeaderValue {
        let json = serde_json::to_vec(self).expect("texts are JSON");
        let mut header = HeaderValue::try_from(URL_SAFE.encode(json)).expect("base64 is ASCII");
        header.set_sensitive(true);
        header
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials(..)")
    }
}

/// A client whose requests have the credentials. The library's own header is in the wrong alphabet.
fn authorized(docker: Docker, credentials: Option<Credentials>) -> Docker {
    let Some(header) = credentials.map(|credentials| credentials.header()) else { return docker };
    docker.with_request_modifier(move |mut request| {
        request.headers_mut().insert("x-registry-auth", header.clone());
        request
    })
}

impl Engine {
    /// All that the engine knows of an image, by id or reference.
    pub async fn inspect_image(&self, image: &str) -> Result<ImageInspect, EngineError> {
        let call = |docker: Docker| async move { docker.inspect_image(image).await };
        self.connection.call(("inspect image", image), QUICK, call).await
    }

    /// All images, with those that have no name, and those between an image and its base.
    pub async fn images(&self) -> Result<Vec<ImageSummary>, EngineError> {
        let options = ListImagesOptionsBuilder::default().all(true).build();
        let call = |docker: Docker| async move { docker.list_images(Some(options)).await };
        self.connection.call(("list images", "all"), QUICK, call).await
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
        let progress = authorized(docker, credentials).create_image(Some(options), None, None);
        Ok(Box::pin(progress.map(move |message| message.map_err(|error| failed(error::cause(error, &address))))))
    }

    /// Has the engine ask an image's registry for it, without pulling it.
    pub async fn ask_registry(&self, image: &str, credentials: Option<Credentials>) -> Result<(), EngineError> {
        let call = |docker: bollard::Docker| async move {
            authorized(docker, credentials).inspect_registry_image(image, None).await
        };
        self.connection.call(("ask the registry for image", image), REGISTRY, call).await.map(drop)
    }

    /// Takes a name away from an image, and with its last name the image. Given an id, removes the image. The engine refuses
    /// where a container needs it. One that is gone is fine.
    pub async fn remove_image(&self, image: &str) -> Result<(), EngineError> {
        let options = RemoveImageOptionsBuilder::default().noprune(true).build();
        let call = |docker: Docker| async move { docker.remove_image(image, Some(options), None).await };
        gone_is_fine(self.connection.call(("remove image", image), SLOW, call).await.map(drop))
    }

    /// Loads an archive of images. `tell` hears their names, or the ids of those without one, also of those before one that
    /// fails.
    pub async fn load_images<S>(
        &self,
        archive: &str,
        content: S,
        mut tell: impl FnMut(String),
    ) -> Result<(), EngineError>
    where
        S: Stream<Item = std::io::Result<Bytes>> + Send + 'static,
    {
        let failed = |cause| EngineError { operation: "load image", subject: archive.to_owned(), cause };
        let docker = self.connection.docker().await.map_err(failed)?;
        let options = ImportImageOptionsBuilder::default().quiet(true).build();
        let mut messages = Box::pin(docker.import_image_stream(options, content, None));
        while let Some(message) = messages.next().await {
            let message = message.map_err(|error| failed(error::cause(error, self.address())))?;
            // The engine sends whole lines.
            loaded(&message.stream.unwrap_or_default()).into_iter().for_each(&mut tell);
        }
        Ok(())
    }
}

/// What the engine says that it loaded.
fn loaded(said: &str) -> Vec<String> {
    let image = |line: &str| {
        let named = line.strip_prefix("Loaded image: ").or_else(|| line.strip_prefix("Loaded image ID: "))?;
        Some(named.trim().to_owned())
    };
    said.lines().filter_map(image).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_with_and_without_names_are_told() {
        let said =
            "Loaded image: app:1\nThe image app:1 already exists, renaming the old one\nLoaded image ID: sha256:ab\n";

        assert_eq!(loaded(said), ["app:1", "sha256:ab"]);
        assert_eq!(loaded(""), Vec::<String>::new());
    }

    #[test]
    fn credentials_are_sent_in_the_alphabet_that_the_engine_reads_and_never_shown() {
        let text = |text: &str| text.to_owned();
        let credentials = Credentials {
            username: text("u"),
            password: text("???"),
            identity_token: text(">>>"),
            registry_token: text("~~~"),
            server_address: text("r.test:5000"),
        };
        let anonymous = Credentials::default();

        let decoded =
            |credentials: &Credentials| String::from_utf8(URL_SAFE.decode(credentials.header()).unwrap()).unwrap();

        let expected = r#"{"username":"u","password":"???","identitytoken":">>>","registrytoken":"~~~","serveraddress":"r.test:5000"}"#;
        assert_eq!(decoded(&credentials), expected);
        assert_eq!(decoded(&anonymous), "{}");
        assert_eq!(format!("{credentials:?} {:?}", credentials.header()), "Credentials(..) Sensitive");
    }
}
