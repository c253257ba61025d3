//! A task to start, with what a host makes for it: its directories and its pipes.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use nomad_plugin::{
    driver::{AllocatedResources, LinuxResources, PortMapping, Resources, TaskConfig, TaskHandle},
    id::TaskId,
    msgpack::{Value, encode},
};

use crate::{LABEL, image, object, pipes::Pipes, text};

/// A task that was started.
pub struct Started {
    /// Its run.
    pub id: TaskId,
    /// Its address.
    pub address: String,
    /// What the host keeps.
    pub handle: TaskHandle,
}

/// A task to start, with the host's end of its pipes.
pub struct Task {
    /// What the driver receives.
    pub config: TaskConfig,
    /// Its `config` block.
    pub options: BTreeMap<String, Value>,
    /// What it writes.
    pub pipes: Pipes,
}

impl Task {
    /// A task of an allocation.
    pub(crate) fn new(root: &Path, alloc_id: &str, name: &str, options: &[(&str, Value)]) -> Self {
        let alloc_dir = root.join(alloc_id);
        for part in ["alloc/logs", "alloc/data", "alloc/tmp"] {
            std::fs::create_dir_all(alloc_dir.join(part)).unwrap();
        }
        for part in ["local", "secrets", "tmp"] {
            std::fs::create_dir_all(alloc_dir.join(name).join(part)).unwrap();
        }
        let pipes = Pipes::make(&alloc_dir.join("alloc/logs"), name);
        let linux = LinuxResources {
            cpu_shares: 100,
            percent_ticks: 0.1,
            memory_limit_bytes: 128 << 20,
            cpuset_cgroup: "/sys/fs/cgroup/cpuset/nomad/share".into(),
            ..LinuxResources::default()
        };
        let allocated = AllocatedResources { cpu_shares: 100, memory_mb: 128, ..AllocatedResources::default() };
        let label = object(&[(LABEL, text(&root.display().to_string()))]);
        let mut all = BTreeMap::from([
            ("image".to_owned(), text(&image())),
            ("labels".to_owned(), Value::List(vec![label])),
            ("network_mode".to_owned(), text("none")),
        ]);
        all.extend(options.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        let env = [
            ("NOMAD_ALLOC_DIR", "/alloc"),
            ("NOMAD_ALLOC_ID", alloc_id),
            ("NOMAD_ALLOC_INDEX", "0"),
            ("NOMAD_ALLOC_NAME", "test.group[0]"),
            ("NOMAD_CPU_CORES", " "),
            ("NOMAD_CPU_LIMIT", "100"),
            ("NOMAD_DC", "dc1"),
            ("NOMAD_GROUP_NAME", "group"),
            ("NOMAD_JOB_ID", "test"),
            ("NOMAD_JOB_NAME", "test"),
            ("NOMAD_MEMORY_LIMIT", "128"),
            ("NOMAD_NAMESPACE", "default"),
            ("NOMAD_PARENT_CGROUP", "nomad.slice"),
            ("NOMAD_REGION", "global"),
            ("NOMAD_SECRETS_DIR", "/secrets"),
            ("NOMAD_SHORT_ALLOC_ID", &alloc_id[..8]),
            ("NOMAD_TASK_DIR", "/local"),
            ("NOMAD_TASK_NAME", name),
        ];
        let config = TaskConfig {
            id: format!("{alloc_id}/{name}/{:08x}", std::process::id()).into(),
            name: name.to_owned(),
            env: env.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            resources: Some(Resources { allocated: Some(allocated), linux: Some(linux), ports: Vec::new() }),
            alloc_dir: alloc_dir.display().to_string(),
            stdout_path: pipes.stdout_path.display().to_string(),
            stderr_path: pipes.stderr_path.display().to_string(),
            alloc_id: alloc_id.into(),
            job_name: "test".into(),
            job_id: "test".into(),
            task_group_name: "group".into(),
            namespace: "default".into(),
            node_name: "node".into(),
            node_id: root.display().to_string(),
            ..TaskConfig::default()
        };
        let mut task = Self { config, options: BTreeMap::new(), pipes };
        task.set(all);
        task
    }

    pub(crate) fn set(&mut self, options: BTreeMap<String, Value>) {
        self.config.driver_config = encode(&Value::Map(options.clone()));
        self.options = options;
    }

    /// The task with one more option.
    #[must_use]
    pub fn option(mut self, name: &str, value: Value) -> Self {
        let mut options = std::mem::take(&mut self.options);
        options.insert(name.to_owned(), value);
        self.set(options);
        self
    }

    /// The task with a port of the group's network.
    #[must_use]
    pub fn port(mut self, label: &str, host: i32, to: i32) -> Self {
        let mapping = PortMapping { label: label.into(), value: host, to, host_ip: "127.0.0.1".into() };
        self.config.resources.as_mut().unwrap().ports.push(mapping);
        self
    }

    /// The container's name.
    pub fn container(&self) -> String {
        format!("{}-{}", self.config.name, self.config.alloc_id)
    }

    /// The directory of the allocation.
    pub fn alloc_dir(&self) -> PathBuf {
        PathBuf::from(&self.config.alloc_dir)
    }
}
