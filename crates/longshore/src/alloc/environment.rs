//! The environment that every task gets: Nomad's variables, then the job's own.

use std::collections::BTreeMap;

use nomad_jobspec::{
    Problem, interpolate,
    job::{Group, Job, Port, Task},
};
use nomad_plugin::driver::PortMapping;

use crate::{cores::list, network::INTERFACE, node::Node};

/// Where a task finds its directories.
pub(crate) const ALLOC_DIR: &str = "/alloc";
pub(crate) const TASK_DIR: &str = "/local";
pub(crate) const SECRETS_DIR: &str = "/secrets";

/// What the environment is made of.
pub(crate) struct Subject<'a> {
    pub(crate) job: &'a Job,
    pub(crate) group: &'a Group,
    pub(crate) task: &'a Task,
    pub(crate) alloc_id: &'a str,
    pub(crate) index: u32,
    pub(crate) ports: &'a [PortMapping],
    /// The instance's own in a bridge.
    pub(crate) address: Option<&'a str>,
    pub(crate) cores: &'a [u32],
    pub(crate) node: &'a Node,
}

/// An instance's name.
pub(crate) fn alloc_name(job: &str, group: &str, index: u32) -> String {
    format!("{job}.{group}[{index}]")
}

impl Subject<'_> {
    /// Resolves a run-time reference, given the environment so far.
    pub(crate) fn resolve(&self, env: &BTreeMap<String, String>, name: &str) -> Option<String> {
        if let Some(variable) = name.strip_prefix("env.") {
            return env.get(variable).cloned().or_else(|| self.node.get(name));
        }
        if let Some(key) = name.strip_prefix("meta.") {
            return self.meta().get(key).cloned();
        }
        env.get(name).cloned().or_else(|| self.node.get(name))
    }

    /// The references in the task's configuration that nothing answers, with this environment.
    pub(crate) fn unresolved(&self, env: &BTreeMap<String, String>) -> Vec<Problem> {
        self.unresolved_but(env, &|_| false)
    }

    fn unresolved_but(&self, env: &BTreeMap<String, String>, forgiven: &dyn Fn(&str) -> bool) -> Vec<Problem> {
        let meta: Vec<String> = self.meta().keys().map(|key| format!("meta.{key}")).collect();
        let known = env.keys().chain(&meta).map(String::as_str).chain(self.node.names());
        let resolve = |name: &str| self.resolve(env, name).or_else(|| forgiven(name).then(String::new));
        self.task.unresolved(&resolve, &known.collect::<Vec<_>>())
    }

    fn meta(&self) -> BTreeMap<String, String> {
        let mut meta = self.job.meta.clone();
        meta.extend(self.group.meta.clone());
        meta.extend(self.task.meta.clone());
        meta
    }

    /// The whole environment.
    pub(crate) fn environment(&self) -> BTreeMap<String, String> {
        let mut env = self.nomad();
        for (name, value) in &self.task.env {
            let value = interpolate(value, &|name| self.resolve(&env, name));
            env.insert(name.clone(), value);
        }
        env
    }

    /// Nomad's variables.
    fn nomad(&self) -> BTreeMap<String, String> {
        let Self { job, group, task, alloc_id, index, ports, .. } = self;
        let first = |texts: &[String]| texts.first().cloned().unwrap_or_default();
        let mut env: BTreeMap<String, String> = [
            ("ALLOC_DIR", ALLOC_DIR.to_owned()),
            ("TASK_DIR", TASK_DIR.to_owned()),
            ("SECRETS_DIR", SECRETS_DIR.to_owned()),
            ("ALLOC_ID", (*alloc_id).to_owned()),
            ("SHORT_ALLOC_ID", alloc_id.chars().take(8).collect()),
            ("ALLOC_INDEX", index.to_string()),
            ("ALLOC_NAME", alloc_name(&job.id, &group.name, *index)),
            ("JOB_ID", job.id.clone()),
            ("JOB_NAME", job.name.clone()),
            ("GROUP_NAME", group.name.clone()),
            ("TASK_NAME", task.name.clone()),
            ("NAMESPACE", job.namespace.clone()),
            ("REGION", job.region.clone()),
            ("DC", first(&job.datacenters)),
            // An agent says so where there are none.
            ("CPU_CORES", Some(list(self.cores)).filter(|cores| !cores.is_empty()).unwrap_or_else(|| " ".to_owned())),
            ("CPU_LIMIT", task.resources.cpu.to_string()),
            ("MEMORY_LIMIT", task.resources.memory.to_string()),
        ]
        .map(|(name, value)| (format!("NOMAD_{name}"), value))
        .into();
        if task.resources.memory_max > 0 {
            env.insert("NOMAD_MEMORY_MAX_LIMIT".to_owned(), task.resources.memory_max.to_string());
        }
        for port in *ports {
            let label = clean(&port.label);
            let inside = if port.to == 0 { port.value } else { port.to };
            for (kind, value) in [
                ("PORT", inside.to_string()),
                ("IP", port.host_ip.clone()),
                ("ADDR", format!("{}:{}", port.host_ip, port.value)),
                ("HOST_PORT", port.value.to_string()),
                ("HOST_IP", port.host_ip.clone()),
                ("HOST_ADDR", format!("{}:{}", port.host_ip, port.value)),
                ("ALLOC_PORT", inside.to_string()),
            ] {
                env.insert(format!("NOMAD_{kind}_{label}"), value);
            }
            if let Some(address) = self.address {
                env.insert(format!("NOMAD_ALLOC_INTERFACE_{label}"), INTERFACE.to_owned());
                env.insert(format!("NOMAD_ALLOC_IP_{label}"), address.to_owned());
                env.insert(format!("NOMAD_ALLOC_ADDR_{label}"), format!("{address}:{inside}"));
            }
        }
        for (key, value) in self.meta() {
            env.insert(format!("NOMAD_META_{}", clean(&key)), value.clone());
            env.insert(format!("NOMAD_META_{}", clean(&key.to_uppercase())), value);
        }
        env
    }
}

