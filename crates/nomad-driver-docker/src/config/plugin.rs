//! The plugin's own configuration: `plugin "docker" { config { ... } }`.

use std::{collections::BTreeMap, ops::RangeInclusive, path::PathBuf, time::Duration};

use super::{
    allowlists::Allowlists,
    garbage_collection::{GarbageCollection, gc},
    reader::{ConfigErrors, Findings, Reader, fields},
    task::OOM_SCORE_ADJ,
};
use crate::reference::{ImageReference, InvalidReference};
use engine::{Endpoint, Tls};

/// How many images may be pulled at once.
const PARALLEL_PULLS: RangeInclusive<i64> = 1..=1000;

/// The MiB that an archive of images may take: up to a PiB.
const LOAD_MAX_MB: RangeInclusive<i64> = 1..=1 << 30;

/// The plugin's configuration, parsed.
#[derive(Clone, Debug, PartialEq)]
pub struct PluginConfig {
    /// The engine's address.
    pub endpoint: Endpoint,
    /// The sources of registry credentials.
    pub auth: PluginAuth,
    /// Globs over the names of Nomad's optional labels.
    pub extra_labels: Vec<String>,
    /// Logging of tasks that configure none.
    pub logging: Logging,
    /// What is removed after tasks.
    pub gc: GarbageCollection,
    /// Mounts from outside the allocation's directory.
    pub volumes: Volumes,
    /// Whether tasks may be privileged.
    pub allow_privileged: bool,
    /// The capabilities that tasks may have.
    pub allow_caps: Vec<String>,
    /// The name of the runtime for GPUs.
    pub nvidia_runtime: String,
    /// The runtimes that tasks may name.
    pub allow_runtimes: Vec<String>,
    /// The image of pause containers. An invalid name is an error only where a network needs it.
    pub infra_image: Result<ImageReference, InvalidReference>,
    /// How long a pull of that image may take.
    pub infra_image_pull_timeout: Duration,
    /// The default pull timeout of task images.
    pub image_pull_timeout: Duration,
    /// The maximum pull timeout that a task may set.
    pub image_pull_timeout_max: Duration,
    /// How often to try to create a container if its name is taken.
    pub container_exists_attempts: u32,
    /// The default OOM score adjustment of tasks: -1000 to 1000.
    pub oom_score_adj: i64,
    /// How long a pull may show no progress.
    pub pull_activity_timeout: Duration,
    /// How many images may be pulled at once; at least 1.
    pub max_parallel_pulls: usize,
    /// Whether the registry must permit the use of an image that is already on disk.
    pub verify_cached_image_access: bool,
    /// The maximum number of processes per task; `None` is unlimited.
    pub pids_limit: Option<i64>,
    /// Whether logs stay with the engine.
    pub disable_log_collection: bool,
    /// Globs of the namespace modes that tasks may name.
    pub allowed_modes: AllowedModes,
    /// Host directories from which tasks may load image archives.
    pub load_dirs: Vec<PathBuf>,
    /// How many bytes an archive may take with its layers unpacked; `None` is limited by the engine's disk.
    pub load_max: Option<u64>,
    /// The directory for state that outlives the driver's process.
    pub state_dir: PathBuf,
    /// What else tasks may request.
    pub allowlists: Allowlists,
}

/// The sources of registry credentials.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PluginAuth {
    /// A file in the form of docker's `config.json`.
    pub config: Option<PathBuf>,
    /// The suffix of a credential helper's name.
    pub helper: Option<String>,
}

/// A logging driver and its options.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Logging {
    /// The driver; empty is the engine's default.
    pub driver: String,
    /// Its options.
    pub options: BTreeMap<String, String>,
}

/// Mounts from outside the allocation's directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Volumes {
    /// Whether they are allowed.
    pub enabled: bool,
    /// The `SELinux` label of every bind; empty is none.
    pub selinux_label: String,
}

/// Globs of the namespace modes that tasks may name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowedModes {
    /// Of `pid_mode`.
    pub pid: Vec<String>,
    /// Of `ipc_mode`.
    pub ipc: Vec<String>,
    /// Of `userns_mode`.
    pub userns: Vec<String>,
    /// Of `uts_mode`.
    pub uts: Vec<String>,
}

