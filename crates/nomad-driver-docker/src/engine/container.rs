//! Containers: made, started, stopped, killed, looked at, removed.

use std::{collections::HashMap, fmt, time::Duration};

use bollard::{
    Docker,
    models::{
        ContainerCreateBody, ContainerInspectResponse, ContainerSummaryHostConfig, ContainerSummaryStateEnum,
        MountPoint, PortSummary,
    },
    query_parameters::{
        CreateContainerOptionsBuilder, InspectContainerOptions, KillContainerOptionsBuilder,
        RemoveContainerOptionsBuilder, StartContainerOptions, StopContainerOptionsBuilder,
    },
};
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};

use super::{
    ALIVE, Engine, EngineError, QUICK, SLOW,
    body::AtMost,
    error::gone_is_fine,
    route::{Answer, Route},
};

/// More containers than an engine runs, and labels than it is worth to look for ours among.
const MOST_CONTAINERS: usize = 1 << 16;
const MOST_LABELS: usize = 1 << 10;
/// Longer than a label that the driver reads.
const LONGEST_LABEL: usize = 4 << 10;
/// What Nomad's labels begin with.
const NOMADS: &str = "com.hashicorp.nomad.";

fn about(container: &str, behind: &'static str, answer: Answer) -> Route {
    Route::about("/containers/", container, behind, answer)
}

/// A container of a list, as far as the driver reads it. The labels are its image's as well, of any number and length.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct FoundContainer {
    /// The full id.
    pub id: Option<String>,
    /// Each behind a slash.
    pub names: Option<Vec<String>>,
    /// In seconds since 1970.
    pub created: Option<i64>,
    /// Those that are not too long.
    #[serde(default, deserialize_with = "labels")]
    pub labels: Option<HashMap<String, String>>,
    /// Whether it runs.
    pub state: Option<ContainerSummaryStateEnum>,
    /// Ports, published and not.
    pub ports: Option<Vec<PortSummary>>,
    /// What is mounted.
    pub mounts: Option<Vec<MountPoint>>,
    /// Its network's mode.
    pub host_config: Option<ContainerSummaryHostConfig>,
}

fn labels<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<HashMap<String, String>>, D::Error> {
    struct Labels;
    impl<'de> Visitor<'de> for Labels {
        type Value = Option<HashMap<String, String>>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("labels")
        }

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut labels = HashMap::new();
            while let Some(name) = map.next_key::<String>()? {
                if name.len() > LONGEST_LABEL || labels.len() == MOST_LABELS && !name.starts_with(NOMADS) {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
                let value: String = map.next_value()?;
                if value.len() <= LONGEST_LABEL {
                    labels.insert(name, value);
                }
            }
            Ok(Some(labels))
        }
    }
    deserializer.deserialize_any(Labels)
}

impl Engine {
    /// Makes a container and returns its id.
    pub async fn create_container(&self, name: &str, body: ContainerCreateBody) -> Result<String, EngineError> {
        let options = CreateContainerOptionsBuilder::default().name(name).build();
        let route = Route::fixed("/containers/create", name, Answer::Short);
        let call = |docker: Docker, _| async move { docker.create_container(Some(options), body).await };
        Ok(self.connection.call("create container", route, SLOW, call).await?.id)
    }

    /// Starts a container; one that runs already is fine.
    pub async fn start_container(&self, id: &str) -> Result<(), EngineError> {
        let call = |docker: Docker, id: String| async move {
            docker.start_container(&id, None::<StartContainerOptions>).await
        };
        self.connection.call("start container", about(id, "/start", Answer::Short), SLOW, call).await
    }

    /// All that the engine knows of a container, by id or name.
    pub async fn inspect_container(&self, id: &str) -> Result<ContainerInspectResponse, EngineError> {
        let call = |docker: Docker, id: String| async move {
            docker.inspect_container(&id, None::<InspectContainerOptions>).await
        };
        self.connection.call("inspect container", about(id, "/json", Answer::Thing), SLOW, call).await
    }

