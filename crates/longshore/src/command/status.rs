//! `status`: the jobs, or one job with its tasks.

use std::time::UNIX_EPOCH;

use futures_util::future::join_all;
use serde_json::{Map, Value, json};

use super::target;
use crate::{
    Failure,
    alloc::environment::alloc_name,
    data_dir::DataDir,
    observation::{Observation, Observed, observe},
    report,
    state::{AllocState, Event, TaskState},
    text,
};

pub(super) async fn status(target: Option<&str>, data: &DataDir, json: bool) -> Result<(), Failure> {
    let jobs = match target {
        Some(target) => vec![target::job(target, data)?],
        None => data.all().map_err(|error| data.failed(&error))?,
    };
    let jobs = join_all(jobs.into_iter().map(|job| observe(job, data))).await;
    match (target, json) {
        (None, true) => report::json(&jobs.iter().map(value).collect::<Vec<_>>()),
        (None, false) => list(&jobs),
        (Some(_), true) => jobs.iter().for_each(|job| report::json(&value(job))),
        (Some(_), false) => jobs.iter().for_each(show),
    }
    Ok(())
}

fn list(jobs: &[Observation]) {
    if jobs.is_empty() {
        return report::line("No jobs");
    }
    report::line(&format!("{:<30} {:<10} {}", "ID", "Status", "Allocations"));
    for job in jobs {
        report::line(&format!("{:<30} {:<10} {}", job.job.id, job.job().status.name(), job.job.allocs.len()));
    }
}

/// How something is, and why.
fn described(Observed { status, why }: &Observed) -> String {
    let why = why.as_ref().map(|why| format!(": {}", text::harmless(why))).unwrap_or_default();
    format!("{}{why}", status.name())
}

fn show(observation: &Observation) {
    let job = &observation.job;
    report::line(&format!("ID          = {}\nStatus      = {}", job.id, described(&observation.job())));
    match (job.phase().is_over(), observation.has_agent) {
        (true, _) => {}
        (false, true) => report::line(&format!("Agent       = process {}", job.agent.pid)),
        (false, false) => {
            report::line(
                "Agent       = not running; `longshore run FILE` recovers its tasks, `longshore stop` ends them",
            );
        }
    }
    for alloc in &job.allocs {
        let name = alloc_name(&job.id, &alloc.group, alloc.index);
        let status = observation.alloc(alloc).name();
        report::line(&format!("\nAllocation  = {}\nName        = {name}\nStatus      = {status}", alloc.id));
        for port in &alloc.ports {
            report::line(&format!("Port        = {} {}:{}", port.label, port.host_ip, port.value));
        }
        for (name, task) in &alloc.tasks {
            let Observed { status, why } = observation.task(&alloc.id, name);
            let code = task.exit_code.map(|code| format!(", exit code {code}")).unwrap_or_default();
            let why = why.map(|why| format!(": {}", text::harmless(&why))).unwrap_or_default();
            let status = status.name();
            report::line(&format!("Task        = {name} is {status}, {} restarts{code}{why}", task.restarts));
            for event in task.events.iter().rev().take(5).rev() {
                let message = text::harmless(&event.message);
                report::line(&format!("  {:<14} {:<16} {message}", report::ago(event.at), event.kind));
            }
        }
    }
}

/// A job as programs see it. Its tasks' environments are left out: there may be secrets in it.
fn value(observation: &Observation) -> Value {
    let job = &observation.job;
    let Observed { status, why } = observation.job();
    json!({
        "id": job.id,
        "status": status,
        "why": why,
        "host_pid": observation.has_agent.then_some(job.agent.pid),
        "driver_pid": job.driver.as_ref().map(|driver| driver.pid),
        "allocs": job.allocs.iter().map(|alloc| of_alloc(observation, alloc)).collect::<Vec<_>>(),
    })
}

fn of_alloc(observation: &Observation, alloc: &AllocState) -> Value {
    let of_task = |(name, task): (&String, _)| (name.clone(), of_task(task, &observation.task(&alloc.id, name)));
    json!({
        "id": alloc.id,
        "name": alloc_name(&observation.job.id, &alloc.group, alloc.index),
        "group": alloc.group,
        "index": alloc.index,
        "status": observation.alloc(alloc),
        "ports": alloc.ports,
        "tasks": alloc.tasks.iter().map(of_task).collect::<Map<_, _>>(),
    })
}

fn of_task(task: &TaskState, Observed { status, why }: &Observed) -> Value {
    json!({
        "status": status,
        "why": why,
        "exit_code": task.exit_code,
        "restarts": task.restarts,
        "events": task.events.iter().map(of_event).collect::<Vec<_>>(),
    })
}

/// An event as programs see it.
pub(super) fn of_event(Event { at, kind, message }: &Event) -> Value {
    let at = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    json!({ "unix_time": at, "kind": kind, "message": message })
}
