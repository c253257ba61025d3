//! What several targets do with a configuration.

use nomad_driver_docker::{
    config::{PluginConfig, TaskOptions},
    container::{Machine, Request, create_request, files::HostFiles},
    engine::ApiVersion,
};
use nomad_plugin::driver::{AllocatedResources, LinuxResources, Resources, TaskConfig};

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
    let task = TaskConfig { resources: Some(resources), ..TaskConfig::default() };
    let mut plugin = PluginConfig { allow_privileged: true, ..PluginConfig::default() };
    plugin.volumes.enabled = true;
    let request = Request {
        task: &task,
        options: &options,
        plugin: &plugin,
        machine: Machine::default(),
        runtimes: &[],
        api: ApiVersion { major: 1, minor: 44 },
        files: HostFiles::default(),
    };
    if let Err(error) = create_request(&request) {
        assert!(!error.to_string().is_empty());
    }
}
