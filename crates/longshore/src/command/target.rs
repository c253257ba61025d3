//! What a person means by a job's or an allocation's name.

use nomad_plugin::{client::DriverClient, id::TaskId};

use crate::{
    Failure,
    data_dir::DataDir,
    observation::{Observed, Status, observe},
    report,
    state::{AllocState, JobState, TaskState},
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

/// What a name stands for.
pub(super) enum Named {
    /// A job, by its whole id.
    Job(JobState),
    /// A job, by the beginning of its id.
    Prefix(JobState),
    /// An allocation, by its id or the beginning of it: its job, narrowed down to it.
    Alloc(JobState),
}

impl Named {
    /// The job, or as much of it as is meant.
    pub(super) fn job(self) -> JobState {
        let (Self::Job(job) | Self::Prefix(job) | Self::Alloc(job)) = self;
        job
    }
}

/// The job or the allocation whose id is, or begins, so.
pub(super) fn named(target: &str, data: &DataDir) -> Result<Named, Failure> {
    let all = data.all().map_err(|error| data.failed(&error))?;
    if let Some(exact) = all.iter().find(|job| job.id == target) {
        return Ok(Named::Job(exact.clone()));
    }
    let narrowed = |job: &JobState, alloc: &AllocState| JobState { allocs: vec![alloc.clone()], ..job.clone() };
    let mut found = Vec::new();
    for job in &all {
        if job.id.starts_with(target) {
            found.push((format!("job {}", job.id), Named::Prefix(job.clone())));
        }
        for alloc in job.allocs.iter().filter(|alloc| alloc.id.starts_with(target)) {
            found.push((format!("allocation {} of {}", alloc.id, job.id), Named::Alloc(narrowed(job, alloc))));
        }
    }
    match found.len() {
        1 => Ok(found.remove(0).1),
        0 => Err(Failure::Usage(format!("no job or allocation matches {target:?}\nhint: longshore status"))),
        _ => {
            let names: Vec<String> = found.into_iter().map(|(name, _)| name).collect();
            Err(Failure::Usage(format!("{target:?} is ambiguous: {}", names.join(", "))))
        }
    }
}

/// The job, narrowed down to the allocation where one is named.
pub(super) fn job(target: &str, data: &DataDir) -> Result<JobState, Failure> {
    named(target, data).map(Named::job)
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

/// Those of the tasks that run; none is an error that says how they are.
pub(super) async fn running<'a>(
    job: &'a JobState,
    name: Option<&str>,
    data: &DataDir,
) -> Result<Vec<Found<'a>>, Failure> {
    let meant = tasks(job, name)?;
    let observation = observe(job.clone(), data).await;
    let seen = |found: &Found<'_>| observation.task(&found.alloc.id, found.task);
    let (running, others): (Vec<_>, Vec<_>) =
        meant.into_iter().partition(|found| seen(found).status == Status::Running);
    if !running.is_empty() {
        return Ok(running);
    }
    let how = |found: &Found<'_>| {
        let Observed { status, why } = seen(found);
        let why = why.map(|why| format!(" ({why})")).unwrap_or_default();
        format!("task {:?} of allocation {} is {}{why}", found.task, report::short(&found.alloc.id), status.name())
    };
    let how: Vec<String> = others.iter().map(how).collect();
    Err(Failure::Usage(format!("no matching task is running: {}", how.join(", "))))
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
    let hint = if tasks.len() > 1 { "name the allocation and the task" } else { "name the allocation, or use -job" };
    Err(Failure::Usage(format!("several tasks match: {}\nhint: {hint}", names.join(", "))))
}

impl Found<'_> {
    pub(super) fn id(&self) -> TaskId {
        self.state.run.as_str().into()
    }
}

/// The driver that runs a job's tasks.
pub(super) async fn driver(job: &JobState) -> Result<DriverClient, Failure> {
    let hint =
        if job.agent.runs() { "" } else { "\nhint: its agent is not running; `longshore run FILE` recovers its tasks" };
    let failed = |error: &str| Failure::Engine(format!("cannot reach the driver of job {:?}: {error}{hint}", job.id));
    let reattach = job.driver.clone().ok_or_else(|| failed("it is not running"))?;
    DriverClient::reattach(reattach).await.map_err(|error| failed(&error.to_string()))
}
