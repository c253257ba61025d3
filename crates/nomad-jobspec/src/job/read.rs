//! A file's body to a [`Job`].

use std::{collections::BTreeSet, time::Duration};

use nomad_values::signal::Signal;

use super::{
    Dns, Group, Hook, Job, JobKind, Lifecycle, Logs, Network, Port, Restart, RestartMode, Task, TaskResources,
    Template, constraint, names,
    reader::{Findings, Reader},
    references,
};
use crate::{
    Diagnostics, Parsed, Problem, Source,
    body::{Block, Body},
};

/// What only a cluster can honour, on each level.
const JOB_IGNORED: [&str; 19] = [
    "update",
    "spread",
    "affinity",
    "migrate",
    "reschedule",
    "periodic",
    "parameterized",
    "vault",
    "vault_token",
    "consul",
    "consul_token",
    "multiregion",
    "priority",
    "all_at_once",
    "node_pool",
    "ui",
    "ephemeral_disk",
    "disconnect",
    "version",
];
const GROUP_IGNORED: [&str; 17] = [
    "update",
    "spread",
    "affinity",
    "migrate",
    "reschedule",
    "service",
    "vault",
    "consul",
    "ephemeral_disk",
    "scaling",
    "stop_after_client_disconnect",
    "max_client_disconnect",
    "prevent_reschedule_on_lost",
    "shutdown_delay",
    "disconnect",
    "stop_after_client_disconnect",
    "secret",
];
const TASK_IGNORED: [&str; 14] = [
    "service",
    "vault",
    "consul",
    "affinity",
    "csi_plugin",
    "dispatch_payload",
    "device",
    "identity",
    "scaling",
    "shutdown_delay",
    "kind",
    "schedule",
    "action",
    "secret",
];

/// What a task would miss if it were ignored: its data, or its program. Each with what there is instead.
const VOLUME: &str = "mount what is to outlive the job in the task's `config`: a `mount` of type \"volume\", or `volumes = \
                      [\"/srv/data:/data\"]`; both need `volumes { enabled = true }` in the driver's configuration";
const ARTIFACT: &str = "fetch it in a prestart task, into /alloc/data; or put the file beside the job file and make it with \
                        `template { source = ... }`";

/// Reads a whole file.
///
/// `problems` are those of its evaluation, to be told with the others.
pub(crate) fn read(body: &Body, source: &Source, problems: Vec<Problem>) -> Result<Parsed, Diagnostics> {
    let findings = Findings { problems: problems.into(), ..Findings::default() };
    let job = file(body, &findings);
    let Findings { problems, ignored } = findings;
    let problems = problems.into_inner();
    match job {
        Some(job) if problems.is_empty() => Ok(Parsed { job, ignored: ignored.into_inner() }),
        _ => Err(Diagnostics::new(source, problems)),
    }
}

fn file(body: &Body, findings: &Findings) -> Option<Job> {
    let reader = Reader::new(body, findings);
    let jobs = reader.blocks("job");
    reader.end();
    if let Some(second) = jobs.get(1) {
        findings.problem(&second.span, "a file holds one job");
    }
    let Some(block) = jobs.first() else {
        let problem = Problem::new("the file holds no job").hint("a job file begins with `job \"name\" { ... }`");
        findings.problems.borrow_mut().push(problem);
        return None;
    };
    Some(job(block, findings))
}

fn label(block: &Block, findings: &Findings) -> String {
    let [label] = block.labels.as_slice() else {
        findings.problem(&block.span, format!("a {} needs one name: `{} \"name\" {{`", block.name, block.name));
        return String::new();
    };
    if label.is_empty() {
        findings.problem(&block.span, format!("the name of this {} is empty", block.name));
    }
    match block.name.as_str() {
        // Its id and its name have rules of their own.
        "job" => {}
        "task" => names::task(label, &block.span, findings),
        what => names::plain(&format!("{what} name"), label, &block.span, findings),
    }
    label.clone()
}

