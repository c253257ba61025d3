//! What an engine has: containers, images, networks, commands in containers.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use serde_json::Value;

/// A process id that no kernel gives.
pub(crate) const NOBODY: i64 = 2_000_000_000;

/// How a container stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Never started.
    Created,
    /// Its process runs.
    Running,
    /// The engine is about to start it again.
    Restarting,
    /// Its process ended.
    Exited {
        /// The process's code; 128 and more are signals.
        code: i64,
        /// The kernel killed a process of it for its memory.
        oom_killed: bool,
    },
    /// The engine failed to remove it.
    Dead,
}

/// What a container's process does at SIGTERM, SIGINT and SIGQUIT. At SIGKILL it ends; at all else it does nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnSignal {
    /// It ends with this code.
    Exit(i64),
    /// Nothing.
    Ignore,
}

/// A container.
#[derive(Clone, Debug, PartialEq)]
pub struct Container {
    /// The full id.
    pub id: String,
    /// The name, without the slash.
    pub name: String,
    /// The image, by its id.
    pub image_id: String,
    /// The labels, the image's included.
    pub labels: BTreeMap<String, String>,
    /// The body of the create request.
    pub request: Value,
    /// How it stands.
    pub state: State,
    /// When it was made.
    pub created_at: SystemTime,
    /// When it was last started.
    pub started_at: Option<SystemTime>,
    /// When it last ended.
    pub finished_at: Option<SystemTime>,
    /// Its first process; 0 where it does not run.
    pub pid: i64,
    /// Its networks, by name.
    pub networks: BTreeMap<String, Value>,
    /// What its process does at a signal.
    pub on_signal: OnSignal,
    /// Its output: whether it is standard error, and the text.
    pub output: Vec<(bool, String)>,
}

impl Container {
    /// Whether its process runs.
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
    /// An image with a name; its id follows from that.
    pub fn named(name: &str) -> Self {
        let id = format!("sha256:{}", hex(name.bytes().fold(7, |hash, byte| hash * 31 % 1_000_003 + u64::from(byte))));
        let layers = vec![id.clone()];
        Self { id, tags: vec![name.to_owned()], digests: Vec::new(), labels: BTreeMap::new(), layers }
    }

    /// The same with another id.
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
    /// Its code.
    pub code: i64,
    /// Whether it runs until its input ends.
    pub reads_input: bool,
}

/// A command that was prepared.
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

/// An id of 64 digits; numbers that follow each other begin differently.
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

/// A repository's name without what the engine adds to it.
pub(crate) fn familiar(name: &str) -> &str {
    let name = name.strip_prefix("docker.io/").unwrap_or(name);
    name.strip_prefix("library/").unwrap_or(name)
}

/// Whole seconds since 1970, as lists have times.
pub(crate) fn seconds(at: SystemTime) -> u64 {
    at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
}
