//! A task's configuration: `config { ... }` in a job.

mod devices;
mod image;
mod limits;
mod logging;
mod mounts;
mod namespaces;
mod network;
mod process;
#[cfg(test)]
mod tests;
mod volumes;

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, Ipv6Addr},
    time::Duration,
};

pub(super) use self::limits::OOM_SCORE_ADJ;
pub use self::{
    devices::Device,
    image::Auth,
    limits::Ulimit,
    logging::TaskLogging,
    mounts::{BindOptions, MountKind, MountOptions, Propagation, TmpfsOptions, VolumeOptions},
    namespaces::CgroupNamespace,
    network::TaskNetwork,
    volumes::Volume,
};
use super::{
    bounds,
    reader::{ConfigErrors, Findings, Reader, fields},
};
use crate::reference::ImageReference;

/// A task's options, parsed. `None` and empty mean unset.
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of its own in the job's file")]
pub struct TaskOptions {
    /// The image.
    pub image: ImageReference,
    /// How long its pull may take.
    pub image_pull_timeout: Option<Duration>,
    /// An archive to load it from, relative to the task's `local/`.
    pub load: Option<String>,
    /// Whether to pull even if the image exists locally.
    pub force_pull: bool,
    /// Credentials for its registry.
    pub auth: Option<Auth>,
    /// Whether to continue without credentials if looking them up fails.
    pub auth_soft_fail: bool,
    /// The program.
    pub command: Option<String>,
    /// Its arguments.
    pub args: Vec<String>,
    /// What runs the program.
    pub entrypoint: Option<Vec<String>>,
    /// The directory to start in.
    pub work_dir: Option<String>,
    /// The container's host name.
    pub hostname: Option<String>,
    /// Whether it has a terminal.
    pub tty: bool,
    /// Whether its standard input remains open.
    pub interactive: bool,
    /// Whether an init process runs as PID 1.
    pub init: bool,
    /// Whether the root file system is read-only.
    pub readonly_rootfs: bool,
    /// Additional groups.
    pub group_add: Vec<String>,
    /// Bytes of `/dev/shm`.
    pub shm_size: Option<i64>,
    /// Options of the storage driver.
    pub storage_opt: BTreeMap<String, String>,
    /// Kernel settings.
    pub sysctl: BTreeMap<String, String>,
    /// The control group namespace.
    pub cgroupns: Option<CgroupNamespace>,
    /// The runtime's name.
    pub runtime: Option<String>,
    /// How often to try to create the container if its name is taken; defaults to the plugin's.
    pub container_exists_attempts: Option<u32>,
    /// The MAC address, six pairs of hexadecimal digits with colons.
    pub mac_address: Option<String>,
    /// Capabilities beyond the default, as written.
    pub cap_add: Vec<String>,
    /// Capabilities to drop, as written.
    pub cap_drop: Vec<String>,
    /// Whether the task's CPU share is a hard limit.
    pub cpu_hard_limit: bool,
    /// Microseconds; 0 is Nomad's default.
    pub cpu_cfs_period: i64,
    /// MiB; 0 is unset.
    pub memory_hard_limit: i64,
    /// -1000 to 1000; defaults to the plugin's.
    pub oom_score_adj: Option<i64>,
    /// 0 is unset.
    pub pids_limit: i64,
    /// Resource limits.
    pub ulimit: Vec<Ulimit>,
    /// Devices of the host.
    pub devices: Vec<Device>,
    /// Name servers.
    pub dns_servers: Vec<String>,
    /// Search domains.
    pub dns_search_domains: Vec<String>,
    /// Resolver options.
    pub dns_options: Vec<String>,
    /// `name:address` lines.
    pub extra_hosts: Vec<String>,
    /// Whether the image's health check is off.
    pub healthchecks_disable: bool,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Logging; `None` if neither a driver nor options are set.
    pub logging: Option<TaskLogging>,
    /// Mounts: of the `mount` blocks, then of the `mounts` list.
    pub mounts: Vec<MountOptions>,
    /// Mounts in the short form.
    pub volumes: Vec<Volume>,
    /// The driver of named volumes.
    pub volume_driver: Option<String>,
    /// The network's name or mode; defaults to the first of the job's `networks`.
    pub network_mode: Option<String>,
    /// Additional names in the network.
    pub network_aliases: Vec<String>,
    /// The address in the network.
    pub ipv4_address: Option<Ipv4Addr>,
    /// The address in the network.
    pub ipv6_address: Option<Ipv6Addr>,
    /// Additional networks.
    pub networks: Vec<TaskNetwork>,
    /// Whether services advertise the IPv6 address.
    pub advertise_ipv6_address: bool,
    /// The network whose address services advertise.
    pub advertise_network: Option<String>,
    /// Labels of the group's ports.
    pub ports: Vec<String>,
    /// Ports inside the container by label (the old form).
    pub port_map: BTreeMap<String, i32>,
    /// Whether the container is privileged.
    pub privileged: bool,
    /// The process namespace.
    pub pid_mode: Option<String>,
    /// The IPC namespace.
    pub ipc_mode: Option<String>,
    /// The UTS namespace.
    pub uts_mode: Option<String>,
    /// The user namespace.
    pub userns_mode: Option<String>,
    /// Security options.
    pub security_opt: Vec<String>,
}