impl PluginConfig {
    /// Parses the agent's configuration. Empty input yields the defaults.
    pub fn parse(bytes: &[u8]) -> Result<Self, ConfigErrors> {
        let fields = fields(bytes)?;
        let findings = Findings::default();
        let reader = Reader::new(&fields, &findings);
        let default = Self::default();
        // Only Windows has such administrators; accepted so that one configuration works on all clients.
        let _windows_only = reader.truth("windows_allow_insecure_container_admin");
        let gc = gc(&reader, default.gc);
        let pull_activity_timeout = reader.at_least_a_minute("pull_activity_timeout", default.pull_activity_timeout);
        let config = Self {
            endpoint: endpoint(&reader),
            auth: reader.block("auth").map_or_else(PluginAuth::default, |auth| PluginAuth {
                config: auth.text("config").map(PathBuf::from),
                helper: auth.text("helper"),
            }),
            extra_labels: reader.texts("extra_labels").unwrap_or_default(),
            logging: reader.block("logging").map_or(default.logging, |logging| Logging {
                driver: logging.text("type").unwrap_or_default(),
                options: logging.text_map("config").unwrap_or_default(),
            }),
            gc,
            volumes: reader.block("volumes").map_or_else(Volumes::default, |volumes| Volumes {
                enabled: volumes.truth("enabled").unwrap_or_default(),
                selinux_label: volumes.text("selinuxlabel").unwrap_or_default(),
            }),
            allow_privileged: reader.truth("allow_privileged").unwrap_or_default(),
            allow_caps: reader.texts("allow_caps").unwrap_or(default.allow_caps),
            nvidia_runtime: reader.text("nvidia_runtime").unwrap_or(default.nvidia_runtime),
            allow_runtimes: reader.texts("allow_runtimes").unwrap_or(default.allow_runtimes),
            infra_image: reader
                .text("infra_image")
                .map_or(default.infra_image, |name| ImageReference::of_person(&name)),
            infra_image_pull_timeout: reader.time("infra_image_pull_timeout", default.infra_image_pull_timeout),
            image_pull_timeout: reader.time("image_pull_timeout", default.image_pull_timeout),
            image_pull_timeout_max: reader.time("image_pull_timeout_max", default.image_pull_timeout_max),
            container_exists_attempts: reader
                .attempts("container_exists_attempts")
                .unwrap_or(default.container_exists_attempts),
            oom_score_adj: reader.within("oom_score_adj", OOM_SCORE_ADJ).unwrap_or(default.oom_score_adj),
            pull_activity_timeout,
            max_parallel_pulls: reader
                .within("max_parallel_pulls", PARALLEL_PULLS)
                .and_then(|most| usize::try_from(most).ok())
                .unwrap_or(default.max_parallel_pulls),
            verify_cached_image_access: reader.truth("verify_cached_image_access").unwrap_or_default(),
            pids_limit: reader.limit("pids_limit"),
            disable_log_collection: reader.truth("disable_log_collection").unwrap_or_default(),
            allowed_modes: reader
                .block("allowed_modes")
                .map_or_else(AllowedModes::default, |modes| allowed_modes(&modes)),
            load_dirs: reader.directories("load_dirs").unwrap_or_default(),
            load_max: reader
                .within("load_max_mb", LOAD_MAX_MB)
                .and_then(|most| u64::try_from(most).ok())
                .map(|most| most << 20),
            state_dir: state_dir(&reader, default.state_dir),
            allowlists: Allowlists::read(&reader),
        };
        findings.or(config)
    }
}

fn state_dir(reader: &Reader<'_>, default: PathBuf) -> PathBuf {
    let asked = reader.text("state_dir").filter(|path| !path.is_empty()).map_or(default, PathBuf::from);
    if !asked.is_absolute() {
        reader.problem(format!("state_dir: must be an absolute path, this is {:?}", asked.display()));
    }
    asked
}

fn endpoint(reader: &Reader<'_>) -> Endpoint {
    let address = reader.text("endpoint").unwrap_or_default();
    // Without an address, the environment decides about TLS as well.
    let tls = reader.block("tls").filter(|_| !address.is_empty()).and_then(|tls| {
        let [cert, key, ca] = ["cert", "key", "ca"].map(|name| tls.text(name).unwrap_or_default());
        for (given, missing) in [(&cert, ("key", &key)), (&key, ("cert", &cert))] {
            if !given.is_empty() && missing.1.is_empty() {
                tls.problem_at(missing.0, "must be set: a client's certificate and its key go together");
            }
        }
        let given = !(cert.is_empty() && key.is_empty() && ca.is_empty());
        given.then(|| Tls { cert: cert.into(), key: key.into(), ca: ca.into() })
    });
    Endpoint { address, tls }
}

