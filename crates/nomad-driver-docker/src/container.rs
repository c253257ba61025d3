//! Converts a task to the create request of its container, without side effects. [Preparation](crate::preparation) reads and
//! writes the host beforehand.

pub(crate) mod allowlists;
mod binds;
mod environment;
pub mod host_files;
mod labels;
mod network;
mod ports;
pub(crate) mod read_only_logs;
pub(crate) mod rejections;
mod resources;
mod security;
pub(crate) mod security_opt;
pub mod sources;
#[cfg(test)]
mod tests;
mod warnings;

use std::collections::BTreeMap;

pub(crate) use allowlists::check_image;
pub use labels::dropped_labels;
pub use network::{driver_network, sibling};
use nomad_plugin::driver::TaskConfig;
pub use warnings::warnings;

use crate::{
    config::{self, PluginConfig, TaskOptions},
    machine::Machine,
    names::container_name,
};
use engine::{
    ApiVersion,
    request::{ContainerCreateBody, EndpointSettings, HealthConfig, HostConfig, HostConfigLogConfig},
};

/// Why no container can be created for a task, in the words that operators know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ContainerError(pub String);

/// The input for a container.
pub struct Request<'a> {
    /// The host's description of the task.
    pub task: &'a TaskConfig,
    /// The job's `config` block.
    pub options: &'a TaskOptions,
    /// The plugin's configuration.
    pub plugin: &'a PluginConfig,
    /// The machine.
    pub machine: Machine,
    /// The engine's runtimes.
    pub runtimes: &'a [String],
    /// The version of the engine's API.
    pub api: ApiVersion,
    /// The files that were read and written beforehand.
    pub files: host_files::HostFiles,
}

/// A container to create.
#[derive(Clone, Debug, PartialEq)]
pub struct CreateRequest {
    /// Its name.
    pub name: String,
    /// Its body.
    pub body: ContainerCreateBody,
    /// The task's environment with additions.
    pub env: BTreeMap<String, String>,
    /// How often to try if the name is taken.
    pub attempts: u32,
    /// The networks to connect it to before it starts, with its endpoint settings.
    pub networks: Vec<(String, EndpointSettings)>,
    /// The paths in it, some of which are checked again before the container starts.
    pub paths: sources::HostPaths,
}

/// The create request of a task's container, or all rejections.
pub fn create_request(request: &Request<'_>) -> Result<CreateRequest, ContainerError> {
    let Request { task, options, plugin, .. } = request;
    let some = |texts: &[String]| (!texts.is_empty()).then(|| texts.to_vec());
    let env = environment::environment(task, options);
    let mut rejections = request.files.rejections.clone();
    rejections.or_nothing(config::check_environment(&env).map_err(|error| ContainerError(error.to_string())));
    let ports = ports::ports(task, options, &mut rejections);
    let network_mode = network::mode(task, options);
    let mut host = HostConfig {
        volume_driver: options.volume_driver.clone(),
        log_config: Some(log_config(options, plugin)),
        network_mode: Some(network_mode.clone()),
        port_bindings: Some(ports.bindings).filter(|bindings| !bindings.is_empty()),
        security_opt: Some(request.files.security_opt.clone()).filter(|opts| !opts.is_empty()),
        init: options.init.then_some(true),
        readonly_rootfs: Some(options.readonly_rootfs),
        group_add: some(&options.group_add),
        shm_size: options.shm_size,
        storage_opt: (!options.storage_opt.is_empty()).then(|| options.storage_opt.clone().into_iter().collect()),
        sysctls: (!options.sysctl.is_empty()).then(|| options.sysctl.clone().into_iter().collect()),
        extra_hosts: if request.files.hosts.is_some() { None } else { some(&options.extra_hosts) },
        ..HostConfig::default()
    };
    security::apply(&mut host, request, &mut rejections);
    binds::apply(&mut host, request, &mut rejections);
    rejections.or_nothing(resources::apply(&mut host, request));
    if task.dns.is_none() {
        host.dns = Some(network::dns_servers(options)).filter(|servers| !servers.is_empty());
        host.dns_search = some(&options.dns_search_domains);
        host.dns_options = some(&options.dns_options);
    }
    let networking = rejections.or_nothing(network::networking_config(options, &network_mode, request.api));
    let body = ContainerCreateBody {
        image: Some(options.image.written().to_owned()),
        entrypoint: options.entrypoint.clone(),
        cmd: command(options),
        hostname: options.hostname.clone(),
        user: Some(task.user.clone()).filter(|user| !user.is_empty()),
        tty: Some(options.tty),
        open_stdin: Some(options.interactive),
        working_dir: options.work_dir.clone(),
        env: Some(env.iter().map(|(name, value)| format!("{name}={value}")).collect()),
        labels: Some(labels::labels(task, options, plugin).into_iter().collect()),
        healthcheck: options
            .healthchecks_disable
            .then(|| HealthConfig { test: Some(vec!["NONE".to_owned()]), ..HealthConfig::default() }),
        exposed_ports: Some(ports.exposed).filter(|exposed| !exposed.is_empty()),
        networking_config: networking,
        host_config: Some(host),
        ..ContainerCreateBody::default()
    };
    let attempts = options.container_exists_attempts.unwrap_or(plugin.container_exists_attempts);
    let paths = request.files.paths.clone();
    let (name, networks) = (container_name(task), network::additional(options));
    rejections.or(CreateRequest { name, body, env, attempts, networks, paths })
}

fn command(options: &TaskOptions) -> Option<Vec<String>> {
    let command: Vec<String> = options.command.iter().chain(&options.args).cloned().collect();
    (!command.is_empty()).then_some(command)
}

fn log_config(options: &TaskOptions, plugin: &PluginConfig) -> HostConfigLogConfig {
    let (driver, config) = match &options.logging {
        Some(logging) => (&logging.driver, logging.options.clone().unwrap_or_default()),
        None => (&plugin.logging.driver, plugin.logging.options.clone()),
    };
    HostConfigLogConfig { typ: Some(driver.clone()), config: Some(config.into_iter().collect()) }
}