fn job(block: &Block, findings: &Findings) -> Job {
    let reader = Reader::new(&block.body, findings);
    let label = label(block, findings);
    let kind = match reader.text("type").as_deref() {
        None | Some("service") => JobKind::Service,
        Some("batch") => JobKind::Batch,
        Some("system") => JobKind::System,
        Some("sysbatch") => JobKind::Sysbatch,
        Some(other) => {
            let message = format!("unknown job type {other:?}: service, batch, system and sysbatch are known");
            findings.problem(&reader.span("type"), message);
            JobKind::Service
        }
    };
    let mut groups: Vec<Group> = reader.blocks("group").into_iter().map(|block| group(block, kind, findings)).collect();
    groups.extend(reader.blocks("task").into_iter().map(|task| group(&enclosing_group(task), kind, findings)));
    if groups.is_empty() {
        findings.problem(&block.span, "a job needs a group with a task");
    }
    let given = |name| reader.text(name).filter(|text| !text.is_empty());
    let id = given("id").unwrap_or_else(|| label.clone());
    let id_span = block.body.attribute("id").map_or(&block.span, |id| &id.value_span);
    names::job_id(&id, id_span, findings);
    unique(&block.span, "group", groups.iter().map(|group| group.name.as_str()), findings);
    let job = Job {
        id,
        name: given("name").unwrap_or(label),
        kind,
        namespace: given("namespace").unwrap_or_else(|| "default".to_owned()),
        region: given("region").unwrap_or_else(|| "global".to_owned()),
        datacenters: reader.texts("datacenters").unwrap_or_else(|| vec!["dc1".to_owned()]),
        meta: reader.text_map("meta"),
        constraints: constraint::constraints(&reader, findings),
        groups,
    };
    if job.name != job.id {
        let name_span = block.body.attribute("name").map_or(&block.span, |name| &name.value_span);
        names::plain("job name", &job.name, name_span, findings);
    }
    names::plain("region", &job.region, &reader.span("region"), findings);
    names::namespace(&job.namespace, &reader.span("namespace"), findings);
    for datacenter in &job.datacenters {
        names::plain("datacenter", datacenter, &reader.span("datacenters"), findings);
    }
    reader.ignore(&JOB_IGNORED);
    reader.end();
    job
}

fn unique<'a>(span: &std::ops::Range<usize>, what: &str, names: impl Iterator<Item = &'a str>, findings: &Findings) {
    let mut seen = BTreeSet::new();
    for name in names {
        if !seen.insert(name) {
            findings.problem(span, format!("more than one {what} is called {name:?}"));
        }
    }
}

/// A task that stands in the job itself is a group of its name.
fn enclosing_group(task: &Block) -> Block {
    let body = Body { attributes: Vec::new(), blocks: vec![task.clone()], span: task.span.clone() };
    Block { name: "group".to_owned(), labels: task.labels.clone(), body, span: task.span.clone() }
}

fn group(block: &Block, kind: JobKind, findings: &Findings) -> Group {
    let reader = Reader::new(&block.body, findings);
    let policy = restart(&reader, &default_restart(kind), findings);
    let tasks: Vec<Task> = reader.blocks("task").into_iter().map(|block| task(block, &policy, findings)).collect();
    if tasks.is_empty() {
        findings.problem(&block.span, "a group needs a task");
    } else if tasks.iter().all(|task| task.lifecycle.is_some()) {
        findings.problem(&block.span, "a group needs a main task, which is one without `lifecycle`");
    }
    unique(&block.span, "task", tasks.iter().map(|task| task.name.as_str()), findings);
    let group = Group {
        name: label(block, findings),
        count: reader.number("count", 0..1001).unwrap_or(1),
        meta: reader.text_map("meta"),
        constraints: constraint::constraints(&reader, findings),
        network: reader.block("network").map(|block| network(&block.body, findings)).unwrap_or_default(),
        tasks,
    };
    if group.network.mode == "bridge" && group.tasks.iter().any(|task| task.name == names::HOSTS) {
        let message = format!("task name {:?} is taken: a group in a bridge has a file of this name", names::HOSTS);
        findings.problem(&block.span, message);
    }
    reader.refuse("volume", VOLUME);
    reader.ignore(&GROUP_IGNORED);
    reader.end();
    group
}

fn default_restart(kind: JobKind) -> Restart {
    let (attempts, interval) = match kind {
        JobKind::Service | JobKind::System => (2, Duration::from_secs(30 * 60)),
        JobKind::Batch | JobKind::Sysbatch => (3, Duration::from_secs(24 * 3600)),
    };
    Restart { attempts, interval, delay: Duration::from_secs(15), mode: RestartMode::Fail }
}

