//! What a person means by a job's or an allocation's name.

use nomad_plugin::{client::DriverClient, id::TaskId};

use crate::{
    Failure, report,
    state::{AllocState, DataDir, JobState, Phase, TaskState},
};

/// A task of an allocation.
pub(super) struct Found<'a> {
    pub(super) alloc: &'a AllocState,
    pub(super) task: &'a str,
    pub(super) state: &'a TaskState,
}

/// Whose task is meant, of several allocations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    /// There must be one only.
    Only,
    /// Any of them.
    Any,
}

impl Which {
    /// As the flag says.
    pub(super) fn of(any: bool) -> Self {
        if any { Self::Any } else { Self::Only }
    }
}

/// What a person named.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    pub(super) target: &'a str,
    pub(super) task: Option<&'a str>,
    pub(super) alloc: Which,
}

/// The job whose id, or one of whose allocations' ids, begins so. Allocations are narrowed down to that one.
pub(super) fn job(target: &str, data: &DataDir) -> Result<JobState, Failure> {
    let all = data.all().map_err(|error| data.failed(&error))?;
    if let Some(exact) = all.iter().find(|job| job.id == target) {
        return Ok(exact.clone());
    }
    let mut found: Vec<JobState> = all.iter().filter(|job| job.id.starts_with(target)).cloned().collect();
    for job in &all {
        for alloc in job.allocs.iter().filter(|alloc| alloc.id.starts_with(target)) {
            found.push(JobState { allocs: vec![alloc.clone()], ..job.clone() });
        }
    }
    match found.len() {
        1 => Ok(found.remove(0)),
        0 => Err(Failure::Usage(format!("no job or allocation is called {target:?}\nhint: longshore status"))),
        _ => {
            let names: Vec<String> = found.iter().map(|job| job.id.clone()).collect();
            Err(Failure::Usage(format!("{target:?} may be one of several: {}", names.join(", "))))
        }
    }
}

/// The tasks of a job, or those of a name.
pub(super) fn tasks<'a>(job: &'a JobState, name: Option<&str>) -> Result<Vec<Found<'a>>, Failure> {
    let all = job
        .allocs
        .iter()
        .flat_map(|alloc| alloc.tasks.iter().map(move |(task, state)| Found { alloc, task: task.as_str(), state }));
    let found: Vec<Found<'a>> = all.filter(|found| name.is_none_or(|name| name == found.task)).collect();
    if found.is_empty() {
        return Err(Failure::Usage(format!("job {:?} has no task {:?}", job.id, name.unwrap_or_default())));
    }
    Ok(found)
}

/// The one running task that is meant.
pub(super) fn running<'a>(job: &'a JobState, wanted: Wanted<'_>) -> Result<Found<'a>, Failure> {
    let all = tasks(job, wanted.task)?;
    let found: Vec<Found<'a>> = all.into_iter().filter(|found| found.state.phase == Phase::Running).collect();
    if found.is_empty() {
        return Err(Failure::Usage(format!("no task of job {:?} runs", job.id)));
    }
    one(found, wanted.alloc)
}

/// The one that is meant.
pub(super) fn one(mut found: Vec<Found<'_>>, alloc: Which) -> Result<Found<'_>, Failure> {
    let mut tasks: Vec<&str> = found.iter().map(|found| found.task).collect();
    tasks.sort_unstable();
    tasks.dedup();
    if found.len() == 1 || (alloc == Which::Any && tasks.len() == 1) {
        return Ok(found.swap_remove(0));
    }
    let names = found.iter().map(|found| format!("{} {}", report::short(&found.alloc.id), found.task));
    let names: Vec<String> = names.collect();
    let hint = if tasks.len() > 1 { "name the allocation and the task" } else { "name the allocation, or say -job" };
    Err(Failure::Usage(format!("which task is meant? {}\nhint: {hint}", names.join(", "))))
}

impl Found<'_> {
    pub(super) fn id(&self) -> TaskId {
        self.state.run.as_str().into()
    }
}

/// The driver that runs a job's tasks.
pub(super) async fn driver(job: &JobState) -> Result<DriverClient, Failure> {
    let missing = || Failure::Usage(format!("job {:?} does not run", job.id));
    let reattach = job.driver.clone().ok_or_else(missing)?;
    DriverClient::reattach(reattach).await.map_err(|error| Failure::Engine(error.to_string()))
}
