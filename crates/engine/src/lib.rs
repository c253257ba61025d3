//! The Docker calls of the driver, as verbs, each with its own deadline; the only place that knows the client library.

mod body;
mod connection;
mod container;
mod endpoint;
mod error;
mod events;
mod exec;
mod frames;
mod image;
mod insist;
mod inspected;
mod inspected_image;
mod lines;
mod listed;
mod logs;
mod network;
mod persist;
mod provisional;
mod route;
mod system;
mod tcp;
mod transport;
mod watch;

use std::{sync::Arc, time::Duration};

use futures_util::{Stream, TryStreamExt};
use hyper::body::Incoming;

pub use endpoint::{Endpoint, Tls};
pub use error::{CallKind, EngineError};
pub use events::{ContainerEvent, ContainerEventKind, EngineEvent, read_event};
pub use exec::{ExecOutput, ExecState, ExecStream, ExecTerminal};
pub use image::{ConfigSize, Credentials, MOST_OF_AN_IMAGE, PullMessage};
pub use insist::insist;
pub use inspected::{Addresses, ContainerState, End, Inspected, MountPoint};
pub use inspected_image::{ImageConfig, InspectedImage, ListedImage};
pub use lines::{Line, Lines};
pub use listed::{ListedContainer, ListedState, Protocol, PublishedPort};
pub use logs::LogFrame;
pub use persist::{persist, within};
pub use provisional::Provisional;
pub use route::Segment;
pub use system::{ApiVersion, EngineFacts, EngineName};
pub use watch::{ContainerWatch, Pending, Waker, WatchHandle};

/// What a container is created from, as Engine API requests.
pub mod request {
    pub use bollard::models::{
        ContainerCreateBody, DeviceMapping, DeviceRequest, EndpointIpamConfig, EndpointSettings, HealthConfig,
        HostConfig, HostConfigCgroupnsModeEnum, HostConfigLogConfig, Mount, MountBindOptions,
        MountBindOptionsPropagationEnum, MountTmpfsOptions, MountType, MountVolumeOptions,
        MountVolumeOptionsDriverConfig, NetworkingConfig, PortBinding, ResourcesUlimits, RestartPolicy,
        RestartPolicyNameEnum,
    };
}

/// Calls that only check whether the engine responds.
const ALIVE: Duration = Duration::from_secs(10);
/// Calls that read only what the engine has in memory.
const QUICK: Duration = Duration::from_secs(30);
/// Calls for which the engine queries a registry: longer than the engine itself waits for one.
const REGISTRY: Duration = Duration::from_secs(120);
/// Calls that make the engine touch disks, networks or a runtime, and calls about a container that wait for such work to
/// finish.
const SLOW: Duration = Duration::from_secs(300);

/// A Docker Engine, connected to on first use. Clones share the connection and what is known of the engine.
#[derive(Clone)]
pub struct Engine {
    connection: Arc<connection::Connection>,
}

impl Engine {
    /// An engine at an endpoint. No request is made yet.
    pub fn new(endpoint: Endpoint) -> Self {
        Self { connection: Arc::new(connection::Connection::new(endpoint)) }
    }

    /// The engine's address, for messages.
    pub fn address(&self) -> &str {
        self.connection.address()
    }

    /// The wanted part of a response, however much else it contains.
    async fn pick<T: serde::de::DeserializeOwned + Send + 'static>(
        &self,
        operation: &'static str,
        route: &route::Route,
        query: &[(&str, &str)],
        deadline: Duration,
    ) -> Result<T, EngineError> {
        self.read(operation, route, query, deadline, body::picked).await
    }

    /// What `read` makes of the body of a response to a call that only reads.
    async fn read<T, F>(
        &self,
        operation: &'static str,
        route: &route::Route,
        query: &[(&str, &str)],
        deadline: Duration,
        read: impl Fn(Incoming) -> F,
    ) -> Result<T, EngineError>
    where
        F: Future<Output = Result<T, bollard::errors::Error>>,
    {
        let read = || async {
            let request = http::Request::new(bollard::body_full(bytes::Bytes::new()));
            let answer = self.connection.send(operation, route, query, None, request).await?;
            read(answer.into_body()).await.map_err(|error| error::of_library(error, self.address()))
        };
        let answer = persist::ask(persist::SILENCE, || within(deadline, Box::pin(read()))).await;
        answer.map_err(|error| self.connection.failed(error))
    }

    /// The lines of a response whose head arrives within `deadline`, if there is one.
    async fn lines(
        &self,
        operation: &'static str,
        route: &route::Route,
        query: &[(&str, &str)],
        deadline: Option<Duration>,
        request: bollard::BollardRequest,
        most: usize,
    ) -> Result<impl Stream<Item = Result<Line, EngineError>> + Send + Unpin + use<>, EngineError> {
        let answer = self.connection.send(operation, route, query, deadline, request).await?;
        let connection = self.connection.clone();
        Ok(body::lines(answer.into_body(), most)
            .map_err(move |error| connection.failed(error::of_library(error, connection.address()))))
    }

    /// Whether the engine is on this host, so that its files can be read.
    pub fn is_local(&self) -> bool {
        self.connection.address().starts_with("unix://")
    }
}

#[cfg(test)]
mod tests;
