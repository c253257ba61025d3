//! A container as the engine reports it, parsed once.

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    time::SystemTime,
};

use bollard::models;

/// An inspected container. Texts are empty if the engine gives none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inspected {
    /// The full id.
    pub id: String,
    /// Without the slash that engines prepend.
    pub name: String,
    /// Its state.
    pub state: ContainerState,
    /// When it was last started.
    pub started_at: Option<SystemTime>,
    /// When it last exited.
    pub finished_at: Option<SystemTime>,
    /// Its own labels and its image's.
    pub labels: HashMap<String, String>,
    /// The id of its image.
    pub image: String,
    /// The image name or id that it was created from.
    pub image_name: String,
    /// The signal that asks it to exit; empty is the engine's default.
    pub stop_signal: String,
    /// Its host name.
    pub hostname: String,
    /// Its logging driver.
    pub log_driver: String,
    /// The path of its network namespace on the engine's host.
    pub sandbox: String,
    /// Its addresses, by network name.
    pub networks: BTreeMap<String, Addresses>,
    /// What is mounted in it.
    pub mounts: Vec<MountPoint>,
}

/// The state of a container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ContainerState {
    /// The engine does not say.
    #[default]
    Unknown,
    /// It was never started.
    Created,
    /// It is running or paused.
    Running {
        /// Its first process, on the engine's host.
        pid: Option<i64>,
    },
    /// It exited, and the engine is about to restart it.
    Restarting,
    /// It exited.
    Exited(End),
    /// It exited, and the engine could not remove it.
    Dead(End),
}

/// How a container exited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct End {
    /// The exit code of its first process.
    pub code: i32,
    /// When; `None` if the engine does not say.
    pub at: Option<SystemTime>,
    /// Whether the OOM killer killed one of its processes, at any time since the start.
    pub out_of_memory: bool,
}

/// A container's addresses in a network; empty if it has none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// The IPv4 address.
    pub ipv4: String,
    /// The global IPv6 address.
    pub ipv6: String,
}

/// What is mounted in a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MountPoint {
    /// Whether it is a host path, as opposed to a volume or a tmpfs.
    pub is_bind: bool,
    /// Its source; `None` if it has no path.
    pub source: Option<PathBuf>,
    /// The mount point in the container.
    pub destination: String,
    /// Whether it is writable.
    pub is_writable: bool,
    /// The name of the volume; `None` if it is none.
    pub volume: Option<String>,
}

impl Inspected {
    /// A label's value; empty if it is not set.
    pub fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }

    /// Whether it is running, including one that is about to be restarted.
    pub fn is_running(&self) -> bool {
        matches!(self.state, ContainerState::Running { .. } | ContainerState::Restarting)
    }

    /// Its first process, if it is running.
    pub fn pid(&self) -> Option<i64> {
        match self.state {
            ContainerState::Running { pid } => pid,
            _ => None,
        }
    }
}

impl ContainerState {
    fn of(state: &models::ContainerState) -> Self {
        let end = End {
            code: state.exit_code.and_then(|code| i32::try_from(code).ok()).unwrap_or_default(),
            at: state.finished_at.as_deref().and_then(time),
            out_of_memory: state.oom_killed == Some(true),
        };
        let is_created = || state.status == Some(models::ContainerStateStatusEnum::CREATED) && end.code == 0;
        if state.restarting == Some(true) {
            Self::Restarting
        } else if state.running == Some(true) {
            Self::Running { pid: state.pid.filter(|pid| *pid > 0) }
        } else if state.dead == Some(true) {
            Self::Dead(end)
        } else if is_created() {
            Self::Created
        } else {
            Self::Exited(end)
        }
    }
}

