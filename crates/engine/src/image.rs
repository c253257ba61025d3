//! Images: inspect, pull, load.

use base64::{Engine as _, engine::general_purpose::URL_SAFE};
use bollard::{
    BollardRequest, body_full, body_try_stream,
    models::{self, ErrorDetail},
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use http::{HeaderValue, Method, Request, header};
use hyper::body::Incoming;
use plain_text::short;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{
    Engine, EngineError, QUICK, REGISTRY, SLOW,
    body::{self, AtMost, Whole},
    error::{absent_is_fine, with},
    inspected_image::{InspectedImage, ListedImage},
    lines::Line,
    route::{Answer, Route},
};

/// One message of a pull.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PullMessage {
    /// The layer's id or the tag; empty if the message is about the whole image.
    pub id: String,
    /// The engine's word for the current step.
    pub status: String,
    /// Bytes done and bytes in total, if reported; 0 is unknown.
    pub bytes: Option<(u64, u64)>,
}

/// As the engine writes it.
#[derive(Deserialize)]
struct RawPullMessage {
    id: Option<String>,
    status: Option<String>,
    #[serde(rename = "progressDetail")]
    progress_detail: Option<models::ProgressDetail>,
    #[serde(rename = "errorDetail")]
    error_detail: Option<ErrorDetail>,
}

impl From<RawPullMessage> for PullMessage {
    fn from(raw: RawPullMessage) -> Self {
        // The engine says -1 if the registry does not report the size.
        let amount = |bytes: Option<i64>| bytes.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or_default();
        Self {
            id: raw.id.unwrap_or_default(),
            status: raw.status.unwrap_or_default(),
            bytes: raw.progress_detail.map(|detail| (amount(detail.current), amount(detail.total))),
        }
    }
}

/// Credentials for a registry, as the engine expects them. Never displayed.
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
    /// The registry they are for. An engine with containerd's image store sends them to no other.
    #[serde(rename = "serveraddress", skip_serializing_if = "String::is_empty")]
    pub server_address: String,
}

impl Credentials {
    /// The header `X-Registry-Auth`. The engine decodes it as URL-safe base64; it ignores any other silently and pulls without
    /// credentials.
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

fn about(image: &str, behind: &'static str, answer: Answer) -> Route {
    Route::image("/images/", image, behind, answer)
}

impl Engine {
    /// Everything the engine knows of an image, by id or reference. If it is too large, only its id, names and size.
    pub async fn inspect_image(&self, image: &str) -> Result<InspectedImage, EngineError> {
        self.measure_image(image).await.map(|(found, _)| found)
    }

    /// Like [`inspect_image`](Self::inspect_image), and whether containers may be created from the image.
    pub async fn measure_image(&self, image: &str) -> Result<(InspectedImage, ConfigSize), EngineError> {
        let route = about(image, "/json", Answer::Picked);
        let read = self.read("inspect image", &route, &[], QUICK, read_image).await?;
        with("Id", read, |(image, _)| !image.id.is_empty())
    }

    /// All images, including unnamed and intermediate ones.
    pub async fn images(&self) -> Result<Vec<ListedImage>, EngineError> {
        let route = Route::fixed("/images/json", "all", Answer::Picked);
        let AtMost(found) =
            self.pick::<AtMost<ListedImage, MOST_IMAGES>>("list images", &route, &[("all", "true")], QUICK).await?;
        Ok(found)
    }

    /// Pulls an image; the stream ends with the pull. `tag` may be a digest.
    pub fn pull_image(
        &self,
        repository: &str,
        tag: &str,
        credentials: Option<Credentials>,
    ) -> impl Stream<Item = Result<PullMessage, EngineError>> + Send + Unpin + use<> {
        let route = Route::fixed("/images/create", repository, Answer::Stream);
        let request = authorized(Method::POST, credentials);
        let query = vec![("fromImage", repository.to_owned()), ("tag", tag.to_owned())];
        self.messages::<RawPullMessage>("pull image", route, query, request)
            .map(|message| message.map(PullMessage::from))
    }

    /// Has the engine query an image's registry for it, without pulling.
    pub async fn ask_registry(&self, image: &str, credentials: Option<Credentials>) -> Result<(), EngineError> {
        let route = Route::image("/distribution/", image, "/json", Answer::Short);
        let request = authorized(Method::GET, credentials);
        self.connection.send("ask the registry for image", &route, &[], Some(REGISTRY), request).await.map(drop)
    }

    /// Removes a name from an image, and the image with its last name. Given an id, removes the image. The engine refuses if a
    /// container needs it. It is no error if it does not exist.
    pub async fn remove_image(&self, image: &str) -> Result<(), EngineError> {
        let route = about(image, "", Answer::Short);
        let request = authorized(Method::DELETE, None);
        absent_is_fine(
            self.connection.send("remove image", &route, &[("noprune", "true")], Some(SLOW), request).await.map(drop),
        )
    }

