//! `stop`: asks the job's host to stop it, or does it where the host is gone.

use std::time::Duration;

use nomad_plugin::driver::Force;
use rustix::process::{Pid, Signal, kill_process};

use super::target;
use crate::{
    Failure,
    cli::Options,
    driver::{Driver, Launcher},
    report,
    state::{DataDir, JobState, Phase},
    task_runner::left_running,
};

/// How often to look whether the host has ended.
const PERIOD: Duration = Duration::from_millis(50);

pub(super) async fn stop(target: &str, options: &Options, data: &DataDir) -> Result<(), Failure> {
    let job = target::job(target, data)?;
    let failed = |error: std::io::Error| Failure::Usage(format!("{}: {error}", data.path().display()));
    let mut lock = data.lock(&job.id).map_err(failed)?;
    if lock.is_none()
        && let Some(pid) = i32::try_from(job.host_pid).ok().and_then(Pid::from_raw)
    {
        let _ended_meanwhile = kill_process(pid, Signal::TERM);
    }
    while lock.is_none() {
        tokio::time::sleep(PERIOD).await;
        lock = data.lock(&job.id).map_err(failed)?;
    }
    // The host is gone: what it left, if it was killed, is ended here.
    if let Some(state) = data.load(&job.id).map_err(failed)? {
        end_what_is_left(state, options, data).await?;
    }
    drop(lock);
    report::line(&format!("job {:?} is stopped", job.id));
    Ok(())
}

async fn end_what_is_left(mut state: JobState, options: &Options, data: &DataDir) -> Result<(), Failure> {
    let left: Vec<_> = state.allocs.iter().flat_map(|alloc| left_running(&alloc.tasks)).collect();
    if left.is_empty() {
        return Ok(());
    }
    report::note("the job's host is gone; its tasks are stopped from here");
    let handles = left.iter().map(|(_, handle)| (handle.config.id.clone(), handle.clone())).collect();
    let driver = Driver::start(Launcher::new(options)?, state.driver.clone(), handles, Box::new(|_| {})).await?;
    let client = driver.current();
    for task in state.allocs.iter_mut().flat_map(|alloc| alloc.tasks.values_mut()).filter(|task| task.handle.is_some())
    {
        let id = task.run.as_str();
        let timeout = Duration::from_millis(task.kill_timeout_ms);
        let stopped = client.stop_task(id.into(), timeout, task.kill_signal.clone()).await;
        stopped.map_err(|error| Failure::Engine(error.to_string()))?;
        let waited = client.wait_task(id.into()).await.map_err(|error| Failure::Engine(error.to_string()))?;
        let destroyed = client.destroy_task(id.into(), Force::Yes).await;
        destroyed.map_err(|error| Failure::Engine(error.to_string()))?;
        (task.phase, task.handle, task.exit_code) = (Phase::Complete, None, Some(waited.result.exit_code));
    }
    drop(client);
    state.driver = None;
    data.store(&state).map_err(|error| Failure::Usage(error.to_string()))?;
    driver.end().await;
    Ok(())
}