/// The references in a task's configuration that nothing will answer wherever an instance of its group is placed here.
pub(crate) fn never_resolved(job: &Job, group: &Group, task: &Task, node: &Node) -> Vec<Problem> {
    let port = |port: &Port| PortMapping { label: port.label.clone(), ..PortMapping::default() };
    let ports: Vec<PortMapping> = group.network.ports.iter().map(port).collect();
    let cores: Vec<u32> = (0..task.resources.cores).collect();
    let address = (group.network.mode == "bridge").then_some("");
    let subject = Subject { job, group, task, alloc_id: "", index: 0, ports: &ports, address, cores: &cores, node };
    // What a template adds is known when it is made.
    let later = |name: &str| {
        let of_agent = ["attr.", "node.", "meta."].iter().any(|root| name.starts_with(root));
        node.may_have(name) || task.has_environment_of_templates() && !of_agent
    };
    subject.unresolved_but(&subject.environment(), &later)
}

/// A name as part of a variable's.
fn clean(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use nomad_jobspec::{Files, Inputs, Source, parse};

    use super::*;

    struct NoFiles;

    impl Files for NoFiles {
        fn read(&self, path: &std::path::Path) -> Result<String, String> {
            Err(format!("no {}", path.display()))
        }

        fn list(&self, directory: &std::path::Path, _: &str) -> Result<Vec<String>, String> {
            Err(format!("no {}", directory.display()))
        }
    }

    /// A job on a network of this mode, whose task's configuration holds a text.
    fn job(mode: &str, text: &str) -> Job {
        let text = format!(
            "job \"j\" {{\n group \"g\" {{\n network {{\n mode = \"{mode}\"\n port \"my-web\" {{ to = 80 }}\n }}\n task \"t\" {{\n \
             driver = \"docker\"\n config {{ args = [\"{text}\"] }}\n }}\n }}\n}}\n"
        );
        let source = Source { name: "test".into(), text };
        let inputs = Inputs { variables: Vec::new(), variable_files: Vec::new(), files: &NoFiles, uuid: &String::new };
        parse(&source, &inputs).unwrap_or_else(|error| panic!("{error}")).job
    }

    fn unresolved(mode: &str, text: &str) -> Vec<String> {
        let (job, node) = (job(mode, text), Node::without_driver());
        let (group, node) = (&job.groups[0], &node);
        never_resolved(&job, group, &group.tasks[0], node).into_iter().map(|problem| problem.message).collect()
    }

    #[test]
    fn what_is_known_only_once_an_instance_is_placed_is_no_mistake_before() {
        let placed = "${NOMAD_PORT_my_web} ${NOMAD_HOST_ADDR_my_web} ${NOMAD_ALLOC_ID} ${NOMAD_CPU_CORES} ${attr.driver.docker.x}";
        let bridge = "${NOMAD_ALLOC_IP_my_web} ${NOMAD_ALLOC_ADDR_my_web} ${NOMAD_ALLOC_INTERFACE_my_web}";

        assert_eq!(unresolved("host", placed), [""; 0]);
        assert_eq!(unresolved("bridge", bridge), [""; 0]);
        assert_eq!(unresolved("host", bridge).len(), 3);
        assert_eq!(
            unresolved("host", "${device.x} $${NOMAD_TEXT}"),
            ["nothing gives \"device.x\" a value when the task runs"]
        );
    }

    #[test]
    fn an_instance_on_a_bridge_knows_its_own_address() {
        let (job, node) = (job("bridge", ""), Node::without_driver());
        let group = &job.groups[0];
        let ports = [PortMapping { label: "my-web".into(), value: 20_000, to: 80, host_ip: "127.0.0.1".into() }];
        let task = &group.tasks[0];
        let subject = Subject {
            job: &job,
            group,
            task,
            alloc_id: "id",
            index: 0,
            ports: &ports,
            address: Some("172.26.80.2"),
            cores: &[],
            node: &node,
        };

        let env = subject.environment();

        let of = |name: &str| env[name].as_str();
        assert_eq!((of("NOMAD_ALLOC_ADDR_my_web"), of("NOMAD_ALLOC_IP_my_web")), ("172.26.80.2:80", "172.26.80.2"));
        assert_eq!((of("NOMAD_ALLOC_INTERFACE_my_web"), of("NOMAD_ADDR_my_web")), ("eth0", "127.0.0.1:20000"));
        assert_eq!(of("NOMAD_CPU_CORES"), " ");
    }
}