fn allowed_modes(reader: &Reader<'_>) -> AllowedModes {
    let container = |mode: &str| mode.strip_prefix("container:").map(str::to_owned);
    let checked = |kind: &str, option: &str, valid: &dyn Fn(&str) -> bool| {
        let modes = reader.texts(kind).unwrap_or_default();
        for mode in modes.iter().filter(|mode| !mode.is_empty() && !valid(mode)) {
            let problem = format!("cannot apply allowed_modes configuration, {mode:?} is not a valid {option}");
            reader.problem_in_known_words(problem);
        }
        modes
    };
    AllowedModes {
        pid: checked("pid", "pid_mode", &|mode| mode == "host" || container(mode).is_some_and(|name| !name.is_empty())),
        ipc: checked("ipc", "ipc_mode", &|mode| {
            matches!(mode, "none" | "private" | "host" | "shareable") || container(mode).is_some()
        }),
        userns: checked("userns", "userns_mode", &|mode| mode == "host"),
        // The built-in driver's message says utc, and people search for it.
        uts: checked("uts", "utc_mode", &|mode| mode == "host"),
    }
}

#[cfg(test)]
mod tests {
    use nomad_plugin::msgpack::{Value, encode};

    use super::*;

    fn object(fields: &[(&str, Value)]) -> Value {
        Value::Map(fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect())
    }

    fn text(text: &str) -> Value {
        Value::String(text.to_owned())
    }

    fn parse(fields: &[(&str, Value)]) -> Result<PluginConfig, ConfigErrors> {
        PluginConfig::parse(&encode(&object(fields)))
    }

    #[test]
    fn nothing_at_all_is_the_default() {
        assert_eq!(PluginConfig::parse(&[]), Ok(PluginConfig::default()));
        assert_eq!(parse(&[("gc", Value::Null), ("logging", Value::Null)]), Ok(PluginConfig::default()));
    }

    #[test]
    fn what_the_operator_says_is_taken() {
        let config = parse(&[
            ("endpoint", text("unix:///x.sock")),
            ("allow_privileged", Value::Int(1)),
            ("volumes", object(&[("enabled", Value::Bool(true)), ("selinuxlabel", text("z"))])),
            ("gc", object(&[("container", Value::Bool(false)), ("image_delay", text("1h"))])),
            ("pids_limit", Value::Int(100)),
            ("logging", object(&[("type", text("journald"))])),
        ])
        .unwrap();

        assert_eq!(config.endpoint.address, "unix:///x.sock");
        assert!(config.allow_privileged && config.volumes.enabled && !config.gc.container && config.gc.image);
        assert_eq!(config.gc.image_delay, Duration::from_secs(3600));
        assert_eq!(config.pids_limit, Some(100));
        assert_eq!(config.logging, Logging { driver: "journald".into(), options: BTreeMap::new() });
    }

    #[test]
    fn every_error_is_reported_at_once() {
        let errors = parse(&[
            ("image_pull_timeout", text("1d")),
            ("pull_activity_timeout", text("10s")),
            ("allowed_modes", object(&[("uts", Value::List(vec![text("private")]))])),
            ("pids_limit", Value::Int(-5)),
            ("endpoint", text("tcp://127.0.0.1:1")),
            ("tls", object(&[("cert", text("/c"))])),
            ("state_dir", Value::Int(3)),
            ("max_parallel_pulls", Value::Int(0)),
            ("load_dirs", Value::List(vec![text("/srv/images"), text("images")])),
        ])
        .unwrap_err()
        .to_string();

        assert!(!errors.contains("allowed_modes: "), "{errors}");
        for expected in [
            "failed to parse 'image_pull_timeout' duration: time: unknown unit \"d\" in duration \"1d\"",
            "pull_activity_timeout is less than minimum, 1m0s",
            "cannot apply allowed_modes configuration, \"private\" is not a valid utc_mode",
            "pids_limit: must be -1 or more, this is -5",
            "max_parallel_pulls: must be between 1 and 1000, this is 0",
            "tls.key: must be set: a client's certificate and its key go together",
            "failed to decode driver config: state_dir: a string is needed, this is a number",
            "load_dirs[1]: an absolute path is needed, this is \"images\"",
        ] {
            assert!(errors.contains(expected), "{expected} is not in {errors}");
        }
    }
}
