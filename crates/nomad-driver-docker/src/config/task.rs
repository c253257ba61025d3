//! A task's configuration: `config { ... }` in a job.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use nomad_plugin::duration::parse_go_duration;

use super::reader::{ConfigErrors, Findings, Reader, fields};

/// A task's options, parsed. `None` and empty are unset.
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of its own in the job's file")]
pub struct TaskOptions {
    /// The image as the job names it, without a leading `https://`.
    pub image: String,
    /// How long its pull may take.
    pub image_pull_timeout: Option<Duration>,
    /// An archive to load it from, relative to the task's `local/`.
    pub load: Option<String>,
    /// Whether a local image does not count.
    pub force_pull: bool,
    /// Credentials for its registry.
    pub auth: Option<Auth>,
    /// Whether a failed search for credentials is no failure.
    pub auth_soft_fail: bool,
    /// The program.
    pub command: Option<String>,
    /// Its arguments.
    pub args: Vec<String>,
    /// What runs the program.
    pub entrypoint: Option<Vec<String>>,
    /// The directory to start in.
    pub work_dir: Option<String>,
    /// The container's own name for itself.
    pub hostname: Option<String>,
    /// Whether it has a terminal.
    pub tty: bool,
    /// Whether its standard input stays open.
    pub interactive: bool,
    /// Whether an init process runs as its first.
    pub init: bool,
    /// Whether its root file system cannot be written.
    pub readonly_rootfs: bool,
    /// Further groups.
    pub group_add: Vec<String>,
    /// Bytes of `/dev/shm`.
    pub shm_size: Option<i64>,
    /// Options of the storage driver.
    pub storage_opt: BTreeMap<String, String>,
    /// Kernel settings.
    pub sysctl: BTreeMap<String, String>,
    /// `host` or `private`.
    pub cgroupns: Option<String>,
    /// The runtime's name.
    pub runtime: Option<String>,
    /// The network card's address.
    pub mac_address: Option<String>,
    /// Capabilities beyond the default, as written.
    pub cap_add: Vec<String>,
    /// Capabilities to drop, as written.
    pub cap_drop: Vec<String>,
    /// Whether the task's share of the processor is a limit.
    pub cpu_hard_limit: bool,
    /// Microseconds; 0 is Nomad's.
    pub cpu_cfs_period: i64,
    /// MiB; 0 is unset.
    pub memory_hard_limit: i64,
    /// -1000 to 1000.
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
    /// Logging; `None` where neither a driver nor options are set.
    pub logging: Option<TaskLogging>,
    /// Mounts: of the `mount` blocks, then of the `mounts` list.
    pub mounts: Vec<MountOptions>,
    /// `source:destination[:mode]` texts.
    pub volumes: Vec<String>,
    /// The driver of named volumes.
    pub volume_driver: Option<String>,
    /// The network's name or mode.
    pub network_mode: Option<String>,
    /// Further names in the network.
    pub network_aliases: Vec<String>,
    /// The address in the network.
    pub ipv4_address: Option<Ipv4Addr>,
    /// The address in the network.
    pub ipv6_address: Option<Ipv6Addr>,
    /// Whether services advertise the IPv6 address.
    pub advertise_ipv6_address: bool,
    /// Labels of the group's ports.
    pub ports: Vec<String>,
    /// Ports inside the container by label (the old form).
    pub port_map: BTreeMap<String, i32>,
    /// Whether it has every right.
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

/// Credentials for a registry. Never shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Auth {
    /// The user's name.
    pub username: String,
    /// The password.
    pub password: String,
    /// The registry.
    pub server_address: String,
}

impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Auth(..)")
    }
}

/// A task's logging.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskLogging {
    /// The driver; empty is the engine's default.
    pub driver: String,
    /// Its options; `None` where the job has no `config`.
    pub options: Option<BTreeMap<String, String>>,
}

/// A resource limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ulimit {
    /// For example `nofile`.
    pub name: String,
    /// What the process may raise up to `hard`.
    pub soft: i64,
    /// The most.
    pub hard: i64,
}

/// A device of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Where the host has it.
    pub host_path: String,
    /// Where the container has it.
    pub container_path: String,
    /// Some of `r`, `w` and `m`.
    pub cgroup_permissions: String,
}

