//! A task as the driver gets it: its configuration, environment, resources and files.

use nomad_jobspec::{Problem, decode::decode};
use nomad_plugin::{
    driver::{AllocatedResources, Dns, LinuxResources, Resources, TaskConfig},
    id::TaskId,
    msgpack::encode,
};

use crate::{
    alloc::environment::Subject,
    cores::list,
    log_files::{Stream, pipe_path},
    node::total_mhz,
    task_runner::TaskRunner,
    template::{self, Places},
};

impl TaskRunner {
    /// The task as the driver gets it, after the task's files are made.
    pub(crate) fn config(&self) -> Result<TaskConfig, String> {
        let Self { job, group, task, alloc_id, index, ports, cores, node, .. } = self;
        let hosts = self.network.as_ref().and_then(|network| network.hosts.as_ref());
        let address = hosts.map(|entry| entry.address.as_str());
        let subject = Subject { job, group, task, alloc_id, index: *index, ports, address, cores, node };
        let mut env = subject.environment();
        for template in &task.templates {
            let resolve = |name: &str| subject.resolve(&env, name);
            let places = Places { alloc: &self.dir, task: &task.name, job_dir: &self.job_dir };
            let added = template::make(template, places, &env, &resolve)?;
            env.extend(added);
        }
        let joined = |problems: Vec<Problem>| {
            let words = |Problem { message, hint, .. }: Problem| match hint {
                Some(hint) => format!("{message}: {hint}"),
                None => message,
            };
            problems.into_iter().map(words).collect::<Vec<_>>().join("; ")
        };
        let unresolved = subject.unresolved(&env);
        if !unresolved.is_empty() {
            return Err(joined(unresolved));
        }
        let config = decode(&task.config, &self.schema, &|name| subject.resolve(&env, name)).map_err(joined)?;
        let path = |stream| {
            let null = "/dev/null".into();
            let path = if task.logs.disabled { null } else { pipe_path(&self.dir.logs(), &task.name, stream) };
            path.display().to_string()
        };
        let run = uuid::Uuid::new_v4().to_string();
        Ok(TaskConfig {
            id: TaskId::from(format!("{alloc_id}/{}/{}", task.name, &run[..8])),
            name: task.name.clone(),
            driver_config: encode(&config),
            env,
            resources: Some(self.resources()),
            user: task.user.clone(),
            alloc_dir: self.dir.path().display().to_string(),
            stdout_path: path(Stream::Stdout),
            stderr_path: path(Stream::Stderr),
            task_group_name: group.name.clone(),
            job_name: job.name.clone(),
            job_id: job.id.clone(),
            alloc_id: alloc_id.as_str().into(),
            namespace: job.namespace.clone(),
            network_isolation: self.network.clone(),
            node_name: node.get("node.unique.name").unwrap_or_default(),
            node_id: self.record.node_id(),
            dns: group.network.dns.clone().map(|dns| Dns {
                servers: dns.servers,
                searches: dns.searches,
                options: dns.options,
            }),
            ..TaskConfig::default()
        })
    }

    fn resources(&self) -> Resources {
        let (cpu, memory) = (i64::from(self.task.resources.cpu), i64::from(self.task.resources.memory));
        Resources {
            allocated: Some(AllocatedResources {
                cpu_shares: cpu,
                memory_mb: memory,
                memory_max_mb: self.task.resources.memory_max.into(),
                networks: Vec::new(),
            }),
            linux: Some(LinuxResources {
                cpu_shares: cpu,
                cpuset_cpus: list(&self.cores),
                memory_limit_bytes: memory.max(self.task.resources.memory_max.into()) << 20,
                percent_ticks: f64::from(self.task.resources.cpu) / total_mhz(),
                ..LinuxResources::default()
            }),
            ports: self.ports.clone(),
        }
    }
}
