//! What a host passes to a driver.

use super::{Mirror, mirror, mirror_enum};
use crate::{
    driver::{
        AllocatedResources, CreatedNetwork, Device, Dns, HostsEntry, LinuxResources, Mount, NetworkIsolation,
        NetworkMode, NetworkOverride, NetworkPort, NetworkResource, NomadConfig, PortMapping, Resources, SetConfig,
        TaskConfig, TaskHandle, Topology, TopologyCore,
    },
    proto::{base, drivers},
};

impl Mirror<base::SetConfigRequest> for SetConfig {
    fn into_wire(self) -> base::SetConfigRequest {
        base::SetConfigRequest {
            msgpack_config: self.msgpack,
            nomad_config: self.nomad.map(|nomad| base::NomadConfig { driver: Some(nomad.into_wire()) }),
            plugin_api_version: self.api_version,
        }
    }

    fn from_wire(message: base::SetConfigRequest) -> Self {
        Self {
            msgpack: message.msgpack_config,
            nomad: message.nomad_config.and_then(|nomad| nomad.driver).map(NomadConfig::from_wire),
            api_version: message.plugin_api_version,
        }
    }
}

impl Mirror<base::ClientTopology> for Topology {
    fn into_wire(self) -> base::ClientTopology {
        base::ClientTopology {
            node_ids: self.node_ids,
            distances: Some(base::ClientTopologySlit { dimension: self.distances_dimension, values: self.distances }),
            cores: self.cores.into_wire(),
            override_total_compute: self.override_total_compute,
            override_withold_compute: self.override_withhold_compute,
        }
    }

    fn from_wire(message: base::ClientTopology) -> Self {
        let distances = message.distances.unwrap_or_default();
        Self {
            node_ids: message.node_ids,
            distances: distances.values,
            distances_dimension: distances.dimension,
            cores: Mirror::from_wire(message.cores),
            override_total_compute: message.override_total_compute,
            override_withhold_compute: message.override_withold_compute,
        }
    }
}

impl Mirror<base::ClientTopologyCore> for TopologyCore {
    fn into_wire(self) -> base::ClientTopologyCore {
        let grade = if self.efficiency { base::CoreGrade::Efficiency } else { base::CoreGrade::Performance };
        base::ClientTopologyCore {
            socket_id: self.socket_id,
            node_id: self.node_id,
            core_id: self.core_id,
            core_grade: grade.into(),
            disable: self.disable,
            base_speed: self.base_speed,
            max_speed: self.max_speed,
            guess_speed: self.guess_speed,
        }
    }

    fn from_wire(message: base::ClientTopologyCore) -> Self {
        Self {
            efficiency: message.core_grade() == base::CoreGrade::Efficiency,
            socket_id: message.socket_id,
            node_id: message.node_id,
            core_id: message.core_id,
            disable: message.disable,
            base_speed: message.base_speed,
            max_speed: message.max_speed,
            guess_speed: message.guess_speed,
        }
    }
}

mirror_enum! {
    NetworkMode = drivers::network_isolation_spec::NetworkIsolationMode {
        Host = Host, Group = Group, Task = Task, None = None,
    } else Host
}

mirror! {
    NomadConfig = base::NomadDriverConfig { client_max_port: max_port, client_min_port: min_port, topology: topology }
    TaskConfig = drivers::TaskConfig {
        id: id, name: name, msgpack_driver_config: driver_config, env: env, device_env: device_env,
        resources: resources, mounts: mounts, devices: devices, user: user, alloc_dir: alloc_dir,
        stdout_path: stdout_path, stderr_path: stderr_path, task_group_name: task_group_name, job_name: job_name,
        alloc_id: alloc_id, network_isolation_spec: network_isolation, dns: dns, job_id: job_id,
        namespace: namespace, node_name: node_name, node_id: node_id, parent_job_id: parent_job_id,
    }
    Resources = drivers::Resources { allocated_resources: allocated, linux_resources: linux, ports: ports }
    LinuxResources = drivers::LinuxResources {
        cpu_period: cpu_period, cpu_quota: cpu_quota, cpu_shares: cpu_shares,
        memory_limit_bytes: memory_limit_bytes, oom_score_adj: oom_score_adj, cpuset_cpus: cpuset_cpus,
        cpuset_cgroup: cpuset_cgroup, percent_ticks: percent_ticks,
    }
    NetworkResource = drivers::NetworkResource {
        device: device, cidr: cidr, ip: ip, mbits: mbits, reserved_ports: reserved_ports, dynamic_ports: dynamic_ports,
    }
    NetworkPort = drivers::NetworkPort { label: label, value: value }
    PortMapping = drivers::PortMapping { label: label, value: value, to: to, host_ip: host_ip }
    Mount = drivers::Mount {
        task_path: task_path, host_path: host_path, readonly: readonly, propagation_mode: propagation_mode,
        selinux_label: selinux_label, request_name: request_name,
    }
    Device = drivers::Device {
        task_path: task_path, host_path: host_path, cgroup_permissions: cgroup_permissions,
    }
    Dns = drivers::DnsConfig { servers: servers, searches: searches, options: options }
    NetworkIsolation = drivers::NetworkIsolationSpec { mode: mode, path: path, labels: labels, hosts_config: hosts }
    HostsEntry = drivers::HostsConfig { hostname: hostname, address: address }
    NetworkOverride = drivers::NetworkOverride { port_map: port_map, addr: addr, auto_advertise: auto_advertise }
}

impl Mirror<drivers::AllocatedTaskResources> for AllocatedResources {
    fn into_wire(self) -> drivers::AllocatedTaskResources {
        drivers::AllocatedTaskResources {
            cpu: Some(drivers::AllocatedCpuResources { cpu_shares: self.cpu_shares }),
            memory: Some(drivers::AllocatedMemoryResources {
                memory_mb: self.memory_mb,
                memory_max_mb: self.memory_max_mb,
            }),
            networks: self.networks.into_wire(),
        }
    }

    fn from_wire(message: drivers::AllocatedTaskResources) -> Self {
        let memory = message.memory.unwrap_or_default();
        Self {
            cpu_shares: message.cpu.unwrap_or_default().cpu_shares,
            memory_mb: memory.memory_mb,
            memory_max_mb: memory.memory_max_mb,
            networks: Mirror::from_wire(message.networks),
        }
    }
}

impl Mirror<drivers::TaskHandle> for TaskHandle {
    fn into_wire(self) -> drivers::TaskHandle {
        drivers::TaskHandle {
            version: self.version,
            config: Some(self.config.into_wire()),
            state: self.state.into_wire(),
            driver_state: self.driver_state,
        }
    }

    fn from_wire(message: drivers::TaskHandle) -> Self {
        Self {
            version: message.version,
            config: TaskConfig::from_wire(message.config.unwrap_or_default()),
            state: Mirror::from_wire(message.state),
            driver_state: message.driver_state,
        }
    }
}

impl Mirror<drivers::CreateNetworkResponse> for CreatedNetwork {
    fn into_wire(self) -> drivers::CreateNetworkResponse {
        drivers::CreateNetworkResponse { isolation_spec: Some(self.isolation.into_wire()), created: self.created }
    }

    fn from_wire(message: drivers::CreateNetworkResponse) -> Self {
        let isolation = NetworkIsolation::from_wire(message.isolation_spec.unwrap_or_default());
        Self { isolation, created: message.created }
    }
}
