//! A `task` block to a [`Task`].

use std::time::Duration;

use nomad_values::signal::Signal;

use super::{VOLUME, label, restart};
use crate::{
    body::{Block, Body},
    job::{
        Hook, Lifecycle, Logs, Restart, Task, TaskResources, Template, constraint,
        reader::{Findings, Reader},
        references,
    },
};

/// What only a cluster can honour in a task.
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

/// A task would miss its program if this were ignored. What there is instead.
const ARTIFACT: &str = "fetch it in a prestart task, into /alloc/data; or put the file beside the job file and make it with \
                        `template { source = ... }`";

/// Reads one; `policy` is its group's.
pub(super) fn task(block: &Block, policy: &Restart, findings: &Findings) -> Task {
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
