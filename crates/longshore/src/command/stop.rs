//! `stop`: asks the job's host to stop it, or does it where the host is gone.

use std::{fs::File, time::Duration};

use nomad_plugin::{
    client::{ClientError, DriverClient},
    driver::{DriverError, Force},
};
use rustix::process::{Pid, Signal, kill_process};

use super::target;
use crate::{
    Failure,
    alloc::dir::AllocDir,
    cli::Options,
    driver::{Driver, Launcher},
    network, report,
    state::{AllocState, DataDir, JobState, Phase, TaskState},
    task_runner::{KILL, left_running},
};

/// How often to look whether the host has ended.
const PERIOD: Duration = Duration::from_millis(50);

/// Stops a job.
pub(super) async fn stop(target: &str, options: &Options, data: &DataDir) -> Result<(), Failure> {
    let job = target::job(target, data)?;
    end(&job, options, data).await?;
    report::line(&format!("job {:?} is stopped", job.id));
    Ok(())
}

/// Stops a job, and removes all that is kept of it.
pub(super) async fn purge(target: &str, options: &Options, data: &DataDir) -> Result<(), Failure> {
    let job = target::job(target, data)?;
    let _lock = end(&job, options, data).await?;
    let failed = |error: std::io::Error| data.failed(&error);
    for alloc in data.load(&job.id).map_err(failed)?.into_iter().flat_map(|state| state.allocs) {
        AllocDir::new(data.path(), &alloc.id).remove().map_err(failed)?;
    }
    data.purge(&job.id).map_err(failed)?;
    report::line(&format!("job {:?} is stopped and forgotten", job.id));
    Ok(())
}

/// Ends a job, and keeps other hosts from it.
async fn end(job: &JobState, options: &Options, data: &DataDir) -> Result<File, Failure> {
    let failed = |error: std::io::Error| data.failed(&error);
    let mut lock = data.lock(&job.id).map_err(failed)?;
    if lock.is_none()
        && let Some(pid) = i32::try_from(job.host_pid).ok().and_then(Pid::from_raw)
    {
        let _ended_meanwhile = kill_process(pid, Signal::TERM);
    }
    let lock = loop {
        match lock {
            Some(lock) => break lock,
            None => tokio::time::sleep(PERIOD).await,
        }
        lock = data.lock(&job.id).map_err(failed)?;
    };
    // The host is gone: what it left, if it was killed, is ended here.
    if let Some(state) = data.load(&job.id).map_err(failed)? {
        end_what_is_left(state, options, data).await?;
    }
    Ok(lock)
}

async fn end_what_is_left(mut state: JobState, options: &Options, data: &DataDir) -> Result<(), Failure> {
    let no_network = |alloc: &AllocState| alloc.network.is_none();
    if state.phase().is_over() && state.driver.is_none() && state.allocs.iter().all(no_network) {
        return Ok(());
    }
    report::note("the job's host is gone; its tasks are stopped from here");
    let left = state.allocs.iter().flat_map(|alloc| left_running(&alloc.tasks));
    let handles = left.map(|(_, handle)| (handle.config.id.clone(), handle)).collect();
    let driver =
        Driver::start(Launcher::new(options)?.of_job(data, &state.id), state.driver.take(), handles, Box::new(|_| {}))
            .await?;
    let ended = end_all(&mut state, &driver).await;
    driver.end().await;
    // Also where not all is ended: what is, need not be ended again.
    data.store(&state).map_err(|error| data.failed(&error))?;
    ended
}

async fn end_all(state: &mut JobState, driver: &Driver) -> Result<(), Failure> {
    let tasks = state.allocs.iter_mut().flat_map(|alloc| alloc.tasks.values_mut());
    for task in tasks.filter(|task| !task.phase.is_over()) {
        end_task(task, &driver.current()).await.map_err(|error| Failure::Engine(error.to_string()))?;
        (task.phase, task.handle) = (Phase::Complete, None);
    }
    network::remove_all(driver, &mut state.allocs).await
}

async fn end_task(task: &mut TaskState, client: &DriverClient) -> Result<(), ClientError> {
    let id = task.run.as_str();
    if task.handle.is_some() {
        let timeout = Duration::from_millis(task.kill_timeout_ms);
        let mut stopped = client.stop_task(id.into(), timeout, task.kill_signal.clone()).await;
        if let Err(error) = stopped {
            report::note(&format!("failed to stop {id}, so it is killed: {error}"));
            stopped = client.stop_task(id.into(), Duration::ZERO, KILL.to_owned()).await;
        }
        stopped?;
        task.exit_code = Some(client.wait_task(id.into()).await?.result.exit_code);
    }
    match client.destroy_task(id.into(), Force::Yes).await {
        // It was not started yet, or waited to be started again.
        Err(ClientError::Driver(error)) if error.message == DriverError::TASK_NOT_FOUND => Ok(()),
        destroyed => destroyed,
    }
}
