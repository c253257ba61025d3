//! Containers as the engine lists them, as far as the driver reads them.

use std::{
    collections::HashMap,
    fmt,
    net::{IpAddr, Ipv4Addr},
    time::{Duration, SystemTime},
};

use bollard::models::{self, ContainerSummaryStateEnum as State};
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};

use super::inspected::MountPoint;

/// More labels than are searched for ours.
const MOST_LABELS: usize = 1 << 10;
/// Longer than any label that the driver reads.
const LONGEST_LABEL: usize = 4 << 10;
/// The prefix of Nomad's labels.
const NOMADS: &str = "com.hashicorp.nomad.";

/// A container of a list. The labels include its image's, of any number and length.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "Raw")]
pub struct ListedContainer {
    /// The full id.
    pub id: String,
    /// Without the slash that engines prepend.
    pub names: Vec<String>,
    /// `None` if the engine does not say.
    pub created_at: Option<SystemTime>,
    /// Those that are not too long.
    pub labels: HashMap<String, String>,
    /// Its state; `None` if missing or unknown.
    pub state: Option<ListedState>,
    /// The host ports that it publishes.
    pub ports: Vec<PublishedPort>,
    /// What is mounted in it.
    pub mounts: Vec<MountPoint>,
    /// Its network's mode.
    pub network_mode: String,
    /// The id of its image, `sha256:...`.
    pub image: String,
}

/// The state of a listed container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListedState {
    /// It was never started.
    Created,
    /// It runs.
    Running,
    /// It is paused.
    Paused,
    /// It exited, and the engine is about to restart it.
    Restarting,
    /// The engine is about to remove it.
    Removing,
    /// It exited.
    Exited,
    /// It exited, and the engine could not remove it.
    Dead,
}

/// A host port that a container publishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublishedPort {
    /// The host address.
    pub address: IpAddr,
    /// The port.
    pub port: u16,
    /// Its protocol.
    pub protocol: Protocol,
}

/// A protocol with ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl ListedContainer {
    /// A label's value; empty if it is not set.
    pub fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }

    /// Whether it is running, about to be restarted, or being removed.
    pub fn is_running(&self) -> bool {
        self.state.is_some_and(|state| !matches!(state, ListedState::Created | ListedState::Exited | ListedState::Dead))
    }
}

/// As the engine writes it.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Raw {
    id: Option<String>,
    names: Option<Vec<String>>,
    created: Option<i64>,
    #[serde(default, deserialize_with = "labels")]
    labels: Option<HashMap<String, String>>,
    state: Option<State>,
    ports: Option<Vec<models::PortSummary>>,
    mounts: Option<Vec<models::MountPoint>>,
    host_config: Option<models::ContainerSummaryHostConfig>,
    #[serde(rename = "ImageID")]
    image: Option<String>,
}

impl From<Raw> for ListedContainer {
    fn from(raw: Raw) -> Self {
        let seconds = raw.created.and_then(|seconds| u64::try_from(seconds).ok());
        let names = raw.names.into_iter().flatten();
        Self {
            id: raw.id.unwrap_or_default(),
            names: names.map(|name| name.trim_start_matches('/').to_owned()).collect(),
            created_at: seconds.and_then(|seconds| SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))),
            labels: raw.labels.unwrap_or_default(),
            state: raw.state.and_then(state),
            ports: raw.ports.into_iter().flatten().filter_map(published).collect(),
            mounts: raw.mounts.into_iter().flatten().map(MountPoint::from).collect(),
            network_mode: raw.host_config.and_then(|host| host.network_mode).unwrap_or_default(),
            image: raw.image.unwrap_or_default(),
        }
    }
}

fn state(state: State) -> Option<ListedState> {
    Some(match state {
        State::EMPTY => return None,
        State::CREATED => ListedState::Created,
        State::PAUSED => ListedState::Paused,
        State::RESTARTING => ListedState::Restarting,
        State::EXITED => ListedState::Exited,
        State::REMOVING => ListedState::Removing,
        State::DEAD => ListedState::Dead,
        State::RUNNING | State::STOPPING => ListedState::Running,
    })
}

fn published(port: models::PortSummary) -> Option<PublishedPort> {
    use models::PortSummaryTypeEnum as Type;
    Some(PublishedPort {
        address: port.ip.and_then(|address| address.parse().ok()).unwrap_or(Ipv4Addr::UNSPECIFIED.into()),
        port: port.public_port?,
        protocol: match port.typ? {
            Type::TCP => Protocol::Tcp,
            Type::UDP => Protocol::Udp,
            Type::SCTP => Protocol::Sctp,
            Type::EMPTY => return None,
        },
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listed_container_is_read_as_engines_write_it() {
        let json = r#"{"Id":"c1","Names":["/web-a1"],"Created":1000,"Labels":{"a":"b"},"State":"running","HostConfig":
            {"NetworkMode":"container:c0"},"Ports":[{"IP":"::","PrivatePort":80,"PublicPort":8080,"Type":"tcp"},
            {"PrivatePort":53,"Type":"udp"},{"PrivatePort":53,"PublicPort":53,"Type":"udp"}],"Mounts":
            [{"Type":"bind","Source":"/a","Destination":"/b","RW":false},{"Type":"volume","Name":"v1","Destination":"/c"}],
            "ImageID":"sha256:1","Status":"Up 3 minutes"}"#;

        let found: ListedContainer = serde_json::from_str(json).unwrap();

        let port = |address: &str, port, protocol| PublishedPort { address: address.parse().unwrap(), port, protocol };
        assert_eq!((found.id.as_str(), found.names.as_slice()), ("c1", &["web-a1".to_owned()][..]));
        assert_eq!((found.label("a"), found.label("c"), found.is_running()), ("b", "", true));
        assert_eq!(found.created_at, Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1000)));
        assert_eq!(found.ports, [port("::", 8080, Protocol::Tcp), port("0.0.0.0", 53, Protocol::Udp)]);
        assert_eq!(found.network_mode, "container:c0");
        let mount = |to: &str| MountPoint { destination: to.to_owned(), ..MountPoint::default() };
        let bind = MountPoint { is_bind: true, source: Some("/a".into()), ..mount("/b") };
        assert_eq!(
            found.mounts,
            [bind, MountPoint { is_writable: true, volume: Some("v1".to_owned()), ..mount("/c") }]
        );
        assert_eq!(found.image, "sha256:1");
        assert_eq!(serde_json::from_str::<ListedContainer>("{}").unwrap(), ListedContainer::default());
    }

    #[test]
    fn what_is_created_ended_or_dead_does_not_run() {
        let runs = |state: &str| {
            let found: ListedContainer = serde_json::from_str(&format!(r#"{{"State":"{state}"}}"#)).unwrap();
            found.is_running()
        };

        assert!(["running", "paused", "restarting", "removing"].into_iter().all(runs));
        assert!(!["created", "exited", "dead", ""].into_iter().any(runs));
    }
}
