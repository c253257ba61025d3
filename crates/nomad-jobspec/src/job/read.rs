//! A file's body to a [`Job`].

mod task;

use std::{collections::BTreeSet, time::Duration};

use super::{
    Dns, Group, Job, JobKind, Network, Port, Restart, RestartMode, Task, constraint, names,
    reader::{Findings, Reader},
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

/// A task would miss its data if this were ignored. What there is instead.
const VOLUME: &str = "mount what is to outlive the job in the task's `config`: a `mount` of type \"volume\", or `volumes = \
                      [\"/srv/data:/data\"]`; both need `volumes { enabled = true }` in the driver's configuration";

/// Reads a whole file.
///
/// `problems` are those of its evaluation, to be reported with the others.
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
    let tasks: Vec<Task> =
        reader.blocks("task").into_iter().map(|block| task::task(block, &policy, findings)).collect();
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