impl TaskOptions {
    /// Parses the host's configuration of a task.
    pub fn parse(bytes: &[u8]) -> Result<Self, ConfigErrors> {
        bounds::check_bytes(bytes)?;
        let fields = fields(bytes)?;
        bounds::check(&fields)?;
        let findings = Findings::default();
        let reader = Reader::new(&fields, &findings);
        let options = read(&reader);
        findings.or(options)
    }
}

/// Rejects, or warns of, what is an option on other systems or in other drivers alone.
fn without_effect(reader: &Reader<'_>) {
    if let Some(mode) = reader.text("isolation") {
        let problem = format!(
            "Failed to create container configuration, cannot use isolation mode {mode:?} on {}",
            std::env::consts::OS
        );
        reader.problem(problem);
    }
    if reader.text("cpuset_cpus").is_some() {
        tracing::warn!("cpuset_cpus has no effect: reserve cores in the job's resources instead");
    }
}

fn read(reader: &Reader<'_>) -> TaskOptions {
    let texts = |name| reader.texts(name).unwrap_or_default();
    let truth = |name| reader.truth(name).unwrap_or_default();
    without_effect(reader);
    let mut targets = mounts::Targets::default();
    let place = network::place(reader);
    let cpu_hard_limit = truth("cpu_hard_limit");
    TaskOptions {
        image: image::image(reader),
        image_pull_timeout: image::pull_timeout(reader),
        load: reader.text("load"),
        force_pull: truth("force_pull"),
        auth: image::auth(reader),
        auth_soft_fail: truth("auth_soft_fail"),
        command: process::command(reader),
        args: texts("args"),
        entrypoint: reader.texts("entrypoint"),
        work_dir: reader.text("work_dir"),
        hostname: reader.text("hostname"),
        tty: truth("tty"),
        interactive: truth("interactive"),
        init: truth("init"),
        readonly_rootfs: truth("readonly_rootfs"),
        group_add: texts("group_add"),
        shm_size: reader.uint("shm_size").filter(|size| *size != 0),
        storage_opt: reader.text_map("storage_opt").unwrap_or_default(),
        sysctl: reader.text_map("sysctl").unwrap_or_default(),
        cgroupns: namespaces::cgroupns(reader),
        runtime: reader.text("runtime"),
        container_exists_attempts: reader.attempts("container_exists_attempts").filter(|attempts| *attempts > 0),
        mac_address: network::mac_address(reader),
        cap_add: texts("cap_add"),
        cap_drop: texts("cap_drop"),
        cpu_hard_limit,
        cpu_cfs_period: limits::cfs_period(reader, cpu_hard_limit),
        memory_hard_limit: reader.uint("memory_hard_limit").unwrap_or_default(),
        oom_score_adj: reader.within("oom_score_adj", limits::OOM_SCORE_ADJ),
        pids_limit: reader.limit("pids_limit").unwrap_or_default(),
        ulimit: limits::ulimits(reader),
        devices: devices::devices(reader),
        dns_servers: texts("dns_servers"),
        dns_search_domains: texts("dns_search_domains"),
        dns_options: texts("dns_options"),
        extra_hosts: texts("extra_hosts"),
        healthchecks_disable: reader
            .block("healthchecks")
            .and_then(|checks| checks.truth("disable"))
            .unwrap_or_default(),
        labels: reader.text_map("labels").unwrap_or_default(),
        logging: logging::logging(reader),
        mounts: mounts::mounts(reader, &mut targets),
        volumes: volumes::volumes(reader, &mut targets),
        volume_driver: reader.text("volume_driver"),
        network_mode: place.mode,
        network_aliases: place.first.aliases,
        ipv4_address: place.first.ipv4_address,
        ipv6_address: place.first.ipv6_address,
        networks: place.additional,
        advertise_ipv6_address: truth("advertise_ipv6_address"),
        advertise_network: place.advertised,
        ports: network::ports(reader),
        port_map: network::port_map(reader),
        privileged: truth("privileged"),
        pid_mode: reader.text("pid_mode"),
        ipc_mode: reader.text("ipc_mode"),
        uts_mode: reader.text("uts_mode"),
        userns_mode: reader.text("userns_mode"),
        security_opt: texts("security_opt"),
    }
}