/// A mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountOptions {
    /// What is mounted.
    pub kind: MountKind,
    /// Where.
    pub target: String,
    /// A path of the host, or a volume's name.
    pub source: String,
    /// Whether it cannot be written.
    pub readonly: bool,
}

/// What is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MountKind {
    /// A directory or file of the host.
    Bind(BindOptions),
    /// A volume.
    Volume(VolumeOptions),
    /// Memory.
    Tmpfs(TmpfsOptions),
}

/// How a directory of the host is mounted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BindOptions {
    /// `private`, `rshared` and so on.
    pub propagation: Option<String>,
}

/// How a volume is made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VolumeOptions {
    /// Whether the image's content is not copied into it.
    pub no_copy: bool,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its driver.
    pub driver: Option<String>,
    /// Its driver's options.
    pub driver_options: BTreeMap<String, String>,
}

/// How memory is mounted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TmpfsOptions {
    /// Bytes.
    pub size: Option<i64>,
    /// The mode of its root.
    pub mode: Option<i64>,
}

impl TaskOptions {
    /// Parses what a host sends.
    pub fn parse(bytes: &[u8]) -> Result<Self, ConfigErrors> {
        let fields = fields(bytes)?;
        let findings = Findings::default();
        let reader = Reader::new(&fields, &findings);
        let options = read(&reader);
        findings.or(options)
    }
}

fn read(reader: &Reader<'_>) -> TaskOptions {
    let texts = |name| reader.texts(name).unwrap_or_default();
    let truth = |name| reader.truth(name).unwrap_or_default();
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
    // Accepted, without effect: the plugin's own option of this name decides.
    let _ = reader.int("container_exists_attempts");
    let cpu_hard_limit = truth("cpu_hard_limit");
    TaskOptions {
        image: image(reader),
        image_pull_timeout: pull_timeout(reader),
        load: reader.text("load"),
        force_pull: truth("force_pull"),
        auth: reader.block("auth").map(|auth| {
            let [username, password, server_address] =
                ["username", "password", "server_address"].map(|name| auth.text(name).unwrap_or_default());
            Auth { username, password, server_address }
        }),
        auth_soft_fail: truth("auth_soft_fail"),
        command: command(reader),
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
        cgroupns: reader.text("cgroupns"),
        runtime: reader.text("runtime"),
        mac_address: mac_address(reader),
        cap_add: texts("cap_add"),
        cap_drop: texts("cap_drop"),
        cpu_hard_limit,
        cpu_cfs_period: cfs_period(reader, cpu_hard_limit),
        memory_hard_limit: reader.uint("memory_hard_limit").unwrap_or_default(),
        oom_score_adj: reader.int("oom_score_adj").filter(|adjustment| *adjustment != 0),
        pids_limit: reader.limit("pids_limit").unwrap_or_default(),
        ulimit: ulimits(reader),
        devices: devices(reader),
        dns_servers: texts("dns_servers"),
        dns_search_domains: texts("dns_search_domains"),
        dns_options: texts("dns_options"),
        extra_hosts: texts("extra_hosts"),
        healthchecks_disable: reader
            .block("healthchecks")
            .and_then(|checks| checks.truth("disable"))
            .unwrap_or_default(),
        labels: reader.text_map("labels").unwrap_or_default(),
        logging: logging(reader),
        mounts: ["mount", "mounts"].iter().flat_map(|name| reader.blocks(name)).filter_map(|m| mount(&m)).collect(),
        volumes: texts("volumes"),
        volume_driver: reader.text("volume_driver"),
        network_mode: reader.text("network_mode"),
        network_aliases: texts("network_aliases"),
        ipv4_address: address(reader, "ipv4_address"),
        ipv6_address: address(reader, "ipv6_address"),
        advertise_ipv6_address: truth("advertise_ipv6_address"),
        ports: texts("ports"),
        port_map: port_map(reader),
        privileged: truth("privileged"),
        pid_mode: reader.text("pid_mode"),
        ipc_mode: reader.text("ipc_mode"),
        uts_mode: reader.text("uts_mode"),
        userns_mode: reader.text("userns_mode"),
        security_opt: texts("security_opt"),
    }
}

fn image(reader: &Reader<'_>) -> String {
    let image = reader.text("image").unwrap_or_default();
    if image.is_empty() {
        reader.problem("image name required for docker driver");
    }
    image.strip_prefix("https://").map(str::to_owned).unwrap_or(image)
}