impl From<models::ContainerInspectResponse> for Inspected {
    fn from(inspected: models::ContainerInspectResponse) -> Self {
        let (state, config) = (inspected.state, inspected.config.unwrap_or_default());
        let at = |text: fn(&models::ContainerState) -> Option<&str>| state.as_ref().and_then(text).and_then(time);
        let settings = inspected.network_settings.unwrap_or_default();
        let networks = settings.networks.unwrap_or_default().into_iter().map(|(name, endpoint)| {
            let ipv6 = endpoint.global_ipv6_address.unwrap_or_default();
            (name, Addresses { ipv4: endpoint.ip_address.unwrap_or_default(), ipv6 })
        });
        let log_config = inspected.host_config.and_then(|host| host.log_config);
        Self {
            id: inspected.id.unwrap_or_default(),
            name: inspected.name.unwrap_or_default().trim_start_matches('/').to_owned(),
            state: state.as_ref().map(ContainerState::of).unwrap_or_default(),
            started_at: at(|state| state.started_at.as_deref()),
            finished_at: at(|state| state.finished_at.as_deref()),
            labels: config.labels.unwrap_or_default(),
            image: inspected.image.unwrap_or_default(),
            image_name: config.image.unwrap_or_default(),
            stop_signal: config.stop_signal.unwrap_or_default(),
            hostname: config.hostname.unwrap_or_default(),
            log_driver: log_config.and_then(|log| log.typ).unwrap_or_default(),
            sandbox: settings.sandbox_key.unwrap_or_default(),
            networks: networks.collect(),
            mounts: inspected.mounts.into_iter().flatten().map(MountPoint::from).collect(),
        }
    }
}

impl From<models::MountPoint> for MountPoint {
    fn from(mount: models::MountPoint) -> Self {
        Self {
            is_bind: mount.typ.as_deref() == Some("bind"),
            source: mount.source.map(PathBuf::from),
            destination: mount.destination.unwrap_or_default(),
            is_writable: mount.rw != Some(false),
            volume: mount.name.filter(|_| mount.typ.as_deref() == Some("volume")),
        }
    }
}

/// A time as the engine writes it. The year 1 means no time.
pub(super) fn time(text: &str) -> Option<SystemTime> {
    use ::time::{OffsetDateTime, format_description::well_known::Rfc3339};
    let at = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    (at.year() > 1).then(|| at.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(json: &str) -> ContainerState {
        let response: models::ContainerInspectResponse =
            serde_json::from_str(&format!(r#"{{"Id":"c","State":{json}}}"#)).unwrap();
        Inspected::from(response).state
    }

    #[test]
    fn each_state_of_the_engine_is_one_of_ours() {
        let at = time("2026-01-02T03:04:05.5Z");
        assert_eq!(at.unwrap().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis(), 1_767_323_045_500);
        let ended = |code, out_of_memory| End { code, at, out_of_memory };
        let finished = r#""FinishedAt":"2026-01-02T03:04:05.5Z""#;
        let never = r#""FinishedAt":"0001-01-01T00:00:00Z","Pid":0"#;

        for (json, expected) in [
            (r#"{"Status":"running","Running":true,"Pid":7}"#.to_owned(), ContainerState::Running { pid: Some(7) }),
            (
                r#"{"Status":"paused","Running":true,"Paused":true,"Pid":7}"#.to_owned(),
                ContainerState::Running { pid: Some(7) },
            ),
            (r#"{"Status":"running","Running":true,"Pid":0}"#.to_owned(), ContainerState::Running { pid: None }),
            (
                r#"{"Status":"restarting","Running":true,"Restarting":true,"Pid":0}"#.to_owned(),
                ContainerState::Restarting,
            ),
            (format!(r#"{{"Status":"created","Running":false,"ExitCode":0,{never}}}"#), ContainerState::Created),
            (
                format!(r#"{{"Status":"created","Running":false,"ExitCode":127,{never}}}"#),
                ContainerState::Exited(End { code: 127, at: None, out_of_memory: false }),
            ),
            (format!(r#"{{"Status":"exited","ExitCode":3,{finished}}}"#), ContainerState::Exited(ended(3, false))),
            (
                format!(r#"{{"Status":"exited","ExitCode":137,"OOMKilled":true,{finished}}}"#),
                ContainerState::Exited(ended(137, true)),
            ),
            (format!(r#"{{"Status":"removing","ExitCode":1,{finished}}}"#), ContainerState::Exited(ended(1, false))),
            (
                format!(r#"{{"Status":"dead","Dead":true,"ExitCode":1,{finished}}}"#),
                ContainerState::Dead(ended(1, false)),
            ),
        ] {
            assert_eq!(state(&json), expected, "{json}");
        }
    }

    #[test]
    fn what_the_engine_leaves_out_is_unknown_and_empty() {
        let nothing = Inspected::from(models::ContainerInspectResponse::default());

        assert_eq!(nothing, Inspected::default());
        assert!(!nothing.is_running() && nothing.pid().is_none() && nothing.label("any").is_empty());
    }
}