fn restart(reader: &Reader<'_>, default: &Restart, findings: &Findings) -> Restart {
    let Some(block) = reader.block("restart") else { return default.clone() };
    let reader = Reader::new(&block.body, findings);
    let restart = Restart {
        attempts: reader.number("attempts", 0..1_000_001).unwrap_or(default.attempts),
        interval: reader.duration("interval").unwrap_or(default.interval),
        delay: reader.duration("delay").unwrap_or(default.delay),
        mode: match reader.text("mode").as_deref() {
            None => default.mode,
            Some("fail") => RestartMode::Fail,
            Some("delay") => RestartMode::Delay,
            Some(other) => {
                findings.problem(&reader.span("mode"), format!("unknown mode {other:?}: fail and delay are known"));
                default.mode
            }
        },
    };
    reader.ignore(&["render_templates"]);
    reader.end();
    restart
}

fn network(body: &Body, findings: &Findings) -> Network {
    let reader = Reader::new(body, findings);
    let ports = reader.blocks("port");
    let ports: Vec<Port> = ports.into_iter().map(|block| port(block, findings)).collect();
    unique(&body.span, "port", ports.iter().map(|port| port.label.as_str()), findings);
    let mode = reader.text("mode").unwrap_or_default();
    if !matches!(mode.as_str(), "" | "host" | "bridge" | "none") {
        let message = format!("network mode {mode:?} needs a cluster's plugins: host, bridge and none are known here");
        findings.problem(&reader.span("mode"), message);
    }
    let network = Network {
        mode,
        hostname: reader.text("hostname").unwrap_or_default(),
        dns: reader.block("dns").map(|block| {
            let reader = Reader::new(&block.body, findings);
            let dns = Dns {
                servers: reader.texts("servers").unwrap_or_default(),
                searches: reader.texts("searches").unwrap_or_default(),
                options: reader.texts("options").unwrap_or_default(),
            };
            reader.end();
            dns
        }),
        ports,
    };
    reader.ignore(&["mbits", "cni"]);
    reader.end();
    network
}

fn port(block: &Block, findings: &Findings) -> Port {
    let reader = Reader::new(&block.body, findings);
    let number =
        |name| reader.number(name, 0..65_536).and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0);
    // -1 is Nomad's word for the host's own number, which is meant without `to` as well.
    let to = if reader.is("to", -1) { None } else { number("to") };
    let port = Port { label: label(block, findings), fixed: number("static"), to };
    reader.ignore(&["host_network", "ignore_collision"]);
    reader.end();
    port
}

fn task(block: &Block, policy: &Restart, findings: &Findings) -> Task {
    let reader = Reader::new(&block.body, findings);
    let driver = reader.text("driver").unwrap_or_default();
    if driver.is_empty() && !reader.failed("driver") {
        findings.problem(&block.span, "a task needs a driver: `driver = \"docker\"`");
    }
    let lifecycle = reader.block("lifecycle").and_then(|block| lifecycle(&block.body, findings));
    let templates = reader.blocks("template");
    let task = Task {
        name: label(block, findings),
        driver,
        config: reader.block("config").map(|block| block.body.clone()).unwrap_or_default(),
        env: reader.text_map("env"),
        user: reader.text("user").unwrap_or_default(),
        resources: reader.block("resources").map_or(DEFAULT_RESOURCES, |block| resources(&block.body, findings)),
        templates: templates.into_iter().map(|block| template(block, findings)).collect(),
        restart: restart(&reader, policy, findings),
        kill_timeout: reader.duration("kill_timeout").unwrap_or(Duration::from_secs(5)),
        kill_signal: kill_signal(&reader, findings),
        logs: reader.block("logs").map_or(DEFAULT_LOGS, |block| logs(&block.body, findings)),
        constraints: constraint::constraints(&reader, findings),
        meta: reader.text_map("meta"),
        leader: reader.truth("leader").unwrap_or_default(),
        lifecycle,
    };
    reader.refuse("volume_mount", VOLUME);
    reader.refuse("artifact", ARTIFACT);
    reader.ignore(&TASK_IGNORED);
    reader.end();
    references::check(&task, findings);
    task
}

/// The signal that ends a task. A driver that is asked for one that there is not would have to kill the task at once.
fn kill_signal(reader: &Reader<'_>, findings: &Findings) -> String {
    let name = reader.text("kill_signal").unwrap_or_default();
    let problem = match name.parse::<Signal>() {
        _ if name.is_empty() => None,
        Ok(signal) if signal.is_null() => Some(format!("kill_signal {name:?} does not end a task")),
        Ok(_) => None,
        Err(error) => Some(format!("kill_signal: {error}")),
    };
    if let Some(problem) = problem {
        findings.problem(&reader.span("kill_signal"), problem);
    }
    name
}

