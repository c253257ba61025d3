//! Containers: create, start, stop, kill, inspect, remove.

use std::time::Duration;

use super::{
    ALIVE, Engine, EngineError, QUICK, SLOW,
    body::AtMost,
    error::{absent_is_fine, with},
    inspected::Inspected,
    listed::ListedContainer,
    route::{Answer, Route},
};
use bollard::{
    Docker,
    models::ContainerCreateBody,
    query_parameters::{
        CreateContainerOptionsBuilder, InspectContainerOptions, KillContainerOptionsBuilder,
        RemoveContainerOptionsBuilder, StartContainerOptions, StopContainerOptionsBuilder,
    },
};

/// More containers than any engine runs.
const MOST_CONTAINERS: usize = 1 << 16;

fn about(container: &str, behind: &'static str, answer: Answer) -> Route {
    Route::about("/containers/", container, behind, answer)
}

impl Engine {
    /// Creates a container and returns its id.
    pub async fn create_container(&self, name: &str, body: ContainerCreateBody) -> Result<String, EngineError> {
        let options = CreateContainerOptionsBuilder::default().name(name).build();
        let route = Route::fixed("/containers/create", name, Answer::Short);
        let call = |docker: Docker, _| async move { docker.create_container(Some(options), body).await };
        Ok(self.connection.call("create container", route, SLOW, call).await?.id)
    }

    /// Starts a container. It is no error if it is already running.
    pub async fn start_container(&self, id: &str) -> Result<(), EngineError> {
        let call = |docker: Docker, id: String| async move {
            docker.start_container(&id, None::<StartContainerOptions>).await
        };
        self.connection.call("start container", about(id, "/start", Answer::Short), SLOW, call).await
    }

    /// Everything the engine knows of a container, by id or name.
    pub async fn inspect_container(&self, id: &str) -> Result<Inspected, EngineError> {
        let call = |docker: Docker, id: String| async move {
            docker.inspect_container(&id, None::<InspectContainerOptions>).await
        };
        let inspected = self.connection.ask("inspect container", about(id, "/json", Answer::Thing), SLOW, call);
        with("Id", Inspected::from(inspected.await?), |inspected| !inspected.id.is_empty())
    }

    /// Sends the container's stop signal and, after `grace` (whole seconds), SIGKILL. Returns once it has exited. It is no
    /// error if it has already exited or does not exist.
    pub async fn stop_container(&self, id: &str, grace: Duration) -> Result<(), EngineError> {
        let seconds = i32::try_from(grace.as_secs()).unwrap_or(i32::MAX);
        let options = StopContainerOptionsBuilder::default().t(seconds).build();
        let call = |docker: Docker, id: String| async move { docker.stop_container(&id, Some(options)).await };
        let route = about(id, "/stop", Answer::Short);
        absent_is_fine(self.connection.call("stop container", route, grace.saturating_add(SLOW), call).await)
    }

    /// Sends a signal to the container's first process.
    pub async fn kill_container(&self, id: &str, signal: &str) -> Result<(), EngineError> {
        let options = KillContainerOptionsBuilder::default().signal(signal).build();
        let call = |docker: Docker, id: String| async move { docker.kill_container(&id, Some(options)).await };
        self.connection.call("kill container", about(id, "/kill", Answer::Short), SLOW, call).await
    }

    /// Removes a container and its anonymous volumes, killing it if it is running. It is no error if it does not exist.
    pub async fn remove_container(&self, id: &str) -> Result<(), EngineError> {
        let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
        let call = |docker: Docker, id: String| async move { docker.remove_container(&id, Some(options)).await };
        absent_is_fine(self.connection.call("remove container", about(id, "", Answer::Short), SLOW, call).await)
    }

    /// Running containers that publish a host port, such as `80/tcp`, on any address.
    pub async fn containers_that_publish(&self, port: &str) -> Result<Vec<ListedContainer>, EngineError> {
        self.containers(port, QUICK, &[("filters", &filters("publish", port))]).await
    }

    /// Running containers.
    pub async fn running_containers(&self) -> Result<Vec<ListedContainer>, EngineError> {
        self.containers("", ALIVE, &[]).await
    }

    /// All containers, in any state.
    pub async fn all_containers(&self) -> Result<Vec<ListedContainer>, EngineError> {
        self.containers("", QUICK, &[("all", "true")]).await
    }

    /// Containers in any state that have a label, whatever its value.
    pub async fn containers_with_label(&self, label: &str) -> Result<Vec<ListedContainer>, EngineError> {
        self.containers(label, QUICK, &[("all", "true"), ("filters", &filters("label", label))]).await
    }

    async fn containers(
        &self,
        subject: &str,
        deadline: Duration,
        query: &[(&str, &str)],
    ) -> Result<Vec<ListedContainer>, EngineError> {
        let route = Route::fixed("/containers/json", subject, Answer::Picked);
        let AtMost(found) =
            self.pick::<AtMost<ListedContainer, MOST_CONTAINERS>>("list containers", &route, query, deadline).await?;
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
    use crate::Endpoint;

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

    // A real engine does this while it starts the container.
    #[tokio::test]
    async fn an_engine_that_is_busy_with_a_container_may_take_as_long_to_answer_for_it() {
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

        let (reported, ()) = tokio::join!(engine.inspect_container("busy"), busy);

        assert_eq!(reported.unwrap().id, "busy");
    }
}
