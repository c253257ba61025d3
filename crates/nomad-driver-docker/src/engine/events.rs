//! The engine's events of containers, as they happen.

use std::{
    collections::HashMap,
    time::{Duration, SystemTime},
};

use bollard::{
    models::{EventMessage, EventMessageTypeEnum},
    query_parameters::EventsOptionsBuilder,
};
use futures_util::{Stream, StreamExt};

use super::{Engine, EngineError, error};

/// Something happened to a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerEvent {
    /// The container's full id.
    pub container: String,
    /// What happened.
    pub kind: ContainerEventKind,
    /// When, by the engine's clock.
    pub at: SystemTime,
}

/// What happened to a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContainerEventKind {
    /// Its first process ended.
    Died,
    /// It was removed.
    Destroyed,
    /// The kernel killed a process of it for its memory.
    OutOfMemory,
    /// It was disconnected from a network, be it that it ended.
    Disconnected,
}

impl Engine {
    /// A subscription from a time on, of which the engine remembers some hundred events. It ends, or fails, when the
    /// connection breaks: what happened meanwhile is the subscriber's to find out.
    pub async fn container_events(
        &self,
        since: SystemTime,
    ) -> Result<impl Stream<Item = Result<ContainerEvent, EngineError>> + Send + Unpin + use<>, EngineError> {
        let failed = |cause| EngineError { operation: "events", subject: String::new(), cause };
        let docker = self.connection.docker().await.map_err(failed)?;
        let address = self.address().to_owned();
        let names = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect::<Vec<_>>();
        let filters = HashMap::from([
            ("type".to_owned(), names(&["container", "network"])),
            ("event".to_owned(), names(&["die", "destroy", "oom", "disconnect"])),
        ]);
        let options = EventsOptionsBuilder::default().since(&unix_time(since)).filters(&filters).build();
        let messages = docker.events(Some(options));
        Ok(Box::pin(messages.filter_map(move |message| {
            let event = match message {
                Ok(message) => container_event(message).map(Ok),
                Err(error) => Some(Err(failed(error::cause(error, &address)))),
            };
            std::future::ready(event)
        })))
    }

    /// Tells that the connection broke: what is known of the engine may not hold for the one that comes back.
    pub fn was_away(&self) {
        self.connection.forget();
    }

    /// Tells that a connection is silent where it should not be: others may be as well. Logs that are followed break, and can
    /// be followed again from where they were.
    pub fn is_silent(&self) {
        self.connection.give_up();
    }

    /// Whether the engine answers at all.
    pub async fn answers(&self) -> Result<(), EngineError> {
        let call = |docker: bollard::Docker| async move { docker.ping().await.map(drop) };
        self.connection.call(("ping", ""), super::ALIVE, call).await
    }
}

/// Seconds and nanoseconds, as the engine reads times.
fn unix_time(at: SystemTime) -> String {
    let at = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    format!("{}.{:09}", at.as_secs(), at.subsec_nanos())
}

fn container_event(message: EventMessage) -> Option<ContainerEvent> {
    let actor = message.actor?;
    let (kind, container) = match (message.typ?, message.action?.as_str()) {
        (EventMessageTypeEnum::CONTAINER, "die") => (ContainerEventKind::Died, actor.id),
        (EventMessageTypeEnum::CONTAINER, "destroy") => (ContainerEventKind::Destroyed, actor.id),
        (EventMessageTypeEnum::CONTAINER, "oom") => (ContainerEventKind::OutOfMemory, actor.id),
        (EventMessageTypeEnum::NETWORK, "disconnect") => {
            (ContainerEventKind::Disconnected, actor.attributes.and_then(|mut of| of.remove("container")))
        }
        _ => return None,
    };
    let since_1970 = message.time_nano.and_then(|nanoseconds| u64::try_from(nanoseconds).ok());
    let at = since_1970.map_or_else(SystemTime::now, |at| SystemTime::UNIX_EPOCH + Duration::from_nanos(at));
    Some(ContainerEvent { container: container?, kind, at })
}
