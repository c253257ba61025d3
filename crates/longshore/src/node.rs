//! What is known of this machine, under the names that job files use: `attr.kernel.name`, `node.unique.name`, and of this
//! command's environment what was passed on: `env.NAME`.

use std::collections::BTreeMap;

use nomad_plugin::driver::{Attribute, Fingerprint};

/// The machine's attributes.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    known: BTreeMap<String, String>,
    source: AttributeSource,
}

/// Where the attributes come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AttributeSource {
    SystemAndDriver,
    System,
}

impl Node {
    /// From the system and a driver's fingerprint.
    pub(crate) fn new(fingerprint: &Fingerprint) -> Self {
        let Self { mut known, .. } = Self::without_driver();
        for (name, value) in &fingerprint.attributes {
            known.insert(format!("attr.{name}"), text_of(value));
        }
        Self { known, source: AttributeSource::SystemAndDriver }
    }

    /// From the system alone.
    pub(crate) fn without_driver() -> Self {
        let system = rustix::system::uname();
        let text = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
        let arch = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let hostname = text(system.nodename());
        let (os_name, os_version) = os();
        let known: BTreeMap<String, String> = [
            ("attr.os.name", os_name),
            ("attr.os.version", os_version),
            ("attr.memory.totalbytes", total_memory().to_string()),
            ("attr.cpu.totalcompute", format!("{:.0}", total_mhz())),
            ("attr.kernel.name", "linux".to_owned()),
            ("attr.kernel.version", text(system.release())),
            ("attr.kernel.arch", text(system.machine())),
            ("attr.cpu.arch", arch.to_owned()),
            ("attr.cpu.numcores", cores.to_string()),
            ("attr.unique.hostname", hostname.clone()),
            ("attr.unique.network.ip-address", crate::ports::HOST_IP.to_string()),
            ("node.unique.name", hostname.clone()),
            ("node.unique.id", hostname),
            ("node.datacenter", "dc1".to_owned()),
            ("node.region", "global".to_owned()),
            ("node.class", String::new()),
            ("node.pool", "default".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        Self { known, source: AttributeSource::System }
    }

    /// With what the person passes on of the environment.
    pub(crate) fn with(mut self, passed: &BTreeMap<String, String>) -> Self {
        self.known.extend(passed.iter().map(|(name, value)| (format!("env.{name}"), value.clone())));
        self
    }

    /// An attribute, by its whole name.
    pub(crate) fn get(&self, name: &str) -> Option<String> {
        self.known.get(name).cloned()
    }

    /// Whether an attribute may be known once the driver is asked.
    pub(crate) fn may_have(&self, name: &str) -> bool {
        self.source == AttributeSource::System && name.starts_with("attr.driver.")
    }

    /// All names that are known.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.known.keys().map(String::as_str)
    }
}

/// An attribute as job files see it.
pub(crate) fn text_of(value: &Attribute) -> String {
    match value {
        Attribute::Bool(value) => value.to_string(),
        Attribute::Int(value, unit) => format!("{value}{unit}"),
        Attribute::Float(value, unit) => format!("{value}{unit}"),
        Attribute::String(value) => value.clone(),
    }
}

/// The name and version of the distribution: `debian`, `13`.
fn os() -> (String, String) {
    let text = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let value = |name: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        value.unwrap_or_default().trim_matches('"').to_owned()
    };
    (value("ID"), value("VERSION_ID"))
}

/// Bytes of memory.
fn total_memory() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = text.lines().find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.parse().ok());
    kib.unwrap_or(0u64) << 10
}

/// MHz of all processors together, as the kernel reports them; a guess where it does not.
pub(crate) fn total_mhz() -> f64 {
    const GUESS: f64 = 2000.0;
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let speeds = text.lines().filter(|line| line.starts_with("cpu MHz"));
    let total: f64 = speeds.filter_map(|line| line.split(':').nth(1)?.trim().parse::<f64>().ok()).sum();
    let cores = text.lines().filter(|line| line.starts_with("processor")).count().max(1);
    #[expect(clippy::cast_precision_loss, reason = "a machine has few cores")]
    if total > 0.0 { total } else { GUESS * cores as f64 }
}

/// MHz of so many processors.
pub(crate) fn mhz(cores: usize) -> u32 {
    let all = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a machine has few cores, whose speeds are positive"
    )]
    let mhz = (total_mhz() * cores as f64 / all as f64).round() as u32;
    mhz
}
