//! What the engine reports of itself.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use bollard::models::{SystemInfo, SystemInfoCgroupVersionEnum};
use sha2::{Digest, Sha256};

use super::{
    Engine, EngineError, QUICK,
    error::with,
    route::{Answer, Route},
};

/// What the driver needs to know of the engine. It changes only when the engine restarts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineFacts {
    /// Identifies the engine in the driver's file names, across its restarts.
    pub name: EngineName,
    /// Where the engine stores its containers' files.
    pub root_dir: PathBuf,
    /// 1 or 2.
    pub cgroup_version: u8,
    /// Names, sorted.
    pub runtimes: Vec<String>,
    /// The default logging driver of containers.
    pub logging_driver: String,
    /// Usually `linux`.
    pub os_type: String,
    /// The API version in use.
    pub api: ApiVersion,
}

/// Names for the driver's files of an engine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EngineName {
    /// Unique per engine: derived from its id, its address and its data directory.
    pub now: String,
    /// Derived from its id alone, as in earlier versions of the driver. Engines before 23.0 take their id from
    /// `/etc/docker/key.json`, so all engines of a host share it.
    pub former: String,
}

impl EngineName {
    /// `root` is the engine's data directory, on the engine's host.
    fn new(id: &str, address: &str, root: &Path) -> Self {
        let former: String = id.chars().map(|char| if char.is_ascii_alphanumeric() { char } else { '-' }).collect();
        // One socket may have several paths: /var/run is a link.
        let socket = address.strip_prefix("unix://").map(Path::new);
        let found = socket.and_then(|socket| fs::canonicalize(socket).ok());
        let address = found.map_or_else(|| address.to_owned(), |socket| format!("unix://{}", socket.display()));
        // A directory that was recreated has none of the previous data.
        let inode = socket.and_then(|_| fs::metadata(root).ok()).map_or(0, |root| root.ino());
        let digest = Sha256::digest(format!("{id}\n{address}\n{}\n{inode}", root.display()));
        let digest = digest.iter().take(8).fold(0u64, |digest, byte| digest << 8 | u64::from(*byte));
        Self { now: format!("{former}-{digest:016x}"), former }
    }
}

/// A version of the Engine API, for example 1.41.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ApiVersion {
    /// The major version.
    pub major: usize,
    /// The minor version.
    pub minor: usize,
}

impl std::fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl EngineFacts {
    fn new(info: SystemInfo, api: ApiVersion, address: &str) -> Self {
        let root_dir = PathBuf::from(info.docker_root_dir.unwrap_or_default());
        let mut runtimes: Vec<String> = info.runtimes.unwrap_or_default().into_keys().collect();
        runtimes.sort();
        Self {
            name: EngineName::new(&info.id.unwrap_or_default(), address, &root_dir),
            root_dir,
            cgroup_version: if info.cgroup_version == Some(SystemInfoCgroupVersionEnum::_2) { 2 } else { 1 },
            runtimes,
            logging_driver: info.logging_driver.unwrap_or_default(),
            os_type: info.os_type.unwrap_or_default(),
            api,
        }
    }
}

impl Engine {
    /// The engine's facts: requested once, and again after the engine was away.
    pub async fn facts(&self) -> Result<Arc<EngineFacts>, EngineError> {
        match self.connection.facts() {
            Some(facts) => Ok(facts),
            None => self.ask_facts().await,
        }
    }

    /// Requests the facts again.
    pub async fn ask_facts(&self) -> Result<Arc<EngineFacts>, EngineError> {
        let call = |docker: bollard::Docker, _| async move {
            let spoken = docker.client_version();
            let api = ApiVersion { major: spoken.major_version, minor: spoken.minor_version };
            Ok((docker.info().await?, api))
        };
        let route = Route::fixed("/info", "", Answer::Thing);
        let (info, api) = self.connection.ask("info", route, QUICK, call).await?;
        let info = with("DockerRootDir", info, |info| info.docker_root_dir.is_some())?;
        let facts = Arc::new(EngineFacts::new(info, api, self.address()));
        self.connection.remember(facts.clone());
        Ok(facts)
    }

    /// The engine's version.
    pub async fn version(&self) -> Result<String, EngineError> {
        let route = Route::fixed("/version", "", Answer::Thing);
        let call = |docker: bollard::Docker, _| async move { docker.version().await };
        let version = self.connection.ask("version", route, QUICK, call).await?;
        Ok(with("Version", version, |version| version.version.is_some())?.version.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engines_of_one_id_have_names_of_their_own_and_one_engine_has_one_name() {
        let directory = tempfile::tempdir().unwrap();
        let [root, other] = ["root", "other"].map(|name| directory.path().join(name));
        let [socket, link] = ["docker.sock", "link.sock"].map(|name| directory.path().join(name));
        fs::create_dir(&root).unwrap();
        fs::write(&socket, "").unwrap();
        std::os::unix::fs::symlink(&socket, &link).unwrap();
        let at = |socket: &Path| format!("unix://{}", socket.display());
        let name = |address: &str, root: &Path| EngineName::new("AB:CD", address, root).now;

        let first = name(&at(&socket), &root);
        let by_another_name = name(&at(&link), &root);
        let elsewhere = [name(&at(&socket), &other), name("tcp://one:2375", &root), name("tcp://two:2375", &root)];
        fs::rename(&root, &other).unwrap();
        fs::create_dir(&root).unwrap();
        let made_again = name(&at(&socket), &root);

        assert!(first.starts_with("AB-CD-") && first.len() == "AB-CD-".len() + 16, "{first}");
        assert_eq!(first, by_another_name);
        let all: std::collections::BTreeSet<_> = elsewhere.into_iter().chain([first, made_again]).collect();
        assert_eq!(all.len(), 5, "{all:?}");
        assert_eq!(EngineName::new("AB:CD/..", "tcp://one:2375", &root).former, "AB-CD---");
    }
}