fn pull_timeout(reader: &Reader<'_>) -> Option<Duration> {
    let text = reader.text("image_pull_timeout")?;
    parse_go_duration(&text)
        .map_err(|error| reader.problem(format!("Failed to parse image_pull_timeout: {error}")))
        .ok()
}

fn command(reader: &Reader<'_>) -> Option<String> {
    let command = reader.text("command")?;
    if command.trim().is_empty() {
        reader.problem(format!("command empty: {command:?}"));
    } else if command.trim() != command {
        reader.problem(format!("command contains extra white space: {command:?}"));
    }
    Some(command)
}

fn mac_address(reader: &Reader<'_>) -> Option<String> {
    let text = reader.text("mac_address")?;
    let parts: Vec<&str> = text.split([':', '-']).collect();
    let valid = parts.len() == 6
        && parts.iter().all(|part| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_hexdigit()));
    if !valid {
        reader.problem(format!("failed to parse mac_address {text:?}: six pairs of hexadecimal digits are needed"));
    }
    Some(text)
}

fn address<A: std::str::FromStr<Err = std::net::AddrParseError>>(reader: &Reader<'_>, name: &str) -> Option<A> {
    let text = reader.text(name)?;
    text.parse().map_err(|error| reader.problem(format!("failed to parse {name} {text:?}: {error}"))).ok()
}

fn cfs_period(reader: &Reader<'_>, counts: bool) -> i64 {
    let period = reader.int("cpu_cfs_period").unwrap_or(100_000);
    // Without a hard limit the period has no effect, and the built-in driver does not look at it.
    if counts && !(0..=1_000_000).contains(&period) {
        reader.problem("invalid value for cpu_cfs_period");
    }
    period
}

fn ulimits(reader: &Reader<'_>) -> Vec<Ulimit> {
    let wrong = |problem: String| reader.problem(format!("failed to parse ulimit configuration: {problem}"));
    let mut limits = Vec::new();
    for (name, value) in reader.text_map("ulimit").unwrap_or_default() {
        if value.is_empty() {
            wrong(format!("Malformed ulimit specification {name}: {value:?}, cannot be empty"));
            continue;
        }
        let (soft, hard) = value.split_once(':').unwrap_or((&value, &value));
        match (soft.parse(), hard.parse()) {
            (Ok(soft), Ok(hard)) => limits.push(Ulimit { name, soft, hard }),
            (Err(_), _) => wrong(format!("Malformed soft ulimit {name}: {value}")),
            (_, Err(_)) => wrong(format!("Malformed hard ulimit {name}: {value}")),
        }
    }
    limits
}

fn devices(reader: &Reader<'_>) -> Vec<Device> {
    let device = |device: Reader<'_>| {
        let Some(host_path) = device.text("host_path") else {
            device.problem("host path must be set in configuration for devices");
            return None;
        };
        let cgroup_permissions = device.text("cgroup_permissions").unwrap_or_else(|| "rwm".to_owned());
        if !cgroup_permissions.chars().all(|permission| "rwm".contains(permission)) {
            device.problem(format!("invalid cgroup permission string: {cgroup_permissions:?}"));
        }
        let container_path = device.text("container_path").unwrap_or_else(|| host_path.clone());
        Some(Device { host_path, container_path, cgroup_permissions })
    };
    reader.blocks("devices").into_iter().filter_map(device).collect()
}

fn logging(reader: &Reader<'_>) -> Option<TaskLogging> {
    let logging = reader.block("logging")?;
    let driver = logging.text("type").or_else(|| logging.text("driver")).unwrap_or_default();
    let options = logging.text_map("config");
    (!driver.is_empty() || options.is_some()).then_some(TaskLogging { driver, options })
}

