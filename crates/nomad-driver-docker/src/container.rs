//! A task to the request that makes its container: pure, but for `files`, which reads and writes beforehand what the
//! request needs of the host.

mod binds;
mod environment;
pub mod files;
mod glob;
mod labels;
mod names;
mod network;
mod ports;
mod resources;
mod security;

use std::collections::BTreeMap;

pub(crate) use labels::{ALLOC_ID, NODE_ID};
pub use names::container_name;
pub use network::driver_network;
use nomad_plugin::driver::TaskConfig;

use crate::{
    config::{PluginConfig, TaskOptions},
    engine::model::{ContainerCreateBody, HealthConfig, HostConfig, HostConfigLogConfig},
};

/// Why no container can be made of a task, in the words that operators know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ContainerError(pub String);

/// What is known of the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Machine {
    /// MHz of all cores; 0 is unknown.
    pub total_mhz: u64,
    /// Cores that the agent counts; 0 is unknown.
    pub cores: u32,
    /// 1 or 2.
    pub cgroup_version: u8,
    /// Processors that this process may use.
    pub cpus: u32,
}

/// What a container is made of.
pub struct Request<'a> {
    /// What the host says of the task.
    pub task: &'a TaskConfig,
    /// The job's `config` block.
    pub options: &'a TaskOptions,
    /// The plugin's configuration.
    pub plugin: &'a PluginConfig,
    /// The machine.
    pub machine: Machine,
    /// The runtimes that the engine has.
    pub runtimes: &'a [String],
    /// What was read and written beforehand.
    pub files: files::HostFiles,
}

/// A container to make.
#[derive(Clone, Debug, PartialEq)]
pub struct CreateRequest {
    /// Its name.
    pub name: String,
    /// Its body.
    pub body: ContainerCreateBody,
    /// The task's environment with what was added.
    pub env: BTreeMap<String, String>,
}