fn lifecycle(body: &Body, findings: &Findings) -> Option<Lifecycle> {
    let reader = Reader::new(body, findings);
    let written = reader.text("hook").unwrap_or_default();
    let hook = match written.as_str() {
        "prestart" => Some(Hook::Prestart),
        "poststart" => Some(Hook::Poststart),
        "poststop" => Some(Hook::Poststop),
        other => {
            if !reader.failed("hook") {
                let message = format!("unknown hook {other:?}: prestart, poststart and poststop are known");
                findings.problem(&reader.span("hook"), message);
            }
            None
        }
    };
    let sidecar = reader.truth("sidecar").unwrap_or_default();
    if sidecar && hook == Some(Hook::Poststop) {
        findings.problem(&reader.span("sidecar"), "there are no main tasks for a sidecar after poststop");
    }
    reader.end();
    Some(Lifecycle { hook: hook?, sidecar })
}

const DEFAULT_RESOURCES: TaskResources = TaskResources { cpu: 100, cores: 0, memory: 300, memory_max: 0 };
const DEFAULT_LOGS: Logs = Logs { max_files: 10, max_file_size: 10, disabled: false };

fn resources(body: &Body, findings: &Findings) -> TaskResources {
    let reader = Reader::new(body, findings);
    let resources = TaskResources {
        cpu: reader.number("cpu", 1..10_000_001).unwrap_or(DEFAULT_RESOURCES.cpu),
        cores: reader.number("cores", 0..100_001).unwrap_or_default(),
        memory: reader.number("memory", 1..100_000_001).unwrap_or(DEFAULT_RESOURCES.memory),
        memory_max: reader.number("memory_max", 0..100_000_001).unwrap_or_default(),
    };
    if resources.memory_max != 0 && resources.memory_max < resources.memory {
        findings.problem(&reader.span("memory_max"), "memory_max must not be less than memory");
    }
    if resources.cores > 0 && body.attribute("cpu").is_some() {
        findings.problem(&reader.span("cores"), "cpu and cores exclude each other: MHz, or whole processors");
    }
    reader.ignore(&["numa", "device", "network", "disk", "iops", "secrets"]);
    reader.end();
    resources
}

fn logs(body: &Body, findings: &Findings) -> Logs {
    let reader = Reader::new(body, findings);
    let logs = Logs {
        max_files: reader.number("max_files", 1..10_001).unwrap_or(DEFAULT_LOGS.max_files),
        max_file_size: reader.number("max_file_size", 1..1_000_001).unwrap_or(DEFAULT_LOGS.max_file_size),
        disabled: reader.truth("disabled").unwrap_or_default(),
    };
    reader.ignore(&["enabled"]);
    reader.end();
    logs
}

fn template(block: &Block, findings: &Findings) -> Template {
    let reader = Reader::new(&block.body, findings);
    let perms = reader.text("perms").unwrap_or_else(|| "0644".to_owned());
    let template = Template {
        data: reader.text("data"),
        source: reader.text("source"),
        destination: reader.text("destination").unwrap_or_default(),
        perms: u32::from_str_radix(&perms, 8).ok().filter(|mode| *mode <= 0o7777).unwrap_or_else(|| {
            findings.problem(&reader.span("perms"), format!("perms: an octal mode is needed, this is {perms:?}"));
            0o644
        }),
        env: reader.truth("env").unwrap_or_default(),
        left_delimiter: reader.text("left_delimiter").unwrap_or_else(|| "{{".to_owned()),
        right_delimiter: reader.text("right_delimiter").unwrap_or_else(|| "}}".to_owned()),
        source_span: reader.span("source"),
        destination_span: reader.span("destination"),
    };
    if template.destination.is_empty() && !reader.failed("destination") {
        findings.problem(&block.span, "a template needs a destination");
    }
    let failed = reader.failed("data") || reader.failed("source");
    if template.data.is_some() == template.source.is_some() && !failed {
        findings.problem(&block.span, "a template needs either data or source");
    }
    // Nothing changes a template's inputs on one machine, so nothing has to happen when they change.
    reader.ignore(&[
        "change_mode",
        "change_signal",
        "change_script",
        "splay",
        "wait",
        "uid",
        "gid",
        "vault_grace",
        "error_on_missing_key",
        "once",
    ]);
    reader.end();
    template
}
