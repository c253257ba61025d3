//! Create requests for `config` blocks of job files, compared with that of a plain task.

mod arbitrary;
mod combinations;
mod options;
mod rejections;

use std::{collections::BTreeMap, fmt::Write};

use nomad_jobspec::{Source, decode::decode, parse_config};
use nomad_plugin::{
    driver::{AllocatedResources, LinuxResources, NetworkIsolation, NetworkMode, PortMapping, Resources, TaskConfig},
    hclspec::Spec,
    msgpack::encode,
};
use serde_json::Value;

use super::*;
use crate::config::{plugin_schema, task_schema};

/// A task and everything its request depends on.
struct Case {
    task: TaskConfig,
    machine: Machine,
    files: host_files::HostFiles,
    runtimes: Vec<String>,
    api: ApiVersion,
    plugin: String,
    config: String,
}

impl Case {
    /// A task with options as a job's `config` block has them.
    fn new(config: &str) -> Self {
        let linux = LinuxResources { cpu_shares: 500, ..LinuxResources::default() };
        let allocated = AllocatedResources { memory_mb: 64, ..AllocatedResources::default() };
        let ports = vec![PortMapping { label: "http".into(), value: 8080, to: 80, host_ip: "127.0.0.1".into() }];
        let directories = [
            ("NOMAD_ALLOC_DIR", "/alloc"),
            ("NOMAD_TASK_DIR", "/local"),
            ("NOMAD_SECRETS_DIR", "/secrets"),
            ("A", "1"),
        ];
        let task = TaskConfig {
            name: "web".into(),
            alloc_id: "a1".into(),
            job_name: "site".into(),
            alloc_dir: "/allocs/a1".into(),
            user: "nobody".into(),
            env: directories.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            resources: Some(Resources { allocated: Some(allocated), linux: Some(linux), ports }),
            ..TaskConfig::default()
        };
        Self {
            task,
            machine: Machine { total_mhz: 8000, cores: 2, cgroup_version: 1, cpus: 2 },
            files: host_files::HostFiles::default(),
            runtimes: vec!["runc".into(), "nvidia".into()],
            api: ApiVersion { major: 1, minor: 44 },
            plugin: String::new(),
            config: config.to_owned(),
        }
    }

    /// With a plugin's `config` block.
    fn plugin(mut self, plugin: &str) -> Self {
        plugin.clone_into(&mut self.plugin);
        self
    }

    fn task(mut self, change: impl FnOnce(&mut TaskConfig)) -> Self {
        change(&mut self.task);
        self
    }

    fn resources(self, change: impl FnOnce(&mut Resources)) -> Self {
        self.task(|task| change(task.resources.as_mut().unwrap()))
    }

    fn linux(self, change: impl FnOnce(&mut LinuxResources)) -> Self {
        self.resources(|resources| change(resources.linux.as_mut().unwrap()))
    }

    fn allocated(self, change: impl FnOnce(&mut AllocatedResources)) -> Self {
        self.resources(|resources| change(resources.allocated.as_mut().unwrap()))
    }

    /// In a group with its own network.
    fn in_a_group(self) -> Self {
        let labels = [("docker_sandbox_container_id".to_owned(), "pause".to_owned())].into();
        let network = NetworkIsolation { mode: NetworkMode::Group, path: "/run/netns/x".into(), labels, hosts: None };
        self.task(|task| task.network_isolation = Some(network))
    }

    fn request(&self) -> Result<CreateRequest, String> {
        let image = if self.config.contains("image ") { "" } else { "image = \"busybox:1\"\n" };
        let options = TaskOptions::parse(&msgpack(&format!("{image}{}", self.config), &task_schema()));
        let options = options.map_err(|errors| errors.to_string())?;
        let plugin = PluginConfig::parse(&msgpack(&self.plugin, &plugin_schema())).unwrap();
        let files = host_files::HostFiles { security_opt: options.security_opt.clone(), ..self.files.clone() };
        let (task, machine, runtimes, api) = (&self.task, self.machine, self.runtimes.as_slice(), self.api);
        create_request(&Request { task, options: &options, plugin: &plugin, machine, runtimes, api, files })
            .map_err(|error| error.0)
    }

    fn body(&self) -> Value {
        serde_json::to_value(self.request().unwrap().body).unwrap()
    }

    /// The differences from a plain task's request, or the rejection.
    fn changes(&self) -> String {
        let (plain, mine) = (
            leaves(&Case::new("").body()),
            match self.request() {
                Ok(request) => {
                    let mut all = serde_json::to_value(request.body).unwrap();
                    let connected: BTreeMap<_, _> = request.networks.into_iter().collect();
                    if !connected.is_empty() {
                        all["connected"] = serde_json::to_value(connected).unwrap();
                    }
                    leaves(&all)
                }
                Err(error) => return format!("refused: {error}\n"),
            },
        );
        let mut changes = String::new();
        for (path, value) in plain.iter().filter(|(path, _)| !mine.contains_key(*path)) {
            writeln!(changes, "- {path} = {value}").unwrap();
        }
        for (path, value) in mine.iter().filter(|(path, value)| plain.get(*path) != Some(value)) {
            writeln!(changes, "+ {path} = {value}").unwrap();
        }
        if changes.is_empty() { "as plain\n".to_owned() } else { changes }
    }
}

/// HCL as a host encodes it.
fn msgpack(hcl: &str, schema: &Spec) -> Vec<u8> {
    let source = Source { name: "config".into(), text: hcl.to_owned() };
    let body = parse_config(&source).unwrap_or_else(|error| panic!("{error}\n{hcl}"));
    encode(&decode(&body, schema, &|_| None).unwrap_or_else(|problems| panic!("{problems:?}\n{hcl}")))
}

/// Each value that is not an object, by its path.
fn leaves(value: &Value) -> BTreeMap<String, String> {
    fn collect(path: &str, value: &Value, into: &mut BTreeMap<String, String>) {
        match value {
            Value::Object(fields) if !fields.is_empty() => {
                for (name, value) in fields {
                    collect(&if path.is_empty() { name.clone() } else { format!("{path}.{name}") }, value, into);
                }
            }
            other => {
                into.insert(path.to_owned(), other.to_string());
            }
        }
    }
    let mut leaves = BTreeMap::new();
    collect("", value, &mut leaves);
    leaves
}

#[test]
fn a_plain_tasks_request_is_this() {
    let case = Case::new("command = \"sleep\"\nargs = [\"5\"]\nports = [\"http\"]");
    let request = case.request().unwrap();

    assert_eq!((request.name.as_str(), request.attempts), ("web-a1", 5));
    assert_eq!(request.env, case.task.env);
    insta::assert_json_snapshot!(case.body());
}