fn mount(reader: &Reader<'_>) -> Option<MountOptions> {
    let source = reader.text("source").unwrap_or_default();
    let kind = match reader.text("type").as_deref().unwrap_or("volume") {
        "bind" => {
            let propagation = reader.block("bind_options").and_then(|bind| bind.text("propagation"));
            MountKind::Bind(BindOptions { propagation })
        }
        "volume" => MountKind::Volume(reader.block("volume_options").map_or_else(VolumeOptions::default, |volume| {
            let driver = volume.block("driver_config");
            VolumeOptions {
                no_copy: volume.truth("no_copy").unwrap_or_default(),
                labels: volume.text_map("labels").unwrap_or_default(),
                driver: driver.as_ref().and_then(|driver| driver.text("name")),
                driver_options: driver.and_then(|driver| driver.text_map("options")).unwrap_or_default(),
            }
        })),
        "tmpfs" => {
            if !source.is_empty() {
                reader.problem("invalid source, must be \"\" for tmpfs");
            }
            MountKind::Tmpfs(reader.block("tmpfs_options").map_or_else(TmpfsOptions::default, |tmpfs| TmpfsOptions {
                size: tmpfs.uint("size"),
                mode: tmpfs.uint("mode"),
            }))
        }
        other => {
            reader.problem(format!("invalid mount type, must be \"bind\", \"volume\", \"tmpfs\": {other:?}"));
            return None;
        }
    };
    Some(MountOptions {
        kind,
        target: reader.text("target").unwrap_or_default(),
        source,
        readonly: reader.truth("readonly").unwrap_or_default(),
    })
}

fn port_map(reader: &Reader<'_>) -> BTreeMap<String, i32> {
    let mut ports = BTreeMap::new();
    for (label, port) in reader.int_map("port_map").unwrap_or_default() {
        match u16::try_from(port) {
            Ok(port) => {
                ports.insert(label, port.into());
            }
            Err(_) => reader.problem_at("port_map", format!("{port} is no port")),
        }
    }
    ports
}

#[cfg(test)]
mod tests {
    use nomad_plugin::{
        hclspec::Spec,
        msgpack::{Value, encode, encode_go},
    };
    use proptest::prelude::*;

    use super::*;
    use crate::config::{PluginConfig, plugin_schema, task_schema};

    fn object(fields: &[(&str, Value)]) -> Value {
        Value::Map(fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect())
    }

    fn text(text: &str) -> Value {
        Value::String(text.to_owned())
    }

    fn parse(fields: &[(&str, Value)]) -> Result<TaskOptions, ConfigErrors> {
        TaskOptions::parse(&encode(&object(&[&[("image", text("busybox:1"))], fields].concat())))
    }

    #[test]
    fn maps_in_a_list_are_merged_and_later_ones_win() {
        let first = object(&[("a", text("1")), ("b", text("1"))]);
        let options = parse(&[("labels", Value::List(vec![first, Value::Null, object(&[("b", text("2"))])]))]).unwrap();

        assert_eq!(options.labels, [("a".into(), "1".into()), ("b".into(), "2".into())].into());
    }

    #[test]
    fn an_empty_logging_config_is_set_and_a_missing_one_is_not() {
        let logging = |config: Value| parse(&[("logging", object(&[("config", config)]))]).unwrap().logging;

        assert_eq!(logging(Value::Null), None);
        let empty = Some(TaskLogging { driver: String::new(), options: Some(BTreeMap::new()) });
        assert_eq!(logging(Value::List(vec![])), empty);
        assert_eq!(logging(Value::List(vec![Value::Null])), empty);
    }

    #[test]
    fn mounts_of_every_kind_are_read() {
        let bind = object(&[
            ("type", text("bind")),
            ("source", text("x")),
            ("target", text("/x")),
            ("bind_options", object(&[("propagation", text("rshared"))])),
        ]);
        let tmpfs = object(&[
            ("type", text("tmpfs")),
            ("target", text("/t")),
            ("tmpfs_options", object(&[("size", Value::Int(1000))])),
        ]);
        let options = parse(&[("mount", Value::List(vec![bind])), ("mounts", Value::List(vec![tmpfs]))]).unwrap();

        assert_eq!(options.mounts[0].kind, MountKind::Bind(BindOptions { propagation: Some("rshared".into()) }));
        assert_eq!(options.mounts[1].kind, MountKind::Tmpfs(TmpfsOptions { size: Some(1000), mode: None }));
    }

