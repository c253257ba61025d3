//! Ports, mounts, devices and the network that tasks of a group share.

use std::collections::BTreeMap;

/// A port of the group's network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortMapping {
    /// The port's label.
    pub label: String,
    /// The host's port.
    pub value: i32,
    /// The port inside the task; 0 is the host's.
    pub to: i32,
    /// The host's address.
    pub host_ip: String,
}

/// A directory or file of the host inside a task.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mount {
    /// Where the task sees it.
    pub task_path: String,
    /// Where the host has it.
    pub host_path: String,
    /// Whether the task may not write.
    pub readonly: bool,
    /// `private`, `host-to-task`, `bidirectional` or empty.
    pub propagation_mode: String,
    /// `SELinux` relabelling.
    pub selinux_label: String,
    /// The volume request's name.
    pub request_name: String,
}

/// A device of the host inside a task.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Device {
    /// Where the task sees it.
    pub task_path: String,
    /// Where the host has it.
    pub host_path: String,
    /// Some of `r`, `w` and `m`.
    pub cgroup_permissions: String,
}

/// A group's `dns` block.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dns {
    /// Addresses.
    pub servers: Vec<String>,
    /// Search domains.
    pub searches: Vec<String>,
    /// Resolver options.
    pub options: Vec<String>,
}

/// Who shares a network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NetworkMode {
    /// The host's own.
    #[default]
    Host,
    /// The group's tasks share one.
    Group,
    /// Each task has its own.
    Task,
    /// None at all.
    None,
}

/// The network that an allocation's tasks share.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkIsolation {
    /// Who shares it.
    pub mode: NetworkMode,
    /// The network namespace's path.
    pub path: String,
    /// The driver's own notes.
    pub labels: BTreeMap<String, String>,
    /// For the tasks' hosts file.
    pub hosts: Option<HostsEntry>,
}

/// One line of a hosts file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostsEntry {
    /// The name.
    pub hostname: String,
    /// The address.
    pub address: String,
}

/// The answer to a request for a network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CreatedNetwork {
    /// The network.
    pub isolation: NetworkIsolation,
    /// Whether it was made now (it was there already otherwise).
    pub created: bool,
}

/// A task's own address, where it has one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkOverride {
    /// The task's `port_map`.
    pub port_map: BTreeMap<String, i32>,
    /// The address; empty is none.
    pub addr: String,
    /// Whether services should advertise it.
    pub auto_advertise: bool,
}
