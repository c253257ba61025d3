//! What several targets do with a configuration.

use std::{path::PathBuf, sync::LazyLock};

use engine::ApiVersion;
use nomad_driver_docker::{
    config::{PluginConfig, TaskOptions},
    container::{Request, create_request},
    machine::Machine,
    preparation::{host_paths::HandoverMode, prepare},
};
use nomad_plugin::driver::{AllocatedResources, LinuxResources, Resources, TaskConfig};

/// The directory of an allocation, with what is in each.
static ALLOC_DIR: LazyLock<PathBuf> = LazyLock::new(|| {
    let directory = std::env::temp_dir().join("longshore-fuzz");
    for own in ["alloc/logs", "web/local", "web/secrets"] {
        std::fs::create_dir_all(directory.join(own)).expect("a directory for temporary files");
    }
    directory
});

/// A task's configuration on its way to a create request. It is refused in words, or a request.
pub fn request(bytes: &[u8]) {
    let options = match TaskOptions::parse(bytes) {
        Ok(options) => options,
        Err(errors) => return assert!(!errors.to_string().is_empty()),
    };
    let resources = Resources {
        allocated: Some(AllocatedResources::default()),
        linux: Some(LinuxResources::default()),
        ports: Vec::new(),
    };
    let task = TaskConfig {
        name: "web".to_owned(),
        alloc_dir: ALLOC_DIR.display().to_string(),
        resources: Some(resources),
        ..TaskConfig::default()
    };
    let mut plugin = PluginConfig { allow_privileged: true, ..PluginConfig::default() };
    plugin.volumes.enabled = true;
    let request = Request {
        task: &task,
        options: &options,
        plugin: &plugin,
        machine: Machine::default(),
        runtimes: &[],
        api: ApiVersion { major: 1, minor: 44 },
        files: prepare(&task, &options, &plugin, &mut HandoverMode::ByName(&[])),
    };
    if let Err(error) = create_request(&request) {
        assert!(!error.to_string().is_empty());
    }
}