    /// Sends the container's stop signal and, `grace` later (whole seconds), SIGKILL. Returns once it has ended. One
    /// that has ended already, or is gone, is fine.
    pub async fn stop_container(&self, id: &str, grace: Duration) -> Result<(), EngineError> {
        let seconds = i32::try_from(grace.as_secs()).unwrap_or(i32::MAX);
        let options = StopContainerOptionsBuilder::default().t(seconds).build();
        let call = |docker: Docker, id: String| async move { docker.stop_container(&id, Some(options)).await };
        let route = about(id, "/stop", Answer::Short);
        gone_is_fine(self.connection.call("stop container", route, grace.saturating_add(SLOW), call).await)
    }

    /// Sends a signal to the container's first process.
    pub async fn kill_container(&self, id: &str, signal: &str) -> Result<(), EngineError> {
        let options = KillContainerOptionsBuilder::default().signal(signal).build();
        let call = |docker: Docker, id: String| async move { docker.kill_container(&id, Some(options)).await };
        self.connection.call("kill container", about(id, "/kill", Answer::Short), SLOW, call).await
    }

    /// Removes a container, killing it if it runs, and its anonymous volumes. One that is gone is fine.
    pub async fn remove_container(&self, id: &str) -> Result<(), EngineError> {
        let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
        let call = |docker: Docker, id: String| async move { docker.remove_container(&id, Some(options)).await };
        gone_is_fine(self.connection.call("remove container", about(id, "", Answer::Short), SLOW, call).await)
    }

    /// Running containers that publish a port of the host, such as `80/tcp`, at whatever address.
    pub async fn containers_that_publish(&self, port: &str) -> Result<Vec<FoundContainer>, EngineError> {
        self.containers(port, QUICK, &[("filters", &filters("publish", port))]).await
    }

    /// Running containers.
    pub async fn running_containers(&self) -> Result<Vec<FoundContainer>, EngineError> {
        self.containers("", ALIVE, &[]).await
    }

    /// Containers in any state that have a label, whatever its value.
    pub async fn containers_with_label(&self, label: &str) -> Result<Vec<FoundContainer>, EngineError> {
        self.containers(label, QUICK, &[("all", "true"), ("filters", &filters("label", label))]).await
    }

    async fn containers(
        &self,
        subject: &str,
        deadline: Duration,
        query: &[(&str, &str)],
    ) -> Result<Vec<FoundContainer>, EngineError> {
        let route = Route::fixed("/containers/json", subject, Answer::Picked);
        let AtMost(found) =
            self.pick::<AtMost<FoundContainer, MOST_CONTAINERS>>("list containers", &route, query, deadline).await?;
        Ok(found)
    }
}

fn filters(name: &str, value: &str) -> String {
    serde_json::json!({ name: [value] }).to_string()
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{UnixListener, UnixStream},
    };

    use super::*;
    use crate::engine::Endpoint;

    async fn request(listener: &UnixListener) -> UnixStream {
        let mut stream = listener.accept().await.unwrap().0;
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(stream.read_u8().await.unwrap());
        }
        stream
    }

    async fn answer(mut stream: UnixStream, body: &str) {
        let answer = format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        stream.write_all(answer.as_bytes()).await.unwrap();
    }

    // A real engine does so while it starts the container.
    #[tokio::test]
    async fn an_engine_that_is_busy_with_a_container_may_take_as_long_to_tell_of_it() {
        let directory = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(directory.path().join("socket")).unwrap();
        let address = format!("unix://{}/socket", directory.path().display());
        let engine = Engine::new(Endpoint { address, tls: None });
        let busy = async {
            answer(request(&listener).await, r#"{"ApiVersion":"1.41"}"#).await;
            let asked = request(&listener).await;
            tokio::time::pause();
            tokio::time::advance(SLOW / 10 * 9).await;
            tokio::time::resume();
            answer(asked, r#"{"Id":"busy"}"#).await;
        };

        let (told, ()) = tokio::join!(engine.inspect_container("busy"), busy);

        assert_eq!(told.unwrap().id.as_deref(), Some("busy"));
    }
}
