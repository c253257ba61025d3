//! What a host passes to a driver: its own configuration, and a task's.

use std::collections::BTreeMap;

use super::{Device, Dns, Mount, NetworkIsolation, PortMapping};
use crate::id::{AllocId, TaskId};

/// Name and versions of a plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginInfo {
    /// The plugin's name, as it stands in `plugin "<name>"`.
    pub name: String,
    /// The plugin's own version, semver-like.
    pub version: String,
    /// The driver API versions that it speaks.
    pub api_versions: Vec<String>,
}

/// The plugin's configuration as it comes over the wire.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SetConfig {
    /// The `config` block, msgpack after the plugin's schema.
    pub msgpack: Vec<u8>,
    /// What the agent says of its machine; absent when the agent only validates.
    pub nomad: Option<NomadConfig>,
    /// The driver API version that the host speaks.
    pub api_version: String,
}

/// What the agent says of its machine.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NomadConfig {
    /// The highest port that the client hands out.
    pub max_port: u32,
    /// The lowest port that the client hands out.
    pub min_port: u32,
    /// The machine's processors.
    pub topology: Option<Topology>,
}

/// The machine's processors, as the agent counts them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Topology {
    /// NUMA nodes.
    pub node_ids: Vec<u32>,
    /// NUMA distances, row by row: `dimension` rows of `dimension`.
    pub distances: Vec<u32>,
    /// Rows and columns of `distances`.
    pub distances_dimension: u32,
    /// The cores.
    pub cores: Vec<TopologyCore>,
    /// Total MHz set by the operator; 0 is unset.
    pub override_total_compute: u64,
    /// MHz withheld from tasks.
    pub override_withhold_compute: u64,
}

/// One core.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TopologyCore {
    /// The socket that it is in.
    pub socket_id: u32,
    /// The NUMA node that it is in.
    pub node_id: u32,
    /// Its number.
    pub core_id: u32,
    /// Whether it is an efficiency core.
    pub efficiency: bool,
    /// Whether the agent may not use it.
    pub disable: bool,
    /// MHz.
    pub base_speed: u64,
    /// MHz.
    pub max_speed: u64,
    /// MHz.
    pub guess_speed: u64,
}

/// A task to run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TaskConfig {
    /// The run's id.
    pub id: TaskId,
    /// The task's name in the job.
    pub name: String,
    /// The `config` block, msgpack after the driver's task schema; empty in a recovered handle.
    pub driver_config: Vec<u8>,
    /// The environment.
    pub env: BTreeMap<String, String>,
    /// The part of the environment that device plugins set.
    pub device_env: BTreeMap<String, String>,
    /// What the task may use.
    pub resources: Option<Resources>,
    /// Mounts that Nomad asks for.
    pub mounts: Vec<Mount>,
    /// Devices that Nomad asks for.
    pub devices: Vec<Device>,
    /// The job's `user`, verbatim.
    pub user: String,
    /// The allocation's directory on the host.
    pub alloc_dir: String,
    /// The fifo (or file) for standard output.
    pub stdout_path: String,
    /// The fifo (or file) for standard error.
    pub stderr_path: String,
    /// The group's name.
    pub task_group_name: String,
    /// The job's name.
    pub job_name: String,
    /// The allocation's id.
    pub alloc_id: AllocId,
    /// The network that the allocation's tasks share.
    pub network_isolation: Option<NetworkIsolation>,
    /// The group's `dns` block.
    pub dns: Option<Dns>,
    /// The job's id.
    pub job_id: String,
    /// The job's namespace.
    pub namespace: String,
    /// The client's name.
    pub node_name: String,
    /// The client's id.
    pub node_id: String,
    /// The id of the periodic or parameterized job that this one is a child of.
    pub parent_job_id: String,
}

/// What a task may use.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resources {
    /// As Nomad allocated it.
    pub allocated: Option<AllocatedResources>,
    /// As Linux understands it.
    pub linux: Option<LinuxResources>,
    /// The group's ports.
    pub ports: Vec<PortMapping>,
}

/// What Nomad allocated.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AllocatedResources {
    /// MHz.
    pub cpu_shares: i64,
    /// MiB.
    pub memory_mb: i64,
    /// MiB; 0 is unset, -1 is no limit.
    pub memory_max_mb: i64,
    /// Networks of the task's own `resources` (the old form).
    pub networks: Vec<NetworkResource>,
}

/// A network of a task's own `resources` (the old form).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NetworkResource {
    /// The host's interface.
    pub device: String,
    /// The interface's network.
    pub cidr: String,
    /// The host's address.
    pub ip: String,
    /// Mbit/s.
    pub mbits: i32,
    /// Ports that the job names by number.
    pub reserved_ports: Vec<NetworkPort>,
    /// Ports that Nomad chose.
    pub dynamic_ports: Vec<NetworkPort>,
}

/// A port of a [`NetworkResource`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkPort {
    /// The port's label.
    pub label: String,
    /// The host's port.
    pub value: i32,
}

/// Limits as Linux understands them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LinuxResources {
    /// Microseconds.
    pub cpu_period: i64,
    /// Microseconds in a period.
    pub cpu_quota: i64,
    /// Relative weight; Nomad puts MHz here.
    pub cpu_shares: i64,
    /// Bytes.
    pub memory_limit_bytes: i64,
    /// -1000 to 1000.
    pub oom_score_adj: i64,
    /// Cores, in list form.
    pub cpuset_cpus: String,
    /// The directory of the shared cpuset's control group.
    pub cpuset_cgroup: String,
    /// The share of the machine's compute, 0 to 1.
    pub percent_ticks: f64,
}
