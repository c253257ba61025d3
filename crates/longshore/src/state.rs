//! What an agent records of a job, so that the next agent finds what it left.

use std::{collections::BTreeMap, path::Path, time::SystemTime};

use nomad_plugin::{client::Reattach, driver::PortMapping};
use serde::{Deserialize, Serialize};

use crate::{process::Process, restart::History, turn::Turn};

/// A job that was run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct JobState {
    pub(crate) id: String,
    /// Of the job file's text, to notice a change. The text itself may have passwords in it.
    #[serde(default)]
    pub(crate) source_digest: String,
    /// The process of its agent; earlier versions call it the host.
    #[serde(default, rename = "host")]
    pub(crate) agent: Process,
    /// Whether that agent has placed all of the job.
    #[serde(default)]
    pub(crate) placed: bool,
    /// Where the driver's process is found.
    pub(crate) driver: Option<Reattach>,
    pub(crate) allocs: Vec<AllocState>,
}

impl JobState {
    /// A job is what its tasks are together.
    pub(crate) fn phase(&self) -> Phase {
        let has = |phase| self.allocs.iter().flat_map(|alloc| alloc.tasks.values()).any(|task| task.phase == phase);
        match () {
            () if has(Phase::Running) => Phase::Running,
            () if has(Phase::Pending) => Phase::Pending,
            () if has(Phase::Failed) => Phase::Failed,
            () => Phase::Complete,
        }
    }

    /// A task of an allocation, where the job has it.
    pub(crate) fn task(&mut self, alloc: &str, task: &str) -> Option<&mut TaskState> {
        self.allocs.iter_mut().find(|known| known.id == alloc)?.tasks.get_mut(task)
    }
}

/// An instance of a group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct AllocState {
    pub(crate) id: String,
    pub(crate) group: String,
    pub(crate) index: u32,
    pub(crate) ports: Vec<PortState>,
    /// The network that its tasks share, from before it is made until it is removed.
    #[serde(default)]
    pub(crate) network: Option<NetworkState>,
    pub(crate) tasks: BTreeMap<String, TaskState>,
}

impl AllocState {
    /// Whether it has anything of this machine.
    pub(crate) fn is_live(&self) -> bool {
        self.network.is_some() || self.tasks.values().any(|task| !task.phase.is_over())
    }

    /// The first instance of a group `g`, for tests.
    #[cfg(test)]
    pub(crate) fn of_test(tasks: BTreeMap<String, TaskState>) -> Self {
        Self { id: "a".into(), group: "g".into(), index: 0, ports: Vec::new(), network: None, tasks }
    }
}

/// A port that was given out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PortState {
    pub(crate) label: String,
    pub(crate) host_ip: String,
    pub(crate) value: i32,
    pub(crate) to: i32,
}

impl From<&PortMapping> for PortState {
    fn from(port: &PortMapping) -> Self {
        let PortMapping { label, value, to, host_ip } = port;
        Self { label: label.clone(), host_ip: host_ip.clone(), value: *value, to: *to }
    }
}

impl From<&PortState> for PortMapping {
    fn from(port: &PortState) -> Self {
        let PortState { label, host_ip, value, to } = port;
        Self { label: label.clone(), host_ip: host_ip.clone(), value: *value, to: *to }
    }
}

/// A network that is made for an instance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NetworkState {
    /// The namespace's path; empty until there is one.
    pub(crate) path: String,
    /// The driver's own notes.
    pub(crate) labels: BTreeMap<String, String>,
    /// The name inside it, where it is to be connected to this machine.
    pub(crate) hostname: String,
    /// Its address, once it is connected to this machine.
    pub(crate) address: Option<String>,
    /// What the CNI plugins answered, which undoing needs again; null where none has.
    #[serde(default)]
    pub(crate) connected: serde_json::Value,
}

impl NetworkState {
    pub(crate) fn is_to_be_connected(&self) -> bool {
        !self.hostname.is_empty()
    }

    /// Whether tasks can run in it: the making came to its end, and this machine still has it.
    pub(crate) fn is_made(&self) -> bool {
        self.address.is_some() == self.is_to_be_connected() && Path::new(&self.path).exists()
    }
}

/// A task.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct TaskState {
    pub(crate) phase: Phase,
    /// The run that the driver knows, or was asked to start.
    pub(crate) run: String,
    /// What the driver gave to find it again, in base64.
    pub(crate) handle: Option<String>,
    pub(crate) exit_code: Option<i32>,
    pub(crate) restarts: u32,
    pub(crate) history: History,
    pub(crate) events: Vec<Event>,
    /// When its run began.
    #[serde(default)]
    pub(crate) started_at: Option<SystemTime>,
    /// When it is started again, where it waits for that.
    #[serde(default)]
    pub(crate) restarts_at: Option<SystemTime>,
    /// When it ends, of the tasks of its instance.
    #[serde(default)]
    pub(crate) turn: Turn,
    pub(crate) kill_timeout_ms: u64,
    pub(crate) kill_signal: String,
    /// The processors that are its own.
    #[serde(default)]
    pub(crate) cores: Vec<u32>,
}

impl TaskState {
    /// How its last run ended or failed to begin, and why there is no other.
    pub(crate) fn reason(&self) -> Option<String> {
        const ENDS: [&str; 4] = ["Terminated", "Killed", "Driver Failure", "Setup Failure"];
        let at = self.events.iter().rposition(|event| ENDS.contains(&event.kind.as_str()))?;
        let given_up = self.events[at..].iter().find(|event| event.kind == "Not Restarting");
        let given_up = given_up.map(|event| format!("; {}", event.message)).unwrap_or_default();
        Some(format!("{}{given_up}", self.events[at].message))
    }

    /// Why it does not run, and when it is started again, where it is.
    pub(crate) fn waits_for(&self) -> Option<String> {
        let Some(at) = self.restarts_at else { return self.reason() };
        let time = at.duration_since(SystemTime::now()).unwrap_or_default().as_millis().div_ceil(1000);
        let reason = self.reason().map(|reason| format!("{reason}; ")).unwrap_or_default();
        Some(format!("{reason}restarts in {time}s"))
    }
}

/// Where a task is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Phase {
    #[default]
    Pending,
    Running,
    Complete,
    Failed,
}

impl Phase {
    pub(crate) fn is_over(self) -> bool {
        matches!(self, Self::Complete | Self::Failed)
    }
}

/// Something that happened to a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Event {
    pub(crate) at: SystemTime,
    pub(crate) kind: String,
    pub(crate) message: String,
}