/// The request for a task's container.
pub fn create_request(request: &Request<'_>) -> Result<CreateRequest, ContainerError> {
    let Request { task, options, plugin, .. } = request;
    let some = |texts: &[String]| (!texts.is_empty()).then(|| texts.to_vec());
    let env = environment::environment(task, options);
    let ports = ports::ports(task, options)?;
    let network_mode = network::mode(task, options);
    let namespaces = security::namespaces(options, plugin)?;
    let capabilities = security::capabilities(options, plugin)?;
    let mut host = HostConfig {
        binds: Some(binds::binds(request)?),
        mounts: Some(binds::mounts(request)?).filter(|mounts| !mounts.is_empty()),
        log_config: Some(log_config(options, plugin)),
        network_mode: Some(network_mode.clone()),
        port_bindings: Some(ports.bindings).filter(|bindings| !bindings.is_empty()),
        privileged: Some(security::privileged(options, plugin)?),
        cap_add: Some(capabilities.add),
        cap_drop: Some(capabilities.drop),
        ipc_mode: namespaces.ipc,
        pid_mode: namespaces.pid,
        uts_mode: namespaces.uts,
        userns_mode: namespaces.userns,
        runtime: security::runtime(task, options, plugin, request.runtimes)?,
        security_opt: Some(request.files.security_opt.clone()).filter(|opts| !opts.is_empty()),
        init: options.init.then_some(true),
        readonly_rootfs: Some(options.readonly_rootfs),
        group_add: some(&options.group_add),
        shm_size: options.shm_size,
        storage_opt: (!options.storage_opt.is_empty()).then(|| options.storage_opt.clone().into_iter().collect()),
        sysctls: (!options.sysctl.is_empty()).then(|| options.sysctl.clone().into_iter().collect()),
        cgroupns_mode: security::cgroupns(options)?,
        extra_hosts: if request.files.hosts.is_some() { None } else { some(&options.extra_hosts) },
        ..HostConfig::default()
    };
    resources::apply(&mut host, request)?;
    if task.dns.is_none() {
        host.dns = Some(network::dns_servers(options)).filter(|servers| !servers.is_empty());
        host.dns_search = some(&options.dns_search_domains);
        host.dns_options = some(&options.dns_options);
    }
    let body = ContainerCreateBody {
        image: Some(options.image.clone()),
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
        networking_config: network::networking_config(options, &network_mode),
        host_config: Some(host),
        ..ContainerCreateBody::default()
    };
    Ok(CreateRequest { name: container_name(task), body, env })
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

#[cfg(test)]
mod tests {
    use nomad_plugin::driver::{
        AllocatedResources, LinuxResources, Mount, NetworkIsolation, NetworkPort, NetworkResource, PortMapping,
        Resources,
    };
    use serde_json::{Value, json};

    use super::*;
    use crate::config::{MountKind, MountOptions, VolumeOptions};

    fn task() -> TaskConfig {
        let linux = LinuxResources { cpu_shares: 500, ..LinuxResources::default() };
        let allocated = AllocatedResources { memory_mb: 64, ..AllocatedResources::default() };
        let ports = vec![PortMapping { label: "http".into(), value: 8080, to: 80, host_ip: "127.0.0.1".into() }];
        TaskConfig {
            name: "web".into(),
            alloc_id: "a1".into(),
            job_name: "site".into(),
            alloc_dir: "/allocs/a1".into(),
            user: "nobody".into(),
            env: [
                ("NOMAD_ALLOC_DIR", "/alloc"),
                ("NOMAD_TASK_DIR", "/local"),
                ("NOMAD_SECRETS_DIR", "/secrets"),
                ("A", "1"),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
            resources: Some(Resources { allocated: Some(allocated), linux: Some(linux), ports }),
            ..TaskConfig::default()
        }
    }

    fn request(task: &TaskConfig, options: &TaskOptions, plugin: &PluginConfig) -> Result<Value, ContainerError> {
        let machine = Machine { total_mhz: 8000, cores: 2, cgroup_version: 1, cpus: 2 };
        let files = files::HostFiles::default();
        let request = Request { task, options, plugin, machine, runtimes: &[], files };
        Ok(serde_json::to_value(create_request(&request)?.body).unwrap())
    }

    fn options() -> TaskOptions {
        TaskOptions { image: "busybox:1".into(), ..TaskOptions::default() }
    }

    fn error(task: &TaskConfig, options: &TaskOptions) -> String {
        request(task, options, &PluginConfig::default()).unwrap_err().0
    }

    #[test]
    fn a_plain_task_becomes_a_container_with_nomads_defaults() {
        let options = TaskOptions {
            command: Some("sleep".into()),
            args: vec!["5".into()],
            ports: vec!["http".into()],
            ..options()
        };
        let body = request(&task(), &options, &PluginConfig::default()).unwrap();

        assert_eq!(body["Image"], "busybox:1");
        assert_eq!(body["Cmd"], json!(["sleep", "5"]));
        assert_eq!(body["User"], "nobody");
        assert_eq!(
            body["Env"],
            json!(["A=1", "NOMAD_ALLOC_DIR=/alloc", "NOMAD_SECRETS_DIR=/secrets", "NOMAD_TASK_DIR=/local"])
        );
        assert_eq!(body["Labels"], json!({ "com.hashicorp.nomad.alloc_id": "a1" }));
        assert_eq!(body["ExposedPorts"], json!({ "80/tcp": {}, "80/udp": {} }));
        let host = &body["HostConfig"];
        assert_eq!(
            host["Binds"],
            json!([
                "/allocs/a1/alloc:/alloc",
                "/allocs/a1/web/local:/local",
                "/allocs/a1/web/secrets:/secrets",
                "/allocs/a1/alloc/logs:/alloc/logs:ro",
            ])
        );
        assert_eq!(host["PortBindings"]["80/tcp"], json!([{ "HostIp": "127.0.0.1", "HostPort": "8080" }]));
        assert_eq!(host["LogConfig"], json!({ "Type": "json-file", "Config": { "max-file": "2", "max-size": "2m" } }));
        assert_eq!(host["NetworkMode"], "default");
        assert_eq!((&host["Memory"], &host["MemorySwap"]), (&json!(64 << 20), &json!(64 << 20)));
        assert_eq!((&host["CpuShares"], &host["PidsLimit"]), (&json!(500), &json!(-1)));
        assert_eq!(host["CapDrop"], json!(["CAP_NET_RAW"]));
        assert_eq!(host.get("RestartPolicy"), None);
    }

    #[test]
    fn labels_of_nomad_follow_the_operators_globs_and_win() {
        let plugin =
            PluginConfig { extra_labels: vec!["job_*".into(), "parent_job_id".into()], ..PluginConfig::default() };
        let mut options = options();
        options.labels.insert("com.hashicorp.nomad.alloc_id".into(), "mine".into());
        let labels = request(&task(), &options, &plugin).unwrap()["Labels"].clone();

        let expected = json!({
            "com.hashicorp.nomad.alloc_id": "a1",
            "com.hashicorp.nomad.job_name": "site",
            "com.hashicorp.nomad.job_id": "",
        });
        assert_eq!(labels, expected);
    }

    #[test]
    fn a_group_network_is_joined_and_its_ports_are_not_published_again() {
        let labels = [("docker_sandbox_container_id".to_owned(), "pause".to_owned())].into();
        let network = NetworkIsolation { path: "/run/netns/x".into(), labels, ..NetworkIsolation::default() };
        let task = TaskConfig { network_isolation: Some(network), ..task() };
        let options = TaskOptions { ports: vec!["http".into()], ..options() };
        let host = request(&task, &options, &PluginConfig::default()).unwrap()["HostConfig"].clone();

        assert_eq!(host["NetworkMode"], "container:pause");
        assert_eq!(host.get("PortBindings"), None);
    }

    #[test]
    fn legacy_ports_are_mapped_by_label_and_told_to_the_task() {
        let mut task = task();
        let port = |label: &str, value| NetworkPort { label: label.into(), value };
        let network = NetworkResource {
            ip: "127.0.0.1".into(),
            reserved_ports: vec![port("db", 5432)],
            dynamic_ports: vec![port("my-http", 20000)],
            ..NetworkResource::default()
        };
        task.resources.as_mut().unwrap().allocated.as_mut().unwrap().networks = vec![network];
        let options = TaskOptions { port_map: [("my-http".to_owned(), 80)].into(), ..options() };
        let body = request(&task, &options, &PluginConfig::default()).unwrap();

        assert!(body["Env"].as_array().unwrap().contains(&json!("NOMAD_PORT_my_http=80")));
        assert_eq!(body["HostConfig"]["PortBindings"]["80/tcp"][0]["HostPort"], "20000");
        assert_eq!(body["HostConfig"]["PortBindings"]["5432/udp"][0]["HostPort"], "5432");
    }

    #[test]
    fn ports_that_cannot_be_mapped_are_errors() {
        let unknown = TaskOptions { ports: vec!["x".into()], ..options() };
        assert_eq!(error(&task(), &unknown), "Port \"x\" not found, check network block");
        let mapped = TaskOptions { port_map: [("http".to_owned(), 80)].into(), ..options() };
        assert_eq!(error(&task(), &mapped), "'port_map' cannot map group network ports, use 'ports' instead");
        let mut without = task();
        without.resources.as_mut().unwrap().ports.clear();
        assert_eq!(error(&without, &mapped), "Trying to map ports but no network interface is available");
        assert_eq!(error(&TaskConfig::default(), &options()), "task.Resources is empty");
    }

    #[test]
    fn volumes_need_the_operators_leave() {
        let named = TaskOptions { volume_driver: Some("local".into()), volumes: vec!["v:/v".into()], ..options() };
        assert_eq!(error(&task(), &named), "volumes are not enabled; cannot use volume driver \"local\"");
        let mount = MountOptions {
            kind: MountKind::Volume(VolumeOptions::default()),
            target: "/v".into(),
            source: "v".into(),
            readonly: true,
        };
        let mounted = TaskOptions { mounts: vec![mount], ..options() };
        assert_eq!(error(&task(), &mounted), "volumes are not enabled; cannot mount volume: \"v\"");

        let mut plugin = PluginConfig::default();
        plugin.volumes.enabled = true;
        plugin.volumes.selinux_label = "z".into();
        let relative = TaskOptions { volumes: vec!["data:/d:ro".into(), "/etc/../srv:/s".into()], ..mounted };
        let host = request(&task(), &relative, &plugin).unwrap()["HostConfig"].clone();
        assert_eq!(host["Binds"][4], "/allocs/a1/web/data:/d:ro,z");
        assert_eq!(host["Binds"][5], "/srv:/s:z");
        assert_eq!(host["Binds"][3], "/allocs/a1/alloc/logs:/alloc/logs:ro,z");
        assert_eq!(
            host["Mounts"][0]["VolumeOptions"],
            json!({ "NoCopy": false, "Labels": {}, "DriverConfig": { "Options": {} } })
        );
    }

    #[test]
    fn mounts_of_nomad_come_last_with_their_propagation() {
        let mount = Mount {
            task_path: "/in".into(),
            host_path: "/out".into(),
            readonly: true,
            propagation_mode: "host-to-task".into(),
            ..Mount::default()
        };
        let task = TaskConfig { mounts: vec![mount], ..task() };
        let host = request(&task, &options(), &PluginConfig::default()).unwrap()["HostConfig"].clone();

        let expected = json!([{
            "Type": "bind", "Source": "/out", "Target": "/in", "ReadOnly": true,
            "BindOptions": { "Propagation": "rslave" },
        }]);
        assert_eq!(host["Mounts"], expected);
    }
}
