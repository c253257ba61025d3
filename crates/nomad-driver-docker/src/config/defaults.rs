//! The defaults of unset options. The schema shows these values to Nomad.

use std::path::{Path, PathBuf};

use engine::Endpoint;

use super::{
    allowlists::Allowlists,
    garbage_collection::GarbageCollection,
    plugin::{AllowedModes, Logging, PluginAuth, PluginConfig, Volumes},
    reader::ONE_MINUTE,
};
use crate::reference::{ImageReference, InvalidReference};

/// The default capabilities of tasks: Docker's own, without `NET_RAW`.
const DEFAULT_CAPS: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

impl Default for PluginConfig {
    fn default() -> Self {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        Self {
            endpoint: Endpoint::default(),
            auth: PluginAuth::default(),
            extra_labels: Vec::new(),
            logging: Logging {
                driver: "json-file".to_owned(),
                options: [("max-file", "2"), ("max-size", "2m")].map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
            },
            gc: GarbageCollection::default(),
            volumes: Volumes::default(),
            allow_privileged: false,
            allow_caps: owned(&DEFAULT_CAPS),
            nvidia_runtime: "nvidia".to_owned(),
            allow_runtimes: owned(&["runc", "nvidia"]),
            infra_image: default_infra_image(),
            infra_image_pull_timeout: 5 * ONE_MINUTE,
            image_pull_timeout: 5 * ONE_MINUTE,
            image_pull_timeout_max: 6 * 60 * ONE_MINUTE,
            container_exists_attempts: 5,
            oom_score_adj: 0,
            pull_activity_timeout: 2 * ONE_MINUTE,
            max_parallel_pulls: 3,
            verify_cached_image_access: false,
            pids_limit: None,
            disable_log_collection: false,
            allowed_modes: AllowedModes::default(),
            load_dirs: Vec::new(),
            load_max: None,
            state_dir: default_state_dir(),
            allowlists: Allowlists::default(),
        }
    }
}

/// The architecture in Go's terms, part of the default pause image's name.
pub(crate) fn go_arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// The default image of pause containers.
fn default_infra_image() -> Result<ImageReference, InvalidReference> {
    ImageReference::of_person(&format!("registry.k8s.io/pause-{}:3.3", go_arch()))
}

/// The state directory of root, or of the user.
fn default_state_dir() -> PathBuf {
    const NAME: &str = "nomad-driver-docker";
    if rustix::process::geteuid().is_root() {
        return Path::new("/var/lib").join(NAME);
    }
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".local/state"));
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).or_else(home);
    state.unwrap_or_else(std::env::temp_dir).join(NAME)
}
