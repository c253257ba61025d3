//! The engine's objects: containers, images, networks, commands in containers.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use serde_json::Value;

/// A process id that no kernel assigns.
pub(crate) const NOBODY: i64 = 2_000_000_000;

/// The state of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Never started.
    Created,
    /// Its process is running.
    Running,
    /// The engine is about to restart it.
    Restarting,
    /// Its process exited.
    Exited {
        /// The exit code; 128 and more are signals.
        code: i64,
        /// The OOM killer killed one of its processes.
        oom_killed: bool,
    },
    /// The engine failed to remove it.
    Dead,
}

/// How a container's process reacts to SIGTERM, SIGINT and SIGQUIT. SIGKILL ends it; other signals have no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnSignal {
    /// It exits with this code.
    Exit(i64),
    /// It ignores them.
    Ignore,
}

/// A container.
#[derive(Clone, Debug, PartialEq)]
pub struct Container {
    /// The full id.
    pub id: String,
    /// The name, without the slash.
    pub name: String,
    /// The image id.
    pub image_id: String,
    /// The labels, including the image's.
    pub labels: BTreeMap<String, String>,
    /// The body of the create request.
    pub request: Value,
    /// Its state.
    pub state: State,
    /// When it was created.
    pub created_at: SystemTime,
    /// When it was last started.
    pub started_at: Option<SystemTime>,
    /// When it last exited.
    pub finished_at: Option<SystemTime>,
    /// Its first process; 0 if it is not running.
    pub pid: i64,
    /// Its networks, by name.
    pub networks: BTreeMap<String, Value>,
    /// How its process reacts to a signal.
    pub on_signal: OnSignal,
    /// Its output: whether it is standard error, and the text.
    pub output: Vec<(bool, String)>,
}

impl Container {
    /// Whether its process is running.
    pub fn is_running(&self) -> bool {
        self.state == State::Running
    }

    /// The path of its network namespace.
    pub fn sandbox_key(&self) -> String {
        if self.is_running() { format!("/var/run/docker/netns/{}", &self.id[..12]) } else { String::new() }
    }
}

/// An image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// `sha256:...`
    pub id: String,
    /// The names, each with a tag.
    pub tags: Vec<String>,
    /// The repositories with digests.
    pub digests: Vec<String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The digests of its layers.
    pub layers: Vec<String>,
}

impl Image {
    /// An image with a name, from which its id is derived.
    pub fn named(name: &str) -> Self {
        let id = format!("sha256:{}", hex(name.bytes().fold(7, |hash, byte| hash * 31 % 1_000_003 + u64::from(byte))));
        let layers = vec![id.clone()];
        Self { id, tags: vec![name.to_owned()], digests: Vec::new(), labels: BTreeMap::new(), layers }
    }

    /// The same image with another id.
    #[must_use]
    pub fn with_id(self, number: u64) -> Self {
        Self { id: format!("sha256:{}", hex(number)), ..self }
    }
}

/// A network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
}

/// How a command in a container runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exec {
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
    /// Its exit code.
    pub code: i64,
    /// Whether it runs until its input ends.
    pub reads_input: bool,
}

/// A prepared command.
#[derive(Clone, Debug)]
pub(crate) struct Prepared {
    pub(crate) container: String,
    pub(crate) request: Value,
    pub(crate) exec: Exec,
    pub(crate) state: ExecState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExecState {
    Prepared,
    Running,
    Exited,
}

/// An id of 64 digits; consecutive numbers begin differently.
pub(crate) fn hex(number: u64) -> String {
    let mixed = |odd: u64| (number + 1).wrapping_mul(odd);
    let parts = [0x9E37_79B9_7F4A_7C15, 0xC2B2_AE3D_27D4_EB4F, 0x1656_67B1_9E37_79F9, 0xD6E8_FEB8_6659_FD93];
    parts.map(|odd| format!("{:016x}", mixed(odd))).concat()
}

/// A name as the engine shows it, with its tag.
pub(crate) fn tagged(name: &str) -> String {
    let name = familiar(name);
    let last = name.rsplit('/').next().unwrap_or(name);
    if last.contains([':', '@']) { name.to_owned() } else { format!("{name}:latest") }
}

/// A repository's name without the engine's default prefixes.
pub(crate) fn familiar(name: &str) -> &str {
    let name = name.strip_prefix("docker.io/").unwrap_or(name);
    name.strip_prefix("library/").unwrap_or(name)
}

/// Whole seconds since 1970, the time format of lists.
pub(crate) fn seconds(at: SystemTime) -> u64 {
    at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
}
