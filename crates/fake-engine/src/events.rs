//! Events, and subscriptions to them.

use std::{collections::BTreeMap, time::SystemTime};

use serde_json::{Value, json};
use tokio::sync::watch;

use crate::{clock::since_1970, model::Container};

/// An event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// `container`, `network`, `image`.
    pub kind: String,
    /// `die`, `destroy`, `oom`, ...
    pub action: String,
    /// The id of its subject.
    pub id: String,
    /// Other attributes.
    pub attributes: BTreeMap<String, String>,
    /// When.
    pub at: SystemTime,
}

impl Event {
    /// An event of a container.
    pub fn of(container: &Container, action: &str) -> Self {
        let image = container.request["Image"].as_str().unwrap_or_default().to_owned();
        let named = [("image".to_owned(), image), ("name".to_owned(), container.name.clone())];
        Self {
            kind: "container".to_owned(),
            action: action.to_owned(),
            id: container.id.clone(),
            attributes: container.labels.clone().into_iter().chain(named).collect(),
            at: SystemTime::now(),
        }
    }

    /// An event of a network, about a container.
    pub fn of_network(id: &str, name: &str, action: &str, container: &str) -> Self {
        let attributes = [("container", container), ("name", name), ("type", "bridge")];
        Self {
            kind: "network".to_owned(),
            action: action.to_owned(),
            id: id.to_owned(),
            attributes: attributes.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            at: SystemTime::now(),
        }
    }

    /// The same event with another attribute.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.attributes.insert(name.to_owned(), value.to_owned());
        self
    }

    /// The same event at another time.
    #[must_use]
    pub fn at(self, at: SystemTime) -> Self {
        Self { at, ..self }
    }

    pub(crate) fn json(&self) -> Value {
        let Self { kind, action, id, attributes, at } = self;
        let at = since_1970(*at);
        let nanoseconds = u64::try_from(at.as_nanos()).unwrap_or(u64::MAX);
        let mut event = json!({
            "Type": kind,
            "Action": action,
            "Actor": { "ID": id, "Attributes": attributes },
            "scope": "local",
            "time": at.as_secs(),
            "timeNano": nanoseconds,
        });
        if kind == "container" {
            event["status"] = json!(action);
            event["id"] = json!(id);
            event["from"] = json!(attributes.get("image"));
        }
        event
    }
}

/// Which events a subscription wants.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    kinds: Vec<String>,
    actions: Vec<String>,
}

impl Filter {
    /// Parses the query's filters; invalid JSON filters nothing.
    pub(crate) fn parse(text: &str) -> Self {
        let filters: Value = serde_json::from_str(text).unwrap_or_default();
        Self { kinds: values(&filters["type"]), actions: values(&filters["event"]) }
    }

    pub(crate) fn wants(&self, event: &Event) -> bool {
        let wants = |wanted: &[String], is: &String| wanted.is_empty() || wanted.contains(is);
        wants(&self.kinds, &event.kind) && wants(&self.actions, &event.action)
    }
}

/// A filter's values: a list, or an object whose values are flags.
pub(crate) fn values(filter: &Value) -> Vec<String> {
    match filter {
        Value::Array(values) => values.iter().filter_map(|value| value.as_str().map(str::to_owned)).collect(),
        Value::Object(values) => values.keys().cloned().collect(),
        _ => Vec::new(),
    }
}

/// All events. The number counts all changes, to wake waiters.
#[derive(Debug)]
pub(crate) struct EventLog {
    events: Vec<Event>,
    count: watch::Sender<u64>,
}

impl Default for EventLog {
    fn default() -> Self {
        Self { events: Vec::new(), count: watch::Sender::new(0) }
    }
}

impl EventLog {
    pub(crate) fn push(&mut self, event: Event) {
        self.events.push(event);
        self.changed();
    }

    /// Wakes all waiters.
    pub(crate) fn changed(&self) {
        self.count.send_modify(|count| *count += 1);
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.count.subscribe()
    }

    /// Where a subscription begins: at a time, or with the next event.
    pub(crate) fn begin(&self, since: Option<SystemTime>) -> usize {
        let from = |since| self.events.iter().position(|event| event.at >= since);
        since.and_then(from).unwrap_or(self.events.len())
    }

    pub(crate) fn get(&self, at: usize) -> Option<&Event> {
        self.events.get(at)
    }

    pub(crate) fn all(&self) -> &[Event] {
        &self.events
    }
}
