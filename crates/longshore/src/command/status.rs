//! `status`: the jobs, or one job with its tasks.

use crate::{
    Failure, report,
    state::{DataDir, JobState, Phase},
};

pub(super) fn status(target: Option<&str>, data: &DataDir, json: bool) -> Result<(), Failure> {
    let Some(target) = target else {
        let all = data.all().map_err(|error| Failure::Usage(format!("{}: {error}", data.path().display())))?;
        if json {
            report::json(&all);
        } else if all.is_empty() {
            report::line("No jobs");
        } else {
            report::line(&format!("{:<30} {:<10} {}", "ID", "Status", "Allocations"));
            for job in &all {
                report::line(&format!("{:<30} {:<10} {}", job.id, phase(job).name(), job.allocs.len()));
            }
        }
        return Ok(());
    };
    let job = super::target::job(target, data)?;
    if json {
        report::json(&job);
        return Ok(());
    }
    report::line(&format!(
        "ID          = {}\nStatus      = {}\nHost        = process {}",
        job.id,
        phase(&job).name(),
        job.host_pid
    ));
    for alloc in &job.allocs {
        report::line(&format!(
            "\nAllocation  = {}\nName        = {}.{}[{}]",
            alloc.id, job.id, alloc.group, alloc.index
        ));
        for port in &alloc.ports {
            report::line(&format!("Port        = {} {}:{}", port.label, port.host_ip, port.value));
        }
        for (name, task) in &alloc.tasks {
            let code = task.exit_code.map(|code| format!(", exit code {code}")).unwrap_or_default();
            let task_line = format!("Task        = {name} is {}, {} restarts{code}", task.phase.name(), task.restarts);
            report::line(&task_line);
            for event in task.events.iter().rev().take(5).rev() {
                report::line(&format!("  {:<14} {:<16} {}", report::ago(event.at), event.kind, event.message));
            }
        }
    }
    Ok(())
}

/// A job is what its tasks are together.
pub(super) fn phase(job: &JobState) -> Phase {
    let phases: Vec<Phase> = job.allocs.iter().flat_map(|alloc| alloc.tasks.values().map(|task| task.phase)).collect();
    let has = |phase| phases.contains(&phase);
    match () {
        () if has(Phase::Running) => Phase::Running,
        () if has(Phase::Pending) => Phase::Pending,
        () if has(Phase::Failed) => Phase::Failed,
        () => Phase::Complete,
    }
}
