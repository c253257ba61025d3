//! The engine's container events, as they happen.

use std::{
    borrow::Cow,
    time::{Duration, SystemTime},
};

use bollard::body_full;
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use http::Request;
use serde::Deserialize;

use super::{
    ALIVE, Engine, EngineError,
    lines::Line,
    route::{Answer, Route},
};

/// Larger than the event of any container that this driver creates: an event includes the labels of the container and its
/// image.
const LONGEST_EVENT: usize = 16 << 20;

/// A message of the event subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EngineEvent {
    /// Something happened to a container.
    Container(ContainerEvent),
    /// Something unknown happened: the event is too long or cannot be parsed.
    Unread,
}

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
    /// The OOM killer killed one of its processes.
    OutOfMemory,
    /// It was disconnected from a network, possibly because it exited.
    Disconnected,
}

impl Engine {
    /// Subscribes to events from a time on; the engine remembers a few hundred. The stream ends or fails when the connection
    /// breaks, and the subscriber must find out what it missed. A stream on which nothing comes may be dead without an end.
    pub async fn container_events(
        &self,
        since: SystemTime,
    ) -> Result<impl Stream<Item = Result<EngineEvent, EngineError>> + Send + Unpin + use<>, EngineError> {
        let filters = serde_json::json!({
            "type": ["container", "network"],
            "event": ["die", "destroy", "oom", "disconnect"],
        });
        let query = [("since", &*unix_time(since)), ("filters", &filters.to_string())];
        let route = Route::fixed("/events", "", Answer::Stream);
        let request = Request::new(body_full(Bytes::new()));
        // The engine sends the head at once, before there is any event.
        let lines = self.lines("events", &route, &query, Some(ALIVE), request, LONGEST_EVENT).await?;
        Ok(Box::pin(lines.filter_map(|line| {
            let event = match line {
                Ok(Line::Whole(line)) => read_event(&line).map(Ok),
                Ok(Line::TooLong(_)) => Some(Ok(EngineEvent::Unread)),
                Err(error) => Some(Err(error)),
            };
            std::future::ready(event)
        })))
    }

    /// Reports that the connection broke: what is known of the engine may not hold for the one that comes back.
    pub fn was_away(&self) {
        self.connection.forget();
    }

    /// Reports that a connection is silent when it should not be, so others may be dead as well. The subscription to events
    /// and followed logs break, and can be resumed from where they were.
    pub fn is_silent(&self) {
        self.connection.give_up();
    }

    /// Whether the engine responds at all.
    pub async fn answers(&self) -> Result<(), EngineError> {
        let call = |docker: bollard::Docker, _| async move { docker.ping().await.map(drop) };
        self.connection.call("ping", Route::fixed("/_ping", "", Answer::Short), ALIVE, call).await
    }
}

/// Seconds and nanoseconds, in the engine's time format.
fn unix_time(at: SystemTime) -> String {
    let at = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    format!("{}.{:09}", at.as_secs(), at.subsec_nanos())
}

/// An event, as far as the driver reads it. All else is ignored.
#[derive(Deserialize)]
struct EventMessage<'a> {
    #[serde(rename = "Type", borrow)]
    kind: Option<Cow<'a, str>>,
    #[serde(rename = "Action", borrow)]
    action: Option<Cow<'a, str>>,
    #[serde(rename = "Actor", borrow)]
    actor: Option<Actor<'a>>,
    #[serde(rename = "timeNano")]
    time_nano: Option<i64>,
}

#[derive(Deserialize)]
struct Actor<'a> {
    #[serde(rename = "ID", borrow)]
    id: Option<Cow<'a, str>>,
    #[serde(rename = "Attributes", borrow)]
    attributes: Option<Attributes<'a>>,
}

#[derive(Deserialize)]
struct Attributes<'a> {
    #[serde(borrow)]
    container: Option<Cow<'a, str>>,
}

/// Parses an event from its line; `None` if it is of no interest.
pub fn read_event(line: &[u8]) -> Option<EngineEvent> {
    match serde_json::from_slice(line) {
        Ok(message) => container_event(message).map(EngineEvent::Container),
        Err(_) => Some(EngineEvent::Unread),
    }
}

fn container_event(message: EventMessage<'_>) -> Option<ContainerEvent> {
    let actor = message.actor?;
    let (kind, container) = match (message.kind?.as_ref(), message.action?.as_ref()) {
        ("container", "die") => (ContainerEventKind::Died, actor.id),
        ("container", "destroy") => (ContainerEventKind::Destroyed, actor.id),
        ("container", "oom") => (ContainerEventKind::OutOfMemory, actor.id),
        ("network", "disconnect") => {
            (ContainerEventKind::Disconnected, actor.attributes.and_then(|attributes| attributes.container))
        }
        _ => return None,
    };
    let since_1970 = message.time_nano.and_then(|nanoseconds| u64::try_from(nanoseconds).ok());
    let at = since_1970.and_then(|at| SystemTime::UNIX_EPOCH.checked_add(Duration::from_nanos(at)));
    Some(ContainerEvent { container: container?.into_owned(), kind, at: at.unwrap_or_else(SystemTime::now) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_read_whatever_else_is_in_it() {
        let died = r#"{"status":"die","id":"c1","from":"app","Type":"container","Action":"die","Actor":{"ID":"c1",
            "Attributes":{"container":"a \"label\"","exitCode":"137","z":"{"}},"scope":"local","time":1,"timeNano":1000000002}"#;
        let disconnected =
            r#"{"Type":"network","Action":"disconnect","Actor":{"ID":"n1","Attributes":{"container":"c2"}}}"#;
        let at = SystemTime::UNIX_EPOCH + Duration::new(1, 2);

        let died = read_event(died.as_bytes());
        let expected = ContainerEvent { container: "c1".into(), kind: ContainerEventKind::Died, at };
        assert_eq!(died, Some(EngineEvent::Container(expected)));
        let Some(EngineEvent::Container(event)) = read_event(disconnected.as_bytes()) else { panic!("it is one") };
        assert_eq!((event.container.as_str(), event.kind), ("c2", ContainerEventKind::Disconnected));
        assert_eq!(read_event(br#"{"Type":"container","Action":"exec_die","Actor":{"ID":"c1"}}"#), None);
        assert_eq!(read_event(br#"{"Type":"container","Action":"die"}"#), None);
    }

    #[test]
    fn what_is_no_event_may_have_been_any() {
        for line in ["", "{", "[]", "null", r#"{"Actor":{"ID":1}}"#, &"[".repeat(1 << 20)] {
            assert_eq!(read_event(line.as_bytes()), Some(EngineEvent::Unread), "{:?}", &line[..line.len().min(20)]);
        }
    }
}
