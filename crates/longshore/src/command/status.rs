//! `status`: the jobs, or one job with its tasks.

use std::time::UNIX_EPOCH;

use serde_json::{Map, Value, json};

use super::target;
use crate::{
    Failure,
    alloc::environment::alloc_name,
    report,
    state::{AllocState, DataDir, Event, JobState, TaskState},
};

pub(super) fn status(target: Option<&str>, data: &DataDir, json: bool) -> Result<(), Failure> {
    match (target, json) {
        (None, true) => report::json(&all(data)?.iter().map(value).collect::<Vec<_>>()),
        (None, false) => list(&all(data)?),
        (Some(target), true) => report::json(&value(&target::job(target, data)?)),
        (Some(target), false) => show(&target::job(target, data)?),
    }
    Ok(())
}

fn all(data: &DataDir) -> Result<Vec<JobState>, Failure> {
    data.all().map_err(|error| data.failed(&error))
}

fn list(jobs: &[JobState]) {
    if jobs.is_empty() {
        return report::line("No jobs");
    }
    report::line(&format!("{:<30} {:<10} {}", "ID", "Status", "Allocations"));
    for job in jobs {
        report::line(&format!("{:<30} {:<10} {}", job.id, job.phase().name(), job.allocs.len()));
    }
}

fn show(job: &JobState) {
    report::line(&format!("ID          = {}\nStatus      = {}", job.id, job.phase().name()));
    match (job.phase().is_over(), job.has_host()) {
        (true, _) => {}
        (false, true) => report::line(&format!("Host        = process {}", job.host_pid)),
        (false, false) => {
            report::line("Host        = gone; `longshore run FILE` takes its tasks over, `stop` ends them");
        }
    }
    for alloc in &job.allocs {
        let name = alloc_name(&job.id, &alloc.group, alloc.index);
        report::line(&format!("\nAllocation  = {}\nName        = {name}", alloc.id));
        for port in &alloc.ports {
            report::line(&format!("Port        = {} {}:{}", port.label, port.host_ip, port.value));
        }
        for (name, task) in &alloc.tasks {
            let code = task.exit_code.map(|code| format!(", exit code {code}")).unwrap_or_default();
            report::line(&format!("Task        = {name} is {}, {} restarts{code}", task.phase.name(), task.restarts));
            for event in task.events.iter().rev().take(5).rev() {
                report::line(&format!("  {:<14} {:<16} {}", report::ago(event.at), event.kind, event.message));
            }
        }
    }
}

/// A job as programs see it. What a task was told, its environment, is left out: there may be secrets in it.
fn value(job: &JobState) -> Value {
    json!({
        "id": job.id,
        "status": job.phase(),
        "host_pid": job.has_host().then_some(job.host_pid),
        "driver_pid": job.driver.as_ref().map(|driver| driver.pid),
        "allocs": job.allocs.iter().map(|alloc| of_alloc(job, alloc)).collect::<Vec<_>>(),
    })
}

fn of_alloc(job: &JobState, alloc: &AllocState) -> Value {
    let tasks = alloc.tasks.iter().map(|(name, task)| (name.clone(), of_task(task)));
    json!({
        "id": alloc.id,
        "name": alloc_name(&job.id, &alloc.group, alloc.index),
        "group": alloc.group,
        "index": alloc.index,
        "ports": alloc.ports,
        "tasks": tasks.collect::<Map<_, _>>(),
    })
}

fn of_task(task: &TaskState) -> Value {
    json!({
        "status": task.phase,
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