    /// Adds a name to an image, by its id.
    pub async fn tag_image(&self, id: &str, repository: &str, tag: &str) -> Result<(), EngineError> {
        let (route, name) = (about(id, "/tag", Answer::Short), [("repo", repository), ("tag", tag)]);
        self.connection.send("tag image", &route, &name, Some(QUICK), authorized(Method::POST, None)).await.map(drop)
    }

    /// Loads an archive of images. `report` receives their names, or the ids of unnamed ones, including those loaded before a
    /// failure.
    pub async fn load_images<S>(
        &self,
        archive: &str,
        content: S,
        mut report: impl FnMut(String),
    ) -> Result<(), EngineError>
    where
        S: Stream<Item = std::io::Result<Bytes>> + Send + 'static,
    {
        let route = Route::fixed("/images/load", archive, Answer::Stream);
        let mut request = Request::new(body_try_stream(content));
        *request.method_mut() = Method::POST;
        request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-tar"));
        let mut messages = self.messages("load image", route, vec![("quiet", "true".to_owned())], request);
        while let Some(message) = messages.next().await {
            let message: Loaded = message?;
            // The engine sends whole lines.
            loaded(&message.stream.unwrap_or_default()).into_iter().for_each(&mut report);
        }
        Ok(())
    }

    /// The messages of a response, one per line, up to the first error.
    fn messages<T: Message + Send + 'static>(
        &self,
        operation: &'static str,
        route: Route,
        query: Vec<(&'static str, String)>,
        request: BollardRequest,
    ) -> impl Stream<Item = Result<T, EngineError>> + Send + Unpin + use<T> {
        let engine = self.clone();
        let lines = stream::once(async move {
            let query: Vec<(&str, &str)> = query.iter().map(|(name, value)| (*name, value.as_str())).collect();
            engine.lines(operation, &route, &query, None, request, LONGEST_MESSAGE).await
        });
        Box::pin(lines.try_flatten()).map(|line| match line? {
            Line::Whole(line) => message(&line),
            Line::TooLong(head) => {
                let head = short(&String::from_utf8_lossy(&head));
                Err(EngineError::Stream(format!("a message of the Docker daemon's is too long: {head}")))
            }
        })
    }
}

/// Larger than any image configuration that is not malicious. The configuration is part of each container created from it, of
/// each of their events, and of each list.
pub const MOST_OF_AN_IMAGE: usize = 4 << 20;
/// More images than any engine has.
const MOST_IMAGES: usize = 1 << 17;
/// The bound for a progress message.
const LONGEST_MESSAGE: usize = 1 << 20;

/// The size of an image's configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigSize {
    /// An ordinary size.
    Usual,
    /// Larger than [`MOST_OF_AN_IMAGE`].
    TooLarge,
}

async fn read_image(body: Incoming) -> Result<(InspectedImage, ConfigSize), bollard::errors::Error> {
    match body::up_to(body, MOST_OF_AN_IMAGE).await? {
        Whole::Yes(bytes) => {
            let image: models::ImageInspect = serde_json::from_slice(&bytes)?;
            Ok((image.into(), ConfigSize::Usual))
        }
        Whole::No(pieces) => {
            let ListedImage { id, tags, digests, size } = body::picked_of_long(pieces).await?;
            let found = InspectedImage { id, tags, digests, size, ..InspectedImage::default() };
            Ok((found, ConfigSize::TooLarge))
        }
    }
}

fn authorized(method: Method, credentials: Option<Credentials>) -> BollardRequest {
    let mut request = Request::new(body_full(Bytes::new()));
    *request.method_mut() = method;
    if let Some(credentials) = credentials {
        request.headers_mut().insert("x-registry-auth", credentials.header());
    }
    request
}

/// A message of a stream, which may be an error.
trait Message: DeserializeOwned {
    fn error(&self) -> Option<&str>;
}

impl Message for RawPullMessage {
    fn error(&self) -> Option<&str> {
        self.error_detail.as_ref()?.message.as_deref()
    }
}

#[derive(Deserialize)]
struct Loaded {
    stream: Option<String>,
    #[serde(rename = "errorDetail")]
    error_detail: Option<ErrorDetail>,
}

impl Message for Loaded {
    fn error(&self) -> Option<&str> {
        self.error_detail.as_ref()?.message.as_deref()
    }
}

fn message<T: Message>(line: &[u8]) -> Result<T, EngineError> {
    let message: T =
        serde_json::from_slice(line).map_err(|error| EngineError::Unreadable(short(&error.to_string())))?;
    match message.error() {
        Some(error) => Err(EngineError::Stream(short(error))),
        None => Ok(message),
    }
}

/// The images that the engine reports as loaded.
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
    fn images_with_and_without_names_are_reported() {
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
