//! What the engine says of itself.

use std::{path::PathBuf, sync::Arc};

use bollard::models::{SystemInfo, SystemInfoCgroupDriverEnum, SystemInfoCgroupVersionEnum};

use super::{Engine, EngineError, QUICK};

/// What the driver needs to know of the engine. It changes only when the engine restarts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineFacts {
    /// The engine's own id, the same over its restarts.
    pub id: String,
    /// Where the engine keeps its containers' files.
    pub root_dir: PathBuf,
    /// 1 or 2.
    pub cgroup_version: u8,
    /// Whether systemd makes the control groups.
    pub cgroup_systemd: bool,
    /// Names, sorted.
    pub runtimes: Vec<String>,
    /// The logging driver of containers that name none.
    pub logging_driver: String,
    /// `linux` as a rule.
    pub os_type: String,
    /// The engine's version.
    pub version: String,
    /// The version of its API that is spoken.
    pub api: ApiVersion,
}

/// A version of the engine's API, for example 1.41.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ApiVersion {
    /// Before the point.
    pub major: usize,
    /// Behind it.
    pub minor: usize,
}

impl std::fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl EngineFacts {
    fn new(info: SystemInfo, api: ApiVersion) -> Self {
        let mut runtimes: Vec<String> = info.runtimes.unwrap_or_default().into_keys().collect();
        runtimes.sort();
        Self {
            id: info.id.unwrap_or_default(),
            root_dir: info.docker_root_dir.unwrap_or_default().into(),
            cgroup_version: if info.cgroup_version == Some(SystemInfoCgroupVersionEnum::_2) { 2 } else { 1 },
            cgroup_systemd: info.cgroup_driver == Some(SystemInfoCgroupDriverEnum::SYSTEMD),
            runtimes,
            logging_driver: info.logging_driver.unwrap_or_default(),
            os_type: info.os_type.unwrap_or_default(),
            api,
            version: info.server_version.unwrap_or_default(),
        }
    }
}

impl Engine {
    /// What is known of the engine; asked once, and again after it was away.
    pub async fn facts(&self) -> Result<Arc<EngineFacts>, EngineError> {
        match self.connection.facts() {
            Some(facts) => Ok(facts),
            None => self.ask_facts().await,
        }
    }

    /// Asks the engine anew.
    pub async fn ask_facts(&self) -> Result<Arc<EngineFacts>, EngineError> {
        let call = |docker: bollard::Docker| async move {
            let spoken = docker.client_version();
            let api = ApiVersion { major: spoken.major_version, minor: spoken.minor_version };
            Ok(EngineFacts::new(docker.info().await?, api))
        };
        let facts = Arc::new(self.connection.call(("info", ""), QUICK, call).await?);
        self.connection.remember(facts.clone());
        Ok(facts)
    }

    /// The engine's version.
    pub async fn version(&self) -> Result<String, EngineError> {
        let version =
            self.connection.call(("version", ""), QUICK, |docker| async move { docker.version().await }).await?;
        Ok(version.version.unwrap_or_default())
    }
}