    #[test]
    fn every_error_is_told_at_once_in_known_words() {
        let errors = TaskOptions::parse(&encode(&object(&[
            ("command", text(" ls")),
            ("image_pull_timeout", text("soon")),
            ("pids_limit", Value::Int(-5)),
            ("ulimit", Value::List(vec![object(&[("nofile", text("a:b")), ("nproc", text(""))])])),
            ("mount", Value::List(vec![object(&[("type", text("nfs"))])])),
            ("shm_size", Value::Float(1.5)),
            ("isolation", text("hyperv")),
            ("devices", Value::List(vec![object(&[("container_path", text("/d"))])])),
        ])))
        .unwrap_err()
        .to_string();

        for expected in [
            "image name required for docker driver",
            "command contains extra white space: \" ls\"",
            "Failed to parse image_pull_timeout: time: invalid duration \"soon\"",
            "pids_limit: must not be negative, this is -5",
            "failed to parse ulimit configuration: Malformed soft ulimit nofile: a:b",
            "failed to parse ulimit configuration: Malformed ulimit specification nproc: \"\", cannot be empty",
            "mount[0]: invalid mount type, must be \"bind\", \"volume\", \"tmpfs\": \"nfs\"",
            "failed to decode driver config: shm_size: a whole number is needed, this is a fraction",
            "Failed to create container configuration, cannot use isolation mode \"hyperv\" on linux",
            "devices[0]: host path must be set in configuration for devices",
        ] {
            assert!(errors.contains(expected), "{expected} is not in {errors}");
        }
    }

    #[test]
    fn a_password_is_never_shown() {
        let auth = object(&[("username", text("u")), ("password", text("hunter2"))]);
        let options = parse(&[("auth", auth)]).unwrap();

        assert_eq!(options.auth.as_ref().unwrap().password, "hunter2");
        assert!(!format!("{options:?}").contains("hunter2"));
    }

    #[test]
    fn a_process_limit_of_minus_one_is_none() {
        assert_eq!(parse(&[("pids_limit", Value::Int(-1))]).unwrap().pids_limit, 0);
        assert_eq!(parse(&[("pids_limit", Value::Int(7))]).unwrap().pids_limit, 7);
    }

    #[test]
    fn the_period_is_looked_at_only_where_it_has_an_effect() {
        let period = ("cpu_cfs_period", Value::Int(2_000_000));

        assert_eq!(parse(std::slice::from_ref(&period)).unwrap().cpu_cfs_period, 2_000_000);
        let errors = parse(&[period, ("cpu_hard_limit", Value::Bool(true))]).unwrap_err();
        assert_eq!(errors.to_string(), "invalid value for cpu_cfs_period");
    }

    #[test]
    fn an_error_within_a_list_or_a_map_names_the_element() {
        let args = Value::List(vec![text("a"), Value::Int(1)]);
        let ports = Value::List(vec![object(&[("http", text("80"))])]);
        let errors = parse(&[("args", args), ("port_map", ports), ("mac_address", text("+1:02:03:04:05:06"))]);

        assert_eq!(
            errors.unwrap_err().to_string(),
            "failed to decode driver config: args[1]: a string is needed, this is a number; \
             failed to parse mac_address \"+1:02:03:04:05:06\": six pairs of hexadecimal digits are needed; \
             failed to decode driver config: port_map.http: a whole number is needed, this is a string"
        );
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(Value::Int),
            prop::num::f64::NORMAL.prop_map(Value::Float),
            "[a-z0-9:/ ]{0,12}".prop_map(Value::String),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::List),
                prop::collection::btree_map("[a-z_]{1,8}", inner, 0..4).prop_map(Value::Map),
            ]
        })
    }

    /// An object of some of a schema's keys, with whatever in them.
    fn configs(schema: Spec) -> impl Strategy<Value = Value> {
        let Spec::Object(children) = schema else { panic!("a configuration is an object") };
        let names: Vec<String> = children.into_keys().collect();
        prop::collection::btree_map(prop::sample::select(names), values(), 0..8).prop_map(Value::Map)
    }

    proptest! {
        #[test]
        fn both_dialects_of_a_task_mean_the_same_whatever_is_in_them(value in configs(task_schema())) {
            prop_assert_eq!(TaskOptions::parse(&encode(&value)), TaskOptions::parse(&encode_go(&value)));
        }

        #[test]
        fn both_dialects_of_the_plugin_mean_the_same_whatever_is_in_them(value in configs(plugin_schema())) {
            prop_assert_eq!(PluginConfig::parse(&encode(&value)), PluginConfig::parse(&encode_go(&value)));
        }

        #[test]
        fn arbitrary_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
            let _either = (TaskOptions::parse(&bytes), PluginConfig::parse(&bytes));
        }
    }
}
