//! A job: what is to run, as its file says it.

mod constraint;
mod names;
mod read;
mod reader;
mod references;

use std::{collections::BTreeMap, ops::Range, time::Duration};

pub(crate) use read::read;
pub(crate) use reader::nearest;
pub(crate) use references::is_of_running_task;

use crate::body::Body;

/// A job.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// Its identity: the `id`, or the block's label.
    pub id: String,
    /// Its name.
    pub name: String,
    /// How long it is meant to run.
    pub kind: JobKind,
    /// Its namespace.
    pub namespace: String,
    /// Its region.
    pub region: String,
    /// Where it may run; tasks see the first.
    pub datacenters: Vec<String>,
    /// Free notes, which tasks see.
    pub meta: BTreeMap<String, String>,
    /// What the machine must be like.
    pub constraints: Vec<Constraint>,
    /// What runs together.
    pub groups: Vec<Group>,
}

/// How long a job is meant to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobKind {
    /// Until it is stopped.
    Service,
    /// Until its tasks have ended.
    Batch,
    /// Until it is stopped, once on each machine.
    System,
    /// Until its tasks have ended, once on each machine.
    Sysbatch,
}

/// Tasks that run together.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// How many of it.
    pub count: u32,
    /// Free notes, which tasks see.
    pub meta: BTreeMap<String, String>,
    /// What the machine must be like.
    pub constraints: Vec<Constraint>,
    /// Its network.
    pub network: Network,
    /// The tasks.
    pub tasks: Vec<Task>,
}

impl Group {
    /// Whether a task of this name is a main task.
    pub fn has_main(&self, name: &str) -> bool {
        self.tasks.iter().any(|task| task.name == name && task.lifecycle.is_none())
    }
}

/// A group's network.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Network {
    /// `host`, `bridge`, `none` or empty.
    pub mode: String,
    /// The hostname in a shared network.
    pub hostname: String,
    /// The resolver's settings.
    pub dns: Option<Dns>,
    /// Its ports.
    pub ports: Vec<Port>,
}

/// A resolver's settings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dns {
    /// Addresses.
    pub servers: Vec<String>,
    /// Search domains.
    pub searches: Vec<String>,
    /// Options.
    pub options: Vec<String>,
}

/// A port of a group's network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Its label.
    pub label: String,
    /// The host's port, where the job names one.
    pub fixed: Option<u16>,
    /// The port inside the task, where it is another.
    pub to: Option<u16>,
}

/// What happens when a task fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restart {
    /// How often it is started again within an interval.
    pub attempts: u32,
    /// The interval.
    pub interval: Duration,
    /// How long to wait before.
    pub delay: Duration,
    /// What happens when the attempts are used up.
    pub mode: RestartMode,
}

/// What happens when the attempts are used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartMode {
    /// The task has failed.
    Fail,
    /// It waits for the next interval.
    Delay,
}

/// A task.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    /// Its name.
    pub name: String,
    /// The driver's name.
    pub driver: String,
    /// The driver's configuration, to be decoded against its schema.
    pub config: Body,
    /// The environment; may hold run-time references.
    pub env: BTreeMap<String, String>,
    /// The user to run as.
    pub user: String,
    /// What it may use.
    pub resources: TaskResources,
    /// Files to make before it starts.
    pub templates: Vec<Template>,
    /// What happens when it fails.
    pub restart: Restart,
    /// How long it may take to end.
    pub kill_timeout: Duration,
    /// The signal that ends it; empty is the driver's.
    pub kill_signal: String,
    /// Its logs.
    pub logs: Logs,
    /// What the machine must be like.
    pub constraints: Vec<Constraint>,
    /// Free notes, which the task sees.
    pub meta: BTreeMap<String, String>,
    /// Whether the group ends with it.
    pub leader: bool,
    /// When it runs; `None` is a main task.
    pub lifecycle: Option<Lifecycle>,
}

/// When a task runs, seen from the main tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifecycle {
    /// The moment at which it starts.
    pub hook: Hook,
    /// Whether it runs as long as the main tasks do.
    pub sidecar: bool,
}

/// A moment in the life of the main tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// Before they start.
    Prestart,
    /// Once they run.
    Poststart,
    /// When they have ended.
    Poststop,
}

/// What a task may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskResources {
    /// MHz.
    pub cpu: u32,
    /// Whole processors of its own, in place of MHz; 0 is unset.
    pub cores: u32,
    /// MiB.
    pub memory: u32,
    /// MiB; 0 is unset.
    pub memory_max: u32,
}

/// A file to make before the task starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// The template's text, where it stands in the job.
    pub data: Option<String>,
    /// A file with the text.
    pub source: Option<String>,
    /// Where to put the result, relative to the task's directory.
    pub destination: String,
    /// The result's mode, in octal.
    pub perms: u32,
    /// Whether the result's `NAME=value` lines become environment.
    pub env: bool,
    /// What opens an action.
    pub left_delimiter: String,
    /// What closes an action.
    pub right_delimiter: String,
    /// Where the source is written.
    pub source_span: Range<usize>,
    /// Where the destination is written.
    pub destination_span: Range<usize>,
}

/// A task's log files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Logs {
    /// How many are kept.
    pub max_files: u32,
    /// MiB each.
    pub max_file_size: u32,
    /// Whether nothing is collected.
    pub disabled: bool,
}

/// What the machine must be like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Constraint {
    /// For example `${attr.driver.docker.version}`.
    pub attribute: String,
    /// How it is compared.
    pub operator: Operator,
    /// What to compare with.
    pub value: String,
}

/// How an attribute is compared with a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `=`, `==`, `is`
    Equal,
    /// `!=`, `not`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
    /// `regexp`
    Regexp,
    /// `version`: a pre-release meets only what names one.
    Version,
    /// `semver`: a pre-release is ordered before its release.
    Semver,
    /// `set_contains`, `set_contains_all`
    ContainsAll,
    /// `set_contains_any`
    ContainsAny,
    /// `is_set`
    IsSet,
    /// `is_not_set`
    IsNotSet,
}
